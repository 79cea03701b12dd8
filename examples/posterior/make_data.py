# SPDX-License-Identifier: GPL-2.0-or-later
"""Label copper cells by effective-medium theory: train.extxyz and new.extxyz beside this file."""

from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from pyuq.io import extxyz

HERE = Path(__file__).resolve().parent
LATTICE = 3.61  # Å


def cell(rng: np.random.Generator):
    """One cell of 32 atoms: strained by up to a few percent, atoms displaced as at 100 to 1000 K."""
    atoms = bulk("Cu", cubic=True, a=LATTICE) * 2
    strain = np.eye(3) * (1 + rng.uniform(-0.03, 0.03)) + rng.normal(0, 0.01, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(0, rng.uniform(0.04, 0.16), atoms.positions.shape)
    atoms.calc = EMT()
    return extxyz.labelled(
        atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    )


if __name__ == "__main__":
    rng = np.random.default_rng(1)
    for name, count in (("train", 40), ("new", 60)):
        extxyz.write(HERE / f"{name}.extxyz", [cell(rng) for _ in range(count)])
        print(f"{name}.extxyz: {count} cells")
