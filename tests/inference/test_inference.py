# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars that know of misfit: pointwise fits and structures left out, on regressions whose truth is known."""

import numpy as np
import pytest

from pyuq.inference.leave_one_out import (
    LeaveOneOut,
    LeftOut,
    judge,
    leave_groups_out,
    leave_out,
    scale_of,
)
from pyuq.inference.pops import Spread, pops, whitening
from pyuq.inference.regression import BayesianRidge, NormalEquations, condition
from pyuq.inference.rows import RowBlock, RowStream, Weighted
from pyuq.parallel import Reducer


def block(k, X, y, group="", copies=1):
    columns = np.array(["energy"] + ["force Si"] * (len(y) - 1))
    return RowBlock(k, group or f"g{k % 3}", copies, X, y, np.full(len(y), 0.5), columns)


def regression(structures=20, rows=7, features=9, seed=0, noise=0.1):
    """Blocks of rows of a regression that its features cannot describe."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(structures, rows, features)) * np.geomspace(1, 0.01, features)
    truth = rng.normal(size=features)
    y = X @ truth + np.cos(3 * X[:, :, 0]) + noise * rng.normal(size=(structures, rows))
    return [block(k, X[k], y[k]) for k in range(structures)]


def normal_of(blocks, features=9):
    normal = NormalEquations(features)
    for b in blocks:
        normal.add(b.rows, b.targets)
    return normal


def box(blocks, noise=0.3, prior=2.0, reducer=None, features=9):
    normal = normal_of(blocks, features)
    posterior = condition(normal, prior, noise)
    white = whitening(normal, prior, noise)
    return posterior, white, pops(blocks, posterior.mean, white, noise, reducer)


def test_whitening_gives_the_posterior():
    blocks = regression()
    posterior, white, found = box(blocks)
    np.testing.assert_allclose(0.3 * white @ white.T, posterior.covariance, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.axes @ found.axes.T, white @ white.T, rtol=1e-10, atol=1e-14)


def test_box_is_that_of_the_definition():
    blocks = regression()
    posterior, _, found = box(blocks)
    X = np.vstack([b.rows for b in blocks])
    e = np.concatenate([b.targets for b in blocks]) - X @ posterior.mean
    G = posterior.covariance / 0.3
    h = np.einsum("nm,mk,nk->n", X, G, X)
    delta = (X @ G) * (e / h)[:, None]
    delta = delta[h >= np.median(h)]
    L = np.linalg.cholesky(G)
    eta = np.linalg.solve(L, delta.T).T
    _, V = np.linalg.eigh(eta.T @ eta)
    P = eta @ V
    low, high = P.min(axis=0), P.max(axis=0)
    m = np.maximum((high - low) ** 2 / 12 + (high + low) ** 2 / 4, 0.3)
    np.testing.assert_allclose(found.covariance(), L @ (V * m) @ V.T @ L.T, rtol=1e-8, atol=1e-12)
    assert found.used == len(delta)


def test_every_used_row_is_reproduced_by_a_weight_of_the_box():
    """The change of weights that a row asks for lies in the box, and gives its label."""
    blocks = regression()
    posterior, _, found = box(blocks)
    inverse = np.linalg.inv(found.axes)
    for b in blocks:
        inside = b.rows @ found.axes
        h = np.sum(inside**2, axis=1)
        e = b.targets - b.rows @ posterior.mean
        for k in np.flatnonzero(h >= found.threshold):
            delta = found.axes @ inside[k] * e[k] / h[k]
            np.testing.assert_allclose(
                b.rows[k] @ (posterior.mean + delta), b.targets[k], rtol=1e-9
            )
            place = inverse @ delta
            assert (place >= found.low - 1e-9).all() and (place <= found.high + 1e-9).all()


def test_units_of_the_weights_do_not_matter():
    blocks = regression()
    _, _, found = box(blocks)
    units = np.geomspace(1e-4, 1e5, 9)
    scaled = [
        RowBlock(b.structure, b.group, 1, b.rows * units, b.targets, b.units, b.columns)
        for b in blocks
    ]
    normal = normal_of(scaled)
    prior = 2.0 / units**2
    mean = condition(normal, prior, 0.3).mean
    other = pops(scaled, mean, whitening(normal, prior, 0.3), 0.3)
    back = other.covariance() * units[:, None] * units
    np.testing.assert_allclose(back, found.covariance(), rtol=1e-7, atol=1e-12)


class Ranks:
    """Reducers of several ranks that run one after the other, pass by pass, in threads."""

    def __init__(self, size):
        import threading

        self.size, self.barrier = size, threading.Barrier(size)
        self.slots = [None] * size

    def run(self, work):
        import threading

        results, errors = [None] * self.size, []

        def one(rank):
            try:
                results[rank] = work(rank, _RankReducer(self, rank))
            except BaseException as error:  # noqa: BLE001
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(r,)) for r in range(self.size)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise errors[0]
        return results


class _RankReducer(Reducer):
    def __init__(self, ranks, rank):
        super().__init__()
        self.ranks, self.rank = ranks, rank

    def _exchange(self, item):
        self.ranks.slots[self.rank] = item
        self.ranks.barrier.wait()
        found = list(self.ranks.slots)
        self.ranks.barrier.wait()
        return found

    def _reduce(self, array, operation):
        join = {"SUM": np.sum, "MIN": np.min, "MAX": np.max}[operation]
        return join(np.array(self._exchange(np.array(array))), axis=0)

    def gathered(self, items):
        return [item for part in self._exchange(list(items)) for item in part]


@pytest.mark.parametrize("size", [2, 5])
def test_several_ranks_find_what_one_finds(size):
    blocks = regression()
    posterior, white, alone = box(blocks)
    left = leave_out(blocks, posterior.mean, alone, 0.3)
    groups = leave_groups_out(blocks, posterior.mean, alone, 0.3)

    def work(rank, reducer):
        mine = blocks[rank::size]
        found = pops(mine, posterior.mean, white, 0.3, reducer)
        return (
            found,
            leave_out(mine, posterior.mean, found, 0.3, reducer=reducer),
            leave_groups_out(mine, posterior.mean, found, 0.3, reducer=reducer),
        )

    for found, l, g in Ranks(size).run(work):
        assert found.threshold == alone.threshold and found.used == alone.used
        np.testing.assert_allclose(found.covariance(), alone.covariance(), rtol=1e-9, atol=1e-13)
        for a, b in ((l, left), (g, groups)):
            np.testing.assert_array_equal(a.structures, b.structures)
            np.testing.assert_allclose(a.errors, b.errors, rtol=1e-9)
            np.testing.assert_allclose(a.sigmas, b.sigmas, rtol=1e-7)


@pytest.mark.parametrize(("rows", "features"), [(7, 9), (30, 9)])
@pytest.mark.parametrize("what", ["structure", "group"])
def test_left_out_equals_a_fit_without(rows, features, what):
    blocks = regression(structures=9, rows=rows, features=features)
    posterior, white, _ = box(blocks)
    exact = Spread(white, np.full(features, 0.3))
    leave = leave_out if what == "structure" else leave_groups_out
    found = leave(blocks, posterior.mean, exact, 0.3)
    for k, b in enumerate(blocks):
        key = "structure" if what == "structure" else "group"
        rest = [c for c in blocks if getattr(c, key) != getattr(b, key)]
        other = condition(normal_of(rest), 2.0, 0.3)
        mean, std = other.predict(b.rows)
        mine = found.structures == k
        np.testing.assert_allclose(found.errors[mine], 0.5 * (b.targets - mean), rtol=1e-8)
        np.testing.assert_allclose(found.sigmas[mine], 0.5 * std, rtol=1e-8)


def test_mean_and_spread_of_different_priors():
    """As of automatic relevance determination: the mean without the last two weights, the covariance with them."""
    blocks = regression()
    normal, kept = normal_of(blocks), np.repeat([2.0, 0.0], [7, 2])
    mean = condition(normal, kept, 0.3).mean
    exact = Spread(whitening(normal, 2.0, 0.3), np.full(9, 0.3))
    for leave in (leave_out, leave_groups_out):
        found = leave(blocks, mean, exact, 0.3, white=whitening(normal, kept, 0.3))
        b = blocks[4]
        rest = [
            c for c in blocks if (c.structure != 4 if leave is leave_out else c.group != b.group)
        ]
        mine = found.structures == 4
        wanted = b.targets - b.rows @ condition(normal_of(rest), kept, 0.3).mean
        np.testing.assert_allclose(found.errors[mine], 0.5 * wanted, rtol=1e-8)
        _, std = condition(normal_of(rest), 2.0, 0.3).predict(b.rows)
        np.testing.assert_allclose(found.sigmas[mine], 0.5 * std, rtol=1e-8)


def test_copies_are_left_out_together():
    blocks = regression(structures=8)
    twice = [*blocks, blocks[2]]
    marked = [
        RowBlock(k, b.group, 2 if k in (2, 8) else 1, b.rows, b.targets, b.units, b.columns)
        for k, b in enumerate(twice)
    ]
    posterior, white, _ = box(marked)
    found = leave_out(marked, posterior.mean, Spread(white, np.full(9, 0.3)), 0.3)
    other = condition(normal_of([b for k, b in enumerate(blocks) if k != 2]), 2.0, 0.3)
    mean, std = other.predict(blocks[2].rows)
    for k in (2, 8):
        mine = found.structures == k
        np.testing.assert_allclose(found.errors[mine], 0.5 * (blocks[2].targets - mean), rtol=1e-8)
        np.testing.assert_allclose(found.sigmas[mine], 0.5 * std, rtol=1e-8)


def test_further_rows_update_the_box():
    """The metric is exact, old bounds stay, and a new row that asks for more widens them."""
    blocks = regression()
    posterior, _, found = box(blocks[:15])
    new = blocks[15]
    later = posterior.update(new.rows, new.targets)
    grown = found.updated(new.rows, new.targets - new.rows @ later.mean)
    np.testing.assert_allclose(
        0.3 * grown.axes @ grown.axes.T, later.covariance, rtol=1e-9, atol=1e-13
    )
    assert (grown.low <= found.low).all() and (grown.high >= found.high).all()
    wild = found.updated(new.rows, 100.0 + new.targets - new.rows @ later.mean)
    assert (wild.high > found.high).any() or (wild.low < found.low).any()


def test_interpolated_data_keep_the_uncertainty_of_the_posterior():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(4, 3, 30))
    blocks = [block(k, X[k], X[k] @ np.ones(30)) for k in range(4)]
    posterior, _, found = box(blocks, noise=1e-6, prior=1.0, features=30)
    assert "interpolated" in found.note()
    new = rng.normal(size=(50, 30))
    box_std = np.sqrt(np.einsum("nm,mk,nk->n", new, found.covariance(), new))
    assert (box_std >= 0.999 * posterior.predict(new)[1]).all()


def test_a_fit_with_many_labels_needs_no_note():
    assert box(regression())[2].note() == ""


def test_rows_without_leverage_are_left_aside():
    blocks = regression()
    zero = [
        RowBlock(
            b.structure,
            b.group,
            1,
            np.vstack([b.rows, 0 * b.rows]),
            np.append(b.targets, b.targets),
            np.tile(b.units, 2),
            np.tile(b.columns, 2),
        )
        for b in blocks
    ]
    posterior, white, found = box(blocks)
    with_zero = pops(zero, posterior.mean, white, 0.3)
    assert with_zero.nrows == found.nrows
    np.testing.assert_allclose(with_zero.covariance(), found.covariance(), rtol=1e-12)


def test_no_features_at_all():
    blocks = [block(0, np.zeros((3, 9)), np.ones(3))]
    with pytest.raises(ValueError, match="no label depends on the weights"):
        pops(blocks, np.zeros(9), np.eye(9), 1.0)


def test_one_structure_cannot_judge_itself():
    blocks = regression(structures=1, rows=40)
    posterior, _, found = box(blocks, prior=1e12)
    text = LeaveOneOut.of(leave_out(blocks, posterior.mean, found, 0.3)).text()
    assert "nothing to judge by" in text


def test_draws_have_the_covariance_of_the_box():
    blocks = regression(noise=0.0)
    posterior, _, found = box(blocks, noise=1e-4)
    draws = found.sample(posterior.mean, 40000, 1) - posterior.mean
    second = np.linalg.solve(found.axes, draws.T)
    np.testing.assert_allclose(np.mean(second**2, axis=1), found.moments, rtol=0.05)


@pytest.mark.parametrize(("scale", "floor"), [(1.0, 0.0), (0.4, 0.3), (3.0, 0.05)])
def test_scale_and_floor_are_found_in_spite_of_outliers(scale, floor):
    rng = np.random.default_rng(5)
    sigma = rng.lognormal(-2, 1, 4000)
    errors = scale * np.hypot(sigma, floor) * rng.standard_t(5, 4000) * np.sqrt(3 / 5)
    errors[:8] *= 50
    found = scale_of(LeftOut(np.full(4000, "energy"), errors, sigma, sigma, np.arange(4000)))
    wanted = scale * np.hypot(sigma, floor)
    ratio = found.deviation(sigma) / wanted
    assert 0.85 < np.median(ratio) < 1.25 and ratio.max() < 1.6 and ratio.min() > 0.6


def test_forces_that_symmetry_makes_zero_teach_no_scale():
    rng = np.random.default_rng(5)
    sigma = np.concatenate([np.full(3000, 1e-16), rng.lognormal(-2, 1, 1000)])
    errors = sigma * rng.normal(size=4000)
    errors[:3000] *= 1e-3
    found = scale_of(LeftOut(np.full(4000, "force Si"), errors, sigma, sigma, np.arange(4000)))
    assert found.labels == 1000
    assert 0.8 < np.median(found.deviation(sigma[3000:]) / sigma[3000:]) < 1.25


def test_few_structures_give_no_scale():
    left = LeftOut(np.full(40, "energy"), np.ones(40), np.ones(40), np.ones(40), np.arange(40) % 4)
    found = LeaveOneOut.of(left)
    assert found.scales == {} and "no calibrated error bar of energy" in found.text()


def test_stream_keeps_what_fits_and_makes_the_rest_again():
    blocks, made = regression(structures=6), []

    def make(indices):
        for k in indices:
            made.append(k)
            yield blocks[k]

    stream = RowStream(range(6), make, budget=int(2.5 * blocks[0].rows.nbytes))
    for _ in range(3):
        assert [b.structure for b in stream] == list(range(6))
    assert made == [*range(6), *range(2, 6), *range(2, 6)]


def test_weighted_rows_keep_the_unit_of_their_errors():
    b = regression()[0]
    w = next(iter(Weighted([b], lambda x: np.full(len(x.targets), 4.0))))
    np.testing.assert_allclose(w.targets * w.units, b.targets * b.units)


def misfit(n, rng):
    """Rows of what a model without products of its variables can describe, and labels that hold them; no noise."""
    x = rng.uniform(-1, 1, (n, 5, 4))
    X = np.concatenate([np.ones((n, 5, 1)), x, x**2], axis=-1)
    y = x.sum(axis=-1)
    for i in range(4):
        for j in range(i):
            y = y + (1 + 0.3 * i) * x[..., i] * x[..., j]
    return X, y


def coverage(n, seed):
    """Judgements of the exact posterior, of the box and of the box with scale and floor, on new data."""
    rng = np.random.default_rng(seed)
    X, y = misfit(n, rng)
    blocks = [block(k, X[k], y[k], group="g") for k in range(n)]
    normal = normal_of(blocks)
    ridge = BayesianRidge().fit_statistics(normal)
    v = ridge.noise_variance_
    white = whitening(normal, ridge.prior_variance_, v)
    found = pops(blocks, ridge.coef_, white, v)
    left = LeaveOneOut.of(leave_out(blocks, ridge.coef_, found, v))
    X, y = misfit(400, rng)
    errors = (y - X @ ridge.coef_).ravel()
    rows = X.reshape(-1, 9)
    sigma = np.sqrt(np.einsum("nm,mk,nk->n", rows, found.covariance(), rows))
    exact = ridge.posterior_.predict(rows)[1]
    calibrated = left.scales["force Si"]
    # scales are of errors in report units, half of those here
    total = 2.0 * calibrated.deviation(0.5 * sigma)
    return judge(errors, exact), judge(errors, sigma), judge(errors, total)


def test_coverage_where_the_model_is_wrong():
    exact, box, calibrated = coverage(200, 0)
    assert exact.factor > 5
    assert 0.2 < box.factor < 2
    assert 0.8 < calibrated.factor < 1.25 and 0.55 < calibrated.within_1 < 0.8


@pytest.mark.validate
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_honest_coverage_of_many_regressions(n):
    """The posterior gets worse with data, the calibrated box does not."""
    found = [coverage(n, seed) for seed in range(50)]
    factors = np.array([[j.factor for j in row] for row in found])
    assert np.median(factors[:, 0]) > 2 * np.sqrt(n / 30)
    assert 0.85 < np.median(factors[:, 2]) < 1.15
    assert (np.abs(np.log(factors[:, 2])) < np.log(1.6)).mean() > 0.95
    inside = np.array([row[2].within_1 for row in found])
    assert 0.6 < inside.mean() < 0.75
