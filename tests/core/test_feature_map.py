# SPDX-License-Identifier: GPL-2.0-or-later
"""The ACE feature map: derivatives, agreement of its passes, invariances, dispatch levels, extreme inputs."""

import os
import subprocess
import sys
from pathlib import Path

import ase.io
import naive
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation
from synthetic import CASES, RADIALS

from pyuq import _core
from pyuq.models.evaluator import Evaluator

ROOT = Path(__file__).resolve().parents[2]
NINE = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]


def total(evaluator, atoms, weights):
    return evaluator.compute(atoms, weights)["energy"]


@pytest.fixture
def weights(evaluator):
    return np.random.default_rng(3).normal(size=evaluator.nreadout)


def slope(function, h):
    """Derivative at 0 by five points."""
    a, b, c, d = (function(step * h) for step in (-2, -1, 1, 2))
    return (a - 8 * b + 8 * c - d) / (12 * h)


def test_forces_are_the_gradient(evaluator, crystal, weights):
    atoms = crystal(evaluator.elements, n=1)
    forces = evaluator.compute(atoms, weights)["forces"]
    for i, c in [(0, 0), (1, 2), (3, 1)]:

        def energy(x, i=i, c=c):
            moved = atoms.copy()
            moved.positions[i, c] += x
            return total(evaluator, moved, weights)

        assert forces[i, c] == pytest.approx(-slope(energy, 1e-5), rel=1e-6, abs=1e-6)


def test_virial_is_the_strain_derivative(evaluator, crystal, weights):
    atoms = crystal(evaluator.elements, n=1)
    view, _ = evaluator.neighbors(atoms)
    virial = evaluator.model.evaluate(view, weights)["virial"]
    for (a, b), found in zip(NINE, virial, strict=True):

        def energy(x, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += x
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return total(evaluator, moved, weights)

        assert found == pytest.approx(-slope(energy, 2e-6), rel=1e-6, abs=1e-5)


def test_atomic_virials_sum_to_the_virial(evaluator, crystal):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    result = evaluator.model.evaluate(view)
    np.testing.assert_allclose(
        result["virials"].sum(axis=0), result["virial"], rtol=1e-11, atol=1e-11
    )
    moments = np.einsum("ia,ib->ab", view.x, result["forces"])
    np.testing.assert_allclose([moments[ab] for ab in NINE], result["virial"], rtol=1e-9, atol=1e-9)


def test_two_passes_equal_the_fused_one(evaluator, crystal, weights):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    fused = evaluator.model.evaluate(view, weights, fixed=0.7)
    split = evaluator.model.evaluate(view, weights, fixed=0.7, two_pass=True)
    for key, value in fused.items():
        np.testing.assert_allclose(split[key], value, rtol=1e-12, atol=1e-12, err_msg=key)


def test_atomic_weights_equal_shared_ones(evaluator, crystal, weights):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    rows = np.zeros((view.ncenters, evaluator.model.features(view)[0].shape[1]))
    for row, z in zip(rows, view.species[view.centers], strict=True):
        offset, count = evaluator.model.blocks[z]
        row[:count] = weights[offset : offset + count]
    shared = evaluator.model.evaluate(view, weights)
    atomic = evaluator.model.evaluate(view, per_atom_weights=rows)
    for key, value in shared.items():
        np.testing.assert_allclose(atomic[key], value, rtol=1e-10, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 5])
def test_several_seeds_share_one_pass(evaluator, crystal, k):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    rng = np.random.default_rng(4)
    weights, fixed = rng.normal(size=(k, evaluator.nreadout)), rng.normal(size=k)
    energies, forces = evaluator.model.backward(view, weights, fixed)
    for s in range(k):
        single = evaluator.model.evaluate(view, weights[s], fixed[s])
        assert energies[s] == pytest.approx(single["energy"], rel=1e-12)
        scale = np.abs(single["forces"]).max()
        np.testing.assert_allclose(forces[s], single["forces"], rtol=1e-11, atol=1e-12 * scale)


def test_energy_is_weights_times_features(evaluator, crystal, weights):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    per_atom, summed = evaluator.model.features(view)
    by_species = np.zeros(evaluator.nreadout)
    for row, z in zip(per_atom, view.species[view.centers], strict=True):
        offset, count = evaluator.model.blocks[z]
        by_species[offset : offset + count] += row[:count]
        assert not row[count:].any()
    np.testing.assert_allclose(summed, by_species, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(evaluator.model.sums(view), summed, rtol=1e-13)
    result = evaluator.model.evaluate(view, weights)
    assert result["energy"] == pytest.approx(
        weights @ summed + evaluator.model.fixed_energy, rel=1e-12
    )
    assert result["energies"].sum() == pytest.approx(result["energy"], rel=1e-12)


@pytest.mark.parametrize("n", [1, 2])
def test_jacobian_equals_backward_passes(evaluator, crystal, n):
    atoms = crystal(evaluator.elements, n=n)
    view, owner = evaluator.neighbors(atoms)
    rows = evaluator.model.jacobian(view, owner, len(atoms))
    generic = evaluator.model.jacobian(view, owner, len(atoms), generic=True)
    np.testing.assert_allclose(rows, generic, rtol=1e-10, atol=1e-10 * np.abs(generic).max())


def test_order_and_translation_do_not_matter(evaluator, crystal, weights):
    atoms = crystal(evaluator.elements)
    reference = evaluator.compute(atoms, weights)
    order = np.random.default_rng(5).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [0.3, -1.1, 2.7]
    moved.wrap()
    result = evaluator.compute(moved, weights)
    assert result["energy"] == pytest.approx(reference["energy"], rel=1e-12)
    np.testing.assert_allclose(result["forces"], reference["forces"][order], rtol=1e-9, atol=1e-9)


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


SCRIPT = """
import sys, numpy as np
from ase.io import read
from pyuq.models.evaluator import Evaluator
e, atoms = Evaluator(sys.argv[1]), read(sys.argv[2])
r = e.compute(atoms)
view, owner = e.neighbors(atoms)
np.savez(sys.argv[3], energies=r["energies"], forces=r["forces"], virial=r["virial"],
         rows=e.model.jacobian(view, owner, len(atoms)))
"""


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


@pytest.mark.parametrize("case", ["identity", "three_densities", "zbl"])
def test_instruction_sets_agree(write_potential, crystal, tmp_path, case):
    path = write_potential(case)
    crystal(Evaluator(path).elements).write(tmp_path / "atoms.xyz")
    results = {}
    for level in ("baseline", "avx2", "avx512"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, path, tmp_path / "atoms.xyz", tmp_path / f"{level}.npz"],
            env=os.environ | {"PYUQ_SIMD": level},
            capture_output=True,
            text=True,
        )
        if "this processor offers" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        results[level] = np.load(tmp_path / f"{level}.npz")
    if len(results) < 2:
        pytest.skip("this processor has no vector extensions beyond the baseline")
    for level, result in results.items():
        for key in result:
            wanted = results["baseline"][key]
            np.testing.assert_allclose(
                result[key],
                wanted,
                rtol=1e-12,
                atol=1e-12 * np.abs(wanted).max(),
                err_msg=f"{level} {key}",
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


def test_single_atom_has_its_one_body_energy(evaluator):
    atoms = Atoms(evaluator.elements[:1], positions=[[0, 0, 0]])
    result = evaluator.compute(atoms)
    assert evaluator.model.fixed_energy != 0.0
    assert result["energy"] == pytest.approx(evaluator.model.fixed_energy, rel=1e-12)
    assert not result["forces"].any()
    assert evaluator.model.min_distance == np.inf


@pytest.mark.parametrize("distance", [0.5, 1e-3, 1e-12, 0.0])
def test_close_contacts_stay_finite(evaluator, distance):
    atoms = Atoms(evaluator.elements[:1] * 2, positions=[[0, 0, 0], [0, 0, distance]])
    view, _ = dimer_view(atoms)
    result = evaluator.model.evaluate(view)
    assert evaluator.model.min_distance == pytest.approx(distance)
    if distance >= 1e-3:
        assert np.isfinite(result["energy"])
        assert np.isfinite(result["forces"]).all()


@pytest.mark.parametrize("two_pass", [True, False])
def test_nan_is_not_hidden(evaluator, crystal, two_pass):
    atoms = crystal(evaluator.elements, n=1)
    view, _ = evaluator.neighbors(atoms)
    x = view.x.copy()
    x[1, 2] = np.nan
    broken = _core.NeighborView(x, view.species, view.centers, view.first, view.indices)
    result = evaluator.model.evaluate(broken, two_pass=two_pass)
    assert np.isnan(result["energy"])
    assert np.isnan(result["forces"][1]).any()


def dimer_view(atoms):
    view = _core.NeighborView(atoms.positions, [0, 0], [0, 1], [0, 1, 2], [1, 0])
    return view, np.arange(2)


def test_no_centres(evaluator):
    view = _core.NeighborView(np.zeros((0, 3)), [], [], [0], [])
    assert evaluator.model.evaluate(view)["energy"] == 0.0
    assert not evaluator.model.sums(view).any()


def test_atoms_of_no_species_are_skipped(evaluator, crystal):
    atoms = crystal(evaluator.elements, n=1)
    view, _ = evaluator.neighbors(atoms)
    species = view.species.copy()
    species[len(atoms) :] = -1  # the ghosts are strangers: as in vacuum
    masked = _core.NeighborView(view.x, species, view.centers, view.first, view.indices)
    atoms.pbc = False
    vacuum = evaluator.compute(atoms)
    assert evaluator.model.evaluate(masked)["energy"] == pytest.approx(vacuum["energy"], rel=1e-12)


def test_cutoff_longer_than_the_cell(evaluator, crystal):
    atoms = crystal(evaluator.elements, n=1)
    single = evaluator.compute(atoms)
    double = evaluator.compute(atoms * (2, 1, 2))
    assert double["energy"] == pytest.approx(4 * single["energy"], rel=1e-11)
    np.testing.assert_allclose(double["virial"], 4 * single["virial"], rtol=1e-9, atol=1e-8)


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
