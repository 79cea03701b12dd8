# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures in MLIP's ``.cfg`` format, which numbers species instead of naming them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.errors import InputError
from pyuq.io.extxyz import adopt, disagreement, labelled

AXES = ("x", "y", "z")
COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
# MLIP reads words, whatever the lines; writers differ in capitals.
KEYS = {
    key.lower(): key
    for key in ("Size", "Supercell", "AtomData", "Energy", "PlusStress", "Virial", "Stress")
}


def recognises(path: Path) -> bool:
    """Tell whether a file starts like MLIP's format (other ``.cfg`` exist, AtomEye's for one)."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.read(4096).lstrip().startswith("BEGIN_CFG")


def read_cfg(path, elements: Sequence[str]) -> list[Atoms]:
    """Read all configurations of a file.

    Parameters
    ----------
    path : str or Path
    elements : sequence of str
        Chemical symbols of species 0, 1, ....

    Returns
    -------
    list of Atoms
        With energy, forces and stress where the file has them; ``Feature`` lines go to ``info``,
        per-atom grades (``nbh_grades``) to ``arrays``.

    Raises
    ------
    InputError
        No such file, another content, or a species without a name; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}")
    lines = _Lines(path, path.read_text(encoding="utf-8-sig").splitlines())
    frames = []
    while lines.seek("BEGIN_CFG"):
        try:
            frames.append(_configuration(lines, elements))
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(f"{path}:{lines.number}: {error}") from error
    if not frames:
        raise InputError(f"{path} holds no configuration: expected BEGIN_CFG")
    return frames


class _Lines(Iterator):
    """Lines of a file, split into words, with their number."""

    def __init__(self, path: Path, lines: list[str]):
        self.path, self.lines, self.number = path, lines, 0

    def __next__(self) -> list[str]:
        while self.number < len(self.lines):
            self.number += 1
            if words := self.lines[self.number - 1].split():
                return words
        raise InputError("the file ends inside a configuration, expected END_CFG")

    def values(self, given: Sequence[str], count: int, what: str) -> np.ndarray:
        """Read numbers that stand behind a key, or on the lines below it."""
        words = list(given)
        while len(words) < count:
            words += next(self)
        if len(words) > count:
            raise InputError(f"{what}: found {len(words)} values, expected {count}")
        return _numbers(words, what)

    def seek(self, key: str) -> bool:
        """Move behind the next line that is this word; tell whether there is one."""
        while self.number < len(self.lines):
            self.number += 1
            if self.lines[self.number - 1].strip() == key:
                return True
        return False


def _numbers(words: Sequence[str], what: str) -> np.ndarray:
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise InputError(f"{what}: {error}") from None


def _is_number(line: str) -> bool:
    try:
        return bool([float(word) for word in line.split()])
    except ValueError:
        return False


def _configuration(lines: _Lines, elements: Sequence[str]) -> Atoms:
    found, features = {}, {}
    for words in lines:
        if words[0] == "END_CFG":
            break
        if words[0] == "Feature" and len(words) > 1:
            value = " ".join(words[2:])
            features[words[1]] = "\n".join(filter(None, (features.get(words[1]), value)))
            continue
        key = KEYS.get(words[0].lower().rstrip(":"), words[0])
        if key in found:
            raise InputError(f"{key} is there twice: leave one")
        found[key] = _entry(key, lines, words[1:], found.get("Size"))
    if missing := [key for key in ("Size", "AtomData") if key not in found]:
        raise InputError(f"a configuration without {' and '.join(missing)}")
    return _structure(found, features, elements)


def _entry(key: str, lines: _Lines, given: list[str], size: int | None):
    """Read what belongs to a key."""
    match key:
        case "Size":
            value = float(lines.values(given, 1, key)[0])
            if value != int(value) or value < 0:
                raise InputError(f"Size {value:g}: expected a number of atoms")
            return int(value)
        case "Supercell":
            words = list(given)
            while lines.number < len(lines.lines) and _is_number(lines.lines[lines.number]):
                words += next(lines)
            if len(words) not in (0, 9):
                raise InputError(
                    f"Supercell has {len(words)} numbers, expected 9 (three vectors), or none for a molecule"
                )
            return _numbers(words, key).reshape(-1, 3)
        case "AtomData":
            if size is None:
                raise InputError("AtomData before Size: expected the number of atoms first")
            if len(set(given)) < len(given):
                raise InputError(f"AtomData names a column twice: {' '.join(given)}")
            rows = []
            for _ in range(size):
                words = next(lines)
                if len(words) != len(given):
                    raise InputError(
                        f"atom {len(rows) + 1} of {size} has {len(words)} columns, AtomData names {len(given)}"
                    )
                rows.append(_numbers(words, f"atom {len(rows) + 1}"))
            return dict(zip(given, np.array(rows).reshape(size, len(given)).T, strict=True))
        case "Energy":
            return float(lines.values(given, 1, key)[0])
        case "PlusStress" | "Virial":
            names = [word for word in given if word in COMPONENTS]
            if sorted(names) != sorted(COMPONENTS):
                raise InputError(
                    f"{key} names {' '.join(names) or 'nothing'}, expected {' '.join(COMPONENTS)}"
                )
            return dict(zip(names, lines.values(given[len(names) :], 6, key), strict=True))
        case "Stress":
            raise InputError(
                "Stress: has the opposite sign of PlusStress: and is refused by MLIP too: write PlusStress: with the "
                "virial in eV, positive under compression"
            )
    raise InputError(
        f"unknown entry {key!r}, expected {' '.join(KEYS.values())} Feature or END_CFG"
    )


def _structure(found: dict, features: dict, elements: Sequence[str]) -> Atoms:
    table, cell = _ordered(found["AtomData"], found["Size"]), found.get("Supercell", ())
    if "type" not in table:
        raise InputError("AtomData has no column type")
    species = table["type"].astype(int)
    if (species != table["type"]).any() or species.min(initial=0) < 0:
        raise InputError("AtomData: type must be a number from 0")
    if species.max(initial=0) >= len(elements):
        raise InputError(
            f"species {species.max()} has no name; expected at least {species.max() + 1} element "
            f"names in the file's order, found {' '.join(elements) or 'none'}"
        )
    periodic = len(cell) == 3
    atoms = Atoms([elements[s] for s in species], cell=cell if periodic else None, pbc=periodic)
    if all(f"cartes_{c}" in table for c in AXES):
        atoms.positions = np.column_stack([table[f"cartes_{c}"] for c in AXES])
    elif all(f"direct_{c}" in table for c in AXES) and periodic:
        atoms.positions = np.column_stack([table[f"direct_{c}"] for c in AXES]) @ atoms.cell.array
    else:
        raise InputError(
            "AtomData has no positions: expected cartes_x cartes_y cartes_z, or direct_x direct_y direct_z and a "
            f"Supercell, found {' '.join(table)}"
        )
    if (given := sum(f"f{c}" in table for c in AXES)) not in (0, 3):
        raise InputError(f"AtomData has {given} of the columns fx fy fz: expected all or none")
    if "Energy" in found and given:
        forces = np.column_stack([table[f"f{c}"] for c in AXES])
        stress = _stress(found, atoms) if periodic else None
        atoms = labelled(atoms, found["Energy"], forces, stress)
    if "nbh_grades" in table:
        atoms.arrays["nbh_grades"] = table["nbh_grades"]
    atoms.info |= features
    return adopt(atoms)


def _ordered(table: dict, size: int) -> dict:
    """Atoms in the order of their ids, where there are such."""
    if "id" not in table:
        return table
    ids = table["id"]
    if len(np.unique(ids)) < size:
        raise InputError("AtomData: an id is there twice, expected one for each atom")
    order = np.argsort(ids)
    return {name: column[order] for name, column in table.items()}


def _stress(found: dict, atoms: Atoms) -> np.ndarray | None:
    """Stress (6,), eV/Å³, of PlusStress or Virial: both are the virial in eV."""
    tensors = [
        np.array([found[key][c] for c in COMPONENTS])
        for key in ("PlusStress", "Virial")
        if key in found
    ]
    if not tensors:
        return None
    stress = -tensors[0] / atoms.get_volume()
    if len(tensors) > 1 and (fault := disagreement(tensors[1], stress, atoms.get_volume())):
        raise InputError(f"PlusStress (read as stress) and Virial: {fault}")
    return stress
