# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-diffusivity of a group of atoms with a calibrated interval."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pyuq.brief import brief, html_table
from pyuq.diffusion.msd import atom_msd, atom_tensor_msd
from pyuq.diffusion.regression import (
    GUARD,
    N_LAGS,
    Line,
    covariance_kernels,
    fit_line,
    larger_error,
    linear_window,
    log_lags,
)
from pyuq.errors import InputError

PER_CM2_S = 1e-4  # cm²/s in one Å²/ps
LEVEL = 0.95
SITE = 2.5  # Å, from one site of an ion to the next, about
FEW = 2.0  # times that, up to which few hops have been seen
EARLY = 0.6  # times that, moved at the beginning of the window, up to which hops that are undone are still to come
CAGED = 0.5  # logarithmic slope of the MSD up to which cages hold more of it than diffusion


@brief()
@dataclass(frozen=True)
class Diffusivity:
    """Diffusivity D of a group of atoms, and what it was read from.

    Attributes
    ----------
    value, error : float
        D and its standard error, Å²/ps.
    dof : float
        Degrees of freedom of the error: atoms less one where it is the spread between them, else infinite.
    directions, direction_errors : ndarray, shape (3,)
        The same along x, y and z.
    tensor, tensor_errors : ndarray, shape (3, 3), or None
        All components, where asked for.
    times : ndarray, shape (L,)
        Lags, ps.
    msd : ndarray, shape (L, 3)
        Mean squared displacement along each direction, Å².
    msd_error : ndarray, shape (L,)
        Standard error of the sum over directions, Å².
    window : tuple of float
        First and last lag of the regression, ps.
    localised : float
        Intercept of the three-dimensional line, Å²: motion that does not diffuse.
    chi2_dof : float
        χ² of the line over its degrees of freedom, with the Brownian covariance.
    linear : bool
        Whether some window of the MSD is a line within its errors.
    scan : ndarray, shape (n, 3)
        First lag (ps), D and error (Å²/ps) of every window that ends at the last lag.
    n_atoms, n_frames : int
    """

    value: float
    error: float
    dof: float
    directions: np.ndarray
    direction_errors: np.ndarray
    tensor: np.ndarray | None
    tensor_errors: np.ndarray | None
    times: np.ndarray
    msd: np.ndarray
    msd_error: np.ndarray
    window: tuple[float, float]
    localised: float
    chi2_dof: float
    linear: bool
    scan: np.ndarray
    n_atoms: int
    n_frames: int

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Confidence interval of D, Å²/ps."""
        reach = stats.t.ppf(0.5 + level / 2, self.dof) * self.error
        return float(self.value - reach), float(self.value + reach)

    def scaled(self, factor: float) -> "Diffusivity":
        """D and its error times a factor; curves as they are."""
        return replace(self, value=self.value * factor, error=self.error * factor)

    def widened(self, error: float) -> "Diffusivity":
        """The same with a further, independent standard error, Å²/ps."""
        if not error:
            return self
        tensor = None if self.tensor_errors is None else np.hypot(self.tensor_errors, error)
        return replace(
            self,
            error=float(np.hypot(self.error, error)),
            direction_errors=np.hypot(self.direction_errors, error),
            tensor_errors=tensor,
        )

    @property
    def value_cm2_s(self) -> float:
        """D in cm²/s."""
        return self.value * PER_CM2_S

    @property
    def duration(self) -> float:
        """Length of the trajectory, ps."""
        return float(self.n_frames * self.times[0])

    @property
    def log_slope(self) -> float:
        """Slope of ln MSD against ln t at the end of the window: 1 for pure diffusion, 0 in a cage."""
        growth = 6.0 * self.value * self.window[1]
        return growth / (growth + max(self.localised, 0.0)) if growth > 0 else 0.0

    @property
    def resolved(self) -> bool:
        """Whether D differs from zero and the atoms leave their cage within the window."""
        return bool(self.interval()[0] > 0.0 and self.log_slope > CAGED)

    def _repr_html_(self) -> str:
        """Table of a notebook: D along each direction and in all, with its interval."""
        low, high = self.interval()
        rows = [
            (axis, float(value), float(error), "")
            for axis, value, error in zip(
                "xyz", self.directions, self.direction_errors, strict=True
            )
        ]
        rows.append(("all", float(self.value), float(self.error), f"{low:.4g} to {high:.4g}"))
        head = ("direction", "D, Å²/ps", "standard error", "95 % interval")
        return html_table("Diffusivity", head, rows, self.verdict())

    def verdict(self) -> str:
        """One sentence for a report."""
        low, high = self.interval()
        text = f"D = {self.value:.4g} Å²/ps, 95 % interval {low:.4g} to {high:.4g}"
        if not self.resolved:
            return f"no diffusion resolved: over {self.window[1]:.3g} ps the MSD stays in its cage ({text})"
        if not self.linear:
            return f"{text}; no part of the MSD is linear within its errors: run longer"
        moved = self.moved
        first = moved * np.sqrt(self.window[0] / self.window[1])
        # Atoms that scatter as few hops do, on a line that begins before hops can have been undone.
        early = np.isfinite(self.dof) and moved < FEW * SITE and first < EARLY * SITE
        if moved < SITE or early:
            return (
                f"{text}; within {self.window[1]:.3g} ps the atoms moved {moved:.2g} Å, hardly from one site to the "
                f"next (about {SITE} Å): hops that are undone later are counted, and D may be up to twice too large. "
                "Run longer"
            )
        return text

    @property
    def moved(self) -> float:
        """Root of the mean squared displacement by diffusion at the end of the window, Å."""
        return float(np.sqrt(max(6.0 * self.value * self.window[1], 0.0)))

    def to_dict(self) -> dict:
        """Plain numbers and lists, for JSON; ``dof`` is None where infinite."""
        return {
            "diffusivity": self.value,
            "error": self.error,
            "dof": self.dof if np.isfinite(self.dof) else None,
            "interval": list(self.interval()),
            "diffusivity_cm2_s": self.value_cm2_s,
            "directions": self.directions.tolist(),
            "direction_errors": self.direction_errors.tolist(),
            "tensor": None if self.tensor is None else self.tensor.tolist(),
            "tensor_errors": None if self.tensor_errors is None else self.tensor_errors.tolist(),
            "window": list(self.window),
            "localised": self.localised,
            "log_slope": self.log_slope,
            "chi2_dof": self.chi2_dof,
            "linear": self.linear,
            "resolved": self.resolved,
            "verdict": self.verdict(),
            "n_atoms": self.n_atoms,
            "n_frames": self.n_frames,
            "times": self.times.tolist(),
            "msd": self.msd.tolist(),
            "msd_error": self.msd_error.tolist(),
            "scan": self.scan.tolist(),
        }


def require_times(settings, *names: str) -> None:
    """Check that settings are positive times; None stands for a default.

    Raises
    ------
    InputError
        A setting is not a positive, finite time.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"{name} {value}: expected a positive time")


@brief()
@dataclass(frozen=True)
class SelfDiffusion:
    """Self-diffusivity by generalised least squares on the mean squared displacement.

    The regression starts where the curve is straight, so that vibration and correlated back-jumps at short
    times do not bias it (:func:`pyuq.diffusion.regression.linear_window`).

    Parameters
    ----------
    timestep : float
        Time between frames, ps.
    n_lags : int
        Lags, evenly spaced in the logarithm.
    last : float, optional
        Longest lag, ps; default: a quarter of the trajectory.
    first : float, optional
        First lag of the regression, ps; default: as the data tell.
    tensor : bool
        Compute all components of D (twice the time).

    References
    ----------
    J. T. Bullerjahn, S. von Bülow and G. Hummer, J. Chem. Phys. 153, 024116 (2020).
    """

    timestep: float
    n_lags: int = N_LAGS
    last: float | None = None
    first: float | None = None
    tensor: bool = False

    def __post_init__(self):
        require_times(self, "timestep", "first", "last")

    def compute(self, positions: np.ndarray) -> Diffusivity:
        """Analyse a trajectory.

        Parameters
        ----------
        positions : ndarray, shape (T, N, 3)
            Unwrapped positions of the diffusing atoms, drift removed, Å.

        Returns
        -------
        Diffusivity

        Raises
        ------
        InputError
            Another shape, no atoms, a position that is not finite, or too few frames.
        """
        positions = np.asarray(positions)
        if positions.ndim != 3 or positions.shape[2] != 3 or not positions.shape[1]:
            raise InputError(f"positions have shape {positions.shape}: expected (T, N, 3), N > 0")
        last = None if self.last is None else round(self.last / self.timestep)
        lags = log_lags(len(positions), self.n_lags, last)
        by_atom = (atom_tensor_msd if self.tensor else atom_msd)(positions, lags)
        return self.compute_msd(lags, by_atom, len(positions))

    def compute_msd(
        self,
        lags: np.ndarray,
        by_atom: np.ndarray,
        n_frames: int,
        spacing: np.ndarray | None = None,
    ) -> Diffusivity:
        """Analyse squared displacements that are already averaged over time.

        Parameters
        ----------
        lags : ndarray of int, shape (L,)
            In frames, ascending.
        by_atom : ndarray, shape (L, N, 3) or (L, N, 6)
            Squared displacements from :func:`atom_msd`, or with the products xy, xz, yz from
            :func:`atom_tensor_msd`, Å².
        n_frames : int
            Length of the trajectory.
        spacing : ndarray of int, shape (L,), optional
            Frames between origins, as :class:`StreamingMSD` gives them; default: 1.

        Raises
        ------
        InputError
            A squared displacement is not finite.
        """
        if not np.isfinite(by_atom).all():
            atom = int(np.argwhere(~np.isfinite(by_atom))[0, 1])
            raise InputError(
                f"atom {atom} of the group (counted from 0) has a position that is not finite: "
                "expected numbers; did the run blow up?"
            )
        along = np.moveaxis(by_atom, 2, 0)
        isotropic = along[:3].mean(axis=0)
        n_atoms = by_atom.shape[1]
        regression = _Regression(lags, n_frames, np.ones(len(lags)) if spacing is None else spacing)
        first, linear = self._first(regression, isotropic)
        best = regression.slope(isotropic, 3 * n_atoms, first)
        directions = [regression.slope(m, n_atoms, first) for m in along[:3]]
        scan = [regression.slope(isotropic, 3 * n_atoms, k) for k in range(len(lags) - 2)]
        rate = 0.5 / self.timestep
        tensor = tensor_errors = None
        if len(along) == 6:
            tensor, tensor_errors = (rate * m for m in _tensor(directions, best, along[3:]))
        return Diffusivity(
            value=best.value * rate,
            error=best.error * rate,
            dof=n_atoms - 1 if best.between_atoms else np.inf,
            directions=np.array([d.value for d in directions]) * rate,
            direction_errors=np.array([d.error for d in directions]) * rate,
            tensor=tensor,
            tensor_errors=tensor_errors,
            times=lags * self.timestep,
            msd=along[:3].mean(axis=2).T,
            msd_error=_msd_error(isotropic, regression, best.line),
            window=(float(lags[first] * self.timestep), float(lags[-1] * self.timestep)),
            localised=3.0 * best.line.noise,
            chi2_dof=best.line.chi2 / best.line.dof if best.line.dof else np.nan,
            linear=linear,
            scan=np.array(
                [(lags[s.first] * self.timestep, s.value * rate, s.error * rate) for s in scan]
            ),
            n_atoms=n_atoms,
            n_frames=n_frames,
        )

    def _first(self, regression: "_Regression", isotropic: np.ndarray) -> tuple[int, bool]:
        """Index of the first lag of the regression, and whether the data accept a line from there."""
        lags = regression.lags
        if self.first is None:
            kernels = covariance_kernels(lags, regression.n_frames, regression.spacing)
            return linear_window(lags, isotropic, kernels, 3 * isotropic.shape[1])
        first = int(np.searchsorted(lags * self.timestep, self.first * (1 - 1e-9)))
        if len(lags) - first < 3:
            raise InputError(
                f"the regression would start at {self.first} ps and leave {len(lags) - first} lags: expected "
                f"a first lag well below the last one, {lags[-1] * self.timestep:.4g} ps"
            )
        return first, True


def self_diffusivity(positions: np.ndarray, timestep: float, **options) -> Diffusivity:
    """Self-diffusivity of the atoms given: ``SelfDiffusion(timestep, **options).compute(positions)``."""
    return SelfDiffusion(timestep, **options).compute(positions)


@brief()
@dataclass(frozen=True)
class _Slope:
    """Slope of a window, per frame (Å²), with the larger of its two errors."""

    first: int
    line: Line
    value: float
    error: float
    between_atoms: bool


@brief()
@dataclass(frozen=True)
class _Regression:
    """Lines through the lags from one on."""

    lags: np.ndarray
    n_frames: int
    spacing: np.ndarray

    def kernels(self, first: int) -> np.ndarray:
        """Covariance of the window that starts at index `first`.

        Localised motion need not be white as the covariance has it: an atom that jumps back does so some frames
        later. It is forgotten after the lag that was found linear, of which the window starts at ``GUARD`` times; all
        origins closer than that count as one.
        """
        spacing = np.maximum(self.spacing, self.lags[first] / GUARD)
        return covariance_kernels(self.lags[first:], self.n_frames, spacing[first:])

    def slope(self, by_atom: np.ndarray, n_series: int, first: int) -> _Slope:
        """Line through the mean over atoms of by_atom (L, N)."""
        window = by_atom[first:]
        line = fit_line(self.lags[first:], window.mean(axis=1), self.kernels(first), n_series)
        error, between = larger_error(line.error, line.weights @ window)
        return _Slope(first, line, line.slope, error, between)


def _tensor(
    directions: list[_Slope], best: _Slope, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (3, 3) and errors of all components, from the displacement products xy, xz, yz (3, L, N).

    The product of two independent directions has half the variance of a square.
    """
    values = np.diag([d.value for d in directions])
    errors = np.diag([d.error for d in directions])
    for (a, b), product in zip(((0, 1), (0, 2), (1, 2)), products, strict=True):
        slopes = best.line.weights @ product[best.first :]
        values[a, b] = values[b, a] = slopes.mean()
        errors[a, b] = errors[b, a] = larger_error(np.sqrt(1.5) * best.line.error, slopes)[0]
    return values, errors


def _msd_error(isotropic: np.ndarray, regression: _Regression, line: Line) -> np.ndarray:
    """Standard error (L,) of the three-dimensional MSD."""
    lags, slope = regression.lags, max(line.slope, 0.0)
    kernels = covariance_kernels(lags, regression.n_frames, regression.spacing)
    # At lags below the window less has accumulated than the line's intercept.
    noise = np.clip(isotropic.mean(axis=1) - slope * lags, 0.0, max(line.noise, 0.0))
    powers = np.array([np.full(len(lags), slope**2), slope * noise, noise**2])
    brownian = np.sqrt(
        3.0 / isotropic.shape[1] * (powers * np.einsum("pll->pl", kernels)).sum(axis=0)
    )
    return np.array([larger_error(b, 3.0 * m)[0] for b, m in zip(brownian, isotropic, strict=True)])
