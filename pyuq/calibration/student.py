# SPDX-License-Identifier: GPL-2.0-or-later
r"""A running factor on error bars, learnt from each new label.

An error is taken as :math:`e \sim N(0, \sigma^2/\lambda)` with the predicted :math:`\sigma` and an unknown
precision factor :math:`\lambda \sim \mathrm{Gamma}(a, b)`. Labels change the belief in closed form,

.. math:: a \to a + n/2, \qquad b \to b + \tfrac12 \sum_i (e_i/\sigma_i)^2,

and a new error has a Student-t distribution with :math:`2a` degrees of freedom and scale
:math:`\sigma\sqrt{b/a}`.

What no member and no weight of a model can describe is the same wherever it is asked: a floor f in
:math:`\sigma^2 \to \sigma^2 + f^2` stands for it.

References
----------
1. T. Rensmeyer, D. Kramer, O. Niggemann, Digital Discovery (2026), 10.1039/D5DD00392J, arXiv:2507.13805.
2. M. West, J. Harrison, *Bayesian Forecasting and Dynamic Models*, 2nd ed. (Springer, 1997), section 10.8: variance
   discounting.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import t

from pyuq.brief import brief
from pyuq.errors import InputError


def ratios(errors: ArrayLike, sigmas: ArrayLike) -> NDArray[np.float64]:
    """Errors over their standard deviations, shape (n,).

    Raises
    ------
    InputError
        Shapes differ, a number is not finite, or a standard deviation is not above 0.
    """
    errors, sigmas = np.asarray(errors, dtype=float), np.asarray(sigmas, dtype=float)
    if errors.shape != sigmas.shape:
        raise InputError(f"errors {errors.shape} and standard deviations {sigmas.shape} must match")
    if not (np.isfinite(errors).all() and np.isfinite(sigmas).all()):
        raise InputError("errors and standard deviations must be finite")
    if not (sigmas > 0).all():
        raise InputError(
            f"found a standard deviation of {sigmas.min():g}; expected numbers above 0"
        )
    return (errors / sigmas).reshape(-1)


@brief()
@dataclass(frozen=True)
class StudentScale:
    """Belief about the factor between predicted and true errors.

    Parameters
    ----------
    a, b : float
        Shape and rate of the Gamma distribution of the precision factor. The default start is doubtful of the
        model: scale 2.6, three degrees of freedom.
    floor : float
        Added in square to every predicted standard deviation.
    """

    a: float = 1.5
    b: float = 10.0
    floor: float = 0.0

    def __post_init__(self):
        if not (self.a > 0 and self.b > 0):
            raise InputError(f"a = {self.a}, b = {self.b}; expected numbers above 0")
        if not (0 <= self.floor < np.inf):
            raise InputError(f"floor = {self.floor}; expected a number of 0 or more")

    @classmethod
    def guess(cls, errors: ArrayLike, sigmas: ArrayLike) -> "StudentScale":
        r"""Floor and scale of largest Gaussian likelihood, :math:`e \sim N(0, s^2(\sigma^2 + f^2))`.

        Believed with three degrees of freedom only: to be updated by other labels than these.

        Parameters
        ----------
        errors, sigmas : (n,)
        """
        ratios(errors, sigmas)
        squares, variances = np.ravel(errors).astype(float) ** 2, np.ravel(sigmas) ** 2.0
        if not squares.any():
            return cls(1.5, 1.5e-12)

        def loss(log_floor: float) -> float:
            total = variances + np.exp(2.0 * log_floor)
            return np.log(np.mean(squares / total)) + np.mean(np.log(total))

        # Below, a floor changes nothing; far above, it only makes all error bars alike.
        low = 0.5 * np.log(1e-6 * variances.min())
        high = 0.5 * np.log(max(9.0 * variances.max(), squares.mean()))
        grid = np.linspace(low, high, 60)
        best, step = grid[np.argmin([loss(x) for x in grid])], grid[1] - grid[0]
        bounds = max(best - step, low), min(best + step, high)
        found = minimize_scalar(loss, bounds=bounds, method="bounded")
        floor = float(np.exp(found.x)) if found.fun < loss(low) - 1e-6 else 0.0
        return cls(1.5, 1.5 * float(np.mean(squares / (variances + floor**2))), floor)

    @property
    def scale(self) -> float:
        """Factor on the standard deviations, √(b/a)."""
        return float(np.sqrt(self.b / self.a))

    @property
    def dof(self) -> float:
        """Degrees of freedom of the Student-t distribution, 2a."""
        return 2.0 * self.a

    def deviation(self, sigma: ArrayLike) -> NDArray[np.float64]:
        """Calibrated standard deviation: predicted one and floor, times the scale."""
        return self.scale * self._floored(sigma)

    def _floored(self, sigma: ArrayLike) -> NDArray[np.float64]:
        sigma = np.asarray(sigma, dtype=float)
        if (sigma < 0).any():
            raise InputError(f"found a standard deviation of {np.min(sigma):g}; expected 0 or more")
        return np.hypot(sigma, self.floor)

    def update(self, errors: ArrayLike, sigmas: ArrayLike, weight: float = 1.0) -> "StudentScale":
        """Learn from labels.

        Parameters
        ----------
        errors, sigmas : (n,)
            Errors and the standard deviations predicted for them, before the labels were learnt.
        weight : float
            How many independent labels each of them counts for; errors of atoms of one structure resemble each
            other.

        Returns
        -------
        StudentScale
        """
        z = ratios(errors, self._floored(sigmas))
        a, b = self.a + 0.5 * weight * len(z), self.b + 0.5 * weight * float(z @ z)
        return StudentScale(a, b, self.floor)

    def discounted(self, factor: float) -> "StudentScale":
        """Return the same scale with less weight: as if it came from `factor` times as many labels.

        Before each update, ``factor = 1 - 1/n`` makes the belief forget: a label counts for less with each later one,
        all together for n [2].
        """
        return StudentScale(factor * self.a, factor * self.b, self.floor)

    def tempered(self, labels: float) -> "StudentScale":
        """Return the same scale with the weight of at most so many labels."""
        return self.discounted(min(1.0, labels / (2.0 * self.a)))

    def probability_within(self, sigma: ArrayLike, threshold: float) -> NDArray[np.float64]:
        """P(abs(error) < threshold) at the predicted standard deviation `sigma`."""
        check_threshold(threshold)
        return 2.0 * t.cdf(threshold / self.deviation(sigma), self.dof) - 1.0

    def half_width(self, sigma: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
        """Half width of the central interval that holds the error with probability `level`."""
        return self._quantile(level) * self.deviation(sigma)

    def largest_sigma(self, threshold: float, level: float = 0.95) -> float:
        """Predicted standard deviation above which P(abs(error) < threshold) falls below `level`.

        0 where the floor alone is too much.
        """
        check_threshold(threshold)
        allowed = threshold / (self.scale * self._quantile(level))
        return float(np.sqrt(max(allowed**2 - self.floor**2, 0.0)))

    def _quantile(self, level: float) -> float:
        if not 0 < level < 1:
            raise InputError(f"level = {level}; expected a probability between 0 and 1")
        return float(t.ppf(0.5 + 0.5 * level, self.dof))


def check_threshold(threshold: float) -> None:
    """Refuse a negative error.

    Raises
    ------
    InputError
        The threshold is negative or not a number.
    """
    if not threshold >= 0:
        raise InputError(f"threshold = {threshold}; expected 0 or more")
