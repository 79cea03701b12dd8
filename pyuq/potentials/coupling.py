# SPDX-License-Identifier: GPL-2.0-or-later
r"""Rotation-invariant couplings of products of spherical harmonics.

A product :math:`\prod_t A_{v_t m_t}`, :math:`v = (\mu, n, l)`, transforms as a tensor product of angular
momenta. The coefficients that couple it to total angular momentum zero are chains of Clebsch-Gordan
coefficients, one chain for each set of intermediate angular momenta. Factors with equal :math:`v` commute,
which makes some of the chains linearly dependent; an orthonormal set of the independent ones is kept.

References
----------
R. Drautz, Phys. Rev. B 99, 014104 (2019); G. Dusson et al., J. Comput. Phys. 454, 110946 (2022).
"""

from fractions import Fraction
from functools import cache
from itertools import groupby
from math import copysign, factorial, sqrt

import numpy as np

from pyuq.errors import InputError

DEPENDENT = 1e-9  # norm below which what is left of a unit vector counts as zero


@cache
def clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j: int, m: int) -> float:
    """Clebsch-Gordan coefficient ⟨j1 m1 j2 m2 | j m⟩ of integer angular momenta (Racah's formula)."""
    if m1 + m2 != m or not abs(j1 - j2) <= j <= j1 + j2 or abs(m) > j:
        return 0.0
    f = factorial
    triangle = Fraction(f(j1 + j2 - j) * f(j1 - j2 + j) * f(-j1 + j2 + j), f(j1 + j2 + j + 1))
    states = f(j1 + m1) * f(j1 - m1) * f(j2 + m2) * f(j2 - m2) * f(j + m) * f(j - m)
    low = max(0, j2 - j - m1, j1 - j + m2)
    high = min(j1 + j2 - j, j1 - m1, j2 + m2)
    terms = sum(
        Fraction(
            (-1) ** k,
            f(k)
            * f(j1 + j2 - j - k)
            * f(j1 - m1 - k)
            * f(j2 + m2 - k)
            * f(j - j2 + m1 + k)
            * f(j - j1 - m2 + k),
        )
        for k in range(low, high + 1)
    )
    # Rational numbers up to here: the alternating sum loses no digits.
    return copysign(sqrt((2 * j + 1) * triangle * states * terms**2), terms)


def intermediate_momenta(ls: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sets of intermediate angular momenta (L_12, L_123, ...) that end at zero."""
    chains = [(ls[0],)]
    for l in ls[1:]:
        chains = [
            (*chain, total)
            for chain in chains
            for total in range(abs(chain[-1] - l), chain[-1] + l + 1)
        ]
    return [chain[1:] for chain in chains if chain[-1] == 0]


def chain_coefficients(ls: tuple[int, ...], chain: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """Coefficients of one chain: {(m_1, ..., m_ν): C}."""
    states = {(m,): 1.0 for m in range(-ls[0], ls[0] + 1)}
    total = ls[0]
    for l, target in zip(ls[1:], chain, strict=True):
        following = {}
        for ms, value in states.items():
            for m in range(-l, l + 1):
                c = clebsch_gordan(total, sum(ms), l, m, target, sum(ms) + m)
                if c:
                    following[(*ms, m)] = value * c
        states, total = following, target
    return {ms: value for ms, value in states.items() if sum(ms) == 0}


def canonical(ms: tuple[int, ...], groups: tuple[int, ...]) -> tuple[int, ...]:
    """Representative of a monomial: m sorted inside equal factors, and of m and -m the larger.

    Both signs have the same real part: A_{l,-m} = (-1)^m conj(A_lm) and Σm = 0.
    """

    def ordered(values):
        return tuple(
            m
            for _, group in groupby(zip(groups, values, strict=True), key=lambda pair: pair[0])
            for m in sorted((m for _, m in group), reverse=True)
        )

    return max(ordered(ms), ordered(tuple(-m for m in ms)))


@cache
def invariants(
    ls: tuple[int, ...], groups: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], ...], np.ndarray]:
    """Independent invariant couplings of a product of harmonics.

    Parameters
    ----------
    ls : tuple of int
        Angular momentum of each factor; their sum must be even (reflection invariance).
    groups : tuple of int
        Label of each factor; equal neighbours are the same function and commute.

    Returns
    -------
    monomials : tuple of tuples
        (m_1, ..., m_ν) of each product.
    couplings : ndarray, shape (independent functions, monomials)
        Orthonormal rows; the function is Σ coupling · Re Π A.

    Raises
    ------
    InputError
        Σl is odd.
    """
    if sum(ls) % 2:
        raise InputError(f"the sum of ls {ls} must be even")
    vectors = []
    for chain in intermediate_momenta(ls):
        vector: dict[tuple[int, ...], float] = {}
        for ms, value in chain_coefficients(ls, chain).items():
            key = canonical(ms, groups)
            vector[key] = vector.get(key, 0.0) + value
        vectors.append(vector)
    monomials = tuple(sorted({key for vector in vectors for key in vector}))
    kept: list[np.ndarray] = []
    for vector in vectors:
        v = np.array([vector.get(key, 0.0) for key in monomials])
        for _ in range(2):  # once more for orthogonality to rounding
            for u in kept:
                v = v - (u @ v) * u
        if np.linalg.norm(v) > DEPENDENT:
            kept.append(v / np.linalg.norm(v))
    couplings = np.array(kept).reshape(len(kept), len(monomials))
    used = np.abs(couplings).max(axis=0, initial=0.0) > DEPENDENT
    return tuple(m for m, u in zip(monomials, used, strict=True) if u), couplings[:, used]
