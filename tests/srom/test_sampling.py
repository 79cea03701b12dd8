# SPDX-License-Identifier: GPL-2.0-or-later
"""Weights, spread and splits of random bases."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pyuq.srom.geometry import exp, grassmann_distance, log, principal_angles
from pyuq.srom.sampling import (
    Frame,
    PolarSampler,
    RiemannianSampler,
    SubspaceSampler,
    convex_weights,
    dirichlet,
    fit_beta,
    fit_concentration,
    spectral_centroids,
    split_bases,
    uniforms,
)

D, N = 90, 4


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def models(rng):
    """A base and three bases around it."""
    base = np.linalg.qr(rng.normal(size=(D, N)))[0]
    near = [np.linalg.qr(base + 0.05 * rng.normal(size=(D, N)))[0] for _ in range(3)]
    return base, near


def sampler(models, **options):
    frame = Frame.at(*models)
    return RiemannianSampler(frame, convex_weights(frame.gram), **options)


def test_frame_holds_the_logarithms(models):
    base, near = models
    frame = Frame.at(base, near)
    for i, w in enumerate(near):
        tangent = frame.base @ frame.inside[i] + frame.span @ frame.outside[i]
        np.testing.assert_allclose(tangent, log(base, w), atol=1e-12)
        for j, v in enumerate(near):
            assert frame.gram[i, j] == pytest.approx(np.sum(log(base, w) * log(base, v)), abs=1e-12)


@pytest.mark.parametrize("align", ["procrustes", "none"])
def test_geodesic_is_the_exponential(models, rng, align):
    base, near = models
    frame = Frame.at(base, near, align)
    for p in rng.dirichlet(np.ones(3), size=5):
        tangent = sum(q * log(base, w, align) for q, w in zip(p, near, strict=True))
        np.testing.assert_allclose(frame.geodesic(p), exp(base, tangent), atol=1e-11)


def test_samples_are_orthonormal_to_the_last_digits(models):
    laws = [
        sampler(models, seed=1),
        SubspaceSampler(np.linalg.qr(np.eye(D)[:, :20])[0], np.linspace(2, 0.1, 20), N, 6),
        PolarSampler(models[0], np.random.default_rng(0).uniform(size=(D // 3, 3)), 0.3, 1.0),
    ]
    for law in laws:
        for k in range(20):
            w = law.draw(k)
            assert np.abs(w.T @ w - np.eye(N)).max() < 1e-12
            np.testing.assert_array_equal(w, law.draw(k))


def test_vertices_are_the_models(models):
    base, near = models
    frame = Frame.at(base, near)
    for i, w in enumerate(near):
        assert principal_angles(frame.geodesic(np.eye(3)[i]), w)[-1] < 1e-10


@pytest.mark.parametrize("seed", range(5))
def test_convex_weights_solve_the_quadratic_programme(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(5, 3)) + 0.7
    gram = vectors @ vectors.T
    a = convex_weights(gram)
    assert a.sum() == pytest.approx(1.0)
    assert (a >= 0).all()
    found = minimize(
        lambda x: x @ gram @ x,
        np.full(5, 0.2),
        jac=lambda x: 2 * gram @ x,
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert a @ gram @ a <= found.fun + 1e-8


def test_weights_of_models_that_coincide():
    np.testing.assert_allclose(convex_weights(np.ones((3, 3))), 1 / 3, atol=1e-4)
    np.testing.assert_allclose(convex_weights(np.zeros((3, 3))), 1 / 3)


@pytest.mark.parametrize("concentration", [0.05, 1.0, 30.0])
def test_dirichlet_moments(concentration):
    p = np.array([0.5, 0.3, 0.2, 0.0])
    draws = dirichlet(concentration * p, uniforms(0, 20_000, 4))
    error = np.sqrt(p * (1 - p) / (concentration + 1) / 20_000)
    assert (np.abs(draws.mean(axis=0) - p) <= 5 * error).all()
    np.testing.assert_allclose(
        draws.var(axis=0), p * (1 - p) / (concentration + 1), rtol=0.06, atol=1e-12
    )
    assert (draws[:, 3] == 0).all()


def test_arcsine_law():
    """At a₀ = 1 and two equal models, 29 % of the draws have a weight above 0.95."""
    draws = dirichlet(np.array([0.5, 0.5]), uniforms(1, 40_000, 2))
    assert (draws.max(axis=1) > 0.95).mean() == pytest.approx(0.287, abs=0.01)


def test_dispersion_and_mean_of_the_tangent_vectors(models):
    law = sampler(models, concentration=2.0, seed=5)
    p = np.array([law.weights(k) for k in range(4000)])
    gram = law.frame.gram
    second = np.einsum("ki,ij,kj->k", p, gram, p).mean()
    mean = law.mean_weights @ gram @ law.mean_weights
    assert second - mean == pytest.approx(law.dispersion, rel=0.06)
    lengths = np.sqrt(np.diag(gram))
    assert law.residual == pytest.approx(np.sqrt(mean) / lengths.mean(), rel=1e-12)


def test_concentration_is_the_knob_of_spread(models):
    def spread(a0):
        law = sampler(models, concentration=a0, seed=2)
        centre = law.frame.geodesic(law.mean_weights)
        return np.mean([grassmann_distance(centre, law.draw(k)) for k in range(60)])

    values = [spread(a0) for a0 in (0.1, 1.0, 10.0, 1e4)]
    assert (np.diff(values) < 0).all()
    assert values[-1] < 0.02 * values[0]


def test_identical_models_have_no_spread(models):
    _, near = models
    law = sampler((near[0], [near[0]] * 3))
    for k in range(5):
        np.testing.assert_allclose(law.draw(k), near[0], atol=1e-12)


def test_selected_model_is_that_of_the_largest_weight(models):
    law = sampler(models, seed=3)
    for k in range(10):
        assert law.model(k) == law.weights(k).argmax()


def test_fitted_concentration_matches_distances(rng):
    """Where the base is a vertex-like corner apart from the models, samples as far as the models need small a₀."""
    vectors = rng.normal(size=(4, 30))
    gram = vectors @ vectors.T
    p = convex_weights(gram)
    a0 = fit_concentration(gram, p)

    def cost(value):
        draws = dirichlet(value * p, uniforms(7, 4000, 4))
        sampled = np.sqrt(np.einsum("ki,ij,kj->k", draws, gram, draws))
        return ((sampled[:, None] - np.sqrt(np.diag(gram))) ** 2).mean()

    assert cost(a0) <= 1.05 * min(cost(v) for v in (0.03, 0.1, 0.3, 1.0, 3.0, 30.0))


def test_noise_of_finite_trajectories_is_no_spread(models):
    base, bases = models
    frame = Frame.at(base, bases)
    p = convex_weights(frame.gram)
    found = [fit_concentration(frame.gram, p, noise) for noise in (0.0, 0.5, 0.65, 1.2)]
    assert (np.diff(found) > 0).all()
    assert found[0] < 0.1  # the models themselves
    assert found[-1] > 100  # nothing is left to be randomised


@pytest.mark.parametrize("randomize", ["low", "high"])
def test_split_keeps_one_block(models, randomize):
    base, near = models
    f = np.array([0.5, 1.0, 2.0, 4.0])
    fixed, moving, blocks = split_bases(base, near, f, [f] * 3, randomize, cutoff=1.5)
    kept = base[:, 2:] if randomize == "low" else base[:, :2]
    np.testing.assert_array_equal(fixed, kept)
    frame = Frame.at(moving, blocks)
    law = RiemannianSampler(frame, convex_weights(frame.gram), fixed=fixed)
    for k in range(5):
        w = law.draw(k)
        np.testing.assert_array_equal(w[:, :2], kept)
        assert np.abs(w.T @ w - np.eye(N)).max() < 1e-12
    whole = sampler(models)
    assert law.dispersion < whole.dispersion
    with pytest.raises(ValueError, match="above the cutoff"):
        split_bases(base, near, f, [f] * 3, randomize, cutoff=0.1)


def test_spectral_centroids():
    t = 0.01 * np.arange(4000)
    y = np.column_stack([np.sin(2 * np.pi * 3.0 * t), np.cos(2 * np.pi * 11.0 * t) + 5])
    np.testing.assert_allclose(spectral_centroids(y, 0.01), [3.0, 11.0], rtol=0.01)
    assert (spectral_centroids(np.zeros((10, 2)), 0.01) == 0).all()


def test_subspace_sampler_approaches_the_pod_basis(rng):
    vectors = np.linalg.qr(rng.normal(size=(D, 20)))[0]
    values = np.exp(-0.5 * np.arange(20.0))
    mean = [
        np.mean(
            [
                grassmann_distance(
                    vectors[:, :N], SubspaceSampler(vectors, values, N, beta).draw(k)
                )
                for k in range(20)
            ]
        )
        for beta in (N, 40, 4000)
    ]
    assert mean[0] > mean[1] > mean[2]
    target = [SubspaceSampler(vectors, values, N, 40, seed=9).draw(k) for k in range(20)]
    assert 20 <= fit_beta(vectors, values, N, target) <= 80
    with pytest.raises(ValueError, match="at least the number of modes"):
        SubspaceSampler(vectors, values, N, 2)


def test_polar_sampler_keeps_rows_and_grows_with_its_spread(models):
    base, _ = models
    positions = np.random.default_rng(0).uniform(0, 10, size=(D // 3, 3))
    allowed = np.ones(D, dtype=bool)
    allowed[:6] = False
    base = base.copy()
    base[:6] = 0.0
    base = np.linalg.qr(base)[0]
    for length in (0.0, 3.0):
        near, far = (
            PolarSampler(base, positions, s, length, allowed=allowed).draw(0) for s in (0.1, 1.0)
        )
        np.testing.assert_allclose(near[:6], 0.0, atol=1e-15)
        assert grassmann_distance(base, near) < grassmann_distance(base, far)


def test_bad_parameters(models):
    frame = Frame.at(*models)
    with pytest.raises(ValueError, match="concentration = 0"):
        RiemannianSampler(frame, np.full(3, 1 / 3), concentration=0.0)
    with pytest.raises(ValueError, match="sum 1"):
        RiemannianSampler(frame, np.ones(3))
