# SPDX-License-Identifier: GPL-2.0-or-later
"""The NEP feature map: the definition, derivatives, agreement of its passes, dispatch levels, extreme inputs."""

import os
import subprocess
import sys
from pathlib import Path

import naive_nep as naive
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from pyuq import _core
from pyuq.models.evaluator import VOIGT, Evaluator

DATA = Path(__file__).resolve().parents[1] / "data/nep"
NINE = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]


@pytest.fixture(scope="module")
def write_nep(tmp_path_factory):
    """Function (case name, changed keywords) → path of a nep.txt."""
    folder = tmp_path_factory.mktemp("nep")

    def write(case, **keywords):
        path = folder / f"{case}{abs(hash(tuple(sorted(keywords.items()))))}.txt"
        path.write_text(naive.nep_text(**(naive.CASES[case] | keywords)))
        return path

    return write


@pytest.fixture(scope="module", params=list(naive.CASES))
def nep(request, write_nep):
    """One potential of every kind."""
    return Evaluator(write_nep(request.param))


@pytest.fixture
def weights(nep):
    return np.random.default_rng(3).normal(size=nep.nreadout)


def surroundings(view, row):
    """Species of a centre and (species, vector) of its neighbours."""
    i = view.centers[row]
    found = view.indices[view.first[row] : view.first[row + 1]]
    return view.species[i], [(view.species[j], view.x[j] - view.x[i]) for j in found]


def slope(function, h):
    """Derivative at 0 by five points."""
    a, b, c, d = (function(step * h) for step in (-2, -1, 1, 2))
    return (a - 8 * b + 8 * c - d) / (12 * h)


# ---------------------------------------------------------------------- the definition


@pytest.mark.parametrize("case", naive.CASES)
def test_energies_from_the_definition(write_nep, crystal, case):
    path = write_nep(case)
    evaluator, potential = Evaluator(path), naive.parse(path.read_text())
    atoms = crystal(evaluator.elements, n=1)
    atoms.positions[1] = atoms.positions[0] + [0.4, 0.9, 1.1]  # inside the repulsion
    view, _ = evaluator.neighbors(atoms)
    energies = evaluator.model.evaluate(view)["energies"]
    features = evaluator.features(atoms)
    for row in range(view.ncenters):
        z, neighbors = surroundings(view, row)
        wanted = naive.atomic_energy(potential, z, neighbors)
        assert energies[row] == pytest.approx(wanted, rel=1e-11, abs=1e-11)
        hidden = naive.hidden(potential, z, naive.descriptors(potential, z, neighbors))
        np.testing.assert_allclose(features[row], [*hidden, 1.0], atol=1e-11)


def test_shipped_file(crystal):
    """A file of our own."""
    path = DATA / "agi.txt"
    evaluator, potential = Evaluator(path), naive.parse(path.read_text())
    assert evaluator.elements == ["Ag", "I"]
    assert evaluator.model.family == "nep"
    view, _ = evaluator.neighbors(crystal(["Ag", "I"], n=1))
    energies = evaluator.model.evaluate(view)["energies"]
    for row in range(view.ncenters):
        assert energies[row] == pytest.approx(
            naive.atomic_energy(potential, *surroundings(view, row)), rel=1e-11
        )


def test_energy_is_weights_times_features(nep, crystal, weights):
    view, _ = nep.neighbors(crystal(nep.elements))
    per_atom, summed = nep.model.features(view)
    by_species = np.zeros(nep.nreadout)
    for row, z in zip(per_atom, view.species[view.centers], strict=True):
        offset, count = nep.model.blocks[z]
        by_species[offset : offset + count] += row
    np.testing.assert_allclose(summed, by_species, rtol=1e-12)
    np.testing.assert_allclose(nep.model.sums(view), summed, rtol=1e-13)
    result = nep.model.evaluate(view, weights)
    assert result["energy"] == pytest.approx(weights @ summed + nep.model.fixed_energy, rel=1e-12)
    assert result["energies"].sum() == pytest.approx(result["energy"], rel=1e-12)


# ---------------------------------------------------------------------- derivatives


def test_forces_are_the_gradient(nep, crystal, weights):
    atoms = crystal(nep.elements, n=1)
    atoms.positions[1] = atoms.positions[0] + [0.4, 0.9, 1.1]
    forces = nep.compute(atoms, weights)["forces"]
    for i, c in [(0, 0), (1, 2), (3, 1)]:

        def energy(x, i=i, c=c):
            moved = atoms.copy()
            moved.positions[i, c] += x
            return nep.compute(moved, weights)["energy"]

        assert forces[i, c] == pytest.approx(-slope(energy, 1e-5), rel=1e-6, abs=1e-6)


def test_virial_is_the_strain_derivative(nep, crystal, weights):
    atoms = crystal(nep.elements, n=1)
    view, _ = nep.neighbors(atoms)
    virial = nep.model.evaluate(view, weights)["virial"]
    for (a, b), found in zip(NINE, virial, strict=True):

        def energy(x, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += x
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return nep.compute(moved, weights)["energy"]

        assert found == pytest.approx(-slope(energy, 2e-6), rel=1e-6, abs=1e-5)


def test_atomic_virials_carry_the_heat_flux(nep, crystal):
    """Σ_i Σ_j (r_j - r_i) (∂e_i/∂r_j · v_j) is minus the sum of atomic virials times velocities, and each atomic
    virial gathers what all centres do to that atom."""
    atoms = crystal(nep.elements, n=1)
    view, owner = nep.neighbors(atoms)
    virials = nep.model.evaluate(view)["virials"]
    total = nep.model.evaluate(view)["virial"]
    np.testing.assert_allclose(virials.sum(axis=0), total, rtol=1e-11, atol=1e-11)
    velocities = np.random.default_rng(6).normal(size=(len(atoms), 3))[owner]
    flux = np.zeros(3)
    for row in range(view.ncenters):
        alone = _core.NeighborView(
            view.x,
            view.species,
            view.centers[row : row + 1],
            [0, view.first[row + 1] - view.first[row]],
            view.indices[view.first[row] : view.first[row + 1]],
        )
        forces = nep.model.evaluate(alone)["forces"]  # -∂e_i/∂r_j
        arms = view.x - view.x[view.centers[row]]
        flux += arms.T @ (forces * velocities).sum(axis=1)
    tensors = np.zeros((len(virials), 3, 3))
    for (a, b), column in zip(NINE, virials.T, strict=True):
        tensors[:, a, b] = column
    np.testing.assert_allclose(
        np.einsum("jab,jb->a", tensors, velocities), flux, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("n", [1, 2])
def test_jacobian_equals_backward_passes(nep, crystal, n):
    atoms = crystal(nep.elements, n=n)
    view, owner = nep.neighbors(atoms)
    rows = nep.model.jacobian(view, owner, len(atoms))
    generic = nep.model.jacobian(view, owner, len(atoms), generic=True)
    np.testing.assert_allclose(rows, generic, rtol=1e-10, atol=1e-11 * np.abs(generic).max())


# ---------------------------------------------------------------------- passes


def test_two_passes_equal_the_fused_one(nep, crystal, weights):
    view, _ = nep.neighbors(crystal(nep.elements))
    fused = nep.model.evaluate(view, weights, fixed=0.7)
    split = nep.model.evaluate(view, weights, fixed=0.7, two_pass=True)
    for key, value in fused.items():
        np.testing.assert_allclose(split[key], value, rtol=1e-12, atol=1e-12, err_msg=key)


def test_atomic_weights_equal_shared_ones(nep, crystal, weights):
    view, _ = nep.neighbors(crystal(nep.elements))
    blocks = [weights[offset : offset + count] for offset, count in nep.model.blocks]
    rows = np.array([blocks[z] for z in view.species[view.centers]])
    shared = nep.model.evaluate(view, weights)
    atomic = nep.model.evaluate(view, per_atom_weights=rows)
    for key, value in shared.items():
        np.testing.assert_allclose(atomic[key], value, rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_several_seeds_share_one_pass(nep, crystal, k):
    view, _ = nep.neighbors(crystal(nep.elements))
    rng = np.random.default_rng(4)
    weights, fixed = rng.normal(size=(k, nep.nreadout)), rng.normal(size=k)
    energies, forces = nep.model.backward(view, weights, fixed)
    for s in range(k):
        single = nep.model.evaluate(view, weights[s], fixed[s])
        assert energies[s] == pytest.approx(single["energy"], rel=1e-12)
        np.testing.assert_allclose(forces[s], single["forces"], rtol=1e-11, atol=1e-11)


def test_order_and_rotation_do_not_matter(nep, crystal, weights):
    atoms = crystal(nep.elements)
    reference = nep.compute(atoms, weights)
    order = np.random.default_rng(5).permutation(len(atoms))
    matrix = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()
    moved = atoms[order]
    moved.set_cell(atoms.cell.array @ matrix.T)
    moved.positions = (moved.positions + np.array([0.3, -1.1, 2.7])) @ matrix.T
    moved.wrap()
    result = nep.compute(moved, weights)
    assert result["energy"] == pytest.approx(reference["energy"], rel=1e-12)
    turned = reference["forces"][order] @ matrix.T
    np.testing.assert_allclose(result["forces"], turned, atol=1e-10 * np.abs(turned).max())


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


@pytest.mark.parametrize("case", ["nep4", "all_flags", "many_elements", "l_max_8"])
def test_instruction_sets_agree(write_nep, crystal, tmp_path, case):
    path = write_nep(case)
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


# ---------------------------------------------------------------------- several members as one


@pytest.mark.parametrize("case", ["nep3", "fixed_zbl", "many_elements", "nep5_flexible_zbl"])
def test_fused_members_equal_separate_ones(write_nep, crystal, case):
    text = naive.nep_text(**naive.CASES[case])
    repulsion = {"nep5_flexible_zbl": 60}.get(case, 0)  # the last numbers: equal in all members
    paths = [write_nep(case, seed=seed, neurons=4 + seed) for seed in (0, 1, 2)]
    if repulsion:
        for path in paths:
            tail = text.splitlines()[-repulsion:]
            path.write_text("\n".join(path.read_text().splitlines()[:-repulsion] + tail) + "\n")
    models = [_core.Model(path) for path in paths]
    fused = _core.fuse(models)
    atoms = crystal(models[0].elements)
    view, owner = Evaluator(paths[0]).neighbors(atoms)
    single = [model.evaluate(view) for model in models]
    together = fused.evaluate(view, fixed=3.0)
    for key, value in together.items():
        wanted = sum(result[key] for result in single)
        np.testing.assert_allclose(
            value, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max(), err_msg=key
        )
    # Each member's forces from one pass: seeds that leave the others out.
    seeds, at = np.zeros((3, fused.nreadout)), 0
    for z in range(len(models[0].elements)):
        for k, model in enumerate(models):
            count = model.blocks[z][1]
            seeds[k, at : at + count] = fused.weights[at : at + count]
            at += count
    energies, forces = fused.backward(view, seeds, np.ones(3))
    for k, result in enumerate(single):
        assert energies[k] == pytest.approx(result["energy"], rel=1e-12)
        np.testing.assert_allclose(
            forces[k], result["forces"], atol=1e-12 * np.abs(result["forces"]).max()
        )
    features, sums = fused.features(view)
    np.testing.assert_allclose(
        features, np.hstack([model.features(view)[0] for model in models]), rtol=1e-12, atol=1e-13
    )
    wanted = np.concatenate(
        [
            model.sums(view)[slice(o, o + c)]
            for z in range(len(models[0].elements))
            for model in models
            for o, c in [model.blocks[z]]
        ]
    )
    np.testing.assert_allclose(sums, wanted, rtol=1e-12)
    rows = fused.jacobian(view, owner, len(atoms))
    generic = fused.jacobian(view, owner, len(atoms), generic=True)
    np.testing.assert_allclose(rows, generic, rtol=1e-10, atol=1e-11 * np.abs(generic).max())


@pytest.mark.parametrize(
    "change", [{"cutoff": "4.5 3.7 90 40"}, {"l_max": "4 0 0"}, {"elements": ("H", "C")}]
)
def test_unequal_members_are_not_fused(write_nep, change):
    models = [_core.Model(write_nep("nep3")), _core.Model(write_nep("nep3", **change))]
    assert _core.fuse(models) is None
    assert _core.fuse(models[:1]) is None


# ---------------------------------------------------------------------- extreme inputs


def test_single_atom_has_the_energy_of_an_empty_surrounding(write_nep):
    path = write_nep("nep5_flexible_zbl")
    evaluator, potential = Evaluator(path), naive.parse(path.read_text())
    for z, symbol in enumerate(evaluator.elements):
        result = evaluator.compute(Atoms(symbol, positions=[[0, 0, 0]]))
        _, b0, w1, bias = potential["networks"][z]
        wanted = w1 @ np.tanh(-b0) - potential["b1"] - bias
        assert result["energy"] == pytest.approx(wanted, rel=1e-13)
        assert not result["forces"].any()
    assert evaluator.model.min_distance == np.inf


def test_thousands_of_neighbours(write_nep):
    """A cluster squeezed into the cutoff: energies by the definition for one of its atoms."""
    path = write_nep("nep4")
    evaluator, potential = Evaluator(path), naive.parse(path.read_text())
    n = 2501
    x = np.random.default_rng(8).uniform(-1.5, 1.5, size=(n, 3))
    view = _core.NeighborView(x, np.zeros(n, int), [0], [0, n - 1], np.arange(1, n))
    result = evaluator.model.evaluate(view)
    wanted = naive.atomic_energy(potential, 0, [(0, d) for d in x[1:] - x[0]])
    assert result["energy"] == pytest.approx(wanted, rel=1e-9)
    np.testing.assert_allclose(result["forces"].sum(axis=0), 0.0, atol=1e-8)


@pytest.mark.parametrize("distance", [0.5, 1e-3, 1e-12, 0.0])
def test_close_contacts_stay_finite(nep, distance):
    x = [[0, 0, 0], [0, 0, distance]]
    view = _core.NeighborView(x, [0, 0], [0, 1], [0, 1, 2], [1, 0])
    result = nep.model.evaluate(view)
    assert nep.model.min_distance == pytest.approx(distance)
    assert np.isfinite(result["energy"])
    assert np.isfinite(result["forces"]).all()


@pytest.mark.parametrize("two_pass", [True, False])
def test_nan_is_not_hidden(nep, crystal, two_pass):
    atoms = crystal(nep.elements, n=1)
    view, _ = nep.neighbors(atoms)
    x = view.x.copy()
    x[1, 2] = np.nan
    broken = _core.NeighborView(x, view.species, view.centers, view.first, view.indices)
    result = nep.model.evaluate(broken, two_pass=two_pass)
    assert np.isnan(result["energy"])
    assert np.isnan(result["forces"][1]).any()


def test_no_centres(nep):
    view = _core.NeighborView(np.zeros((0, 3)), [], [], [0], [])
    assert nep.model.evaluate(view)["energy"] == 0.0
    assert not nep.model.sums(view).any()


def test_atoms_of_no_species_are_skipped(nep, crystal):
    atoms = crystal(nep.elements, n=1)
    view, _ = nep.neighbors(atoms)
    species = view.species.copy()
    species[len(atoms) :] = -1  # the ghosts are strangers: as in vacuum
    masked = _core.NeighborView(view.x, species, view.centers, view.first, view.indices)
    atoms.pbc = False
    vacuum = nep.compute(atoms)
    assert nep.model.evaluate(masked)["energy"] == pytest.approx(vacuum["energy"], rel=1e-12)


def test_neighbours_that_are_all_ghosts(nep, crystal):
    """A list may hold atoms that are nobody's centre, and nothing else."""
    atoms = crystal(nep.elements, n=1)
    view, _ = nep.neighbors(atoms)
    one = _core.NeighborView(
        view.x, view.species, [0], [0, view.first[1]], view.indices[: view.first[1]]
    )
    whole = nep.model.evaluate(view)["energies"][0]
    assert nep.model.evaluate(one)["energy"] == pytest.approx(whole, rel=1e-12)


def test_cutoff_longer_than_the_cell(nep, crystal):
    atoms = crystal(nep.elements, n=1)
    single, double = nep.compute(atoms), nep.compute(atoms * (2, 1, 2))
    assert double["energy"] == pytest.approx(4 * single["energy"], rel=1e-11)
    np.testing.assert_allclose(double["virial"], 4 * single["virial"], rtol=1e-9, atol=1e-8)


def test_rows_of_a_fit(nep, crystal, weights):
    """Forces and virial are rows times weights, plus the part without weights."""
    atoms = crystal(nep.elements, n=1)
    rows, result = nep.rows(atoms), nep.compute(atoms, weights)
    np.testing.assert_allclose(
        rows.forces @ weights + rows.fixed_forces, result["forces"].reshape(-1), atol=1e-9
    )
    np.testing.assert_allclose(
        rows.virial @ weights + rows.fixed_virial, result["virial"], atol=1e-9
    )
    assert len(VOIGT) == len(rows.virial)
