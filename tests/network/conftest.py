# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks with random weights and structures for them."""

import numpy as np
import pytest
from ase import Atoms
from random_network import random_tensors

from pyuq.bnn.architecture import Architecture, write_network


@pytest.fixture(scope="session")
def random_network(tmp_path_factory):
    """Function (seed, samples, architecture keywords) → path of a file."""
    folder = tmp_path_factory.mktemp("network")

    def write(seed=1, samples=1, elements=("Ag", "I"), cutoff=4.0, repulsion=(), **keywords):
        architecture = Architecture(elements, cutoff, **keywords)
        tensors = random_tensors(architecture, samples, np.random.default_rng(seed), repulsion)
        name = "-".join(str(v) for v in (seed, samples, *elements, *repulsion, *keywords.values()))
        write_network(folder / f"{name}.safetensors", architecture, tensors, {"seed": seed})
        return folder / f"{name}.safetensors"

    return write


def _structures() -> list[Atoms]:
    """A triclinic crystal out of equilibrium, a cell smaller than the cutoff, a molecule, an atom."""
    rng = np.random.default_rng(5)
    cell = np.array([[6.0, 0, 0], [0.8, 5.6, 0], [-0.5, 0.4, 6.3]])
    crystal = Atoms("AgIAgIIAg", scaled_positions=rng.random((6, 3)), cell=cell, pbc=True)
    tiny = Atoms("AgI", [[0, 0, 0], [1.4, 1.3, 1.6]], cell=[2.9, 3.1, 3.3], pbc=True)
    molecule = Atoms("IAgI", rng.normal(scale=1.5, size=(3, 3)))
    return [crystal, tiny, molecule, Atoms("Ag", [[0.0, 0, 0]])]


STRUCTURES = _structures()


@pytest.fixture(scope="session")
def structures() -> list[Atoms]:
    """Structures that differ in what can go wrong."""
    return STRUCTURES
