# SPDX-License-Identifier: GPL-2.0-or-later
"""What is special to the NEP feature map: its definition, rotation, fused members, single atoms, many neighbours."""

from pathlib import Path

import naive_nep as naive
import numpy as np
import pytest
from ase import Atoms
from fused import check_fused
from scipy.spatial.transform import Rotation

from pyuq import _core
from pyuq.evaluate.evaluator import Evaluator

DATA = Path(__file__).resolve().parents[1] / "data/nep"


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


# ---------------------------------------------------------------------- passes


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
    members = [Evaluator(path) for path in paths]
    check_fused(members, crystal(members[0].elements))


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
