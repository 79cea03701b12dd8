# SPDX-License-Identifier: GPL-2.0-or-later
"""Short-range repulsion, of whatever family, and the distances of the data inside which it begins."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import vesin
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.settings import check_elements

SMALLEST_INNER = 0.5  # Å, of a repulsion drawn from data
WITHOUT_DATA = 0.5  # shortest distance over sum of covalent radii, where no structure has any pair
NEIGHBORS = (
    1.2  # spread of shortest distance over sum of covalent radii among pairs that are neighbours
)


@brief()
@dataclass(frozen=True)
class Repulsion:
    """Universal short-range repulsion (Ziegler-Biersack-Littmark) that takes over inside the data.

    With d the distance of the nearest neighbour beyond its ``inner - width``, the energy of an atom is
    E0 + f(d) E_ACE + (1 - f(d)) E_ZBL, f a quintic step from 0 (d ≤ 0) to 1 (d ≥ width). Nothing changes for
    atoms whose neighbours all are farther than ``inner``.

    Attributes
    ----------
    inner : mapping of pair to float
        {("Al", "Si"): distance in Å at which the fitted energy begins to fade}, a pair in either order.
    width : float
        Width of the change, Å, at most half of the shortest ``inner``. The same for all pairs: the nearest
        neighbour alone sets f, and with one width it is the one with the smallest f.
    """

    inner: Mapping[tuple[str, str], float]
    width: float = 0.3

    def __post_init__(self):
        if not self.inner or not all(0 < r < np.inf for r in self.inner.values()):
            raise InputError(f"inner needs positive distances (Å) of pairs, found {self.inner}")
        if not 0 < self.width <= 0.5 * min(self.inner.values()):
            raise InputError(
                f"width must lie in 0..{0.5 * min(self.inner.values())} Å (half of the shortest inner "
                f"distance), found {self.width}"
            )

    def distance(self, a: str, b: str) -> float:
        """Inner distance of a pair, Å.

        Raises
        ------
        InputError
            ``inner`` does not name the pair, or ZBL does not know the elements.
        """
        check_elements((a, b), "repulsion")
        for pair in ((a, b), (b, a)):
            if pair in self.inner:
                return float(self.inner[pair])
        raise InputError(f"repulsion names no inner distance for {a}-{b}; give one for every pair")


def shortest_distances(
    structures: Iterable[Atoms], elements: Sequence[str], cutoff: float
) -> dict[tuple[str, str], float]:
    """Shortest distance of each pair of elements in a set of structures, Å.

    Pairs that never come closer than `cutoff` are left out. Keys follow the order of `elements`.
    """
    shortest: dict[tuple[str, str], float] = {}
    for atoms in structures:
        i, j, d = vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
            atoms.positions, atoms.cell.array, atoms.pbc, quantities="ijd"
        )
        symbols = np.array(atoms.get_chemical_symbols())
        for a, b in combinations_with_replacement(elements, 2):
            found = d[(symbols[i] == a) & (symbols[j] == b)]
            if found.size:
                shortest[a, b] = min(shortest.get((a, b), cutoff), float(found.min()))
    return shortest


def repulsion_inside(
    structures: Iterable[Atoms],
    elements: Sequence[str],
    cutoff: float,
    margin: float = 0.1,
    width: float = 0.3,
) -> Repulsion:
    """Repulsion that begins just inside the shortest distance of each pair in the data.

    The tightest pair tells how close atoms of this material come, as a part of the sum of their covalent radii. A pair
    that keeps 1.2 times farther apart, or never meets, is none of neighbours (two anions of a crystal): its distance is
    a habit of the structure and says nothing of repulsion, which begins at that 1.2.

    Parameters
    ----------
    structures : iterable of Atoms
        Training data.
    elements : sequence of str
    cutoff : float
        Distances up to this are looked at, Å.
    margin : float
        Distance kept from the data, Å.
    width : float
        Largest width of the change, Å; narrower where the shortest distance asks for it.

    Returns
    -------
    Repulsion
    """
    check_elements(elements, "repulsion")

    def radii(pair):
        return sum(covalent_radii[atomic_numbers[element]] for element in pair)

    shortest = shortest_distances(structures, elements, cutoff)
    ratio = min((d / radii(pair) for pair, d in shortest.items()), default=WITHOUT_DATA)
    inner = {
        pair: max(
            min(shortest.get(pair, np.inf), NEIGHBORS * ratio * radii(pair)) - margin,
            SMALLEST_INNER,
        )
        for pair in combinations_with_replacement(elements, 2)
    }
    return Repulsion(inner, min(width, 0.5 * min(inner.values())))
