# SPDX-License-Identifier: GPL-2.0-or-later
"""What every feature map promises: derivatives, agreement of its passes, invariances, dispatch levels, odd inputs."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms

from pyuq import _core
from pyuq.evaluate.evaluator import VOIGT

NINE = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]


@pytest.fixture
def weights(evaluator):
    return np.random.default_rng(3).normal(size=evaluator.nreadout)


def close(found, wanted, tolerance, message=""):
    """Agreement relative to the largest value."""
    scale = max(1.0, np.abs(wanted).max(initial=0.0))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale, err_msg=message)


def slope(function, h):
    """Derivative at 0 by five points."""
    a, b, c, d = (function(step * h) for step in (-2, -1, 1, 2))
    return (a - 8 * b + 8 * c - d) / (12 * h)


# ---------------------------------------------------------------------- features and derivatives


def test_energy_is_weights_times_features(evaluator, crystal, weights):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    per_atom, summed = evaluator.model.features(view)
    by_species = np.zeros(evaluator.nreadout)
    for row, z in zip(per_atom, view.species[view.centers], strict=True):
        offset, count = evaluator.model.blocks[z]
        by_species[offset : offset + count] += row[:count]
        assert not row[count:].any()
    close(summed, by_species, 1e-12)
    close(evaluator.model.sums(view), summed, 1e-13)
    result = evaluator.model.evaluate(view, weights)
    assert result["energy"] == pytest.approx(
        weights @ summed + evaluator.model.baseline_energy, rel=1e-11
    )
    assert result["energies"].sum() == pytest.approx(result["energy"], rel=1e-11)


def test_forces_are_the_gradient(evaluator, crystal, weights):
    atoms = crystal(evaluator.elements, n=1)
    atoms.positions[1] = atoms.positions[0] + [0.4, 0.9, 1.1]  # inside the repulsion
    forces = evaluator.compute(atoms, weights)["forces"]
    scale = np.abs(forces).max()
    for i, c in [(0, 0), (1, 2), (3, 1)]:

        def energy(x, i=i, c=c):
            moved = atoms.copy()
            moved.positions[i, c] += x
            return evaluator.compute(moved, weights)["energy"]

        assert forces[i, c] == pytest.approx(-slope(energy, 2e-5), rel=1e-6, abs=1e-7 * scale)


def test_virial_is_the_strain_derivative(evaluator, crystal, weights):
    atoms = crystal(evaluator.elements, n=1)
    view, _ = evaluator.neighbors(atoms)
    virial = evaluator.model.evaluate(view, weights)["virial"]
    scale = np.abs(virial).max()
    for (a, b), found in zip(NINE, virial, strict=True):

        def energy(x, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += x
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return evaluator.compute(moved, weights)["energy"]

        assert found == pytest.approx(-slope(energy, 5e-6), rel=1e-6, abs=1e-7 * scale)


def test_atomic_virials_carry_the_heat_flux(evaluator, crystal):
    """Minus the atomic virials times velocities is Σ_i Σ_j (r_j - r_i) (∂e_i/∂r_j · v_j)."""
    atoms = crystal(evaluator.elements, n=1)
    view, owner = evaluator.neighbors(atoms)
    result = evaluator.model.evaluate(view)
    close(result["virials"].sum(axis=0), result["virial"], 1e-11)
    velocities = np.random.default_rng(6).normal(size=(len(atoms), 3))[owner]
    flux = np.zeros(3)
    for row in range(view.ncenters):
        a, b = view.first[row], view.first[row + 1]
        alone = _core.NeighborView(
            view.x, view.species, view.centers[row : row + 1], [0, b - a], view.indices[a:b]
        )
        forces = evaluator.model.evaluate(alone)["forces"]  # -∂e_i/∂r_j
        flux += (view.x - view.x[view.centers[row]]).T @ (forces * velocities).sum(axis=1)
    tensors = np.zeros((len(view.x), 3, 3))
    for (a, b), column in zip(NINE, result["virials"].T, strict=True):
        tensors[:, a, b] = column
    close(np.einsum("jab,jb->a", tensors, velocities), flux, 1e-10)


@pytest.mark.parametrize("n", [1, 2])
def test_jacobian_equals_backward_passes(evaluator, crystal, n):
    atoms = crystal(evaluator.elements, n=n)
    view, owner = evaluator.neighbors(atoms)
    rows = evaluator.model.jacobian(view, owner, len(atoms))
    close(rows, evaluator.model.jacobian(view, owner, len(atoms), generic=True), 1e-10)


def test_rows_of_a_fit(evaluator, crystal, weights):
    """Forces and virial are rows times weights, plus the part without weights."""
    atoms = crystal(evaluator.elements, n=1)
    rows, result = evaluator.rows(atoms), evaluator.compute(atoms, weights)
    close(rows.forces @ weights + rows.baseline_forces, result["forces"].reshape(-1), 1e-10)
    close(rows.virial @ weights + rows.baseline_virial, result["virial"], 1e-10)
    assert len(VOIGT) == len(rows.virial)


# ---------------------------------------------------------------------- passes


def test_two_passes_equal_the_fused_one(evaluator, crystal, weights):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    fused = evaluator.model.evaluate(view, weights, baseline=0.7)
    split = evaluator.model.evaluate(view, weights, baseline=0.7, two_pass=True)
    for key, value in fused.items():
        close(split[key], value, 1e-12, key)


def test_atomic_weights_equal_shared_ones(evaluator, crystal, weights):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    rows = np.zeros((view.ncenters, evaluator.model.features(view)[0].shape[1]))
    for row, z in zip(rows, view.species[view.centers], strict=True):
        offset, count = evaluator.model.blocks[z]
        row[:count] = weights[offset : offset + count]
    shared = evaluator.model.evaluate(view, weights)
    atomic = evaluator.model.evaluate(view, per_atom_weights=rows)
    for key, value in shared.items():
        close(atomic[key], value, 1e-11, key)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 5])
def test_several_seeds_share_one_pass(evaluator, crystal, k):
    view, _ = evaluator.neighbors(crystal(evaluator.elements))
    rng = np.random.default_rng(4)
    weights, fixed = rng.normal(size=(k, evaluator.nreadout)), rng.normal(size=k)
    energies, forces = evaluator.model.backward(view, weights, fixed)
    for s in range(k):
        single = evaluator.model.evaluate(view, weights[s], fixed[s])
        assert energies[s] == pytest.approx(single["energy"], rel=1e-12)
        close(forces[s], single["forces"], 1e-11)


def test_order_and_translation_do_not_matter(evaluator, crystal, weights):
    atoms = crystal(evaluator.elements)
    reference = evaluator.compute(atoms, weights)
    order = np.random.default_rng(5).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [0.3, -1.1, 2.7]
    moved.wrap()
    result = evaluator.compute(moved, weights)
    assert result["energy"] == pytest.approx(reference["energy"], rel=1e-11)
    close(result["forces"], reference["forces"][order], 1e-10)


# ---------------------------------------------------------------------- instruction sets

SCRIPT = """
import sys, numpy as np
from ase.io import read
from pyuq.evaluate.evaluator import Evaluator
e, atoms = Evaluator(sys.argv[1], elements=sys.argv[4].split(",")), read(sys.argv[2])
r = e.compute(atoms)
view, owner = e.neighbors(atoms)
np.savez(sys.argv[3], energies=r["energies"], forces=r["forces"], virial=r["virial"], sums=e.model.sums(view),
         rows=e.model.jacobian(view, owner, len(atoms)))
"""
SETS = {
    "ace": ["identity", "three_densities", "zbl"],
    "nep": ["nep4", "all_flags", "many_elements", "l_max_8", "gpumd_5.3"],
    "mtp": ["plain", "many_radial", "sparse", "repulsive"],
}


@pytest.mark.parametrize(
    ("family", "case"), [(family, case) for family, cases in SETS.items() for case in cases]
)
def test_instruction_sets_agree(evaluator_of, crystal, tmp_path, family, case):
    evaluator = evaluator_of(family, case)
    crystal(evaluator.elements).write(tmp_path / "atoms.xyz")
    results = {}
    for level in ("baseline", "avx2", "avx512"):
        files = [evaluator.path, tmp_path / "atoms.xyz", tmp_path / f"{level}.npz"]
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, *files, ",".join(evaluator.elements)],
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
            close(result[key], results["baseline"][key], 1e-12, f"{level} {key}")


# ---------------------------------------------------------------------- odd inputs


@pytest.mark.parametrize("distance", [0.5, 1e-3, 1e-12, 0.0])
def test_close_contacts_stay_finite(evaluator, distance):
    view = _core.NeighborView([[0, 0, 0], [0, 0, distance]], [0, 0], [0, 1], [0, 1, 2], [1, 0])
    result = evaluator.model.evaluate(view)
    assert evaluator.model.min_distance == pytest.approx(distance)
    if distance >= 1e-3:
        assert np.isfinite(result["energy"])
        assert np.isfinite(result["forces"]).all()


@pytest.mark.parametrize("distance", [0.0, 1e-9, 9e-4])
def test_atoms_on_top_of_each_other_are_refused(evaluator, distance):
    atoms = Atoms(evaluator.elements[:1] * 3, positions=[[2, 0, 0], [0, 0, 0], [0, 0, distance]])
    for question in (evaluator.compute, evaluator.features, evaluator.rows):
        with pytest.raises(
            ValueError, match=rf"atoms (1 and 2|2 and 1) .* are {distance:.3g} Å apart"
        ):
            question(atoms)


@pytest.mark.parametrize("two_pass", [True, False])
def test_nan_is_not_hidden(evaluator, crystal, two_pass):
    view, _ = evaluator.neighbors(crystal(evaluator.elements, n=1))
    x = view.x.copy()
    x[1, 2] = np.nan
    broken = _core.NeighborView(x, view.species, view.centers, view.first, view.indices)
    result = evaluator.model.evaluate(broken, two_pass=two_pass)
    assert np.isnan(result["energy"])
    assert np.isnan(result["forces"][1]).any()


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


def test_neighbours_that_are_all_ghosts(evaluator, crystal):
    """A list may hold atoms that are nobody's centre, and nothing else."""
    view, _ = evaluator.neighbors(crystal(evaluator.elements, n=1))
    one = _core.NeighborView(
        view.x, view.species, [0], [0, view.first[1]], view.indices[: view.first[1]]
    )
    whole = evaluator.model.evaluate(view)["energies"][0]
    assert evaluator.model.evaluate(one)["energy"] == pytest.approx(whole, rel=1e-12)


def test_cutoff_longer_than_the_cell(evaluator, crystal):
    atoms = crystal(evaluator.elements, n=1)
    single, double = evaluator.compute(atoms), evaluator.compute(atoms * (2, 1, 2))
    assert double["energy"] == pytest.approx(4 * single["energy"], rel=1e-11)
    close(double["virial"], 4 * single["virial"], 1e-11)
