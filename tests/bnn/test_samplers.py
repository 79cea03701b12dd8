# SPDX-License-Identifier: GPL-2.0-or-later
"""Samplers on posteriors that are known: widths, temperature, the bias of naive adaptation, resumption."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'pyuq[bnn]'")

from pyuq.bnn.diagnostics import diagnose  # noqa: E402
from pyuq.bnn.samplers import SGHMC, Chain, Dropout, Ensemble, draw_batch  # noqa: E402

SCALES = (1.0, 0.1, 0.01)


class Gaussian:
    """Independent Gaussians of three scales, many copies of each: one chain has the statistics of many."""

    size = 1

    def __init__(self, copies):
        self.scales = torch.tensor(np.repeat(SCALES, copies))

    def initial(self, generator):
        return self.scales * torch.randn(len(self.scales), generator=generator, dtype=torch.float64)

    def loss(self, theta, batch):
        return 0.5 * torch.sum((theta / self.scales) ** 2)

    def widths(self, draws):
        """Sampled over true standard deviation of each scale."""
        ratio = (draws.flat() / self.scales).numpy()
        return np.sqrt((ratio**2).mean(axis=0).reshape(3, -1).mean(axis=1))


class Line:
    """Straight line through points with noise: the posterior of slope and intercept is known."""

    def __init__(self, rng, n=40, noise=0.5, prior=2.0):
        self.x = rng.uniform(-1, 1, size=n)
        self.y = 0.7 * self.x - 0.2 + noise * rng.normal(size=n)
        self.size, self.noise, self.prior = n, noise, prior
        design = np.column_stack([self.x, np.ones(n)])
        precision = design.T @ design / noise**2 + np.eye(2) / prior**2
        self.covariance = np.linalg.inv(precision)
        self.mean = self.covariance @ design.T @ self.y / noise**2
        self._x, self._y = torch.tensor(self.x), torch.tensor(self.y)

    def initial(self, generator):
        return self.prior * torch.randn(2, generator=generator, dtype=torch.float64)

    def loss(self, theta, batch):
        residual = self._y[batch] - theta[0] * self._x[batch] - theta[1]
        prior = 0.5 * torch.sum(theta**2) / self.prior**2 / self.size
        return prior + 0.5 * torch.mean(residual**2) / self.noise**2

    def mask(self, rate, generator):
        kept = torch.rand(2, generator=generator, dtype=torch.float64) >= rate
        return kept / (1 - rate)


TOY = SGHMC(draws=60, thinning=40, burn_in=1500, quiet=0, step_size=0.01, batch=0)


def sampled_widths(copies, **changes):
    target = Gaussian(copies)
    return target.widths(dataclasses.replace(TOY, **changes).run(target, seed=1))


def test_widths_of_three_scales():
    np.testing.assert_allclose(sampled_widths(copies=100), 1.0, atol=0.05)


@pytest.mark.validate
def test_sampler_widths_within_two_per_cent():
    np.testing.assert_allclose(
        sampled_widths(copies=4000, draws=200, step_size=0.0075), 1.0, atol=0.02
    )


def test_variance_is_the_temperature():
    cold = sampled_widths(copies=100, temperature=0.25)
    np.testing.assert_allclose(cold, 0.5, atol=0.03)


class Naive(SGHMC):
    """What is warned of: a short-sighted plain average, adapted for ever."""

    def adapt(self, chain, slope):
        chain.average.mul_(self.memory).addcmul_(slope, slope, value=1 - self.memory)
        chain.maximum.copy_(chain.average)
        chain.adaptations += 1


def test_naive_adaptation_is_biased():
    """The same sampler with a moving average that never freezes is too wide; frozen it is not."""
    target = Gaussian(200)
    steps = TOY.steps
    naive = Naive(draws=1, thinning=1, burn_in=steps, quiet=0, step_size=0.01, batch=0, memory=0.9)
    chain, kept = Chain.start(target, 1), []
    for step in range(steps):
        naive.advance(chain, target)
        if step > 1500 and step % 40 == 0:
            kept.append((chain.theta / target.scales).numpy().copy())
    widths = np.sqrt((np.array(kept) ** 2).mean(axis=0).reshape(3, -1).mean(axis=1))
    assert widths.max() > 1.1
    frozen = sampled_widths(copies=200, memory=0.9)
    assert np.abs(frozen - 1).max() < 0.05


def test_preconditioner_is_frozen_before_the_first_draw():
    target = Gaussian(2)
    sampler = dataclasses.replace(TOY, draws=3, thinning=10, burn_in=50)
    chain = Chain.start(target, 0)
    seen = []
    while chain.step < sampler.steps:
        sampler.advance(chain, target)
        seen.append(sampler.preconditioner(chain).clone())
    assert chain.adaptations == 50
    assert not torch.equal(seen[20], seen[49])
    assert all(torch.equal(m, seen[49]) for m in seen[49:])


def test_noise_is_whole_in_every_draw():
    """With the shortest burn-in that is allowed, the first steps of sampling have the widths of the posterior."""
    start = sampled_widths(copies=400, burn_in=1500, quiet=1200, draws=5)
    np.testing.assert_allclose(start, 1.0, atol=0.06)


@pytest.mark.parametrize("cyclical", [False, True])
def test_posterior_of_a_line(cyclical):
    """Mean and covariance of a regression, from minibatches; chains agree."""
    target = Line(np.random.default_rng(5))
    sampler = SGHMC(
        draws=300,
        thinning=30,
        burn_in=1000,
        quiet=300,
        step_size=0.02,
        batch=20,
        chains=2,
        cyclical=cyclical,
    )
    draws = sampler.run(target, seed=3)
    assert draws.theta.shape == (2, 300, 2)
    assert draws.gradients == 2 * (1000 + 300 * 30)
    flat = draws.flat().numpy()
    error = np.sqrt(np.diag(target.covariance))
    np.testing.assert_allclose(flat.mean(axis=0), target.mean, atol=0.25 * error.max())
    np.testing.assert_allclose(flat.std(axis=0), error, rtol=0.2)
    assert diagnose(draws.theta.numpy()).rhat < 1.1


class Cut(Exception):
    """Stands for kill -9."""


def cut_after(target, calls):
    """Let the target's loss fail at a call; returns the loss as it was."""
    loss, count = target.loss, 0

    def failing(theta, batch):
        nonlocal count
        count += 1
        if count == calls:
            raise Cut
        return loss(theta, batch)

    target.loss = failing
    return loss


RESUMABLE = {
    "sghmc": SGHMC(draws=4, thinning=10, burn_in=60, quiet=20, step_size=0.02, batch=7, chains=2),
    "ensemble": Ensemble(members=2, steps=100, learning_rate=0.05, batch=7),
    "dropout": Dropout(draws=3, rate=0.3, steps=200, learning_rate=0.05, batch=7),
}


@pytest.mark.parametrize("kind", RESUMABLE)
def test_resumed_run_gives_the_same_draws(tmp_path, kind):
    target, sampler = Line(np.random.default_rng(5)), RESUMABLE[kind]
    whole = sampler.run(target, seed=9)
    loss = cut_after(target, 130)
    with pytest.raises(Cut):
        sampler.run(target, seed=9, folder=tmp_path, checkpoint=25)
    target.loss = loss
    resumed = sampler.run(target, seed=9, folder=tmp_path, checkpoint=25)
    assert torch.equal(resumed.theta, whole.theta)


def test_more_draws_go_on_and_other_settings_are_refused(tmp_path):
    target, sampler = Line(np.random.default_rng(5)), RESUMABLE["sghmc"]
    whole = sampler.run(target, seed=9, folder=tmp_path)
    longer = dataclasses.replace(sampler, draws=6).run(target, seed=9, folder=tmp_path)
    assert torch.equal(longer.theta[:, :4], whole.theta)
    with pytest.raises(ValueError, match=r"other settings: step_size = 0\.02 \(now 0\.03\)"):
        dataclasses.replace(sampler, step_size=0.03).run(target, seed=9, folder=tmp_path)


def test_ensemble_finds_the_maximum():
    target = Line(np.random.default_rng(5))
    draws = Ensemble(members=3, steps=800, learning_rate=0.05, batch=0).run(target, seed=2)
    assert draws.theta.shape == (3, 1, 2)
    np.testing.assert_allclose(draws.flat().numpy(), np.tile(target.mean, (3, 1)), atol=1e-3)


def test_dropout_draws_are_masked_networks():
    target = Line(np.random.default_rng(5))
    draws = Dropout(draws=200, rate=0.3, steps=400, learning_rate=0.05, batch=0).run(target, seed=2)
    flat = draws.flat().numpy()
    assert flat.shape == (200, 2)
    for column in flat.T:
        values = np.unique(np.round(column, 12))
        assert len(values) == 2
        assert 0.0 in values
        assert (column == 0).mean() == pytest.approx(0.3, abs=0.12)


def test_batches_do_not_repeat():
    generator = torch.Generator().manual_seed(0)
    batch = draw_batch(5, 7, generator)
    assert len(set(batch.tolist())) == 5
    assert draw_batch(0, 7, generator).tolist() == list(range(7))


def test_a_chain_that_runs_away_is_named():
    target = Line(np.random.default_rng(5))
    target.loss = lambda theta, batch: torch.sqrt(-theta.square().sum())
    with pytest.raises(FloatingPointError, match="reduce `step_size`"):
        SGHMC(burn_in=10, quiet=0, batch=0).run(target, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"friction": 0.0},
        {"draws": 0},
        {"memory": 1.0},
        {"quiet": 5000},
        {"quiet": 1800},  # the noise of the first draws would be too small
        {"learning_rate": 0.0},
        {"batch": -1},
    ],
)
def test_bad_settings(change):
    with pytest.raises(ValueError, match=r"expected|negative"):
        SGHMC(**change)
