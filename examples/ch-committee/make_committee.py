#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Five ACE potentials of solid benzene, which share their functions but not their training data.

python make_committee.py

The reference is AIREBO, which LAMMPS brings along. Each member is fitted to a bootstrap sample of the same structures.
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from crystal import ELEMENTS, benzene

from pyuq.inference.fit import fit
from pyuq.inference.fit_settings import FitSettings, Weights
from pyuq.inference.metrics import errors, predict
from pyuq.io import extxyz
from pyuq.io.files import write_text
from pyuq.io.lammps_data import write_data
from pyuq.labels.reference import LammpsReference
from pyuq.lmp import lammps
from pyuq.potentials.basis import ACEBasis

HERE = Path(__file__).parent
REFERENCE = ("pair_style airebo 2.0 1 1", "pair_coeff * * CH.airebo C H")
BASIS = ACEBasis(ELEMENTS, cutoff=4.5, order=3, degree=(9, 6, 4))
WEIGHTS = Weights(energy=0.002, force=0.1, virial=0.02)
MEMBERS, TRAIN, TEST = 5, 64, 16


def snapshot(rng: np.random.Generator, folder: Path) -> Atoms:
    """One labelled structure: the end of a short trajectory of the reference in a strained cell."""
    atoms = benzene()
    strain = np.diag(0.04 * rng.normal(size=3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    write_data(folder / "start.data", atoms, ELEMENTS)
    temperature, seed = rng.uniform(100, 900), rng.integers(1, 1_000_000)
    engine = lammps()
    engine.commands_list(
        [
            "units metal",
            "atom_modify map array sort 0 0",
            f"read_data {folder / 'start.data'}",
            *REFERENCE,
            f"velocity all create {2 * temperature} {seed}",
            "timestep 0.0005",
            "fix 1 all nve",
            f"fix 2 all langevin {temperature} {temperature} 0.05 {seed}",
            "run 1000",
        ]
    )
    atoms.positions = np.array(engine.gather_atoms("x", 1, 3)).reshape(-1, 3)
    engine.close()
    label = LammpsReference(ELEMENTS, REFERENCE)(atoms)
    return extxyz.labelled(atoms, label["energy"], label["forces"], label["stress"])


if __name__ == "__main__":
    rng = np.random.default_rng(11)
    frames = [snapshot(rng, HERE) for _ in range(TRAIN + TEST)]
    (HERE / "start.data").unlink()
    for k in range(MEMBERS):
        sample = [frames[n] for n in rng.integers(TRAIN, size=TRAIN)]
        member = fit(sample, FitSettings(BASIS, WEIGHTS))
        write_text(HERE / f"member{k + 1}.yace", member.export())
        found = errors("test", predict(member, frames[TRAIN:]), np.ones(TEST, dtype=bool))
        print(
            f"member {k + 1}: {BASIS.nfunctions} functions; test: {found.energy_rmse:.2f} meV/atom, "
            f"{found.force_rmse:.3f} eV/Å"
        )
