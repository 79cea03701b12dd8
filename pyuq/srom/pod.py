# SPDX-License-Identifier: GPL-2.0-or-later
r"""Proper orthogonal decomposition of snapshots too large for memory, over MPI ranks.

Each rank holds the rows of its atoms. Randomised subspace iteration passes over the columns on disk 2 · passes + 2
times. A rank keeps (rows + columns) × (n + oversampling) numbers; a pass sums columns × (n + oversampling) numbers
over ranks. Tall matrices are orthonormalised by TSQR, which loses nothing (the Gram matrix would lose modes below
1e-8 of the largest).

References
----------
N. Halko, P.-G. Martinsson, J. A. Tropp, SIAM Rev. **53**, 217 (2011).
J. Demmel, L. Grigori, M. Hoemmen, J. Langou, SIAM J. Sci. Comput. **34**, A206 (2012) (TSQR).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.srom.snapshots import SnapshotMatrix

FloatArray = NDArray[np.float64]

THIN_COLUMNS = 512  # up to so many columns the exact decomposition is as cheap
RANK = 1e-10  # singular values below this part of the largest are noise


@brief()
@dataclass(frozen=True)
class POD:
    """Leading left singular vectors.

    Attributes
    ----------
    vectors : (rows, n)
        Rows of this rank.
    singular_values : (n,)
    total : float
        Squared Frobenius norm of the snapshots.
    """

    vectors: FloatArray
    singular_values: FloatArray
    total: float

    @property
    def energy(self) -> FloatArray:
        """Part of the squared norm that the first k modes hold, (n,)."""
        return np.cumsum(self.singular_values**2) / self.total


def total_sum(values: FloatArray, comm) -> FloatArray:
    """Sum over ranks."""
    if comm is None:
        return values
    out = np.empty_like(values)
    comm.Allreduce(np.ascontiguousarray(values), out)
    return out


def tsqr(y: FloatArray, comm=None) -> tuple[FloatArray, FloatArray]:
    """QR of a tall matrix whose rows are spread over ranks.

    Parameters
    ----------
    y : (rows, l)
        Rows of this rank.

    Returns
    -------
    q : (rows, k)
        k: the smaller of l and the rows of all ranks.
    r : (k, l)
        The same on all ranks.
    """
    if comm is None:
        return np.linalg.qr(y)
    q, r = np.linalg.qr(y)
    parts = comm.allgather(r)
    outer, r = np.linalg.qr(np.vstack(parts))
    start = sum(len(part) for part in parts[: comm.rank])
    return q @ outer[start : start + q.shape[1]], r


def apply(matrix: SnapshotMatrix, right: FloatArray) -> FloatArray:
    """X · right, rows of this rank."""
    out, at = np.zeros((matrix.shape[0], right.shape[1])), 0
    for piece in matrix.pieces():
        out += piece @ right[at : at + piece.shape[1]]
        at += piece.shape[1]
    return out


def apply_transpose(matrix: SnapshotMatrix, left: FloatArray, comm) -> FloatArray:
    """Xᵀ · left, summed over ranks."""
    return total_sum(np.concatenate([piece.T @ left for piece in matrix.pieces()]), comm)


def pod(
    matrix: SnapshotMatrix,
    n: int,
    comm=None,
    method: str = "auto",
    oversampling: int = 10,
    passes: int = 2,
    seed: int = 0,
) -> POD:
    """First n left singular vectors of the snapshots.

    Parameters
    ----------
    matrix : SnapshotMatrix
        Rows of this rank.
    n : int
    comm : mpi4py.MPI.Comm, optional
    method : {"auto", "thin", "randomized"}
        Exact, or by randomised subspace iteration; ``auto`` decides by the number of columns.
    oversampling, passes, seed : int
        Of the randomised method.

    Raises
    ------
    InputError
        The snapshots have fewer than n independent columns; nothing is padded.
    """
    if method not in ("auto", "thin", "randomized"):
        raise InputError(f"method = {method!r}; expected 'auto', 'thin' or 'randomized'")
    rows, columns = matrix.shape
    total_rows = rows if comm is None else comm.allreduce(rows)
    if not 1 <= n <= min(total_rows, columns):
        raise InputError(
            f"{n} modes of {columns} snapshots of {total_rows} coordinates; expected 1 to "
            f"{min(total_rows, columns)}: take more snapshots or fewer modes"
        )
    thin = method == "thin" or (method == "auto" and columns <= THIN_COLUMNS)
    size = columns if thin else min(n + oversampling, columns, total_rows)
    start = np.eye(columns) if thin else np.random.default_rng(seed).normal(size=(columns, size))
    # Exact: the columns themselves span the range. Otherwise: a random part of it, sharpened.
    q, r = _range(matrix, start, 0 if thin else passes, comm)
    if thin:
        x, s, _ = np.linalg.svd(r)
    else:
        x, s, _ = np.linalg.svd(apply_transpose(matrix, q, comm).T, full_matrices=False)
    norm = total_sum(np.array([sum(np.vdot(p, p) for p in matrix.pieces())]), comm)[0]
    if (rank := int((s[:n] > RANK * s[0]).sum() if s[0] > 0 else 0)) < n:
        raise InputError(
            f"the {columns} snapshots have rank {rank}, below the {n} modes asked for: run longer, or "
            "take fewer modes"
        )
    return POD(q @ x[:, :n], s[:n], float(norm))


def _range(
    matrix: SnapshotMatrix, start: FloatArray, passes: int, comm
) -> tuple[FloatArray, FloatArray]:
    q, r = tsqr(apply(matrix, start), comm)
    for _ in range(passes):
        inner = np.linalg.qr(apply_transpose(matrix, q, comm))[0]
        q, r = tsqr(apply(matrix, inner), comm)
    return q, r
