# SPDX-License-Identifier: GPL-2.0-or-later
"""Read labelled structures: extended XYZ, MLIP's .cfg, and JSON lists of pymatgen structures with their outputs."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.io import extxyz, mlip

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def expand(path: str, folder: Path) -> Path:
    """Resolve ``${NAME}`` and ``${NAME:-default}`` in a path, relative to a folder.

    Raises
    ------
    ValueError
        A variable is not set and has no default, or no file is where it points.
    """

    def value(match):
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise ValueError(f"{path}: the environment variable {name} is not set")
        return found

    found = folder / VARIABLE.sub(value, path)
    if (variable := VARIABLE.search(path)) and not found.exists():
        raise ValueError(
            f"no file {found}: set the environment variable {variable[1]} so that {path} exists"
        )
    return found


def read_structures(paths: Iterable[Path], elements: Sequence[str] = ()) -> list[Atoms]:
    """Read labelled structures of several files, in order.

    Parameters
    ----------
    paths : iterable of Path
    elements : sequence of str
        Names of species 0, 1, ... of formats that number them (``.cfg``).

    Raises
    ------
    ValueError
        A file is missing or unreadable, or a structure carries no energy and forces.
    """
    structures = []
    for path in map(Path, paths):
        frames = _read(path, elements)
        for k, atoms in enumerate(frames):
            _check_label(atoms, path, k)
        structures += frames
    return structures


def _read(path: Path, elements: Sequence[str]) -> list[Atoms]:
    if path.suffix == ".cfg" and mlip.recognises(path):
        return mlip.read_cfg(path, elements)
    return read_pymatgen(path) if path.suffix == ".json" else extxyz.read(path)


def _check_label(atoms: Atoms, path: Path, number: int) -> None:
    if not extxyz.is_labelled(atoms):
        raise ValueError(f"{path}: structure {number} has no label; expected energy and forces")


class StructureFiles:
    """Labelled structures of several files, in order, read when they are iterated over.

    Extended XYZ is read frame by frame, so that memory does not grow with the data; other formats file by file.

    Parameters
    ----------
    paths : iterable of Path
    elements : sequence of str
        Names of species 0, 1, ... of formats that number them (``.cfg``).

    Raises
    ------
    ValueError
        A file is missing or unreadable; while iterating also: a structure carries no energy and forces.
    """

    def __init__(self, paths: Iterable[Path], elements: Sequence[str] = ()):
        self.paths, self.elements = [Path(p) for p in paths], tuple(elements)
        counts = [
            extxyz.count(p) if extxyz.is_extxyz(p) else len(_read(p, self.elements))
            for p in self.paths
        ]
        if empty := [p for p, n in zip(self.paths, counts, strict=True) if n == 0]:
            raise ValueError(f"{empty[0]} holds no structure")
        self._first = np.cumsum([0, *counts])
        self._chosen: np.ndarray = np.arange(sum(counts))

    def __len__(self) -> int:
        return len(self._chosen)

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
                    _check_label(atoms, path, k)
                    yield atoms
                if k == mine[-1]:
                    break


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
    ValueError
        No such file, or another content.
    """
    try:
        entries = json.loads(path.read_text())
        return [from_pymatgen(entry) for entry in entries]
    except FileNotFoundError:
        raise ValueError(f"no file {path}") from None
    except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise ValueError(
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
