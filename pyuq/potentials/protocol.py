# SPDX-License-Identifier: GPL-2.0-or-later
"""What a family of potentials offers to be fitted."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pyuq.potentials.repulsion import Repulsion

FloatArray = NDArray[np.float64]


class Basis(Protocol):
    """Functions whose weighted sum is the energy, and how the potential is written.

    A fit asks a basis what it can do, and not which family it is of.

    Attributes
    ----------
    family : str
        Name in settings, see :data:`pyuq.potentials.families.FAMILIES`.
    suffix : str
        Of the native file, with the dot.
    has_repulsion : bool
        Whether the native file can hold a short-range repulsion.
    elements : tuple of str
        Chemical symbols in species order.
    """

    family: str
    suffix: str
    has_repulsion: bool
    elements: tuple[str, ...]

    @property
    def nfunctions(self) -> int:
        """Number M of readout weights."""

    @property
    def largest_cutoff(self) -> float:
        """Largest cutoff of all pairs of elements, Å."""

    @property
    def search(self) -> int:
        """Largest number of steps of the search for coefficients inside the functions; 0: there is none."""

    def table(self) -> dict:
        """Parameters as a TOML or JSON table."""

    def prior_mean(self, one_body: Mapping[str, float]) -> FloatArray:
        """Prior mean of the readout weights, eV, shape (M,), where `one_body` gives energies of elements, eV."""

    def prior_shape(self, smoothness: float, gram: FloatArray) -> FloatArray:
        """Relative prior variances of the readout weights, shape (M,); `gram`: XᵀX of the weighted rows, (M, M)."""

    def text(
        self,
        weights: FloatArray | None,
        one_body: Mapping[str, float],
        repulsion: Repulsion | None,
    ) -> str:
        """Text of the native file with readout weights, shape (M,); None: all one."""

    def prepare(self, structures: Sequence[Atoms]) -> Self:
        """Return the basis with what the data define before anything is fitted."""

    def state(self) -> dict[str, FloatArray | float]:
        """What the data defined and a later fit must keep, by name: arrays and numbers."""

    def with_state(self, state: Mapping[str, FloatArray | float]) -> Self:
        """Return the basis with what :meth:`state` of another one gave."""


class SearchedBasis(Basis, Protocol):
    """A basis with coefficients inside its functions, which a search finds."""

    @property
    def coefficients(self) -> FloatArray:
        """These coefficients, flat."""

    def with_coefficients(self, coefficients: FloatArray) -> Self:
        """Return the basis with other coefficients, flat."""
