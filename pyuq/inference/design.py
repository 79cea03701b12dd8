# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the regression: features of labelled structures, their targets and their weights."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.fit_settings import FitSettings, Weights
from pyuq.inference.posterior import Posterior
from pyuq.inference.rows import RowBlock
from pyuq.io.identity import structure_hash
from pyuq.io.structures import group_of
from pyuq.potentials.protocol import Basis
from pyuq.potentials.repulsion import Repulsion


def feature_evaluator(
    basis: Basis, one_body: Mapping[str, float], repulsion: Repulsion | None
) -> Evaluator:
    """Evaluator of a basis with unit weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"basis{basis.suffix}"
        path.write_text(basis.text(None, one_body, repulsion))
        return Evaluator(path, elements=basis.elements)


def weights_of(atoms: Atoms, settings: FitSettings) -> Weights:
    """Weights that apply to a structure."""
    return settings.groups.get(group_of(atoms), settings.weights)


def row_weights(atoms: Atoms, settings: FitSettings) -> tuple[float, np.ndarray, float]:
    """Weights of the rows of a labelled structure: energy, forces (N, 3), virial; zero: left out."""
    weights, label = weights_of(atoms, settings), atoms.calc.results
    kept = np.abs(label["forces"]) <= settings.max_force
    forces = kept / weights.force
    if not kept.all():
        return 0.0, forces, 0.0
    extensive = np.sqrt(len(atoms))
    virial = "stress" in label and weights.virial > 0 and all(atoms.pbc)
    return (
        1.0 / (weights.energy * extensive),
        forces,
        1.0 / (weights.virial * extensive) if virial else 0.0,
    )


def weighted_rows(
    features: Evaluator, atoms: Atoms, settings: FitSettings, neighbors=None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, M), targets (n,) and weights (n,) of one labelled structure.

    neighbors: :meth:`Evaluator.neighbors` of the structure, if already known.
    """
    rows, label = features.rows(atoms, neighbors), atoms.calc.results
    energy_weight, force_weights, virial_weight = row_weights(atoms, settings)
    force_weights = force_weights.reshape(-1)
    kept = force_weights > 0
    blocks = [rows.forces[kept]]
    targets = [(np.asarray(label["forces"]).reshape(-1) - rows.baseline_forces)[kept]]
    scale = [force_weights[kept]]
    if energy_weight:
        blocks.append(rows.energy[None, :])
        targets.append([label["energy"] - rows.baseline_energy])
        scale.append([energy_weight])
    if virial_weight:
        blocks.append(rows.virial)
        targets.append(-np.asarray(label["stress"]) * atoms.get_volume() - rows.baseline_virial)
        scale.append(np.full(6, virial_weight))
    return np.vstack(blocks), np.concatenate(targets), np.concatenate(scale)


def centered_rows(
    features: Evaluator, atoms: Atoms, settings: FitSettings, one_body: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`weighted_rows` with targets from which the prior mean is taken."""
    rows, targets, weights = weighted_rows(features, atoms, settings)
    return rows, targets - rows @ settings.basis.prior_mean(one_body), weights


def row_columns(atoms: Atoms, kept: np.ndarray, energy: bool, virial: bool) -> np.ndarray:
    """What the rows of a structure are reported under, in the order forces, energy, virial; kept: of forces (3 N,)."""
    species = np.repeat([f"force {s}" for s in atoms.symbols], 3)[kept]
    return np.concatenate([species, ["energy"] * energy, ["virial"] * 6 * virial])


def row_blocks(
    features: Evaluator,
    structures: Sequence[Atoms],
    settings: FitSettings,
    one_body: Mapping[str, float],
    indices: Sequence[int],
) -> Iterator[RowBlock]:
    """Weighted rows of the structures of these indices, with what reports need."""
    hashes = [structure_hash(atoms) for atoms in structures]
    copies = Counter(hashes)
    for k in indices:
        atoms = structures[k]
        rows, targets, weights = centered_rows(features, atoms, settings, one_body)
        energy, forces, virial = row_weights(atoms, settings)
        columns = row_columns(atoms, forces.reshape(-1) > 0, bool(energy), bool(virial))
        units = np.where(np.char.startswith(columns, "force"), 1.0, 1.0 / len(atoms))
        yield RowBlock(
            k, group_of(atoms), copies[hashes[k]], rows, targets, units, columns
        ).weighted(weights)


def shift(posterior: Posterior, basis: Basis, one_body: Mapping[str, float]) -> Posterior:
    """Posterior of the weights from that of their deviations from the prior mean."""
    return replace(posterior, mean=posterior.mean + basis.prior_mean(one_body))
