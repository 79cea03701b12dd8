#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fit of 88 AlSi cells of 32 atoms on one core: assembly, evidence, ARD, taking in one more cell.

``python benchmarks/fit.py`` labels rattled and strained cells of Al with 10 % Si by the MEAM
potential that comes with LAMMPS, fits an ACE basis of about 700 functions, and times every stage
(best of ``--repeat``; other work on the machine makes it slower, nothing makes it faster). Where
scikit-learn can be imported, its estimators run on the same rows. A last line times ridge on a
random problem of 20,000 × 1000.
"""

# ruff: noqa: E402

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # one core; read when numpy loads

import argparse
import time
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import bulk

from pyuq.inference.design import weighted_rows
from pyuq.inference.fit import fit
from pyuq.inference.fit_settings import FitSettings
from pyuq.inference.regression import ARDRegression, BayesianRidge, NormalEquations
from pyuq.io.extxyz import labelled
from pyuq.labels.reference import LammpsReference
from pyuq.lmp import potentials_folder
from pyuq.potentials.basis import ACEBasis

BASIS = ACEBasis(("Al", "Si"), cutoff=5.5, order=3, degree=(10, 8, 4))
MEAM = (
    "pair_style meam",
    "pair_coeff * * library.meam AlS SiS MgS CuS FeS AlSiMgCuFe.meam AlS SiS",
)


def alsi_cells(n: int, rng: np.random.Generator) -> list[Atoms]:
    """Labelled cells of 29 Al and 3 Si, strained by 3 % and rattled by 0.15 Å."""
    reference = LammpsReference(BASIS.elements, MEAM, folder=str(potentials_folder()))
    cells = []
    for _ in range(n):
        atoms = bulk("Al", "fcc", a=4.05, cubic=True) * (2, 2, 2)
        atoms.symbols[rng.choice(32, 3, replace=False)] = "Si"
        strain = np.eye(3) + rng.normal(0.0, 0.03, (3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.15, (32, 3))
        cells.append(labelled(atoms, **reference(atoms)))
    return cells


def best(function: Callable[[], object], repeat: int) -> tuple[float, object]:
    """Return the shortest time of several calls, s, and what the last one returned."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def report(what: str, seconds: float, note: str = "") -> None:
    print(f"{what:46s} {seconds:8.3f} s  {note}", flush=True)


def benchmark_cells(repeat: int, peers: bool) -> None:
    """Time the stages of a fit, and scikit-learn on the same rows."""
    *cells, extra = alsi_cells(89, np.random.default_rng(0))
    settings = FitSettings(BASIS)
    total, result = best(lambda: fit(cells, settings), repeat)
    features, m = result.features, BASIS.nfunctions

    def assemble() -> NormalEquations:
        normal = NormalEquations(m)
        for atoms in cells:
            normal.add(*weighted_rows(features, atoms, settings))
        return normal

    assembly, normal = best(assemble, repeat)
    ridge = settings.solver.estimator(BASIS)
    solve, _ = best(lambda: ridge.fit_statistics(normal), repeat)
    ard, sparse = best(lambda: ARDRegression().fit_statistics(normal), repeat)
    update, _ = best(lambda: result.update([extra]), repeat)
    row = weighted_rows(features, extra, settings)
    rank_k, _ = best(lambda: result.posterior.update(*row), repeat)

    print(f"{len(cells)} cells of 32 atoms, {m} functions, {normal.nrows} rows")
    report("fit: everything", total, "target 1.5")
    report("  assembly of rows and normal equations", assembly)
    report("  ridge by evidence, with covariance", solve)
    report("ARD on the normal equations", ard, f"{sparse.kept_.sum()} functions kept")
    report("one more cell: rows, new posterior", update, "target 0.1")
    report("  of which Posterior.update would take", rank_k, f"{len(row[0])} rows")
    if peers:
        benchmark_scikit_learn(features, cells, settings)


def benchmark_scikit_learn(features, cells: list[Atoms], settings: FitSettings) -> None:
    """Time scikit-learn's estimators on the weighted rows."""
    try:
        from sklearn import linear_model
    except ImportError:
        print("scikit-learn is not installed: no comparison")
        return
    blocks = [weighted_rows(features, atoms, settings) for atoms in cells]
    X = np.vstack([rows * weights[:, None] for rows, _, weights in blocks])
    y = np.concatenate([targets * weights for _, targets, weights in blocks])
    for name in ("BayesianRidge", "ARDRegression"):
        estimator = getattr(linear_model, name)(fit_intercept=False)
        report(f"scikit-learn {name}", best(lambda e=estimator: e.fit(X, y), 1)[0])


def benchmark_ridge(repeat: int) -> None:
    """Time ridge on 20,000 × 1000 random numbers."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20000, 1000)) * np.logspace(0.0, -4.0, 1000)
    y = X @ rng.normal(size=1000) + 0.1 * rng.normal(size=20000)
    seconds, _ = best(lambda: BayesianRidge().fit(X, y), repeat)
    report("ridge by evidence, 20,000 × 1000", seconds, "target 0.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each stage (%(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="leave scikit-learn out")
    args = parser.parse_args()
    benchmark_cells(args.repeat, peers=not args.no_peers)
    benchmark_ridge(args.repeat)


if __name__ == "__main__":
    main()
