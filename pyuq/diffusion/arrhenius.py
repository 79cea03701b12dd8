# SPDX-License-Identifier: GPL-2.0-or-later
r"""Activation energy with the errors of the diffusivities carried through.

.. math:: \ln D = \ln D_0 - E_a / k_B T

A steeper line through the same points has a higher intercept: the errors of :math:`E_a` and :math:`\ln D_0` are
strongly correlated, and both are needed for an extrapolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pyuq.brief import brief
from pyuq.diffusion.conductivity import BOLTZMANN
from pyuq.errors import InputError

LARGEST = 0.5  # relative error of a value whose logarithm still has a meaning
REJECT = 0.05  # p-value of χ² below which points do not lie on a line


@brief()
@dataclass(frozen=True)
class ArrheniusFit:
    """A line in 1/T.

    Attributes
    ----------
    activation_energy, activation_energy_error : float
        eV.
    log_prefactor, log_prefactor_error : float
        Natural logarithm of the prefactor in the unit of the values.
    covariance : ndarray, shape (2, 2)
        Of log_prefactor and activation_energy.
    correlation : float
        Between the two.
    chi2 : float
    dof : int
    p_value : float
        Of χ²; nan for two points.
    temperatures : tuple of float
        K.
    """

    activation_energy: float
    activation_energy_error: float
    log_prefactor: float
    log_prefactor_error: float
    covariance: np.ndarray
    correlation: float
    chi2: float
    dof: int
    p_value: float
    temperatures: tuple[float, ...]

    @property
    def straight(self) -> bool:
        """Whether χ² accepts a line (nothing speaks against it for two points)."""
        return not self.p_value < REJECT

    def predict(
        self, temperature, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value and confidence band at some temperatures, K, inside or outside of the data."""
        design = _design(np.atleast_1d(np.asarray(temperature, dtype=float)))
        log = design @ [self.log_prefactor, self.activation_energy]
        error = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        reach = stats.norm.ppf(0.5 + level / 2) * error
        return np.exp(log), np.exp(log - reach), np.exp(log + reach)

    def verdict(self) -> str:
        """One sentence for a report."""
        text = (
            f"E_a = {self.activation_energy:.4g} ± {self.activation_energy_error:.2g} eV, "
            f"ln D_0 = {self.log_prefactor:.4g} ± {self.log_prefactor_error:.2g}, correlation {self.correlation:.3f}"
        )
        if self.dof == 0:
            return f"{text}; two temperatures cannot tell whether the law holds"
        if not self.straight:
            return (
                f"{text}; the points do not lie on a line (p = {self.p_value:.2g}): errors are widened to their "
                "scatter, do not extrapolate"
            )
        return text

    def to_dict(self) -> dict:
        """Plain numbers, for JSON."""
        return {
            "activation_energy": self.activation_energy,
            "activation_energy_error": self.activation_energy_error,
            "log_prefactor": self.log_prefactor,
            "log_prefactor_error": self.log_prefactor_error,
            "covariance": self.covariance.tolist(),
            "correlation": self.correlation,
            "chi2": self.chi2,
            "dof": self.dof,
            "p_value": self.p_value,
            "temperatures": list(self.temperatures),
            "verdict": self.verdict(),
        }


@brief()
@dataclass(frozen=True)
class Arrhenius:
    """Fit of the Arrhenius law by generalised least squares on the logarithms.

    Parameters
    ----------
    shared : float
        Relative error that all values have in common (of a potential, say); it goes into the prefactor.
    """

    shared: float = 0.0

    def compute(
        self, temperatures: Sequence[float], values: Sequence[float], errors: Sequence[float]
    ) -> ArrheniusFit:
        """Fit.

        Parameters
        ----------
        temperatures : sequence of float, length n
            K.
        values, errors : sequence of float, length n
            Diffusivities (or conductivity times temperature) and their independent standard errors.

        Raises
        ------
        InputError
            Fewer than two temperatures, or a value that is not clearly positive.
        """
        temperatures, values, errors = (
            np.asarray(v, dtype=float) for v in (temperatures, values, errors)
        )
        if len(np.unique(temperatures)) < 2:
            raise InputError(
                f"temperatures {temperatures.tolist()}: expected at least two different ones"
            )
        for t, value, error in zip(temperatures, values, errors, strict=True):
            if not (t > 0 and error > 0 and value > 0 and error < LARGEST * value):
                raise InputError(
                    f"at {t:g} K the value is {value:.3g} ± {error:.2g}: expected a positive one with an error "
                    f"below {100 * LARGEST:.0f} %; run longer or leave this temperature out"
                )
        relative = errors / values
        target = np.log(values) + 0.5 * relative**2  # the logarithm of a scattered value is low
        covariance = np.diag(relative**2) + self.shared**2
        design = _design(temperatures)
        weighted = np.linalg.solve(covariance, design)
        spread = np.linalg.inv(design.T @ weighted)
        estimate = spread @ (weighted.T @ target)
        residual = target - design @ estimate
        chi2 = float(residual @ np.linalg.solve(covariance, residual))
        dof = len(values) - 2
        p_value = float(stats.chi2.sf(chi2, dof)) if dof else np.nan
        if p_value < REJECT:
            spread = spread * (chi2 / dof)
        prefactor_error, energy_error = np.sqrt(np.diag(spread))
        return ArrheniusFit(
            activation_energy=float(estimate[1]),
            activation_energy_error=float(energy_error),
            log_prefactor=float(estimate[0]),
            log_prefactor_error=float(prefactor_error),
            covariance=spread,
            correlation=float(spread[0, 1] / (prefactor_error * energy_error)),
            chi2=chi2,
            dof=dof,
            p_value=p_value,
            temperatures=tuple(temperatures.tolist()),
        )


def _design(temperatures: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(temperatures)), -1.0 / (BOLTZMANN * temperatures)])
