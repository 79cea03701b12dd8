# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of a fit and the coverage of its error bars, by group of structures."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.inference.fit import FitResult
from pyuq.inference.readout_fit import ReadoutFit
from pyuq.io.structures import group_of


@brief()
@dataclass(frozen=True)
class Predictions:
    """Labels and predictions of a set of structures.

    Attributes
    ----------
    groups : ndarray of str, shape (S,)
        ``config_type`` of each structure.
    natoms : ndarray of int, shape (S,)
    energies : ndarray, shape (S, 2)
        Label and prediction, eV/atom.
    deviations : ndarray, shape (S, 2)
        Standard deviation by the weights and noise of the energy, eV/atom.
    totals : ndarray, shape (S,)
        Standard deviation of the error of the energy, eV/atom: calibrated, or both of them together.
    forces : list of ndarray, shape (3 N, 2)
        Label and prediction, eV/Å, of each structure.
    stresses : list of ndarray, shape (6, 2)
        Label and prediction, GPa; empty without label.
    """

    groups: np.ndarray
    natoms: np.ndarray
    energies: np.ndarray
    deviations: np.ndarray
    totals: np.ndarray
    forces: list[np.ndarray]
    stresses: list[np.ndarray]


GPA = 160.2176634  # eV/Å³


def predict(result: FitResult | ReadoutFit, structures: Sequence[Atoms]) -> Predictions:
    """Evaluate a fit on labelled structures."""
    energies, deviations, totals, forces, stresses = [], [], [], [], []
    for atoms in structures:
        label, found, n = atoms.calc.results, result.predict(atoms), len(atoms)
        energies.append((label["energy"] / n, found["energy"] / n))
        deviations.append((found["sigma"] / n, found["noise"] / n))
        totals.append(found["total"] / n)
        forces.append(np.column_stack([np.ravel(label["forces"]), np.ravel(found["forces"])]))
        if "stress" in label and all(atoms.pbc):
            stress = -found["virial"] / atoms.get_volume()
            stresses.append(np.column_stack([label["stress"], stress]) * GPA)
        else:
            stresses.append(np.empty((0, 2)))
    return Predictions(
        np.array([group_of(atoms) for atoms in structures]),
        np.array([len(a) for a in structures]),
        np.array(energies).reshape(-1, 2),
        np.array(deviations).reshape(-1, 2),
        np.array(totals),
        forces,
        stresses,
    )


@brief()
@dataclass(frozen=True)
class Errors:
    """One row of an error table.

    Attributes
    ----------
    group : str
    structures : int
    energy_mae, energy_rmse : float
        meV/atom.
    force_mae, force_rmse : float
        eV/Å.
    stress_rmse : float
        GPa; NaN without labels.
    within_1, within_2 : float
        Fraction of energies inside one and two standard deviations of the error
        (:attr:`Predictions.totals`); 0.683 and 0.954 when the error bars are right.
    """

    group: str
    structures: int
    energy_mae: float
    energy_rmse: float
    force_mae: float
    force_rmse: float
    stress_rmse: float
    within_1: float
    within_2: float


def errors(group: str, predictions: Predictions, chosen: np.ndarray) -> Errors:
    """Errors of the chosen structures."""
    index = np.flatnonzero(chosen)
    energy = 1000 * np.diff(predictions.energies[index])[:, 0]
    force = np.diff(np.concatenate([predictions.forces[k] for k in index]))
    stress = np.diff(np.concatenate([predictions.stresses[k] for k in index]))
    z = np.abs(energy) / (1000 * predictions.totals[index])
    rms = lambda d: float(np.sqrt(np.mean(d**2))) if d.size else float("nan")  # noqa: E731
    return Errors(
        group,
        len(index),
        float(np.abs(energy).mean()),
        rms(energy),
        float(np.abs(force).mean()),
        rms(force),
        rms(stress),
        float((z < 1).mean()),
        float((z < 2).mean()),
    )


def error_table(predictions: Predictions) -> list[Errors]:
    """Errors of each group, then of all."""
    names = sorted(set(predictions.groups))
    rows = [errors(name, predictions, predictions.groups == name) for name in names]
    if len(names) != 1:
        rows.append(errors("all", predictions, np.ones(len(predictions.groups), dtype=bool)))
    return rows


HEADINGS = {
    "group": "group",
    "structures": "structures",
    "energy_mae": "E MAE meV/atom",
    "energy_rmse": "E RMSE meV/atom",
    "force_mae": "F MAE eV/Å",
    "force_rmse": "F RMSE eV/Å",
    "stress_rmse": "stress RMSE GPa",
    "within_1": "in 1σ",
    "within_2": "in 2σ",
}


def format_table(rows: Sequence[Errors]) -> str:
    """Markdown table of errors."""
    names = [f.name for f in fields(Errors)]
    cells = [[HEADINGS[n] for n in names]]
    for row in rows:
        values = [getattr(row, n) for n in names]
        cells.append([v if isinstance(v, str) else f"{v:.4g}" for v in values])
    widths = [max(len(line[k]) for line in cells) for k in range(len(names))]
    lines = [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, " | ".join("-" * w for w in widths))
    return "\n".join(f"| {line} |" for line in lines)
