# SPDX-License-Identifier: GPL-2.0-or-later
r"""A running factor on error bars, learnt from each new label.

An error is taken as :math:`e \sim N(0, \sigma^2/\lambda)` with the predicted :math:`\sigma` and an unknown
precision factor :math:`\lambda \sim \mathrm{Gamma}(a, b)`. Labels change the belief in closed form,

.. math:: a \to a + n/2, \qquad b \to b + \tfrac12 \sum_i (e_i/\sigma_i)^2,

and a new error has a Student-t distribution with :math:`2a` degrees of freedom and scale
:math:`\sigma\sqrt{b/a}`.

References
----------
T. Rensmeyer, D. Kramer, O. Niggemann, Digital Discovery (2026), 10.1039/D5DD00392J, arXiv:2507.13805.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t


def ratios(errors: ArrayLike, sigmas: ArrayLike) -> NDArray[np.float64]:
    """Errors over their standard deviations, shape (n,).

    Raises
    ------
    ValueError
        Shapes differ, a number is not finite, or a standard deviation is not above 0.
    """
    errors, sigmas = np.asarray(errors, dtype=float), np.asarray(sigmas, dtype=float)
    if errors.shape != sigmas.shape:
        raise ValueError(f"errors {errors.shape} and standard deviations {sigmas.shape} must match")
    if not (np.isfinite(errors).all() and np.isfinite(sigmas).all()):
        raise ValueError("errors and standard deviations must be finite")
    if not (sigmas > 0).all():
        raise ValueError(
            f"found a standard deviation of {sigmas.min():g}; expected numbers above 0"
        )
    return (errors / sigmas).reshape(-1)


@dataclass(frozen=True)
class StudentScale:
    """Belief about the factor between predicted and true errors.

    Parameters
    ----------
    a, b : float
        Shape and rate of the Gamma distribution of the precision factor. The default start is doubtful of the
        model: scale 2.6, three degrees of freedom.
    """

    a: float = 1.5
    b: float = 10.0

    def __post_init__(self):
        if not (self.a > 0 and self.b > 0):
            raise ValueError(f"a = {self.a}, b = {self.b}; expected numbers above 0")

    @property
    def scale(self) -> float:
        """Factor on the standard deviations, √(b/a)."""
        return float(np.sqrt(self.b / self.a))

    @property
    def dof(self) -> float:
        """Degrees of freedom of the Student-t distribution, 2a."""
        return 2.0 * self.a

    def update(self, errors: ArrayLike, sigmas: ArrayLike) -> "StudentScale":
        """Learn from labels.

        Parameters
        ----------
        errors, sigmas : (n,)
            Errors and the standard deviations predicted for them, before the labels were learnt.

        Returns
        -------
        StudentScale
        """
        z = ratios(errors, sigmas)
        return StudentScale(self.a + 0.5 * len(z), self.b + 0.5 * float(z @ z))

    def probability_within(self, sigma: ArrayLike, threshold: float) -> NDArray[np.float64]:
        """P(abs(error) < threshold) at the predicted standard deviation `sigma`."""
        return 2.0 * t.cdf(threshold / (self.scale * np.asarray(sigma)), self.dof) - 1.0

    def half_width(self, sigma: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
        """Half width of the central interval that holds the error with probability `level`."""
        return self.scale * t.ppf(0.5 + 0.5 * level, self.dof) * np.asarray(sigma)

    def largest_sigma(self, threshold: float, level: float = 0.95) -> float:
        """Predicted standard deviation above which P(abs(error) < threshold) falls below `level`."""
        return float(threshold / self.half_width(1.0, level))
