# SPDX-License-Identifier: GPL-2.0-or-later
"""The trigger on real errors keeps what it promises, for a model whose noise and misfit are not what it thinks."""

import numpy as np
import pytest

from pyuq.hal.settings import Stop
from pyuq.hal.triggers import energy_limit, learn_energies
from pyuq.inference.regression import NormalEquations, condition

pytestmark = pytest.mark.validate

FEATURES, STATED_NOISE, ALLOWED = 12, 0.01, 0.1


class Learner:
    """Bayesian regression that is told a noise, and triggers on its errors."""

    def __init__(self, rng, true_noise):
        self.rng, self.true_noise = rng, true_noise
        self.truth = rng.normal(size=FEATURES)
        self.normal, self.beliefs = NormalEquations(FEATURES), {}
        self.stop = Stop(threshold=float("inf"), energy_error=ALLOWED, confidence=0.95)
        self.take(self.frames(4), learn=False)

    def frames(self, n):
        """Rows of new frames, some of them unusual."""
        return self.rng.normal(size=(n, FEATURES)) * self.rng.choice([0.3, 1.0, 3.0], (n, 1))

    def take(self, rows, learn=True):
        """Label rows; before they are learnt, their errors teach the trigger."""
        labels = rows @ self.truth + self.true_noise * self.rng.normal(size=len(rows))
        if learn:
            error, sigma = labels - rows @ self.posterior.mean, self.sigma(rows)
            noise = np.full(len(rows), STATED_NOISE)
            self.beliefs = learn_energies(self.beliefs, error, sigma, noise, Stop().memory)
        self.normal.add(rows / STATED_NOISE, labels / STATED_NOISE)
        self.posterior = condition(self.normal, 1.0, 1.0)

    def sigma(self, rows):
        return np.sqrt(np.einsum("nf,fg,ng->n", rows, self.posterior.covariance, rows))

    def missed(self, beliefs):
        """Whether each of 200 frames is wrong by more than allowed and not noticed; and how many pass."""
        rows = self.frames(200)
        passes = self.sigma(rows) <= energy_limit(self.stop, beliefs, STATED_NOISE)
        labels = rows @ self.truth + self.true_noise * self.rng.normal(size=len(rows))
        return passes & (np.abs(labels - rows @ self.posterior.mean) > ALLOWED), passes


BLIND = {"energy": {"a": 1e9, "b": 1e9}}  # takes the stated noise for the truth


@pytest.mark.parametrize("factor", [1, 3])
def test_errors_are_noticed(factor):
    """Once labels have come, at most one frame in twenty is wrong and passes; right ones do pass."""
    rng, taught, blind, passes = np.random.default_rng(4), [], [], []
    for _ in range(100):
        learner = Learner(rng, factor * STATED_NOISE)
        for iteration in range(12):
            rows = learner.frames(40)
            most = np.argsort(-learner.sigma(rows))[:2]  # a walker labels where it is least sure
            learner.take(rows[most])
            if iteration >= 4:
                missed, passing = learner.missed(learner.beliefs)
                taught.append(missed.mean())
                passes.append(passing.mean())
                blind.append(learner.missed(BLIND)[0].mean())
    print(
        f"\nnoise {factor} times the stated one: {np.mean(passes):.2f} pass, {np.mean(taught):.4f} wrong and not "
        f"noticed; without what labels teach {np.mean(blind):.4f}"
    )
    assert np.mean(taught) < 0.05
    assert np.mean(passes) > 0.5
    if factor > 1:
        assert np.mean(taught) < 0.7 * np.mean(blind)
