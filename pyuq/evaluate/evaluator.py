# SPDX-License-Identifier: GPL-2.0-or-later
"""Evaluate a model on periodic structures: energies, forces, virials, features and design-matrix rows."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import vesin
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from pyuq import _core
from pyuq.brief import brief
from pyuq.errors import InputError, RunError
from pyuq.io.identity import hash_file
from pyuq.io.structures import COINCIDENT, cell_fault

VOIGT = (0, 1, 2, 5, 4, 3)  # xx yy zz yz xz xy out of xx yy zz xy xz yz yx zx zy


def split_name(path) -> tuple[str, dict]:
    """Path of a model, and what stands behind a colon: options of :class:`pyuq._core.Model`.

    A file whose name itself holds the colon is taken as it is.
    """
    if Path(path).exists():
        return str(path), {}
    name, elements, gpumd = _core.split_name(path)
    given = {"elements": tuple(elements)} if elements else {}
    return name, given | ({"gpumd": gpumd} if gpumd else {})


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
    baseline_energy : float
        Energy without readout weight, eV.
    baseline_forces : ndarray, shape (3 N,)
        Its forces, eV/Å.
    baseline_virial : ndarray, shape (6,)
        Its virial, eV.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    baseline_energy: float
    baseline_forces: np.ndarray
    baseline_virial: np.ndarray


def neighbor_view(atoms: Atoms, elements: Sequence[str], cutoff: float) -> _core.NeighborView:
    """Every atom of a structure as a centre with its neighbours, periodic images as ghosts.

    Parameters
    ----------
    atoms : Atoms
    elements : sequence of str
        Species of the view; holds all elements of the structure.
    cutoff : float
        Å.

    Raises
    ------
    InputError
        A periodic direction has no cell vector, or two atoms are on top of each other.
    """
    if fault := cell_fault(atoms):
        raise InputError(f"structure{fault}")
    species_of = np.full(len(chemical_symbols), -1, dtype=np.int32)
    for k, element in enumerate(elements):
        species_of[atomic_numbers[element]] = k
    i, j, shift, distance = vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
        points=atoms.positions, box=atoms.cell.array, periodic=atoms.pbc, quantities="ijSd"
    )
    if len(distance) and distance.min() < COINCIDENT:
        k = distance.argmin()
        raise InputError(
            f"atoms {i[k]} and {j[k]} (from 0) are {distance[k]:.3g} Å apart: no potential has a meaning there"
        )
    return _core.periodic_view(
        atoms.positions, atoms.cell.array, species_of[atoms.numbers], i, j, shift
    )


def fold(rows: np.ndarray, owner: np.ndarray, natoms: int) -> np.ndarray:
    """Rows of atoms and ghosts, (n, 3), added up on the atoms that the ghosts are images of, (natoms, 3)."""
    folded = np.zeros((natoms, 3))
    np.add.at(folded, owner, rows)
    return folded


@brief("path", "elements", "nreadout")
class Evaluator:
    """A model file applied to :class:`ase.Atoms`.

    Parameters
    ----------
    path : str or Path
        Native model file or posterior; see :class:`pyuq._core.Model`. ``FILE:El1,El2`` names the species of a file
        that stores no names, ``FILE:gpumd=5.3`` the version of GPUMD that wrote a nep.txt.
    radial_spline : bool, optional
        ACE only: evaluate the reference evaluator's radial splines, or the functions themselves. Default: splines
        where the functions do not vanish at their cutoff.
    elements : sequence of str
        Names of the species, in file order, for formats that store none (MTP).
    posterior : bool
        Use the posterior that lies beside a native file.
    """

    def __init__(
        self,
        path,
        radial_spline: bool | None = None,
        elements: Sequence[str] = (),
        posterior: bool = True,
    ):
        path, named = split_name(path)
        options = {"radial_spline": radial_spline, "elements": tuple(elements)} | named
        options["posterior"] = posterior
        self._hold(_core.Model(path, **options), path, options)

    def fingerprint(self) -> str:
        """SHA-256 of the posterior, or of the native file where there is none."""
        beside = self.path.with_suffix(".uq")
        return hash_file(beside if self.model.has_posterior and beside.is_file() else self.path)

    @classmethod
    def members(cls, path, elements: Sequence[str] = (), named: bool = False) -> list["Evaluator"]:
        """Evaluators of what a committee counts as its members: of a network one for each sample.

        named: the elements were given for this very file, and other names in it are an error, as they are where the
        path itself has them behind a colon.
        """
        found = []
        path, given = split_name(path)
        options = {"elements": tuple(elements), "named": named or "elements" in given} | given
        for k, model in enumerate(_core.members(path, **options)):
            member = cls.__new__(cls)
            member._hold(model, path, options | {"member": k})
            found.append(member)
        return found

    def _hold(self, model: _core.Model, path, options: dict) -> None:
        self.model, self.path, self._options = model, Path(path), options
        self.elements, self.nreadout = model.elements, model.nreadout
        for text in model.warnings:
            warnings.warn(text, stacklevel=3)

    def __deepcopy__(self, memo) -> "Evaluator":
        return self  # a model does not change

    def __reduce__(self):
        return _reloaded, (str(self.path.absolute()), self._options, self.fingerprint())

    def with_readout(self, mean: np.ndarray, covariance: np.ndarray | None = None) -> "Evaluator":
        """The same features with other weights, shape (M,), and their covariance, shape (M, M)."""
        other = Evaluator.__new__(Evaluator)
        other._hold(self.model.with_readout(mean, covariance), self.path, self._options)
        return other

    def require(self, symbols: Iterable[str]) -> None:
        """Refuse elements that the model does not know.

        Raises
        ------
        InputError
            Names them.
        """
        if unknown := sorted(set(symbols) - set(self.elements)):
            raise InputError(
                f"element {', '.join(unknown)} is not in the model, which knows {' '.join(self.elements)}"
            )

    def neighbors(self, atoms: Atoms) -> tuple[_core.NeighborView, np.ndarray]:
        """Neighbour view of a structure and the owner of each of its atoms and ghosts.

        Returns
        -------
        NeighborView
        owner : ndarray of int, shape (n,)

        Raises
        ------
        InputError
            An element is not one of the model's; or what :func:`neighbor_view` refuses.
        """
        self.require(atoms.symbols)
        view = neighbor_view(atoms, self.elements, self.model.cutoff)
        return view, view.owner

    def compute(self, atoms: Atoms, weights=None, baseline: float = 1.0) -> dict:
        """Energy (eV), atomic energies (N,), forces (N, 3) in eV/Å, virial (6,) in eV.

        The virial is Σ r ⊗ f in the order xx yy zz yz xz xy; stress is -virial / volume.
        """
        view, owner = self.neighbors(atoms)
        result = self.model.evaluate(view, weights, baseline)
        return {
            "energy": result["energy"],
            "energies": result["energies"][: len(atoms)],
            "forces": fold(result["forces"], owner, len(atoms)),
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
        return Rows(
            energy=energy,
            forces=jacobian[: 3 * n],
            virial=jacobian[3 * n :],
            baseline_energy=fixed["energy"],
            baseline_forces=fold(fixed["forces"], owner, n).reshape(-1),
            baseline_virial=fixed["virial"][list(VOIGT)],
        )


def _reloaded(path: str, options: dict, fingerprint: str) -> Evaluator:
    """Evaluator in another process: of the same file, which must not have changed."""
    if "member" in options:
        options = dict(options)
        member = options.pop("member")
        evaluator = Evaluator.members(path, **options)[member]
    else:
        evaluator = Evaluator(path, **options)
    if evaluator.fingerprint() != fingerprint:
        raise RunError(f"{path} has changed since it was loaded: load it again")
    return evaluator
