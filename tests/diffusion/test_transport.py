# SPDX-License-Identifier: GPL-2.0-or-later
"""Velocities, charges, temperatures, replicas and cell sizes, on processes whose answer is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pyuq.diffusion import (
    Arrhenius,
    GreenKubo,
    IonicConductivity,
    SelfDiffusion,
    SizeSeries,
    YehHummer,
    atom_vacf,
    block_average,
    charge_displacement,
    collective_diffusivity,
    pool,
    self_diffusivity,
)
from pyuq.diffusion.conductivity import ratio_interval

sys.path.append(str(Path(__file__).parents[1] / "validation"))
import walkers  # noqa: E402


def langevin(rng, n_frames, n_atoms, friction=2.0, dt=0.02, kt=1.0):
    """Velocities of free Langevin particles of unit mass: D = kT/friction."""
    keep = np.exp(-friction * dt)
    v = rng.normal(0, np.sqrt(kt), (n_atoms, 3))
    out = np.empty((n_frames, n_atoms, 3))
    for frame in out:
        v = keep * v + rng.normal(0, np.sqrt(kt * (1 - keep**2)), v.shape)
        frame[:] = v
    return out


def test_vacf_is_the_naive_average():
    v = np.random.default_rng(0).normal(size=(40, 3, 3))
    naive = [(v[k:] * v[: 40 - k]).sum(axis=2).mean(axis=0) for k in range(10)]
    np.testing.assert_allclose(atom_vacf(v, 10), naive, atol=1e-12)


def test_green_kubo_of_langevin_particles():
    results = [
        GreenKubo(0.02).compute(langevin(np.random.default_rng(seed), 2000, 60))
        for seed in range(12)
    ]
    values = np.array([r.value for r in results])
    z = (values - 0.5) / [r.error for r in results]
    assert abs(values.mean() - 0.5) < 0.03
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.6
    assert all(r.flat for r in results)
    np.testing.assert_allclose(results[0].vacf[0], 3.0, rtol=0.05)


def test_green_kubo_says_when_it_cannot_tell():
    rng = np.random.default_rng(1)
    coarse = GreenKubo(1.0).compute(rng.normal(size=(100, 5, 3)))
    assert "too far from each other" in coarse.verdict()
    ballistic = GreenKubo(0.01).compute(np.tile(rng.normal(size=(5, 3)), (200, 1, 1)))
    assert not ballistic.flat and "run longer" in ballistic.verdict()
    with pytest.raises(ValueError, match="at least two"):
        GreenKubo(1.0).compute(np.zeros((100, 1, 3)))


def test_conductivity_of_independent_ions():
    rng = np.random.default_rng(2)
    steps = rng.normal(0, np.sqrt(0.2), (4000, 40, 3))
    steps[:, 20:] /= 2
    x = np.cumsum(steps, axis=0)
    charges = np.repeat([1.0, -1.0], 20)
    single = {"A": self_diffusivity(x[:, :20], 1.0), "B": self_diffusivity(x[:, 20:], 1.0)}
    found = IonicConductivity(500.0, 1000.0).compute(
        collective_diffusivity(charge_displacement(x, charges), SelfDiffusion(1.0)),
        single,
        {"A": 1.0, "B": -1.0},
        {"A": 20, "B": 20},
    )
    # e²/(V kB T) = 1.602176634e-19² / (1e-27 m³ × 1.380649e-23 × 500 J) and D in 1e-8 m²/s, in S/m; /100 in S/cm
    factor = 1.602176634e-19**2 / (1e-27 * 1.380649e-23 * 500) * 1e-8 / 100
    exact = factor * 20 * (0.1 + 0.025)
    assert abs(found.nernst_einstein - exact) < 4 * found.nernst_einstein_error
    assert abs(found.collective - exact) < 4 * found.collective_error
    assert found.collective_error > 3 * found.nernst_einstein_error
    assert found.haven_interval[0] < 1 < found.haven_interval[1]
    assert "Haven" in found.verdict()


def test_interval_of_a_ratio_covers():
    rng = np.random.default_rng(11)
    a, b = 2.0 + 0.1 * rng.normal(size=2000), 1.0 + 0.25 * rng.normal(size=2000)
    intervals = [ratio_interval(x, 0.1, y, 0.25) for x, y in zip(a, b)]
    assert 0.93 < np.mean([low < 2.0 < high for low, high in intervals]) < 0.97
    assert ratio_interval(1.0, 0.01, 0.1, 0.1)[1] == np.inf
    low, high = ratio_interval(2.0, 1e-9, 1.0, 1e-9)
    assert low == pytest.approx(2) and high == pytest.approx(2)


def test_collective_diffusivity_of_a_lattice_gas_is_exact():
    """The current of the exclusion process has no memory: D_J is that of free walkers times the free sites."""
    rng = np.random.default_rng(3)
    n, edge, moves, length = 64, 5, 0.5, 2.0
    exact = moves * length**2 / 6 * (1 - (n - 1) / (edge**3 - 1))
    runs = walkers.lattice_gas(rng, 40, 400, n, edge, length, moves)
    option = SelfDiffusion(1.0)
    found = [collective_diffusivity(x.sum(axis=1) / np.sqrt(n), option) for x in runs]
    values, errors = (np.array([getattr(f, k) for f in found]) for k in ("value", "error"))
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(runs))
    assert 0.7 < (values - exact).std() / errors.mean() < 1.5


def test_arrhenius_recovers_the_law_and_its_errors():
    rng = np.random.default_rng(4)
    temperatures = np.array([500.0, 600.0, 700.0, 800.0])
    exact = 50.0 * np.exp(-0.3 / (8.617333262e-5 * temperatures))
    relative = np.array([0.1, 0.06, 0.04, 0.03])
    fits = [
        Arrhenius().compute(temperatures, exact * (1 + relative * z), relative * exact)
        for z in rng.normal(size=(400, 4))
    ]
    z = np.array([(f.activation_energy - 0.3) / f.activation_energy_error for f in fits])
    assert abs(z.mean()) < 0.2 and 0.85 < z.std() < 1.15
    assert np.mean([f.correlation for f in fits]) > 0.95
    inside = [
        f.predict(300.0)[1][0] < 50 * np.exp(-0.3 / (8.617333262e-5 * 300)) < f.predict(300.0)[2][0]
        for f in fits
    ]
    assert 0.9 < np.mean(inside) < 0.99
    assert np.mean([f.straight for f in fits]) > 0.9


def test_arrhenius_of_a_bent_line_and_of_two_points():
    bent = Arrhenius().compute([500, 600, 700, 800], [0.01, 0.1, 0.3, 0.35], [1e-4] * 4)
    assert not bent.straight and "do not lie on a line" in bent.verdict()
    pair = Arrhenius().compute([500, 600], [0.01, 0.1], [1e-3, 1e-3])
    assert "two temperatures" in pair.verdict()
    shared = Arrhenius(shared=0.2).compute([500, 600], [0.01, 0.1], [1e-3, 1e-3])
    assert shared.activation_energy_error == pytest.approx(pair.activation_energy_error)
    assert shared.log_prefactor_error > pair.log_prefactor_error


def test_arrhenius_refuses_what_has_no_logarithm():
    with pytest.raises(ValueError, match="at 600 K"):
        Arrhenius().compute([500, 600], [0.1, 0.01], [0.01, 0.02])
    with pytest.raises(ValueError, match="two different"):
        Arrhenius().compute([500, 500], [0.1, 0.1], [0.01, 0.02])


def test_replicas_are_pooled_without_bias():
    rng = np.random.default_rng(5)
    runs = walkers.brownian(rng, 30, 300, 8)
    found = pool([self_diffusivity(x, 1.0) for x in runs])
    assert abs(found.value - 0.1) < 3 * found.error
    assert found.agree and found.error < 1.3 * found.errors.mean() / np.sqrt(30)
    assert abs(found.between_variance) < np.mean(found.errors**2)


def test_replicas_that_disagree_widen_the_error():
    rng = np.random.default_rng(6)
    runs = [walkers.brownian(rng, 1, 500, 20, d=d)[0] for d in (0.1, 0.2, 0.3)]
    found = pool([self_diffusivity(x, 1.0) for x in runs])
    assert not found.agree and found.dof == 2
    assert found.error == pytest.approx(0.1 / np.sqrt(3), rel=0.2)
    assert found.between_variance == pytest.approx(0.01, rel=0.3)
    with pytest.raises(ValueError, match="at least one"):
        pool([])


def test_blocks_show_a_drift():
    rng = np.random.default_rng(7)
    steps = rng.normal(0, 0.4, (2000, 20, 3))
    option = SelfDiffusion(1.0)
    assert block_average(np.cumsum(steps, axis=0), option).agree
    steps *= np.linspace(1, 2, 2000)[:, None, None]
    assert not block_average(np.cumsum(steps, axis=0), option).agree


def test_finite_size_correction_is_for_cubic_fluids():
    rng = np.random.default_rng(8)
    fluid = self_diffusivity(walkers.brownian(rng, 1, 500, 20)[0], 0.1)
    solid = self_diffusivity(rng.normal(0, 0.1, (500, 20, 3)), 0.1)
    correction = YehHummer(300.0, 0.9)
    value, error = correction.compute(fluid, 20 * np.eye(3), [fluid])
    # 2.837297 × 1.380649e-23 × 300 / (6π × 0.9e-3 × 20e-10) m²/s
    assert value - fluid.value == pytest.approx(3.4636e-10 * 1e8, rel=1e-3)
    assert error == fluid.error
    with pytest.raises(ValueError, match="fluids only"):
        correction.compute(fluid, 20 * np.eye(3), [fluid, solid])
    with pytest.raises(ValueError, match="cubic"):
        correction.compute(fluid, np.diag([20, 20, 30]), [fluid])
    for wrong in (YehHummer(-300.0, 0.9), YehHummer(300.0, 0.0)):
        with pytest.raises(ValueError, match="expected a positive number"):
            wrong.compute(fluid, 20 * np.eye(3), [fluid])


def test_size_series_is_extrapolated():
    lengths = np.array([10.0, 20.0, 40.0])
    value, error = SizeSeries().compute(lengths, 0.5 - 1 / lengths, [0.01] * 3)
    assert value == pytest.approx(0.5) and 0 < error < 0.02
    with pytest.raises(ValueError, match="two different"):
        SizeSeries().compute([10], [1], [0.1])
    with pytest.raises(ValueError, match="expected positive numbers"):
        SizeSeries().compute([10, 20], [1, 1], [0.1, 0])
