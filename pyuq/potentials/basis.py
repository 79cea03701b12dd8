# SPDX-License-Identifier: GPL-2.0-or-later
r"""Linear ACE bases: which invariant functions of the atomic neighbourhood a potential is made of.

With :math:`A_{\mu nlm} = \sum_j g_n(r_{ij})\,Y_{lm}(\hat r_{ij})` over the neighbours of species μ, a function
of correlation order ν is

.. math:: B = \sum_m \tilde c_{m_1 \dots m_\nu}\, \mathrm{Re} \prod_{t=1}^{\nu} A_{\mu_t n_t l_t m_t}.

There is one for each multiset of :math:`(\mu_t, n_t, l_t)` with even Σl (reflections) and each independent
coupling of its angular momenta to zero (rotations), see :mod:`pyuq.potentials.coupling`. Y are complex harmonics
with the Condon-Shortley phase, scaled by √4π, so that Y_00 = 1. ChebExpCos, for example, with x = r/cutoff, is

.. math:: g_1 = \tfrac12(1 + \cos \pi x), \quad g_k = \tfrac12\,[1 - T_{k-1}(y)]\,g_1, \quad
          y = 1 - 2\,\frac{e^{-\lambda x} - e^{-\lambda}}{1 - e^{-\lambda}}.

References
----------
R. Drautz, Phys. Rev. B 99, 014104 (2019); G. Dusson et al., J. Comput. Phys. 454, 110946 (2022);
Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import combinations_with_replacement, count, product

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.potentials.coupling import invariants
from pyuq.potentials.yace import format_yace

PER_ORDER = ("degree", "n_weight", "l_weight", "nmax", "lmax")
TOLERANCE = 1e-9  # of comparisons of degrees
LARGEST_L = 24  # that the evaluator knows
ROUNDING = 1e-14  # couplings of unit norm below this are zero
RADIAL = ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")


@brief()
@dataclass(frozen=True, eq=False)
class Function:
    """One invariant function of a central species.

    Attributes
    ----------
    mus, ns, ls : tuple of int
        Species, radial index (from 1) and angular momentum of each factor.
    ms : tuple of tuples
        (m_1, ..., m_ν) of each product.
    ctildes : ndarray, shape (products,)
        Unit-norm coupling.
    degree : float
        Weighted degree, see :class:`ACEBasis`.
    """

    mus: tuple[int, ...]
    ns: tuple[int, ...]
    ls: tuple[int, ...]
    ms: tuple[tuple[int, ...], ...]
    ctildes: np.ndarray
    degree: float


@brief()
@dataclass(frozen=True)
class ACEBasis:
    """The complete set of invariant functions up to given limits.

    A function is taken when Σ_t [n_weight · (n_t - 1) + l_weight · l_t + w(z, μ_t)] ≤ degree, and n and l keep
    to their own limits where these are given. ``degree``, the weights of n and l, ``nmax`` and ``lmax`` are
    one value for all orders or one for each order ν = 1, 2, ....

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols; their order is the species order of the file.
    cutoff : float or mapping of pair to float
        Radial cutoff, Å; or {("Ag", "I"): cutoff, ...}, one for each pair of elements in either order.
    order : int
        Largest correlation order ν (number of neighbours in a function).
    degree : float or sequence of float
        Largest degree.
    n_weight, l_weight : float or sequence of float
        Weights of n and l in the degree.
    nmax, lmax : int or sequence of int, optional
        Largest n (from 1) and l.
    radial : str
        SBessel, ChebExpCos, ChebPow or ChebLinear. SBessel functions are orthogonal, which suits a ridge prior:
        on the silicon set of mlearn they halve the energy errors and take a third off the force errors of
        ChebExpCos with as many functions.
    radial_parameter : float
        λ of the other radial functions; SBessel has none.
    dcut : float
        Width of the smooth end at the cutoff of ChebExpCos and of short-range repulsion, Å.
    species_weights : mapping, optional
        {(centre, neighbour): w}, w ≥ 0, added to the degree of each factor; pairs not named have w = 0. Spends
        functions where they matter: raise ``degree`` and the weights of pairs that need few.

    Raises
    ------
    InputError
        A parameter outside its range.
    """

    elements: tuple[str, ...]
    cutoff: float | Mapping[tuple[str, str], float] = field(hash=False)
    order: int = 3
    degree: float | tuple[float, ...] = 8.0
    n_weight: float | tuple[float, ...] = 1.0
    l_weight: float | tuple[float, ...] = 1.0
    nmax: int | tuple[int, ...] | None = None
    lmax: int | tuple[int, ...] | None = None
    radial: str = "SBessel"
    radial_parameter: float = 3.0
    dcut: float = 0.01
    species_weights: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)

    family = "ace"
    suffix = ".yace"
    has_repulsion = True
    search = 0  # the functions hold no coefficients

    def __post_init__(self):
        object.__setattr__(self, "elements", tuple(self.elements))
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise InputError(f"elements must be distinct symbols, found {self.elements}")
        if not 1 <= self.order <= 6:
            raise InputError(f"order must lie in 1..6, found {self.order}")
        if self.radial not in RADIAL:
            raise InputError(f"radial must be one of {', '.join(RADIAL)}, found {self.radial!r}")
        if not self.radial_parameter > 0:
            raise InputError(f"radial_parameter must be positive, found {self.radial_parameter}")
        for name in PER_ORDER:
            self._check_per_order(name)
        self._check_finite()
        self._check_pairs()
        self._check_cutoffs()

    def _check_per_order(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, (list, tuple)):
            value = tuple(value)
            object.__setattr__(self, name, value)
            if len(value) != self.order:
                raise InputError(f"{name} needs {self.order} values, one per order, found {value}")
        for v in value if isinstance(value, tuple) else (value,):
            if v is not None and not v >= 0:
                raise InputError(f"{name} must not be negative, found {v}")

    def _check_finite(self) -> None:
        for order in range(1, self.order + 1):
            degree, n_weight, l_weight, nmax, lmax = (self.limit(name, order) for name in PER_ORDER)
            endless_n = nmax == np.inf and (degree == np.inf or n_weight == 0)
            endless_l = order > 1 and lmax == np.inf and (degree == np.inf or l_weight == 0)
            if endless_n or endless_l:
                raise InputError(
                    f"functions of order {order} have no end: give {'nmax' if endless_n else 'lmax'}, "
                    "or a finite degree and a positive weight"
                )

    def _check_pairs(self) -> None:
        for pair, weight in self.species_weights.items():
            if len(pair) != 2 or not set(pair) <= set(self.elements):
                raise InputError(
                    f"species_weights names {pair}, expected a pair of {self.elements}"
                )
            if not weight >= 0:
                raise InputError(
                    f"species_weights of {pair} must not be negative, found {weight}; "
                    "raise degree and the weights of the other pairs instead"
                )

    def _check_cutoffs(self) -> None:
        for pair in self.cutoff if isinstance(self.cutoff, Mapping) else ():
            if len(pair) != 2 or not set(pair) <= set(self.elements):
                raise InputError(f"cutoff names {pair}, expected a pair of {self.elements}")
            if self.pair_cutoff(*pair) != self.pair_cutoff(*reversed(pair)):
                raise InputError(f"cutoff of {'-'.join(pair)} differs between its two orders")
        for a, b in combinations_with_replacement(self.elements, 2):
            cutoff = self.pair_cutoff(a, b)
            if not 0 < cutoff < np.inf:
                raise InputError(f"cutoff of {a}-{b} must be positive (Å), found {cutoff}")
            if not 0 <= self.dcut <= cutoff:
                raise InputError(f"dcut must lie in 0..{cutoff} Å (cutoff), found {self.dcut}")

    def pair_cutoff(self, a: str, b: str) -> float:
        """Cutoff of a pair of elements, Å.

        Raises
        ------
        InputError
            ``cutoff`` is a mapping without this pair.
        """
        if not isinstance(self.cutoff, Mapping):
            return float(self.cutoff)
        for pair in ((a, b), (b, a)):
            if pair in self.cutoff:
                return float(self.cutoff[pair])
        raise InputError(f"cutoff names no value for {a}-{b}; give one for every pair of elements")

    @property
    def largest_cutoff(self) -> float:
        """Largest cutoff of all pairs, Å."""
        return max(self.pair_cutoff(a, b) for a, b in product(self.elements, repeat=2))

    def limit(self, name: str, order: int) -> float:
        """Value of a parameter that may differ between correlation orders; no limit is infinity."""
        value = getattr(self, name)
        value = value[order - 1] if isinstance(value, tuple) else value
        return np.inf if value is None else value

    def table(self) -> dict:
        """Parameters as a TOML or JSON table; a pair of elements reads "Ag-I"."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("cutoff", "species_weights"):
            if isinstance(values[name], Mapping):
                values[name] = {"-".join(pair): value for pair, value in values[name].items()}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def functions(self) -> tuple[tuple[Function, ...], ...]:
        """Functions of each central species."""
        return tuple(
            tuple(f for order in range(1, self.order + 1) for f in self._functions(z, order))
            for z in range(len(self.elements))
        )

    @property
    def nfunctions(self) -> int:
        """Number of functions M of all species."""
        return sum(len(functions) for functions in self.functions)

    @property
    def nbase(self) -> int:
        """Number of radial functions g_k."""
        return max((n for fs in self.functions for f in fs for n in f.ns), default=1)

    @property
    def nradial(self) -> int:
        """Number of radial functions in functions of order 2 and more, at least 1."""
        return max(
            (n for fs in self.functions for f in fs if len(f.ns) > 1 for n in f.ns), default=1
        )

    @property
    def largest_l(self) -> int:
        """Largest angular momentum in use."""
        return max((l for fs in self.functions for f in fs for l in f.ls), default=0)

    def prior_mean(self, one_body: Mapping[str, float]) -> np.ndarray:
        """Prior mean of the readout weights, shape (M,): one-body energies are no weights here."""
        return np.zeros(self.nfunctions)

    def prior_shape(self, smoothness: float, gram: np.ndarray) -> np.ndarray:
        """Relative prior variances (1 + degree)^(-2 smoothness) of the readout weights, shape (M,)."""
        return (1.0 + self.degrees()) ** (-2.0 * smoothness)

    def text(self, weights, one_body: Mapping[str, float], repulsion) -> str:
        """Text of the ``.yace`` file, see :func:`pyuq.potentials.yace.format_yace`; weights None: all one."""
        return format_yace(self, weights, one_body, repulsion)

    def prepare(self, structures: Sequence[Atoms]) -> "ACEBasis":
        """Return the basis itself: the data define nothing in it."""
        return self

    def state(self) -> dict:
        """Nothing, see :meth:`prepare`."""
        return {}

    def with_state(self, state: Mapping) -> "ACEBasis":
        """Return the basis itself, see :meth:`prepare`."""
        return self

    def degrees(self) -> np.ndarray:
        """Degree of each function in the order of the readout weights, shape (M,)."""
        return np.array([f.degree for functions in self.functions for f in functions])

    def _factors(self, centre: int, order: int) -> list[tuple[float, tuple[int, int, int]]]:
        """Single factors (degree, (μ, n, l)) that a function of this order may contain."""
        degree, n_weight, l_weight, nmax, lmax = (self.limit(name, order) for name in PER_ORDER)
        factors = []
        for mu, neighbor in enumerate(self.elements):
            extra = self.species_weights.get((self.elements[centre], neighbor), 0.0)
            for n in count(1):
                radial = n_weight * (n - 1) + extra
                if n > nmax or radial > degree + TOLERANCE:
                    break
                for l in count(0):
                    if l > lmax or radial + l_weight * l > degree + TOLERANCE:
                        break
                    if l and order == 1:
                        break
                    if l > LARGEST_L:
                        raise InputError(
                            f"functions of order {order} reach l = {l}, expected up to {LARGEST_L}: give lmax"
                        )
                    factors.append((radial + l_weight * l, (mu, n, l)))
        return factors

    def _functions(self, centre: int, order: int) -> list[Function]:
        factors = self._factors(centre, order)
        limit = self.limit("degree", order) + TOLERANCE
        found = []

        def extend(first: int, chosen: list, degree: float) -> None:
            if len(chosen) == order:
                found.extend(couple(chosen, degree))
                return
            for k in range(first, len(factors)):
                if degree + factors[k][0] <= limit:
                    extend(k, [*chosen, factors[k][1]], degree + factors[k][0])

        extend(0, [], 0.0)
        return found


def couple(factors: list[tuple[int, int, int]], degree: float) -> list[Function]:
    """Independent functions of sorted factors (μ, n, l)."""
    mus, ns, ls = zip(*factors, strict=True)
    if sum(ls) % 2 or 2 * max(ls) > sum(ls):
        return []
    groups = tuple(factors.index(factor) for factor in factors)
    monomials, couplings = invariants(ls, groups)
    functions = []
    for row in couplings:
        used = np.flatnonzero(np.abs(row) > ROUNDING)
        ms = tuple(monomials[k] for k in used)
        functions.append(Function(mus, ns, ls, ms, row[used], degree))
    return functions
