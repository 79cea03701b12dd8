# SPDX-License-Identifier: GPL-2.0-or-later
"""A loop whose walkers need no LAMMPS: they rattle their start structure. Run as a script it is the victim
of the kill test."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from pyuq.hal import walker
from pyuq.hal.loop import Loop
from pyuq.hal.settings import load_settings
from pyuq.io import extxyz, files
from pyuq.io.lammps_data import read_data, write_data
from pyuq.labels import Failure

TOML = """
name = "cu"
folder = "run"
[start]
structures = ["start.extxyz"]
[labels]
kind = "ase"
calculator = "ase.calculators.emt:EMT"
[basis]
elements = ["Cu"]
cutoff = 4.0
order = 2
degree = 3
[md]
temperature = [300, 900]
steps = 20
[loop]
iterations = 4
walkers = 2
refit_every = 3
[test]
structures = ["test.extxyz"]
"""


class EMTLabeller:
    """Labels in this process; refuses structures whose first atom lies where it should not."""

    refuse = staticmethod(lambda atoms: False)

    def label(self, structures):
        return [self.one(atoms) for atoms in structures]

    def one(self, atoms):
        if self.refuse(atoms):
            return Failure(atoms, "SCF did not converge")
        copy = atoms.copy()
        copy.calc = EMT()
        return extxyz.labelled(
            atoms, copy.get_potential_energy(), copy.get_forces(), copy.get_stress()
        )


def walk(jobs, settings, comm=None):
    """Stand-in of run_walkers: the trajectory depends on the script (seed, temperature) alone."""
    for running, final in jobs:
        script = (running / walker.SCRIPT).read_text()
        temperature, seed = script.split("all create ")[1].split()[:2]
        atoms = read_data(running / walker.DATA, settings.elements)
        rng = np.random.default_rng(int(seed))
        atoms.positions += 3e-4 * float(temperature) * rng.normal(size=atoms.positions.shape)
        write_data(running / walker.FINAL, atoms, settings.elements)
        values = {"step": 10, "temperature": float(temperature), "max_force": 1.0}
        values |= {
            "max_relative": rng.uniform(0, 0.4),
            "min_distance": 2.0,
            "tau": 0.1,
            "sigma": 0.2,
            "gradient_Cu": 0.1,
            "grade": 1.5,
        }
        (running / walker.OUTCOME).write_text(json.dumps(values))
        os.replace(running, final)


def make_inputs(folder: Path, toml: str = TOML) -> Path:
    """Write hal.toml and its structures."""
    rng = np.random.default_rng(5)
    for name, n in (("start", 3), ("test", 2)):
        frames = []
        for _ in range(n):
            atoms = bulk("Cu", cubic=True)
            atoms.positions += 0.1 * rng.normal(size=(4, 3))
            frames.append(atoms)
        extxyz.write(folder / f"{name}.extxyz", frames)
    path = folder / "hal.toml"
    path.write_text(toml)
    return path


def make_loop(path, **arguments) -> Loop:
    arguments = {"labeller": EMTLabeller(), "walk": walk} | arguments
    return Loop(load_settings(path), Path(path), **arguments)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in(loop: Loop, stage: str, moment: str) -> None:
    """SIGKILL this process in a stage: at its first rename, or when all is done but the state file."""
    perform = getattr(loop, stage)

    def fatal():
        if moment == "inside":
            files.os.replace = die
        perform()
        die()

    setattr(loop, stage, fatal)


if __name__ == "__main__":
    victim = make_loop(sys.argv[1])
    kill_in(victim, *sys.argv[2:])
    victim.run()
