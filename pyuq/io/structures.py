# SPDX-License-Identifier: GPL-2.0-or-later
"""Read labelled structures: extended XYZ, MLIP's .cfg, and JSON lists of pymatgen structures with their outputs."""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path

import numpy as np
import vesin
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io import extxyz, mlip, predictions
from pyuq.io.files import check_distinct, read_json

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
COINCIDENT = 1e-3  # Å: atoms closer than this are a mistake
LONGEST = 1e4  # Å, of a cell vector or a cluster: beyond, the cells of a neighbour search overflow
THINNEST = 0.1  # Å between opposite faces of a cell: no crystal is thinner, and images of images have no end


def expand(path: str, folder: Path) -> Path:
    """Resolve ``${NAME}`` and ``${NAME:-default}`` in a path, relative to a folder.

    Raises
    ------
    InputError
        A variable is not set and has no default, or no file is where it points.
    """

    def value(match):
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise InputError(f"{path}: the environment variable {name} is not set")
        return found

    found = folder / VARIABLE.sub(value, path)
    if (variable := VARIABLE.search(path)) and not found.exists():
        raise InputError(
            f"no file {found}: set the environment variable {variable[1]} so that {path} exists"
        )
    return found


def group_of(atoms: Atoms) -> str:
    """Return the group of a structure, its ``config_type``."""
    return str(atoms.info.get("config_type", "default"))


def read_structures(paths: Iterable[Path], elements: Sequence[str] = ()) -> list[Atoms]:
    """Read labelled structures of several files, in order.

    Parameters
    ----------
    paths : iterable of Path
    elements : sequence of str
        Names of species 0, 1, ... of formats that number them (``.cfg``); others are refused.

    Raises
    ------
    InputError
        A file is missing, unreadable or named twice, or :func:`check_structures` refuses a structure; the message
        names the file.
    """
    structures, paths = [], [Path(path) for path in paths]
    check_distinct(paths)
    for path in paths:
        frames = _read(path, elements)
        check_structures(frames, elements, source=path)
        structures += frames
    return structures


def check_structures(
    structures: Iterable[Atoms],
    elements: Sequence[str] = (),
    first: int = 0,
    source: Path | None = None,
) -> None:
    """Refuse structures from which nothing can be learnt, on all ranks alike, so that no rank waits for another.

    Parameters
    ----------
    structures : iterable of Atoms
    elements : sequence of str
        Those that are allowed; none: all.
    first : int
        Number of the first structure in messages.
    source : Path, optional
        File that they come from, for messages.

    Raises
    ------
    InputError
        No atoms, missing labels, predictions of a model in their place, NaN, wrong shapes, an element that is not
        allowed, a periodic direction without a cell vector, a cell without thickness, atoms on top of each other.
    """
    for k, atoms in enumerate(structures, first):
        if fault := _fault(atoms, elements):
            where = f"{source}: " if source else ""
            raise InputError(f"{where}structure {k} ({atoms.get_chemical_formula()}){fault}")


def _fault(atoms: Atoms, elements: Sequence[str]) -> str:
    """End of a sentence on what is wrong with a structure; empty if nothing is."""
    if not len(atoms):
        return " has no atoms"
    if not extxyz.is_labelled(atoms):
        return " has no label; expected energy and forces" + _instead(atoms)
    if mark := predictions.mark(atoms):
        return f" has no label: {predictions.told(predictions.set_apart(atoms, mark))}"
    if elements and (unknown := sorted(set(atoms.symbols) - set(elements))):
        return f": element {', '.join(unknown)} is not one of the potential's: {' '.join(elements)}"
    for name, shape in {"energy": (), "forces": (len(atoms), 3), "stress": (6,)}.items():
        value = np.asarray(atoms.calc.results.get(name, np.zeros(shape)), dtype=float)
        if value.shape != shape or not np.isfinite(value).all():
            return f": {name} must be finite numbers" + (f" of shape {shape}" if shape else "")
    if not np.isfinite(atoms.positions).all():
        return ": positions are not finite"
    return cell_fault(atoms) or _coincidence(atoms)


def _instead(atoms: Atoms) -> str:
    """What a structure without a label has in its place."""
    if told := predictions.told(atoms):
        return f": {told}"
    known = atoms.calc.results if atoms.calc is not None else {}
    names = sorted(
        str(name)
        for name in (*known, *atoms.info, *atoms.arrays)
        if re.search("energ|forc", str(name), re.IGNORECASE)
    )
    return f" under these names, found {', '.join(names)}" if names else ""


def cell_fault(atoms: Atoms) -> str:
    """End of a sentence on a periodic direction without a cell vector, and on sizes that no neighbour search survives.

    Empty if nothing is wrong.
    """
    if (size := _extent(atoms)) > LONGEST:
        return f": it is {size:.3g} Å long; expected at most {LONGEST:g} Å of cell and atoms"
    vectors = atoms.cell.array[atoms.pbc]
    if not np.isfinite(vectors).all() or np.linalg.matrix_rank(vectors) < len(vectors):
        return f": periodic, but its cell is {atoms.cell.array.tolist()}"
    if not len(vectors):
        return ""
    # Rows of the inverse are normal to the planes that bound the cell, and one over their distance long.
    thickness = float(1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0).max())
    if thickness >= THINNEST:
        return ""
    return (
        f": its cell is {thickness:.3g} Å thin, so that vectors are nearly parallel or too short; expected at least "
        f"{THINNEST} Å between opposite faces, found {atoms.cell.array.tolist()}"
    )


def _extent(atoms: Atoms) -> float:
    """Length of the longest cell vector, or, where the structure is not periodic, of the space that atoms take, Å."""
    lengths = np.linalg.norm(atoms.cell.array, axis=1)
    spread = np.ptp(atoms.positions, axis=0)[~atoms.pbc] if len(atoms) else np.zeros(0)
    return float(max(lengths.max(), spread.max(initial=0.0)))


def _coincidence(atoms: Atoms) -> str:
    i, j, d = vesin.NeighborList(cutoff=COINCIDENT, full_list=False).compute(
        atoms.positions, atoms.cell.array, atoms.pbc, quantities="ijd"
    )
    return f": atoms {i[0]} and {j[0]} (from 0) are {d[0]:.3g} Å apart" if len(d) else ""


def _read(path: Path, elements: Sequence[str]) -> list[Atoms]:
    if path.suffix == ".cfg" and mlip.recognises(path):
        return mlip.read_cfg(path, elements)
    return read_pymatgen(path) if _is_list(path) else extxyz.read(path)


def known_to_ase(path) -> bool:
    """Tell by name and content whether a file is of a format that ASE reads, a LAMMPS text dump excepted."""
    path = Path(path)
    if not path.is_file() or not path.stat().st_size:
        return path.name.removesuffix(".gz").endswith((".xyz", ".extxyz", ".traj", ".db"))
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        try:
            if file.read(5) == b"ITEM:":
                return False
        except (OSError, EOFError, zlib.error):  # damaged, or not compressed whatever its name says
            return False
    try:
        found = filetype(str(path))  # where the content tells nothing: the end of the name
        return found in ioformats and not found.startswith("lammps-dump")
    except (UnknownFileTypeError, OSError, ValueError):
        return False


def _is_list(path: Path) -> bool:
    """Tell whether a file is a list in JSON; ASE's own JSON is a dictionary."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.read(4096).lstrip().startswith("[")


@brief("paths", "elements")
class StructureFiles:
    """Labelled structures of several files, in order, read when they are iterated over.

    Extended XYZ is read frame by frame, so that memory does not grow with the data; other formats file by file.

    Parameters
    ----------
    paths : iterable of Path
    elements : sequence of str
        Names of species 0, 1, ... of formats that number them (``.cfg``); others are refused.

    Raises
    ------
    InputError
        A file is missing, unreadable or named twice; while iterating also: what :func:`check_structures` refuses.
    """

    def __init__(self, paths: Iterable[Path], elements: Sequence[str] = ()):
        self.paths, self.elements = [Path(p) for p in paths], tuple(elements)
        check_distinct(self.paths)
        counts = [
            extxyz.count(p) if extxyz.is_extxyz(p) else len(_read(p, self.elements))
            for p in self.paths
        ]
        if empty := [p for p, n in zip(self.paths, counts, strict=True) if n == 0]:
            raise InputError(f"{empty[0]} holds no structure")
        self._first = np.cumsum([0, *counts])
        self._chosen: np.ndarray = np.arange(sum(counts))

    def __len__(self) -> int:
        return len(self._chosen)

    def place(self, k: int) -> tuple[Path, int]:
        """File of structure k, and its number there."""
        file = int(np.searchsorted(self._first, self._chosen[k], side="right")) - 1
        return self.paths[file], int(self._chosen[k] - self._first[file])

    def take(self, chosen: Iterable[int]) -> "StructureFiles":
        """Return a part of these structures, numbered from 0, in ascending order."""
        part = copy(self)
        part._chosen = np.sort(self._chosen[np.asarray(list(chosen), dtype=int)])
        return part

    def __iter__(self) -> Iterator[Atoms]:
        for path, first, end in zip(self.paths, self._first[:-1], self._first[1:], strict=True):
            mine = self._chosen[(self._chosen >= first) & (self._chosen < end)] - first
            if not len(mine):
                continue
            wanted = {int(k) for k in mine}
            frames = (
                extxyz.stream(path, wanted)
                if extxyz.is_extxyz(path)
                else _read(path, self.elements)
            )
            for k, atoms in enumerate(frames):
                if k in wanted:
                    check_structures([atoms], self.elements, first=k, source=path)
                    yield atoms
                if k == mine[-1]:
                    break


def check_structure(
    structures: Sequence[Atoms] | StructureFiles, k: int, atoms: Atoms, elements: Sequence[str]
) -> None:
    """:func:`check_structures` of one out of many, named by its file where it has one."""
    source, number = structures.place(k) if isinstance(structures, StructureFiles) else (None, k)
    check_structures([atoms], elements, first=number, source=source)


def take(structures: Sequence[Atoms] | StructureFiles, chosen: Iterable[int]):
    """Part of some structures, which can be iterated over again and again."""
    if isinstance(structures, StructureFiles):
        return structures.take(chosen)
    return [structures[k] for k in chosen]


def read_pymatgen(path: Path) -> list[Atoms]:
    """Read a JSON list of {structure, outputs: {energy, forces, virial_stress}, group}.

    ``virial_stress`` (kbar, order xx yy zz xy yz xz, positive when the cell wants to grow) becomes
    ASE's stress; ``group`` becomes ``config_type``. This is the format of the mlearn data sets.

    Raises
    ------
    InputError
        No such file, or another content.
    """
    try:
        entries = read_json(path)
        return [from_pymatgen(entry) for entry in entries]
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: not a list of structures with outputs: {type(error).__name__} {error}"
        ) from error


def from_pymatgen(entry: dict) -> Atoms:
    """Make a labelled structure of one entry."""
    sites, outputs = entry["structure"]["sites"], entry["outputs"]
    atoms = Atoms(
        symbols=[site["species"][0]["element"] for site in sites],
        positions=[site["xyz"] for site in sites],
        cell=entry["structure"]["lattice"]["matrix"],
        pbc=True,
    )
    stress = None
    if (virial := outputs.get("virial_stress")) is not None:
        xx, yy, zz, xy, yz, xz = np.array(virial) / 1602.1766208  # kbar to eV/Å³
        stress = -np.array([xx, yy, zz, yz, xz, xy])
    atoms = extxyz.labelled(atoms, outputs["energy"], outputs["forces"], stress)
    atoms.info["config_type"] = entry.get("group", "default")
    return atoms
