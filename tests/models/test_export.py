# SPDX-License-Identifier: GPL-2.0-or-later
"""Exported potentials against ML-PACE's evaluator, whose numbers lie in tests/data/yace_export.

The numbers were made once, by ML-PACE itself, from the files beside them. The chain is closed here: what is
exported today equals those files, and the naive twin and the evaluator of pyuq reproduce the numbers.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from export_cases import CASES, coefficients
from naive_ace import energies

from pyuq.models.yace import format_yace

DATA = Path(__file__).resolve().parents[1] / "data" / "yace_export"
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


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] is None])
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
