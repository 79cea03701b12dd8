# SPDX-License-Identifier: GPL-2.0-or-later
"""LAMMPS data files from structures and back, every digit kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from pyuq.errors import InputError
from pyuq.io.files import write_text
from pyuq.io.masses import refuse_wrong_masses
from pyuq.io.structures import cell_fault

COLUMNS = {"atomic": "{id} {type}", "charge": "{id} {type} {charge:.17g}"}
MARGIN = 1.0  # of the box around a structure that is not periodic, Å


def box_of(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the box in LAMMPS's orientation.

    LAMMPS wants a lower-triangular cell with a positive diagonal, H' = H Qᵀ with Q orthogonal, so
    that
    x' = x Qᵀ and x = x' Q (row vectors).

    Parameters
    ----------
    atoms : Atoms
        Periodic in all directions or in none.

    Returns
    -------
    cell : ndarray, shape (3, 3)
        H', rows are the cell vectors, Å.
    rotation : ndarray, shape (3, 3)
        Q.
    origin : ndarray, shape (3,)
        Lower corner, Å.

    Raises
    ------
    InputError
        Periodic in some directions only, or a cell that :func:`pyuq.io.structures.cell_fault` refuses.
    """
    if not any(atoms.pbc):
        low, high = atoms.positions.min(axis=0) - MARGIN, atoms.positions.max(axis=0) + MARGIN
        return np.diag(high - low), np.eye(3), low
    if not all(atoms.pbc):
        raise InputError(
            f"structure is periodic along {''.join(np.array(list('xyz'))[atoms.pbc])} only; expected all directions "
            "or none (a slab: make it periodic, with vacuum)"
        )
    if fault := cell_fault(atoms):
        raise InputError(f"structure {atoms.get_chemical_formula()}{fault}")
    orthogonal, upper = np.linalg.qr(atoms.cell.array.T)
    signs = np.sign(np.diag(upper))
    return np.tril(upper.T * signs), signs[:, None] * orthogonal.T, np.zeros(3)


def type_indices(atoms: Atoms, elements: Sequence[str]) -> np.ndarray:
    """Index of each atom's element, shape (N,).

    Raises
    ------
    InputError
        An element is not among `elements`.
    """
    symbols = atoms.get_chemical_symbols()
    if unknown := sorted(set(symbols) - set(elements)):
        raise InputError(
            f"structure {atoms.get_chemical_formula()} has element {', '.join(unknown)}; "
            f"expected only {' '.join(elements)}"
        )
    return np.array([elements.index(s) for s in symbols])


def write_data(
    path,
    atoms: Atoms,
    elements: Sequence[str],
    atom_style: str = "atomic",
    charges: Mapping[str, float] | None = None,
    masses: Mapping[str, float] | None = None,
    triclinic: bool = False,
) -> None:
    """Write a structure for ``read_data``.

    Parameters
    ----------
    path : str or Path
    atoms : Atoms
    elements : sequence of str
        Atom type i is ``elements[i-1]``.
    atom_style : {"atomic", "charge"}
    charges, masses : mapping of str to float, optional
        By element, e and g/mol; defaults 0 and the standard masses.
    triclinic : bool
        Write tilt factors even where they are zero, for cells that will shear.

    Raises
    ------
    InputError
        An element of the structure is not among `elements`, or a mass is another element's.
    """
    cell, rotation, origin = box_of(atoms)
    types = type_indices(atoms, elements)
    charges, masses = charges or {}, masses or {}
    refuse_wrong_masses(list(masses), list(masses.values()), f"masses for {path}")
    lines = ["LAMMPS data file, units of the reference", ""]
    lines += [f"{len(atoms)} atoms", f"{len(elements)} atom types", ""]
    for k, axis in enumerate("xyz"):
        lines.append(f"{origin[k]:.17g} {origin[k] + cell[k, k]:.17g} {axis}lo {axis}hi")
    tilts = cell[[1, 2, 2], [0, 0, 1]]
    if triclinic or np.abs(tilts).max() > 1e-12 * np.trace(cell):
        lines.append("{:.17g} {:.17g} {:.17g} xy xz yz".format(*tilts))
    labels = [f"{i} {e}" for i, e in enumerate(elements, 1)]
    standard = {e: atomic_masses[atomic_numbers[e]] for e in elements}
    lines += ["", "Atom Type Labels", "", *labels, "", "Masses", ""]
    lines += [f"{i} {masses.get(e, standard[e]):.17g}" for i, e in enumerate(elements, 1)]
    lines += ["", f"Atoms # {atom_style}", ""]
    for i, (t, x) in enumerate(zip(types, atoms.positions @ rotation.T, strict=True)):
        head = COLUMNS[atom_style].format(
            id=i + 1, type=t + 1, charge=charges.get(elements[t], 0.0)
        )
        lines.append(head + " {:.17g} {:.17g} {:.17g}".format(*x))
    write_text(path, "\n".join(lines) + "\n")


def read_data(path, elements: Sequence[str]) -> Atoms:
    """Read the periodic structure of a data file, written here or by LAMMPS.

    Raises
    ------
    InputError
        The file is not complete, or its masses are not those of `elements`.
    """
    lines = Path(path).read_text().splitlines()
    cell, origin, natoms = np.zeros((3, 3)), np.zeros(3), 0
    try:
        for line in lines:
            words = line.split()
            if words[1:] == ["atoms"]:
                natoms = int(words[0])
            elif words[3:] == ["xy", "xz", "yz"]:
                cell[[1, 2, 2], [0, 0, 1]] = [float(w) for w in words[:3]]
            elif len(words) == 4 and words[2][1:] == "lo":
                k = "xyz".index(words[2][0])
                origin[k] = float(words[0])
                cell[k, k] = float(words[1]) - origin[k]
        start, style = next(
            (i + 2, line.split()[-1]) for i, line in enumerate(lines) if line.startswith("Atoms #")
        )
        first = len(COLUMNS[style].split())
        rows = sorted(
            (line.split() for line in lines[start : start + natoms]), key=lambda r: int(r[0])
        )
        symbols = [r[1] if r[1] in elements else elements[int(r[1]) - 1] for r in rows]
        positions = np.array([[float(w) for w in r[first : first + 3]] for r in rows]) - origin
    except (ValueError, IndexError, KeyError, StopIteration) as error:
        raise InputError(
            f"{path} is not a complete LAMMPS data file of {' '.join(elements)} in atom_style "
            f"{' or '.join(COLUMNS)}: {_reason(error)}"
        ) from error
    if len(rows) != natoms:
        raise InputError(f"{path} holds {len(rows)} atoms, its header says {natoms}")
    refuse_wrong_masses(*_masses(lines, elements), str(path))
    return Atoms(symbols, positions=positions, cell=cell, pbc=True)


def _masses(lines: Sequence[str], elements: Sequence[str]) -> tuple[list[str], list[float]]:
    """Elements and masses (g/mol) of the section Masses, where there is one."""
    names, masses = [], []
    start = next((i for i, line in enumerate(lines) if line.split()[:1] == ["Masses"]), len(lines))
    for line in lines[start + 2 :]:
        words = line.split("#")[0].split()
        if len(words) != 2:
            break
        names.append(words[0] if words[0] in elements else elements[int(words[0]) - 1])
        masses.append(float(words[1]))
    return names, masses


def _reason(error: Exception) -> str:
    """What an error of the parser means."""
    if isinstance(error, StopIteration):
        return "no section `Atoms # STYLE`"
    if isinstance(error, KeyError):
        return f"unknown atom_style {error}"
    if isinstance(error, IndexError):
        return "a line of `Atoms` is cut short, or of a type that has no element"
    return str(error)
