# SPDX-License-Identifier: GPL-2.0-or-later
"""How good error bars are: likelihood, coverage, sharpness, and whether they rank the errors.

References
----------
V. Kuleshov, N. Fenner, S. Ermon, ICML (2018) (calibration curves).
P. Pernot, J. Chem. Phys. **157**, 144103 (2022) (why several scores are needed).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, spearmanr

from pyuq.brief import brief
from pyuq.calibration.student import ratios
from pyuq.errors import InputError

LEVELS = np.arange(0.05, 1.0, 0.05)
NO_SPREAD = (
    1.01e-6  # of the RMSE: a standard deviation below says that there is none, not how large it is
)


@brief()
@dataclass(frozen=True)
class Scores:
    """Scores of Gaussian error bars on n errors.

    Attributes
    ----------
    n : int
    rmse, mae : float
        Of the errors.
    sharpness : float
        Root mean square standard deviation; close to `rmse` when the error bars are right on average.
    nll : float
        Mean negative log-likelihood of a Gaussian over the errors that have a standard deviation; lower is better. NaN
        where none has.
    within_1, within_2, within_90, within_95 : float
        Fraction of errors inside σ, 2σ, 1.64σ and 1.96σ: 0.683, 0.954, 0.900, 0.950 when right.
    miscalibration : float
        Mean distance between observed and stated coverage over the levels 0.05 ... 0.95.
    spearman : float
        Rank correlation of abs(error) and standard deviation; NaN when all are alike.
    no_spread : float
        Fraction of errors whose standard deviation is rounding (members that agree, symmetry): less than a millionth of
        `rmse`. Their likelihood would be a number without meaning, 1e29 as well as 1e11; they count in all else.
    """

    n: int
    rmse: float
    mae: float
    sharpness: float
    nll: float
    within_1: float
    within_2: float
    within_90: float
    within_95: float
    miscalibration: float
    spearman: float
    no_spread: float = 0.0


def coverage(errors: ArrayLike, sigmas: ArrayLike) -> NDArray[np.float64]:
    """Observed coverage of central Gaussian intervals at the levels 0.05 ... 0.95, shape (19,)."""
    z = np.abs(ratios(errors, sigmas))
    return np.array([(z <= norm.ppf(0.5 + 0.5 * level)).mean() for level in LEVELS])


def scores(errors: ArrayLike, sigmas: ArrayLike) -> Scores:
    """Score standard deviations by the errors that came.

    Parameters
    ----------
    errors, sigmas : (n,)
        In one unit.

    Raises
    ------
    InputError
        See :func:`pyuq.calibration.student.ratios`; or no errors at all.
    """
    z = np.abs(ratios(errors, sigmas))
    if not len(z):
        raise InputError("found no errors to score")
    e, s = np.ravel(errors), np.ravel(sigmas)
    rmse = float(np.sqrt(np.mean(e**2)))
    spread = s > NO_SPREAD * rmse
    likelihoods = (0.5 * np.log(2 * np.pi * s**2) + 0.5 * z**2)[spread]
    varied = len(z) > 2 and np.ptp(s) > 0 and np.ptp(np.abs(e)) > 0
    return Scores(
        n=len(z),
        rmse=rmse,
        mae=float(np.abs(e).mean()),
        sharpness=float(np.sqrt(np.mean(s**2))),
        nll=float(likelihoods.mean()) if spread.any() else float("nan"),
        within_1=float((z <= 1).mean()),
        within_2=float((z <= 2).mean()),
        within_90=float((z <= norm.ppf(0.95)).mean()),
        within_95=float((z <= norm.ppf(0.975)).mean()),
        miscalibration=float(np.abs(coverage(e, s) - LEVELS).mean()),
        spearman=float(spearmanr(np.abs(e), s).statistic) if varied else float("nan"),
        no_spread=float(1.0 - spread.mean()),
    )


def reliability(
    errors: ArrayLike, sigmas: ArrayLike, bins: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Root mean square error against root mean square standard deviation, in bins of equal counts.

    Returns
    -------
    predicted, observed : (bins,)
        The points lie on the diagonal when the error bars are right at every size. Fewer bins than asked for
        where there are fewer errors.

    Raises
    ------
    InputError
        See :func:`pyuq.calibration.student.ratios`; no errors at all, or no bins.
    """
    if not (len(ratios(errors, sigmas)) and bins > 0):
        raise InputError(f"found {np.size(errors)} errors for {bins} bins; expected one or more")
    e, s = np.ravel(errors), np.ravel(sigmas)
    parts = np.array_split(np.argsort(s, kind="stable"), min(bins, len(s)))
    rms = lambda values: float(np.sqrt(np.mean(values**2)))  # noqa: E731
    return np.array([rms(s[p]) for p in parts]), np.array([rms(e[p]) for p in parts])
