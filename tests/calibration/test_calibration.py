# SPDX-License-Identifier: GPL-2.0-or-later
"""Factors on error bars and scores of error bars, on errors of known distribution."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma, norm

from pyuq.calibration import ConformalScale, StudentScale, reliability, scores


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def heteroscedastic(rng, n, factor=1.0):
    """Errors whose true standard deviation is `factor` times the stated one."""
    sigmas = np.exp(rng.normal(size=n))
    return factor * sigmas * rng.normal(size=n), sigmas


@pytest.mark.parametrize(("a", "b"), [(1.5, 10.0), (7.0, 3.0)])
def test_probability_is_that_of_the_mixture(a, b):
    """The closed form equals the Gaussian integrated over the Gamma distribution."""
    sigma, threshold = 0.3, 0.4
    expected, _ = quad(
        lambda x: (2 * norm.cdf(threshold * np.sqrt(x) / sigma) - 1) * gamma.pdf(x, a, scale=1 / b),
        0,
        np.inf,
    )
    found = StudentScale(a, b).probability_within(sigma, threshold)
    assert found == pytest.approx(expected, abs=1e-8)


def test_start_is_doubtful():
    assert StudentScale().scale == pytest.approx(2.582, abs=1e-3)
    assert StudentScale().dof == 3


def test_a_surprise_is_forgotten(rng):
    """Discounted by 1 - 1/n at each label, a belief rests on n labels, also where a factor has changed."""
    belief, forever = StudentScale(), StudentScale()
    for error in [30.0, *rng.normal(size=150)]:
        belief = belief.discounted(1 - 1 / 20).update([error], [1.0])
        forever = forever.update([error], [1.0])
    assert belief.dof == pytest.approx(20.0, rel=0.01)
    assert belief.scale == pytest.approx(1.0, abs=0.4)
    assert forever.scale > 2.3


def test_update_in_parts_equals_update_at_once(rng):
    errors, sigmas = heteroscedastic(rng, 30)
    at_once = StudentScale().update(errors, sigmas)
    parts = StudentScale()
    for k in range(30):
        parts = parts.update(errors[k : k + 1], sigmas[k : k + 1])
    assert (parts.a, parts.b) == pytest.approx((at_once.a, at_once.b), rel=1e-12)


def test_scale_finds_the_factor(rng):
    found = StudentScale().update(*heteroscedastic(rng, 20_000, factor=3.0))
    assert found.scale == pytest.approx(3.0, rel=0.02)


def test_largest_sigma_is_where_the_probability_falls_below_the_level(rng):
    belief = StudentScale().update(*heteroscedastic(rng, 5))
    sigma = belief.largest_sigma(0.2, level=0.9)
    assert belief.probability_within(sigma, 0.2) == pytest.approx(0.9, rel=1e-10)
    assert belief.probability_within(1.01 * sigma, 0.2) < 0.9
    assert belief.half_width(sigma, 0.9) == pytest.approx(0.2, rel=1e-10)


def test_student_intervals_cover_when_the_factor_is_drawn_from_the_prior(rng):
    """With λ from the Gamma distribution, intervals after n labels hold at exactly their level."""
    inside, trials, level = 0, 4000, 0.8
    for _ in range(trials):
        factor = 1 / np.sqrt(rng.gamma(1.5, 1 / 10.0))
        errors, sigmas = heteroscedastic(rng, 6, factor)
        belief = StudentScale().update(errors[:5], sigmas[:5])
        inside += abs(errors[5]) <= belief.half_width(sigmas[5], level)
    error = np.sqrt(level * (1 - level) / trials)
    assert abs(inside / trials - level) < 4 * error


@pytest.mark.parametrize("n", [25, 60])
def test_conformal_coverage(rng, n):
    """Between 1 - α and 1 - α + 1/(n+1) on average, for errors that no Gaussian describes."""
    alpha, trials, inside = 0.1, 4000, 0
    for _ in range(trials):
        sigmas = np.exp(rng.normal(size=n + 1))
        errors = sigmas * rng.standard_cauchy(size=n + 1)
        scale = ConformalScale.fit(errors[:n], sigmas[:n], alpha)
        inside += abs(errors[n]) <= scale.half_width(sigmas[n])
    error = np.sqrt(alpha * (1 - alpha) / trials)
    assert 1 - alpha - 4 * error < inside / trials < 1 - alpha + 1 / (n + 1) + 4 * error


def test_conformal_factor_is_an_order_statistic(rng):
    z = rng.permutation(np.arange(1.0, 20.0))
    scale = ConformalScale.fit(z, np.ones(19), alpha=0.1)
    assert scale.factors == {"all": 18.0}  # ceil(20 · 0.9) = 18th smallest
    assert scale.counts == {"all": 19}


def test_too_few_labels_give_no_bound():
    scale = ConformalScale.fit([0.1] * 18, [1.0] * 18, alpha=0.05)
    assert scale.factors["all"] == np.inf
    assert np.isfinite(ConformalScale.fit([0.1] * 19, [1.0] * 19, alpha=0.05).factors["all"])


def test_groups_have_their_own_factors(rng):
    errors = np.concatenate([rng.normal(size=300), 5 * rng.normal(size=300)])
    groups = ["Ag"] * 300 + ["I"] * 300
    scale = ConformalScale.fit(errors, np.ones(600), 0.1, groups)
    assert 3.5 < scale.factors["I"] / scale.factors["Ag"] < 7.0
    widths = scale.half_width([1.0, 2.0], ["Ag", "I"])
    assert widths[1] == 2 * scale.factors["I"]
    with pytest.raises(ValueError, match="group Br had no labels"):
        scale.half_width([1.0], ["Br"])


def test_scores_of_right_error_bars(rng):
    found = scores(*heteroscedastic(rng, 40_000))
    assert found.within_1 == pytest.approx(0.6827, abs=0.01)
    assert found.within_2 == pytest.approx(0.9545, abs=0.005)
    assert found.within_95 == pytest.approx(0.95, abs=0.005)
    assert found.miscalibration < 0.01
    assert found.sharpness == pytest.approx(found.rmse, rel=0.1)
    assert found.spearman > 0.4


def test_likelihood_is_best_at_the_right_factor(rng):
    errors, sigmas = heteroscedastic(rng, 5000)
    values = {f: scores(errors, f * sigmas).nll for f in (0.5, 0.8, 1.0, 1.25, 2.0)}
    assert min(values, key=values.get) == 1.0
    naive = -np.mean(norm.logpdf(errors, scale=sigmas))
    assert values[1.0] == pytest.approx(naive, rel=1e-12)


def test_overconfidence_shows(rng):
    errors, sigmas = heteroscedastic(rng, 5000, factor=4.0)
    found = scores(errors, sigmas)
    assert found.within_2 < 0.5
    assert found.miscalibration > 0.2
    predicted, observed = reliability(errors, sigmas, bins=5)
    assert predicted.shape == observed.shape == (5,)
    assert (np.diff(predicted) > 0).all()
    np.testing.assert_allclose(observed / predicted, 4.0, rtol=0.25)


def test_alike_error_bars_have_no_rank_correlation():
    assert np.isnan(scores([0.1, -0.2, 0.3], [1.0, 1.0, 1.0]).spearman)


@pytest.mark.parametrize(
    ("errors", "sigmas", "message"),
    [
        ([1.0], [0.0], "above 0"),
        ([1.0], [-1.0], "above 0"),
        ([np.nan], [1.0], "finite"),
        ([1.0, 2.0], [1.0], "must match"),
        ([], [], "no errors"),
    ],
)
def test_bad_input(errors, sigmas, message):
    with pytest.raises(ValueError, match=message):
        scores(errors, sigmas)


def test_bad_parameters():
    with pytest.raises(ValueError, match="expected numbers above 0"):
        StudentScale(a=0.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ConformalScale.fit([1.0], [1.0], alpha=1.0)
    for given in ({"groups": ["a", "b"]}, {"clusters": [0, 1]}):
        with pytest.raises(ValueError, match=r"\(2,\) and errors \(1,\) must match"):
            ConformalScale.fit([1.0], [1.0], **given)
    belief = StudentScale()
    for wrong in (lambda: belief.largest_sigma(-0.1), lambda: belief.probability_within(1.0, -0.1)):
        with pytest.raises(ValueError, match=r"threshold = -0\.1"):
            wrong()
    for wrong in (lambda: belief.largest_sigma(0.1, 1.5), lambda: belief.half_width(1.0, 0.0)):
        with pytest.raises(ValueError, match="probability between 0 and 1"):
            wrong()
    with pytest.raises(ValueError, match="standard deviation of -1"):
        belief.update([1.0], [-1.0])
    with pytest.raises(ValueError, match="found 0 errors"):
        reliability([], [])
    with pytest.raises(ValueError, match="0 bins"):
        reliability([1.0], [1.0], bins=0)


@pytest.mark.parametrize("floor", [0.0, 0.5, 3.0])
def test_guess_finds_floor_and_factor(rng, floor):
    sigmas = np.exp(rng.normal(size=20_000))
    errors = 0.7 * np.hypot(sigmas, floor) * rng.normal(size=len(sigmas))
    found = StudentScale.guess(errors, sigmas)
    assert found.floor == pytest.approx(floor, rel=0.1, abs=0.05)
    assert found.scale == pytest.approx(0.7, rel=0.05)
    assert found.dof == 3


def test_guess_where_sigma_says_nothing(rng):
    """Far too small error bars that know nothing become error bars that are alike."""
    sigmas, errors = 1e-4 * np.exp(rng.normal(size=5000)), 0.3 * rng.normal(size=5000)
    found = StudentScale.guess(errors, sigmas)
    calibrated = found.deviation(sigmas)
    assert np.median(calibrated) == pytest.approx(0.3, rel=0.05)
    assert np.ptp(np.log(calibrated)) < 1.0
    assert StudentScale.guess(np.zeros(5), np.ones(5)).scale < 1e-5


def test_floor_enters_everything(rng):
    belief = StudentScale(a=6.0, b=12.0, floor=0.3)
    bare = StudentScale(a=6.0, b=12.0)
    total = np.hypot(0.4, 0.3)
    assert belief.deviation(0.4) == pytest.approx(bare.deviation(total))
    assert belief.probability_within(0.4, 1.0) == pytest.approx(bare.probability_within(total, 1.0))
    assert belief.half_width(0.4) == pytest.approx(bare.half_width(total))
    sigma = belief.largest_sigma(2.0)
    assert belief.half_width(sigma) == pytest.approx(2.0)
    assert belief.largest_sigma(0.5) == 0.0
    errors = rng.normal(size=4)
    updated = belief.update(errors, np.full(4, 0.4))
    assert updated.floor == 0.3
    assert updated.b == pytest.approx(bare.update(errors, np.full(4, total)).b)


def test_weights_of_labels(rng):
    """Labels of weight 1/n count for one together; a tempered belief keeps its scale."""
    errors, sigmas = heteroscedastic(rng, 50)
    found = StudentScale().update(errors, sigmas, weight=1 / 50)
    assert found.a == 2.0
    assert found.b == pytest.approx(10.0 + 0.5 * np.mean((errors / sigmas) ** 2))
    belief = StudentScale().update(errors, sigmas)
    assert belief.tempered(10).scale == pytest.approx(belief.scale)
    assert belief.tempered(10).dof == pytest.approx(10)
    assert belief.tempered(1000) == belief


def clustered(rng, clusters):
    """Errors of clusters of one to thirty labels, with a common size of their own in each."""
    sizes = rng.integers(1, 31, clusters)
    scale = np.exp(rng.normal(size=clusters))
    index = np.repeat(np.arange(clusters), sizes)
    return scale[index] * rng.normal(size=len(index)), index


@pytest.mark.parametrize("n", [15, 40])
def test_conformal_coverage_of_clusters(rng, n):
    """A random label of a new cluster is inside with 1 - α, however much labels of a cluster resemble each other."""
    alpha, trials, inside = 0.1, 3000, 0.0
    for _ in range(trials):
        errors, index = clustered(rng, n + 1)
        known = index < n
        scale = ConformalScale.fit(
            errors[known], np.ones(known.sum()), alpha, clusters=index[known]
        )
        assert scale.counts == {"all": n}
        inside += (np.abs(errors[~known]) <= scale.factors["all"]).mean()
    # A new cluster's mean coverage scatters by less than that of one label.
    error = np.sqrt(alpha * (1 - alpha) / trials)
    assert 1 - alpha - 4 * error < inside / trials < 1 - alpha + 2 / (n + 1) + 4 * error


def test_clusters_of_one_are_labels(rng):
    errors, sigmas = heteroscedastic(rng, 37)
    for alpha in (0.05, 0.1, 0.3):
        one = ConformalScale.fit(errors, sigmas, alpha)
        assert ConformalScale.fit(errors, sigmas, alpha, clusters=np.arange(37)) == one
    few = ConformalScale.fit(errors, sigmas, 0.1, clusters=np.arange(37) % 8)
    assert few.factors["all"] == np.inf  # eight structures cannot tell what one in ten does


def test_no_likelihood_where_there_is_no_spread():
    """A standard deviation that is rounding gives a number of any size: none is told, and how many there are."""
    rng = np.random.default_rng(0)
    errors = rng.normal(size=200)
    right = scores(errors, np.ones(200))
    assert right.no_spread == 0.0 and 1.3 < right.nll < 1.6
    none = scores(errors, np.full(200, 1e-15))
    assert none.no_spread == 1.0 and np.isnan(none.nll)
    sigmas = np.where(np.arange(200) < 50, 1e-15, 1.0)
    some = scores(errors, sigmas)
    assert some.no_spread == 0.25
    assert some.nll == pytest.approx(scores(errors[50:], sigmas[50:]).nll)
    assert some.within_1 < 0.75 * right.within_1 + 0.1  # those without count as outside


def test_the_report_tells_what_has_no_spread():
    from pyuq.verbs.run_calibrate import _score_cells

    errors = np.random.default_rng(0).normal(size=100)
    cells = [
        _score_cells(scores(errors, np.where(np.arange(100) < n, 1e-15, 1.0))) for n in (0, 25, 100)
    ]
    assert "spread" not in cells[0] and "(25% without spread)" in cells[1]
    assert "| no spread |" in cells[2] and "nan |" not in cells[2].split("no spread")[0]
