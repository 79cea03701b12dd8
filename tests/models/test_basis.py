# SPDX-License-Identifier: GPL-2.0-or-later
"""Couplings and bases against naive sums over neighbours, and against counting."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from pyuq.models.basis import ACEBasis
from pyuq.models.coupling import clebsch_gordan, invariants
from pyuq.models.yace import Repulsion, format_yace


def harmonics(vectors, lmax):
    """{(l, m): complex Y over vectors}, scaled by √4π."""
    r = np.linalg.norm(vectors, axis=1)
    theta, phi = np.arccos(vectors[:, 2] / r), np.arctan2(vectors[:, 1], vectors[:, 0])
    return {
        (l, m): np.sqrt(4 * np.pi) * sph_harm_y(l, m, theta, phi)
        for l in range(lmax + 1)
        for m in range(-l, l + 1)
    }


def radial(n, r, cutoff):
    return (r / cutoff) ** n * (1 - r / cutoff) ** 2


def values(basis, vectors, species):
    """Functions of central species 0, by definition."""
    r = np.linalg.norm(vectors, axis=1)
    y = harmonics(vectors, basis.largest_l)

    def a(mu, n, l, m):
        chosen = species == mu
        return (radial(n, r, basis.cutoff) * y[l, m])[chosen].sum()

    return np.array(
        [
            sum(
                c * np.prod([a(*v, m) for v, m in zip(zip(f.mus, f.ns, f.ls), ms)]).real
                for ms, c in zip(f.ms, f.ctildes)
            )
            for f in basis.functions[0]
        ]
    )


@pytest.mark.parametrize(("j1", "j2"), [(1, 1), (2, 1), (3, 2), (4, 4)])
def test_clebsch_gordan_is_orthogonal(j1, j2):
    pairs = [(j, m) for j in range(abs(j1 - j2), j1 + j2 + 1) for m in range(-j, j + 1)]
    states = list(itertools.product(range(-j1, j1 + 1), range(-j2, j2 + 1)))
    c = np.array([[clebsch_gordan(j1, a, j2, b, j, m) for a, b in states] for j, m in pairs])
    np.testing.assert_allclose(c @ c.T, np.eye(len(pairs)), atol=1e-13)


def test_known_coefficients():
    assert clebsch_gordan(1, 0, 1, 0, 0, 0) == pytest.approx(-1 / np.sqrt(3))
    assert clebsch_gordan(2, 1, 1, -1, 1, 0) == pytest.approx(np.sqrt(3 / 10))
    assert clebsch_gordan(1, 1, 1, 1, 1, 2) == 0.0


BASES = [
    ACEBasis(("Si",), 5.0, order=4, degree=6),
    ACEBasis(("Al", "Si"), 5.0, order=3, degree=5),
    ACEBasis(("Si",), 5.0, order=5, degree=(4, 4, 4, 4, 4), l_weight=0.8),
]


@pytest.mark.parametrize("basis", BASES, ids=lambda b: f"{b.nfunctions}")
def test_functions_are_invariant_and_independent(basis):
    rng = np.random.default_rng(3)
    environments = []
    for _ in range(basis.nfunctions + 20):
        x = rng.normal(size=(9, 3))
        species = rng.integers(len(basis.elements), size=9)
        environments.append(
            (x * rng.uniform(1, 4, size=(9, 1)) / np.linalg.norm(x, axis=1)[:, None], species)
        )
    for x, species in environments[:4]:
        there = values(basis, x, species)
        order = rng.permutation(len(x))
        moved = -x[order] @ Rotation.random(random_state=1).as_matrix()
        np.testing.assert_allclose(
            values(basis, moved, species[order]), there, atol=1e-9 * np.abs(there).max()
        )
    table = np.array([values(basis, *environment) for environment in environments])
    table /= np.abs(table).max(axis=0)
    assert np.linalg.matrix_rank(table, tol=1e-11) == len(basis.functions[0])


def count_invariants(ls, groups):
    """Dimension of the invariants by the characters of SO(3), averaged over permutations of equal factors."""
    angles, weights = np.polynomial.legendre.leggauss(400)
    angles, weights = (angles + 1) * np.pi / 2, weights * np.pi / 2
    measure = weights * (1 - np.cos(angles)) / np.pi

    def character(l, multiple):
        return sum(np.cos(m * multiple * angles) for m in range(-l, l + 1))

    blocks = [
        list(block) for _, block in itertools.groupby(range(len(ls)), key=lambda k: groups[k])
    ]
    total = np.ones_like(angles)
    for block in blocks:
        terms = []
        for permutation in itertools.permutations(range(len(block))):
            seen, product = set(), np.ones_like(angles)
            for start in range(len(block)):
                length, k = 0, start
                while k not in seen:
                    seen.add(k)
                    k, length = permutation[k], length + 1
                if length:
                    product = product * character(ls[block[0]], length)
            terms.append(product)
        total = total * np.mean(terms, axis=0)
    return int(np.rint((total * measure).sum()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=5))
def test_number_of_couplings_is_that_of_the_characters(factors):
    factors = sorted((n, l) for l, n in factors)
    ls = tuple(l for _, l in factors)
    if sum(ls) % 2 or sum(ls) > 14:
        return
    groups = tuple(factors.index(f) for f in factors)
    monomials, couplings = invariants(ls, groups)
    assert len(couplings) == count_invariants(ls, groups)
    np.testing.assert_allclose(couplings @ couplings.T, np.eye(len(couplings)), atol=1e-12)
    assert couplings.shape[1] == len(monomials)


def test_odd_products_are_refused():
    with pytest.raises(ValueError, match="even"):
        invariants((1, 1, 1), (0, 1, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ("Si", "Si")}, "distinct"),
        ({"cutoff": 0.0}, "cutoff must be positive"),
        ({"order": 9}, "order must lie"),
        ({"radial": "Gauss"}, "radial must be one of"),
        ({"degree": (3, 3)}, "degree needs 3 values"),
        ({"species_weights": {("Si", "Ge"): 1.0}}, "species_weights"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ACEBasis(**({"elements": ("Si",), "cutoff": 5.0} | settings))


def test_species_weights_spend_functions_elsewhere():
    even = ACEBasis(("Al", "Si"), 5.0, degree=6)
    uneven = ACEBasis(("Al", "Si"), 5.0, degree=6, species_weights={("Al", "Si"): 2.0})
    assert len(uneven.functions[0]) < len(even.functions[0])
    assert len(uneven.functions[1]) == len(even.functions[1])


def test_wrong_coefficients_are_refused():
    basis = ACEBasis(("Si",), 5.0, degree=3)
    with pytest.raises(ValueError, match="finite coefficients"):
        format_yace(basis, np.full(basis.nfunctions, np.nan))
    assert "inner_cutoff_type: zbl" in format_yace(basis, repulsion=Repulsion({("Si", "Si"): 2.0}))
