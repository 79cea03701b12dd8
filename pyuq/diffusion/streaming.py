# SPDX-License-Identifier: GPL-2.0-or-later
"""Mean squared displacements of trajectories that do not fit into memory."""

from dataclasses import dataclass, field

import numpy as np

from pyuq.brief import brief
from pyuq.diffusion.regression import MIN_LAGS
from pyuq.errors import InputError

WIDTH = 4  # lags in each octave


@brief()
@dataclass
class StreamingMSD:
    r"""Squared displacements averaged over time, in one pass.

    Level l sees every :math:`2^l`-th frame and keeps the last 2 × ``width`` of them. It averages

    .. math::
        \frac{1}{n} \sum_{j} [x_{nα}(2^l j + k) - x_{nα}(2^l j)]^2

    over all of its origins, at the lags :math:`k = 2^l (w+1), …, 2^l\,2w` (level 0: 1, …, 2w). Lags up to 2w
    therefore use every origin, longer ones an origin in each :math:`2^l` frames, between a (w+1)-th and a 2w-th of
    the lag; nothing is smoothed. The covariance knows the spacing of origins. Memory is that of
    :math:`2w \log_2 T` frames.

    Parameters
    ----------
    width : int
    """

    width: int = WIDTH
    _n_frames: int = field(default=0, init=False)
    _origin: np.ndarray | None = field(default=None, init=False)
    _levels: list["_Level"] = field(default_factory=list, init=False)

    def update(self, positions: np.ndarray) -> None:
        """Take in the next frames.

        Parameters
        ----------
        positions : ndarray, shape (C, N, 3)
            Unwrapped positions, drift removed, Å.

        Raises
        ------
        InputError
            The frames have another number of atoms than earlier ones.
        """
        positions = np.asarray(positions, dtype=float)
        if self._origin is None:
            self._origin = positions[0].copy()
        elif positions.shape[1:] != self._origin.shape:
            raise InputError(
                f"frames have shape {positions.shape[1:]}, earlier ones had {self._origin.shape}: "
                "expected the same atoms"
            )
        # Frame 0 belongs to all levels; relative to itself it is zero, and there from the beginning.
        frames = positions - self._origin
        if self._n_frames == 0:
            frames, self._n_frames = frames[1:], 1
        start, level, self._n_frames = self._n_frames, 0, self._n_frames + len(frames)
        while len(frames):
            if level == len(self._levels):
                first = 1 if level == 0 else self.width + 1
                lags = np.arange(first, 2 * self.width + 1)
                self._levels.append(_Level(lags, 2 * self.width, frames.shape[1:]))
            self._levels[level].update(frames)
            # The next level takes the even ones of this level's frames.
            skip = start % 2
            frames, start, level = frames[skip::2], (start + 1) // 2, level + 1

    def averages(self, last: int | None = None) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
        """What has been averaged so far; the arguments of ``SelfDiffusion.compute_msd``.

        Parameters
        ----------
        last : int, optional
            Longest lag, frames; default: a quarter of the trajectory.

        Returns
        -------
        lags : ndarray of int, shape (L,)
            Frames.
        by_atom : ndarray, shape (L, N, 3)
            Å².
        n_frames : int
        spacing : ndarray of int, shape (L,)
            Frames between the origins of each lag.

        Raises
        ------
        InputError
            Too few frames for a regression.
        """
        last = self._n_frames // 4 if last is None else last
        rows = [
            (lag << level, total / count, 1 << level)
            for level, state in enumerate(self._levels)
            for lag, total, count in zip(state.lags, state.totals, state.counts, strict=True)
            if count and lag << level <= last
        ]
        if len(rows) < MIN_LAGS:
            raise InputError(
                f"{self._n_frames} frames and a last lag of {last} frames give {len(rows)} lags: expected at least "
                f"{MIN_LAGS}; run longer or write frames more often"
            )
        lags, averages, spacing = zip(*rows, strict=True)
        return np.array(lags), np.array(averages), self._n_frames, np.array(spacing)


class _Level:
    """Sums of squared displacements between frames of one spacing, of which the first is zero."""

    def __init__(self, lags: np.ndarray, memory: int, shape: tuple[int, ...]):
        self.lags = lags
        self.memory = memory
        self.totals = np.zeros((len(lags), *shape))
        self.counts = np.zeros(len(lags), dtype=int)
        self.past = np.zeros((1, *shape))

    def update(self, frames: np.ndarray) -> None:
        frames = np.concatenate([self.past, frames])
        known = len(self.past)
        for k, lag in enumerate(self.lags):
            later = frames[max(lag, known) :]
            if len(later):
                moved = later - frames[max(lag, known) - lag : len(frames) - lag]
                self.totals[k] += np.einsum("tna,tna->na", moved, moved)
                self.counts[k] += len(later)
        self.past = frames[-self.memory :].copy()
