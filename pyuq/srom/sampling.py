# SPDX-License-Identifier: GPL-2.0-or-later
r"""Random bases between the bases of several models.

The Riemannian sampler draws weights P from a Dirichlet distribution and follows the geodesic
:math:`W(\theta) = \mathrm{Exp}_{W_0}(\sum_i P_i\,\mathrm{Log}_{W_0}W_i)`. Its total concentration a₀ is the one knob of
spread: large values collapse on the mean, small ones pick single models.

References
----------
H. Zhang, J. Guilleminot, Comput. Methods Appl. Mech. Eng. **403**, 115702 (2023).
J. Quek et al., Mech. Mater. **202**, 105237 (2025).
A. Yadav, R. Zhang, arXiv:2504.19963 (SS-PPCA).
C. Soize, C. Farhat, Int. J. Numer. Methods Eng. **109**, 837 (2017) (NPM).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm
from scipy.optimize import minimize_scalar, nnls
from scipy.special import gammaincinv

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.srom.geometry import grassmann_distance, log, symmetric

FloatArray = NDArray[np.float64]

NEGLIGIBLE = 1e-10  # weights below are zero


def convex_weights(gram: FloatArray) -> FloatArray:
    """Weights a >= 0, Σa = 1, for which the mean tangent vector is shortest.

    Parameters
    ----------
    gram : (m, m)
        Inner products of the tangent vectors.

    Returns
    -------
    (m,)
        Where they are not unique (models that coincide), those nearest to equal.
    """
    m = len(gram)
    scale = np.trace(gram) / m
    if scale <= 0:
        return np.full(m, 1.0 / m)
    values, vectors = np.linalg.eigh(symmetric(gram) / scale + 1e-8 * np.eye(m))
    root = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T
    # min |La| over the simplex and min |Lb|² + (1ᵀb - 1)² over b >= 0 have the same direction a ∝ b.
    found, _ = nnls(np.vstack([root, np.ones(m)]), np.append(np.zeros(m), 1.0))
    found /= found.sum()
    found[found < NEGLIGIBLE] = 0.0
    return found / found.sum()


def dirichlet(alpha: FloatArray, numbers: FloatArray) -> FloatArray:
    """Dirichlet weights (k, m) from uniform numbers (k, 2 m), smooth in alpha; its zeros give zero weights."""
    alpha = np.asarray(alpha, dtype=float)
    # Gamma(a) by inversion; tiny shapes underflow to 0, so work with logarithms: Γ(a) ~ Γ(a+1) U^(1/a).
    used = alpha > 0
    half = numbers.shape[1] // 2
    first, second = numbers[:, :half], numbers[:, half:]
    logs = np.full(first.shape, -np.inf)
    logs[:, used] = (
        np.log(gammaincinv(alpha[used] + 1.0, first[:, used]))
        + np.log(second[:, used]) / alpha[used]
    )
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def uniforms(seed: int, draws: int, m: int) -> FloatArray:
    """Uniform numbers (draws, 2 m) of the Dirichlet weights; row k depends on (seed, k) alone."""
    rows = [np.random.default_rng([seed, k]).random(2 * m) for k in range(draws)]
    return np.clip(np.array(rows).reshape(draws, 2 * m), 1e-300, 1 - 1e-16)


@brief()
@dataclass(frozen=True)
class Frame:
    """Tangent vectors at a base point, in coordinates of their joint span.

    Every sample is then two small matrices times fixed tall ones.

    Attributes
    ----------
    base : (d, n)
        W₀.
    span : (d, r)
        Orthonormal, orthogonal to W₀.
    inside : (m, n, n)
        W₀ᵀΔᵢ, skew.
    outside : (m, r, n)
        spanᵀΔᵢ.
    """

    base: FloatArray
    span: FloatArray
    inside: FloatArray
    outside: FloatArray

    @classmethod
    def at(
        cls, base: FloatArray, bases: Sequence[FloatArray], align: str = "procrustes"
    ) -> "Frame":
        """Logarithms of all bases at a base point.

        Raises
        ------
        InputError
            See :func:`pyuq.srom.geometry.log`.
        """
        tangents = [log(base, w, align) for w in bases]
        inside = np.array([0.5 * (a - a.T) for a in (base.T @ t for t in tangents)])
        rest = np.hstack([t - base @ (base.T @ t) for t in tangents])
        q, s, _ = np.linalg.svd(rest, full_matrices=False)
        kept = s > 1e-13 * max(s.max(initial=0.0), 1.0)
        span = q[:, kept]
        span -= base @ (base.T @ span)
        if span.shape[1]:
            span = np.linalg.qr(span)[0]
        outside = np.array([span.T @ t for t in tangents])
        return cls(base, span, inside, outside)

    @property
    def gram(self) -> FloatArray:
        """Frobenius inner products of the tangent vectors, (m, m)."""
        flat = np.concatenate(
            [
                self.inside.reshape(len(self.inside), -1),
                self.outside.reshape(len(self.outside), -1),
            ],
            axis=1,
        )
        return flat @ flat.T

    def geodesic(self, weights: ArrayLike) -> FloatArray:
        """Exp_{W₀}(Σ weightsᵢ Δᵢ), (d, n)."""
        a = np.tensordot(weights, self.inside, axes=1)
        n, r = self.base.shape[1], self.span.shape[1]
        if r == 0:
            return self.base @ expm(a)
        q, lower = np.linalg.qr(np.tensordot(weights, self.outside, axes=1))
        k = len(lower)
        block = expm(np.block([[a, -lower.T], [lower, np.zeros((k, k))]]))[:, :n]
        return self.base @ block[:n] + self.span @ (q @ block[n:])


class Sampler(Protocol):
    """A law of random bases. Draw k depends on the sampler and k alone."""

    def draw(self, k: int) -> FloatArray:
        """Basis k, (d, n)."""


@brief()
@dataclass(frozen=True)
class RiemannianSampler:
    """The stochastic reduced-order model between several bases.

    Parameters
    ----------
    frame : Frame
    mean_weights : (m,)
        Mean of the Dirichlet weights; :func:`convex_weights` of the frame's Gram matrix makes the mean
        tangent vector shortest.
    concentration : float
        a₀.
    seed : int
    fixed : (d, f), optional
        Columns that every sample carries in front (`split_bases`).
    """

    frame: Frame
    mean_weights: FloatArray
    concentration: float = 1.0
    seed: int = 0
    fixed: FloatArray | None = None

    def __post_init__(self):
        if not self.concentration > 0:
            raise InputError(f"concentration = {self.concentration}; expected a number above 0")
        p = self.mean_weights
        if p.shape != self.frame.inside.shape[:1] or (p < 0).any() or abs(p.sum() - 1) > 1e-8:
            raise InputError("mean_weights must be m numbers >= 0 with sum 1, one for each model")

    def weights(self, k: int) -> FloatArray:
        """Dirichlet weights of draw k, (m,)."""
        row = np.random.default_rng([self.seed, k]).random(2 * len(self.mean_weights))
        row = np.clip(row, 1e-300, 1 - 1e-16)[None]
        return dirichlet(self.concentration * self.mean_weights, row)[0]

    def model(self, k: int) -> int:
        """Model of the largest weight: the one whose forces drive sample k."""
        return int(np.argmax(self.weights(k)))

    def draw(self, k: int) -> FloatArray:
        """Basis k, (d, n)."""
        w = self.frame.geodesic(self.weights(k))
        return w if self.fixed is None else np.hstack([self.fixed, w])

    @property
    def residual(self) -> float:
        """Length of the mean tangent vector over the mean length: 0 if the samples centre on the base point."""
        gram = self.frame.gram
        lengths = np.sqrt(np.diag(gram))
        if not lengths.any():
            return 0.0
        return float(np.sqrt(self.mean_weights @ gram @ self.mean_weights) / lengths.mean())

    @property
    def dispersion(self) -> float:
        """E |Δ - EΔ|² = (Σ pᵢ|Δᵢ|² - |Σ pᵢΔᵢ|²)/(a₀ + 1)."""
        gram, p = self.frame.gram, self.mean_weights
        return float((p @ np.diag(gram) - p @ gram @ p) / (self.concentration + 1))


def fit_concentration(
    gram: FloatArray,
    mean_weights: FloatArray,
    noise: float = 0.0,
    draws: int = 1000,
    seed: int = 0,
) -> float:
    """Find a₀ for which samples lie as far from the base point as the models do, less what is noise.

    Minimises the mean of (|Δ(θ)| - s|Δᵢ|)² over samples and models (models weighted alike), with common random numbers;
    s² = 1 - noise² is the part of the models' squared distances that finite trajectories do not explain. Without
    noise the models themselves are matched, which a₀ near 0 does best.

    Parameters
    ----------
    gram : (m, m)
        Inner products of the models' tangent vectors.
    mean_weights : (m,)
    noise : float
        Distance between the bases of two trajectories of one model, over that of two models.
    draws, seed : int

    Returns
    -------
    float
        Between 0.01 and 1000.
    """
    lengths = np.sqrt(np.diag(gram) * max(0.0, 1.0 - noise**2))
    numbers = uniforms(seed, draws, len(gram))

    def cost(exponent: float) -> float:
        p = dirichlet(10.0**exponent * mean_weights, numbers)
        sampled = np.sqrt(np.clip(np.einsum("ki,ij,kj->k", p, gram, p), 0.0, None))
        return float(((sampled[:, None] - lengths) ** 2).mean())

    found = minimize_scalar(cost, bounds=(-2.0, 3.0), method="bounded", options={"xatol": 1e-3})
    return float(10.0**found.x)


def split_bases(
    base: FloatArray,
    bases: Sequence[FloatArray],
    base_frequencies: FloatArray,
    frequencies: Sequence[FloatArray],
    randomize: str,
    cutoff: float,
) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Our frequency split: one block of modes stays nominal, the other is left to be randomised.

    Parameters
    ----------
    base : (d, n)
    bases : sequence of (d, n)
    base_frequencies, frequencies : (n,) each
        Spectral centroid of each mode, THz.
    randomize : {"low", "high"}
        The block below or above the cutoff.
    cutoff : float
        THz.

    Returns
    -------
    fixed : (d, f)
        The nominal block of the base.
    moving : (d, n - f)
        The other block of the base.
    blocks : list of (d, n - f)
        As many modes of each model, lowest or highest ones, with the nominal block projected out.

    Raises
    ------
    InputError
        All modes on one side of the cutoff.
    """
    if randomize not in ("low", "high"):
        raise InputError(f"randomize = {randomize!r}; expected 'low' or 'high'")
    low = base_frequencies < cutoff
    chosen = low if randomize == "low" else ~low
    if chosen.all() or not chosen.any():
        raise InputError(
            f"all {len(low)} modes lie {'below' if low.all() else 'above'} the cutoff of {cutoff:g} THz "
            f"(centroids {base_frequencies.min():.3g} to {base_frequencies.max():.3g} THz)"
        )
    fixed, moving, count = base[:, ~chosen], base[:, chosen], int(chosen.sum())
    blocks = []
    for w, f in zip(bases, frequencies, strict=True):
        order = np.argsort(f, kind="stable")
        block = w[:, order[:count] if randomize == "low" else order[-count:]]
        block = block - fixed @ (fixed.T @ block)
        q, r = np.linalg.qr(block)
        if np.abs(np.diag(r)).min() < 1e-8:
            raise InputError("a model's modes lie in the nominal block: choose another cutoff")
        blocks.append(q)
    return fixed, moving, blocks


def spectral_centroids(coordinates: FloatArray, timestep: float) -> FloatArray:
    """Mean frequency of the power spectrum of each modal coordinate.

    Parameters
    ----------
    coordinates : (frames, n)
    timestep : float
        Between frames, ps.

    Returns
    -------
    (n,)
        THz.
    """
    y = coordinates - coordinates.mean(axis=0)
    power = np.abs(np.fft.rfft(y * np.hanning(len(y))[:, None], axis=0)) ** 2
    f = np.fft.rfftfreq(len(y), timestep)
    total = power.sum(axis=0)
    return np.where(total > 0, (f @ power) / np.where(total > 0, total, 1.0), 0.0)


@brief()
@dataclass(frozen=True)
class SubspaceSampler:
    """SS-PPCA: the leading modes of a random mixture of β snapshot directions. Needs one model only.

    Parameters
    ----------
    vectors : (d, r)
        Left singular vectors of the snapshots.
    singular_values : (r,)
    n : int
        Modes of a sample.
    beta : int
        At least n; large values approach the POD.
    seed : int
    """

    vectors: FloatArray
    singular_values: FloatArray
    n: int
    beta: int
    seed: int = 0

    def __post_init__(self):
        if not self.n <= self.beta:
            raise InputError(f"beta = {self.beta}; expected at least the number of modes, {self.n}")
        if len(self.singular_values) < self.n:
            raise InputError(f"{len(self.singular_values)} directions for {self.n} modes")

    def draw(self, k: int) -> FloatArray:
        """Basis k, (d, n)."""
        rng = np.random.default_rng([self.seed, k])
        mixture = self.singular_values[:, None] * rng.normal(
            size=(len(self.singular_values), self.beta)
        )
        x = np.linalg.svd(mixture, full_matrices=False)[0]
        return self.vectors @ x[:, : self.n]


def fit_beta(
    vectors: FloatArray,
    singular_values: FloatArray,
    n: int,
    targets: Sequence[FloatArray],
    draws: int = 50,
    seed: int = 0,
) -> int:
    """Find β for which samples lie as far from the POD basis as the targets do.

    Parameters
    ----------
    vectors, singular_values, n
        See :class:`SubspaceSampler`.
    targets : sequence of (d, n)
        Bases whose distance is to be met, e.g. of other models.

    Returns
    -------
    int
        By golden-section search on the logarithm of β, from n to 1000 n.
    """
    base = vectors[:, :n]
    wanted = np.array([grassmann_distance(base, w) for w in targets])
    # Distances inside the span of `vectors` need its coordinates only.
    eye = np.eye(len(singular_values))

    def cost(exponent: float) -> float:
        beta = max(n, round(float(np.exp(exponent))))
        sampler = SubspaceSampler(eye, singular_values, n, beta, seed)
        found = np.array([grassmann_distance(eye[:, :n], sampler.draw(k)) for k in range(draws)])
        return float(((found[:, None] - wanted) ** 2).mean())

    search = minimize_scalar(
        cost, bounds=(np.log(n), np.log(1000 * n)), method="bounded", options={"xatol": 0.01}
    )
    return max(n, round(float(np.exp(search.x))))


@brief()
@dataclass(frozen=True)
class PolarSampler:
    """NPM: a Gaussian random field on the atoms, retracted to the manifold. Needs one model only.

    Parameters
    ----------
    base : (d, n)
    positions : (N, 3)
        Å; the field is correlated over `length` by their distances.
    spread : float
        s: size of the fluctuation, about the root mean square angle (radian).
    length : float
        Å; 0: no correlation.
    allowed : (d,) of bool, optional
        Rows that may move; the others keep those of the base.
    features : int
        Random Fourier components of the field.
    seed : int
    """

    base: FloatArray
    positions: FloatArray
    spread: float
    length: float = 0.0
    allowed: NDArray[np.bool_] | None = None
    features: int = 256
    seed: int = 0

    def draw(self, k: int) -> FloatArray:
        """Basis k, (d, n)."""
        rng = np.random.default_rng([self.seed, k])
        d, n = self.base.shape
        if self.length > 0:
            waves = rng.normal(size=(3, self.features)) / self.length
            phases = self.positions @ waves + rng.uniform(0, 2 * np.pi, self.features)
            amplitudes = rng.normal(size=(self.features, 3 * n)) * np.sqrt(2 / self.features)
            field = (np.cos(phases) @ amplitudes).reshape(d, n)
        else:
            field = rng.normal(size=(d, n))
        if self.allowed is not None:
            field = np.where(self.allowed[:, None], field, 0.0)
        u = field / np.sqrt(d)
        z = self.spread * (u - self.base @ symmetric(self.base.T @ u))
        x, _, y = np.linalg.svd(self.base + z, full_matrices=False)
        return x @ y
