# SPDX-License-Identifier: GPL-2.0-or-later
"""The atoms that snapshots and bases belong to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyuq.brief import brief
from pyuq.errors import InputError

FloatArray = NDArray[np.float64]


@brief()
@dataclass(frozen=True)
class System:
    """Ids, masses, reference positions and cell.

    Attributes
    ----------
    ids : (N,)
        Atom ids, ascending.
    masses : (N,)
        g/mol.
    reference : (N, 3)
        Unwrapped x⁰, Å.
    cell : (3, 3)
        Rows a, b, c, Å.
    symbols : tuple of str
        Element of each atom.
    """

    ids: NDArray[np.int64]
    masses: FloatArray
    reference: FloatArray
    cell: FloatArray
    symbols: tuple[str, ...]

    def __post_init__(self):
        n = len(self.ids)
        shapes = {"masses": (n,), "reference": (n, 3), "cell": (3, 3)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")
        if len(self.symbols) != n:
            raise InputError(f"{len(self.symbols)} symbols for {n} atoms")
        if not (np.diff(self.ids) > 0).all():
            raise InputError("atom ids must ascend, each once")
        if not (self.masses > 0).all():
            raise InputError("masses must be above 0")

    @property
    def natoms(self) -> int:
        """Number of atoms."""
        return len(self.ids)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays as they go into a file."""
        return {
            "ids": self.ids.astype(np.int64),
            "masses": self.masses,
            "reference": self.reference,
            "cell": self.cell,
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], symbols: str) -> "System":
        """Return what :meth:`tensors` wrote."""
        values = {name: tensors[name] for name in ("ids", "masses", "reference", "cell")}
        return cls(**values, symbols=tuple(symbols.split()))

    def require_same(self, other: "System", mine: str, theirs: str) -> None:
        """Refuse another system.

        Raises
        ------
        InputError
            Names what differs, and the two files.
        """
        where = f"{mine} and {theirs} belong to different systems"
        if self.natoms != other.natoms:
            raise InputError(f"{where}: {self.natoms} and {other.natoms} atoms")
        for name in ("ids", "masses"):
            a, b = getattr(self, name), getattr(other, name)
            if (differ := np.flatnonzero(np.abs(a - b) > 1e-6 * np.abs(a))).size:
                k = differ[0]
                raise InputError(f"{where}: {name}[{k}] is {a[k]:.6g} and {b[k]:.6g}")
        scale = np.abs(self.cell).max()
        if np.abs(self.cell - other.cell).max() > 1e-6 * scale:
            raise InputError(f"{where}: the cells differ")
        if (gap := np.abs(self.reference - other.reference).max()) > 1e-6 * scale:
            raise InputError(f"{where}: reference positions differ by up to {gap:.3g} Å")
