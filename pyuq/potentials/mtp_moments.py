# SPDX-License-Identifier: GPL-2.0-or-later
r"""Which moments a moment tensor potential of a level has.

The moment :math:`M_{\mu\nu} = \sum_j f_\mu(r_j)\, \hat r_j^{\otimes\nu}` has level :math:`2 + 4\mu + \nu`. The
functions of level L are all contractions to a scalar of up to four moments whose levels sum up to L or less.
Such a contraction is a multigraph: its nodes are moments, an edge is an index that two moments share, and every
moment :math:`\nu` has :math:`\nu` edges, none to itself. With an exponent triple :math:`t_e` for each bundle e
of parallel edges it reads

.. math:: B = \sum_{t} \prod_e \binom{|t_e|}{t_e} \prod_n M_{\mu_n}\Big[\sum_{e \ni n} t_e\Big].

It is evaluated by contracting one moment after the other. What three moments leave for the fourth is a
symmetric tensor, because the fourth is; and disconnected graphs are products of smaller scalars.

References
----------
A. V. Shapeev, Multiscale Model. Simul. 14, 1153 (2016).
I. S. Novikov, K. Gubaev, E. V. Podryabinkin, A. V. Shapeev, Mach. Learn.: Sci. Technol. 2, 025002 (2021).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, combinations_with_replacement, permutations, product
from math import factorial

from pyuq.brief import brief
from pyuq.errors import InputError

MOST_MOMENTS = 4  # in a function
HIGHEST_LEVEL = 28  # that has been published; beyond it the search for functions takes hours

Node = tuple[int, int]  # (μ, ν)
Edges = tuple[
    int, ...
]  # multiplicity of each pair of nodes, in the order of itertools.combinations
Triple = tuple[int, int, int]  # exponents of x, y, z


@brief()
@dataclass(frozen=True)
class Moments:
    """Moments of a level in the terms of the ``.mtp`` format.

    Attributes
    ----------
    basic : tuple of (μ, a, b, c)
        Moments 0, 1, ...: Σ_j f_μ x^a y^b z^c.
    products : tuple of (p, q, w, t)
        M_t += w M_p M_q.
    scalars : tuple of int
        Moments in the energy.
    levels : tuple of int
        Level of each of these.
    count : int
        Number of all moments.
    """

    basic: tuple[tuple[int, int, int, int], ...]
    products: tuple[tuple[int, int, int, int], ...]
    scalars: tuple[int, ...]
    levels: tuple[int, ...]
    count: int

    @property
    def nradial(self) -> int:
        """Number of radial functions."""
        return 1 + max(m[0] for m in self.basic)


def level_of(nodes: tuple[Node, ...]) -> int:
    """Level of a product of moments."""
    return sum(2 + 4 * mu + nu for mu, nu in nodes)


@lru_cache
def triples(degree: int) -> tuple[Triple, ...]:
    """Exponents of all monomials of a degree, in the order of the format."""
    return tuple(
        (a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1)
    )


def multinomial(t: Triple) -> int:
    """Number of index tuples with these exponents."""
    return factorial(sum(t)) // (factorial(t[0]) * factorial(t[1]) * factorial(t[2]))


def add(*ts: Triple) -> Triple:
    """Sum of exponents."""
    return tuple(map(sum, zip(*ts, strict=True)))


def edge_sets(nodes: tuple[Node, ...]) -> Iterator[Edges]:
    """Ways to connect all indices of these moments, each once among equal moments."""
    pairs = list(combinations(range(len(nodes)), 2))
    place = {pair: k for k, pair in enumerate(pairs)}

    def extend(k: int, left: list[int], edges: list[int]) -> Iterator[Edges]:
        if k == len(pairs):
            if not any(left):
                yield tuple(edges)
            return
        i, j = pairs[k]
        for m in range(min(left[i], left[j]) + 1):
            rest = left.copy()
            rest[i] -= m
            rest[j] -= m
            yield from extend(k + 1, rest, [*edges, m])

    orders = [
        order
        for order in permutations(range(len(nodes)))
        if all(nodes[a] == nodes[b] for a, b in enumerate(order))
    ]
    found = set()
    for edges in extend(0, [nu for _, nu in nodes], []):
        equal = [
            tuple(edges[place[tuple(sorted((order[i], order[j])))]] for i, j in pairs)
            for order in orders
        ]
        if max(equal) not in found:
            found.add(max(equal))
            yield max(equal)


def components(n: int, edges: Edges) -> list[list[int]]:
    """Connected parts of a graph of n nodes."""
    parts = [{k} for k in range(n)]
    for (i, j), m in zip(combinations(range(n), 2), edges, strict=True):
        if m:
            a, b = (next(p for p in parts if k in p) for k in (i, j))
            if a is not b:
                parts.remove(b)
                a |= b
    return [sorted(part) for part in parts]


def subgraph(nodes: tuple[Node, ...], edges: Edges, order) -> tuple[tuple[Node, ...], Edges]:
    """Some nodes in another order, with the edges between them."""
    multiplicity = dict(zip(combinations(range(len(nodes)), 2), edges, strict=True))
    pairs = (tuple(sorted(pair)) for pair in combinations(order, 2))
    return tuple(nodes[k] for k in order), tuple(multiplicity[pair] for pair in pairs)


# A tensor is named by what it is made of; its terms are {component: {(p, q): weight}}, p and q
# being components (name, exponents) of other tensors.
Tensor = tuple
Terms = dict[tuple, Counter]


@lru_cache
def pair_tensor(a: Node, b: Node, ab: int, outer: tuple[tuple[int, int], ...]) -> Terms:
    """Moments a and b, contracted over ab indices; outer: (indices of a, of b) towards each other node."""
    terms: Terms = {}
    free = [triples(m) for ends in outer for m in ends]
    for t in triples(ab):
        for ts in product(*free):
            weight = multinomial(t)
            for s in ts:
                weight *= multinomial(s)
            component = tuple(add(ts[k], ts[k + 1]) for k in range(0, len(ts), 2))
            p, q = (a, add(t, *ts[0::2])), (b, add(t, *ts[1::2]))
            terms.setdefault(component, Counter())[min(p, q), max(p, q)] += weight
    return terms


@lru_cache
def triple_tensor(pair: Tensor, c: Node, cd: int) -> Terms:
    """A tensor of two moments with its first index group contracted with moment c, towards moment d."""
    terms: Terms = {}
    for component in pair_tensor(*pair):
        for t in triples(cd):
            p, q = (pair, component), (c, add(component[0], t))
            terms.setdefault((add(component[1], t),), Counter())[p, q] += multinomial(t)
    return terms


@lru_cache
def open_pair(a: Node, b: Node, ab: int) -> Terms:
    """Moments a and b, contracted over ab indices; components: what is left of a and of b."""
    terms: Terms = {}
    for left, right in product(triples(a[1] - ab), triples(b[1] - ab)):
        component = open_component(a, b, left, right)
        if component not in terms:
            terms[component] = Counter()
            for t in triples(ab):
                p, q = (a, add(t, left)), (b, add(t, right))
                terms[component][min(p, q), max(p, q)] += multinomial(t)
    return terms


def open_component(a: Node, b: Node, left: Triple, right: Triple) -> tuple[Triple, Triple]:
    """Order the open indices of two moments; equal moments can be exchanged, so that one order stands for both."""
    return (min(left, right), max(left, right)) if a == b else (left, right)


def two_pairs(nodes: tuple[Node, ...], edges: Edges) -> Counter:
    """Terms of the full contraction of an open pair of the first two moments with one of the others."""
    a, b, c, d = nodes
    ab, ac, ad, bc, bd, cd = edges
    terms: Counter = Counter()
    for ts in product(triples(ac), triples(ad), triples(bc), triples(bd)):
        weight = 1
        for t in ts:
            weight *= multinomial(t)
        p = ((a, b, ab), open_component(a, b, add(ts[0], ts[1]), add(ts[2], ts[3])))
        q = ((c, d, cd), open_component(c, d, add(ts[0], ts[2]), add(ts[1], ts[3])))
        terms[min(p, q), max(p, q)] += weight
    return terms


Plan = tuple[
    list[tuple[Tensor, Terms]], Counter
]  # intermediate tensors; terms (p, q) of the scalar


@lru_cache
def plans(nodes: tuple[Node, ...], edges: Edges) -> list[Plan]:
    """Ways to contract connected moments in the order given."""
    if len(nodes) == 2:
        (terms,) = open_pair(*nodes, edges[0]).values()
        return [([], terms)]
    a, b, *_, last = nodes
    if len(nodes) == 3:
        ab, ac, bc = edges
        closed = (a, b, ab, ((ac, bc),))
        half = (a, b, ab)
        terms: Counter = Counter()
        for left, right in product(triples(ac), triples(bc)):
            p = (half, open_component(a, b, left, right))
            terms[p, (last, add(left, right))] += multinomial(left) * multinomial(right)
        return [close([(closed, pair_tensor(*closed))], last), ([(half, open_pair(*half))], terms)]
    ab, ac, ad, bc, bd, cd = edges
    pair = (a, b, ab, ((ac, bc), (ad, bd)))
    triple = (pair, nodes[2], cd)
    chain = close([(pair, pair_tensor(*pair)), (triple, triple_tensor(*triple))], last)
    if not (ab and cd):
        return [chain]
    halves = [(a, b, ab), (*nodes[2:], cd)]
    return [chain, ([(half, open_pair(*half)) for half in halves], two_pairs(nodes, edges))]


def close(made: list[tuple[Tensor, Terms]], last: Node) -> Plan:
    """Contract what the tensors lead to with the last moment, whose indices it has."""
    name, tensor = made[-1]
    return made, Counter({((name, t), (last, t[0])): 1 for t in tensor})


class _Builder:
    """Collects basic moments and products."""

    def __init__(self, level: int):
        # A moment with indices needs another one to contract them with.
        highest = [max(0, (level - 4 - 4 * mu) // 2) for mu in range((level - 2) // 4 + 1)]
        self.basic = [
            (mu, *t) for mu, top in enumerate(highest) for nu in range(top + 1) for t in triples(nu)
        ]
        self.index = {((mu, sum(t)), tuple(t)): k for k, (mu, *t) in enumerate(self.basic)}
        self.products: list[tuple[int, int, int, int]] = []
        self.tensors: set[Tensor] = set()
        self.scalars: dict[tuple, int] = {}
        self.count = len(self.basic)

    def add_moment(self, terms: Counter) -> int:
        """Add one moment; return its number."""
        for (p, q), weight in terms.items():
            self.products.append((self.index[p], self.index[q], weight, self.count))
        self.count += 1
        return self.count - 1

    def cost(self, plan: Plan) -> int:
        """Products and moments that a plan would add."""
        made, terms = plan
        new = {name: tensor for name, tensor in made if name not in self.tensors}
        return len(terms) + sum(
            1 + len(sums) for tensor in new.values() for sums in tensor.values()
        )

    def scalar(self, nodes: tuple[Node, ...], edges: Edges) -> int:
        """Return the moment of a graph, with what it needs."""
        orders = [subgraph(nodes, edges, order) for order in permutations(range(len(nodes)))]
        name = min(orders)
        if name not in self.scalars:
            self.scalars[name] = self._scalar(nodes, edges, orders)
        return self.scalars[name]

    def _scalar(self, nodes: tuple[Node, ...], edges: Edges, orders: list) -> int:
        if len(nodes) == 1:
            return self.index[nodes[0], (0, 0, 0)]
        parts = components(len(nodes), edges)
        if len(parts) > 1:
            rest = sorted(k for part in parts[1:] for k in part)
            p, q = (self.scalar(*subgraph(nodes, edges, part)) for part in (parts[0], rest))
            self.products.append((p, q, 1, self.count))
            self.count += 1
            return self.count - 1
        made, terms = min(
            (plan for graph in sorted(set(orders)) for plan in plans(*graph)), key=self.cost
        )
        for name, tensor in made:
            if name in self.tensors:
                continue
            self.tensors.add(name)
            for component, sums in sorted(tensor.items()):
                self.index[name, component] = self.add_moment(sums)
        return self.add_moment(terms)


@lru_cache
def moments(level: int) -> Moments:
    """Moments of all functions of a level.

    Parameters
    ----------
    level : int
        Even, from 2 to 28, the largest that has been published.

    Returns
    -------
    Moments

    Raises
    ------
    InputError
        Another level.
    """
    if level not in range(2, HIGHEST_LEVEL + 1, 2):
        raise InputError(f"level must be even, from 2 to {HIGHEST_LEVEL}, found {level}")
    builder = _Builder(level)
    kinds = sorted({(mu, a + b + c) for mu, a, b, c in builder.basic}, key=lambda n: level_of((n,)))
    functions = sorted(
        (level_of(nodes), n, nodes, edges)
        for n in range(1, MOST_MOMENTS + 1)
        for nodes in combinations_with_replacement(kinds, n)
        if level_of(nodes) <= level
        for edges in edge_sets(nodes)
    )
    scalars = [builder.scalar(nodes, edges) for _, _, nodes, edges in functions]
    return Moments(
        tuple(builder.basic),
        tuple(builder.products),
        tuple(scalars),
        tuple(f[0] for f in functions),
        builder.count,
    )
