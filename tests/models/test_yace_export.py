# SPDX-License-Identifier: GPL-2.0-or-later
"""Exported potentials against ML-PACE's evaluator, whose numbers lie in tests/data/yace_export.

The numbers were made once, by ACECTildeEvaluator of lammps-user-pace (99aa6e6; its recursive evaluator
agrees to 3e-15), from the files beside them. Here the chain is closed: what is exported today equals those
files, and the naive twin and the evaluator of pyuq reproduce the numbers.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from export_cases import CASES, coefficients
from naive_ace import energies

from pyuq.evaluate.evaluator import Evaluator
from pyuq.potentials.yace import format_yace

DATA = Path(__file__).resolve().parents[1] / "data" / "yace_export"
WITHOUT_REPULSION = [name for name, case in CASES.items() if case[2] is None]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@pytest.mark.parametrize("name", CASES)
def test_export_is_what_ml_pace_ran(name):
    basis, e0, repulsion = CASES[name]
    now = format_yace(basis, coefficients(basis), e0, repulsion)
    then = (DATA / f"{name}.yace").read_text()
    assert NUMBER.sub("#", now) == NUMBER.sub("#", then)
    np.testing.assert_allclose(
        [float(x) for x in NUMBER.findall(now)],
        [float(x) for x in NUMBER.findall(then)],
        rtol=1e-11,
        atol=1e-14,
    )


@pytest.mark.parametrize("name", WITHOUT_REPULSION)
def test_ml_pace_equals_the_definition(name):
    basis, e0, _ = CASES[name]
    for atoms in read(DATA / f"{name}.xyz", ":"):
        reference = atoms.arrays["ref_energies"]
        np.testing.assert_allclose(
            energies(basis, coefficients(basis), e0, atoms),
            reference,
            rtol=1e-10,
            atol=1e-10 * np.abs(reference).max(),
        )


@pytest.mark.parametrize("name", CASES)
def test_evaluator_equals_ml_pace(name):
    model = Evaluator(DATA / f"{name}.yace", radial_spline=True)
    for atoms in read(DATA / f"{name}.xyz", ":"):
        assert_equal(model.compute(atoms), atoms, 1e-10)


@pytest.mark.parametrize("name", WITHOUT_REPULSION)
def test_evaluator_without_tables_is_close(name):
    model = Evaluator(DATA / f"{name}.yace")
    for atoms in read(DATA / f"{name}.xyz", ":"):
        assert_equal(model.compute(atoms), atoms, 1e-8)


def assert_equal(result, atoms, tolerance):
    """Energies, forces and virial equal to a fraction of their largest component (of 1, if smaller)."""
    for name, reference in (
        ("energies", atoms.arrays["ref_energies"]),
        ("forces", atoms.arrays["ref_forces"]),
        ("virial", atoms.info["ref_virial"].reshape(-1)),
    ):
        scale = max(1.0, np.abs(reference).max())
        np.testing.assert_allclose(
            result[name], reference, rtol=0, atol=tolerance * scale, err_msg=name
        )
