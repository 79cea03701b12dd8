# SPDX-License-Identifier: GPL-2.0-or-later
r"""Predictions of one model, or of several of any families, with the uncertainty of the energy.

The numbers are those of ``pair_style uq``: both are faces of the same evaluation in the core, by the law of total
variance,

.. math::
    \sigma_E^2 = \frac1K\sum_k \Phi_k^T\Sigma_k\Phi_k + \frac1K\sum_k (E_k - \bar E)^2 .
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from pyuq import _core
from pyuq.brief import brief
from pyuq.evaluate.evaluator import VOIGT, Evaluator, fold, neighbor_view


@brief()
@dataclass(frozen=True)
class Members:
    """What K members say of a structure of N atoms by their mean weights.

    Attributes
    ----------
    energy : ndarray, shape (K,)
        eV.
    energies : ndarray, shape (K, N)
        Of the atoms, eV.
    forces : ndarray, shape (K, N, 3)
        eV/Å.
    virial : ndarray, shape (K, 6)
        Σ r ⊗ f in the order xx yy zz yz xz xy, eV.
    """

    energy: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


@brief()
@dataclass(frozen=True)
class Uncertainty:
    """What is not known of the energy of a structure of N atoms.

    Attributes
    ----------
    sigma : float
        Standard deviation of the energy, eV; 0 where it is no more than rounding.
    forces : ndarray, shape (N, 3)
        −∇σ_E, eV/Å.
    """

    sigma: float
    forces: np.ndarray


@brief("members", "cutoff")
class Committee:
    """Models that are evaluated together, on structures of any elements that all of them know.

    Parameters
    ----------
    members : sequence of Evaluator
        At least one.
    """

    def __init__(self, members: Sequence[Evaluator]):
        self.members = tuple(members)
        first, *others = self.members
        known = [e for e in first.elements if all(e in other.elements for other in others)]
        self._core = _core.Committee([member.model for member in self.members], known)
        self.cutoff = max(member.model.cutoff for member in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __deepcopy__(self, memo) -> "Committee":
        return self  # models do not change

    def __reduce__(self):
        return Committee, (self.members,)

    @property
    def has_uncertainty(self) -> bool:
        """Whether there is a posterior, or more than one member."""
        return self._core.has_uncertainty

    @property
    def has_noise(self) -> bool:
        """Whether a member has learned the noise of its force labels (networks)."""
        return self._core.has_noise

    @property
    def has_grades(self) -> bool:
        """Whether a member has an active set."""
        return self._core.has_grades

    def neighbors(self, atoms: Atoms) -> _core.NeighborView:
        """View of a structure for the methods below, which make it themselves where they are not given one.

        Raises
        ------
        ValueError
            A member does not know an element; or the structure has a fault, see :func:`neighbor_view`.
        """
        symbols = set(atoms.symbols)
        for member in self.members:
            member.require(symbols)
        return neighbor_view(atoms, self._core.elements, self.cutoff)

    def predict(self, atoms: Atoms, view: _core.NeighborView | None = None) -> Members:
        """Energy, forces and virial of each member."""
        view = view or self.neighbors(atoms)
        found = self._core.members(view)
        n = len(atoms)
        return Members(
            energy=found["energy"],
            energies=found["energies"][:, :n],
            forces=np.array([fold(forces, view.owner, n) for forces in found["forces"]]),
            virial=found["virial"][:, list(VOIGT)],
        )

    def uncertainty(self, atoms: Atoms, view: _core.NeighborView | None = None) -> Uncertainty:
        """σ_E and its forces."""
        view = view or self.neighbors(atoms)
        sigma, forces = self._core.uncertainty(view)
        return Uncertainty(sigma, fold(forces, view.owner, len(atoms)))

    def atomic(
        self, atoms: Atoms, view: _core.NeighborView | None = None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """σ_i of each atom, shape (N,), eV, and its extrapolation grade, shape (N,); None: there are none.

        Atomic energies of several members are counted from their means over each species of the structure.
        """
        return self._core.atomic(view or self.neighbors(atoms))

    def noise(self, atoms: Atoms, view: _core.NeighborView | None = None) -> np.ndarray | None:
        """Learned standard deviation of a force component in labels, shape (N,), eV/Å; None: nothing was learned."""
        return self._core.noise(view or self.neighbors(atoms)) if self.has_noise else None


def prediction(committee: Committee, atoms: Atoms) -> dict:
    """Mean energy, forces (N, 3) and virial (6,) and σ_E of a structure, in eV and eV/Å.

    Returns
    -------
    dict
        energy, forces, virial, sigma.
    """
    view = committee.neighbors(atoms)
    found = committee.predict(atoms, view)
    return {
        "energy": float(found.energy.mean()),
        "forces": found.forces.mean(axis=0),
        "virial": found.virial.mean(axis=0),
        "sigma": committee.uncertainty(atoms, view).sigma,
    }
