# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums of design-matrix rows of a model over a training set: of each kind of label, and of any length.

Structures stream by, on disk or in memory, shared out among ranks; what is kept does not grow with them. Sums of long
runs are put on disk now and then, and a run that is started again goes on from there.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from tqdm import tqdm

from pyuq.brief import brief
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.design import row_columns
from pyuq.inference.fit_settings import Weights
from pyuq.inference.posterior import Posterior
from pyuq.inference.regression import NormalEquations
from pyuq.inference.rows import RowBlock, RowStream, Weighted
from pyuq.io.files import read_tensors, write_tensors
from pyuq.io.identity import structure_hash
from pyuq.io.structures import StructureFiles, check_structure, group_of, take
from pyuq.parallel import agree, my_share

FloatArray = NDArray[np.float64]

KINDS = {"energy": "eV/atom", "force": "eV/Å", "virial": "eV/atom"}
CHECKPOINT_EVERY = 60.0  # s


@brief()
@dataclass(frozen=True)
class Block:
    """Rows of one kind of one structure, scaled to intensive units.

    Attributes
    ----------
    rows : (n, M)
    residuals : (n,)
        Label less the prediction of the file's weights.
    """

    rows: FloatArray
    residuals: FloatArray


def blocks(model: Evaluator, atoms: Atoms, max_force: float = np.inf) -> dict[str, Block]:
    """Rows of a structure by kind: energy and virial over √N (eV/√atom), forces (eV/Å)."""
    rows, label, w = model.rows(atoms), atoms.calc.results, model.model.weights
    forces = np.asarray(label["forces"]).reshape(-1)
    kept = np.abs(forces) <= max_force
    root = np.sqrt(len(atoms))
    residuals = forces - rows.baseline_forces - rows.forces @ w
    if not kept.all():
        return {"force": Block(rows.forces[kept], residuals[kept])}
    found = {"force": Block(rows.forces, residuals)}
    energy = label["energy"] - rows.baseline_energy - rows.energy @ w
    found["energy"] = Block(rows.energy[None] / root, np.array([energy]) / root)
    if "stress" in label and all(atoms.pbc):
        virial = -np.asarray(label["stress"]) * atoms.get_volume()
        residual = virial - rows.baseline_virial - rows.virial @ w
        found["virial"] = Block(rows.virial / root, residual / root)
    return found


def row_stream(
    model: Evaluator,
    structures: Sequence[Atoms] | StructureFiles,
    max_force: float = np.inf,
    comm=None,
    hashes: Sequence[str] = (),
) -> RowStream:
    """Rows of this rank's structures, of all kinds, scaled as :func:`blocks` does.

    hashes: of all structures; copies are known by them.
    """
    copies = Counter(hashes)

    def make(indices: Sequence[int]) -> Iterator[RowBlock]:
        for k, atoms in zip(indices, take(structures, indices), strict=True):
            found, root = blocks(model, atoms, max_force), np.sqrt(len(atoms))
            kept = np.abs(np.ravel(atoms.calc.results["forces"])) <= max_force
            columns = row_columns(atoms, kept, "energy" in found, "virial" in found)
            yield RowBlock(
                structure=k,
                group=group_of(atoms),
                copies=copies.get(structure_hash(atoms), 1),
                rows=np.concatenate([block.rows for block in found.values()]),
                targets=np.concatenate([block.residuals for block in found.values()]),
                units=np.where(np.char.startswith(columns, "force"), 1.0, 1.0 / root),
                columns=columns,
            )

    return RowStream(my_share(len(structures), comm), make)


def weighed(
    stream: Iterable[RowBlock], sums: "Components", chosen: NDArray[np.bool_] | None = None
) -> Weighted:
    """Rows over the standard deviations of their noise; chosen: of structures, (S,), all by default."""
    inverse = {kind: 1.0 / deviation for kind, deviation in sums.deviations().items()}

    def weights(block: RowBlock) -> FloatArray | None:
        if chosen is not None and not chosen[block.structure]:
            return None
        return np.array([inverse[column.split()[0]] for column in map(str, block.columns)])

    return Weighted(stream, weights)


@brief("parts", "variances")
class Components:
    """Normal equations of each kind, and the variances of their noise."""

    def __init__(self, nreadout: int, weights: Weights):
        self.parts = {kind: NormalEquations(nreadout) for kind in KINDS}
        start = {"energy": weights.energy, "force": weights.force, "virial": weights.virial}
        self.variances = {kind: max(value, 1e-6) ** 2 for kind, value in start.items()}

    def add(self, found: dict[str, Block]) -> None:
        """Take in the rows of a structure."""
        for kind, block in found.items():
            self.parts[kind].add(block.rows, block.residuals)

    def allreduce(self, comm) -> None:
        """Sum over ranks."""
        for part in self.parts.values():
            part.allreduce(comm)

    def deviations(self) -> dict[str, float]:
        """Standard deviations of the noise by kind."""
        return {kind: float(np.sqrt(v)) for kind, v in self.variances.items()}

    def copy(self) -> "Components":
        """Return an independent copy."""
        other = Components.__new__(Components)
        other.parts = {kind: part.copy() for kind, part in self.parts.items()}
        other.variances = dict(self.variances)
        return other

    def joined(self) -> NormalEquations:
        """All rows, each over the standard deviation of its noise."""
        total = NormalEquations(next(iter(self.parts.values())).nfeatures)
        for kind, part in self.parts.items():
            total.merge(part.scaled(1.0 / self.variances[kind]))
        return total

    def update(self, posterior: Posterior, mean: str) -> float:
        """Estimate the variances anew; returns the largest relative change of a standard deviation."""
        change = 0.0
        for kind, part in self.parts.items():
            if not part.nrows:
                continue
            gram = part.gram
            if mean == "refit":
                w = posterior.mean
                misfit = part.yty - 2 * (w @ part.rhs) + w @ gram @ w
                used = float(np.sum(posterior.covariance * gram)) / self.variances[kind]
            else:  # the weights did not see these rows
                misfit, used = part.yty, 0.0
            variance = max(misfit, 0.0) / max(part.nrows - used, 0.5 * part.nrows)
            variance = max(variance, 1e-16)
            change = max(change, abs(np.sqrt(variance / self.variances[kind]) - 1.0))
            self.variances[kind] = variance
        return change

    def tensors(self, prefix: str) -> dict[str, FloatArray]:
        """All sums, for a file."""
        found = {}
        for kind, part in self.parts.items():
            found[f"{prefix}.{kind}.gram"] = part.gram
            found[f"{prefix}.{kind}.rhs"] = part.rhs
            found[f"{prefix}.{kind}.scalars"] = np.array([part.yty, float(part.nrows)])
        return found

    def restore(self, prefix: str, tensor: Callable[[str], FloatArray]) -> None:
        """Take the sums of a file; `tensor` gives one by its name."""
        for kind in self.parts:
            self.parts[kind] = NormalEquations.from_sums(
                *(tensor(f"{prefix}.{kind}.{name}") for name in ("gram", "rhs", "scalars"))
            )


@brief()
@dataclass(frozen=True)
class Partial:
    """Where a rank keeps its sums while they grow.

    Attributes
    ----------
    path : Path
    key : str
        Of everything that the sums depend on: a file with another key is not taken.
    """

    path: Path
    key: str

    def load(self, sums: Sequence[Components]) -> list[str]:
        """Restore sums; returns the hashes of the structures that are in them."""
        with suppress(ValueError):  # none, or damaged: the sums are made anew
            tensors, record = read_tensors(self.path)
            if record.get("key") == self.key:
                for k, part in enumerate(sums):
                    part.restore(str(k), tensors.__getitem__)
                return json.loads(record["hashes"])
        return []

    def save(self, sums: Sequence[Components], hashes: list[str]) -> None:
        """Write atomically."""
        tensors = {n: t for k, part in enumerate(sums) for n, t in part.tensors(str(k)).items()}
        write_tensors(self.path, tensors, {"key": self.key, "hashes": json.dumps(hashes)})

    def remove(self) -> None:
        """Forget: the result is written."""
        self.path.unlink(missing_ok=True)


def accumulate(
    model: Evaluator,
    structures: Sequence[Atoms] | StructureFiles,
    judged: NDArray[np.bool_],
    weights: Weights,
    max_force: float = np.inf,
    comm=None,
    partial: Partial | None = None,
) -> tuple[Components, Components, list[str]]:
    """Sum the rows of a training set.

    Parameters
    ----------
    model : Evaluator
    structures : sequence of Atoms or StructureFiles
        Labelled; the same on all ranks.
    judged : ndarray of bool, shape (S,)
        Structures that are summed apart.
    weights : Weights
        Starting values of the noise.
    max_force : float
        Force components above are left out, eV/Å.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the structures; all return the same.
    partial : Partial, optional
        Of this rank.

    Returns
    -------
    train, held : Components
    hashes : list of str
        Of the structures, in no order.

    Raises
    ------
    ValueError
        A structure without label, or with an element that the model does not know; on all ranks.
    """
    sums = [Components(model.nreadout, weights) for _ in range(2)]
    mine = my_share(len(structures), comm)
    hashes = partial.load(sums) if partial else []
    mine = mine[len(hashes) :]
    error, written = None, time.monotonic()
    progress = tqdm(mine, desc="rows", disable=None)
    try:
        for k, atoms in zip(progress, take(structures, mine), strict=True):
            check_structure(structures, k, atoms, model.elements)
            sums[int(judged[k])].add(blocks(model, atoms, max_force))
            hashes.append(structure_hash(atoms))
            if partial and time.monotonic() - written >= CHECKPOINT_EVERY:
                partial.save(sums, hashes)
                written = time.monotonic()
    except ValueError as found:
        error = found
    agree(comm, error)
    if comm is not None:
        for part in sums:
            part.allreduce(comm)
        hashes = [h for part in comm.allgather(hashes) for h in part]
    return sums[0], sums[1], hashes
