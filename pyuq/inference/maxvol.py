# SPDX-License-Identifier: GPL-2.0-or-later
r"""Extrapolation grade γ of linear models: D-optimal active sets by MaxVol.

For each species z, the active set is the square matrix :math:`A_z` whose rows are those feature vectors of the
training set that enclose the largest volume :math:`|\det A_z|`. Any environment has coordinates
:math:`c = \varphi A_z^{-1}` in it, and the grade :math:`\gamma = \max_j |c_j|`: exchanging row j for φ multiplies
the volume by :math:`|c_j|`, so that γ ≤ 1 + tol on the whole training set, and a larger γ says that φ lies outside.

Exchanges are exact rank-one updates,

.. math:: A^{-1} \to A^{-1} - \frac{(A^{-1}e_j)\,(c - e_j)}{c_j} ,

O(F²) each; structures stream by, so that memory is O(F²) per species whatever the size of the training set.

References
----------
S. A. Goreinov et al., in *Matrix Methods: Theory, Algorithms and Applications* (World Scientific, 2010), p. 247.
E. V. Podryabinkin, A. V. Shapeev, Comput. Mater. Sci. **140**, 171 (2017).
Y. Lysogorskiy et al., Phys. Rev. Materials **7**, 043801 (2023).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.posterior import FloatArray, PosteriorFile
from pyuq.io.structures import StructureFiles, take
from pyuq.parallel import my_share

_MAX_PASSES = 200


@brief("matrix", "virtual", "tol")
class ActiveSet:
    """Feature rows of largest volume, of one species.

    The start is a diagonal of `floor` times the size of each feature: directions in which the training set
    extends less than that keep these virtual rows, so that features that are linearly dependent on the training
    set neither overflow nor go unnoticed in an environment that breaks the dependence.

    Parameters
    ----------
    size : ndarray, shape (F,)
        Largest absolute value of each feature, positive.
    tol : float
        A row is exchanged when it enlarges the volume by more than 1 + tol.
    floor : float
        See above.

    Attributes
    ----------
    matrix : ndarray, shape (F, F)
        The rows.
    inverse : ndarray, shape (F, F)
    virtual : ndarray of bool, shape (F,)
        Rows of the start that are still there.
    """

    def __init__(self, size: FloatArray, tol: float = 1e-3, floor: float = 1e-6):
        if not (tol > 0 and floor > 0):
            raise InputError(f"tol = {tol}, floor = {floor}; expected numbers above 0")
        self.tol = tol
        self.matrix = np.diag(floor * size)
        self.inverse = np.diag(1.0 / (floor * size))
        self.virtual = np.ones(len(size), dtype=bool)
        self._age = 0

    def grades(self, rows: FloatArray) -> FloatArray:
        """Grade of each row, shape (n,)."""
        return grades(self.inverse, rows)

    def log_volume(self) -> float:
        """Return log|det A|."""
        return float(np.linalg.slogdet(self.matrix)[1])

    def update(self, rows: FloatArray) -> int:
        """Exchange rows until none of these (n, F) enlarges the volume; returns the number of exchanges."""
        coordinates = rows @ self.inverse
        exchanges = 0
        while coordinates.size:
            i, j = np.unravel_index(np.argmax(np.abs(coordinates)), coordinates.shape)
            pivot = coordinates[i, j]
            if abs(pivot) <= 1.0 + self.tol:
                break
            shift = coordinates[i].copy()
            shift[j] -= 1.0
            coordinates -= np.outer(coordinates[:, j] / pivot, shift)
            self.inverse -= np.outer(self.inverse[:, j] / pivot, shift)
            self.matrix[j], self.virtual[j] = rows[i], False
            exchanges += 1
            self._age += 1
            if self._age >= len(shift):
                self.refresh()
                coordinates = rows @ self.inverse
        return exchanges

    def refresh(self) -> None:
        """Invert afresh: rounding of the updates is gone. After every F exchanges, O(F²) for each."""
        self.inverse, self._age = np.linalg.inv(self.matrix), 0


def grades(inverse: FloatArray, rows: FloatArray) -> FloatArray:
    """Grade max_j |φ A⁻¹|_j of each feature row φ (n, F) → (n,)."""
    return np.abs(rows @ inverse).max(axis=1, initial=0.0)


def select_active_sets(
    evaluator: Evaluator, structures: Sequence[Atoms] | StructureFiles, tol: float = 1e-3, comm=None
) -> list[ActiveSet]:
    """Choose the active set of each species of a model from a training set.

    Parameters
    ----------
    evaluator : Evaluator
        The model.
    structures : sequence of Atoms or StructureFiles
        Training set, the same on all ranks.
    tol : float
        Of :class:`ActiveSet`.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the structures; all return the same sets. Each round sends 8F² bytes for each species
        to one rank and back.

    Returns
    -------
    list of ActiveSet
        γ ≤ 1 + tol on every atom of the training set.

    Raises
    ------
    InputError
        No structures; an element that the model does not know; or no convergence.
    """
    if not len(structures):
        raise InputError("no training structures to choose an active set from")
    share = take(structures, my_share(len(structures), comm))
    sets = [ActiveSet(size, tol) for size in _sizes(evaluator, share, comm)]
    for _ in range(_MAX_PASSES):
        exchanges = 0
        for atoms in share:
            for z, rows in species_rows(evaluator, atoms):
                exchanges += sets[z].update(rows)
        for active in sets:
            active.refresh()
        if comm is not None:
            exchanges = comm.allreduce(exchanges)
        if exchanges == 0:
            return sets
        if comm is not None:
            sets = [_merge(active, comm) for active in sets]
    raise InputError(f"MaxVol did not converge in {_MAX_PASSES} passes: raise tol (now {tol:g})")


def species_rows(evaluator: Evaluator, atoms: Atoms) -> Iterable[tuple[int, FloatArray]]:
    """Features (n, F_z) of the atoms of each species that occurs in a structure."""
    features = evaluator.features(atoms)
    species = np.array([evaluator.elements.index(s) for s in atoms.symbols])
    for z in np.unique(species):
        yield int(z), features[species == z, : evaluator.model.blocks[z][1]]


def _sizes(evaluator: Evaluator, structures: Iterable[Atoms], comm) -> list[FloatArray]:
    """Largest absolute value of each feature, by species; of one that never differs from 0, the typical one."""
    sizes = [np.zeros(count) for _, count in evaluator.model.blocks]
    for atoms in structures:
        for z, rows in species_rows(evaluator, atoms):
            sizes[z] = np.maximum(sizes[z], np.abs(rows).max(axis=0))
    if comm is not None:
        from mpi4py import MPI

        for size in sizes:
            comm.Allreduce(MPI.IN_PLACE, size, MPI.MAX)
    for size in sizes:
        size[size == 0.0] = np.median(size[size > 0.0]) if size.any() else 1.0
    return sizes


def _merge(active: ActiveSet, comm) -> ActiveSet:
    """One set for all ranks: the one of largest volume, after exchanges with the rows of the others.

    Any round with an exchange enlarges the volume by 1 + tol, so that rounds end.
    """
    volumes = comm.allgather(active.log_volume())
    best = int(np.argmax(volumes))
    found = comm.gather((active.matrix, active.virtual), root=best)
    if comm.rank == best:
        for matrix, virtual in found:
            active.update(matrix[~virtual])
        active.refresh()
    return comm.bcast(active, root=best)


def add_active_set(
    path, structures: Sequence[Atoms], elements: Sequence[str] = (), tol: float = 1e-3, comm=None
) -> list[ActiveSet]:
    """Write the active sets of a training set into a posterior file, whose other content stays.

    Parameters
    ----------
    path : str or Path
        ``NAME.uq``, or the model beside it.
    elements : sequence of str
        Names of the species of a posterior that has none (MTP).
    structures, tol, comm
        As of :func:`select_active_sets`; rank 0 writes.

    Returns
    -------
    list of ActiveSet

    Raises
    ------
    InputError
        No such posterior file; or see :func:`select_active_sets`.
    """
    path = Path(path).with_suffix(".uq")
    if not path.is_file():
        raise InputError(f"no file {path}: the active set is kept in the posterior of a model")
    file = PosteriorFile.read(path)
    evaluator = Evaluator(path, elements=elements)
    sets = select_active_sets(evaluator, structures, tol, comm)
    if comm is None or comm.rank == 0:
        replace(file, active_inverse=flat_inverses(sets)).write(path)
    return sets


def flat_inverses(sets: Sequence[ActiveSet]) -> FloatArray:
    """Inverses of all species one after the other, as ``NAME.uq`` keeps them."""
    return np.concatenate([active.inverse.ravel() for active in sets])


def describe(sets: Sequence[ActiveSet], elements: Sequence[str]) -> str:
    """One line on the directions that the training set spans."""
    found = ", ".join(
        f"{element} {np.count_nonzero(~active.virtual)} of {len(active.virtual)}"
        for element, active in zip(elements, sets, strict=True)
    )
    return f"active set (environments of the training set, of as many features): {found}"
