# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars of diffusivities against walkers whose truth is known.

``pytest -m validate tests/validation -k diffusion -s`` prints the table of docs/guide/diffusion.md.
"""

import numpy as np
import pytest
import walkers

from pyuq.diffusion import SelfDiffusion, collective_diffusivity, self_diffusivity

BATCH = 50  # replicas made at once


def alone(x):
    return self_diffusivity(x, 1.0)


def together(x):
    """Jump diffusivity; that of walkers which do not see each other is the diffusivity of each."""
    path = x.sum(axis=1) / np.sqrt(x.shape[1])
    return collective_diffusivity(path, SelfDiffusion(1.0), [alone(x)])


def scores(make, replicas, truth, seed, analyse=alone, **size):
    """Values and z-scores of independent runs; prints their summary."""
    rng = np.random.default_rng(seed)
    results = [
        analyse(x)
        for start in range(0, replicas, BATCH)
        for x in make(rng, min(BATCH, replicas - start), **size)
    ]
    values = np.array([r.value for r in results])
    z = np.array([(r.value - truth) / r.error for r in results])
    inside = np.mean([r.interval()[0] < truth < r.interval()[1] for r in results])
    first = np.median([r.window[0] for r in results])
    claimed = np.mean([r.error for r in results])
    print(
        f"\n| {make.__name__} {analyse.__name__} | {size['n_atoms']} × {size['n_frames']} | {replicas} | "
        f"{100 * (values.mean() / truth - 1):+.2f} | {100 * values.std() / truth:.2f} | "
        f"{100 * claimed / truth:.2f} | {first:.0f} | {z.std():.2f} | {100 * inside:.1f} |"
    )
    return values, z, inside


def lattice_gas_diffusivity(n_atoms, seed=99, replicas=500, n_frames=2000):
    """Tracer diffusivity of the finite lattice gas and its error, from other and longer-lagged walks."""
    rng = np.random.default_rng(seed)
    option = SelfDiffusion(1.0, first=60.0)
    values = [
        option.compute(x).value
        for _ in range(replicas // BATCH)
        for x in walkers.lattice_gas(rng, BATCH, n_frames, n_atoms)
    ]
    return np.mean(values), np.std(values) / np.sqrt(replicas)


def test_brownian_walkers():
    values, z, inside = scores(walkers.brownian, 60, 0.1, 1, n_frames=600, n_atoms=24)
    assert abs(values.mean() / 0.1 - 1) < 4 * values.std() / 0.1 / np.sqrt(60)
    assert 0.7 < z.std() < 1.3 and inside > 0.85


def test_caged_hoppers():
    truth = walkers.caged_hopper_diffusivity()
    values, z, inside = scores(walkers.caged_hoppers, 60, truth, 2, n_frames=1000, n_atoms=48)
    assert abs(values.mean() / truth - 1) < 4 * values.std() / truth / np.sqrt(60)
    assert 0.7 < z.std() < 1.35 and inside > 0.85


def test_lattice_gas():
    values, z, inside = scores(walkers.lattice_gas, 40, 0.1387, 3, n_frames=600, n_atoms=64)
    assert abs(values.mean() / 0.1387 - 1) < 0.02
    assert 0.7 < z.std() < 1.4 and inside > 0.82


@pytest.mark.validate
@pytest.mark.parametrize("rattle", [0.0, 0.3])
@pytest.mark.parametrize(("n_frames", "n_atoms"), [(2000, 64), (1000, 8)])
def test_brownian_walkers_over_many_seeds(rattle, n_frames, n_atoms):
    def brownian(rng, replicas, **size):
        return walkers.brownian(rng, replicas, rattle=rattle, **size)

    values, z, inside = scores(brownian, 400, 0.1, 11, n_frames=n_frames, n_atoms=n_atoms)
    assert abs(values.mean() / 0.1 - 1) < max(0.002, 3 * values.std() / 0.1 / 20)
    assert 0.85 < z.std() < 1.15
    assert 0.92 < inside < 0.98


@pytest.mark.validate
@pytest.mark.parametrize(("n_frames", "n_atoms"), [(2000, 64), (4000, 16)])
def test_caged_hoppers_over_many_seeds(n_frames, n_atoms):
    truth = walkers.caged_hopper_diffusivity()
    values, z, inside = scores(
        walkers.caged_hoppers, 400, truth, 12, n_frames=n_frames, n_atoms=n_atoms
    )
    assert abs(values.mean() / truth - 1) < 3 * values.std() / truth / 20
    assert 0.85 < z.std() < 1.15
    assert 0.92 < inside < 0.98


@pytest.mark.validate
@pytest.mark.parametrize("n_frames", [600, 2000])
def test_lattice_gas_over_many_seeds(n_frames):
    truth, uncertain = lattice_gas_diffusivity(64)
    values, z, inside = scores(walkers.lattice_gas, 400, truth, 13, n_frames=n_frames, n_atoms=64)
    assert abs(values.mean() - truth) < 0.003 * truth + 3 * np.hypot(uncertain, values.std() / 20)
    assert 0.85 < z.std() < 1.15
    assert 0.92 < inside < 0.98


@pytest.mark.validate
def test_collective_motion_over_many_seeds():
    """One series for all atoms: a wide error, of which the skew costs some coverage."""
    truth = walkers.caged_hopper_diffusivity()
    size = dict(n_frames=2000, n_atoms=64)
    for make, exact, seed in ((walkers.brownian, 0.1, 14), (walkers.caged_hoppers, truth, 15)):
        values, z, inside = scores(make, 400, exact, seed, together, **size)
        assert abs(values.mean() / exact - 1) < 0.01 + 3 * values.std() / exact / 20
        assert 0.85 < z.std() < 1.15
        assert 0.92 < inside < 0.98
