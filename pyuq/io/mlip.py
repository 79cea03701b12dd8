# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures in MLIP's ``.cfg`` format, which numbers species instead of naming them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.io.extxyz import adopt, labelled

AXES = ("x", "y", "z")


def recognises(path: Path) -> bool:
    """Tell whether a file starts like MLIP's format (other ``.cfg`` exist, AtomEye's for one)."""
    if not path.is_file():
        return False
    with open(path, errors="replace") as file:
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
    ValueError
        No such file, another content, or a species without a name; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file {path}")
    lines = _Lines(path, path.read_text().splitlines())
    frames = []
    while lines.seek("BEGIN_CFG"):
        try:
            frames.append(_configuration(lines, elements))
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"{path}:{lines.number}: {error}") from error
    if not frames:
        raise ValueError(f"{path} holds no configuration: expected BEGIN_CFG")
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
        raise ValueError("the file ends inside a configuration, expected END_CFG")

    def numbers(self) -> np.ndarray:
        """Numbers of the next line."""
        return np.array([float(word) for word in next(self)])

    def seek(self, key: str) -> bool:
        """Move behind the next line that is this word; tell whether there is one."""
        while self.number < len(self.lines):
            self.number += 1
            if self.lines[self.number - 1].strip() == key:
                return True
        return False


def _configuration(lines: _Lines, elements: Sequence[str]) -> Atoms:
    size, cell, table, energy, plus_stress, features = None, [], {}, None, None, {}
    for words in lines:
        match words[0]:
            case "END_CFG":
                break
            case "Size":
                size = int(next(lines)[0])
            case "Supercell":
                while len(lines.lines[lines.number].split()) == 3:
                    cell.append(lines.numbers())
            case "AtomData:":
                rows = np.array([lines.numbers() for _ in range(size)])
                table = dict(zip(words[1:], rows.T, strict=True))
            case "Energy":
                energy = float(next(lines)[0])
            case "PlusStress:":
                plus_stress = dict(zip(words[1:], lines.numbers(), strict=True))
            case "Feature":
                features[words[1]] = " ".join(words[2:])
            case other:
                raise ValueError(f"unknown entry {other!r}")
    return _structure(cell, table, energy, plus_stress, features, elements)


def _structure(
    cell: list,
    table: dict,
    energy: float | None,
    plus_stress: dict | None,
    features: dict,
    elements,
) -> Atoms:
    species = table["type"].astype(int)
    if species.max() >= len(elements):
        raise ValueError(
            f"species {species.max()} has no name; expected at least {species.max() + 1} element "
            f"names in the file's order, found {' '.join(elements) or 'none'}"
        )
    if len(cell) not in (0, 3):
        raise ValueError(f"Supercell has {len(cell)} rows, expected 3, or none for a molecule")
    atoms = Atoms([elements[s] for s in species], cell=cell or None, pbc=bool(cell))
    if "cartes_x" in table:
        atoms.positions = np.column_stack([table[f"cartes_{c}"] for c in AXES])
    else:
        atoms.set_scaled_positions(np.column_stack([table[f"direct_{c}"] for c in AXES]))
    if energy is not None and "fx" in table:
        forces = np.column_stack([table[f"f{c}"] for c in AXES])
        stress = None
        if plus_stress and len(cell) == 3:
            virial = [plus_stress[key] for key in ("xx", "yy", "zz", "yz", "xz", "xy")]
            stress = -np.array(virial) / atoms.get_volume()
        atoms = labelled(atoms, energy, forces, stress)
    if "nbh_grades" in table:
        atoms.arrays["nbh_grades"] = table["nbh_grades"]
    atoms.info |= features
    return adopt(atoms)
