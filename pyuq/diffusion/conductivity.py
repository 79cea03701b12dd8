# SPDX-License-Identifier: GPL-2.0-or-later
r"""Ionic conductivity, without and with the correlations between ions.

.. math::
    σ_{NE} = \frac{1}{V k_B T} \sum_s N_s q_s^2 D_s, \qquad
    σ = \frac{1}{V k_B T} \lim_{t→∞} \frac{⟨|P(t) - P(0)|^2⟩}{6 t}, \qquad P = \sum_i q_i r_i,

and the Haven ratio :math:`H = σ_{NE}/σ`. The charge displacement is one series where the self-diffusivity has
one for each ion; its error is larger by about the square root of their number. As a sum over many ions it is
Gaussian, so that the Brownian covariance holds well for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pyuq.brief import brief
from pyuq.diffusion.pooling import Pooled
from pyuq.diffusion.regression import GUARD
from pyuq.diffusion.self_diffusion import LEVEL, Diffusivity, SelfDiffusion
from pyuq.errors import InputError

BOLTZMANN = 8.617333262e-5  # eV/K
S_PER_CM = 16.02176634  # S/cm in one e²/(eV Å ps)


@brief()
@dataclass(frozen=True)
class Conductivity:
    """Ionic conductivity by both routes.

    Attributes
    ----------
    nernst_einstein, nernst_einstein_error : float
        From the self-diffusivities, S/cm.
    collective, collective_error : float
        From the charge displacement, S/cm.
    haven : float
        Ratio of the two; nan where the collective conductivity is not positive.
    haven_interval : tuple of float
        95 %; the upper end is infinite where the collective conductivity is not resolved.
    resolved : bool
        Whether the charge displacement is.
    """

    nernst_einstein: float
    nernst_einstein_error: float
    collective: float
    collective_error: float
    haven: float
    haven_interval: tuple[float, float]
    resolved: bool

    def verdict(self) -> str:
        """One sentence for a report."""
        single = (
            f"{self.nernst_einstein:.4g} ± {self.nernst_einstein_error:.2g} S/cm (Nernst–Einstein)"
        )
        if not self.resolved:
            return (
                f"{single}; the charge displacement does not resolve the collective conductivity, "
                f"{self.collective:.3g} ± {self.collective_error:.2g} S/cm: run longer, or more replicas"
            )
        low, high = self.haven_interval
        return (
            f"σ = {self.collective:.4g} ± {self.collective_error:.2g} S/cm (collective), {single}, "
            f"Haven ratio {self.haven:.2f}, 95 % interval {low:.2f} to {high:.2f}"
        )

    def to_dict(self) -> dict:
        """Plain numbers, for JSON; ``haven_interval`` may end at infinity."""
        return {
            "nernst_einstein": self.nernst_einstein,
            "nernst_einstein_error": self.nernst_einstein_error,
            "collective": self.collective,
            "collective_error": self.collective_error,
            "haven": self.haven,
            "haven_interval": list(self.haven_interval),
            "resolved": self.resolved,
            "verdict": self.verdict(),
        }


@brief()
@dataclass(frozen=True)
class IonicConductivity:
    """Conductivity at a temperature.

    Parameters
    ----------
    temperature : float
        K.
    volume : float
        Of the cell, Å³.
    """

    temperature: float
    volume: float

    def compute(
        self,
        charge: Diffusivity | Pooled,
        diffusivities: Mapping[str, Diffusivity | Pooled],
        charges: Mapping[str, float],
        counts: Mapping[str, int],
    ) -> Conductivity:
        """Combine the charge displacement and the self-diffusivities.

        Parameters
        ----------
        charge : Diffusivity or Pooled
            :func:`collective_diffusivity` of the :func:`charge_displacement`, e² Å²/ps in place of Å²/ps.
        diffusivities : mapping from species to Diffusivity or Pooled
            Of every species that carries charge and moves.
        charges : mapping from species to float
            e.
        counts : mapping from species to int
            Ions in the cell.

        Raises
        ------
        InputError
            A temperature or volume that is not positive.
        """
        if not (self.temperature > 0 and self.volume > 0):
            raise InputError(
                f"temperature {self.temperature} K and volume {self.volume} Å³: expected positive numbers"
            )
        factor = S_PER_CM / (self.volume * BOLTZMANN * self.temperature)
        weights = {s: factor * counts[s] * charges[s] ** 2 for s in diffusivities}
        single = sum(weights[s] * d.value for s, d in diffusivities.items())
        single_error = np.sqrt(sum((weights[s] * d.error) ** 2 for s, d in diffusivities.items()))
        value, error = factor * charge.value, factor * charge.error
        haven, interval = haven_ratio(single, single_error, value, error)
        return Conductivity(
            nernst_einstein=float(single),
            nernst_einstein_error=float(single_error),
            collective=value,
            collective_error=error,
            haven=haven,
            haven_interval=interval,
            resolved=charge.resolved,
        )


def haven_ratio(
    single: float, single_error: float, collective: float, collective_error: float
) -> tuple[float, tuple[float, float]]:
    """Ratio of single-particle to collective transport (nan if the latter is not positive), and its 95 % interval."""
    ratio = float(single / collective) if collective > 0 else np.nan
    return ratio, ratio_interval(single, single_error, collective, collective_error)


def ratio_interval(
    a: float, a_error: float, b: float, b_error: float, level: float = LEVEL
) -> tuple[float, float]:
    """Confidence interval of a/b for two positive quantities with independent errors (Fieller's theorem).

    The upper end is infinite where b may be zero.

    References
    ----------
    E. C. Fieller, J. R. Stat. Soc. B 16, 175 (1954).
    """
    z2 = stats.norm.ppf(0.5 + level / 2) ** 2
    # Ratios r with (a - r b)² < z² (δa² + r² δb²): between the roots of a quadratic.
    square, constant = b**2 - z2 * b_error**2, a**2 - z2 * a_error**2
    root = np.sqrt(max((a * b) ** 2 - square * constant, 0.0))
    if square <= 0.0:
        # The larger root is where the region that contains infinity begins.
        low = constant / (a * b + root) if a * b + root > 0 else 0.0
        return float(max(low, 0.0)), np.inf
    return float(max((a * b - root) / square, 0.0)), float((a * b + root) / square)


def charge_displacement(positions: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """Sum of charge times position, (T, 3) in e Å.

    Parameters
    ----------
    positions : ndarray, shape (T, N, 3)
        Unwrapped, Å. Where the charges do not add up to zero the result depends on the frame of reference.
    charges : ndarray, shape (N,)
        e.
    """
    return np.tensordot(positions, np.asarray(charges, dtype=float), axes=(1, 0))


def collective_diffusivity(
    path: np.ndarray, analysis: SelfDiffusion, single: Sequence[Diffusivity] = ()
) -> Diffusivity:
    """Growth of one collective coordinate's mean squared displacement.

    One series bends too little, compared with its scatter, to show where its line begins. The line starts no earlier
    than the atoms' own displacements allow.

    Parameters
    ----------
    path : ndarray, shape (T, 3)
        :func:`charge_displacement`; or the sum of a species' positions over the root of their number, Å, which
        gives the jump diffusivity D_J.
    analysis : SelfDiffusion
    single : sequence of Diffusivity
        Self-diffusivities of the atoms that take part, those in cages do not count.
    """
    path = np.asarray(path)[:, None, :]
    found = analysis.compute(path)
    earliest = max((d.window[0] / GUARD for d in single if d.resolved), default=0.0)
    if analysis.first is None and found.window[0] < earliest:
        return replace(analysis, first=earliest).compute(path)
    return found
