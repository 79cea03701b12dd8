# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a design matrix, structure by structure, to be gone through several times and by several ranks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyuq.brief import brief

FloatArray = NDArray[np.float64]

BUDGET = 512 * 2**20  # bytes of rows that a rank keeps


@brief()
@dataclass(frozen=True)
class RowBlock:
    """Rows of one structure.

    Attributes
    ----------
    structure : int
        Which one.
    group : str
        Structures that are left out together.
    copies : int
        How often exactly these rows are in the data.
    rows : (n, M)
        Each over the standard deviation of its label, up to a factor common to all.
    targets : (n,)
        Likewise.
    units : (n,)
        What turns a residual of a row into the unit it is reported in: eV/atom or eV/Å.
    columns : (n,) array of str
        What each row is reported under: ``energy``, ``virial``, or ``force`` and the species.
    """

    structure: int
    group: str
    copies: int
    rows: FloatArray
    targets: FloatArray
    units: FloatArray
    columns: NDArray[np.str_]

    def weighted(self, weights: FloatArray) -> "RowBlock":
        """Return the block with rows times weights (n,)."""
        rows, targets = self.rows * weights[:, None], self.targets * weights
        return replace(self, rows=rows, targets=targets, units=self.units / weights)


@brief("indices")
class RowStream:
    """The blocks of a rank: the first are kept in memory, up to a budget, the others are made again in each pass.

    Parameters
    ----------
    indices : sequence of int
        Structures of this rank.
    make : callable
        Indices to their blocks, in order.
    budget : int
        Bytes of rows to keep.
    """

    def __init__(
        self,
        indices: Sequence[int],
        make: Callable[[Sequence[int]], Iterator[RowBlock]],
        budget: int = BUDGET,
    ):
        self.indices, self._make = indices, make
        self._kept: list[RowBlock] = []
        self._left = budget

    def __iter__(self) -> Iterator[RowBlock]:
        start = len(self._kept)
        yield from self._kept[:start]
        for k, block in enumerate(self._make(self.indices[start:])):
            if self._left >= 0 and len(self._kept) == start + k:
                self._left -= block.rows.nbytes
                if self._left >= 0:
                    self._kept.append(block)
            yield block

    def __len__(self) -> int:
        return len(self.indices)


@brief("stream")
class Weighted:
    """A stream whose rows get other weights, and of which some blocks may be left out.

    Parameters
    ----------
    stream : iterable of RowBlock
    weights : callable
        A block to the weights of its rows, (n,); None leaves the block out.
    """

    def __init__(
        self, stream: Iterable[RowBlock], weights: Callable[[RowBlock], FloatArray | None]
    ):
        self.stream, self._weights = stream, weights

    def __iter__(self) -> Iterator[RowBlock]:
        for block in self.stream:
            if (weights := self._weights(block)) is not None:
                yield block.weighted(weights)
