#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the training set of the two small potentials, with a published potential as teacher.

python label.py MgSbBi_L20.mtp:Mg,Bi,Sb

Each structure is the end of a short trajectory at its own temperature, composition and strain.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from crystal import mg3sbbi

from pyuq.evaluate.calculator import UQCalculator
from pyuq.io import extxyz

HERE = Path(__file__).parent
COUNTS = {"train": 48, "test": 12}


def sample(teacher: UQCalculator, rng: np.random.Generator) -> Atoms:
    """One labelled structure of 40 atoms."""
    atoms = mg3sbbi((2, 1, 2), rng.uniform(), rng)
    strain = 0.02 * rng.normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.calc = teacher
    heat = {"temperature_K": rng.uniform(200, 800), "friction": 0.02 / units.fs, "rng": rng}
    Langevin(atoms, 2 * units.fs, fixcm=False, **heat).run(300)
    return extxyz.labelled(
        atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    )


if __name__ == "__main__":
    published = UQCalculator(sys.argv[1])
    generator = np.random.default_rng(7)
    for name, count in COUNTS.items():
        frames = [sample(published, generator) for _ in range(count)]
        extxyz.write(HERE / f"{name}.extxyz", frames)
