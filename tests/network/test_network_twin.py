# SPDX-License-Identifier: GPL-2.0-or-later
"""The native kernel against the torch twin; derivatives of the twin."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pyuq.models.evaluator import Evaluator

torch = pytest.importorskip("torch", reason="the twin needs torch: pip install pyuq[bnn]")

from pyuq.bnn.architecture import read_network  # noqa: E402
from pyuq.bnn.network import Batch, predict, sample_weights  # noqa: E402

SHAPES = [
    {"lmax": 1, "layers": 2, "channels": 16},
    {"lmax": 2, "layers": 3, "channels": 8},
    {"lmax": 1, "layers": 1, "channels": 5},
    {"lmax": 2, "layers": 2, "channels": 12, "hidden": 5, "bessels": 6, "envelope": 5},
    {"lmax": 1, "layers": 4, "channels": 3, "noise_hidden": 0},
]


def prediction(path, k, frames):
    file = read_network(path)
    batch = Batch.of(frames, file.architecture)
    return predict(file.architecture, sample_weights(file, k), batch)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernel_is_the_twin(random_network, structures, shape):
    path = random_network(**shape)
    evaluator = Evaluator(path)
    wanted = prediction(path, 0, structures)
    start = 0
    for n, atoms in enumerate(structures):
        found = evaluator.compute(atoms)
        rows = slice(start, start + len(atoms))
        start += len(atoms)
        np.testing.assert_allclose(found["energies"], wanted.atomic[rows].numpy(), atol=1e-11)
        np.testing.assert_allclose(found["forces"], wanted.forces[rows].numpy(), atol=1e-11)
        virial = wanted.virials[n].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(found["virial"], virial, atol=1e-10)
        features = evaluator.features(atoms)
        np.testing.assert_allclose(features[:, :-1], wanted.features[rows].numpy(), atol=1e-11)
        assert (features[:, -1] == 1).all()


def test_rotations_and_permutations(random_network, structures):
    path = random_network(lmax=2, layers=3, channels=8)
    turn = Rotation.random(random_state=3).as_matrix()
    atoms = structures[0]
    moved = atoms[::-1]
    moved.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    first, second = (prediction(path, 0, [a]) for a in (atoms, moved))
    assert second.energies[0] == pytest.approx(first.energies[0].item(), rel=1e-12)
    np.testing.assert_allclose(
        second.forces.numpy()[::-1], first.forces.numpy() @ turn.T, atol=1e-12
    )


def test_forces_of_the_twin_are_the_gradient(random_network, structures):
    path = random_network(lmax=2, layers=2, channels=8)
    atoms = structures[0]
    forces = prediction(path, 0, [atoms]).forces

    def energy(x):
        moved = atoms.copy()
        moved.positions[2, 1] += x
        return prediction(path, 0, [moved]).energies[0].item()

    assert forces[2, 1] == pytest.approx(-(energy(1e-5) - energy(-1e-5)) / 2e-5, rel=1e-6)
