# SPDX-License-Identifier: GPL-2.0-or-later
"""Compare hyperactive with plain active learning: errors on the held-out set at equal numbers of labels.

    python compare.py [label counts]

Both databases are cut to the same number of structures, in the order in which they were labelled, and
fitted anew with the same settings.
"""

import sys
from pathlib import Path

import numpy as np

from pyuq.hal.settings import load_settings
from pyuq.io import extxyz
from pyuq.models.fit import fit
from pyuq.models.metrics import error_table, predict

FOLDER = Path(__file__).parent
COUNTS = (12, 20, 30, 40, 60, 88)


def learning_curve(toml: Path, counts) -> dict[int, dict]:
    """Errors by number of labels and group of the held-out set."""
    settings = load_settings(toml)
    folder = toml.parent / settings.folder
    database, test = (extxyz.read(folder / f"{name}.extxyz") for name in ("database", "test"))
    curve = {}
    for n in counts:
        if n <= len(database):
            rows = error_table(predict(fit(database[:n], settings.fit), test))
            curve[n] = {row.group: row for row in rows}
    return curve


def main() -> None:
    counts = tuple(map(int, sys.argv[1:])) or COUNTS
    curves = {name: learning_curve(FOLDER / f"{name}.toml", counts) for name in ("hal", "al")}
    groups = sorted(next(iter(curves["hal"].values())), key=lambda g: (len(g), g))
    print("| labels | run | " + " | ".join(f"{g}: E meV/atom | F eV/Å" for g in groups) + " |")
    print("|---|---|" + "---|---|" * len(groups))
    for n in counts:
        for name, curve in curves.items():
            if n in curve:
                cells = (
                    f"{curve[n][g].energy_rmse:.1f} | {curve[n][g].force_rmse:.3f}" for g in groups
                )
                print(f"| {n} | {name} | " + " | ".join(cells) + " |")
    for name in curves:
        history = np.genfromtxt(FOLDER / name / "history.csv", delimiter=",", names=True)
        finished = history[np.isfinite(history["new"])]
        print(
            f"{name}: {len(finished)} iterations, mean walker {finished['step'].mean():.0f} steps, "
            f"{finished['uncertain'].sum():.0f} uncertain, {finished['discarded'].sum():.0f} discarded"
        )


if __name__ == "__main__":
    main()
