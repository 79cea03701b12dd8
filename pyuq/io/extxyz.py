# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled structures in extended XYZ, with every digit.

ASE writes eight decimals; a database that is to be read back identically needs all seventeen.
"""

import gzip
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import TextIO

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.io.extxyz import key_val_dict_to_str

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io import predictions
from pyuq.io.files import atomic_write

# Keys and columns as ASE spells them; GPUMD does not distinguish capitals.
KEYS = ("Lattice", "Properties", "energy", "virial", "stress", "pbc")
SPELT = {key.lower(): key for key in KEYS}
COLUMNS = ("species", "pos", "force", "forces", "id")
SPECIES = {"species", "symbols", "Z", "numbers"}
NUMBERS = {"energy": 1, "virial": 9, "stress": 9, "Lattice": 9}
ENTRY = re.compile(
    r"""(?:^|(?<=\s))([^\s=,"'{}\[\]]+)\s*=\s*("(?:\\.|[^"\\])*"|'[^']*'|\{[^}]*\}|\[[^\]]*\](?=\s|$)|[^\s"]\S*)"""
)
ISOTOPES = {"D": 2.0141017781, "T": 3.0160492820}  # g/mol; both are hydrogen
AGREE = 1e-3  # between a virial and a stress of one label, as a part of the largest component
KBAR = 1602.1766208  # in an eV/Å³


def labelled(atoms: Atoms, energy: float, forces, stress=None) -> Atoms:
    """Copy a structure and attach a label.

    Parameters
    ----------
    atoms : Atoms
    energy : float
        eV.
    forces : array_like, shape (N, 3)
        eV/Å.
    stress : array_like, shape (6,), optional
        xx yy zz yz xz xy, eV/Å³, positive when the cell wants to shrink (-virial/volume).

    Returns
    -------
    Atoms
        With a :class:`SinglePointCalculator`.
    """
    atoms = atoms.copy()
    results = {"energy": float(energy), "forces": np.asarray(forces, dtype=float)}
    if stress is not None:
        results["stress"] = np.asarray(stress, dtype=float)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def is_labelled(atoms: Atoms) -> bool:
    """Tell whether a structure carries an energy and forces."""
    return atoms.calc is not None and {"energy", "forces"} <= atoms.calc.results.keys()


def read(path) -> list[Atoms]:
    """Read all frames of an extended XYZ file (or of any format that ASE knows).

    Raises
    ------
    InputError
        The file cannot be read or holds no frame.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}")
    if is_extxyz(path):
        frames = list(stream(path))
    else:
        try:
            # Under mpirun ASE would otherwise take reading for a collective operation.
            frames = ase.io.read(path, index=":", parallel=False)
        except Exception as error:
            raise InputError(
                f"{path} cannot be read as structures ({type(error).__name__}: {error}); expected extended XYZ "
                "(.xyz, .extxyz) or another file that ASE knows by its name"
            ) from error
        try:
            frames = [adopt(atoms) for atoms in frames]
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    if not frames:
        raise InputError(f"{path} holds no structure")
    return frames


def is_extxyz(path) -> bool:
    """Tell by its name, or else by its first lines, whether a file is extended XYZ (it may be compressed, ``.gz``)."""
    path = Path(path)
    if Path(path.name.removesuffix(".gz")).suffix.lower() in (".xyz", ".extxyz", ".exyz"):
        return True
    if not path.is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first, second = file.readline(100), file.readline(4096)
    return first.strip().isdecimal() and "properties=" in second.lower()


def _open(path: Path) -> TextIO:
    """Open a text file, compressed or not, that may begin with a byte order mark."""
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig")


def count(path) -> int:
    """Count the frames of an extended XYZ file without reading them.

    Raises
    ------
    InputError
        See :func:`read`.
    """
    return sum(1 for _ in stream(path, ()))


def stream(path, wanted: Container[int] | None = None) -> Iterator[Atoms | None]:
    """Read an extended XYZ file frame by frame; of frames that are not wanted only the number of lines.

    Parameters
    ----------
    path : str or Path
    wanted : container of int
        Numbers of frames, from 0; default: all.

    Yields
    ------
    Atoms or None

    Raises
    ------
    InputError
        There is no such file, or a frame cannot be read. ASE ends at a blank line or a frame that is cut short
        without a word, and with it the structures behind.
    """
    path, number = Path(path), 0
    if not path.is_file():
        raise InputError(f"no file {path}")
    with _open(path) as file:
        while True:
            try:
                line = file.readline()
                if not line.strip() and not file.read().strip():
                    return
                lines = [line, *_further(file, line, wanted is None or number in wanted)]
                atoms = _parse(lines) if len(lines) > 1 else None
            except Exception as error:
                raise InputError(f"{path}: frame {number} cannot be read: {error}") from error
            yield atoms
            number += 1


def _further(file: TextIO, first: str, keep: bool) -> list[str]:
    """Lines of a frame behind its first; none of them unless they are to be kept."""
    if not first.strip().isdecimal():
        raise InputError(f"expected the number of its atoms, found {first[:40]!r}")
    natoms, lines = int(first), []
    for found in range(natoms + 1):
        if not (line := file.readline()):
            raise InputError(
                f"the file ends before it: {max(found - 1, 0)} of {natoms} atoms are there"
            )
        if keep:
            lines.append(line)
    return lines


def _parse(lines: list[str]) -> Atoms:
    comment = Comment(lines[1])
    rows = [line.split() for line in lines[2:]]
    masses = comment.settle(rows)
    text = "\n".join([lines[0].strip(), comment.text, *(" ".join(row) for row in rows)]) + "\n"
    try:
        atoms = ase.io.read(StringIO(text), format="extxyz", parallel=False)
    except KeyError as error:
        raise InputError(f"{error} is unknown") from error
    if masses:
        found = atoms.get_masses()
        found[list(masses)] = list(masses.values())
        atoms.set_masses(found)
    return adopt(atoms, "Time=, GPUMD's first word" if comment.first == "Time" else "")


@brief("text")
class Comment:
    """Comment line of a frame, spelt as ASE wants it.

    Parameters
    ----------
    line : str

    Attributes
    ----------
    text : str
    first : str
        First key, as it is written.

    Raises
    ------
    InputError
        A key twice, a label that is no number, columns that no reader could tell apart.
    """

    def __init__(self, line: str):
        self.text, self.values, end = "", {}, 0
        found = list(ENTRY.finditer(line.strip()))
        self.first = found[0][1] if found else ""
        for entry in found:
            key = SPELT.get(entry[1].lower(), entry[1])
            if key in self.values:
                raise InputError(f"{key}= is there twice: leave one")
            self.values[key] = entry[2].strip("\"'{}[] ")
            self.text += line.strip()[end : entry.start(1)] + key
            end = entry.end(1)
        self.text += line.strip()[end:]
        for key in NUMBERS.keys() & self.values.keys():
            _check_numbers(key, self.values[key])
        self.columns = self._columns()

    def _columns(self) -> dict[str, slice]:
        """Name and place of each column; names that have a meaning get ASE's spelling."""
        given = self.values.get("Properties", "species:S:1:pos:R:3")
        parts = given.split(":")
        if len(parts) % 3 or not all(p.isdecimal() and int(p) > 0 for p in parts[2::3]):
            raise InputError(f"Properties={given[:60]}: expected NAME:TYPE:COUNT, again and again")
        columns, start = {}, 0
        for k in range(0, len(parts), 3):
            name = parts[k].lower()
            parts[k] = name if name in COLUMNS else parts[k]
            if parts[k] in columns:
                raise InputError(f"Properties has the column {parts[k]} twice: leave one")
            columns[parts[k]] = slice(start, start + int(parts[k + 2]))
            start += int(parts[k + 2])
        if not {"pos", "positions"} & columns.keys() or not SPECIES & columns.keys():
            raise InputError(f"Properties={given[:60]}: expected columns species and pos")
        if {"force", "forces"} <= columns.keys():
            raise InputError("Properties has two columns of forces, force and forces: leave one")
        self.text = self.text.replace(given, ":".join(parts), 1)
        return columns

    def settle(self, rows: list[list[str]]) -> dict[int, float]:
        """Check rows, and order them by a column ``id``; D and T become H.

        Returns
        -------
        dict
            {atom: mass in g/mol} of isotopes.

        Raises
        ------
        InputError
            A row has another number of columns, or a species is no chemical symbol.
        """
        width = max((c.stop for c in self.columns.values()), default=0)
        for k, row in enumerate(rows):
            # Plain XYZ, which names no columns, may have more of them.
            if len(row) < width or ("Properties" in self.values and len(row) > width):
                raise InputError(
                    f"atom {k + 1} has {len(row)} columns, Properties says {width}: {' '.join(row)[:60]!r}"
                )
        if "id" in self.columns:
            _order(rows, self.columns["id"].start)
        masses, species = {}, self.columns.get("species", self.columns.get("symbols"))
        for k, row in enumerate(rows if species else ()):
            symbol = row[species.start]
            if symbol in ISOTOPES:
                row[species.start], masses[k] = "H", ISOTOPES[symbol]
            elif symbol not in atomic_numbers:
                meant = next((s for s in _candidates(symbol) if s in atomic_numbers), "")
                hint = f"; write {meant}" if meant else ""
                raise InputError(f"atom {k + 1}: {symbol!r} is no chemical symbol{hint}")
        return masses


def _check_numbers(key: str, value: str) -> None:
    words = value.replace(",", " ").replace("[", " ").replace("]", " ").split()
    try:
        [float(word) for word in words]
    except ValueError:
        raise InputError(f"{key}={value[:40]} is no number") from None
    if len(words) != NUMBERS[key]:
        raise InputError(f"{key} has {len(words)} numbers, expected {NUMBERS[key]}")


def _order(rows: list[list[str]], column: int) -> None:
    """Sort rows by their ids: codes that run in parallel write atoms in an order that changes."""
    try:
        ids = [int(row[column]) for row in rows]
    except ValueError as error:
        raise InputError(f"column id: {error}") from None
    if len(set(ids)) < len(ids):
        twice = next(i for i, n in Counter(ids).items() if n > 1)
        raise InputError(f"id {twice} is there twice: expected one for each atom")
    rows[:] = [row for _, row in sorted(zip(ids, rows, strict=True))]


def _candidates(symbol: str) -> Iterator[str]:
    """What a word may mean that is no chemical symbol: SI, si, Si1, Si_pv."""
    letters = re.match("[A-Za-z]*", symbol)[0]
    yield letters.capitalize()
    yield letters[:2].capitalize()
    yield letters[:1].upper()


def adopt(atoms: Atoms, mark: str = "") -> Atoms:
    """Take what a file calls labels as labels, in GPUMD's names too, and set predictions apart.

    GPUMD's names are a column ``force`` and a total ``virial`` (eV, nine numbers); the virial also counts for frames
    whose forces are called as ASE does.

    Parameters
    ----------
    atoms : Atoms
        As ASE reads it.
    mark : str
        What the file itself tells of predictions.

    Raises
    ------
    InputError
        A virial and a stress that are not the same.
    """
    known, virial = atoms.calc.results if atoms.calc is not None else {}, atoms.info.get("virial")
    energy = known.get("energy", atoms.info.get("energy"))
    forces = known.get("forces", atoms.arrays.get("force"))
    if (mark := predictions.mark(atoms) or mark) and (energy is not None or forces is not None):
        return predictions.set_apart(atoms, mark)
    total = np.size(virial) == 9 and virial is not None and atoms.cell.rank == 3
    if energy is None or forces is None or (is_labelled(atoms) and not total):
        return atoms
    stress = known.get("stress")
    if total:
        w = np.reshape(np.asarray(virial, dtype=float), (3, 3))
        found = -(w + w.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / (2 * atoms.get_volume())
        if stress is None:
            stress = found
        elif fault := disagreement(-found * atoms.get_volume(), stress, atoms.get_volume()):
            raise InputError(fault)
    atoms = labelled(atoms, energy, forces, stress)
    for name in ("force", "forces"):
        atoms.arrays.pop(name, None)
    for name in ("virial", "energy", "stress"):
        atoms.info.pop(name, None)
    return atoms


def disagreement(virial, stress, volume: float) -> str:
    """Sentence on a virial and a stress that are not the same label; empty if they are.

    Parameters
    ----------
    virial : array_like, shape (6,)
        eV, xx yy zz yz xz xy.
    stress : array_like, shape (6,)
        eV/Å³, in this order.
    volume : float
        Å³.
    """
    virial, expected = np.asarray(virial, dtype=float), -volume * np.asarray(stress, dtype=float)
    if not (np.isfinite(virial).all() and np.isfinite(expected).all()):
        return "virial and stress must be finite numbers"
    size = max(np.abs(virial).max(), np.abs(expected).max())
    if np.abs(virial - expected).max() <= AGREE * size + 1e-6:
        return ""
    if not np.abs(expected).max() or not np.abs(virial).max():
        how = "one of them is zero"
    else:
        factor = float(virial @ expected / (expected @ expected))
        if np.abs(virial - factor * expected).max() <= 0.01 * np.abs(virial).max():
            meaning = next(
                (name for value, name in _meanings(volume) if np.isclose(factor, value, rtol=5e-3)),
                "",
            )
            how = f"virial = {factor:.6g} times -volume * stress" + meaning
        else:
            how = f"-volume * stress is {_few(expected)} eV (xx yy zz yz xz xy)"
    return (
        f"virial and stress disagree: virial is {_few(virial)} eV, stress {_few(stress)} eV/Å³, {how}. Expected a "
        "virial (eV, positive under compression) that is -volume times the stress (eV/Å³): leave the right one"
    )


def _meanings(volume: float) -> Iterator[tuple[float, str]]:
    """Factors between a virial and -volume * stress that a mistake of convention gives, and the mistake."""
    for sign, opposite in ((1.0, ""), (-1.0, "; one has the opposite sign")):
        if sign < 0:
            yield sign, ": one has the opposite sign"
        yield sign / volume, f": the virial has been divided by the volume{opposite}"
        yield sign * volume, f": the stress has been divided by the volume twice{opposite}"
        yield sign / KBAR, f": the stress is in kbar{opposite}"
        yield sign * 10 / KBAR, f": the stress is in GPa{opposite}"
        yield sign * KBAR / volume, f": the virial is a stress in kbar{opposite}"
        yield sign * KBAR / (10 * volume), f": the virial is a stress in GPa{opposite}"


def _few(numbers) -> str:
    return " ".join(f"{x:.5g}" for x in numbers)


def write(path, frames: Iterable[Atoms]) -> None:
    """Write frames atomically with 17 significant digits.

    Energy, forces and stress come from the frame's calculator, provenance from its ``info``.
    """
    with atomic_write(path) as file:
        for atoms in frames:
            file.write(_format_frame(atoms))


def as_text(frames: Iterable[Atoms]) -> str:
    """What :func:`write` writes."""
    return "".join(map(_format_frame, frames))


def _format_frame(atoms: Atoms) -> str:
    results = atoms.calc.results if atoms.calc is not None else {}
    header = {"Lattice": atoms.cell.array.T, "Properties": "species:S:1:pos:R:3"}
    columns = [atoms.positions]
    if atoms.has("masses"):  # isotopes
        header["Properties"] += ":masses:R:1"
        columns.append(atoms.get_masses()[:, None])
    if "forces" in results:
        header["Properties"] += ":forces:R:3"
        columns.append(results["forces"])
    if "energy" in results:
        header["energy"] = float(results["energy"])
    if "stress" in results:
        xx, yy, zz, yz, xz, xy = (float(s) for s in results["stress"])
        header["stress"] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    header["pbc"] = np.array(atoms.pbc)
    header |= atoms.info
    numbers = np.hstack(columns)
    lines = [
        f"{symbol:2s} " + " ".join(f"{x:24.16e}" for x in row)
        for symbol, row in zip(atoms.get_chemical_symbols(), numbers, strict=True)
    ]
    return "\n".join([str(len(atoms)), key_val_dict_to_str(header), *lines]) + "\n"
