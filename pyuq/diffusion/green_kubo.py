# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-diffusivity from velocities: an independent check of the regression on displacements."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, integrate, stats

from pyuq.brief import brief
from pyuq.diffusion.self_diffusion import require_times
from pyuq.errors import InputError

BLOCK = 2**18  # doubles transformed at once
FLAT = 2.0  # standard errors within which the running integral counts as flat
N_CUTOFFS = 60
COARSE = 0.5  # of the correlation at time 0, below which frames are too far apart


@brief()
@dataclass(frozen=True)
class VelocityCorrelation:
    """Velocity autocorrelation of a group of atoms, and its integral.

    Attributes
    ----------
    times : ndarray, shape (L,)
        ps.
    vacf, vacf_error : ndarray, shape (L,)
        ⟨v(0)·v(t)⟩ and its standard error, Å²/ps².
    integral, integral_error : ndarray, shape (L,)
        Running diffusivity, a third of the integral up to t, Å²/ps.
    cutoff : float
        Time from which, over as long again, the integral stays flat, ps.
    value, error : float
        Mean of the running diffusivity over that time, Å²/ps.
    dof : int
        Atoms less one.
    flat : bool
        Whether such a time was found.
    """

    times: np.ndarray
    vacf: np.ndarray
    vacf_error: np.ndarray
    integral: np.ndarray
    integral_error: np.ndarray
    cutoff: float
    value: float
    error: float
    dof: int
    flat: bool

    def widened(self, error: float) -> "VelocityCorrelation":
        """The same with a further, independent standard error, Å²/ps."""
        return replace(self, error=float(np.hypot(self.error, error)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of D, Å²/ps."""
        reach = stats.t.ppf(0.5 + level / 2, self.dof) * self.error
        return float(self.value - reach), float(self.value + reach)

    def verdict(self) -> str:
        """One sentence for a report."""
        if self.vacf[1] < COARSE * self.vacf[0]:
            return (
                f"velocities {self.times[1]:.3g} ps apart are too far from each other to be integrated: "
                f"the correlation falls to {self.vacf[1] / self.vacf[0]:.2f} in one frame"
            )
        low, high = self.interval()
        text = f"Green–Kubo: D = {self.value:.4g} Å²/ps, 95 % interval {low:.4g} to {high:.4g}"
        return text if self.flat else f"{text}; the integral does not become flat: run longer"

    def to_dict(self) -> dict:
        """Plain numbers and lists, for JSON."""
        return {
            "diffusivity": self.value,
            "error": self.error,
            "dof": self.dof,
            "interval": list(self.interval()),
            "cutoff": self.cutoff,
            "flat": self.flat,
            "verdict": self.verdict(),
            "times": self.times.tolist(),
            "vacf": self.vacf.tolist(),
            "vacf_error": self.vacf_error.tolist(),
            "integral": self.integral.tolist(),
            "integral_error": self.integral_error.tolist(),
        }


@brief()
@dataclass(frozen=True)
class GreenKubo:
    r"""Integral of the velocity autocorrelation.

    .. math:: D = \tfrac13 \int_0^\infty ⟨v(0)·v(t)⟩\,dt

    All errors are standard errors between atoms.

    Parameters
    ----------
    timestep : float
        Time between frames, ps; must resolve the vibrations.
    last : float, optional
        Longest time, ps; default: a quarter of the trajectory.

    References
    ----------
    M. S. Green, J. Chem. Phys. 22, 398 (1954); R. Kubo, J. Phys. Soc. Jpn. 12, 570 (1957).
    """

    timestep: float
    last: float | None = None

    def __post_init__(self):
        require_times(self, "timestep", "last")

    def compute(self, velocities: np.ndarray) -> VelocityCorrelation:
        """Correlate and integrate.

        Parameters
        ----------
        velocities : ndarray, shape (T, N, 3)
            Of the group, relative to its frame of reference, Å/ps.

        Raises
        ------
        InputError
            Fewer than two atoms, too few frames, or a velocity that is not finite.
        """
        velocities = np.asarray(velocities, dtype=float)
        n_frames, n_atoms = velocities.shape[:2]
        n_lags = n_frames // 4 if self.last is None else round(self.last / self.timestep)
        if n_atoms < 2 or not 4 <= n_lags < n_frames:
            raise InputError(
                f"{n_atoms} atoms and correlations over {n_lags} of {n_frames} frames: expected at least two "
                "atoms and four frames, and fewer than the trajectory has"
            )
        if not np.isfinite(velocities).all():
            raise InputError("a velocity is not finite: expected numbers; did the run blow up?")
        by_atom = atom_vacf(velocities, n_lags)
        integral = integrate.cumulative_trapezoid(by_atom, dx=self.timestep, axis=0, initial=0) / 3
        first, flat = _plateau(integral)
        values = integral[first : 2 * first + 1].mean(axis=0)
        mean = integral.mean(axis=1)
        return VelocityCorrelation(
            times=np.arange(n_lags) * self.timestep,
            vacf=by_atom.mean(axis=1),
            vacf_error=_between(by_atom),
            integral=mean,
            integral_error=_between(integral),
            cutoff=first * self.timestep,
            value=float(values.mean()),
            error=float(_between(values)),
            dof=n_atoms - 1,
            flat=flat,
        )


def atom_vacf(velocities: np.ndarray, n_lags: int) -> np.ndarray:
    """Velocity autocorrelation of each atom at lags 0 to n_lags - 1, by FFT.

    Parameters
    ----------
    velocities : ndarray, shape (T, N, 3)
        Å/ps.
    n_lags : int

    Returns
    -------
    ndarray, shape (n_lags, N)
        Sum over the three directions, Å²/ps².
    """
    n_frames, n_atoms, _ = velocities.shape
    length = fft.next_fast_len(n_frames + n_lags, real=True)
    counts = n_frames - np.arange(n_lags)
    result = np.empty((n_lags, n_atoms))
    step = max(1, BLOCK // (6 * n_frames))
    for start in range(0, n_atoms, step):
        v = np.ascontiguousarray(np.moveaxis(velocities[:, start : start + step], 0, -1))
        spectrum = fft.rfft(v, length)
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
        result[:, start : start + step] = (fft.irfft(power, length)[:, :n_lags] / counts).T
    return result


def _between(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the last axis."""
    return np.std(values, axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def _plateau(integral: np.ndarray) -> tuple[int, bool]:
    """First frame k such that the integral (L, N) changes from k to 2k by less than its error; else the last."""
    latest = (len(integral) - 1) // 2
    for k in np.unique(np.geomspace(1, latest, N_CUTOFFS).astype(int)):
        change = integral[k + 1 : 2 * k + 1] - integral[k]
        if (np.abs(change.mean(axis=1)) <= FLAT * _between(change)).all():
            return int(k), True
    return latest, False
