# SPDX-License-Identifier: GPL-2.0-or-later
"""Ranks that share work: their parts, sums of what they find, and errors that end all of them."""

import numpy as np
from numpy.typing import NDArray

from pyuq.brief import brief


def my_share(n: int, comm) -> range:
    """Structures of this rank."""
    return range(n) if comm is None else range(comm.rank, n, comm.size)


def agree(comm, error: Exception | None) -> None:
    """Raise the first error of any rank on all of them, so that none waits for one that failed."""
    errors = [error] if comm is None else comm.allgather(error)
    if found := next((e for e in errors if e is not None), None):
        raise found


@brief("comm")
class Reducer:
    """Joins what the ranks of a communicator found; without one, of this process alone.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
    """

    def __init__(self, comm=None):
        self.comm = comm

    def _reduce(self, array, operation: str) -> NDArray:
        array = np.ascontiguousarray(array)
        if self.comm is None:
            return array
        from mpi4py import MPI

        result = np.empty_like(array)
        self.comm.Allreduce(array, result, op=getattr(MPI, operation))
        return result

    def total(self, array) -> NDArray:
        """Sum over ranks."""
        return self._reduce(array, "SUM")

    def least(self, array) -> NDArray:
        """Smallest of each element."""
        return self._reduce(array, "MIN")

    def largest(self, array) -> NDArray:
        """Largest of each element."""
        return self._reduce(array, "MAX")

    def gathered(self, items: list) -> list:
        """Items of all ranks, in the order of the ranks."""
        if self.comm is None:
            return list(items)
        return [item for part in self.comm.allgather(list(items)) for item in part]
