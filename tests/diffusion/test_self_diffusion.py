# SPDX-License-Identifier: GPL-2.0-or-later
"""The regression: covariances against simulation, results on data whose answer is known."""

import json

import numpy as np
import pytest

from pyuq.diffusion import SelfDiffusion, atom_msd, self_diffusivity
from pyuq.diffusion.regression import (
    brownian_covariance,
    covariance_kernels,
    fit_line,
    linear_window,
    log_lags,
)


def brownian(rng, n_frames, n_atoms, d=0.3, rattle=0.2):
    steps = rng.normal(0, np.sqrt(2 * np.broadcast_to(d, 3)), (n_frames, n_atoms, 3))
    return np.cumsum(steps, axis=0) + rng.normal(0, rattle, (n_frames, n_atoms, 3))


def naive_covariance(i, j, n_frames, noise, slope):
    """Twice the sum of squared covariances of displacements, over all pairs of origins."""
    total = 0.0
    for p in range(n_frames - i):
        for q in range(n_frames - j):
            overlap = max(0, min(p + i, q + j) - max(p, q))
            ends = int(p + i == q + j) - int(p + i == q) - int(p == q + j) + int(p == q)
            total += 2.0 * (slope * overlap + 0.5 * noise * ends) ** 2
    return total / ((n_frames - i) * (n_frames - j))


@pytest.mark.parametrize("n_frames", [20, 33])
def test_covariance_is_the_sum_over_all_pairs(n_frames):
    lags = np.array([1, 2, 5, 13, 19])  # the last ones beyond half of the frames
    covariance = brownian_covariance(covariance_kernels(lags, n_frames), 0.7, 0.3)
    naive = [[naive_covariance(i, j, n_frames, 0.7, 0.3) for i in lags] for j in lags]
    np.testing.assert_allclose(covariance, naive, rtol=1e-12)


def test_covariance_is_that_of_many_walks():
    rng = np.random.default_rng(1)
    lags, noise, slope = np.array([1, 4, 16]), 2 * 0.4**2, 0.5
    walks = brownian(rng, 64, 20000, d=slope / 2, rattle=0.4)
    found = np.cov(atom_msd(walks, lags).reshape(len(lags), -1))
    expected = brownian_covariance(covariance_kernels(lags, 64), noise, slope)
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_line_is_exact_where_the_msd_is_one():
    lags = log_lags(400)
    line = fit_line(lags, 0.2 + 0.5 * lags, covariance_kernels(lags, 400), 10)
    assert line.slope == pytest.approx(0.5, rel=1e-10)
    assert line.noise == pytest.approx(0.2, rel=1e-8)
    assert line.chi2 == pytest.approx(0.0, abs=1e-10)
    assert line.curvature == pytest.approx(0.0, abs=1e-8)


def test_time_is_that_of_the_frames():
    x = brownian(np.random.default_rng(3), 400, 10)
    one, half = self_diffusivity(x, 1.0), self_diffusivity(x, 0.5)
    assert half.value == pytest.approx(2 * one.value)
    assert half.window[1] == pytest.approx(one.window[1] / 2)
    assert one.value_cm2_s == pytest.approx(1e-4 * one.value)


def test_tensor_of_an_anisotropic_walk():
    rng = np.random.default_rng(4)
    x = brownian(rng, 1000, 100, d=np.array([0.1, 0.2, 0.4]), rattle=0.0)
    turn = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    result = SelfDiffusion(1.0, tensor=True).compute(x @ turn.T)
    expected = turn @ np.diag([0.1, 0.2, 0.4]) @ turn.T
    assert (np.abs(result.tensor - expected) < 4 * result.tensor_errors).all()
    assert (result.tensor_errors < 0.05 * 0.4).all()
    np.testing.assert_allclose(np.diag(result.tensor), result.directions)


def test_given_window_is_used():
    x = brownian(np.random.default_rng(5), 500, 8)
    result = SelfDiffusion(0.1, first=2.0, last=10.0).compute(x)
    assert result.window[0] == pytest.approx(2.0, abs=0.3) and result.window[1] == 10.0


def test_atoms_that_stay_do_not_diffuse():
    result = self_diffusivity(np.random.default_rng(6).normal(0, 0.2, (800, 20, 3)), 0.05)
    assert not result.resolved
    assert "no diffusion resolved" in result.verdict()
    assert abs(result.value) < 4 * result.error


def test_frozen_atoms_do_not_diffuse():
    result = self_diffusivity(np.ones((100, 4, 3)), 1.0)
    assert result.value == pytest.approx(0.0, abs=1e-12) and not result.resolved


def test_ballistic_motion_has_no_linear_window():
    rng = np.random.default_rng(7)
    x = np.arange(800)[:, None, None] * rng.normal(0, 0.1, (50, 3))
    result = self_diffusivity(x, 1.0)
    assert not result.linear and "run longer" in result.verdict()


def test_inflection_is_no_line():
    # A superionic's MSD: ballistic, then back-jumps over 0.6 ps, then diffusion. In between its curvature vanishes.
    lags = log_lags(1500)
    t = 0.04 * lags
    msd = (1.45 * t + 1 - np.exp(-t / 0.6)) * (1 - np.exp(-((t / 0.2) ** 1.2)))
    by_atom = msd[:, None] / 3 * np.random.default_rng(0).normal(1, 0.2, 128)
    first, linear = linear_window(lags, by_atom, covariance_kernels(lags, 1500), 3 * 128)
    assert linear
    assert t[first] > 2.0


def test_one_atom_has_the_brownian_error():
    result = self_diffusivity(brownian(np.random.default_rng(8), 2000, 1), 1.0)
    assert np.isinf(result.dof) and 0 < result.error < 0.3 * result.value


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros((20, 3)), "shape"),
        (np.zeros((20, 0, 3)), "shape"),
        (np.zeros((10, 2, 3)), "run longer"),
        (np.full((100, 2, 3), np.nan), "not finite"),
    ],
)
def test_bad_input_is_named(positions, message):
    with pytest.raises(ValueError, match=message):
        self_diffusivity(positions, 1.0)


def test_last_lag_must_lie_inside_the_trajectory():
    with pytest.raises(ValueError, match="last lag"):
        SelfDiffusion(1.0, last=500.0).compute(np.zeros((100, 2, 3)))


def test_result_is_plain_json():
    result = SelfDiffusion(1.0, tensor=True).compute(brownian(np.random.default_rng(9), 200, 5))
    assert json.loads(json.dumps(result.to_dict()))["diffusivity"] == result.value
