# SPDX-License-Identifier: GPL-2.0-or-later
"""Mean squared displacements against naive averages."""

import numpy as np
import pytest

from pyuq.diffusion import atom_msd, atom_tensor_msd, remove_drift


@pytest.fixture
def walk():
    return np.cumsum(np.random.default_rng(0).normal(size=(50, 4, 3)), axis=0)


def test_msd_is_the_naive_average(walk):
    lags = np.array([1, 2, 7, 30, 49])
    naive = np.array([((walk[k:] - walk[:-k]) ** 2).mean(axis=0) for k in lags])
    np.testing.assert_allclose(atom_msd(walk, lags), naive, rtol=1e-10)


def test_tensor_is_the_naive_average(walk):
    lags = np.array([1, 5, 31])
    for row, k in zip(atom_tensor_msd(walk, lags), lags):
        step = walk[k:] - walk[:-k]
        pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
        naive = np.stack([(step[..., a] * step[..., b]).mean(axis=0) for a, b in pairs], axis=1)
        np.testing.assert_allclose(row, naive, atol=1e-10)


def test_impossible_lags_are_refused():
    with pytest.raises(ValueError, match="lags reach from"):
        atom_msd(np.zeros((10, 1, 3)), np.array([10]))


def test_drift_of_the_framework_is_removed():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 6, 3))
    drifting = x + np.cumsum(rng.normal(size=(20, 1, 3)), axis=0)
    still = remove_drift(drifting, np.arange(3))
    np.testing.assert_allclose(still[:, :3].mean(axis=1).std(axis=0), 0, atol=1e-12)


def test_centre_of_mass_is_weighted_by_the_masses():
    x = np.random.default_rng(2).normal(size=(20, 3, 3))
    masses = np.array([1.0, 2.0, 5.0])
    centre = np.average(remove_drift(x, masses=masses), axis=1, weights=masses)
    np.testing.assert_allclose(centre, 0, atol=1e-12)
