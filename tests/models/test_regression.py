# SPDX-License-Identifier: GPL-2.0-or-later
"""Evidence, ridge and ARD against naive dense formulas, finite differences and calibration."""

import numpy as np
import pytest

from pyuq.inference.regression import (
    ARDRegression,
    BayesianRidge,
    NormalEquations,
    condition,
)


def correlated_problem(n, m, seed=0, sparse=1.0, decay=-2.0, noise=0.05):
    """Design matrix with correlated columns of falling size; returns X, y, true weights."""
    rng = np.random.default_rng(seed)
    mix = np.eye(m) + rng.normal(size=(m, m)) / m
    X = (rng.normal(size=(n, m)) * np.logspace(0.0, decay, m)) @ mix
    w = rng.normal(size=m) * (rng.random(m) < sparse)
    return X, X @ w + noise * rng.normal(size=n), w


def dense_log_evidence(X, y, d, v_e):
    """Log density of y ~ N(0, v_e I + X D Xᵀ), the definition."""
    covariance = v_e * np.eye(len(y)) + (X * d) @ X.T
    _, log_det = np.linalg.slogdet(2.0 * np.pi * covariance)
    return -0.5 * (log_det + y @ np.linalg.solve(covariance, y))


@pytest.fixture(scope="module")
def problem():
    X, y, _ = correlated_problem(120, 15)
    return X, y, NormalEquations(15).add(X, y)


class TestNormalEquations:
    def test_shifted_targets(self):
        rng = np.random.default_rng(2)
        X, y, w = rng.normal(size=(30, 5)), rng.normal(size=30), rng.normal(size=5)
        found, direct = (
            NormalEquations(5).add(X, y).shifted(w),
            NormalEquations(5).add(X, y + X @ w),
        )
        np.testing.assert_allclose(found.rhs, direct.rhs, rtol=1e-12)
        assert found.yty == pytest.approx(direct.yty, rel=1e-12)
        np.testing.assert_allclose(found.gram, direct.gram)

    def test_streaming_weights_and_merging(self):
        rng = np.random.default_rng(1)
        X, y, w = rng.normal(size=(50, 7)), rng.normal(size=50), rng.uniform(0.1, 3.0, 50)
        parts = [NormalEquations(7), NormalEquations(7)]
        for k, rows in enumerate(np.array_split(np.arange(50), 6)):
            parts[k % 2].add(X[rows], y[rows], w[rows])
        total = parts[0].copy().merge(parts[1])
        W = np.diag(w**2)
        np.testing.assert_allclose(total.gram, X.T @ W @ X, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(total.rhs, X.T @ W @ y, rtol=1e-12, atol=1e-12)
        assert total.yty == pytest.approx(y @ W @ y, rel=1e-13)
        assert total.nrows == 50
        assert parts[0].nrows < 50  # copy() left it alone

    def test_file_round_trip_is_exact(self, problem, tmp_path):
        normal = problem[2]
        normal.save(tmp_path / "n.safetensors")
        read = NormalEquations.load(tmp_path / "n.safetensors")
        np.testing.assert_array_equal(read.gram, normal.gram)
        np.testing.assert_array_equal(read.rhs, normal.rhs)
        assert (read.yty, read.nrows) == (normal.yty, normal.nrows)
        read.add(np.ones((1, 15)), [1.0])  # what was read is writable

    def test_allreduce_over_one_rank_changes_nothing(self, problem):
        mpi = pytest.importorskip("mpi4py.MPI")
        normal = problem[2].copy().allreduce(mpi.COMM_SELF)
        np.testing.assert_array_equal(normal.gram, problem[2].gram)
        assert normal.nrows == 120

    @pytest.mark.parametrize(
        ("rows", "targets", "weights", "message"),
        [
            (np.ones((2, 3)), np.ones(2), None, r"expected \(n, 4\)"),
            (np.ones((2, 4)), np.ones(3), None, "do not fit together"),
            (np.ones((2, 4)), np.ones(2), [-1.0, 1.0], "weights"),
            (np.full((2, 4), np.nan), np.zeros(2), None, "NaN or infinite"),
            (np.ones((2, 4)), [0.0, np.inf], None, "NaN or infinite"),
            (np.ones((2, 4)), [0.0, 1e200], None, "NaN or infinite"),
        ],
    )
    def test_refuses(self, rows, targets, weights, message):
        with pytest.raises(ValueError, match=message):
            NormalEquations(4).add(rows, targets, weights)

    def test_fit_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match="cannot fit 4 weights to 0 rows"):
            BayesianRidge().fit_statistics(NormalEquations(4))


class TestCondition:
    def test_against_dense_formulas(self, problem):
        X, y, normal = problem
        d, v_e = np.random.default_rng(2).uniform(0.1, 2.0, 15), 0.01
        posterior = condition(normal, d, v_e)
        covariance = np.linalg.inv(X.T @ X / v_e + np.diag(1.0 / d))
        np.testing.assert_allclose(posterior.covariance, covariance, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(posterior.mean, covariance @ X.T @ y / v_e, rtol=1e-9)
        assert posterior.log_evidence == pytest.approx(dense_log_evidence(X, y, d, v_e), rel=1e-10)

    def test_zero_prior_variance_removes_a_column(self, problem):
        X, y, normal = problem
        d = np.ones(15)
        d[[3, 8]] = 0.0
        posterior = condition(normal, d, 0.01)
        kept = d > 0.0
        smaller = condition(NormalEquations(13).add(X[:, kept], y), 1.0, 0.01)
        np.testing.assert_allclose(posterior.mean[kept], smaller.mean, rtol=1e-10)
        assert not posterior.mean[~kept].any()
        assert not posterior.covariance[~kept].any()
        assert posterior.log_evidence == pytest.approx(smaller.log_evidence, rel=1e-12)


class TestBayesianRidge:
    def test_hyperparameters_are_stationary_and_global(self, problem):
        X, y, normal = problem
        ridge = BayesianRidge().fit_statistics(normal)
        v, v_e = ridge.prior_variance_[0], ridge.noise_variance_

        def evidence(log_v, log_v_e):
            return dense_log_evidence(X, y, np.full(15, np.exp(log_v)), np.exp(log_v_e))

        best = evidence(np.log(v), np.log(v_e))
        assert ridge.log_evidence_ == pytest.approx(best, rel=1e-10)
        h = 1e-3
        for step in ((h, 0.0), (0.0, h)):
            up = evidence(np.log(v) + step[0], np.log(v_e) + step[1])
            down = evidence(np.log(v) - step[0], np.log(v_e) - step[1])
            assert abs(up - down) / (2 * h) < 1e-4  # slope, against a curvature of 5 to 50
            assert max(up, down) < best
        coarse = [
            evidence(np.log(v) + i, np.log(v_e) + j) for i in range(-6, 7) for j in range(-6, 7)
        ]
        assert max(coarse) == pytest.approx(best)

    def test_a_single_weight(self, problem):
        X, y, _ = problem
        for estimator in (BayesianRidge(), ARDRegression()):
            estimator.fit(X[:, :1], y)
            v, v_e = estimator.prior_variance_, estimator.noise_variance_
            expected = dense_log_evidence(X[:, :1], y, v, v_e)
            assert estimator.log_evidence_ == pytest.approx(expected, rel=1e-10)

    def test_prior_shape_equals_scaled_columns(self, problem):
        X, y, _ = problem
        shape = np.logspace(0.0, -3.0, 15)
        shaped = BayesianRidge(prior_shape=shape).fit(X, y)
        scaled = BayesianRidge().fit(X * np.sqrt(shape), y)
        np.testing.assert_allclose(shaped.coef_, scaled.coef_ * np.sqrt(shape), rtol=1e-6)
        np.testing.assert_allclose(
            shaped.posterior_.covariance,
            scaled.posterior_.covariance * np.sqrt(np.outer(shape, shape)),
            rtol=1e-5,
            atol=1e-14,
        )
        assert shaped.log_evidence_ == pytest.approx(scaled.log_evidence_, rel=1e-9)

    def test_covariance_is_in_the_basis_of_the_columns(self):
        # Rotating the features rotates Σ: a covariance left in an eigenbasis would not follow.
        X, y, _ = correlated_problem(80, 6)
        Q = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
        plain, rotated = BayesianRidge().fit(X, y), BayesianRidge().fit(X @ Q, y)
        expected = Q.T @ plain.posterior_.covariance @ Q
        np.testing.assert_allclose(rotated.posterior_.covariance, expected, rtol=1e-5, atol=1e-9)

    @pytest.mark.parametrize("fixed", ["noise_variance", "prior_variance"])
    def test_a_given_variance_is_kept_and_the_other_is_stationary(self, problem, fixed):
        X, y, normal = problem
        ridge = BayesianRidge(**{fixed: 0.03}).fit_statistics(normal)
        v, v_e = ridge.prior_variance_[0], ridge.noise_variance_
        assert (v_e if fixed == "noise_variance" else v) == pytest.approx(0.03)
        up, down = (1.01, 1.0 / 1.01)
        scales = [(up, 1.0), (down, 1.0)] if fixed == "noise_variance" else [(1.0, up), (1.0, down)]
        neighbours = [dense_log_evidence(X, y, np.full(15, v * a), v_e * b) for a, b in scales]
        assert max(neighbours) < ridge.log_evidence_
        assert abs(neighbours[0] - neighbours[1]) / 0.02 < 1e-2

    def test_noise_free_targets(self):
        X, _, w = correlated_problem(60, 8)
        ridge = BayesianRidge().fit(X, X @ w)
        np.testing.assert_allclose(ridge.coef_, w, rtol=1e-5, atol=1e-6)
        assert ridge.noise_variance_ < 1e-12

    def test_fewer_rows_than_weights(self):
        X, y, _ = correlated_problem(10, 40)
        ridge = BayesianRidge(noise_variance=0.0025).fit(X, y)
        d = ridge.prior_variance_
        expected = dense_log_evidence(X, y, d, ridge.noise_variance_)
        assert ridge.log_evidence_ == pytest.approx(expected, rel=1e-8)
        assert 0.0 < ridge.effective_parameters_ <= 10.0

    def test_row_weights_are_inverse_standard_deviations(self):
        rng = np.random.default_rng(4)
        X, w = rng.normal(size=(4000, 5)), rng.normal(size=5)
        sigma = np.where(np.arange(4000) % 2, 0.1, 3.0)
        y = X @ w + sigma * rng.normal(size=4000)
        ridge = BayesianRidge().fit(X, y, 1.0 / sigma)
        assert ridge.noise_variance_ == pytest.approx(1.0, abs=0.1)

    def test_agrees_with_scikit_learn(self, problem):
        linear_model = pytest.importorskip("sklearn.linear_model")
        X, y, normal = problem
        peer = linear_model.BayesianRidge(fit_intercept=False, tol=1e-10, max_iter=5000).fit(X, y)
        ridge = BayesianRidge().fit_statistics(normal)
        np.testing.assert_allclose(ridge.coef_, peer.coef_, rtol=1e-4)
        np.testing.assert_allclose(ridge.posterior_.covariance, peer.sigma_, rtol=1e-3, atol=1e-9)


class TestARD:
    @pytest.fixture(scope="class")
    @staticmethod
    def sparse():
        X, y, w = correlated_problem(200, 30, seed=5, sparse=0.3)
        return X, y, w, ARDRegression().fit(X, y)

    def test_evidence_is_stationary_and_pruning_is_justified(self, sparse):
        X, y, _, ard = sparse
        d, v_e = ard.prior_variance_, ard.noise_variance_
        best = dense_log_evidence(X, y, d, v_e)
        assert ard.log_evidence_ == pytest.approx(best, rel=1e-10)
        for j in np.flatnonzero(ard.kept_):
            slopes = [
                dense_log_evidence(X, y, d * np.where(np.arange(30) == j, np.exp(s), 1.0), v_e)
                for s in (0.01, -0.01)
            ]
            assert abs(slopes[0] - slopes[1]) / 0.02 < 0.02
        for j in np.flatnonzero(~ard.kept_):
            for variance in (1e-6, 1e-3, 1.0):
                trial = d.copy()
                trial[j] = variance
                assert dense_log_evidence(X, y, trial, v_e) < best + 1e-2
        for factor in (0.97, 1.03):
            assert dense_log_evidence(X, y, d, v_e * factor) < best

    def test_finds_the_relevant_columns(self, sparse):
        X, y, w, ard = sparse
        strong = np.abs(w) * np.linalg.norm(X, axis=0) > 2.0
        assert strong.sum() > 3
        assert ard.kept_[strong].all()
        assert ard.kept_.sum() < 25
        assert ard.log_evidence_ > BayesianRidge().fit(X, y).log_evidence_

    def test_pruned_directions_keep_their_uncertainty(self, sparse):
        X, y, _, ard = sparse
        naive = ARDRegression(restore=False).fit(X, y)
        pruned = np.flatnonzero(~ard.kept_)
        assert pruned.size > 3
        np.testing.assert_array_equal(naive.coef_, ard.coef_)
        assert not naive.posterior_.covariance[pruned].any()  # the trap
        unseen = np.eye(30)[pruned] * 100.0  # a structure that consists of pruned functions
        assert (naive.predict(unseen, return_std=True)[1] == 0.0).all()
        ridge_std = BayesianRidge().fit(X, y).predict(unseen, return_std=True)[1]
        assert (ard.predict(unseen, return_std=True)[1] > 0.3 * ridge_std).all()
        # and along every direction the restored variance is at least the naive one
        difference = ard.posterior_.covariance - naive.posterior_.covariance
        assert np.linalg.eigvalsh(difference).min() > -1e-10

    def test_targets_without_signal_prune_everything(self):
        rng = np.random.default_rng(6)
        X, y = rng.normal(size=(100, 3)), rng.normal(size=100)
        y -= X @ np.linalg.lstsq(X, y)[0]  # nothing that X explains
        ard = ARDRegression().fit(X, y)
        assert not ard.kept_.any()
        assert ard.noise_variance_ == pytest.approx(np.mean(y**2))
        assert np.isfinite(ard.posterior_.covariance).all()

    @pytest.mark.parametrize("noise", [0.0, 1e-9])
    @pytest.mark.parametrize("rank", [3, 10, 40])
    def test_noise_free_targets_of_dependent_columns(self, rank, noise):
        """The evidence has no bound; the noise stops where the equations can still be solved."""
        for seed in range(5):
            rng = np.random.default_rng(seed)
            X = rng.normal(size=(60, rank)) @ rng.normal(size=(rank, 40))
            y = X @ (rng.normal(size=40) * (rng.random(40) < 0.3))
            y += noise * rng.normal(size=60)
            ard = ARDRegression().fit(X, y)
            assert np.linalg.norm(X @ ard.coef_ - y) < 1e-5 * np.linalg.norm(y)
            assert np.linalg.eigvalsh(ard.posterior_.covariance).min() > -1e-12

    def test_budget_of_sweeps_is_an_error(self, sparse):
        with pytest.raises(ValueError, match="did not converge in 2 sweeps"):
            ARDRegression(max_iter=2).fit(sparse[0], sparse[1])


class TestCalibration:
    """Weights drawn from the prior lie where the posterior says, as often as it says."""

    @staticmethod
    def coverage(make, trials, n=60, m=12, seed=7):
        """Fractions of new noise-free targets inside 1σ and 2σ."""
        rng = np.random.default_rng(seed)
        hits = np.zeros(2)
        for _ in range(trials):
            X = rng.normal(size=(n, m)) * np.logspace(0.0, -2.0, m)
            w = rng.normal(size=m)
            model = make().fit(X, X @ w + 0.3 * rng.normal(size=n))
            new = rng.normal(size=(20, m)) * np.logspace(0.0, -1.0, m)
            mean, std = model.predict(new, return_std=True)
            z = np.abs(new @ w - mean) / std
            hits += [np.mean(z < 1.0), np.mean(z < 2.0)]
        return hits / trials

    def test_ridge_short(self):
        one, two = self.coverage(BayesianRidge, 150)
        assert one == pytest.approx(0.683, abs=0.06)
        assert two == pytest.approx(0.954, abs=0.04)

    @pytest.mark.validate
    def test_ridge_known_hyperparameters(self):
        one, two = self.coverage(
            lambda: BayesianRidge(prior_variance=1.0, noise_variance=0.09), 5000
        )
        assert one == pytest.approx(0.683, abs=0.01)
        assert two == pytest.approx(0.954, abs=0.005)

    @pytest.mark.validate
    def test_ridge_evidence(self):
        # Best values of the variances, not integrated over: slightly too sure with few weights.
        one, two = self.coverage(BayesianRidge, 1000, n=600, m=60)
        assert one == pytest.approx(0.683, abs=0.02)
        assert two == pytest.approx(0.954, abs=0.01)

    @pytest.mark.validate
    def test_restored_ard_covers_no_worse_than_plain_ard(self):
        restored = self.coverage(ARDRegression, 500)
        plain = self.coverage(lambda: ARDRegression(restore=False), 500)
        assert (restored > plain).all()
        assert restored[1] > 0.85
