# SPDX-License-Identifier: GPL-2.0-or-later
"""Evaluate a model on periodic structures: energies, forces, virials, features and design-matrix rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import vesin
from ase import Atoms

from pyuq import _core
from pyuq.brief import brief
from pyuq.io.files import sha256
from pyuq.io.structures import COINCIDENT, cell_fault

VOIGT = (0, 1, 2, 5, 4, 3)  # xx yy zz yz xz xy out of xx yy zz xy xz yz yx zx zy


@brief()
@dataclass(frozen=True)
class Rows:
    """Design-matrix rows of one structure of N atoms, in eV and eV/Å per unit weight.

    Attributes
    ----------
    energy : ndarray, shape (M,)
        Summed features Φ.
    forces : ndarray, shape (3 N, M)
        -∂Φ/∂x, atom by atom.
    virial : ndarray, shape (6, M)
        Σ r ⊗ f in the order xx yy zz yz xz xy.
    fixed_energy : float
        Energy without readout weight, eV.
    fixed_forces : ndarray, shape (3 N,)
        Its forces, eV/Å.
    fixed_virial : ndarray, shape (6,)
        Its virial, eV.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    fixed_energy: float
    fixed_forces: np.ndarray
    fixed_virial: np.ndarray


@brief("path", "elements", "nreadout")
class Evaluator:
    """A model file applied to :class:`ase.Atoms`.

    Parameters
    ----------
    path : str or Path
        Native model file or posterior; see :class:`pyuq._core.Model`.
    radial_spline : bool
        ACE only: reproduce the reference evaluator's radial splines.
    elements : sequence of str
        Names of the species, in file order, for formats that store none (MTP).
    posterior : bool
        Use the posterior that lies beside a native file.
    """

    def __init__(
        self,
        path,
        radial_spline: bool = False,
        elements: Sequence[str] = (),
        posterior: bool = True,
    ):
        options = {"radial_spline": radial_spline, "elements": tuple(elements)}
        options["posterior"] = posterior
        self._hold(_core.Model(path, **options), path, options)

    def fingerprint(self) -> str:
        """SHA-256 of the posterior, or of the native file where there is none."""
        beside = self.path.with_suffix(".uq")
        return sha256(beside if self.model.has_posterior and beside.is_file() else self.path)

    @classmethod
    def members(cls, path, elements: Sequence[str] = (), named: bool = False) -> list["Evaluator"]:
        """Evaluators of what a committee counts as its members: of a network one for each sample.

        named: the elements were given for this very file, and other names in it are an error.
        """
        found = []
        options = {"elements": tuple(elements), "named": named}
        for k, model in enumerate(_core.members(path, **options)):
            member = cls.__new__(cls)
            member._hold(model, path, options | {"member": k})
            found.append(member)
        return found

    def _hold(self, model: _core.Model, path, options: dict) -> None:
        self.model, self.path, self._options = model, Path(path), options
        self.elements, self.nreadout = model.elements, model.nreadout

    def __deepcopy__(self, memo) -> "Evaluator":
        return self  # a model does not change

    def __reduce__(self):
        return _reloaded, (str(self.path.absolute()), self._options, self.fingerprint())

    def neighbors(self, atoms: Atoms) -> tuple[_core.NeighborView, np.ndarray]:
        """Neighbour view of a structure and the owner of each of its atoms and ghosts.

        Returns
        -------
        NeighborView
        owner : ndarray of int, shape (n,)

        Raises
        ------
        ValueError
            An element is not one of the model's, a periodic direction has no cell vector, or two atoms are on top of
            each other.
        """
        symbols = atoms.get_chemical_symbols()
        if unknown := sorted(set(symbols) - set(self.elements)):
            raise ValueError(
                f"element {', '.join(unknown)} is not in the model, which knows {' '.join(self.elements)}"
            )
        if fault := cell_fault(atoms):
            raise ValueError(f"structure{fault}")
        n = len(atoms)
        species = np.array([self.elements.index(s) for s in symbols], dtype=np.int32)
        i, j, shift, distance = self._pairs(atoms)
        if len(distance) and distance.min() < COINCIDENT:
            k = distance.argmin()
            raise ValueError(
                f"atoms {i[k]} and {j[k]} (from 0) are {distance[k]:.3g} Å apart: no potential has a meaning there"
            )
        # One ghost for each image of an atom that is somebody's neighbour.
        order = np.argsort(i, kind="stable")
        i, j, shift = i[order], j[order], shift[order]
        inside = ~shift.any(axis=1)
        images, ghost = np.unique(
            np.column_stack([j[~inside], shift[~inside]]), axis=0, return_inverse=True
        )
        indices = np.empty(len(i), dtype=np.int32)
        indices[inside] = j[inside]
        indices[~inside] = n + ghost.reshape(-1)
        owner = np.concatenate([np.arange(n), images[:, 0]]).astype(np.int32)
        x = atoms.positions[owner]
        x[n:] += images[:, 1:] @ atoms.cell.array
        first = np.concatenate([[0], np.cumsum(np.bincount(i, minlength=n))]).astype(np.int32)
        return _core.NeighborView(x, species[owner], np.arange(n), first, indices, owner), owner

    def _pairs(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        calculator = vesin.NeighborList(cutoff=self.model.cutoff, full_list=True)
        i, j, shift, distance = calculator.compute(
            points=atoms.positions,
            box=atoms.cell.array,
            periodic=atoms.pbc,
            quantities="ijSd",
        )
        return i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64), distance

    def compute(self, atoms: Atoms, weights=None, fixed: float = 1.0) -> dict:
        """Energy (eV), atomic energies (N,), forces (N, 3) in eV/Å, virial (6,) in eV.

        The virial is Σ r ⊗ f in the order xx yy zz yz xz xy; stress is -virial / volume.
        """
        view, owner = self.neighbors(atoms)
        result = self.model.evaluate(view, weights, fixed)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, owner, result["forces"])
        return {
            "energy": result["energy"],
            "energies": result["energies"][: len(atoms)],
            "forces": forces,
            "virial": result["virial"][list(VOIGT)],
        }

    def features(self, atoms: Atoms) -> np.ndarray:
        """Features of each atom, shape (N, max_features), padded with zeros."""
        view, _ = self.neighbors(atoms)
        return self.model.features(view)[0]

    def rows(
        self, atoms: Atoms, neighbors: tuple[_core.NeighborView, np.ndarray] | None = None
    ) -> Rows:
        """Design-matrix rows of energy, forces and virial; neighbors: if already known."""
        view, owner = neighbors or self.neighbors(atoms)
        n = len(atoms)
        energy = self.model.sums(view)
        jacobian = self.model.jacobian(view, owner, n)
        fixed = self.model.evaluate(view, np.zeros(self.nreadout))
        fixed_forces = np.zeros((n, 3))
        np.add.at(fixed_forces, owner, fixed["forces"])
        return Rows(
            energy=energy,
            forces=jacobian[: 3 * n],
            virial=jacobian[3 * n :],
            fixed_energy=fixed["energy"],
            fixed_forces=fixed_forces.reshape(-1),
            fixed_virial=fixed["virial"][list(VOIGT)],
        )

    def energy_sigma(self, atoms: Atoms) -> float:
        """Posterior standard deviation of the total energy, eV."""
        view, _ = self.neighbors(atoms)
        variance, _ = self.model.variance(self.model.sums(view))
        return float(np.sqrt(max(variance, 0.0)))


def _reloaded(path: str, options: dict, fingerprint: str) -> Evaluator:
    """Evaluator in another process: of the same file, which must not have changed."""
    if "member" in options:
        options = dict(options)
        member = options.pop("member")
        evaluator = Evaluator.members(path, **options)[member]
    else:
        evaluator = Evaluator(path, **options)
    if evaluator.fingerprint() != fingerprint:
        raise RuntimeError(f"{path} has changed since it was loaded: load it again")
    return evaluator
