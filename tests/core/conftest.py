# SPDX-License-Identifier: GPL-2.0-or-later
"""Small synthetic potentials and structures for the tests of the core."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from synthetic import CASES, yace

from pyuq.models.evaluator import Evaluator


@pytest.fixture(scope="session")
def write_potential(tmp_path_factory):
    """Function (case name, or keywords of ``yace``) → path of a .yace file."""
    folder = tmp_path_factory.mktemp("potentials")

    def write(case="linear", **keywords):
        path = folder / f"{case}{abs(hash(tuple(sorted(keywords.items()))))}.yace"
        path.write_text(yace(**(CASES[case] | keywords)))
        return path

    return write


@pytest.fixture(scope="session", params=list(CASES))
def evaluator(request, write_potential):
    """One potential of every kind."""
    return Evaluator(write_potential(request.param))


@pytest.fixture(scope="session")
def crystal():
    """Function: a distorted, sheared crystal of n³ · 4 atoms of the evaluator's elements, in no order."""

    def build(elements, n=2, seed=1) -> Atoms:
        rng = np.random.default_rng(seed)
        atoms = bulk("Al", "fcc", a=3.3, cubic=True) * (n, n, n)
        atoms.symbols[:] = rng.choice(elements, len(atoms))
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True
        )
        atoms.rattle(0.15, rng=rng)
        return atoms

    return build
