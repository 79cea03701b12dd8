# SPDX-License-Identifier: GPL-2.0-or-later
r"""Trajectories with continuous positions, whole or in pieces.

A position in a periodic cell is unwrapped by adding up displacements between frames,

.. math::
    u(t+1) = u(t) + w(t+1) - w(t) + [n(t+1) - n(t)]\,h(t+1),

with w inside the cell, image counts n and cell h. In a fixed cell this is w + n h. In a changing cell w + n h is
wrong: every fluctuation of h moves an atom n cells away by n times as much, which adds up to diffusion that is not
there; the sum above keeps displacements (the toroidal-view-preserving scheme of Bullerjahn et al.).

References
----------
J. T. Bullerjahn, S. von Bülow, M. Heidari, J. Hénin and G. Hummer, J. Chem. Theory Comput. 19, 3406 (2023).
S. von Bülow, J. T. Bullerjahn and G. Hummer, J. Chem. Phys. 153, 021101 (2020).
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.dump import Frame, LammpsDump
from pyuq.io.structures import known_to_ase

CHUNK = 256  # frames unwrapped at once
LONGEST_HOP = 0.4  # of the cell, in one frame, where only wrapped positions are known
FLIP = 0.3  # strain of the cell in one frame, beside a flip to other vectors of its lattice
FLAT = 1e-6  # sine between cell vectors, about
DOUBTFUL = 0.6  # of the cell, in one frame, from where on a move needs others like it
QUIET = 0.3  # of the cell, up to which all other moves reach where a doubtful one is plainly none
OVERFLOW = 1024  # images after which LAMMPS's flags begin again (2²¹ in builds with large ones)
CROWD = 8  # atoms that tell how atoms move
UNSURE = (
    "an atom moved by most of the extent of all atoms in one frame, and the file names no cell: if the positions are "
    "wrapped, D is wrong; write unwrapped ones (xu yu zu), or the cell and pbc"
)
JUMP = 3.0  # Å, less is no jump by the length of a cell that nobody names
SEAM = 5.0  # times the moves beside it, median over atoms
SHORT = 0.05  # Å, moves of the median atom that no seam explains
UNNAMED = "C"  # element that LAMMPS writes where none was named
JITTER = 0.5  # of the time between frames


@brief()
@dataclass(frozen=True)
class Trajectory:
    """Atoms in the same order in all frames.

    Attributes
    ----------
    steps : ndarray of int, shape (T,)
        As in the file, or frame numbers where it has none.
    species : ndarray of str, shape (N,)
        Elements, or atom types as text.
    ids : ndarray of int, shape (N,)
    positions : ndarray, shape (T, N, 3)
        Unwrapped, Å.
    cells : ndarray, shape (T, 3, 3)
        Rows a, b, c, Å.
    velocities : ndarray, shape (T, N, 3), or None
        Å/ps.
    units : str, or None
        LAMMPS's unit style, where a dump names it.
    times : ndarray, shape (T,), or None
        Of the simulation, in the unit of the file, where it has them (``ITEM: TIME``).
    pbc : tuple of bool
        Periodic directions.
    remarks : tuple of str
        What was mended or guessed up to here, in words.
    """

    steps: np.ndarray
    species: np.ndarray
    ids: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    velocities: np.ndarray | None
    units: str | None = None
    times: np.ndarray | None = None
    pbc: tuple[bool, bool, bool] = (True, True, True)
    remarks: tuple[str, ...] = ()

    @property
    def spacing(self) -> int:
        """Steps between frames.

        Raises
        ------
        InputError
            Frames that are evenly spaced in time, not in steps.
        """
        gaps = np.diff(self.steps)
        if (gaps != gaps[0]).any():
            raise InputError(
                f"frames are {gaps.min()} to {gaps.max()} steps apart: expected even steps; use the times"
            )
        return int(gaps[0])

    @property
    def elements(self) -> np.ndarray:
        """Species without the number of the atom type, (N,)."""
        names, number = np.unique(self.species, return_inverse=True)
        return np.array([element_of(name) for name in names.tolist()])[number]

    @property
    def volume(self) -> float:
        """Mean over the frames, Å³."""
        return float(np.abs(np.linalg.det(self.cells)).mean())

    def group(self, names: str | Sequence[str]) -> np.ndarray:
        """Mask (N,) of the atoms of some species; an element stands for all of its atom types (O for O1 and O3).

        Raises
        ------
        InputError
            A name that no atom has.
        """
        names = [names] if isinstance(names, str) else list(names)
        known = self.species, self.elements
        if missing := [name for name in names if not any(name in k for k in known)]:
            raise InputError(
                f"no atom of species {', '.join(missing)}: the trajectory has "
                f"{', '.join(dict.fromkeys(self.species))}; name atom types with elements=... (--elements)"
            )
        whole = [name for name in names if name not in self.species]
        return np.isin(self.species, names) | np.isin(self.elements, whole)

    def atoms(self, ids: Iterable[int]) -> np.ndarray:
        """Mask (N,) of the atoms with some ids.

        Raises
        ------
        InputError
            An id that no atom has.
        """
        ids = np.asarray(list(ids))
        if (missing := np.setdiff1d(ids, self.ids)).size:
            raise InputError(
                f"no atom with id {missing[:5].tolist()}: ids are {self.ids[0]} to {self.ids[-1]}"
            )
        return np.isin(self.ids, ids)


def element_of(name: str) -> str:
    """Element of a species that carries the number of its atom type (O of O3); other names as they are."""
    from ase.data import atomic_numbers

    bare = name.rstrip("0123456789")
    return bare if bare in atomic_numbers else name


def read_trajectory(path, **options) -> Trajectory:
    """Read a whole trajectory; parameters and errors as :func:`iterate_trajectory`.

    What was mended or guessed is warned of, and stands in ``remarks``.
    """
    pieces = list(iterate_trajectory(path, **options))
    first = pieces[0]
    velocities = [p.velocities for p in pieces]
    for remark in pieces[-1].remarks:
        warnings.warn(f"{path}: {remark}", stacklevel=2)
    return replace(
        first,
        steps=np.concatenate([p.steps for p in pieces]),
        positions=np.concatenate([p.positions for p in pieces]),
        cells=np.concatenate([p.cells for p in pieces]),
        times=None if first.times is None else np.concatenate([p.times for p in pieces]),
        remarks=pieces[-1].remarks,
        velocities=None if first.velocities is None else np.concatenate(velocities),
    )


def iterate_trajectory(
    path,
    elements: Sequence[str] | None = None,
    skip: int = 0,
    stride: int = 1,
    partial: bool = False,
    chunk: int = CHUNK,
) -> Iterator[Trajectory]:
    """Read a trajectory in pieces; positions continue from piece to piece.

    Parameters
    ----------
    path : str, Path or MDAnalysis.Universe
        A LAMMPS text dump (plain or .gz), extended XYZ, anything else that ASE reads, or a universe.
    elements : sequence of str, optional
        Names of the atom types 1, 2, ... of a dump.
    skip : int
        Frames left out at the beginning.
    stride : int
        Every how many frames one is kept. Unwrapping sees all of them.
    partial : bool
        Accept a dump whose last frame is cut short.
    chunk : int
        Frames in a piece.

    Yields
    ------
    Trajectory

    Raises
    ------
    InputError
        What :class:`pyuq.io.dump.LammpsDump` refuses; fewer than two frames; steps that are not evenly spaced, nor
        the times; a position that is not finite; a hop too long to be unwrapped, or one that contradicts the other
        moves; a periodic direction without a cell vector; wrapped positions along one that is not periodic.
    """
    source = _source(path, elements, partial)
    unwrapper = Unwrapper(source.pbc, source.unwrapped, source.honest, skip)
    frames, seen = iter(source), 0
    steps = _Steps(str(path))
    while batch := list(islice(frames, chunk)):
        positions = unwrapper.advance(batch)
        keep = [
            k for k in range(len(batch)) if seen + k >= skip and (seen + k - skip) % stride == 0
        ]
        seen += len(batch)
        if not keep:
            continue
        numbers = np.array([batch[k].step for k in keep])
        times = None
        if all(frame.time is not None for frame in batch):
            times = np.array([batch[k].time for k in keep])
        steps.check(numbers, times)
        velocities = None
        if batch[0].velocities is not None:
            velocities = np.stack([batch[k].velocities for k in keep])
        yield Trajectory(
            steps=numbers,
            species=source.species,
            ids=batch[0].ids,
            positions=positions[keep],
            cells=np.stack([batch[k].cell for k in keep]),
            velocities=velocities,
            units=source.units,
            times=times,
            pbc=source.pbc,
            remarks=(*source.remarks, *unwrapper.remarks),
        )
    steps.finish(seen)
    unwrapper.finish()


class _Steps:
    """Sees that frames are evenly spaced, in steps or, where there are times, in time."""

    def __init__(self, name: str):
        self.name = name
        self.count, self.last, self.spacing = 0, None, None
        self.timed: bool | None = None
        self.time, self.interval = None, None

    def check(self, steps: np.ndarray, times: np.ndarray | None) -> None:
        self.count += len(steps)
        if self.timed is None:
            self.timed = times is not None
        elif self.timed != (times is not None):
            raise InputError(
                f"{self.name}: some frames have an ITEM: TIME, others do not, about step {steps[0]}: "
                "expected all or none"
            )
        if self.last is not None:
            steps = np.concatenate([[self.last], steps])
        gaps = np.diff(steps)
        if self.spacing is None and len(gaps):
            self.spacing = gaps[0]
        uneven = (gaps != self.spacing) | (gaps <= 0)
        if self.timed:
            uneven &= self._uneven(times) | (gaps <= 0)
        if uneven.any():
            k = int(uneven.argmax())
            raise InputError(
                f"{self.name}: steps {steps[k]} and {steps[k + 1]} follow each other, earlier frames are "
                f"{self.spacing} steps apart: expected evenly spaced frames; were runs joined, or one restarted?"
            )
        self.last = steps[-1]

    def _uneven(self, times: np.ndarray) -> np.ndarray:
        """Where frames are not evenly spaced in time; those of ``every/time`` are but for a step."""
        if self.time is not None:
            times = np.concatenate([[self.time], times])
        gaps = np.diff(times)
        if (gaps <= 0).any():
            k = int((gaps <= 0).argmax())
            raise InputError(
                f"{self.name}: the times {times[k]:g} and {times[k + 1]:g} follow each other: expected ascending ones; "
                "were runs joined?"
            )
        self.time = times[-1]
        if self.interval is None and len(gaps):
            self.interval = float(np.median(gaps))
        return np.abs(gaps - self.interval) > JITTER * self.interval if len(gaps) else gaps > 0

    def finish(self, seen: int) -> None:
        if self.count < 2:
            raise InputError(
                f"{self.name}: {self.count} of {seen} frames are left: expected at least two; "
                "skip fewer or run longer"
            )


@brief("pbc", "unwrapped")
class Unwrapper:
    """Adds up displacements from frame to frame; see the head of this module.

    Every move between two frames is also compared with the shortest one that leads from the one wrapped position to the
    other. Where unwrapped positions or image flags claim another, the cause is none of the atom's motion, unless
    atoms move that fast all the time.

    Parameters
    ----------
    pbc : tuple of bool
        Periodic directions.
    unwrapped : bool
        Whether positions come as w + n h (``xu``).
    honest : bool
        Whether positions along directions that are not periodic are known not to be wrapped.
    skip : int
        Frames at the beginning that may belong to another run.

    Attributes
    ----------
    remarks : list of str
        What was mended.
    """

    def __init__(self, pbc: Sequence[bool], unwrapped: bool, honest: bool = True, skip: int = 0):
        self.pbc = np.asarray(pbc, dtype=bool)
        self.unwrapped = unwrapped
        self.honest = honest
        self.remarks: list[str] = []
        self._last: Frame | None = None
        self._position: np.ndarray | None = None
        self._first_lattice: np.ndarray | None = None
        self._shift: np.ndarray | None = None  # of unwrapped positions, by what was mended, Å
        self._moves = _Moves(skip)

    def advance(self, frames: Sequence[Frame]) -> np.ndarray:
        """Unwrapped positions (T, N, 3) of the next frames, Å."""
        before = [] if self._last is None else [self._last]
        frames = [*before, *frames]
        positions = np.stack([f.positions for f in frames])
        cells = np.stack([f.cell for f in frames])
        self._check_finite(frames, positions)
        lattices = self._lattices(frames, cells)
        if not self.honest:
            self._check_open(frames, positions, cells)
        if self._first_lattice is None:
            self._first_lattice = lattices[0]
        if not self.pbc.any():
            result = positions
            self._moves.check_seams(frames, np.diff(positions, axis=0))
        elif self.unwrapped and (lattices == self._first_lattice).all():
            result = self._as_written(frames, positions, lattices)
        else:
            result = self._add_up(frames, positions, lattices)
            # From here on positions are sums, also if the cell comes back to what it was.
            self._first_lattice = np.full((3, 3), np.nan)
        self._last, self._position = frames[-1], result[-1]
        return result[len(before) :]

    def finish(self) -> None:
        """Judge the last frame, behind which there is none.

        Raises
        ------
        InputError
            It belongs to another run.
        """
        if self._last is not None:
            self._moves.finish(self._last)

    def _lattices(self, frames: list[Frame], cells: np.ndarray) -> np.ndarray:
        """Cells (T, 3, 3) with vectors across in place of those that are not periodic."""
        if not self.pbc.any():
            return _complete(cells, self.pbc)
        vectors = cells[:, self.pbc]
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        flat = ~(lengths > 0).all(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.linalg.svd(np.nan_to_num(vectors / lengths), compute_uv=False)
        flat |= sizes.min(axis=1) < FLAT
        if flat.any():
            t = int(flat.argmax())
            raise InputError(
                f"step {frames[t].step}: periodic along {_axes(self.pbc)}, but the cell vectors are "
                f'{cells[t].tolist()}: expected a cell of some volume; write Lattice=... (or pbc="F F F" where '
                "nothing is periodic)"
            )
        return _complete(cells, self.pbc)

    def _as_written(
        self, frames: list[Frame], positions: np.ndarray, lattices: np.ndarray
    ) -> np.ndarray:
        """Unwrapped positions in a fixed cell, as they are unless something has to be mended."""
        inverse = np.linalg.inv(lattices[0])
        moves = np.diff(positions, axis=0) @ inverse
        wrong = self._moves.judge(frames, moves, self.pbc, self.remarks)
        self._moves.check_seams(frames, (moves - np.round(moves) * self.pbc) @ lattices[0])
        if wrong is None and self._shift is None:
            return positions
        shift = np.zeros_like(positions)
        if self._shift is not None:
            shift += self._shift
        if wrong is not None:
            shift[1:] -= np.cumsum(wrong, axis=0) @ lattices[0]
        self._shift = shift[-1]
        return positions + shift

    def _add_up(
        self, frames: list[Frame], positions: np.ndarray, lattices: np.ndarray
    ) -> np.ndarray:
        turns = self._turns(frames, lattices)
        inverse = np.linalg.inv(lattices)
        origins = np.stack([f.origin for f in frames])
        # LAMMPS wraps only when it builds neighbour lists; the sum wants positions inside the cell.
        images = np.floor((positions - origins[:, None]) @ inverse) * self.pbc
        positions = positions - images @ lattices
        known = self.unwrapped or frames[0].images is not None
        if frames[0].images is not None:
            images += np.stack([f.images for f in frames]) * self.pbc
        steps = np.diff(positions, axis=0)
        if known:
            # n cells of the old lattice are n T⁻¹ of the new one, T h being its vectors.
            steps += (images[1:] - images[:-1] @ np.round(np.linalg.inv(turns))) @ lattices[1:]
            moves = steps @ inverse[1:]
            if (wrong := self._moves.judge(frames, moves, self.pbc, self.remarks)) is not None:
                steps -= wrong @ lattices[1:]
                moves -= wrong
            nearest = moves - np.round(moves) * self.pbc
        else:
            moves = steps @ inverse[1:]
            nearest = moves - np.round(moves) * self.pbc
            self._check_hops(frames, nearest)
            steps = nearest @ lattices[1:]
        self._moves.check_seams(frames, nearest @ lattices[1:])
        start = positions[0] + (images[0] @ lattices[0] if known else 0.0)
        if self._position is not None:
            start = self._position
        return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])

    def _check_finite(self, frames: list[Frame], positions: np.ndarray) -> None:
        if not np.isfinite(positions).all():
            t, k, _ = np.argwhere(~np.isfinite(positions))[0]
            raise InputError(
                f"step {frames[t].step}: atom {frames[t].ids[k]} is at {positions[t, k].tolist()}: "
                "expected finite positions; did the run blow up?"
            )

    def _turns(self, frames: list[Frame], lattices: np.ndarray) -> np.ndarray:
        """Whole-number matrices T (T-1, 3, 3): the new cell spans the lattice of the old one by T h, but for strain."""
        change = lattices[1:] @ np.linalg.inv(lattices[:-1])
        both = np.outer(self.pbc, self.pbc)
        change = np.where(both, change, np.eye(3))  # other vectors are none of the lattice
        turns = np.round(change)
        strain = np.abs(change - turns).max(axis=(1, 2), initial=0.0)
        bad = (strain > FLIP) | (np.abs(np.linalg.det(turns) - 1.0) > 0.5)
        if bad.any():
            t = int(bad.argmax())
            k = int(np.abs(change[t] - np.eye(3)).max(axis=1).argmax())
            raise InputError(
                f"step {frames[t + 1].step}: cell vector {'abc'[k]} changed from {lattices[t, k].round(4).tolist()} to "
                f"{lattices[t + 1, k].round(4).tolist()} in one frame: expected a cell that moves little, or one that "
                "flips to other vectors of the same lattice; were runs joined? Write frames more often"
            )
        flips = (turns != np.eye(3)).any(axis=(1, 2)).nonzero()[0]
        for t in flips:
            self.remarks.append(
                f"step {frames[t + 1].step}: the cell flipped; images were counted on in the new cell vectors"
            )
        return turns

    def _check_hops(self, frames: list[Frame], moved: np.ndarray) -> None:
        longest = np.abs(moved) * self.pbc
        if longest.size and longest.max() > LONGEST_HOP:
            t, k, axis = np.unravel_index(longest.argmax(), longest.shape)
            raise InputError(
                f"step {frames[t + 1].step}: atom {frames[t].ids[k]} moved by {longest.max():.2f} of the cell along "
                f"{'abc'[axis]} since the frame before. Wrapped positions without image flags tell only moves below "
                "half a cell: write xu yu zu, or ix iy iz, or frames more often"
            )

    def _check_open(self, frames: list[Frame], positions: np.ndarray, cells: np.ndarray) -> None:
        """Refuse jumps by the length of a cell along directions that are said not to be periodic."""
        open_ = ~self.pbc
        if len(frames) < 2 or not open_.any():
            return
        there = np.linalg.norm(cells, axis=2) > 0
        named = there[0] & open_
        if (there == there[0]).all():
            try:
                lattices = _complete(cells, there[0])
                inverse = np.linalg.inv(lattices)
            except np.linalg.LinAlgError:
                return
        else:
            return
        fractions = np.diff(positions, axis=0) @ inverse[1:]
        # Without a cell vector, as long as the atoms spread.
        spread = np.ptp(positions @ inverse, axis=1)
        length = np.where(named, 1.0, np.maximum(spread[1:], spread[:-1]))[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.abs(np.nan_to_num(fractions / length)) * open_
        # A sheet is as thick as its atoms vibrate.
        moved = moved * (named | (np.abs(fractions) > JUMP))
        if positions.shape[1] < CROWD:
            if (moved * ~named).max() > DOUBTFUL and UNSURE not in self.remarks:
                self.remarks.append(UNSURE)
            moved = moved * named
        if moved.max() > DOUBTFUL:
            t, k, axis = np.unravel_index(moved.argmax(), moved.shape)
            what = f"the cell along {'abc'[axis]}" if named[axis] else "the extent of all atoms"
            raise InputError(
                f"step {frames[t + 1].step}: atom {frames[t].ids[k]} moved by {moved[t, k, axis]:.2f} of {what} in one "
                "frame, though the file calls this direction not periodic: the positions look wrapped. Expected "
                "positions without jumps; write unwrapped ones (xu yu zu), or say what the cell is and that it is "
                'periodic (extended XYZ: Lattice=... pbc="T T T")'
            )


class _Moves:
    """Judges moves between frames by all those before."""

    def __init__(self, skip: int = 0):
        self.skip, self.seen, self.begun = skip, 0, False
        self.longest = 0.0  # of the cell, of moves that nobody doubts
        self.doubts: list[int] = []  # doubtful moves between two frames
        self.largest: list[float] = []  # move between two frames, of the cell
        self.typical: list[float] = []  # median over atoms of the last two moves, Å
        self.recent: list[float] = []  # of the last three

    def judge(
        self, frames: list[Frame], moves: np.ndarray, pbc: np.ndarray, remarks: list[str]
    ) -> np.ndarray | None:
        """Whole cells (T-1, N, 3) that moves claim and that are none; None where all is well.

        Parameters
        ----------
        frames : list of Frame
            T of them.
        moves : ndarray, shape (T-1, N, 3)
            As unwrapped positions or image flags have them, in cell vectors.
        pbc : ndarray of bool, shape (3,)
        remarks : list of str
            What is mended is added.

        Raises
        ------
        InputError
            Moves that may be an atom's or may be none.
        """
        if not len(moves):
            return None
        wrong = OVERFLOW * np.round(moves / OVERFLOW) * pbc
        self._tell(frames, wrong, "image flags overflowed", remarks)
        moves = moves - wrong
        size = np.abs(moves * pbc).max(axis=2)
        doubtful = size > DOUBTFUL
        self.longest = max(self.longest, size.max(where=~doubtful, initial=0.0))
        counts = doubtful.sum(axis=1)
        self.doubts += counts.tolist()
        self.largest += size.max(axis=1).tolist()
        if doubtful.any():
            often, far = np.median(self.doubts), np.median(self.largest)
            whole = np.round(moves) * pbc
            rest = np.abs((moves - whole) * pbc).max(axis=2)
            if often == 0 and self.longest < QUIET and rest[doubtful].max() < LONGEST_HOP:
                mended = whole * doubtful[..., None]
                cause = "image counters were lost, as at a restart, or the unwrapping was faulty"
                self._tell(frames, mended, cause, remarks)
                return wrong + mended
            many = counts > often + 6 * np.sqrt(often) + max(3, 0.1 * moves.shape[1])
            many |= size.max(axis=1) > max(1.5, 4 * far)
            if many.any():
                t = int(many.argmax())
                k = int(size[t].argmax())
                raise InputError(
                    f"step {frames[t + 1].step}: {counts[t]} atoms move by more than half a cell in one frame, atom "
                    f"{frames[t].ids[k]} by {size[t, k]:.2f} of it; usual are {often:g} such atoms and {far:.2f} of "
                    "the cell. Expected moves like those of other frames: were image counters lost, or different runs "
                    "joined? Analyse the parts on their own, or write frames more often, which lets this be mended"
                )
        return wrong if wrong.any() else None

    @staticmethod
    def _tell(frames: list[Frame], wrong: np.ndarray, cause: str, remarks: list[str]) -> None:
        for t in wrong.any(axis=(1, 2)).nonzero()[0]:
            n = int(wrong[t].any(axis=1).sum())
            remarks.append(
                f"step {frames[t + 1].step}: {n} {'atom' if n == 1 else 'atoms'} jumped by whole cells in one frame "
                f"({cause}); the shortest move was taken"
            )

    def check_seams(self, frames: list[Frame], steps: np.ndarray) -> None:
        """Refuse a frame in which most atoms jump as they do in none beside it; steps (T-1, N, 3) in Å."""
        left_out = max(self.skip - self.seen, 0)
        self.seen += len(steps)
        if steps.shape[1] < CROWD or len(steps) <= left_out:
            return
        steps = steps[left_out:]
        steps = steps - np.median(steps, axis=1, keepdims=True)
        known = len(self.typical) - left_out
        medians = [*self.typical, *np.median(np.linalg.norm(steps, axis=2), axis=1).tolist()]
        for t in range(len(medians) - 1):
            if t > 0:
                beside = max(medians[t - 1], medians[t + 1])
            elif self.begun or len(medians) < 3:
                continue
            else:  # the first move has neighbours on one side
                beside = 2 * max(medians[1:3])
            self._refuse_seam(frames[t - known + 1], medians[t], beside)
        self.begun |= len(medians) > 2
        self.recent = [*self.recent, *medians[len(self.typical) :]][-3:]
        self.typical = medians[-2:]

    def finish(self, last: Frame) -> None:
        """Judge the last move, which has neighbours on one side."""
        if len(self.recent) == 3:
            self._refuse_seam(last, self.recent[2], 2 * max(self.recent[:2]))

    @staticmethod
    def _refuse_seam(frame: Frame, moved: float, beside: float) -> None:
        if moved > max(SEAM * beside, SHORT):
            raise InputError(
                f"step {frame.step}: half of the atoms moved by more than {moved:.3g} Å in one frame, "
                f"{moved / max(beside, 1e-9):.0f} times as far as in the frames beside it. Expected one run: "
                "were different ones joined? Analyse them on their own, as replicas, or leave out what is before "
                "(--skip)"
            )


def _axes(pbc: np.ndarray) -> str:
    return " ".join(name for name, periodic in zip("abc", pbc, strict=True) if periodic)


def _complete(cells: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Cells (T, 3, 3) with unit vectors across in place of the vectors that are not kept."""
    if keep.all():
        return cells
    result = cells.copy()
    if not keep.any():
        result[:] = np.eye(3)
    elif keep.sum() == 2:
        a, b = np.moveaxis(cells[:, keep], 1, 0)
        normal = np.cross(a, b)
        result[:, ~keep] = (normal / np.linalg.norm(normal, axis=1, keepdims=True))[:, None]
    else:
        a = cells[:, keep][:, 0]
        a = a / np.linalg.norm(a, axis=1, keepdims=True)
        other = np.eye(3)[np.abs(a).argmin(axis=1)]
        b = np.cross(a, other)
        b /= np.linalg.norm(b, axis=1, keepdims=True)
        result[:, ~keep] = np.stack([b, np.cross(a, b)], axis=1)
    return result


@brief()
@dataclass(frozen=True)
class _Source:
    """Frames with what does not change between them."""

    frames: Iterable[Frame]
    species: np.ndarray
    pbc: tuple[bool, ...]
    unwrapped: bool
    units: str | None = None
    honest: bool = False
    remarks: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def _source(path, elements: Sequence[str] | None, partial: bool) -> _Source:
    if hasattr(path, "trajectory"):
        return _from_universe(path)
    if known_to_ase(path):
        return _from_ase(path)
    dump = LammpsDump(path, partial=partial)
    species, remarks = _dump_species(dump, elements)
    return _Source(dump, species, dump.pbc, dump.unwrapped, dump.units, True, remarks)


def _dump_species(
    dump: LammpsDump, elements: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Names (N,) of the atoms' species, and remarks on them."""
    types = next(iter(dump)).types
    every = np.unique(types)
    if elements is not None:
        if types.max() > len(elements) or types.min() < 1:
            raise InputError(
                f"{dump.path} has atom types {types.min()} to {types.max()}, but {len(elements)} elements are named: "
                "expected one for each type"
            )
        shared = _shared({t: elements[t - 1] for t in every.tolist()})
        return np.array(elements)[types - 1], tuple(
            f"the atom types {', '.join(map(str, numbers))} are all named {name} and analysed together; other names "
            f"keep them apart, e.g. {name}{numbers[0]} and {name}{numbers[1]}"
            for name, numbers in shared.items()
        )
    if dump.elements is None:
        return types.astype(str), ()
    species = np.array(dump.elements)
    by_type = {t: sorted(set(species[types == t].tolist())) for t in every.tolist()}
    if mixed := {t: names for t, names in by_type.items() if len(names) > 1}:
        (t, names), *_ = mixed.items()
        raise InputError(
            f"{dump.path}: atoms of type {t} are {' and '.join(names)} in the column element: expected one element for "
            "each type; name them with elements=... (--elements)"
        )
    names = {t: found[0] for t, found in by_type.items()}
    shared = _shared(names)
    if set(names.values()) == {UNNAMED}:
        remark = (
            f"all atoms are {UNNAMED} in the column element, which LAMMPS writes where no elements were named "
            "(dump_modify element)"
        )
        if len(names) == 1:
            return species, (
                f"{remark}; if they are none, name them with elements=... (--elements)",
            )
        remark += "; species are the atom types, name them with elements=... (--elements)"
        return types.astype(str), (remark,)
    labels = {t: f"{name}{t}" if name in shared else name for t, name in names.items()}
    if len(set(labels.values())) < len(labels):
        labels = {t: str(t) for t in labels}
    return np.array([labels[t] for t in types.tolist()]), tuple(
        f"the atom types {', '.join(map(str, numbers))} are all {name} in the column element: they are analysed apart, "
        f"as {', '.join(labels[t] for t in numbers)}"
        for name, numbers in shared.items()
    )


def _shared(names: dict[int, str]) -> dict[str, list[int]]:
    """Atom types of each name that several types have."""
    found: dict[str, list[int]] = {}
    for number, name in names.items():
        found.setdefault(name, []).append(number)
    return {name: numbers for name, numbers in found.items() if len(numbers) > 1}


def _from_ase(path) -> _Source:
    """Extended XYZ and others; positions may be wrapped or not."""
    import ase.io

    if not Path(path).is_file():
        raise InputError(f"no file {path}")
    try:
        first = ase.io.read(path, index=0, parallel=False)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a trajectory ({type(error).__name__}: {error}); expected a LAMMPS dump, "
            "extended XYZ or another file that ASE knows by its name"
        ) from error
    symbols = np.array(first.get_chemical_symbols())
    ids = np.arange(1, len(first) + 1)

    def frames() -> Iterator[Frame]:
        for number, atoms in enumerate(ase.io.iread(path, index=":", parallel=False)):
            if len(atoms) != len(symbols) or (atoms.numbers != first.numbers).any():
                raise InputError(
                    f"{path}, frame {number}: {atoms.symbols.get_chemical_formula()}, the first frame has "
                    f"{first.symbols.get_chemical_formula()} or another order: expected the same atoms in all frames"
                )
            if (atoms.pbc != first.pbc).any():
                raise InputError(
                    f"{path}, frame {number}: pbc is {atoms.pbc.tolist()}, {first.pbc.tolist()} in the first frame: "
                    "expected one for all"
                )
            yield Frame(
                step=number,
                cell=atoms.cell.array,
                origin=np.zeros(3),
                ids=ids,
                types=atoms.numbers,
                positions=atoms.positions,
                images=None,
                velocities=None,
            )

    return _Source(frames(), symbols, tuple(first.pbc), unwrapped=False)


def _from_universe(universe) -> _Source:
    """Take frames from an MDAnalysis universe; positions may be wrapped or not."""
    from ase.geometry import cellpar_to_cell

    atoms = universe.atoms
    species = next(
        (getattr(atoms, n) for n in ("elements", "types", "names") if hasattr(atoms, n)), None
    )
    if species is None:
        raise InputError("the universe has no elements, types or names: expected one of them")
    ids = np.asarray(atoms.ids) if hasattr(atoms, "ids") else np.arange(1, len(atoms) + 1)
    periodic = universe.trajectory.ts.dimensions is not None

    def frames() -> Iterator[Frame]:
        for ts in universe.trajectory:
            cell = cellpar_to_cell(ts.dimensions) if periodic else np.zeros((3, 3))
            yield Frame(
                step=ts.frame,
                cell=cell,
                origin=np.zeros(3),
                ids=ids,
                types=np.zeros(len(ids), dtype=int),
                positions=atoms.positions.astype(float),
                images=None,
                velocities=atoms.velocities.astype(float) if ts.has_velocities else None,
            )

    return _Source(frames(), np.asarray(species).astype(str), (periodic,) * 3, unwrapped=False)
