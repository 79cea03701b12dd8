# SPDX-License-Identifier: GPL-2.0-or-later
"""Learned noise of networks in the ASE calculator and in calibrations."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from pyuq.evaluate.calculator import UQCalculator
from pyuq.evaluate.collect import collect
from pyuq.io import extxyz

DATA = Path(__file__).parents[1] / "data" / "network"
ROWS = json.loads((DATA / "agi.json").read_text())


def structure(row: dict) -> Atoms:
    return Atoms(row["symbols"], row["positions"], cell=row["cell"], pbc=row["pbc"])


@pytest.mark.parametrize("row", ROWS, ids=[row["symbols"] for row in ROWS])
def test_noise_is_that_of_the_torch_twin(row):
    """Root mean variance over the samples, apart from the spread between them."""
    calc = UQCalculator(DATA / "agi.safetensors")
    noise = calc.get_property("forces_noise", structure(row))
    expected = np.sqrt(np.mean([np.square(s["noise"]) for s in row["samples"]], axis=0))
    np.testing.assert_allclose(noise, expected, rtol=1e-9)
    spread = np.std([s["forces"] for s in row["samples"]], axis=0)
    np.testing.assert_allclose(calc.results["forces_uncertainty"], spread, rtol=1e-7, atol=1e-9)


def test_errors_against_labels_are_measured_by_both():
    calc = UQCalculator(DATA / "agi.safetensors")
    frames = [extxyz.labelled(structure(r), 0.0, np.ones_like(r["positions"])) for r in ROWS[:2]]
    sample = collect(calc, frames)["force"]
    for k, atoms in enumerate(frames):
        noise = calc.get_property("forces_noise", atoms)
        total = np.hypot(calc.results["forces_uncertainty"], noise[:, None])
        np.testing.assert_allclose(sample.sigmas[sample.structures == k], total.ravel(), rtol=1e-9)
