# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of a reference method in another order, image or place are those of their request, or refused by name."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from pyuq.io import extxyz
from pyuq.labels import FileLabeller, Waiting
from pyuq.labels.match import MismatchError, match


def structure(rng, n, pbc, species="AlSiO"):
    """Atoms without any symmetry; no two closer than 0.3 Å in reduced coordinates of a skewed cell."""
    cell = np.eye(3) * rng.uniform(4, 9) + rng.uniform(-2, 2, size=(3, 3))
    grid = np.array([(i, j, k) for i in range(3) for j in range(3) for k in range(3)])
    chosen = rng.permutation(27)[:n]
    scaled = (grid[chosen] + rng.uniform(0.2, 0.8, size=(n, 3))) / 3
    names = {"A": "Al", "S": "Si", "O": "O"}
    symbols = [names[c] for c in rng.choice([c for c in species if c.isupper()], n)]
    return Atoms(symbols, positions=scaled @ cell, cell=cell, pbc=pbc)


def changed(rng, atoms, permute, wrap, translate):
    """The same crystal in another description, and what belongs to each of its atoms."""
    order = rng.permutation(len(atoms)) if permute else np.arange(len(atoms))
    result = atoms[order]
    if wrap:
        result.positions += (rng.integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc) @ atoms.cell
    if translate:
        result.positions += rng.uniform(-20, 20, size=3)
    return result, order


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 27),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    permute=st.booleans(),
    wrap=st.booleans(),
    translate=st.booleans(),
    species=st.sampled_from(["Al", "AlSiO"]),
)
def test_random_structures_are_recognised(seed, n, pbc, permute, wrap, translate, species):
    rng = np.random.default_rng(seed)
    atoms = structure(rng, n, pbc, species)
    forces = rng.normal(size=(n, 3))
    result, order = changed(rng, atoms, permute, wrap, translate)
    result.positions += rng.uniform(-2e-5, 2e-5, size=(n, 3))  # digits of a file
    found = match(atoms, result, forces[order])
    np.testing.assert_array_equal(forces[order][found], forces)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), permute=st.booleans())
def test_one_atom_elsewhere_is_refused(seed, permute):
    rng = np.random.default_rng(seed)
    atoms = structure(rng, 12, True)
    result, _ = changed(rng, atoms, permute, True, True)
    result.positions[rng.integers(12)] += rng.normal(size=3) * 0.05
    with pytest.raises(MismatchError, match=r"positions"):
        match(atoms, result, np.zeros((12, 3)))


def test_symmetric_crystals_fit_in_many_ways_only_with_equal_forces():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    rng = np.random.default_rng(1)
    result, order = changed(rng, atoms, True, True, True)
    match(atoms, result, np.zeros((8, 3)))
    forces = rng.normal(size=(8, 3))[order]  # a magnetic order, say, that positions do not show
    with pytest.raises(MismatchError, match=r"fit the request in \d+ ways whose forces differ"):
        match(atoms, result, forces)
    # In the request's own order, or at its own places, nothing is ambiguous.
    np.testing.assert_array_equal(match(atoms, atoms, forces), np.arange(8))
    result, order = changed(np.random.default_rng(3), atoms, True, False, False)
    assert (order != np.arange(8)).any()
    np.testing.assert_array_equal(order[match(atoms, result, forces)], np.arange(8))


def test_files_sorted_as_vasp_does(tmp_path):
    """The label comes in the order of the request, whatever the order of the file."""
    rng = np.random.default_rng(2)
    atoms = structure(rng, 20, True)
    forces, stress = rng.normal(size=(20, 3)), rng.normal(size=6)
    labeller = FileLabeller(tmp_path)
    with pytest.raises(Waiting):
        labeller.label([atoms])
    (request,) = (tmp_path / "requests").iterdir()
    order = np.argsort(atoms.get_chemical_symbols(), kind="stable")
    result = atoms[order]
    result.wrap()
    result.positions += 0.3
    extxyz.write(
        tmp_path / "results" / request.name, [extxyz.labelled(result, -3.0, forces[order], stress)]
    )
    (label,) = labeller.label([atoms])
    np.testing.assert_array_equal(label.get_forces(), forces)
    np.testing.assert_array_equal(label.positions, atoms.positions)
    np.testing.assert_array_equal(label.get_stress(), stress)
