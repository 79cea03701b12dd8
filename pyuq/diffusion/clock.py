# SPDX-License-Identifier: GPL-2.0-or-later
"""Time between frames, from three sources: the time step given, the times in the file, the velocities."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.trajectory import Trajectory

PICOSECONDS = {"metal": 1.0, "real": 1e-3}  # unit of time of LAMMPS's unit styles that measure in Å
STEPS = (1e-5, 0.1)  # ps, shortest and longest of a simulation; others are in another unit
AGREE = 0.01  # relative difference of two statements of the time step
STEADY = 0.02  # relative range of time steps that count as one
UNIT = 20.0  # times all time steps of a run: what is given is in another unit
SMOOTH = 0.1  # correlation of velocities from frame to frame from where on they tell the time between frames
STRAIGHT = 0.8  # correlation of moves with mean velocities, likewise
EXACT, COARSE = (
    0.05,
    0.4,
)  # relative difference of that time from the one stated, at a correlation of 1; and more below
ROUNDING = 1e-3  # Å, of positions in a dump, generously
SNAP = 0.01  # of the time between frames: a frame is taken as it is


@brief("timestep", "units", "remarks")
class Clock:
    """Time between frames.

    Parameters
    ----------
    timestep : float, or None
        As given by the user, in the unit of `units`; None where the file has times.
    units : {"metal", "real"}

    Attributes
    ----------
    remarks : list of str
    """

    def __init__(self, timestep: float | None, units: str):
        self.timestep = timestep
        self.units = units
        self.remarks: list[str] = []
        self._steps: list[np.ndarray] = []
        self._times: list[np.ndarray] = []
        self._last: Trajectory | None = None
        self._sums = np.zeros(
            5
        )  # d v, v v, v v', d d and v² at both ends, over moves d between frames

    def watch(self, pieces: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """Look at pieces as they come; those with times come out evenly spaced in time.

        Raises
        ------
        InputError
            What is said of the time step contradicts itself.
        """
        return _evenly(self._look(pieces))

    def _look(self, pieces: Iterable[Trajectory]) -> Iterator[Trajectory]:
        for number, piece in enumerate(pieces):
            self._steps.append(piece.steps)
            if piece.times is not None:
                self._times.append(piece.times)
            self._compare_velocities(piece)
            if number == 0:
                self._check_timestep(piece)
            yield piece
        self.check()

    @property
    def spacing(self) -> float:
        """Time between the frames that come out, ps."""
        steps = np.concatenate(self._steps)
        unit = PICOSECONDS[self.units]
        if not self._times:
            return float((steps[1] - steps[0]) * self.timestep * unit)
        return _interval(self._times) * unit

    def check(self) -> None:
        """Compare the sources of the time step; they must agree.

        Raises
        ------
        InputError
            It does not agree; or nothing speaks of it.
        """
        steps = np.concatenate(self._steps)
        if self._times:
            self._check_times(steps, np.concatenate(self._times))
        elif self.timestep is None:
            raise InputError(
                "the file has no times: give the time step, timestep=0.002 (--timestep 0.002), or write them "
                "(dump_modify time yes)"
            )
        self._check_velocities(steps)

    def _check_timestep(self, piece: Trajectory) -> None:
        if self.timestep is None:
            return
        step = self.timestep * PICOSECONDS[self.units]
        if np.diff(piece.steps[:2]).sum() > 1 and not STEPS[0] <= step <= STEPS[1]:  # not frames
            raise InputError(
                f"timestep {self.timestep:g} in units {self.units} is {step:g} ps, which no simulation "
                "takes for a step: expected ps (0.002) in units metal, fs (2) in units real"
            )

    def _check_times(self, steps: np.ndarray, times: np.ndarray) -> None:
        rates = np.diff(times) / np.diff(steps)
        low, high, mean = rates.min(), rates.max(), (times[-1] - times[0]) / (steps[-1] - steps[0])
        if high - low > STEADY * mean:
            self.remarks.append(
                f"the time step changes during the run (ITEM: TIME; {low:.4g} to {high:.4g} in units {self.units}): "
                "the times of the file were used, frames are interpolated to even ones"
            )
            wrong = self.timestep is not None and not low / UNIT < self.timestep < high * UNIT
        else:
            wrong = self.timestep is not None and abs(self.timestep / mean - 1.0) > AGREE
        if wrong:
            raise InputError(
                f"timestep {self.timestep:g}, but the times in the file (ITEM: TIME) make it {mean:.5g} in units "
                f"{self.units}: expected the same; leave out --timestep, or take the lines out where they are wrong "
                "(a dump of `rerun` has those of its own input: sed '/^ITEM: TIME$/,+1d')"
            )

    def _compare_velocities(self, piece: Trajectory) -> None:
        if piece.velocities is None:
            return
        if self._last is not None:
            piece = replace(
                piece,
                positions=np.concatenate([self._last.positions, piece.positions]),
                velocities=np.concatenate([self._last.velocities, piece.velocities]),
                times=None if piece.times is None else np.append(self._last.times, piece.times),
            )
        moves = np.diff(piece.positions, axis=0)
        early, late = piece.velocities[:-1], piece.velocities[1:]
        if piece.times is not None:
            moves = moves / np.diff(piece.times)[:, None, None]
        mean = 0.5 * (early + late)
        pairs = (moves, mean), (mean, mean), (early, late), (moves, moves), (early, early)
        self._sums += [np.vdot(a, b) for a, b in pairs]
        self._last = replace(
            piece,
            positions=piece.positions[-1:],
            velocities=piece.velocities[-1:],
            times=None if piece.times is None else piece.times[-1:],
        )

    def _check_velocities(self, steps: np.ndarray) -> None:
        """Refuse a time step with which velocities do not lead from one frame to the next."""
        along, square, later, far, fast = self._sums
        if fast <= 0 or len(steps) < 2:
            return
        gap = float(steps[1] - steps[0])
        stated = 1.0 if self._times else gap * self.timestep  # moves over times are velocities
        found = along / square if square > 0 else 0.0
        n_moves = self._last.positions.size * (len(steps) - 1)
        longest = np.sqrt(max(fast, later) / n_moves) * stated + ROUNDING / (
            _interval(self._times) if self._times else 1.0
        )
        # Where vibrations are not resolved, moves have little to do with velocities, however these may correlate.
        straight = along > STRAIGHT * np.sqrt(square * far)
        smooth = later > SMOOTH * fast and straight
        # Moves by mean velocities are exact to a fifth of what the correlation lacks to 1, or better.
        tolerance = EXACT + COARSE * max(1.0 - later / fast, 0.0)
        too_far = np.sqrt(far / n_moves) > (1.0 + COARSE) * longest
        if (smooth and abs(found / stated - 1.0) > tolerance) or too_far:
            factor = found / stated if smooth else np.sqrt(far / n_moves) / longest
            hint = f"velocities and moves fit together with {factor * self._said():.3g}"
            if not smooth:
                hint = f"at the speeds in the file, a step of at least {factor * self._said():.3g} leads so far"
            raise InputError(
                f"time step {self._said():.4g} in units {self.units}, but from frame to frame atoms move {factor:.3g} "
                f"times as far as their velocities (vx vy vz) take them: {hint}. Expected a time step, positions and "
                "velocities of one run in the same units"
            )

    def _said(self) -> float:
        if not self._times:
            return self.timestep
        steps, times = np.concatenate(self._steps), np.concatenate(self._times)
        return float((times[-1] - times[0]) / (steps[-1] - steps[0]))


def _interval(times: list[np.ndarray]) -> float:
    """Mean time between the first frames, as many as came first; at least two."""
    first = times[0]
    for more in times[1:]:
        if len(first) > 1:
            break
        first = np.concatenate([first, more])
    return float((first[-1] - first[0]) / (len(first) - 1))


def _evenly(pieces: Iterable[Trajectory]) -> Iterator[Trajectory]:
    """Frames at even times, interpolated between neighbours; pieces without times as they are.

    Interpolated Brownian motion is what is expected of it, given the frames: at lags beyond one frame its mean
    squared displacement is lower by a constant, with the same slope.
    """
    last, count, interval, start = None, 0, None, 0.0
    for piece in pieces:
        if piece.times is None:
            yield piece
            continue
        if last is not None:
            piece = _join(last, piece)
        if interval is None:
            if len(piece.times) < 2:
                last = piece
                continue
            interval, start = _interval([piece.times]), piece.times[0]
        times = piece.times
        n = int(np.floor((times[-1] - start) / interval + SNAP)) + 1
        grid = start + interval * np.arange(count, n)
        count = max(n, count)
        k = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(times) - 2)
        weight = (grid - times[k]) / np.diff(times)[k]
        near = np.round(weight)
        weight = np.clip(np.where(np.abs(weight - near) < SNAP, near, weight), 0.0, 1.0)
        last = _pick(piece, slice(-1, None))
        if len(grid):
            yield _blend(piece, k, weight, grid)


def _join(first: Trajectory, then: Trajectory) -> Trajectory:
    both = {
        name: np.concatenate([getattr(first, name), getattr(then, name)])
        for name in ("steps", "positions", "cells", "times")
    }
    if then.velocities is not None:
        both["velocities"] = np.concatenate([first.velocities, then.velocities])
    return replace(then, **both)


def _pick(piece: Trajectory, chosen) -> Trajectory:
    return replace(
        piece,
        steps=piece.steps[chosen],
        positions=piece.positions[chosen],
        cells=piece.cells[chosen],
        times=piece.times[chosen],
        velocities=None if piece.velocities is None else piece.velocities[chosen],
    )


def _blend(piece: Trajectory, k: np.ndarray, weight: np.ndarray, grid: np.ndarray) -> Trajectory:
    def between(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        w = weight.reshape(-1, *[1] * (values.ndim - 1))
        exact = w == np.round(w)
        whole = values[k + np.round(weight).astype(int)]
        return np.where(exact, whole, (1.0 - w) * values[k] + w * values[k + 1])

    return replace(
        piece,
        steps=piece.steps[k],
        positions=between(piece.positions),
        cells=between(piece.cells),
        velocities=between(piece.velocities),
        times=grid,
    )
