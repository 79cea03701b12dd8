# SPDX-License-Identifier: GPL-2.0-or-later
"""Exponential, logarithm, alignment and means of orthonormal bases."""

import numpy as np
import pytest
from scipy.linalg import expm

from pyuq.srom.geometry import (
    align,
    exp,
    grassmann_distance,
    karcher_mean,
    log,
    log_orthogonal,
    principal_angles,
    project,
    retract,
)

D, N = 60, 5


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def basis(rng, d=D, n=N):
    return np.linalg.qr(rng.normal(size=(d, n)))[0]


def near(rng, w, size):
    return np.linalg.qr(w + size * rng.normal(size=w.shape) / np.sqrt(len(w)))[0]


def tangent(rng, w, size=1.0):
    return project(w, size * rng.normal(size=w.shape) / np.sqrt(len(w)))


def test_projection_is_tangent_and_idempotent(rng):
    w = basis(rng)
    z = tangent(rng, w)
    np.testing.assert_allclose(w.T @ z + z.T @ w, 0.0, atol=1e-14)
    np.testing.assert_allclose(project(w, z), z, atol=1e-14)


def test_exponential_is_a_geodesic(rng):
    """Orthonormal at the end, starts along its vector, and its own inverse runs back."""
    w = basis(rng)
    z = tangent(rng, w)
    end = exp(w, z)
    np.testing.assert_allclose(end.T @ end, np.eye(N), atol=1e-13)
    h = 1e-6
    np.testing.assert_allclose((exp(w, h * z) - exp(w, -h * z)) / (2 * h), z, atol=1e-8)


@pytest.mark.parametrize("kind", ["procrustes", "sign", "none"])
@pytest.mark.parametrize("size", [0.02, 0.4])
def test_exponential_of_the_logarithm_is_the_basis(rng, kind, size):
    w = basis(rng)
    u = near(rng, w, size)
    np.testing.assert_allclose(exp(w, log(w, u, kind)), align(w, u, kind), atol=1e-9)


def test_closed_form_equals_the_iteration_after_alignment(rng):
    w = basis(rng)
    u = align(w, near(rng, w, 0.5))
    np.testing.assert_allclose(log(w, u, "procrustes"), log(w, u, "none"), atol=1e-11)


def test_iteration_repairs_the_determinant(rng):
    """A reflected column makes det V = -1 in the naive completion; the logarithm still returns the basis."""
    for seed in range(20):
        r = np.random.default_rng(seed)
        w = basis(r)
        u = near(r, w, 0.3)
        np.testing.assert_allclose(exp(w, log(w, u, "none")), u, atol=1e-9)


def test_aligned_logarithm_is_the_grassmann_distance(rng):
    w, u = basis(rng), basis(rng)
    assert np.linalg.norm(log(w, u)) == pytest.approx(grassmann_distance(w, u), rel=1e-10)
    angles = principal_angles(w, u)
    assert (np.diff(angles) >= 0).all()
    np.testing.assert_allclose(np.cos(angles), np.linalg.svd(w.T @ u)[1], atol=1e-12)


def test_small_angles_keep_their_digits(rng):
    w = basis(rng)
    q = basis(rng)
    q -= w @ (w.T @ q)
    q /= np.linalg.norm(q, axis=0)
    u = w.copy()
    u[:, 0] = np.cos(1e-9) * w[:, 0] + np.sin(1e-9) * q[:, 0]
    assert principal_angles(w, u)[-1] == pytest.approx(1e-9, rel=1e-6)


def test_alignment_keeps_the_span_and_minimises_the_distance(rng):
    w, u = basis(rng), basis(rng)
    aligned = align(w, u)
    np.testing.assert_allclose(aligned @ aligned.T, u @ u.T, atol=1e-12)
    best = np.linalg.norm(aligned - w)
    for _ in range(50):
        rotation = np.linalg.qr(rng.normal(size=(N, N)))[0]
        assert np.linalg.norm(u @ rotation - w) >= best
    with pytest.raises(ValueError, match="expected one of"):
        align(w, u, "some")


def test_logarithm_of_rotations(rng):
    skew = rng.normal(size=(6, 6))
    skew = 0.4 * (skew - skew.T)
    np.testing.assert_allclose(log_orthogonal(expm(skew)), skew, atol=1e-12)
    half_turn = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(expm(log_orthogonal(half_turn)), half_turn, atol=1e-12)
    with pytest.raises(ValueError, match="det"):
        log_orthogonal(np.diag([-1.0, 1.0, 1.0]))


def test_spans_at_a_right_angle_are_refused():
    w, u = np.eye(4)[:, :2], np.eye(4)[:, 2:]
    with pytest.raises(ValueError, match="90°"):
        log(w, u)


def test_retraction_agrees_with_the_exponential_to_first_order(rng):
    w = basis(rng)
    z = tangent(rng, w)
    np.testing.assert_allclose(retract(w, z).T @ retract(w, z), np.eye(N), atol=1e-13)
    errors = [np.linalg.norm(retract(w, h * z) - exp(w, h * z)) for h in (1e-2, 5e-3)]
    assert errors[1] < 0.3 * errors[0]


def test_karcher_mean(rng):
    w = basis(rng)
    bases = [near(rng, w, 0.3) for _ in range(4)]
    p = np.array([0.1, 0.2, 0.3, 0.4])
    centre = karcher_mean(bases, p)
    mean = sum(q * log(centre, u) for q, u in zip(p, bases, strict=True))
    assert np.linalg.norm(mean) < 1e-9
    middle = karcher_mean(bases[:2])
    distances = [grassmann_distance(middle, u) for u in bases[:2]]
    assert distances[0] == pytest.approx(distances[1], rel=1e-8)
    assert sum(distances) == pytest.approx(grassmann_distance(*bases[:2]), rel=1e-8)


def test_linear_constraints_are_kept(rng):
    """BᵀW = 0 for both ends: then for the tangent vector and along the geodesic."""
    b = basis(rng, n=3)
    clean = lambda w: np.linalg.qr(w - b @ (b.T @ w))[0]  # noqa: E731
    w, u = clean(basis(rng)), clean(basis(rng))
    delta = log(w, u)
    np.testing.assert_allclose(b.T @ delta, 0.0, atol=1e-13)
    np.testing.assert_allclose(b.T @ exp(w, 0.3 * delta), 0.0, atol=1e-13)
    zero_rows = np.vstack([w, np.zeros((4, N))]), np.vstack([u, np.zeros((4, N))])
    assert (exp(zero_rows[0], 0.3 * log(*zero_rows))[-4:] == 0).all()
