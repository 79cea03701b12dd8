# SPDX-License-Identifier: GPL-2.0-or-later
"""A reduced basis of one system and its file ``NAME.rom``, which ``fix uq/rom`` reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import pyuq
from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.files import read_tensors, write_tensors
from pyuq.srom.pod import POD, pod
from pyuq.srom.snapshots import SnapshotMatrix, Snapshots
from pyuq.srom.system import System

FloatArray = NDArray[np.float64]

FORMAT, VERSION = "pyuq-basis", "1"


@brief()
@dataclass(frozen=True)
class Basis:
    """Orthonormal displacement modes.

    Attributes
    ----------
    system : System
    vectors : (3 N, n)
        Columns of √m u (weighting ``mass``) or of u (``none``), atom by atom.
    weighting : {"mass", "none"}
    free : (N,) of bool, optional
        Atoms outside the basis, which keep their own three degrees of freedom.
    model_sha256 : tuple of str
        Models whose snapshots it comes from.
    provenance : dict
        JSON types.
    """

    system: System
    vectors: FloatArray
    weighting: str = "mass"
    free: NDArray[np.bool_] | None = None
    model_sha256: tuple[str, ...] = ()
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        d = 3 * self.system.natoms
        if self.vectors.ndim != 2 or self.vectors.shape[0] != d:
            raise InputError(f"vectors have shape {self.vectors.shape}, expected ({d}, n)")
        n = self.vectors.shape[1]
        error = np.abs(self.vectors.T @ self.vectors - np.eye(n)).max()
        if not error < 1e-8:
            raise InputError(f"columns are not orthonormal: WᵀW differs from 1 by {error:.3g}")

    @property
    def nmodes(self) -> int:
        """Number of columns."""
        return self.vectors.shape[1]

    def weights(self) -> FloatArray:
        """Factor between a displacement and its coordinate in the basis, (3 N, 1): √m or 1."""
        m = self.system.masses if self.weighting == "mass" else np.ones(self.system.natoms)
        return np.repeat(np.sqrt(m), 3)[:, None]

    def coordinates(self, displacements: FloatArray) -> FloatArray:
        """Modal coordinates y = Wᵀ M^½ u of displacements (frames, N, 3), shape (frames, n)."""
        flat = np.asarray(displacements).reshape(len(displacements), -1)
        return flat @ (self.weights() * self.vectors)

    def first(self, n: int) -> "Basis":
        """Return the basis of the first n columns.

        Raises
        ------
        InputError
            n is below 1, or above the number of modes.
        """
        if not 1 <= n <= self.nmodes:
            raise InputError(f"{n} modes of {self.nmodes}")
        return Basis(
            self.system,
            np.ascontiguousarray(self.vectors[:, :n]),
            self.weighting,
            self.free,
            self.model_sha256,
            self.provenance,
        )

    def with_vectors(self, vectors: FloatArray, **provenance) -> "Basis":
        """Return a basis of the same system with other columns."""
        return Basis(
            self.system,
            _without(vectors, self.free),
            self.weighting,
            self.free,
            self.model_sha256,
            self.provenance | provenance,
        )

    def write(self, path) -> None:
        """Write ``NAME.rom`` atomically."""
        tensors = self.system.tensors()
        tensors["basis"] = self.vectors.reshape(self.system.natoms, 3, self.nmodes)
        if self.free is not None:
            tensors["free"] = self.free.astype(np.uint8)
        metadata = {
            "format": FORMAT,
            "format_version": VERSION,
            "units": "metal",
            "weighting": self.weighting,
            "symbols": " ".join(self.system.symbols),
            "model_sha256": json.dumps(list(self.model_sha256)),
            "provenance": json.dumps({"pyuq": pyuq.__version__} | self.provenance, sort_keys=True),
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def read(cls, path) -> "Basis":
        """Read ``NAME.rom``.

        Raises
        ------
        InputError
            It is not such a file.
        """
        tensors, metadata = read_tensors(path, (FORMAT, VERSION), "a basis file")
        free = tensors.get("free")
        return cls(
            System.from_tensors(tensors, metadata["symbols"]),
            tensors["basis"].reshape(3 * len(tensors["ids"]), -1),
            metadata["weighting"],
            None if free is None else free.astype(bool),
            tuple(json.loads(metadata["model_sha256"])),
            json.loads(metadata["provenance"]),
        )


def _without(vectors: FloatArray, free: NDArray[np.bool_] | None) -> FloatArray:
    """Clear the rounding errors that linear algebra leaves in rows of free atoms."""
    if free is None:
        return vectors
    return np.where(np.repeat(free, 3)[:, None], 0.0, vectors)


def rank_atoms(natoms: int, comm) -> slice:
    """Atoms whose rows this rank holds."""
    if comm is None:
        return slice(0, natoms)
    edges = np.linspace(0, natoms, comm.size + 1).astype(int)
    return slice(int(edges[comm.rank]), int(edges[comm.rank + 1]))


def build_basis(
    snapshots: Sequence[Snapshots],
    n: int,
    weighting: str = "mass",
    momenta: float | None = None,
    free: NDArray[np.bool_] | None = None,
    comm=None,
    **options,
) -> tuple[Basis | None, POD]:
    """Build the POD basis of one or more trajectories.

    Parameters
    ----------
    snapshots : sequence of Snapshots
        Several: their columns are joined, as for a global basis.
    n : int
        Modes.
    weighting, momenta, free
        See :class:`pyuq.srom.snapshots.SnapshotMatrix`.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the rows.
    options
        Of :func:`pyuq.srom.pod.pod`.

    Returns
    -------
    Basis or None
        The whole basis on rank 0, None elsewhere.
    POD
        Rows of this rank.
    """
    system = snapshots[0].system
    matrix = SnapshotMatrix(snapshots, weighting, momenta, free, rank_atoms(system.natoms, comm))
    found = pod(matrix, n, comm, **options)
    # Signs are arbitrary: the largest entry of a column is positive, on one rank and on many.
    rows = [found.vectors] if comm is None else comm.gather(found.vectors)
    if comm is not None and comm.rank > 0:
        return None, found
    vectors = np.vstack(rows)
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(n)]
    provenance = {
        "labels": [s.label for s in snapshots],
        "frames": [s.nframes for s in snapshots],
        "gamma": matrix.gamma,
        "singular_values": [float(s) for s in found.singular_values],
        "energy": [float(e) for e in found.energy],
    }
    hashes = tuple(dict.fromkeys(s.model_sha256 for s in snapshots))
    vectors = _without(vectors * np.sign(largest), free)
    basis = Basis(system, vectors, weighting, free, hashes, provenance)
    return basis, found
