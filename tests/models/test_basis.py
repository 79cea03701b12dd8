# SPDX-License-Identifier: GPL-2.0-or-later
"""Couplings and bases against naive sums over neighbours, and against counting."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_ace import values
from scipy.spatial.transform import Rotation

from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.coupling import clebsch_gordan, invariants


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
    ACEBasis(("Si",), 5.0, order=4, degree=6, radial="ChebExpCos", radial_parameter=1.0),
    ACEBasis(("Al", "Si"), 5.0, order=3, degree=4, radial="ChebPow", radial_parameter=1.0),
    ACEBasis(("Si",), 5.0, order=5, degree=4, l_weight=0.8, radial="ChebLinear"),
    ACEBasis(("Ag", "I"), 5.0, order=2, degree=np.inf, nmax=(4, 3), lmax=(0, 2), radial="SBessel"),
]


def environment(basis, rng, n=9):
    """Vectors to n neighbours at 1 to 4.5 Å, and their species."""
    x = rng.normal(size=(n, 3))
    x *= rng.uniform(1.0, 4.5, size=(n, 1)) / np.linalg.norm(x, axis=1)[:, None]
    return x, rng.integers(len(basis.elements), size=n)


@pytest.mark.parametrize("basis", BASES, ids=lambda b: f"{b.radial}-{b.order}")
def test_functions_are_invariant(basis):
    rng = np.random.default_rng(3)
    for centre in range(len(basis.elements)):
        x, species = environment(basis, rng)
        there = values(basis, x, species, centre)
        order = rng.permutation(len(x))
        moved = -x[order] @ Rotation.random(random_state=1).as_matrix()  # improper rotation
        np.testing.assert_allclose(
            values(basis, moved, species[order], centre), there, atol=1e-11 * np.abs(there).max()
        )


@pytest.mark.parametrize("basis", BASES, ids=lambda b: f"{b.radial}-{b.order}")
def test_functions_are_independent(basis):
    rng = np.random.default_rng(4)
    m = len(basis.functions[0])
    table = np.array([values(basis, *environment(basis, rng)) for _ in range(2 * m)])
    singular = np.linalg.svd(table / np.linalg.norm(table, axis=0), compute_uv=False)
    assert singular[-1] > 1e-12  # a dependent function would leave rounding, 1e-15


@pytest.mark.parametrize("basis", BASES, ids=lambda b: f"{b.radial}-{b.order}")
def test_nothing_is_missing(basis):
    """As many functions as there are invariants in all multisets of (μ, n, l) within the limits."""
    expected = 0
    for order in range(1, basis.order + 1):
        limit = {name: basis.limit(name, order) for name in ("degree", "nmax", "lmax")}
        factors = [
            (mu, n, l)
            for mu in range(len(basis.elements))
            for n in range(1, 10)
            for l in range(10)
            if n <= limit["nmax"] and l <= limit["lmax"]
        ]
        for chosen in multisets(factors, order, limit["degree"], basis.l_weight):
            ls = [l for _, _, l in chosen]
            if sum(ls) % 2 == 0:
                expected += count_invariants(ls, [chosen.index(f) for f in chosen])
    assert len(basis.functions[0]) == expected


def multisets(factors, order, degree, l_weight):
    """Multisets of factors with Σ (n - 1) + l_weight · l ≤ degree."""
    if order == 0:
        yield ()
        return
    for k, factor in enumerate(factors):
        rest = degree - (factor[1] - 1) - l_weight * factor[2]
        if rest > -1e-9:
            for others in multisets(factors[k:], order - 1, rest, l_weight):
                yield (factor, *others)


def count_invariants(ls, groups):
    """Dimension of the invariants by the characters of SO(3), averaged over permutations of equal factors."""
    angles = (np.arange(64) + 0.5) * np.pi / 64  # exact for trigonometric polynomials up to 63
    measure = (1 - np.cos(angles)) / 64

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


# Independent invariants of v^ν, v one factor (n, l): partitions into symmetric powers, e.g. one quadratic and
# one cubic invariant of a vector of l = 2, none of odd order of l = 1.
@pytest.mark.parametrize(
    ("l", "order", "number"),
    [(1, 2, 1), (1, 4, 1), (2, 3, 1), (2, 4, 1), (2, 5, 1), (2, 6, 2), (3, 4, 2), (4, 3, 1)],
)
def test_known_numbers_of_symmetric_invariants(l, order, number):
    _, couplings = invariants((l,) * order, (0,) * order)
    assert len(couplings) == number


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ("Si", "Si")}, "distinct"),
        ({"cutoff": 0.0}, "cutoff of Si-Si must be positive"),
        ({"cutoff": {}}, "cutoff names no value for Si-Si"),
        ({"cutoff": {("Si", "Si"): 5.0, ("Si", "Ge"): 5.0}}, "cutoff names"),
        (
            {
                "elements": ("C", "H"),
                "cutoff": {("C", "H"): 5, ("H", "C"): 4, ("C", "C"): 5, ("H", "H"): 5},
            },
            "differs between its two orders",
        ),
        ({"dcut": 6.0}, "dcut must lie"),
        ({"order": 9}, "order must lie"),
        ({"radial": "Gauss"}, "radial must be one of"),
        ({"radial_parameter": 0.0}, "radial_parameter must be positive"),
        ({"degree": (3, 3)}, "degree needs 3 values"),
        ({"degree": -1}, "degree must not be negative"),
        ({"degree": np.inf}, "no end: give nmax"),
        ({"l_weight": 0.0}, "no end: give lmax"),
        ({"species_weights": {("Si", "Ge"): 1.0}}, "species_weights"),
        ({"species_weights": {("Si", "Si"): -1.0}}, "must not be negative"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ACEBasis(**({"elements": ("Si",), "cutoff": 5.0} | settings))


def test_angular_momenta_that_the_evaluator_does_not_know_are_refused():
    with pytest.raises(ValueError, match="order 2 reach l = 25, expected up to 24: give lmax"):
        _ = ACEBasis(("Si",), 5.0, order=2, degree=60).functions


def test_species_weights_spend_functions_elsewhere():
    even = ACEBasis(("Al", "Si"), 5.0, degree=6)
    uneven = ACEBasis(("Al", "Si"), 5.0, degree=6, species_weights={("Al", "Si"): 2.0})
    assert len(uneven.functions[0]) < len(even.functions[0])
    assert len(uneven.functions[1]) == len(even.functions[1])


def test_limits_of_each_order_hold():
    basis = ACEBasis(
        ("Si",), 5.0, degree=(7, 6, 5), n_weight=(1, 1, 2), nmax=(8, 4, 2), lmax=(0, 3, 2)
    )
    for f in basis.functions[0]:
        order = len(f.ns)
        assert max(f.ns) <= (8, 4, 2)[order - 1]
        assert max(f.ls) <= (0, 3, 2)[order - 1]
        degree = sum((1, 1, 2)[order - 1] * (n - 1) + l for n, l in zip(f.ns, f.ls, strict=True))
        assert f.degree == pytest.approx(degree)
        assert degree <= (7, 6, 5)[order - 1]
    assert basis.nbase == 8
    assert basis.nradial == 4
    assert basis.degrees().shape == (basis.nfunctions,)


def test_cutoff_of_a_pair_holds_in_both_orders():
    basis = ACEBasis(("Ag", "I"), {("Ag", "Ag"): 4.0, ("I", "Ag"): 5.0, ("I", "I"): 6.0})
    assert basis.pair_cutoff("Ag", "I") == basis.pair_cutoff("I", "Ag") == 5.0
    assert basis.largest_cutoff == 6.0
    assert len({basis, basis}) == 1
