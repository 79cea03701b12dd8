# SPDX-License-Identifier: GPL-2.0-or-later
r"""Ionic conductivity, without and with the correlations between ions.

.. math::
    σ_{NE} = \frac{1}{V k_B T} \sum_s N_s q_s^2 D_s, \qquad
    σ = \frac{1}{V k_B T} \lim_{t→∞} \frac{⟨|P(t) - P(0)|^2⟩}{6 t}, \qquad P = \sum_i q_i r_i,

and the Haven ratio :math:`H = σ_{NE}/σ`. The charge displacement is one series where the self-diffusivity has
one for each ion; its error is larger by about the square root of their number. As a sum over many ions it is
Gaussian, so that the Brownian covariance holds well for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyuq.diffusion.self_diffusion import Diffusivity, SelfDiffusion

BOLTZMANN = 8.617333262e-5  # eV/K
S_PER_CM = 16.02176634  # S/cm in one e²/(eV Å ps)


@dataclass(frozen=True)
class Conductivity:
    """Ionic conductivity by both routes.

    Attributes
    ----------
    nernst_einstein, nernst_einstein_error : float
        From the self-diffusivities, S/cm.
    collective, collective_error : float
        From the charge displacement, S/cm.
    haven, haven_error : float
        Ratio of the two; the error is that of a ratio of independent numbers.
    charge_displacement : Diffusivity
        Growth of the charge displacement, e² Å²/ps in place of Å²/ps.
    """

    nernst_einstein: float
    nernst_einstein_error: float
    collective: float
    collective_error: float
    haven: float
    haven_error: float
    charge_displacement: Diffusivity

    def verdict(self) -> str:
        """One sentence for a report."""
        if not self.charge_displacement.resolved:
            return (
                "the charge displacement does not resolve a conductivity: "
                f"{self.collective:.3g} ± {self.collective_error:.2g} S/cm; run longer, or more replicas"
            )
        return (
            f"σ = {self.collective:.4g} ± {self.collective_error:.2g} S/cm (collective), "
            f"{self.nernst_einstein:.4g} ± {self.nernst_einstein_error:.2g} S/cm (Nernst–Einstein), "
            f"Haven ratio {self.haven:.2f} ± {self.haven_error:.2f}"
        )

    def to_dict(self) -> dict:
        """Plain numbers, for JSON."""
        names = ("nernst_einstein", "nernst_einstein_error", "collective", "collective_error")
        numbers = {name: getattr(self, name) for name in (*names, "haven", "haven_error")}
        return numbers | {
            "verdict": self.verdict(),
            "charge_displacement": self.charge_displacement.to_dict(),
        }


@dataclass(frozen=True)
class IonicConductivity:
    """Conductivity of a trajectory.

    Parameters
    ----------
    timestep : float
        Time between frames, ps.
    temperature : float
        K.
    analysis : SelfDiffusion, optional
        How lines are fitted; default: ``SelfDiffusion(timestep)``.
    """

    timestep: float
    temperature: float
    analysis: SelfDiffusion | None = None

    def compute(
        self,
        charge_path: np.ndarray,
        volume: float,
        diffusivities: Mapping[str, Diffusivity],
        charges: Mapping[str, float],
    ) -> Conductivity:
        """Combine the charge displacement and the self-diffusivities.

        Parameters
        ----------
        charge_path : ndarray, shape (T, 3)
            Of :func:`charge_displacement`, e Å.
        volume : float
            Å³.
        diffusivities : mapping from species to Diffusivity
            Of every species that carries charge and moves.
        charges : mapping from species to float
            e.

        Raises
        ------
        ValueError
            A temperature or volume that is not positive.
        """
        if not (self.temperature > 0 and volume > 0):
            raise ValueError(
                f"temperature {self.temperature} K and volume {volume} Å³: expected positive numbers"
            )
        factor = S_PER_CM / (volume * BOLTZMANN * self.temperature)
        weights = {s: factor * d.n_atoms * charges[s] ** 2 for s, d in diffusivities.items()}
        single = sum(weights[s] * d.value for s, d in diffusivities.items())
        single_error = np.sqrt(sum((weights[s] * d.error) ** 2 for s, d in diffusivities.items()))
        moved = collective_diffusivity(charge_path, self.analysis or SelfDiffusion(self.timestep))
        value, error = factor * moved.value, factor * moved.error
        haven = single / value
        return Conductivity(
            nernst_einstein=float(single),
            nernst_einstein_error=float(single_error),
            collective=value,
            collective_error=error,
            haven=float(haven),
            haven_error=float(abs(haven) * np.hypot(single_error / single, error / value)),
            charge_displacement=moved,
        )


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


def collective_diffusivity(path: np.ndarray, analysis: SelfDiffusion) -> Diffusivity:
    """Growth of one collective coordinate's mean squared displacement.

    Parameters
    ----------
    path : ndarray, shape (T, 3)
        :func:`charge_displacement`; or the sum of a species' positions over the root of their number, Å, which
        gives the jump diffusivity D_J.
    analysis : SelfDiffusion
    """
    return analysis.compute(np.asarray(path)[:, None, :])
