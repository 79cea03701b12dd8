# SPDX-License-Identifier: GPL-2.0-or-later
r"""Orthonormal bases as points: the Stiefel manifold :math:`W^TW = 1` with its canonical metric.

Bases are arrays (d, n), tangent vectors too. Reduced dynamics depends on the span alone, not on the columns;
:func:`align` takes the rotation of the columns out, and logarithms are then those of the Grassmann manifold.

References
----------
A. Edelman, T. A. Arias, S. T. Smith, SIAM J. Matrix Anal. Appl. **20**, 303 (1998).
R. Zimmermann, SIAM J. Matrix Anal. Appl. **38**, 322 (2017), arXiv:1604.05054 (iterative logarithm).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm, polar, schur

from pyuq.errors import InputError

FloatArray = NDArray[np.float64]

ALIGNMENTS = ("procrustes", "sign", "none")


def symmetric(a: FloatArray) -> FloatArray:
    """Symmetric part."""
    return 0.5 * (a + a.T)


def project(w: FloatArray, z: FloatArray) -> FloatArray:
    """Tangent vector at `w` nearest to `z`: Z - W sym(WᵀZ)."""
    return z - w @ symmetric(w.T @ z)


def principal_angles(w: FloatArray, u: FloatArray) -> FloatArray:
    """Angles between two spans, ascending, radian, shape (n,).

    Small angles come from sines: cosines near 1 would lose half of their digits.
    """
    overlap = w.T @ u
    cosines = np.clip(np.linalg.svd(overlap, compute_uv=False), 0.0, 1.0)
    sines = np.clip(np.linalg.svd(u - w @ overlap, compute_uv=False), 0.0, 1.0)[::-1]
    return np.where(cosines > np.sqrt(0.5), np.arcsin(sines), np.arccos(cosines))


def grassmann_distance(w: FloatArray, u: FloatArray) -> float:
    """Root of the sum of squared principal angles."""
    return float(np.linalg.norm(principal_angles(w, u)))


def align(w: FloatArray, u: FloatArray, kind: str = "procrustes") -> FloatArray:
    """Turn the columns of `u` towards those of `w`; the span stays.

    Parameters
    ----------
    w, u : (d, n)
    kind : {"procrustes", "sign", "none"}
        Nearest rotation; signs only; or nothing.

    Raises
    ------
    InputError
        Another kind.
    """
    if kind not in ALIGNMENTS:
        raise InputError(f"align = {kind!r}; expected one of {', '.join(ALIGNMENTS)}")
    overlap = w.T @ u
    if kind == "procrustes":
        return u @ polar(overlap.T)[0]
    if kind == "sign":
        return u * np.where(np.diag(overlap) < 0, -1.0, 1.0)
    return u


def exp(w: FloatArray, delta: FloatArray) -> FloatArray:
    """Geodesic from `w` along the tangent vector `delta`, at unit time."""
    n = w.shape[1]
    a = w.T @ delta
    q, r = np.linalg.qr(delta - w @ a)
    block = expm(np.block([[a, -r.T], [r, np.zeros((n, n))]]))[:, :n]
    return w @ block[:n] + q @ block[n:]


def log(w: FloatArray, u: FloatArray, kind: str = "procrustes") -> FloatArray:
    """Tangent vector at `w` whose geodesic ends in `u` (aligned as `kind` says).

    After Procrustes alignment WᵀU is symmetric and the logarithm has a closed form, that of the Grassmann manifold;
    otherwise Zimmermann's iteration finds it.

    Raises
    ------
    InputError
        The spans are 90° apart in some direction, or the iteration does not converge.
    """
    u = align(w, u, kind)
    if kind != "procrustes":
        return _iterative_log(w, u)
    overlap = symmetric(w.T @ u)
    if np.linalg.eigvalsh(overlap)[0] < 1e-12:
        raise InputError(
            "two bases have a principal angle of 90°: no unique geodesic joins them. Use fewer modes, or "
            "longer trajectories"
        )
    q, tangent, rotation = np.linalg.svd(
        np.linalg.solve(overlap, (u - w @ (w.T @ u)).T).T, full_matrices=False
    )
    return (q * np.arctan(tangent)) @ rotation


def log_orthogonal(v: FloatArray) -> FloatArray:
    """Skew-symmetric principal logarithm of a rotation matrix, by its real Schur form.

    Raises
    ------
    InputError
        det V = -1: no real logarithm.
    """
    t, z = schur(v, output="real")
    n, k, negative, skew = len(v), 0, [], np.zeros_like(v)
    while k < n:
        if k + 1 < n and abs(t[k + 1, k]) > 1e-12:
            angle = np.arctan2(0.5 * (t[k + 1, k] - t[k, k + 1]), 0.5 * (t[k, k] + t[k + 1, k + 1]))
            skew[k + 1, k], skew[k, k + 1] = angle, -angle
            k += 2
            continue
        if t[k, k] < 0:
            negative.append(k)
        k += 1
    if len(negative) % 2:
        raise InputError("det V = -1: no real logarithm")
    for a, b in zip(negative[::2], negative[1::2], strict=True):
        skew[b, a], skew[a, b] = np.pi, -np.pi
    return z @ skew @ z.T


def _iterative_log(
    w: FloatArray, u: FloatArray, tolerance: float = 1e-12, limit: int = 500
) -> FloatArray:
    n = w.shape[1]
    m = w.T @ u
    q, lower = np.linalg.qr(u - w @ m)
    v = np.linalg.qr(np.vstack([m, lower]), mode="complete")[0]
    v[:, :n] = np.vstack([m, lower])
    # The added columns are free up to a rotation: near the identity the iteration starts well.
    x, _, y = np.linalg.svd(v[n:, n:])
    v[:, n:] = v[:, n:] @ (x @ y).T
    if np.linalg.det(v) < 0:
        v[:, -1] *= -1.0
    for _ in range(limit):
        logarithm = log_orthogonal(v)
        corner = logarithm[n:, n:]
        if np.linalg.norm(corner, 2) < tolerance:
            return w @ logarithm[:n, :n] + q @ logarithm[n:, :n]
        v[:, n:] = v[:, n:] @ expm(-corner)
    raise InputError(
        f"the logarithm did not converge in {limit} steps: the bases are too far apart. Use "
        "align = 'procrustes'"
    )


def retract(w: FloatArray, z: FloatArray) -> FloatArray:
    """Polar retraction: the basis nearest to W + Z."""
    x, _, y = np.linalg.svd(w + z, full_matrices=False)
    return x @ y


def karcher_mean(
    bases: Sequence[FloatArray],
    weights: Sequence[float] | None = None,
    start: FloatArray | None = None,
    tolerance: float = 1e-10,
    limit: int = 200,
) -> FloatArray:
    """Weighted Riemannian centre of the spans: the mean logarithm vanishes there.

    Parameters
    ----------
    bases : sequence of (d, n)
    weights : sequence of float, optional
        Default: equal.
    start : (d, n), optional
        Default: the first basis.

    Raises
    ------
    InputError
        No convergence, or bases 90° apart.
    """
    p = np.full(len(bases), 1.0) if weights is None else np.asarray(weights, dtype=float)
    p = p / p.sum()
    w = bases[0] if start is None else start
    for _ in range(limit):
        mean = sum(q * log(w, u) for q, u in zip(p, bases, strict=True))
        if np.linalg.norm(mean) < tolerance:
            return w
        w = exp(w, mean)
    raise InputError(f"no centre found in {limit} steps: the bases are too far apart")
