# SPDX-License-Identifier: GPL-2.0-or-later
"""All potentials of all families: inside LAMMPS, against differences of their own energy, on every instruction set."""

import os
import re
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from test_ace import POTENTIALS as ACE
from test_mtp import REFERENCES as MTP
from test_mtp import SPECIES
from test_nep import FRAMES as NEP

from pyuq.evaluate.evaluator import Evaluator
from pyuq.labels.reference import LammpsReference

CASES = [
    *(("ace", name) for name in ACE),
    *(("mtp", f"{name}.mtp") for name in MTP),
    *(("nep", f"{name}.txt") for name in NEP),
]
VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
pytestmark = pytest.mark.validate


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request, shared_data):
    """Family, file, evaluator and reference structures."""
    family, name = request.param
    elements = SPECIES[name.partition("_")[0]] if family == "mtp" else ()
    file = shared_data / family / "pot" / name
    frames = ase.io.read(shared_data / family / "ref" / f"{file.stem}.xyz", ":")
    return family, file, Evaluator(file, radial_spline=family == "ace", elements=elements), frames


def test_in_lammps(case):
    family, file, evaluator, frames = case
    elements = evaluator.elements
    label = file if family != "mtp" else f"{file}:{','.join(elements)}"
    engine = LammpsReference(
        tuple(elements),
        (
            f"pair_style uq{' radial spline' * (family == 'ace')}",
            f"pair_coeff * * {label} {' '.join(elements)}",
        ),
    )
    for atoms in frames:
        reference, found = atoms.calc.results, engine(atoms)
        where = atoms.info.get("name")
        scale = max(1.0, np.abs(reference["forces"]).max())
        energy = max(1.0, abs(reference["energy"]))
        assert abs(found["energy"] - reference["energy"]) < 1e-10 * energy, where
        assert np.abs(found["forces"] - reference["forces"]).max() < 1e-10 * scale, where
        if "stress" in found and "virial" in atoms.info:
            virial = np.reshape(atoms.info["virial"], (3, 3))[VOIGT]
            # LAMMPS converts pressures by a constant of eight digits.
            deviation = np.abs(-found["stress"] * atoms.get_volume() - virial).max()
            assert deviation < 2e-7 * max(1.0, np.abs(virial).max()), where


def slope(energy, step):
    """Derivative at 0 by differences of sixth order; the step is short, as second derivatives jump at a cutoff."""
    differences = [energy(k * step) - energy(-k * step) for k in (1, 2, 3)]
    return np.dot([45.0, -9.0, 1.0], differences) / (60.0 * step)


def test_derivatives_of_the_energy(case):
    """Forces along a random direction, virial along a random strain."""
    _, file, _, frames = case
    elements = case[2].elements
    evaluator = Evaluator(file, elements=elements if file.suffix == ".mtp" else ())
    rng = np.random.default_rng(1)
    atoms = next(a for a in frames if len(a) > 1)
    found = evaluator.compute(atoms)
    direction = rng.normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    strain = rng.normal(size=(3, 3))
    strain /= np.linalg.norm(strain)

    def displaced(t):
        moved = atoms.copy()
        moved.positions += t * direction
        return evaluator.compute(moved)["energy"]

    def strained(t):
        moved = atoms.copy()
        moved.set_cell(moved.cell.array @ (np.eye(3) + t * strain), scale_atoms=True)
        return evaluator.compute(moved)["energy"]

    size = max(1.0, np.abs(found["forces"]).max(), np.abs(found["virial"]).max())
    assert abs(slope(displaced, 2e-4) + (found["forces"] * direction).sum()) < 1e-6 * size
    if not all(atoms.pbc):
        return
    virial = np.zeros((3, 3))
    virial[VOIGT] = found["virial"]
    virial[VOIGT[::-1]] = found["virial"]
    assert abs(slope(strained, 2e-5) + (virial * strain).sum()) < 1e-6 * size


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_instruction_sets(shared_data, level):
    """All of the default tests of this folder with the kernels of one instruction set."""
    code = "from pyuq import _core; print(_core.simd_level())"
    env = os.environ | {"PYUQ_SIMD": level, "PYUQ_SHARED_DATA": str(shared_data)}
    probe = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if probe.stdout.strip() != level:
        pytest.skip(f"this processor has no {level}: {probe.stderr.strip()[-200:]}")
    here = str(Path(__file__).parent)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not validate", here]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 60
