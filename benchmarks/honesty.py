#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How right the error bars of linear fits are, inside and outside of their data.

``python benchmarks/honesty.py --short`` prints a table (under five minutes on two cores): for each data set, for test
structures like those learnt (in) and unlike them (out), forces and energies, the error over its error bar. factor: root
mean square, 1 is right; robust: by the median; parts inside σ and 2σ, 0.683 and 0.954 are right; negative
log-likelihood, lower is better; rank correlation. Error bars:

posterior
    exact posterior of the weights alone
posterior, noise
    with the noise that the fit finds
pops
    box of pointwise fits in whitened axes: what ``uncertainty = "pops"`` writes
posterior, loo; pops, loo
    either with factor and floor from structures left out one by one: no test structure enters
popsregression
    the package of this name on the same matrix, where it is installed (the columns scaled by the prior)

Copper (effective-medium theory of ASE) and silver iodide (the embedded reference of ``pyuq quickstart``) are labelled
here. Silicon and germanium (DFT, mlearn) are taken where ``--mlearn`` or ``PYUQ_SHARED_DATA`` has them: trained on
Elastic and AIMD, out: Vacancy and Surface; or trained on Elastic alone, out: all others. Without ``--short`` the bases
are larger.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from pyuq import systems
from pyuq.inference.design import row_blocks
from pyuq.inference.fit import FitResult, fit
from pyuq.inference.fit_settings import FitSettings, Weights
from pyuq.inference.leave_one_out import LeaveOneOut, judge, leave_out
from pyuq.inference.pops import Spread, whitening
from pyuq.io import extxyz
from pyuq.io.structures import group_of, read_structures
from pyuq.labels.reference import LammpsReference
from pyuq.potentials.basis import ACEBasis

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PYUQ_SHARED_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Case:
    """A training set, and test structures like it and unlike it."""

    basis: ACEBasis
    train: list[Atoms]
    tests: dict[str, list[Atoms]]
    weights: Weights = field(default_factory=Weights)


def copper(short: bool) -> Case:
    """Thermal crystals; out: vacancies, surfaces and larger displacements."""
    rng = np.random.default_rng(1)

    def make(n: int, rattle: float, kind: str = "bulk") -> list[Atoms]:
        found = []
        for _ in range(n):
            atoms = bulk("Cu", cubic=True) * (2, 2, 2)
            if kind == "vacancy":
                del atoms[rng.integers(len(atoms))]
            if kind == "surface":
                atoms.center(vacuum=4.0, axis=2)
            strain = rng.normal(0, 0.02, (3, 3))
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            atoms.positions += rng.normal(0, rattle, atoms.positions.shape)
            atoms.calc = EMT()
            labels = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
            found.append(extxyz.labelled(atoms, *labels))
        return found

    out = make(6, 0.1, "vacancy") + make(6, 0.1, "surface") + make(6, 0.16)
    basis = ACEBasis(("Cu",), 5.0, order=3, degree=6 if short else 9)
    return Case(basis, make(40, 0.1), {"in": make(10, 0.1), "out": out})


def silver_iodide(short: bool) -> Case:
    """Superionic crystals of small displacements; out: of large ones, and strained."""
    rng = np.random.default_rng(2)
    reference = LammpsReference(
        systems.ELEMENTS, systems.reference_commands(), "charge", charges=systems.CHARGES
    )

    def make(n: int, rattle: float, strain: float) -> list[Atoms]:
        found = []
        for _ in range(n):
            atoms = systems.silver_iodide(2, rng, rattle, strain)
            label = reference(atoms)
            found.append(extxyz.labelled(atoms, label["energy"], label["forces"], label["stress"]))
        return found

    basis = ACEBasis(systems.ELEMENTS, 6.5, order=3, degree=(8, 5, 3) if short else (10, 8, 6))
    tests = {"in": make(10, 0.1, 0.02), "out": make(10, 0.16, 0.03)}
    return Case(basis, make(40, 0.1, 0.02), tests, Weights(0.001, 0.05, 0.01))


def mlearn(element: str, groups: Sequence[str], short: bool, folder: Path) -> Case:
    """DFT of mlearn, trained on some of its groups."""
    train, test = (
        read_structures([folder / f"{element}_{part}.json"], (element,))
        for part in ("training", "test")
    )
    inside = lambda atoms: group_of(atoms) in groups  # noqa: E731
    tests = {
        "in": [a for a in test if inside(a)],
        "out": [a for a in train + test if not inside(a)][:: 3 if short else 1],
    }
    basis = ACEBasis((element,), 5.0, order=3, degree=8)
    return Case(basis, [a for a in train if inside(a)], tests)


def cases(short: bool, folder: Path) -> dict[str, Callable[[], Case]]:
    """All data sets that there are."""
    found = {"Cu": lambda: copper(short), "AgI": lambda: silver_iodide(short)}
    for element in ("Si",) if short else ("Si", "Ge"):
        if (folder / f"{element}_training.json").is_file():
            both, one = ("Elastic", "AIMD-NVT"), ("Elastic",)
            found[f"{element}, {' + '.join(both)}"] = lambda e=element, g=both: mlearn(
                e, g, short, folder
            )
            found[f"{element}, Elastic"] = lambda e=element, g=one: mlearn(e, g, short, folder)
    return found


def spreads(result: FitResult) -> dict[str, tuple[np.ndarray, LeaveOneOut | None]]:
    """Covariances (M, M) of the weights, with what structures left out say of each."""
    noise = result.posterior.noise_variance
    exact = result.regression.posterior_.covariance
    white = whitening(result.normal, result.posterior.prior_variance, noise)
    blocks = rows(result, result.structures)
    spread = Spread(white, np.full(len(white), noise))
    left = leave_out(blocks, result.regression.posterior_.mean, spread, noise)
    return {
        "posterior": (exact, LeaveOneOut.of(left)),
        "pops": (result.posterior.covariance, result.leave_one_out),
    } | package(result, blocks)


def package(result: FitResult, blocks) -> dict:
    """The covariance of the package popsregression on the same matrix."""
    try:
        from popsregression import POPSRegression
    except ImportError:
        return {}
    shape = np.sqrt(result.posterior.prior_variance / result.posterior.prior_variance.max())
    X, y = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("rows", "targets"))
    other = POPSRegression(fit_intercept=False, resample_density=0.1).fit(X * shape, y)
    covariance = (other.misspecification_sigma_ + other.sigma_) * shape[:, None] * shape
    return {"popsregression": (covariance, None)}


def rows(result: FitResult, structures: list[Atoms]) -> list:
    """Weighted rows of structures."""
    every = range(len(structures))
    return list(row_blocks(result.features, structures, result.settings, result.one_body, every))


def table(name: str, case: Case) -> list[str]:
    """Rows of the table of one data set."""
    start = time.perf_counter()
    result = fit(case.train, FitSettings(case.basis, case.weights), leave=True)
    seconds = time.perf_counter() - start
    found = spreads(result)
    print(
        f"{name}: {case.basis.nfunctions} functions, {len(case.train)} structures, fit {seconds:.1f} s",
        flush=True,
    )
    mean, noise = result.regression.posterior_.mean, result.posterior.noise_variance
    lines = []
    for where, structures in case.tests.items():
        blocks = rows(result, structures)
        columns = np.concatenate([b.columns for b in blocks])
        units = np.concatenate([b.units for b in blocks])
        X = np.concatenate([b.rows for b in blocks])
        errors = units * (np.concatenate([b.targets for b in blocks]) - X @ mean)
        for column in ("energy", *(f"force {e}" for e in case.basis.elements)):
            mine = columns == column
            bars = {}
            for kind, (covariance, left) in found.items():
                sigma = units * np.sqrt(np.einsum("nm,nm->n", X @ covariance, X).clip(min=0.0))
                bars[kind] = sigma
                if kind == "posterior":
                    bars["posterior, noise"] = np.hypot(sigma, units * np.sqrt(noise))
                if left is not None and column in left.scales:
                    bars[f"{kind}, loo"] = left.scales[column].deviation(sigma)
            moving = bars["posterior"][mine] > 1e-7
            for kind, sigma in bars.items():
                if j := judge(errors[mine][moving], sigma[mine][moving]):
                    lines.append(
                        f"| {name} | {where} | {column} | {kind} | {j.n} | {j.rmse:.3g} | {j.factor:.2f} | "
                        f"{j.robust:.2f} | {j.within_1:.2f} | {j.within_2:.2f} | {j.nll:.2f} | {j.spearman:.2f} |"
                    )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="small bases, fewer structures")
    parser.add_argument("--mlearn", type=Path, default=DATA / "train/mlearn")
    parser.add_argument("--sets", nargs="+", help="only data sets whose names begin so")
    args = parser.parse_args()
    lines = []
    for name, make in cases(args.short, args.mlearn).items():
        if not args.sets or name.startswith(tuple(args.sets)):
            lines += table(name, make())
    print(
        "\n| trained on | test | quantity | error bar | n | RMSE | factor | robust | in 1σ | in 2σ | NLL | Spearman |"
    )
    print("|" + "---|" * 12)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
