# SPDX-License-Identifier: GPL-2.0-or-later
"""One pass over the frames against the whole trajectory at once."""

import numpy as np
import pytest

from pyuq.diffusion import SelfDiffusion, StreamingMSD, atom_msd
from pyuq.diffusion.regression import brownian_covariance, covariance_kernels


def stream(x, chunk, **options):
    accumulator = StreamingMSD(**options)
    for start in range(0, len(x), chunk):
        accumulator.update(x[start : start + chunk])
    return accumulator


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_averages_are_those_that_are_stated(chunk):
    x = np.cumsum(np.random.default_rng(0).normal(size=(301, 3, 3)), axis=0)
    lags, by_atom, n_frames, spacing = stream(x, chunk).averages(last=200)
    assert n_frames == 301 and lags.max() == 192
    np.testing.assert_array_equal(lags[:8], np.arange(1, 9))
    for lag, found, gap in zip(lags, by_atom, spacing):
        origins = np.arange(0, 301 - lag, gap)
        naive = ((x[origins + lag] - x[origins]) ** 2).mean(axis=0)
        np.testing.assert_allclose(found, naive, rtol=1e-10)
    np.testing.assert_allclose(by_atom[:8], atom_msd(x, lags[:8]), rtol=1e-10)


def test_covariance_with_spaced_origins_is_that_of_many_walks():
    rng = np.random.default_rng(1)
    slope, rattle = 0.05, 0.5
    x = np.cumsum(rng.normal(0, np.sqrt(slope), (400, 8000, 3)), axis=0)
    x += rng.normal(0, rattle, x.shape)
    lags, by_atom, n_frames, spacing = stream(x, 400).averages()
    found = np.cov(by_atom.reshape(len(lags), -1))
    kernels = covariance_kernels(lags, n_frames, spacing)
    expected = brownian_covariance(kernels, 2 * rattle**2, slope)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found / scale, expected / scale, atol=0.07)


def test_diffusivity_agrees_with_the_whole():
    rng = np.random.default_rng(2)
    x = np.cumsum(rng.normal(0, 0.5, (2000, 30, 3)), axis=0) + rng.normal(0, 0.3, (2000, 30, 3))
    whole = SelfDiffusion(0.1).compute(x)
    pieces = SelfDiffusion(0.1).compute_msd(*stream(x, 128).averages())
    assert abs(pieces.value - whole.value) < whole.error
    assert pieces.error == pytest.approx(whole.error, rel=0.4)


def test_other_atoms_are_refused():
    accumulator = stream(np.zeros((5, 3, 3)), 5)
    with pytest.raises(ValueError, match="same atoms"):
        accumulator.update(np.zeros((5, 4, 3)))
