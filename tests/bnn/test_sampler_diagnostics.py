# SPDX-License-Identifier: GPL-2.0-or-later
"""Diagnostics on chains of known correlation."""

import numpy as np
import pytest

from pyuq.bnn.diagnostics import autocovariance, diagnose, effective_sample_size, split_rhat


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def autoregressive(rng, chains, n, rho, quantities=1):
    """Chains with autocorrelation rho^lag and unit variance, (chains, n, quantities)."""
    x = np.empty((chains, n, quantities))
    x[:, 0] = rng.normal(size=(chains, quantities))
    for k in range(1, n):
        noise = rng.normal(size=(chains, quantities))
        x[:, k] = rho * x[:, k - 1] + np.sqrt(1 - rho**2) * noise
    return x


def test_autocovariance_is_the_naive_sum(rng):
    x = rng.normal(size=(3, 17, 2))
    x -= x.mean(axis=1, keepdims=True)
    found = autocovariance(x)
    for lag in range(17):
        naive = (x[:, : 17 - lag] * x[:, lag:]).sum(axis=1) / 17
        np.testing.assert_allclose(found[:, lag], naive, atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_size_of_autoregressive_chains(rng, rho):
    chains, n = 4, 5000
    found = effective_sample_size(autoregressive(rng, chains, n, rho, 20)).mean()
    assert found == pytest.approx(chains * n * (1 - rho) / (1 + rho), rel=0.1)


def test_rhat_of_chains_that_agree_and_that_do_not(rng):
    draws = autoregressive(rng, 4, 1000, 0.3, 3)
    assert (np.abs(split_rhat(draws) - 1) < 0.01).all()
    draws[0, :, 1] += 2.0
    rhat = split_rhat(draws)
    assert rhat[1] > 1.2
    assert rhat[0] < 1.01


def test_rhat_sees_a_drift_inside_one_chain(rng):
    draws = autoregressive(rng, 1, 1000, 0.0)
    draws[0, :, 0] += np.linspace(0, 3, 1000)
    assert split_rhat(draws)[0] > 1.1


def test_verdicts(rng):
    good = diagnose(autoregressive(rng, 4, 500, 0.2, 5))
    assert good.mixed
    assert good.verdict().startswith("mixed")
    draws = autoregressive(rng, 4, 500, 0.2, 5)
    draws += np.arange(4)[:, None, None]
    bad = diagnose(draws)
    assert not bad.mixed
    assert bad.between > 1
    assert "have not mixed" in bad.verdict()
    drifting = autoregressive(rng, 1, 50, 0.0)
    drifting[0, :, 0] += np.linspace(0, 8, 50)
    assert "has not converged" in diagnose(drifting).verdict()


def test_chains_that_stand_still():
    still = np.ones((2, 8, 1))
    assert split_rhat(still)[0] == 1.0
    still[1] = 2.0
    assert split_rhat(still)[0] == np.inf
    assert not diagnose(still).mixed
    assert not diagnose(still[:1]).mixed  # one chain, which has not moved at all


def test_what_symmetry_fixes_is_no_evidence(rng):
    """A force that vanishes in every draw changes no verdict."""
    draws = rng.normal(size=(2, 40, 1))
    assert diagnose(np.concatenate([draws, 0 * draws], axis=2)) == diagnose(draws)


def test_bad_input():
    with pytest.raises(ValueError, match="at least four draws"):
        split_rhat(np.ones((2, 3, 1)))
    with pytest.raises(ValueError, match="NaN"):
        split_rhat(np.full((2, 8, 1), np.nan))
