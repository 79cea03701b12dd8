#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the samples know about their errors, and where the bias goes: picture.png.

python picture.py [FOLDER]     (the folder with biased.dat and plain.dat of in.hal; default: the current one)
"""

import sys
from pathlib import Path

import numpy as np

from pyuq.evaluate.calculator import UQCalculator
from pyuq.io.structures import read_structures
from pyuq.plotting import figure

HERE = Path(__file__).parent
ATOMS = 512  # of in.hal


def errors(structures) -> tuple[np.ndarray, np.ndarray]:
    """Force errors and standard deviations of the samples, eV/Å, of all components."""
    calculator = UQCalculator(HERE / "si.safetensors", forces_uncertainty=True)
    found = []
    for atoms in structures:
        calculator.calculate(atoms)
        error = calculator.results["forces"] - atoms.calc.results["forces"]
        sigma = calculator.results["forces_uncertainty"]
        found.append((error.ravel(), sigma.ravel()))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def draw(error: np.ndarray, sigma: np.ndarray, folder: Path, path: Path) -> None:
    """Write the picture."""
    fig, axes = figure(ncols=2, width=4.8)
    left, right = axes[0]
    left.loglog(sigma, np.abs(error), ".", ms=2, alpha=0.4)
    bins = np.array_split(np.argsort(sigma), 12)
    rms = [np.sqrt(np.mean(error[b] ** 2)) for b in bins]
    spread = [np.sqrt(np.mean(sigma[b] ** 2)) for b in bins]
    left.loglog(spread, rms, "o-", label="RMS error of a twelfth")
    left.loglog(spread, spread, "k--", lw=1, label="equal")
    left.set(xlabel="spread of the samples (eV/Å)", ylabel="|error| of a force component (eV/Å)")
    left.legend()
    for name in ("plain", "biased"):
        series = np.loadtxt(folder / f"{name}.dat")
        right.plot(series[:, 0], series[:, 1] / ATOMS, label=name)
    right.set(xlabel="time (ps)", ylabel="spread of atomic energies (eV)", ylim=(0, None))
    right.legend()
    fig.savefig(path, dpi=150)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    deviations = errors(read_structures([HERE / "test.xyz"]))
    draw(*deviations, where, where / "picture.png")
    print(f"written: {where / 'picture.png'}")
