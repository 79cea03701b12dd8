# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the structures of this example: 12 start cells, and a held-out set.

The held-out structures come from the reference's own dynamics at 800 K and 1 GPa with swaps, so that no
potential of this example has a part in their choice.

python prepare.py
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from pyuq.io import extxyz
from pyuq.io.lammps_data import read_data, write_data
from pyuq.lmp import lammps

FOLDER = Path(__file__).parent
ELEMENTS = ("Al", "Si")
REFERENCE = (
    "pair_style meam",
    "pair_coeff * * library.meam AlS SiS MgS CuS FeS AlSiMgCuFe.meam AlS SiS",
)
TEMPERATURE, PRESSURE = 800.0, 1.0e4  # K, bar
TEST_TIMES = (0.2, 1.0, 5.0)  # ps after the start from random sites
FRAMES = 12  # for each time


def alloy(rng: np.random.Generator) -> Atoms:
    """Return a 32-atom fcc cell of aluminium with 3 silicon atoms (9.4 %) at random sites."""
    atoms = bulk("Al", a=4.05, cubic=True) * 2
    symbols = np.array(atoms.get_chemical_symbols())
    symbols[rng.choice(len(atoms), 3, replace=False)] = "Si"
    atoms.set_chemical_symbols(symbols)
    return atoms


def start_structures(rng: np.random.Generator, n: int = 12) -> list[Atoms]:
    """Rattle (0.08 Å) and strain (3 %) cells."""
    structures = []
    for _ in range(n):
        atoms = alloy(rng)
        strain = 0.03 * rng.uniform(-1, 1, size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += 0.08 * rng.normal(size=(len(atoms), 3))
        structures.append(atoms)
    return structures


def test_structures(rng: np.random.Generator) -> list[Atoms]:
    """Sample the reference's own dynamics, from the new lattice to what it becomes."""
    structures, path = [], FOLDER / "test.data"
    for time in TEST_TIMES:
        for _ in range(FRAMES):
            write_data(path, alloy(rng), ELEMENTS)
            seed = int(rng.integers(1, 800_000_000))
            lmp = lammps()
            lmp.commands_list(
                [
                    "units metal",
                    "atom_modify map yes",
                    f"read_data {path}",
                    *REFERENCE,
                    f"velocity all create {2 * TEMPERATURE} {seed}",
                    f"fix move all nph aniso {PRESSURE} {PRESSURE} 1.0",
                    f"fix heat all langevin {TEMPERATURE} {TEMPERATURE} 0.1 {seed + 1} zero yes",
                    f"fix swap all atom/swap 50 1 {seed + 2} {TEMPERATURE} types 1 2",
                    f"run {round(time / 0.001)} post no",
                    f"write_data {path} nocoeff",
                ]
            )
            lmp.close()
            atoms = read_data(path, ELEMENTS)
            atoms.info["config_type"] = f"{time}ps"
            structures.append(atoms)
    path.unlink()
    return structures


def main() -> None:
    rng = np.random.default_rng(2023)
    extxyz.write(FOLDER / "start.extxyz", start_structures(rng))
    extxyz.write(FOLDER / "test.extxyz", test_structures(rng))
    print("written: start.extxyz (12 structures), test.extxyz (36 structures)")


if __name__ == "__main__":
    main()
