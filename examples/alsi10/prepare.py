# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the structures of this example: 12 start cells, and a held-out set from the reference's own dynamics.

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
TEST_TEMPERATURES = (400.0, 800.0, 1200.0)  # K
FRAMES = 12  # for each temperature


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
    """Sample the reference at several temperatures and 1 GPa, each frame from a fresh cell."""
    structures, path = [], FOLDER / "test.data"
    for temperature in TEST_TEMPERATURES:
        for _ in range(FRAMES):
            write_data(path, alloy(rng), ELEMENTS)
            seed = int(rng.integers(1, 2**30))
            lmp = lammps()
            lmp.commands_list(
                [
                    "units metal",
                    "atom_modify map yes",
                    f"read_data {path}",
                    *REFERENCE,
                    f"velocity all create {2 * temperature} {seed}",
                    f"fix 1 all npt temp {temperature} {temperature} 0.1 aniso 1e4 1e4 1.0",
                    "run 2000 post no",
                    f"write_data {path} nocoeff",
                ]
            )
            lmp.close()
            atoms = read_data(path, ELEMENTS)
            atoms.info["config_type"] = f"{temperature:.0f}K"
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
