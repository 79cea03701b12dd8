# SPDX-License-Identifier: GPL-2.0-or-later
"""Which atom of a result is which atom of its request: in another order, another cell of the crystal, or shifted."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from scipy.spatial import cKDTree

from pyuq.errors import InputError

TOLERANCE = 1e-4  # of positions and cell between request and result, Å
FORCES = 1e-3  # eV/Å: matches whose forces differ by more are not the same label


class MismatchError(InputError):
    """A result that is not of its request, or of which that cannot be told."""


def match(request: Atoms, result: Atoms, forces: np.ndarray) -> np.ndarray:
    """Find the atoms of a request in a result.

    Positions may differ by a permutation, by cell vectors along periodic directions, and by one translation of all.

    Parameters
    ----------
    request, result : Atoms
    forces : ndarray, shape (N, 3)
        Of the result, eV/Å: where a symmetric crystal fits in several ways, they must be the same in all.

    Returns
    -------
    ndarray of int, shape (N,)
        Atom of the result for each atom of the request.

    Raises
    ------
    MismatchError
        Other atoms, another cell, other positions, or several matches with different forces.
    """
    _same_atoms(request, result)
    periodic = request.pbc
    shift = np.abs(result.cell.array - request.cell.array)[periodic].max(initial=0.0)
    if shift > TOLERANCE:
        raise MismatchError(
            f"its cell differs from the request's by {shift:.2g} Å; expected the same cell vectors"
        )
    finder = _Finder(request, result)
    if finder.fits(same := np.arange(len(request)), moved=False):
        return same
    found = [order for order in (finder.order(np.zeros(3)),) if order is not None]
    if finder.fits(same, moved=True):
        found.append(same)
    if not found:
        found = list(finder.shifted())
    if not found:
        raise MismatchError(finder.reason())
    spread = max((np.abs(forces[o] - forces[found[0]]).max() for o in found[1:]), default=0.0)
    if spread > FORCES:
        raise MismatchError(
            f"its atoms are in another order or place, and fit the request in {len(found)} ways whose forces differ by "
            f"up to {spread:.2g} eV/Å; expected the order and positions of the request"
        )
    return found[0]


def _same_atoms(request: Atoms, result: Atoms) -> None:
    if not np.array_equal(np.sort(request.numbers), np.sort(result.numbers)):
        raise MismatchError(
            f"it holds {result.get_chemical_formula()}, its request {request.get_chemical_formula()}"
        )


class _Finder:
    """Compares positions in units of the cell, where a whole number of cell vectors is nothing."""

    def __init__(self, request: Atoms, result: Atoms):
        vectors = request.cell.array * request.pbc[:, None]
        self.cell = complete_cell(vectors)
        self.pbc = request.pbc
        inverse = np.linalg.inv(self.cell)
        self.request, self.result = request.positions @ inverse, result.positions @ inverse
        self.numbers, self.result_numbers = request.numbers, result.numbers

    def _nearest(self, difference: np.ndarray) -> np.ndarray:
        return difference - np.where(self.pbc, np.round(difference), 0.0)

    def _residual(self, order: np.ndarray, moved: bool) -> float:
        """Largest distance between atoms that belong together, Å, apart from a common translation."""
        difference = self._nearest(self.result[order] - self.request)
        if moved:
            # About one atom's translation, so that none is cut in two by the edge of the cell.
            difference = self._nearest(difference - difference[0])
            difference -= difference.mean(axis=0)
        return float(np.linalg.norm(difference @ self.cell, axis=1).max())

    def fits(self, order: np.ndarray, moved: bool) -> bool:
        """Tell whether atoms in this order lie where the request has them."""
        same = (self.result_numbers[order] == self.numbers).all()
        return bool(same) and self._residual(order, moved) <= TOLERANCE

    def order(self, translation: np.ndarray) -> np.ndarray | None:
        """Atoms of the result at those of the request, moved by a translation (cell units); None if some are not."""
        order = np.empty(len(self.numbers), dtype=int)
        targets = self._wrapped(self.request + translation)
        for z, tree, members in self._trees():
            mine = self.numbers == z
            distances, found = tree.query(targets[mine])
            if not np.isfinite(distances).all() or len(set(found)) < len(found):
                return None
            order[mine] = members[found]
        return order if self.fits(order, moved=bool(translation.any())) else None

    def shifted(self) -> Iterator[np.ndarray]:
        """All orders that fit after a translation, which takes one atom of the rarest element to another."""
        z, counts = np.unique(self.numbers, return_counts=True)
        rarest = z[np.argmin(counts)]
        first = self.request[np.argmax(self.numbers == rarest)]
        for place in self.result[self.result_numbers == rarest]:
            if (order := self.order(place - first)) is not None:
                yield order

    def _wrapped(self, scaled: np.ndarray) -> np.ndarray:
        wrapped = np.where(self.pbc, scaled % 1.0, scaled)
        return np.where(self.pbc & (wrapped >= 1.0), 0.0, wrapped)  # -1e-20 % 1.0 is 1.0

    def _trees(self):
        if not hasattr(self, "_made"):
            box = np.where(self.pbc, 1.0, 0.0)
            self._made = []
            for z in np.unique(self.numbers):
                members = np.flatnonzero(self.result_numbers == z)
                tree = cKDTree(self._wrapped(self.result[members]), boxsize=box)
                self._made.append((z, tree, members))
        return self._made

    def reason(self) -> str:
        """Say how far the positions are apart, in the order that they have."""
        same = np.arange(len(self.numbers))
        if (self.result_numbers == self.numbers).all():
            far = self._residual(same, moved=True)
            return (
                f"its positions differ from the request's by {far:.2g} Å, or are in an order that does not fit; "
                f"expected the same within {TOLERANCE:g} Å, apart from order, cell vectors and one translation"
            )
        symbols = ", ".join(chemical_symbols[z] for z in np.unique(self.numbers))
        return (
            f"no order of its atoms ({symbols}) gives the request's positions within {TOLERANCE:g} Å, apart from cell "
            "vectors and one translation"
        )
