# SPDX-License-Identifier: GPL-2.0-or-later
"""Potentials that pyuq wrote, against the numbers that ML-PACE's own evaluator gave for them.

``tests/data/yace_export``: our bases with random weights, and frames with energies, atomic energies and
forces of ``ACECTildeEvaluator`` of lammps-user-pace (99aa6e6), 17 digits.
"""

from pathlib import Path

import ase.io
import numpy as np
import pytest

from pyuq.models.evaluator import Evaluator

DATA = Path(__file__).parents[1] / "data" / "yace_export"
FRAMES = [
    pytest.param(path.stem, k, id=f"{path.stem}-{atoms.info['name']}")
    for path in sorted(DATA.glob("*.xyz"))
    for k, atoms in enumerate(ase.io.read(path, ":"))
]


def test_there_are_frames():
    assert len(FRAMES) == 8


@pytest.mark.parametrize(("name", "k"), FRAMES)
@pytest.mark.parametrize(("spline", "tolerance"), [(True, 1e-10), (False, 1e-7)])
def test_reference_evaluator_agrees(name, k, spline, tolerance):
    atoms = ase.io.read(DATA / f"{name}.xyz", k)
    found = Evaluator(DATA / f"{name}.yace", radial_spline=spline).compute(atoms)
    scale = max(1.0, np.abs(atoms.get_forces()).max())
    np.testing.assert_allclose(found["forces"], atoms.get_forces(), atol=tolerance * scale)
    np.testing.assert_allclose(
        found["energies"], atoms.arrays["atomic_energy"], atol=tolerance * scale
    )
    assert found["energy"] == pytest.approx(atoms.get_potential_energy(), rel=tolerance)
