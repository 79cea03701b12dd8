# SPDX-License-Identifier: GPL-2.0-or-later
"""Solid benzene: four molecules in an orthorhombic cell (Pbca)."""

from pathlib import Path

from ase import Atoms
from ase.spacegroup import crystal

from pyuq.io.lammps_data import write_data

# G. E. Bacon, N. A. Curry, S. A. Wilson, Proc. R. Soc. A 279, 98 (1964), at 138 K.
CELL = (7.39, 9.42, 6.81)  # Å
SITES = {
    "C": [(-0.0569, 0.1387, -0.0054), (-0.1335, 0.0460, 0.1264), (-0.0774, -0.0925, 0.1295)],
    "H": [(-0.0976, 0.2447, -0.0177), (-0.2409, 0.0794, 0.2218), (-0.1371, -0.1631, 0.2312)],
}
ELEMENTS = ("C", "H")


def benzene(repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """Make a supercell, 48 atoms in each cell."""
    symbols = [element for element, sites in SITES.items() for _ in sites]
    sites = [site for group in SITES.values() for site in group]
    atoms = crystal(symbols, sites, spacegroup=61, cellpar=[*CELL, 90, 90, 90])
    atoms.info.clear()
    return atoms.repeat(repeat)


if __name__ == "__main__":
    write_data(Path(__file__).with_name("benzene.data"), benzene((2, 2, 2)), ELEMENTS)
