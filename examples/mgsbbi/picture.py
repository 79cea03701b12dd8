#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Spread of the forces by site, after in.committee: a table, and a picture of the unit cell.

python picture.py [FOLDER]     (the folder with spread.dump and model_devi.out; default: this one)
"""

import sys
from pathlib import Path

import numpy as np
from crystal import CELL, SITES

from pyuq.plotting import figure

TYPE, POSITION, SPREAD, FORCE = 1, slice(2, 5), 5, 6  # columns of spread.dump


def table(atoms: np.ndarray) -> str:
    """Mean spread and mean force on each site."""
    lines = [
        "| site | atoms | spread, eV/Å | largest | mean force, eV/Å | spread / force |",
        "|---|---|---|---|---|---|",
    ]
    for kind, site in enumerate(SITES, 1):
        rows = atoms[atoms[:, TYPE] == kind]
        spread, largest, force = (
            rows[:, SPREAD].mean(),
            rows[:, SPREAD].max(),
            rows[:, FORCE].mean(),
        )
        numbers = f"{spread:.4f} | {largest:.4f} | {force:.3f} | {spread / force:.3f}"
        lines.append(f"| {site} | {len(rows)} | {numbers} |")
    return "\n".join(lines)


def folded(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in one cell a × √3 a × c, seen along a: along √3 a and c, Å."""
    a, c = CELL
    edges = np.array([3**0.5 * a, c])
    margin = 0.1 * edges  # atoms around an edge stay together
    return tuple((np.mod(positions[:, 1:] + margin, edges) - margin).T)


def draw(atoms: np.ndarray, series: np.ndarray, path: Path) -> None:
    """Write the picture: spread along the run, and of each atom in the unit cell."""
    fig, axes = figure(ncols=2, width=4.8)
    left, right = axes[0]
    left.plot(0.002 * series[:, 0], series[:, 4], label="largest")
    left.plot(0.002 * series[:, 0], series[:, 6], label="mean")
    left.set(xlabel="time (ps)", ylabel="force spread (eV/Å)", ylim=(0, None))
    left.legend()
    y, z = folded(atoms[:, POSITION])
    for kind, (site, marker) in enumerate(zip(SITES, "osD^", strict=True), 1):
        here = atoms[:, TYPE] == kind
        dots = right.scatter(
            y[here],
            z[here],
            c=atoms[here, SPREAD],
            marker=marker,
            label=site,
            vmin=atoms[:, SPREAD].min(),
            vmax=atoms[:, SPREAD].max(),
            s=25,
        )
    right.set(xlabel="along √3 a (Å)", ylabel="along c (Å)", aspect="equal")
    right.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    fig.colorbar(dots, ax=right, label="force spread (eV/Å)")
    fig.savefig(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    found = np.loadtxt(folder / "spread.dump", skiprows=9)
    print(table(found))
    draw(found, np.loadtxt(folder / "model_devi.out"), folder / "spread.png")
