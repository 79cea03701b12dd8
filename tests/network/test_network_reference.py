# SPDX-License-Identifier: GPL-2.0-or-later
"""The native kernel against numbers of the torch twin that lie in tests/data/network (make_reference.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from pyuq.bnn.architecture import COMMON, read_network, write_network
from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator

DATA = Path(__file__).resolve().parents[1] / "data" / "network"


@pytest.fixture(scope="module")
def reference() -> list[tuple[Atoms, list[dict]]]:
    """Structures, and for each what the samples say."""
    rows = json.loads((DATA / "agi.json").read_text())
    keys = ("positions", "cell", "pbc")
    return [(Atoms(r["symbols"], **{k: r[k] for k in keys}), r["samples"]) for r in rows]


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> list[Path]:
    """One file for each sample."""
    file = read_network(DATA / "agi.safetensors")
    paths = []
    for k in range(file.samples):
        path = tmp_path_factory.mktemp("samples") / f"{k}.safetensors"
        tensors = {n: v if n in COMMON else v[k : k + 1] for n, v in file.tensors.items()}
        write_network(path, file.architecture, tensors, {})
        paths.append(path)
    return paths


def check(found: dict, wanted: dict) -> None:
    np.testing.assert_allclose(found["energies"], wanted["energies"], atol=1e-11)
    np.testing.assert_allclose(found["forces"], wanted["forces"], atol=1e-11)
    virial = np.array(wanted["virial"])[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(found["virial"], virial, atol=1e-10)


@pytest.mark.parametrize("k", [0, 1])
def test_samples(reference, single, k):
    """Energies, forces and virial of one sample."""
    evaluator = Evaluator(single[k])
    for atoms, wanted in reference:
        check(evaluator.compute(atoms), wanted[k])


def test_samples_together(reference):
    """A file of two samples: their mean, and either one by the weights that leave out the other."""
    evaluator = Evaluator(DATA / "agi.safetensors")
    for atoms, wanted in reference:
        mean = {key: np.mean([w[key] for w in wanted], axis=0) for key in wanted[0]}
        check(evaluator.compute(atoms), mean)
        spread = np.std([np.sum(w["energies"]) for w in wanted])
        assert Committee([evaluator]).uncertainty(atoms).sigma == pytest.approx(spread, rel=1e-9)


def test_rows_are_derivatives_of_the_features(reference, single):
    """Readout weights times the design-matrix rows give energy, forces and virial."""
    evaluator = Evaluator(single[0])
    w = evaluator.model.weights
    for atoms, wanted in reference[:2]:
        rows = evaluator.rows(atoms)
        forces = (rows.forces @ w).reshape(-1, 3)
        np.testing.assert_allclose(forces, wanted[0]["forces"], atol=1e-11)
        assert rows.energy @ w == pytest.approx(np.sum(wanted[0]["energies"]), abs=1e-11)


ENERGIES = """
import json, sys
from ase import Atoms
from pyuq.evaluate.evaluator import Evaluator
evaluator = Evaluator(sys.argv[1])
rows = json.load(open(sys.argv[2]))
keys = ("positions", "cell", "pbc")
found = [evaluator.compute(Atoms(r["symbols"], **{k: r[k] for k in keys})) for r in rows]
print(json.dumps([[f["energies"].tolist(), f["forces"].tolist()] for f in found]))
"""


@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_instruction_sets(reference, single, level):
    """The kernels for less than this machine has."""
    out = subprocess.run(
        [sys.executable, "-c", ENERGIES, str(single[0]), str(DATA / "agi.json")],
        env=os.environ | {"PYUQ_SIMD": level},
        capture_output=True,
        text=True,
    )
    if "this processor offers" in out.stderr:
        pytest.skip(f"this processor has no {level}")
    assert out.returncode == 0, out.stderr
    for (energies, forces), (_, wanted) in zip(json.loads(out.stdout), reference, strict=True):
        np.testing.assert_allclose(energies, wanted[0]["energies"], atol=1e-11)
        np.testing.assert_allclose(forces, wanted[0]["forces"], atol=1e-11)
