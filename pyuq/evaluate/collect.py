# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of a calculator on labelled structures beside its error bars for them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from tqdm import tqdm

from pyuq.calibration.judge import UNITS
from pyuq.calibration.recalibration import Sample
from pyuq.errors import InputError
from pyuq.evaluate.calculator import UQCalculator, force_deviations
from pyuq.evaluate.evaluator import Evaluator
from pyuq.io.files import read_metadata
from pyuq.io.identity import HASH_DIGITS, joined_hash, structure_hash
from pyuq.io.structures import StructureFiles, check_structure, take
from pyuq.parallel import agree, my_share

SMALLEST = 1e-6  # of the RMSE: a standard deviation that symmetry makes zero


def collect(
    calculator: UQCalculator, structures: Sequence[Atoms] | StructureFiles, comm=None
) -> dict[str, Sample]:
    """Errors of a calculator on labelled structures, and its standard deviations for them.

    Parameters
    ----------
    calculator : UQCalculator
    structures : sequence of Atoms or StructureFiles
        Labelled; the same on all ranks.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the structures; all return the same.

    Returns
    -------
    dict
        {quantity: Sample}: ``energy`` and ``virial`` (six components) in eV/atom, group ``"all"``; ``force``
        (components, eV/Å) by species, and ``gradient``, the same with the length of ∇_i σ_E in place of the standard
        deviation: what ``compute uq/atom force`` gives.

    Raises
    ------
    InputError
        The calculator has no uncertainty; a structure has no label, or an element that a member does not know; or a
        member has been trained on some of the structures.
    """
    if not calculator.has_uncertainty:
        raise InputError(
            f"{calculator.members[0].path} has no posterior and is alone: make one (`pyuq posterior`), or name "
            "further models"
        )
    refuse_taught(calculator, structures, comm)
    mine, found, error = my_share(len(structures), comm), {}, None
    progress = tqdm(mine, desc="structures", disable=None)
    try:
        for k, atoms in zip(progress, take(structures, mine), strict=True):
            for member in calculator.members:
                check_structure(structures, k, atoms, member.elements)
            found[k] = _errors(calculator, atoms)
    except ValueError as reason:
        error = reason
    agree(comm, error)
    if comm is not None:
        found = {k: parts for part in comm.allgather(found) for k, parts in part.items()}
    samples = {}
    for quantity in UNITS:
        rows = [(k, *found[k][quantity]) for k in sorted(found) if quantity in found[k]]
        if rows:
            samples[quantity] = _sample(rows)
    return samples


def training_of(member: Evaluator) -> tuple[Path, str, frozenset[str]]:
    """Return what the files of a model say about its training set.

    Returns
    -------
    path : Path
        File that tells it.
    joined : str
        Hash of the whole set; empty where nothing is known.
    single : frozenset of str
        What :func:`pyuq.io.identity.training_record` keeps of its structures; empty in older files.
    """
    path = member.path
    for file in (path, path.with_suffix(".uq")):
        metadata = read_metadata(file)
        if not metadata or (file != path and not member.model.has_posterior):
            continue
        record = json.loads(metadata.get("provenance", "{}"))
        joined = metadata.get("training_sha256") or record.get("training_sha256") or ""
        if joined:
            return file, joined, frozenset(record.get("training", ()))
    return path, "", frozenset()


def refuse_taught(
    calculator: UQCalculator, structures: Sequence[Atoms] | StructureFiles, comm=None
) -> None:
    """Refuse structures that a member was trained on: it errs less on them than on any other.

    Raises
    ------
    InputError
        Some are in the training set that a member's files name, exactly as they are; or are all of it.
    """
    known = {record for member in calculator.members if (record := training_of(member))[1]}
    if not known:
        return
    mine, hashes, error = my_share(len(structures), comm), [], None
    try:
        for k, atoms in zip(mine, take(structures, mine), strict=True):
            check_structure(structures, k, atoms, ())
            hashes.append((k, structure_hash(atoms)))
    except ValueError as reason:
        error = reason
    agree(comm, error)
    if comm is not None:
        hashes = [pair for part in comm.allgather(hashes) for pair in part]
    hashes.sort()
    for path, joined, single in sorted(known, key=lambda record: record[0]):
        taught = [k for k, h in hashes if h[:HASH_DIGITS] in single]
        if joined == joined_hash(h for _, h in hashes):
            taught = [k for k, _ in hashes]
        if taught:
            few = ", ".join(map(str, taught[:5])) + (", ..." if len(taught) > 5 else "")
            raise InputError(
                f"{len(taught)} of {len(hashes)} structures are among those that {path} was trained on (numbers {few}, "
                "from 0): a model is surer and better there than anywhere else, and they would judge it too well. Name "
                "structures that it has not seen"
            )


def _errors(calculator: UQCalculator, atoms: Atoms) -> dict[str, tuple]:
    """Errors, standard deviations and groups of one structure by quantity."""
    label, n = atoms.calc.results, len(atoms)
    calculator.calculate(atoms, calculator.implemented_properties)
    result, species = calculator.results, np.repeat(list(atoms.symbols), 3)
    force = np.ravel(result["forces"] - label["forces"])
    gradient = np.repeat(np.linalg.norm(result["bias_forces"], axis=1), 3)
    found = {
        "energy": (
            [(result["energy"] - label["energy"]) / n],
            [result["energy_uncertainty"] / n],
            ["all"],
        ),
        "force": (force, np.ravel(force_deviations(result)), species),
        "gradient": (force, gradient, species),
    }
    if "stress" in label and all(atoms.pbc):
        per_atom = atoms.cell.volume / n
        error = (result["stress"] - label["stress"]) * per_atom
        found["virial"] = (error, result["stress_uncertainty"] * per_atom, ["all"] * 6)
    return found


def _sample(rows: Sequence[tuple]) -> Sample:
    """Join structures; of a standard deviation that symmetry makes zero, the smallest that can be scored."""
    errors, sigmas = (
        np.concatenate([np.asarray(row[i], dtype=float) for row in rows]) for i in (1, 2)
    )
    smallest = SMALLEST * max(float(np.sqrt(np.mean(errors**2))), float(sigmas.max()), 1e-300)
    return Sample(
        errors,
        np.maximum(sigmas, smallest),
        np.concatenate([np.asarray(row[3], dtype=str) for row in rows]),
        np.concatenate([np.full(len(row[1]), row[0]) for row in rows]),
    )
