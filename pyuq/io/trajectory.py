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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from pyuq.brief import brief
from pyuq.io.dump import Frame, LammpsDump

CHUNK = 256  # frames unwrapped at once
LONGEST_HOP = 0.4  # of the cell, in one frame, where only wrapped positions are known
FLIP = 0.3  # of the cell's edge, change of a cell vector in one frame


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
    """

    steps: np.ndarray
    species: np.ndarray
    ids: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    velocities: np.ndarray | None
    units: str | None = None

    @property
    def spacing(self) -> int:
        """Steps between frames."""
        return int(self.steps[1] - self.steps[0])

    @property
    def volume(self) -> float:
        """Mean over the frames, Å³."""
        return float(np.abs(np.linalg.det(self.cells)).mean())

    def group(self, names: str | Sequence[str]) -> np.ndarray:
        """Mask (N,) of the atoms of some species.

        Raises
        ------
        ValueError
            A name that no atom has.
        """
        names = [names] if isinstance(names, str) else list(names)
        if missing := [name for name in names if name not in self.species]:
            raise ValueError(
                f"no atom of species {', '.join(missing)}: the trajectory has "
                f"{', '.join(dict.fromkeys(self.species))}; name atom types with elements=... (--elements)"
            )
        return np.isin(self.species, names)

    def atoms(self, ids: Iterable[int]) -> np.ndarray:
        """Mask (N,) of the atoms with some ids.

        Raises
        ------
        ValueError
            An id that no atom has.
        """
        ids = np.asarray(list(ids))
        if (missing := np.setdiff1d(ids, self.ids)).size:
            raise ValueError(
                f"no atom with id {missing[:5].tolist()}: ids are {self.ids[0]} to {self.ids[-1]}"
            )
        return np.isin(self.ids, ids)


def read_trajectory(path, **options) -> Trajectory:
    """Read a whole trajectory; parameters and errors as :func:`iterate_trajectory`."""
    pieces = list(iterate_trajectory(path, **options))
    first = pieces[0]
    velocities = [p.velocities for p in pieces]
    return replace(
        first,
        steps=np.concatenate([p.steps for p in pieces]),
        positions=np.concatenate([p.positions for p in pieces]),
        cells=np.concatenate([p.cells for p in pieces]),
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
    ValueError
        What :class:`pyuq.io.dump.LammpsDump` refuses; fewer than two frames; steps that are not evenly spaced;
        a position that is not finite; a hop too long to be unwrapped; a cell that flips.
    """
    source = _source(path, elements, partial)
    unwrapper = Unwrapper(source.pbc, source.unwrapped)
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
        steps.check(numbers)
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
        )
    steps.finish(seen)


class _Steps:
    """Sees that frames are evenly spaced."""

    def __init__(self, name: str):
        self.name = name
        self.count, self.last, self.spacing = 0, None, None

    def check(self, steps: np.ndarray) -> None:
        self.count += len(steps)
        if self.last is not None:
            steps = np.concatenate([[self.last], steps])
        gaps = np.diff(steps)
        if self.spacing is None and len(gaps):
            self.spacing = gaps[0]
        if (uneven := gaps != self.spacing).any() or (len(gaps) and self.spacing <= 0):
            k = int(uneven.argmax())
            raise ValueError(
                f"{self.name}: steps {steps[k]} and {steps[k + 1]} follow each other, earlier frames are "
                f"{self.spacing} steps apart: expected evenly spaced frames; were runs joined, or one restarted?"
            )
        self.last = steps[-1]

    def finish(self, seen: int) -> None:
        if self.count < 2:
            raise ValueError(
                f"{self.name}: {self.count} of {seen} frames are left: expected at least two; "
                "skip fewer or run longer"
            )


@brief("pbc", "unwrapped")
class Unwrapper:
    """Adds up displacements from frame to frame; see the head of this module.

    Parameters
    ----------
    pbc : tuple of bool
        Periodic directions.
    unwrapped : bool
        Whether positions come as w + n h (``xu``).
    """

    def __init__(self, pbc: Sequence[bool], unwrapped: bool):
        self.pbc = np.asarray(pbc, dtype=bool)
        self.unwrapped = unwrapped
        self._last: Frame | None = None
        self._position: np.ndarray | None = None
        self._first_cell: np.ndarray | None = None

    def advance(self, frames: Sequence[Frame]) -> np.ndarray:
        """Unwrapped positions (T, N, 3) of the next frames, Å."""
        before = [] if self._last is None else [self._last]
        frames = [*before, *frames]
        positions = np.stack([f.positions for f in frames])
        cells = np.stack([f.cell for f in frames])
        self._check_finite(frames, positions)
        if self._first_cell is None:
            self._first_cell = cells[0]
        fixed = self.unwrapped and (cells == self._first_cell).all()
        if fixed or not self.pbc.any():
            result = positions
        else:
            result = self._add_up(frames, positions, cells)
            # From here on positions are sums, also if the cell comes back to what it was.
            self._first_cell = np.full((3, 3), np.nan)
        self._last, self._position = frames[-1], result[-1]
        return result[len(before) :]

    def _add_up(self, frames: list[Frame], positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
        self._check_flips(frames, cells)
        inverse = np.linalg.inv(cells)
        origins = np.stack([f.origin for f in frames])
        # LAMMPS wraps only when it builds neighbour lists; the sum wants positions inside the cell.
        images = np.floor((positions - origins[:, None]) @ inverse) * self.pbc
        positions = positions - images @ cells
        known = self.unwrapped or frames[0].images is not None
        if frames[0].images is not None:
            images += np.stack([f.images for f in frames])
        if known:
            hops = np.diff(images, axis=0)
        else:
            moved = np.diff(positions, axis=0) @ inverse[1:]
            hops = -np.round(moved) * self.pbc
            self._check_hops(frames, moved + hops)
        start = positions[0] + (images[0] @ cells[0] if known else 0.0)
        if self._position is not None:
            start = self._position
        steps = np.diff(positions, axis=0) + hops @ cells[1:]
        return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])

    def _check_finite(self, frames: list[Frame], positions: np.ndarray) -> None:
        if not np.isfinite(positions).all():
            t, k, _ = np.argwhere(~np.isfinite(positions))[0]
            raise ValueError(
                f"step {frames[t].step}: atom {frames[t].ids[k]} is at {positions[t, k].tolist()}: "
                "expected finite positions; did the run blow up?"
            )

    def _check_flips(self, frames: list[Frame], cells: np.ndarray) -> None:
        edges = np.linalg.norm(cells[1:], axis=2)
        jumps = np.linalg.norm(np.diff(cells, axis=0), axis=2) / edges
        if jumps.size and jumps.max() > FLIP:
            t, k = np.unravel_index(jumps.argmax(), jumps.shape)
            raise ValueError(
                f"step {frames[t + 1].step}: cell vector {'abc'[k]} changed by {jumps[t, k]:.2f} of its length in "
                "one frame: expected a cell that moves little; run with 'flip no', or write frames more often"
            )

    def _check_hops(self, frames: list[Frame], moved: np.ndarray) -> None:
        longest = np.abs(moved) * self.pbc
        if longest.size and longest.max() > LONGEST_HOP:
            t, k, axis = np.unravel_index(longest.argmax(), longest.shape)
            raise ValueError(
                f"step {frames[t + 1].step}: atom {frames[t].ids[k]} moved by {longest.max():.2f} of the cell along "
                f"{'abc'[axis]} since the frame before. Wrapped positions without image flags tell only moves below "
                "half a cell: write xu yu zu, or ix iy iz, or frames more often"
            )


@brief()
@dataclass(frozen=True)
class _Source:
    """Frames with what does not change between them."""

    frames: Iterable[Frame]
    species: np.ndarray
    pbc: tuple[bool, ...]
    unwrapped: bool
    units: str | None = None

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def _source(path, elements: Sequence[str] | None, partial: bool) -> _Source:
    if hasattr(path, "trajectory"):
        return _from_universe(path)
    name = str(path).removesuffix(".gz")
    if Path(name).suffix in (".xyz", ".extxyz", ".traj", ".db") or Path(name).name == "XDATCAR":
        return _from_ase(path)
    dump = LammpsDump(path, partial=partial)
    return _Source(dump, _dump_species(dump, elements), dump.pbc, dump.unwrapped, dump.units)


def _dump_species(dump: LammpsDump, elements: Sequence[str] | None) -> np.ndarray:
    if elements is None and dump.elements is not None:
        return np.array(dump.elements)
    types = next(iter(dump)).types
    if elements is None:
        return types.astype(str)
    if types.max() > len(elements) or types.min() < 1:
        raise ValueError(
            f"{dump.path} has atom types {types.min()} to {types.max()}, but {len(elements)} elements are named: "
            "expected one for each type"
        )
    return np.array(elements)[types - 1]


def _from_ase(path) -> _Source:
    """Extended XYZ and others; positions may be wrapped or not."""
    import ase.io

    if not Path(path).is_file():
        raise ValueError(f"no file {path}")
    try:
        first = ase.io.read(path, index=0, parallel=False)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a trajectory ({type(error).__name__}: {error}); expected a LAMMPS dump, "
            "extended XYZ or another file that ASE knows by its name"
        ) from error
    symbols = np.array(first.get_chemical_symbols())
    ids = np.arange(1, len(first) + 1)

    def frames() -> Iterator[Frame]:
        for number, atoms in enumerate(ase.io.iread(path, index=":", parallel=False)):
            if len(atoms) != len(symbols) or (atoms.numbers != first.numbers).any():
                raise ValueError(
                    f"{path}, frame {number}: {atoms.symbols.get_chemical_formula()}, the first frame has "
                    f"{first.symbols.get_chemical_formula()} or another order: expected the same atoms in all frames"
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
        raise ValueError("the universe has no elements, types or names: expected one of them")
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
