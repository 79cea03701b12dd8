# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled structures in extended XYZ, with every digit.

ASE writes eight decimals; a database that is to be read back identically needs all seventeen.
"""

import re
from collections.abc import Container, Iterable, Iterator
from io import StringIO
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import key_val_dict_to_str

from pyuq.io.files import atomic_write

KEYS = ("Lattice", "Properties", "energy", "virial", "stress", "pbc")


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
    ValueError
        The file cannot be read or holds no frame.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file {path}")
    if is_extxyz(path):
        frames = list(stream(path))
    else:
        try:
            # Under mpirun ASE would otherwise take reading for a collective operation.
            frames = ase.io.read(path, index=":", parallel=False)
        except Exception as error:
            raise ValueError(
                f"{path} cannot be read as structures ({type(error).__name__}: {error}); expected extended XYZ "
                "(.xyz, .extxyz) or another file that ASE knows by its name"
            ) from error
        frames = [adopt_gpumd(atoms) for atoms in frames]
    if not frames:
        raise ValueError(f"{path} holds no structure")
    return frames


def is_extxyz(path) -> bool:
    """Tell by the name whether a file is extended XYZ."""
    return Path(path).suffix in (".xyz", ".extxyz")


def count(path) -> int:
    """Count the frames of an extended XYZ file without reading them.

    Raises
    ------
    ValueError
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
    ValueError
        There is no such file, or a frame cannot be read. ASE ends at a blank line or a frame that is cut short
        without a word, and with it the structures behind.
    """
    path, number = Path(path), 0
    if not path.is_file():
        raise ValueError(f"no file {path}")
    with open(path, encoding="utf-8") as file:
        while True:
            try:
                line = file.readline()
                if not line.strip() and not file.read().strip():
                    return
                if not line.strip().isdecimal():
                    raise ValueError(f"expected the number of its atoms, found {line[:40]!r}")
                lines = [line, *(file.readline() for _ in range(int(line) + 1))]
                if not lines[-1]:
                    raise ValueError("the file ends before it")
                atoms = _parse(lines) if wanted is None or number in wanted else None
            except Exception as error:
                raise ValueError(f"{path}: frame {number} cannot be read: {error}") from error
            yield atoms
            number += 1


def _parse(lines: list[str]) -> Atoms:
    lines[1] = _spelt(lines[1])
    return adopt_gpumd(ase.io.read(StringIO("".join(lines)), format="extxyz", parallel=False))


def _spelt(comment: str) -> str:
    """Keys as ASE spells them; GPUMD does not distinguish capitals."""
    for key in KEYS:
        wanted = rf"(?<!\w){key}="
        if not re.search(wanted, comment):
            comment = re.sub(wanted, f"{key}=", comment, count=1, flags=re.IGNORECASE)
    return comment


def adopt_gpumd(atoms: Atoms) -> Atoms:
    """Take labels in GPUMD's names, a column ``force`` and a total ``virial`` (eV, nine numbers), as labels.

    The virial also of frames whose forces are called as ASE does, if they have no stress.
    """
    known, virial = atoms.calc.results if atoms.calc is not None else {}, atoms.info.get("virial")
    energy = known.get("energy", atoms.info.get("energy"))
    forces = known.get("forces", atoms.arrays.get("force"))
    total = np.size(virial) == 9 and atoms.cell.rank == 3 and "stress" not in known
    if energy is None or forces is None or (is_labelled(atoms) and not total):
        return atoms
    stress = known.get("stress")
    if total:
        w = np.reshape(virial, (3, 3))
        stress = -(w + w.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / (2 * atoms.get_volume())
    atoms = labelled(atoms, energy, forces, stress)
    atoms.arrays.pop("force", None)
    atoms.info.pop("virial", None)
    atoms.info.pop("energy", None)
    return atoms


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
