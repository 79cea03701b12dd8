# SPDX-License-Identifier: GPL-2.0-or-later
"""LAMMPS text dumps, frame by frame."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyuq.brief import brief
from pyuq.errors import InputError

CHUNK = 2**23  # bytes read at once

# Ways to write a position, the best first: columns, whether they are fractions of the cell.
POSITIONS = (
    (("xu", "yu", "zu"), False),
    (("xsu", "ysu", "zsu"), True),
    (("x", "y", "z"), False),
    (("xs", "ys", "zs"), True),
)
IMAGES = ("ix", "iy", "iz")
VELOCITIES = ("vx", "vy", "vz")
LARGEST = 2**31  # of an atom type or an image flag


@brief()
@dataclass(frozen=True)
class Frame:
    """One snapshot, atoms sorted by id.

    Attributes
    ----------
    step : int
    cell : ndarray, shape (3, 3)
        Rows a, b, c, Å.
    origin : ndarray, shape (3,)
        Corner of the cell, Å.
    ids, types : ndarray of int, shape (N,)
    positions : ndarray, shape (N, 3)
        As written, Å.
    images : ndarray of int, shape (N, 3), or None
        Image flags, where positions are wrapped and the dump has them.
    velocities : ndarray, shape (N, 3), or None
        Å/ps.
    time : float, or None
        Of the simulation, in the unit of the dump, where it says so (``dump_modify time yes``).
    """

    step: int
    cell: np.ndarray
    origin: np.ndarray
    ids: np.ndarray
    types: np.ndarray
    positions: np.ndarray
    images: np.ndarray | None
    velocities: np.ndarray | None
    time: float | None = None


@brief("path", "columns", "elements")
class LammpsDump:
    """Reads ``dump custom`` and ``dump atom`` files in one pass; memory does not grow with the file.

    Needs the columns ``id`` and ``type`` and one of ``xu yu zu``, ``xsu ysu zsu``, ``x y z``, ``xs ys zs``
    in any order, with or without ``ix iy iz`` and ``vx vy vz``; others are skipped. Atoms may be
    unsorted. The file may be gzipped. A step that is written twice (at the seam of two runs) is read once.

    Parameters
    ----------
    path : str or Path
    partial : bool
        Stop quietly before a last frame that is cut short, as it is while a simulation runs.

    Attributes
    ----------
    pbc : tuple of bool
    unwrapped : bool
        Whether positions are ``xu`` or ``xsu``.
    units : str, or None
        LAMMPS's unit style, where the dump names it (``dump_modify units yes``).
    elements : tuple of str, or None
        Of the atoms sorted by id, where the dump has a column ``element``.

    Raises
    ------
    InputError
        No dump, a column missing, a frame cut short, a bad number, atoms lost, ids or types that change.
    """

    def __init__(self, path, partial: bool = False):
        self.path = Path(path)
        self.partial = partial
        self._lines = 0  # before what is held of the file
        self._check_format()
        text = self._first_frame()
        header = self._header(text, 0)
        if header is None:
            raise InputError(f"{self.path}: the first frame is cut short, found {len(text)} bytes")
        self.columns = header.columns
        self.pbc = header.pbc
        self.units = header.units
        self._slots, self._names, self.scaled, self.unwrapped = self._choose_columns()
        self._n_atoms = header.n_atoms
        self._sorted_ids: np.ndarray | None = None
        self._types: np.ndarray | None = None
        self._last_ids: np.ndarray | None = None
        self._order: np.ndarray | slice = slice(None)
        self.elements = self._read_elements(text, header)

    def __iter__(self) -> Iterator[Frame]:
        """Frames in the order of the file."""
        previous = None
        text, position, more, self._lines = b"", 0, True, 0
        with self._open() as file:
            while more or position < len(text):
                frame, behind = self._frame(text, position) if text else (None, 0)
                if frame is not None:
                    position = behind
                    if frame.step != previous:
                        yield frame
                    previous = frame.step
                elif more:
                    fresh = self._read(file, max(CHUNK, len(text) - position))
                    more = len(fresh) > 0
                    self._lines += text.count(b"\n", 0, position)
                    text, position = text[position:] + fresh, 0
                else:
                    self._cut_short(text, position)
                    return

    def _check_format(self) -> None:
        if not self.path.is_file():
            raise InputError(f"no file {self.path}")
        if self.path.suffix in (".zst", ".bin", ".h5md", ".nc"):
            raise InputError(
                f"{self.path}: expected a text dump, plain or .gz; found {self.path.suffix}. "
                "Unpack it, or convert it with LAMMPS's rerun or MDAnalysis"
            )

    def _open(self):
        return gzip.open(self.path, "rb") if self.path.suffix == ".gz" else open(self.path, "rb")

    def _read(self, file, size: int) -> bytes:
        try:
            return file.read(size)
        except EOFError:  # a gzip stream that ends before its trailer
            if self.partial:
                return b""
            raise InputError(
                f"{self.path}: the compressed file is cut short. Was the run killed? "
                "Unpack what is there with gzip -dc and read that with partial=True (--partial)"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{self.path}: the compressed file is damaged ({error})") from None

    def _first_frame(self) -> bytes:
        """As much of the beginning as the first frame may take."""
        with self._open() as file:
            text = self._read(file, 2**16)
            while text.count(b"ITEM: TIMESTEP") < 2 and (fresh := self._read(file, len(text))):
                text += fresh
        if not text.startswith(b"ITEM:"):
            raise InputError(
                f"{self.path} is no LAMMPS text dump: expected 'ITEM: TIMESTEP', found {text[:20]!r}"
            )
        return text

    def _header(self, text: bytes, start: int) -> "_Header | None":
        """Lines up to the table; None if the text ends before."""
        item = text.find(b"ITEM: ATOMS", start)
        table = text.find(b"\n", item) + 1
        if item < 0 or not table:
            return None
        lines = text[start:table].decode(errors="replace").splitlines()
        try:
            return _Header.parse(lines, table)
        except (ValueError, IndexError) as error:
            number = self._lines + text.count(b"\n", 0, start) + 1
            raise InputError(
                f"{self.path}, line {number}: the header of a frame cannot be read ({error}): {lines[:10]}"
            ) from None

    def _choose_columns(self) -> tuple[np.ndarray, list[str], bool, bool]:
        names, have = ["id", "type"], set(self.columns)
        found = next(((c, s) for c, s in POSITIONS if have.issuperset(c)), None)
        if found is None or not have.issuperset(names):
            raise InputError(
                f"{self.path} has the columns {' '.join(self.columns)}: expected id, type and "
                "xu yu zu (or xsu, x, xs); write it with 'dump 1 all custom N FILE id type xu yu zu'"
            )
        coordinates, scaled = found
        unwrapped = coordinates[0] in ("xu", "xsu")
        names += coordinates
        for group in (() if unwrapped else IMAGES, VELOCITIES):
            names += group if group and have.issuperset(group) else ()
        slots = [names.index(c) if c in names else -1 for c in self.columns]
        return np.array(slots, dtype=np.int32), names, scaled, unwrapped

    def _read_elements(self, text: bytes, header: "_Header") -> tuple[str, ...] | None:
        if "element" not in self.columns:
            return None
        rows = text[header.table :].decode().splitlines()[: header.n_atoms]
        element, number = self.columns.index("element"), self.columns.index("id")
        try:
            pairs = [(int(r[number]), r[element]) for r in (row.split() for row in rows)]
        except (IndexError, ValueError):
            return None  # the frame itself will say what is wrong
        return tuple(name for _, name in sorted(pairs))

    def _frame(self, text: bytes, start: int) -> tuple[Frame | None, int]:
        """Next frame and where it ends; None if the text ends before."""
        from pyuq._dump import parse_table

        header = self._header(text, start)
        if header is None:
            return None, start
        where = f"{self.path}, step {header.step}"
        if header.columns != self.columns:
            raise InputError(
                f"{where}: columns changed from {' '.join(self.columns)} to {' '.join(header.columns)}"
            )
        if header.n_atoms != self._n_atoms:
            raise InputError(
                f"{where}: {header.n_atoms} atoms, {self._n_atoms} in the first frame; were atoms lost? "
                "Expected the same atoms in all frames"
            )
        if len(text) - header.table < 2 * header.n_atoms * len(self.columns):
            return None, start  # a number of atoms that no file holds must not take the memory
        table = np.empty((header.n_atoms, len(self._names)))
        end, bad = parse_table(text, header.table, self._slots, table)
        if bad >= 0:
            row = text[header.table :].split(b"\n", bad + 1)[bad].decode(errors="replace")
            raise InputError(
                f"{where}: expected {len(self.columns)} columns of numbers, found {row!r} in row {bad + 1}"
            )
        if end < 0:
            return None, start
        return self._assemble(header, table, where), end

    def _assemble(self, header: "_Header", table: np.ndarray, where: str) -> Frame:
        ids = table[:, 0]
        if self._last_ids is None or not np.array_equal(ids, self._last_ids):
            self._sort(ids.copy(), where)
        table = table[self._order]
        if self._types is None:
            self._types = self._whole(table[:, 1:2], "type", where)[:, 0]
        elif (changed := table[:, 1] != self._types).any():
            k = int(changed.argmax())
            raise InputError(
                f"{where}: atom {self._sorted_ids[k]} has type {table[k, 1]:.0f}, it had {self._types[k]}: "
                "expected atoms that keep their type"
            )
        columns = {name: k for k, name in enumerate(self._names)}
        positions = np.ascontiguousarray(table[:, 2:5])
        if self.scaled:
            positions = header.origin + positions @ header.cell
        images = velocities = None
        if "ix" in columns:
            k = columns["ix"]
            images = self._whole(table[:, k : k + 3], "image flags", where)
        if "vx" in columns:
            k = columns["vx"]
            velocities = np.ascontiguousarray(table[:, k : k + 3])
        return Frame(
            header.step,
            header.cell,
            header.origin,
            self._sorted_ids,
            self._types,
            positions,
            images,
            velocities,
            header.time,
        )

    def _whole(self, values: np.ndarray, what: str, where: str) -> np.ndarray:
        """Columns (N, k) that must hold whole numbers, atoms sorted by id."""
        with np.errstate(invalid="ignore"):
            bad = ~((values == np.round(values)) & (np.abs(values) < LARGEST))
        if bad.any():
            k = int(bad.any(axis=1).argmax())
            raise InputError(
                f"{where}: atom {self._sorted_ids[k]} has {what} {' '.join(f'{v:g}' for v in values[k])}: "
                f"expected whole numbers below {LARGEST}"
            )
        return values.astype(np.int64)

    def _sort(self, ids: np.ndarray, where: str) -> None:
        """Find the order of a frame's atoms."""
        if (bad := ~((ids == np.round(ids)) & (np.abs(ids) < 2.0**53))).any():
            raise InputError(f"{where}: atom id {ids[bad][0]:g}: expected a whole number")
        order = np.argsort(ids, kind="stable")
        found = ids[order].astype(np.int64)
        if self._sorted_ids is None:
            if (double := found[1:] == found[:-1]).any():
                raise InputError(f"{where}: atom id {found[1:][double][0]} appears twice")
            self._sorted_ids = found
        elif not np.array_equal(found, self._sorted_ids):
            gone = np.setdiff1d(self._sorted_ids, found)
            new = np.setdiff1d(found, self._sorted_ids)
            raise InputError(
                f"{where}: ids changed; gone: {gone[:5].tolist()}, new: {new[:5].tolist()}. "
                "Expected the same atoms in all frames; dump a fixed group"
            )
        self._last_ids = ids
        unmoved = np.array_equal(order, np.arange(len(order)))
        self._order = slice(None) if unmoved else order

    def _cut_short(self, text: bytes, position: int) -> None:
        if self.partial or not text[position:].strip():
            return
        header = self._header(text, position)
        found = "in its header"
        if header is not None:
            rows = text.count(b"\n", header.table)
            found = f"after {rows} of {header.n_atoms} atoms (step {header.step})"
        raise InputError(
            f"{self.path}: the last frame is cut short {found}. Was the run killed, or is it still "
            "running? Read the frames before it with partial=True (--partial)"
        )


@brief()
@dataclass(frozen=True)
class _Header:
    """What stands above the table of a frame."""

    step: int
    n_atoms: int
    cell: np.ndarray
    origin: np.ndarray
    pbc: tuple[bool, bool, bool]
    units: str | None
    time: float | None
    columns: list[str]
    table: int

    @classmethod
    def parse(cls, lines: list[str], table: int) -> "_Header":
        items = {line[6:]: k for k, line in enumerate(lines) if line.startswith("ITEM: ")}
        box = next((name for name in items if name.startswith("BOX BOUNDS")), "BOX BOUNDS")
        for name in ("TIMESTEP", "NUMBER OF ATOMS", box):
            if name not in items:
                raise InputError(f"no ITEM: {name}, which stands above the atoms of every frame")
        rows = [[_number(v) for v in line.split()] for line in lines[items[box] + 1 :][:3]]
        cell, origin = _cell(rows, general="abc" in box)
        boundary = [
            word for word in box.split()[2:] if word not in ("xy", "xz", "yz", "abc", "origin")
        ]
        columns = lines[-1].split()[2:]
        if (n_atoms := int(lines[items["NUMBER OF ATOMS"] + 1])) < 1:
            raise InputError(f"{n_atoms} atoms: expected at least one")
        return cls(
            step=int(lines[items["TIMESTEP"] + 1]),
            n_atoms=n_atoms,
            cell=cell,
            origin=origin,
            pbc=tuple(word == "pp" for word in boundary) if boundary else (True, True, True),
            units=lines[items["UNITS"] + 1].strip() if "UNITS" in items else None,
            time=_number(lines[items["TIME"] + 1]) if "TIME" in items else None,
            columns=columns,
            table=table,
        )


def _number(text: str) -> float:
    """Read a finite number of a header."""
    try:
        if np.isfinite(value := float(text)):
            return value
    except ValueError:
        pass
    raise InputError(f"expected a number, found {text.strip()!r}")


def _cell(rows: list[list[float]], general: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cell and corner from the three lines of BOX BOUNDS."""
    wanted = (4,) if general else (2, 3)
    if [len(row) for row in rows] not in [[n] * 3 for n in wanted]:
        raise InputError(
            f"ITEM: BOX BOUNDS with {rows}: expected three lines of {' or '.join(map(str, wanted))} numbers"
        )
    return _general(rows) if general else _restricted(rows)


def _restricted(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Cell and corner of a box: bounds that include the tilt, then xy, xz, yz."""
    bounds = np.array([row[:2] for row in rows])
    xy, xz, yz = (row[2] if len(row) > 2 else 0.0 for row in rows)
    bounds[0] -= min(0.0, xy, xz, xy + xz), max(0.0, xy, xz, xy + xz)
    bounds[1] -= min(0.0, yz), max(0.0, yz)
    (lx, ly, lz) = bounds[:, 1] - bounds[:, 0]
    return np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]), bounds[:, 0]


def _general(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Cell and corner of a general triclinic box: vector and origin in each row."""
    table = np.array(rows)
    return table[:, :3], table[:, 3]
