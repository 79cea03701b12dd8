# SPDX-License-Identifier: GPL-2.0-or-later
"""The native kernel against the torch twin; derivatives of the twin."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator

torch = pytest.importorskip("torch", reason="the twin needs torch: pip install pyuq[bnn]")

from pyuq.bnn.architecture import Architecture, read_network  # noqa: E402
from pyuq.bnn.network import Batch, predict, repulsion, repulsion_of, sample_weights  # noqa: E402

SHAPES = [
    {"lmax": 1, "layers": 2, "channels": 16},
    {"lmax": 2, "layers": 3, "channels": 8},
    {"lmax": 1, "layers": 1, "channels": 5},
    {"lmax": 2, "layers": 2, "channels": 12, "hidden": 5, "bessels": 6, "envelope": 5},
    {"lmax": 1, "layers": 4, "channels": 3, "noise_hidden": 0},
    {"lmax": 1, "layers": 2, "channels": 8, "repulsion": (1.5, 3.0)},
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


def test_repulsion_is_zbl():
    """By the definition, at one distance inside the switch; none beyond its end."""
    shape = Architecture(("Ag", "I"), 4.0)
    ranges = np.tile([1.0, 2.5], (2, 2, 1))
    r = torch.tensor([[1.75, 0, 0], [2.6, 0, 0]], dtype=torch.float64)
    batch = Batch(
        torch.tensor([0, 1]),
        torch.zeros(2, dtype=torch.int64),
        1,
        torch.tensor([0, 1]),
        torch.tensor([1, 0]),
        r,
    )
    found = repulsion(shape, {"repulsion": torch.from_numpy(ranges)}, batch)
    length = 1 / (2.134563 * (47**0.23 + 53**0.23))
    phi = (
        0.18175 * np.exp(-3.1998 * 1.75 / length)
        + 0.50986 * np.exp(-0.94229 * 1.75 / length)
        + 0.28022 * np.exp(-0.4029 * 1.75 / length)
        + 0.02817 * np.exp(-0.20162 * 1.75 / length)
    )
    pair = 14.399645 * 47 * 53 / 1.75 * phi * 0.5  # halfway through the switch
    np.testing.assert_allclose(found.numpy(), [0.5 * pair, 0.0], rtol=1e-12)


def test_samples_share_the_repulsion(random_network, structures):
    """The mean of two samples has it once, the spread not at all."""
    both, bare = (
        Evaluator(random_network(samples=2, repulsion=r, channels=8)) for r in [(1.5, 3.0), ()]
    )
    atoms = structures[1]
    found, without = both.compute(atoms), bare.compute(atoms)
    path = random_network(samples=2, repulsion=(1.5, 3.0), channels=8)
    file = read_network(path)
    fixed = repulsion_of(
        file.architecture, sample_weights(file, 0), Batch.of([atoms], file.architecture)
    )
    assert fixed.energies[0] > 0.1
    np.testing.assert_allclose(found["energies"] - without["energies"], fixed.atomic, atol=1e-10)
    np.testing.assert_allclose(found["forces"] - without["forces"], fixed.forces, atol=1e-10)
    assert Committee([both]).uncertainty(atoms).sigma == pytest.approx(
        Committee([bare]).uncertainty(atoms).sigma, rel=1e-12
    )


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
