# SPDX-License-Identifier: GPL-2.0-or-later
"""Small synthetic potentials and structures for the tests of the core."""

import naive_mtp
import naive_nep
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from synthetic import CASES, yace

from pyuq.evaluate.evaluator import Evaluator

NAMES = ("Al", "Si", "Cu")  # of the species of an MTP


@pytest.fixture(scope="session")
def write_potential(tmp_path_factory):
    """Function (case name, or keywords of ``yace``) → path of a .yace file."""
    folder = tmp_path_factory.mktemp("potentials")

    def write(case="linear", **keywords):
        path = folder / f"{case}{abs(hash(tuple(sorted(keywords.items()))))}.yace"
        path.write_text(yace(**(CASES[case] | keywords)))
        return path

    return write


@pytest.fixture(scope="session")
def write_nep(tmp_path_factory):
    """Function (case name, changed keywords) → path of a nep.txt."""
    folder = tmp_path_factory.mktemp("nep")

    def write(case, **keywords):
        path = folder / f"{case}{abs(hash(tuple(sorted(keywords.items()))))}.txt"
        path.write_text(naive_nep.nep_text(**(naive_nep.CASES[case] | keywords)))
        return path

    return write


@pytest.fixture(scope="session")
def write_mtp(tmp_path_factory):
    """Function: case name → path of a potential and the names of its species."""
    folder = tmp_path_factory.mktemp("mtp")

    def write(case):
        path = folder / f"{case}.mtp"
        path.write_text(naive_mtp.mtp_text(**naive_mtp.CASES[case]))
        return path, NAMES[: naive_mtp.CASES[case].get("species", 2)]

    return write


@pytest.fixture(scope="session")
def evaluator_of(write_potential, write_nep, write_mtp):
    """Function: family, case → the evaluator of a potential."""

    def build(family, case) -> Evaluator:
        if family == "mtp":
            path, elements = write_mtp(case)
            return Evaluator(path, elements=elements)
        return Evaluator(write_potential(case) if family == "ace" else write_nep(case))

    return build


FAMILIES = {"ace": CASES, "nep": naive_nep.CASES, "mtp": naive_mtp.CASES}


@pytest.fixture(
    scope="session",
    params=[(family, case) for family, cases in FAMILIES.items() for case in cases],
    ids="-".join,
)
def evaluator(request, evaluator_of):
    """One potential of every kind of every family."""
    return evaluator_of(*request.param)


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
