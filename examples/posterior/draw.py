# SPDX-License-Identifier: GPL-2.0-or-later
"""Expand and squeeze the crystal: energies with error bars beside the truth, and the extrapolation grade."""

from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from make_data import HERE, LATTICE

from pyuq.evaluate.calculator import UQCalculator
from pyuq.io import extxyz
from pyuq.plotting import BLUE, GREY, ORANGE, figure

SCALES = np.linspace(0.86, 1.16, 61)


def curves(calibration: Path) -> dict[str, np.ndarray]:
    """Energy per atom of reference and model, its calibrated standard deviation and the grade, by lattice constant."""
    model = UQCalculator(HERE / "Cu.mtp", elements=["Cu"], calibration=calibration)
    found = {"truth": [], "mean": [], "sigma": [], "grade": []}
    for scale in SCALES:
        atoms = bulk("Cu", cubic=True, a=scale * LATTICE) * 2
        n = len(atoms)
        found["mean"].append(model.get_property("energy", atoms) / n)
        found["sigma"].append(model.results["energy_uncertainty"] / n)
        found["grade"].append(model.results["grade"].max())
        atoms.calc = EMT()
        found["truth"].append(atoms.get_potential_energy() / n)
    return {name: np.array(values) for name, values in found.items()}


def draw(path: Path) -> None:
    """Draw the picture of the README."""
    c, a = curves(HERE / "Cu.calibration.json"), SCALES * LATTICE
    volumes = [f.get_volume() / len(f) for f in extxyz.read(HERE / "train.extxyz")]
    low, high = (4 * np.array([min(volumes), max(volumes)])) ** (1 / 3)
    fig, ((energy, error, grade),) = figure(ncols=3, width=3.6, height=3.2)
    energy.fill_between(
        a, c["mean"] - 2 * c["sigma"], c["mean"] + 2 * c["sigma"], color=ORANGE, alpha=0.3, lw=0
    )
    energy.plot(a, c["mean"], color=ORANGE, label="model, ± 2σ")
    energy.plot(a, c["truth"], "--", color=BLUE, label="reference")
    energy.set(ylim=(c["truth"].min() - 0.3, c["truth"].max() + 0.6), ylabel="energy (eV/atom)")
    error.semilogy(a, np.abs(c["mean"] - c["truth"]), color=BLUE, label="error")
    error.semilogy(a, 2 * c["sigma"], color=ORANGE, label="2σ")
    error.set_ylabel("eV/atom")
    grade.semilogy(a, c["grade"], color=ORANGE, label="grade γ")
    grade.axhline(1.0, color=GREY, lw=0.8)
    for ax in (energy, error, grade):
        ax.axvspan(low, high, color=GREY, alpha=0.15, lw=0, label="training data")
        ax.set_xlabel("lattice constant (Å)")
        ax.legend(frameon=False, fontsize=7)
    fig.savefig(path)


if __name__ == "__main__":
    draw(HERE / "expansion.png")
    print("expansion.png")
