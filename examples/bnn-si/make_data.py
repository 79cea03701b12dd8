#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Training and test data of the example, labelled by the Stillinger-Weber silicon that comes with LAMMPS.

``python make_data.py`` writes train.xyz and test.xyz: strained and rattled crystals of 16 atoms. The potential plays
the part of DFT.
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from pyuq.io import extxyz
from pyuq.labels.reference import LammpsReference
from pyuq.lmp import potentials_folder

HERE = Path(__file__).parent
COMMANDS = ("pair_style sw", "pair_coeff * * Si.sw Si")


def crystals(n: int, rng: np.random.Generator) -> list[Atoms]:
    """Labelled cells: strained by 3 %, rattled by up to 0.15 Å."""
    reference = LammpsReference(("Si",), COMMANDS, folder=str(potentials_folder()))
    found = []
    for rattle in np.linspace(0.02, 0.15, n):
        atoms = bulk("Si", cubic=True) * (1, 1, 2)
        strain = np.eye(3) + rng.normal(0.0, 0.03, (3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape)
        found.append(extxyz.labelled(atoms, **reference(atoms)))
    return found


if __name__ == "__main__":
    extxyz.write(HERE / "train.xyz", crystals(48, np.random.default_rng(1)))
    extxyz.write(HERE / "test.xyz", crystals(16, np.random.default_rng(2)))
