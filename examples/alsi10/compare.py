# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare hyperactive with plain active learning: errors on the held-out set at equal numbers of labels.

    python compare.py [number of seeds]

Runs (or continues) hal.toml and al.toml with each seed in folders of their own. The databases are cut to the
same number of structures, in the order in which they were labelled, and fitted anew with the same settings.
The table gives the mean over the seeds and, in brackets, the smallest and the largest value.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from pyuq.hal.loop import Loop
from pyuq.hal.settings import Settings, load_settings
from pyuq.inference.fit import fit
from pyuq.inference.metrics import error_table, predict
from pyuq.io import extxyz

FOLDER = Path(__file__).parent
COUNTS = (12, 20, 30, 40, 60, 88)


def run(name: str, seed: int) -> tuple[Settings, Path]:
    """Run a loop to its end; return its settings and folder."""
    toml = FOLDER / f"{name}.toml"
    settings = load_settings(toml)
    settings = dataclasses.replace(
        settings,
        folder=f"{settings.folder}-seed{seed}",
        loop=dataclasses.replace(settings.loop, seed=seed),
    )
    loop = Loop(settings, toml)
    loop.run()
    loop.close()
    return settings, loop.folder


def learning_curve(settings: Settings, folder: Path) -> np.ndarray:
    """Energy (meV/atom) and force (eV/Å) errors, shape (label counts, groups, 2)."""
    database, test = (extxyz.read(folder / f"{name}.extxyz") for name in ("database", "test"))
    tables = [error_table(predict(fit(database[:n], settings.fit), test)) for n in COUNTS]
    return np.array([[(row.energy_rmse, row.force_rmse) for row in table] for table in tables])


def spread(values: np.ndarray, digits: int) -> str:
    return f"{values.mean():.{digits}f} ({values.min():.{digits}f}–{values.max():.{digits}f})"


def main() -> None:
    seeds = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else 3))
    curves, lengths = {}, {}
    for name in ("hal", "al"):
        runs = [run(name, seed) for seed in seeds]
        curves[name] = np.array([learning_curve(*r) for r in runs])
        rows = [np.genfromtxt(f / "history.csv", delimiter=",", names=True)[:-1] for _, f in runs]
        lengths[name] = np.concatenate(rows)
    print("| labels | run | E meV/atom | F eV/Å | F at 0.2 ps | F at 5 ps |")
    print("|---|---|---|---|---|---|")
    for k, n in enumerate(COUNTS):
        for name, curve in curves.items():
            errors = curve[:, k]  # seeds, groups (0.2, 1, 5 ps, all), energy and force
            cells = [spread(errors[:, 3, 0], 0)] + [spread(errors[:, g, 1], 2) for g in (3, 0, 2)]
            print(f"| {n} | {name} | " + " | ".join(cells) + " |")
    for name, rows in lengths.items():
        print(
            f"{name}: {len(rows)} iterations, mean walker {np.nanmean(rows['step']):.0f} steps, "
            f"{rows['uncertain'].sum():.0f} walkers uncertain, {rows['discarded'].sum():.0f} discarded"
        )


if __name__ == "__main__":
    main()
