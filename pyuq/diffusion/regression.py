# SPDX-License-Identifier: GPL-2.0-or-later
"""Generalised least squares on time-averaged squared displacements.

Displacements at different lags share their frames, so that an ordinary line through their mean squares
claims errors tens of times too small. For Brownian motion with localised noise the covariance is known in
closed form (Bullerjahn, von Bülow and Hummer, J. Chem. Phys. 153, 024116 (2020)); it makes the weights
of the line. Real atoms hop, and a few long jumps scatter more than Brownian steps of the same mean square;
therefore every number read from the curve is a linear combination of the atoms' own curves, and where these
scatter more than Brownian ones, their scatter is the error.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, special, stats

from pyuq.brief import brief
from pyuq.errors import InputError

N_LAGS = 40
MIN_LAGS = 6  # in a window
REFITS = 3  # of the line with the covariance that it implies; the second changes the error by < 1 %
STRAIGHT = 1.6  # standard errors of curvature up to which a window counts as linear
EXCESS = 0.8  # quantile of the spread between Brownian atoms beyond which it becomes the error
FROZEN = 1e-20  # Å², an MSD that counts as none
BENT = 4.0  # standard errors of curvature from which on a window is refused though an earlier one was linear
GUARD = 3  # the window starts at this many times the first lag found linear


@brief()
@dataclass(frozen=True)
class Line:
    """MSD along one direction at lag k (frames), a² + k s².

    Attributes
    ----------
    noise : float
        a², twice the variance of localised motion about the diffusing position, Å².
    slope : float
        s², growth per frame, Å².
    error : float
        Standard error of the slope of Brownian motion, Å².
    chi2 : float
        Squared residuals in units of their covariance.
    dof : int
        Lags less the two parameters.
    weights : ndarray, shape (L,)
        The slope is ``weights @ msd``.
    curvature : float
        Coefficient of ``exp(-(k - first) / first)`` when it is added to the line, Å².
    curvature_error : float
        Of Brownian motion, Å².
    curvature_weights : ndarray, shape (L,)
    """

    noise: float
    slope: float
    error: float
    chi2: float
    dof: int
    weights: np.ndarray
    curvature: float
    curvature_error: float
    curvature_weights: np.ndarray

    @property
    def p_value(self) -> float:
        """Chance of a larger χ² where line and covariance are right."""
        return float(special.gammaincc(self.dof / 2, self.chi2 / 2))


def log_lags(n_frames: int, n_lags: int = N_LAGS, last: int | None = None) -> np.ndarray:
    """Distinct lags from 1 to ``last`` (default: a quarter of the frames), evenly spaced in the logarithm.

    Raises
    ------
    InputError
        Too few frames, or a last lag outside the trajectory.
    """
    if last is not None and not MIN_LAGS <= last < n_frames:
        raise InputError(
            f"the last lag is {last} frames: expected {MIN_LAGS} to {n_frames - 1}, "
            f"as the trajectory has {n_frames} frames"
        )
    last = n_frames // 4 if last is None else last
    if last < MIN_LAGS:
        raise InputError(
            f"{n_frames} frames give lags up to {last}: expected at least {MIN_LAGS}; "
            "run longer or write frames more often"
        )
    return np.unique(np.geomspace(1, last, n_lags).round().astype(int))


def covariance_kernels(
    lags: np.ndarray, n_frames: int, spacing: np.ndarray | None = None
) -> np.ndarray:
    r"""Covariance of one Brownian series' time-averaged squared displacements, split by powers of a² and s².

    With :math:`C_{ij}(d)` the covariance of the displacements over lags i and j that start d frames apart,

    .. math::
        \mathrm{Cov}(M_i, M_j) = \frac{2}{(T-i)(T-j)} \sum_d n_{ij}(d) C_{ij}(d)^2, \qquad
        C_{ij}(d) = s^2 O + \tfrac{a^2}{2} Δ,

    where n is the number of such pairs in the series, O the overlap of the two intervals and Δ counts their
    common ends, with sign. For i ≥ j and m = T - i the overlap climbs to j within j frames, stays for i - j
    frames and falls again, n = m - u at u frames beyond the plateau, and the sums have closed forms.

    Parameters
    ----------
    lags : ndarray of int, shape (L,)
        Lags in frames.
    n_frames : int
        Length T of the series.
    spacing : ndarray of int, shape (L,), optional
        Frames between the origins that each lag is averaged over, powers of two; default: 1. Pairs of origins are
        rarer then, which leaves the sum over smooth overlaps as it is and multiplies the sum over common ends,
        where noise meets itself, by the smaller spacing of the two lags. It is the same for noise that lasts so long.

    Returns
    -------
    ndarray, shape (3, L, L)
        Coefficients of s⁴, s² a² and a⁴.
    """
    lags = np.asarray(lags, dtype=float)
    i = np.maximum.outer(lags, lags)
    j = np.minimum.outer(lags, lags)
    m = n_frames - i
    beyond = np.maximum(m - j, 0.0)
    # Flanks: Σ_v (m - j + v) v² over overlaps v from max(0, j - m) to j - 1.
    below = np.maximum(j - m, 0.0)
    squares = _sum_squares(j - 1) - _sum_squares(below - 1)
    cubes = _sum_cubes(j - 1) - _sum_cubes(below - 1)
    flanks = 2.0 * ((m - j) * squares + cubes)
    diagonal = np.eye(len(lags))
    kernels = np.array(
        [
            m * j**2 * (i - j + 1) + flanks,
            2.0 * m * j,
            0.5 * (1 + diagonal) * m + 0.5 * beyond,
        ]
    )
    if spacing is not None:
        kernels[1:] *= np.minimum.outer(spacing, spacing)
    return kernels * (2.0 / ((n_frames - i) * (n_frames - j)))


def _sum_squares(n: np.ndarray) -> np.ndarray:
    return n * (n + 1) * (2 * n + 1) / 6


def _sum_cubes(n: np.ndarray) -> np.ndarray:
    return (n * (n + 1) / 2) ** 2


def brownian_covariance(kernels: np.ndarray, noise: float, slope: float) -> np.ndarray:
    """Covariance (L, L) in Å⁴ of one series with intercept a² (``noise``) and growth s² (``slope``)."""
    return np.tensordot([slope**2, slope * noise, noise**2], kernels, axes=1)


def fit_line(lags: np.ndarray, msd: np.ndarray, kernels: np.ndarray, n_series: int) -> Line:
    """Generalised least squares with the covariance that the fitted line itself implies.

    Parameters
    ----------
    lags : ndarray of int, shape (L,)
        Lags in frames.
    msd : ndarray, shape (L,)
        Mean over the series of their time-averaged squared displacements, Å².
    kernels : ndarray, shape (3, L, L)
        Of :func:`covariance_kernels` at the same lags.
    n_series : int
        Independent series averaged over: atoms times directions.
    """
    design = np.column_stack([np.ones(len(lags)), lags, np.exp(1.0 - lags / lags[0])])
    # The covariance needs a line that diffuses; the estimate itself may be negative.
    smallest = 1e-6 * max(np.abs(msd).max(), FROZEN) / lags[-1]
    noise, slope = 0.0, max((msd[-1] - msd[0]) / (lags[-1] - lags[0]), smallest)
    for _ in range(REFITS):
        covariance = brownian_covariance(kernels, noise, slope) / n_series
        factor = linalg.cholesky(covariance, lower=True)
        white = linalg.solve_triangular(factor, design, lower=True)
        target = linalg.solve_triangular(factor, msd, lower=True)
        spread, inverse = _pseudo_inverse(white[:, :2])
        estimate = inverse @ target
        noise, slope = max(estimate[0], 0.0), max(estimate[1], smallest)
    residual = target - white[:, :2] @ estimate
    curved, curved_inverse = _pseudo_inverse(white)
    weights, curvature_weights = linalg.solve_triangular(
        factor, np.column_stack([inverse[1], curved_inverse[2]]), lower=True, trans=1
    ).T
    return Line(
        noise=float(estimate[0]),
        slope=float(estimate[1]),
        error=float(np.sqrt(spread[1, 1])),
        chi2=float(residual @ residual),
        dof=len(lags) - 2,
        weights=weights,
        curvature=float(curvature_weights @ msd),
        curvature_error=float(np.sqrt(curved[2, 2])),
        curvature_weights=curvature_weights,
    )


def _pseudo_inverse(white: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(AᵀA)⁻¹ and (AᵀA)⁻¹Aᵀ of a whitened design of full rank."""
    spread = linalg.inv(white.T @ white)
    return spread, spread @ white.T


def larger_error(brownian: float, values: np.ndarray) -> tuple[float, bool]:
    """Error of the mean over atoms: the Brownian one, or the standard error between atoms.

    The latter is that of a bootstrap over atoms. It takes over where it is larger than Brownian motion would
    show in one case of five, so that a few atoms, whose spread is itself uncertain, do not widen the interval
    for nothing.

    Parameters
    ----------
    brownian : float
        Standard error of Brownian motion.
    values : ndarray, shape (N,)
        Values of the atoms.

    Returns
    -------
    error : float
    between : bool
        Whether it is the spread between atoms.
    """
    dof = len(values) - 1
    if dof == 0:
        return brownian, False
    spread = np.std(values, ddof=1) / np.sqrt(len(values))
    between = spread**2 > brownian**2 * stats.chi2.ppf(EXCESS, dof) / dof
    return (float(spread), True) if between else (brownian, False)


def linear_window(
    lags: np.ndarray, by_atom: np.ndarray, kernels: np.ndarray, n_series: int
) -> tuple[int, bool]:
    """First lag from which the data accept a straight line.

    Vibration and correlated back-jumps bend the MSD at short lags. The first window whose curvature is smaller
    than ``STRAIGHT`` standard errors may still hide about one standard error of bias; as what is left decays
    quickly, the window starts ``GUARD`` times later.

    Parameters
    ----------
    lags : ndarray of int, shape (L,)
    by_atom : ndarray, shape (L, N)
        Squared displacement of each atom, mean over directions, Å².
    kernels : ndarray, shape (3, L, L)
    n_series : int
        Independent series in the mean over atoms.

    Returns
    -------
    int
        Index of the first lag.
    bool
        Whether some window is linear; if not, the last ``MIN_LAGS`` lags are returned.
    """
    msd = by_atom.mean(axis=1)
    latest = len(lags) - MIN_LAGS

    def curvature(first: int) -> float:
        window = slice(first, None)
        line = fit_line(lags[window], msd[window], kernels[:, window, window], n_series)
        error, _ = larger_error(line.curvature_error, line.curvature_weights @ by_atom[window])
        return abs(line.curvature) / error

    for first in range(latest + 1):
        # Where ballistic motion (convex) turns into a cage (concave) the curvature passes through zero: the
        # window that is used must not be plainly bent.
        later = min(int(np.searchsorted(lags, GUARD * lags[first])), latest)
        if curvature(first) < STRAIGHT and curvature(later) < BENT:
            return later, True
    return latest, False
