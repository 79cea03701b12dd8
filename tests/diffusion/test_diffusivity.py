# SPDX-License-Identifier: GPL-2.0-or-later
"""Diffusivities against naive sums, and their error bars against many walkers of known D."""

import numpy as np
import pytest

from pyuq.diffusion import atom_msd, remove_drift, self_diffusivity


def brownian(rng, n_frames, n_atoms, d, timestep, rattle=0.0):
    steps = rng.normal(0, np.sqrt(2 * d * timestep), (n_frames, n_atoms, 3))
    return np.cumsum(steps, axis=0) + rng.normal(0, rattle, (n_frames, n_atoms, 3))


def test_msd_is_the_naive_average():
    x = np.cumsum(np.random.default_rng(0).normal(size=(50, 4, 3)), axis=0)
    lags = np.array([1, 2, 7, 30, 49])
    naive = np.array([((x[k:] - x[:-k]) ** 2).mean(axis=0) for k in lags])
    np.testing.assert_allclose(atom_msd(x, lags), naive, rtol=1e-10)


def test_impossible_lags_are_refused():
    with pytest.raises(ValueError, match="lags reach from"):
        atom_msd(np.zeros((10, 1, 3)), np.array([10]))


def test_drift_of_the_framework_is_removed():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 6, 3))
    drifting = x + np.cumsum(rng.normal(size=(20, 1, 3)), axis=0)
    framework = np.arange(3)
    np.testing.assert_allclose(
        remove_drift(drifting, framework)[:, :3].mean(axis=1).std(axis=0), 0, atol=1e-12
    )


def scores(n, seed, **walk):
    rng = np.random.default_rng(seed)
    results = [
        self_diffusivity(brownian(rng, d=0.3, timestep=0.05, **walk), 0.05) for _ in range(n)
    ]
    values = np.array([r.value for r in results])
    return values, np.array([(r.value - 0.3) / r.error for r in results])


@pytest.mark.parametrize("rattle", [0.0, 0.3])
def test_error_bars_are_calibrated(rattle):
    values, z = scores(60, 2, n_frames=600, n_atoms=24, rattle=rattle)
    assert abs(values.mean() - 0.3) < 4 * values.std() / np.sqrt(len(values))
    assert 0.7 < z.std() < 1.35
    assert (np.abs(z) < 1.96).mean() > 0.85


@pytest.mark.validate
@pytest.mark.parametrize("rattle", [0.0, 0.3])
def test_error_bars_are_calibrated_over_many_walks(rattle):
    values, z = scores(400, 3, n_frames=1000, n_atoms=32, rattle=rattle)
    assert abs(values.mean() / 0.3 - 1) < 0.01
    assert 0.85 < z.std() < 1.15
    assert 0.92 < (np.abs(z) < 1.96).mean() < 0.98


def test_atoms_that_stay_do_not_diffuse():
    rng = np.random.default_rng(4)
    result = self_diffusivity(rng.normal(0, 0.2, (800, 20, 3)), 0.05)
    assert abs(result.value) < 3 * result.error + 1e-4
