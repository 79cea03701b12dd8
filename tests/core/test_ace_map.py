# SPDX-License-Identifier: GPL-2.0-or-later
"""What is special to the ACE feature map: its definition, splines, rotation, single atoms."""

import os
import subprocess
import sys
from pathlib import Path

import ase.io
import naive
import numpy as np
import pytest
from ase import Atoms
from fused import check_fused
from scipy.spatial.transform import Rotation
from synthetic import CASES, RADIALS

from pyuq import _core
from pyuq.evaluate.evaluator import Evaluator

ROOT = Path(__file__).resolve().parents[2]


# ChebLinear jumps at the cutoff, where a spline cannot follow.
@pytest.mark.parametrize("case", [c for c in CASES if CASES[c].get("radial") != "ChebLinear"])
def test_splines_follow_the_exact_functions(write_potential, crystal, case):
    path = write_potential(case)
    exact, spline = Evaluator(path), Evaluator(path, radial_spline=True)
    atoms = crystal(exact.elements)
    a, b = exact.compute(atoms), spline.compute(atoms)
    assert a["energy"] == pytest.approx(b["energy"], rel=1e-8)
    assert not np.array_equal(a["forces"], b["forces"])
    np.testing.assert_allclose(a["forces"], b["forces"], atol=1e-5 * np.abs(a["forces"]).max())


def test_rotation_turns_forces_along():
    """With invariant functions, such as those of a fit's own export."""
    evaluator = Evaluator(ROOT / "tests/data/yace_export/alsi_sbessel.yace")
    atoms = ase.io.read(ROOT / "tests/data/yace_export/alsi_sbessel.xyz")
    matrix = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    a, b = evaluator.compute(atoms), evaluator.compute(turned)
    assert b["energy"] == pytest.approx(a["energy"], rel=1e-12)
    np.testing.assert_allclose(
        b["forces"], a["forces"] @ matrix.T, atol=1e-9 * np.abs(a["forces"]).max()
    )


def test_unknown_instruction_set_is_refused(write_potential):
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pyuq import _core; _core.Model(sys.argv[1])",
            write_potential(),
        ],
        env=os.environ | {"PYUQ_SIMD": "sse9"},
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "expected baseline, avx2 or avx512" in run.stderr


@pytest.mark.parametrize("case", CASES)
def test_single_atom_has_its_one_body_energy(evaluator_of, case):
    evaluator = evaluator_of("ace", case)
    atoms = Atoms(evaluator.elements[:1], positions=[[0, 0, 0]])
    result = evaluator.compute(atoms)
    assert evaluator.model.baseline_energy != 0.0
    assert result["energy"] == pytest.approx(evaluator.model.baseline_energy, rel=1e-12)
    assert not result["forces"].any()
    assert evaluator.model.min_distance == np.inf


@pytest.mark.parametrize("case", CASES)
def test_energies_from_the_definition(write_potential, crystal, case):
    path = write_potential(case)
    evaluator, potential = Evaluator(path), naive.parse(path.read_text())
    atoms = crystal(evaluator.elements, n=1)
    view, _ = evaluator.neighbors(atoms)
    energies = evaluator.model.evaluate(view)["energies"]
    for row, i in enumerate(view.centers):
        found = view.indices[view.first[row] : view.first[row + 1]]
        neighbors = [(view.species[j], view.x[j] - view.x[i]) for j in found]
        wanted = naive.atomic_energy(potential, view.species[i], neighbors)
        assert energies[i] == pytest.approx(wanted, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("radial", RADIALS)
def test_radial_functions_to_the_last_digits(write_potential, radial):
    """One neighbour, functions of rank 1: features are g_k. Covers the kernels' exp, sin and cos."""
    path = write_potential(radial=radial, elements=("Cu",), functions_per_rank=(12,))
    model, potential = _core.Model(path), naive.parse(path.read_text())
    bond, functions = potential["bonds"]["[0, 0]"], potential["functions"][0]
    for r in np.linspace(0.3, 4.499, 997):
        view = _core.NeighborView([[0, 0, 0], [0, 0, r]], [0, 0], [0], [0, 1], [1])
        g = naive.radial(bond, r)
        wanted = [f["ctildes"][0] * g[f["ns"][0] - 1] for f in functions]
        np.testing.assert_allclose(model.sums(view), wanted, rtol=0, atol=3e-14)


# ---------------------------------------------------------------------- several members as one


@pytest.mark.parametrize("case", ["linear", "one_element", "zbl"])
def test_fused_members_equal_separate_ones(write_potential, crystal, case):
    """Of the same radial functions: other functions, some of them with the same products."""
    linear = {"fs": (1.0, 1.0)}
    paths = [write_potential(case, functions_seed=seed, **linear) for seed in (0, 1, 2)]
    members = [Evaluator(path) for path in paths]
    check_fused(members, crystal(members[0].elements))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"dcut": 0.02}, {"fs": (1.0, 0.5)}, {"rho_core": (9e4, 250.0)}]
)
def test_other_potentials_are_not_fused(write_potential, change):
    models = [_core.Model(write_potential("linear", **changed)) for changed in ({}, change)]
    assert _core.fuse(models) is None
