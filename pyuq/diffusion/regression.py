# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-diffusivity by generalised least squares on the mean squared displacement.

Time-averaged squared displacements at different lags share their frames, so that an ordinary line through
them claims errors tens of times too small. For Brownian motion with localisation noise their covariance is
known exactly; with it the line is the best linear estimate and its error is right (Bullerjahn, von Bülow
and Hummer, J. Chem. Phys. 153, 024116 (2020)).
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, special, stats

from pyuq.diffusion.msd import atom_msd

N_LAGS = 40
REFITS = 3  # of the line with the covariance that it implies; the second changes the error by < 1 %
ACCEPT = 0.05  # p-value of χ² from which a window counts as linear
MIN_LAGS = 8  # in a window
N_BOOTSTRAP = 1000


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
        Standard error of the slope, Å².
    chi2 : float
        Squared residuals in units of their covariance.
    dof : int
        Lags less the two parameters.
    """

    noise: float
    slope: float
    error: float
    chi2: float
    dof: int

    @property
    def p_value(self) -> float:
        """Chance of a larger χ² where line and covariance are right."""
        return float(special.gammaincc(self.dof / 2, self.chi2 / 2))


@dataclass(frozen=True)
class Diffusivity:
    """Self-diffusivity D of a group of atoms, and what it was read from.

    Attributes
    ----------
    value, error : float
        D and its standard error, Å²/ps.
    directions, direction_errors : ndarray, shape (3,)
        The same along x, y and z.
    times : ndarray, shape (L,)
        Lags, ps.
    msd : ndarray, shape (L, 3)
        Mean squared displacement along each direction, Å².
    window : tuple of float
        First and last lag of the regression, ps.
    localised : float
        Intercept of the three-dimensional line, Å²: motion that does not diffuse.
    p_value : float
        Of the regression's χ².
    method : str
        ``gls``, or ``bootstrap`` (over atoms) where no window is linear.
    """

    value: float
    error: float
    directions: np.ndarray
    direction_errors: np.ndarray
    times: np.ndarray
    msd: np.ndarray
    window: tuple[float, float]
    localised: float
    p_value: float
    method: str

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of D, Å²/ps."""
        reach = stats.norm.ppf(0.5 + level / 2) * self.error
        return self.value - reach, self.value + reach

    @property
    def resolved(self) -> bool:
        """Whether D differs from zero and the atoms leave their cage within the window."""
        growth = 6.0 * self.value * self.window[1]
        return self.value > 2.0 * self.error and growth > self.localised

    def verdict(self) -> str:
        """One sentence for a report."""
        low, high = self.interval()
        text = f"D = {self.value:.4g} Å²/ps, 95 % interval {low:.4g} to {high:.4g}"
        if not self.resolved:
            return f"no diffusion resolved: over {self.window[1]:.3g} ps the MSD stays in its cage ({text})"
        if self.method == "bootstrap":
            return f"{text}; no part of the MSD is linear within its errors: run longer"
        return text


def log_lags(n_frames: int, n_lags: int = N_LAGS, last: int | None = None) -> np.ndarray:
    """Distinct lags from 1 to ``last`` (default: a quarter of the frames), evenly spaced in the logarithm."""
    last = n_frames // 4 if last is None else last
    if last < MIN_LAGS:
        raise ValueError(
            f"{n_frames} frames give lags up to {last}: expected at least {MIN_LAGS}; "
            "run longer or write frames more often"
        )
    return np.unique(np.geomspace(1, last, n_lags).round().astype(int))


def covariance_kernels(lags: np.ndarray, n_frames: int) -> np.ndarray:
    r"""Covariance of one Brownian series' time-averaged squared displacements, split by powers of a² and s².

    With :math:`C_{ij}(d)` the covariance of the displacements over lags i and j that start d frames apart,

    .. math::
        \mathrm{Cov}(M_i, M_j) = \frac{2}{(T-i)(T-j)} \sum_d n_{ij}(d) C_{ij}(d)^2, \qquad
        C_{ij}(d) = s^2 O + \tfrac{a^2}{2} Δ,

    where O is the overlap of the two intervals and Δ counts their common ends, with sign.

    Parameters
    ----------
    lags : ndarray of int, shape (L,)
        Lags in frames.
    n_frames : int
        Length T of the series.

    Returns
    -------
    ndarray, shape (3, L, L)
        Coefficients of s⁴, s² a² and a⁴.
    """
    kernels = np.empty((3, len(lags), len(lags)))
    for row, i in enumerate(lags):
        for column, j in enumerate(lags[: row + 1]):
            d = np.arange(-j, i + 1)
            pairs = np.minimum(n_frames - i, n_frames - j - d) - np.maximum(0, -d)
            pairs = np.maximum(pairs, 0) * (2.0 / ((n_frames - i) * (n_frames - j)))
            overlap = np.minimum(i, d + j) - np.maximum(0, d)
            ends = 0.5 * ((d == i - j) * 1.0 - (d == i) - (d == -j) + (d == 0))
            kernels[:, row, column] = kernels[:, column, row] = (
                pairs @ overlap**2,
                2.0 * (pairs @ (overlap * ends)),
                pairs @ ends**2,
            )
    return kernels


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
    design = np.column_stack([np.ones(len(lags)), lags])
    # The covariance needs a line that diffuses; the estimate itself may be negative.
    smallest = 1e-6 * np.abs(msd).max() / lags[-1]
    noise, slope = 0.0, max((msd[-1] - msd[0]) / (lags[-1] - lags[0]), smallest)
    for _ in range(REFITS):
        covariance = brownian_covariance(kernels, noise, slope) / n_series
        factor = linalg.cholesky(covariance, lower=True)
        whitened = linalg.solve_triangular(factor, np.column_stack([design, msd]), lower=True)
        (estimate, _, _, _) = linalg.lstsq(whitened[:, :2], whitened[:, 2])
        noise, slope = max(estimate[0], 0.0), max(estimate[1], smallest)
    residual = whitened[:, 2] - whitened[:, :2] @ estimate
    spread = linalg.inv(whitened[:, :2].T @ whitened[:, :2])
    return Line(
        noise=float(estimate[0]),
        slope=float(estimate[1]),
        error=float(np.sqrt(spread[1, 1])),
        chi2=float(residual @ residual),
        dof=len(lags) - 2,
    )


def _first_linear(lags: np.ndarray, msd: np.ndarray, kernels: np.ndarray, n_series: int) -> int:
    """Index of the first lag from which the MSD is a line within its errors; -1 if there is none."""
    for first in range(len(lags) - MIN_LAGS + 1):
        window = slice(first, None)
        if (
            fit_line(lags[window], msd[window], kernels[:, window, window], n_series).p_value
            > ACCEPT
        ):
            return first
    return -1


def _bootstrap_error(atom_slopes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standard error of the mean slope when atoms are drawn with replacement; (N, 3) → (4,): x y z mean."""
    n_atoms = len(atom_slopes)
    draws = rng.multinomial(n_atoms, np.full(n_atoms, 1.0 / n_atoms), size=N_BOOTSTRAP) / n_atoms
    means = draws @ atom_slopes
    return np.concatenate([means.std(axis=0), [means.mean(axis=1).std()]])


def self_diffusivity(
    positions: np.ndarray,
    timestep: float,
    n_lags: int = N_LAGS,
    last: float | None = None,
    rng: np.random.Generator | None = None,
) -> Diffusivity:
    """Self-diffusivity of the atoms given, with a calibrated error.

    The regression starts at the first lag from which χ² accepts a straight line, so that vibration and
    correlated back-jumps at short times do not bias it.

    Parameters
    ----------
    positions : ndarray, shape (T, N, 3)
        Unwrapped positions of the diffusing atoms, drift removed, Å.
    timestep : float
        Time between frames, ps.
    n_lags : int
        Lags, evenly spaced in the logarithm.
    last : float, optional
        Longest lag, ps; default: a quarter of the trajectory.
    rng : numpy.random.Generator, optional
        For the bootstrap, used where no window is linear.

    Raises
    ------
    ValueError
        Too few frames for a regression.
    """
    n_frames, n_atoms, _ = positions.shape
    lags = log_lags(n_frames, n_lags, None if last is None else round(last / timestep))
    by_atom = atom_msd(positions, lags)
    msd = by_atom.mean(axis=1)
    kernels = covariance_kernels(lags, n_frames)
    first = _first_linear(lags, msd.mean(axis=1), kernels, 3 * n_atoms)
    method = "gls" if first >= 0 else "bootstrap"
    window = slice(first if first >= 0 else len(lags) - MIN_LAGS, None)

    def fit(curve: np.ndarray, n_series: int) -> Line:
        return fit_line(lags[window], curve[window], kernels[:, window, window], n_series)

    line = fit(msd.mean(axis=1), 3 * n_atoms)
    along = [fit(msd[:, k], n_atoms) for k in range(3)]
    errors = np.array([each.error for each in [*along, line]])
    if method == "bootstrap":
        slopes = np.polynomial.polynomial.polyfit(
            lags[window], by_atom[window].reshape(-1, 3 * n_atoms), 1
        )[1].reshape(n_atoms, 3)
        errors = _bootstrap_error(slopes, np.random.default_rng(rng))
    per_time = 1.0 / (2.0 * timestep)
    return Diffusivity(
        value=line.slope * per_time,
        error=float(errors[3] * per_time),
        directions=np.array([each.slope for each in along]) * per_time,
        direction_errors=errors[:3] * per_time,
        times=lags * timestep,
        msd=msd,
        window=(lags[window][0] * timestep, lags[-1] * timestep),
        localised=3.0 * line.noise,
        p_value=line.p_value,
        method=method,
    )
