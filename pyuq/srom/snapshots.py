# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of one trajectory: displacements and velocities, frame after frame, on disk.

A folder ``NAME.snap`` holds ``system.safetensors`` and two raw files of little-endian doubles, ``u.f64`` and ``v.f64``,
[frames][N][3]. They grow frame by frame; a frame that was cut short by a crash is not counted. ``frames.json`` holds
the hashes of both files once they are complete.
"""

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.files import named, read_json, read_tensors, write_json, write_tensors
from pyuq.io.identity import hash_file
from pyuq.srom.system import System

FloatArray = NDArray[np.float64]

FORMAT, VERSION = "pyuq-snapshots", "1"
HEADER, DISPLACEMENTS, VELOCITIES = "system.safetensors", "u.f64", "v.f64"
SEAL = "frames.json"


@brief("path", "label", "timestep")
class Snapshots:
    """A folder of snapshots.

    Parameters
    ----------
    path : Path
        The folder; see :meth:`create` for a new one.

    Attributes
    ----------
    system : System
    timestep : float
        Time between frames, ps.
    label : str
        Of the model, for tables.
    model_sha256 : str
        Hash of the model (file, or LAMMPS commands) that made the trajectory.
    origin : dict or None
        Settings that made it, see :func:`pyuq.srom.origin.origin`.

    Raises
    ------
    InputError
        It is not such a folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not (self.path / HEADER).is_file():
            raise InputError(f"{path} holds no snapshots: make them with `pyuq srom snapshots`")
        tensors, metadata = read_tensors(self.path / HEADER, (FORMAT, VERSION))
        self.system = System.from_tensors(tensors, metadata["symbols"])
        self.timestep = float(metadata["timestep"])
        self.label = metadata["label"]
        self.model_sha256 = metadata["model_sha256"]
        self.origin = json.loads(metadata.get("origin", "null"))

    @classmethod
    def create(
        cls,
        path,
        system: System,
        timestep: float,
        label: str,
        model_sha256: str = "",
        origin: dict | None = None,
    ) -> "Snapshots":
        """Begin an empty folder; what lay there is removed."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        for name in (SEAL, HEADER, DISPLACEMENTS, VELOCITIES):
            (path / name).unlink(missing_ok=True)
        metadata = {
            "format": FORMAT,
            "format_version": VERSION,
            "symbols": " ".join(system.symbols),
            "timestep": repr(float(timestep)),
            "label": label,
            "model_sha256": model_sha256,
            "origin": json.dumps(origin, sort_keys=True),
        }
        write_tensors(path / HEADER, system.tensors(), metadata)
        return cls(path)

    def append(self, displacements: FloatArray, velocities: FloatArray) -> None:
        """Add frames.

        Parameters
        ----------
        displacements : (frames, N, 3)
            Unwrapped x - x⁰, Å.
        velocities : (frames, N, 3)
            Å/ps.

        Raises
        ------
        InputError
            Wrong shape, or a number that is not finite.
        """
        shape = (self.system.natoms, 3)
        (self.path / SEAL).unlink(missing_ok=True)
        for name, values in ((DISPLACEMENTS, displacements), (VELOCITIES, velocities)):
            values = np.asarray(values, dtype="<f8")
            if values.shape[1:] != shape:
                raise InputError(f"frames have shape {values.shape}, expected (frames, *{shape})")
            if not np.isfinite(values).all():
                raise InputError(f"{self.path}: a frame holds NaN or infinite numbers")
            with named(self.path / name), open(self.path / name, "ab") as file:
                file.write(values.tobytes())

    @property
    def nframes(self) -> int:
        """Whole frames on disk."""
        frame = 24 * self.system.natoms
        sizes = [
            os.path.getsize(self.path / name) if (self.path / name).exists() else 0
            for name in (DISPLACEMENTS, VELOCITIES)
        ]
        return min(sizes) // frame

    def truncate(self, nframes: int) -> None:
        """Drop the frames after the first `nframes`."""
        (self.path / SEAL).unlink(missing_ok=True)
        for name in (DISPLACEMENTS, VELOCITIES):
            if (self.path / name).exists():
                os.truncate(self.path / name, 24 * self.system.natoms * nframes)

    def seal(self) -> None:
        """Note the hashes of the frames: they are complete."""
        names = (DISPLACEMENTS, VELOCITIES)
        hashes = {name: hash_file(self.path / name) for name in names}
        write_json(self.path / SEAL, {"frames": self.nframes, "sha256": hashes}, sealed=True)

    def check_seal(self, remedy: str) -> None:
        """Compare the frames with the hashes of :meth:`seal`, once in a process unless the files change.

        Folders of older versions have none, and pass.

        Parameters
        ----------
        remedy : str
            What to do, for the message.

        Raises
        ------
        InputError
            The frames, or the file of the hashes, are damaged.
        """
        if not (self.path / SEAL).is_file():
            return
        said = read_json(self.path / SEAL, remedy)
        if self.nframes != said["frames"]:
            raise InputError(
                f"{self.path} holds {self.nframes} frames, expected {said['frames']}: {remedy}"
            )
        for name, wanted in said["sha256"].items():
            status = (self.path / name).stat()
            if _hash_of(self.path / name, status.st_mtime_ns, status.st_size) != wanted:
                raise InputError(
                    f"{self.path / name}: damaged, its frames are not those that were written; {remedy}"
                )

    def _map(self, name: str) -> FloatArray:
        shape = (self.nframes, self.system.natoms, 3)
        if 0 in shape:
            return np.empty(shape)
        return np.memmap(self.path / name, dtype="<f8", mode="r", shape=shape)

    @property
    def displacements(self) -> FloatArray:
        """All frames, (frames, N, 3), Å, mapped from disk."""
        return self._map(DISPLACEMENTS)

    @property
    def velocities(self) -> FloatArray:
        """All frames, (frames, N, 3), Å/ps, mapped from disk."""
        return self._map(VELOCITIES)

    def pieces(self, name: str, size: int, atoms: slice = slice(None)) -> Iterator[FloatArray]:
        """Frames of some atoms, `size` at a time, as copies.

        Each piece is mapped anew: what stays in memory does not grow with the file.

        Parameters
        ----------
        name : {"displacements", "velocities"}
        size : int
        atoms : slice
        """
        for start in range(0, self.nframes, size):
            yield np.array(getattr(self, name)[start : start + size, atoms])


@lru_cache
def _hash_of(path: Path, changed: int, size: int) -> str:
    """Hash of a file that is large, as long as it stays as it is."""
    return hash_file(path)


def remove_drift(values: FloatArray, masses: FloatArray) -> FloatArray:
    """Take the motion of the centre of mass out of vectors (..., N, 3)."""
    return values - np.einsum("...nd,n->...d", values, masses)[..., None, :] / masses.sum()


@brief("atoms", "momenta", "chunk")
class SnapshotMatrix:
    """The columns of a POD, read in pieces: weighted displacements, and momenta where asked for.

    Parameters
    ----------
    snapshots : sequence of Snapshots
        Of one system.
    weighting : {"mass", "none"}
        Columns √m u, or u.
    momenta : float or None
        γ > 0: columns γ √m v are joined, which makes [Q̃, γP̃] and the basis that of a cotangent lift; 0: γ gives both
        blocks the same Frobenius norm; None: displacements only.
    free : (N,) of bool, optional
        Atoms whose rows are zero.
    atoms : slice
        The rows of this rank.
    chunk : int
        Frames read at a time.

    References
    ----------
    L. Peng, K. Mohseni, SIAM J. Sci. Comput. **38**, A1 (2016).
    """

    def __init__(
        self,
        snapshots,
        weighting: str = "mass",
        momenta: float | None = None,
        free: NDArray[np.bool_] | None = None,
        atoms: slice = slice(None),
        chunk: int = 64,
    ):
        self.snapshots = list(snapshots)
        if not self.snapshots:
            raise InputError("no snapshots")
        if weighting not in ("mass", "none"):
            raise InputError(f"weighting = {weighting!r}; expected 'mass' or 'none'")
        if momenta is not None and momenta < 0:
            raise InputError(
                f"momenta = {momenta}; expected 0 (equal norms) or a factor above 0, ps"
            )
        first = self.snapshots[0]
        for other in self.snapshots[1:]:
            first.system.require_same(other.system, str(first.path), str(other.path))
        masses = first.system.masses
        scale = np.sqrt(masses) if weighting == "mass" else np.ones_like(masses)
        if free is not None:
            scale = np.where(free, 0.0, scale)
        self.atoms, self.chunk = atoms, chunk
        self.scale = scale[atoms, None]
        self.momenta = momenta
        self.gamma = None if momenta is None else momenta or self._equal_norms(scale)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of this rank, and columns."""
        columns = sum(s.nframes for s in self.snapshots)
        return 3 * len(self.scale), columns * (1 if self.gamma is None else 2)

    def _equal_norms(self, scale: FloatArray) -> float:
        norms = [0.0, 0.0]
        for s in self.snapshots:
            for k, name in enumerate(("displacements", "velocities")):
                for piece in s.pieces(name, self.chunk):
                    block = piece * scale[:, None]
                    norms[k] += float(np.vdot(block, block))
        if norms[1] == 0.0:
            raise InputError("all velocities are zero: momenta cannot be joined")
        return float(np.sqrt(norms[0] / norms[1]))

    def pieces(self) -> Iterator[FloatArray]:
        """Columns, piece by piece, (rows, c)."""
        kinds = [("displacements", 1.0)]
        if self.gamma is not None:
            kinds.append(("velocities", self.gamma))
        for s in self.snapshots:
            for name, factor in kinds:
                for piece in s.pieces(name, self.chunk, self.atoms):
                    piece *= factor * self.scale
                    yield piece.reshape(len(piece), -1).T
