# SPDX-License-Identifier: GPL-2.0-or-later
"""Mean squared displacements of unwrapped trajectories."""

import numpy as np
from scipy import fft

from pyuq.errors import InputError

BLOCK = 2**18  # doubles transformed at once, 2 MB: memory does not grow with the atoms
LINE = 8  # doubles in a line of the cache


def remove_drift(
    positions: np.ndarray, framework: np.ndarray | None = None, masses: np.ndarray | None = None
) -> np.ndarray:
    """Positions relative to the centre of a group in the same frame.

    Parameters
    ----------
    positions : ndarray, shape (T, N, 3)
        Unwrapped positions, Å.
    framework : ndarray of bool or int, shape (N,) or (n,), optional
        Atoms that define the frame of reference; default: all.
    masses : ndarray, shape (N,), optional
        Weights of the centre; default: equal.

    Returns
    -------
    ndarray, shape (T, N, 3)

    Raises
    ------
    InputError
        The group is empty.
    """
    group = slice(None) if framework is None else np.asarray(framework)
    members = positions[:, group]
    if not members.shape[1]:
        raise InputError("the group that defines the frame of reference has no atom: expected some")
    weights = None if masses is None else np.asarray(masses)[group]
    return positions - np.average(members, axis=1, weights=weights)[:, None, :]


def atom_msd(positions: np.ndarray, lags: np.ndarray) -> np.ndarray:
    r"""Time-averaged squared displacement of each atom along each direction.

    .. math::
        M_{nα}(k) = \frac{1}{T-k} \sum_{t=0}^{T-k-1} [x_{nα}(t+k) - x_{nα}(t)]^2

    in O(T log T), the cross term by an FFT.

    Parameters
    ----------
    positions : ndarray, shape (T, N, 3)
        Unwrapped positions, Å.
    lags : ndarray of int, shape (L,)
        Lags in frames, 0 < lag < T.

    Returns
    -------
    ndarray, shape (L, N, 3)
        In Å².

    Raises
    ------
    InputError
        A lag below 1, or not below the number of frames.

    References
    ----------
    V. Calandrini et al., École thématique de la Société Française de la Neutronique 12, 201 (2011).
    """
    lags = np.asarray(lags)
    n_frames = len(positions)
    if lags.min() < 1 or lags.max() >= n_frames:
        raise InputError(
            f"lags reach from {lags.min()} to {lags.max()}: expected 1 to {n_frames - 1}, "
            f"as the trajectory has {n_frames} frames"
        )
    columns = np.asarray(positions).reshape(n_frames, -1)
    length = fft.next_fast_len(n_frames + int(lags.max()), real=True)
    cosines = _inverse_transform(lags, length)
    result = np.empty((len(lags), columns.shape[1]))
    step = max(1, BLOCK // (2 * n_frames))
    if step > LINE:
        step -= step % LINE
    for start in range(0, columns.shape[1], step):
        block = slice(start, start + step)
        series = np.array(columns[:, block].T, dtype=float, order="C")
        result[:, block] = _series_msd(series, lags, length, cosines)
    return result.reshape(len(lags), *np.shape(positions)[1:])


def atom_tensor_msd(positions: np.ndarray, lags: np.ndarray) -> np.ndarray:
    r"""Time-averaged products of each atom's displacements.

    Off the diagonal from the polarisation identity
    :math:`2\,Δ_α Δ_β = (Δ_α + Δ_β)^2 - Δ_α^2 - Δ_β^2`.

    Parameters
    ----------
    positions : ndarray, shape (T, N, 3)
        Unwrapped positions, Å.
    lags : ndarray of int, shape (L,)

    Returns
    -------
    ndarray, shape (L, N, 6)
        xx yy zz xy xz yz, Å².
    """
    squares = atom_msd(positions, lags)
    x, y, z = np.moveaxis(np.asarray(positions, dtype=float), 2, 0)
    sums = atom_msd(np.stack([x + y, x + z, y + z], axis=2), lags)
    xx, yy, zz = np.moveaxis(squares, 2, 0)
    products = 0.5 * (sums - np.stack([xx + yy, xx + zz, yy + zz], axis=2))
    return np.concatenate([squares, products], axis=2)


def _inverse_transform(lags: np.ndarray, length: int) -> np.ndarray:
    """Matrix (F, L) from a real power spectrum to the autocorrelation at a few lags.

    For some forty lags one product with it is faster than an inverse FFT.
    """
    turns = np.outer(np.arange(length // 2 + 1), lags) % length
    cosines = np.cos(2.0 * np.pi / length * turns) * (2.0 / length)
    cosines[0] /= 2.0
    if length % 2 == 0:
        cosines[-1] /= 2.0
    return cosines


def _series_msd(x: np.ndarray, lags: np.ndarray, length: int, cosines: np.ndarray) -> np.ndarray:
    """Time-averaged squared displacements of scalar series; x (S, T), overwritten → (L, S)."""
    n_frames = x.shape[1]
    # Displacements from each series' own mean: cancellation in S1 - 2 S2 costs fewer digits.
    x -= x.mean(axis=1, keepdims=True)
    spectrum = fft.rfft(x, length, axis=1)
    products = (spectrum.real**2 + spectrum.imag**2) @ cosines
    # Σ x(t+k)² + x(t)² over the T-k pairs, from sums between the places where one of them begins or ends.
    x *= x
    cuts = np.unique(np.concatenate([[0], lags, n_frames - lags]))
    sums = np.cumsum(np.add.reduceat(x, cuts, axis=1), axis=1)
    before = np.concatenate([np.zeros((len(x), 1)), sums], axis=1)
    lower, upper = np.searchsorted(cuts, lags), np.searchsorted(cuts, n_frames - lags)
    squares = sums[:, -1:] - before[:, lower] + before[:, upper]
    return ((squares - 2.0 * products) / (n_frames - lags)).T
