#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Uncertainty along a biased and a plain run of in.hal: spread.png.

python picture.py [FOLDER]     (the folder with biased.txt and plain.txt; default: this one)
"""

import sys
from pathlib import Path

import numpy as np

from pyuq.plotting import BLUE, GREY, ORANGE, figure

TIMESTEP = 0.0005  # ps
THRESHOLD = 0.5  # of in.hal
STEP, SIGMA, WORST = 0, 3, 4  # columns of the tables

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for name in ("plain", "biased"):
        if not (folder / f"{name}.txt").is_file():
            sys.exit(
                f"no {folder / name}.txt: run in.hal with and without bias first, see README.md"
            )
    fig, axes = figure(ncols=2)
    for name, color in (("biased", BLUE), ("plain", GREY)):
        table = np.loadtxt(folder / f"{name}.txt", ndmin=2)
        time = TIMESTEP * table[:, STEP]
        for ax, column in zip(axes[0], (SIGMA, WORST), strict=True):
            ax.plot(time, table[:, column], color=color, lw=1, label=name)
        print(f"{name}: {time[-1]:.3f} ps, σ_E {table[-1, SIGMA]:.3f} eV at the end")
    axes[0, 1].axhline(THRESHOLD, color=ORANGE, lw=0.8, ls="--")
    axes[0, 0].set(xlabel="time (ps)", ylabel="σ_E (eV)", ylim=(0, None))
    axes[0, 1].set(xlabel="time (ps)", ylabel="largest relative force uncertainty", ylim=(0, None))
    axes[0, 0].legend(frameon=False)
    axes[0, 1].text(time[-1], THRESHOLD, "threshold", color=ORANGE, ha="right", va="bottom")
    fig.savefig(folder / "spread.png")
