# SPDX-License-Identifier: GPL-2.0-or-later
"""The embedded reference system."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from pyuq import systems
from pyuq.labels.reference import LammpsReference


def test_cell_is_alpha_silver_iodide():
    atoms = systems.silver_iodide(2, np.random.default_rng(0))
    assert atoms.symbols.count("Ag") == atoms.symbols.count("I") == 16
    assert atoms.cell.lengths() == pytest.approx(2 * systems.LATTICE_CONSTANT)
    i, d = neighbor_list("id", atoms, 3.0)
    silver = np.array(atoms.get_chemical_symbols())[i] == "Ag"
    nearest_iodine = d[silver & (d > 2.7)]
    assert np.bincount(i[silver & np.isclose(d, 5.062 * 0.559017, atol=1e-3)]).max() == 4
    assert nearest_iodine.size
    assert d.min() > 1.7


def test_cells_differ_by_seed_only():
    one, again, other = (systems.silver_iodide(2, np.random.default_rng(s), 0.1) for s in (1, 1, 2))
    assert np.array_equal(one.positions, again.positions)
    assert not np.array_equal(one.positions, other.positions)


def test_reference_forces_are_derivatives():
    reference = LammpsReference(
        systems.ELEMENTS,
        systems.reference_commands(),
        atom_style="charge",
        charges=systems.CHARGES,
        masses=systems.MASSES,
    )
    atoms = systems.silver_iodide(2, np.random.default_rng(3), rattle=0.1, strain=0.02)
    forces = reference(atoms)["forces"]
    h, moved = 1e-4, []
    for sign in (1, -1):
        shifted = atoms.copy()
        shifted.positions[5, 1] += sign * h
        moved.append(reference(shifted)["energy"])
    assert -(moved[0] - moved[1]) / (2 * h) == pytest.approx(forces[5, 1], abs=1e-5)
