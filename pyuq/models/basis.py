# SPDX-License-Identifier: GPL-2.0-or-later
r"""Linear ACE bases: which invariant functions of the atomic neighbourhood a potential is made of.

With :math:`A_{\mu nlm} = \sum_j R_n(r_{ij})\,Y_{lm}(\hat r_{ij})` over the neighbours of species μ, a function
of correlation order ν is :math:`\sum_m C_{m_1 \dots m_\nu} \mathrm{Re} \prod_t A_{\mu_t n_t l_t m_t}`.

References
----------
R. Drautz, Phys. Rev. B 99, 014104 (2019); Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pyuq.models.coupling import invariants

RADIAL = ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class ACEBasis:
    """The complete set of invariant functions up to given limits.

    A function is taken when Σ_t [(n_t - 1) + l_weight · l_t + w(z, μ_t)] ≤ degree of its order, and n and l
    keep to their own limits where these are given.

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols; their order is the species order of the file.
    cutoff : float
        Radial cutoff, Å.
    order : int
        Largest correlation order ν (number of neighbours in a function).
    degree : float or sequence of float
        Largest degree, for all orders or one for each order.
    l_weight : float
        Weight of l in the degree.
    nmax, lmax : int or sequence of int, optional
        Largest n (from 1) and l, for all orders or one for each order.
    radial : str
        ChebExpCos, ChebPow, ChebLinear or SBessel.
    radial_parameter : float
        λ of the radial functions.
    dcut : float
        Width of the smooth end of ChebExpCos at the cutoff, Å.
    species_weights : dict, optional
        {(centre, neighbour): w} added to the degree of each factor: spend functions where they matter.
    """

    elements: tuple[str, ...]
    cutoff: float
    order: int = 3
    degree: float | tuple[float, ...] = 8.0
    l_weight: float = 1.0
    nmax: int | tuple[int, ...] | None = None
    lmax: int | tuple[int, ...] | None = None
    radial: str = "ChebExpCos"
    radial_parameter: float = 3.0
    dcut: float = 0.01
    species_weights: dict = field(default_factory=dict, hash=False)

    def __post_init__(self):
        object.__setattr__(self, "elements", tuple(self.elements))
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise ValueError(f"elements must be distinct symbols, found {self.elements}")
        if not self.cutoff > 0:
            raise ValueError(f"cutoff must be positive (Å), found {self.cutoff}")
        if not 1 <= self.order <= 6:
            raise ValueError(f"order must lie in 1..6, found {self.order}")
        if self.radial not in RADIAL:
            raise ValueError(f"radial must be one of {', '.join(RADIAL)}, found {self.radial!r}")
        if not self.radial_parameter > 0:
            raise ValueError(f"radial_parameter must be positive, found {self.radial_parameter}")
        for pair in self.species_weights:
            if unknown := set(pair) - set(self.elements):
                raise ValueError(f"species_weights names {sorted(unknown)}, not in {self.elements}")
        for name in ("degree", "nmax", "lmax"):
            value = getattr(self, name)
            if isinstance(value, (list, tuple)):
                object.__setattr__(self, name, tuple(value))
                if len(value) != self.order:
                    raise ValueError(
                        f"{name} needs {self.order} values, one per order, found {value}"
                    )

    def limit(self, name: str, order: int, default=np.inf):
        """Limit ``degree``, ``nmax`` or ``lmax`` of one correlation order."""
        value = getattr(self, name)
        value = value[order - 1] if isinstance(value, tuple) else value
        return default if value is None else value

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
        """Number of radial functions in functions of order 2 and more."""
        return max(
            (n for fs in self.functions for f in fs if len(f.ns) > 1 for n in f.ns), default=0
        )

    @property
    def largest_l(self) -> int:
        """Largest angular momentum in use."""
        return max((l for fs in self.functions for f in fs for l in f.ls), default=0)

    def degrees(self) -> np.ndarray:
        """Degree of each function in the order of the readout weights, shape (M,)."""
        return np.array([f.degree for functions in self.functions for f in functions])

    def _factors(self, centre: int, order: int) -> list[tuple[float, tuple[int, int, int]]]:
        """Single factors (degree, (μ, n, l)) that a function of this order may contain."""
        limit = self.limit("degree", order)
        nmax = int(min(self.limit("nmax", order), limit + 1))
        lmax = 0 if order == 1 else int(min(self.limit("lmax", order), limit / self.l_weight))
        factors = []
        for mu, neighbor in enumerate(self.elements):
            extra = self.species_weights.get((self.elements[centre], neighbor), 0.0)
            for n in range(1, nmax + 1):
                for l in range(lmax + 1):
                    degree = n - 1 + self.l_weight * l + extra
                    if degree <= limit:
                        factors.append((degree, (mu, n, l)))
        return sorted(factors, key=lambda factor: factor[1])

    def _functions(self, centre: int, order: int) -> list[Function]:
        factors = self._factors(centre, order)
        limit = self.limit("degree", order) + 1e-9
        found = []

        def extend(first: int, chosen: list, degree: float) -> None:
            if len(chosen) == order:
                found.extend(self._couple(chosen, degree))
                return
            for k in range(first, len(factors)):
                if degree + factors[k][0] <= limit:
                    extend(k, [*chosen, factors[k][1]], degree + factors[k][0])

        extend(0, [], 0.0)
        return found

    @staticmethod
    def _couple(chosen: list[tuple[int, int, int]], degree: float) -> list[Function]:
        mus, ns, ls = zip(*chosen, strict=True)
        if sum(ls) % 2 or 2 * max(ls) > sum(ls):
            return []
        groups = tuple(chosen.index(factor) for factor in chosen)
        monomials, couplings = invariants(ls, groups)
        functions = []
        for row in couplings:
            used = np.flatnonzero(np.abs(row) > 1e-14)
            ms = tuple(monomials[k] for k in used)
            functions.append(Function(mus, ns, ls, ms, row[used], degree))
        return functions
