#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The ASE calculator beside what it cannot do without: neighbour list and kernel.

``python benchmarks/calculator.py`` prints milliseconds of processor time for bcc Ta of 384 atoms: the neighbour list
by vesin, the energies and forces of all models by the kernels (one after another), ``get_forces`` of the calculator,
and the ratio of the last to the sum of the first two. Everything is random and made here. `get_forces` includes σ_E,
−∇σ_E and σ_i where there is an uncertainty; standard deviations of forces are not asked for.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import vesin
from ase import Atoms
from ase.build import bulk
from hal_step import write_model
from rom_step import write_nep

from pyuq.evaluate.calculator import UQCalculator


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def measure(files: list[Path], atoms: Atoms, repeats: int) -> tuple[float, float, float]:
    """Time neighbour list, kernels of all members, and forces by the calculator, ms."""
    calculator = UQCalculator(files, forces_uncertainty=False)
    cutoff = max(member.model.cutoff for member in calculator.members)
    views = [(member.model, member.neighbors(atoms)[0]) for member in calculator.members]
    rng = np.random.default_rng(0)

    def neighbours():
        vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
            points=atoms.positions,
            box=atoms.cell.array,
            periodic=atoms.pbc,
            quantities="ijSd",
        )

    def forces():
        moved = atoms.copy()
        moved.positions += rng.normal(scale=1e-4, size=moved.positions.shape)
        calculator.get_forces(moved)

    return (
        milliseconds(neighbours, repeats),
        milliseconds(lambda: [model.evaluate(view) for model, view in views], repeats),
        milliseconds(forces, repeats),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    atoms = bulk("Ta", cubic=True).repeat((6, 8, 4))
    atoms.rattle(0.05, seed=0)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        neps = [folder / f"nep{k}.txt" for k in range(5)]
        for file in neps:
            write_nep(file, rng)
        functions = write_model(folder / "ace.uq", (14, 12, 10, 7), rng)
        cases = {
            "one NEP": neps[:1],
            "committee of five NEPs": neps,
            f"ACE with posterior, {functions} functions": [folder / "ace.uq"],
            "the ACE and a NEP": [folder / "ace.uq", neps[0]],
        }
        head = f"{len(atoms)} atoms of Ta, ms"
        print(f"{head:40s}{'neighbours':>12s}{'kernels':>10s}{'get_forces':>12s}{'ratio':>8s}")
        for title, files in cases.items():
            listed, kernels, forces = measure(files, atoms, args.repeats)
            ratio = forces / (listed + kernels)
            print(f"{title:40s}{listed:12.2f}{kernels:10.2f}{forces:12.2f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
