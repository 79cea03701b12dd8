# SPDX-License-Identifier: GPL-2.0-or-later
"""Mg₃(Sb,Bi)₂: the crystal, and the data file of in.committee."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.spacegroup import crystal

from pyuq.io.files import atomic_write

CELL = (4.68, 7.38)  # a, c near equilibrium of Mg₃SbBi at 300 K, Å
MASSES = {"Mg": 24.305, "Sb": 121.76, "Bi": 208.98}  # g/mol
# The atom types of in.committee are sites.
SITES = {"octahedral Mg": "Mg", "tetrahedral Mg": "Mg", "Sb": "Sb", "Bi": "Bi"}


def mg3sbbi(repeat: tuple[int, int, int], bismuth: float, rng: np.random.Generator) -> Atoms:
    """Make an orthogonal supercell of the trigonal structure (P-3m1), Sb and Bi at random.

    Parameters
    ----------
    repeat : (int, int, int)
        Cells a × √3 a × c of ten atoms.
    bismuth : float
        Part of the Sb sites that holds Bi.
    rng : numpy.random.Generator

    Returns
    -------
    Atoms
        Tags are atom types: 1 octahedral Mg, 2 tetrahedral Mg, 3 Sb, 4 Bi.
    """
    a, c = CELL
    atoms = crystal(
        ("Mg", "Mg", "Sb"),
        [(0, 0, 0), (1 / 3, 2 / 3, 0.634), (1 / 3, 2 / 3, 0.228)],
        spacegroup=164,
        cellpar=[a, a, c, 90, 90, 120],
    )
    atoms.info.clear()
    atoms.set_tags([1, 2, 2, 3, 3])
    atoms = make_supercell(atoms, [[1, 0, 0], [1, 2, 0], [0, 0, 1]]).repeat(repeat)
    pnictogen = np.flatnonzero(atoms.get_tags() == 3)
    chosen = rng.permutation(pnictogen)[: round(bismuth * len(pnictogen))]
    atoms.symbols[chosen] = "Bi"
    tags = atoms.get_tags()
    tags[chosen] = 4
    atoms.set_tags(tags)
    return atoms


def write_sites(path: Path, atoms: Atoms) -> None:
    """Write a LAMMPS data file (atomic) whose types are the tags."""
    with atomic_write(path) as file:
        file.write("Mg3(Sb,Bi)2: types are octahedral Mg, tetrahedral Mg, Sb, Bi\n\n")
        file.write(f"{len(atoms)} atoms\n{len(SITES)} atom types\n\n")
        for axis, length in zip("xyz", atoms.cell.lengths(), strict=True):
            file.write(f"0 {length:.10g} {axis}lo {axis}hi\n")
        file.write("\nMasses\n\n")
        for kind, element in enumerate(SITES.values(), 1):
            file.write(f"{kind} {MASSES[element]}\n")
        file.write("\nAtoms # atomic\n\n")
        for n, (kind, r) in enumerate(zip(atoms.get_tags(), atoms.positions, strict=True), 1):
            file.write(f"{n} {kind} {r[0]:.8g} {r[1]:.8g} {r[2]:.8g}\n")


if __name__ == "__main__":
    generator = np.random.default_rng(1)
    write_sites(Path(__file__).with_name("mgsbbi.data"), mg3sbbi((6, 3, 4), 0.5, generator))
