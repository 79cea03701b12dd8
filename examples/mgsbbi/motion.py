#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What two potentials that disagree mean for the thermal motion of Mg₃(Sb,Bi)₂: table and motion.png.

python motion.py                                                          (the pair that is shipped)
python motion.py nep=MgSbBi_NEP4.txt mtp=MgSbBi_L20.mtp:Mg,Bi,Sb          (the published pair)

Nothing diffuses in this crystal. What the potentials' subspaces are propagated to are its Debye-Waller factors and the
mean frequency of the vibrations of each element. A second call goes on where the first was stopped.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from crystal import mg3sbbi

from pyuq.io import extxyz
from pyuq.io.dump import LammpsDump
from pyuq.io.files import write_text
from pyuq.plotting import GREY, figure
from pyuq.srom.build import build, make_ensemble
from pyuq.srom.propagate import CONVERGENCE, NOMINAL, SAMPLE, propagate
from pyuq.srom.settings import Case, Model, Study, load_study
from pyuq.srom.simulate import DUMP, ERROR
from pyuq.srom.snapshots import remove_drift
from pyuq.srom.statistics import Spread, pooled_variance, spread
from pyuq.srom.trajectories import make_snapshots, trajectory

HERE = Path(__file__).resolve().parent
SOURCE = "https://github.com/Danieloyp/MgSbBi-alloy-MTP-potential"
QUANTITIES = ("B (Å²)", "mean frequency (THz)")
SETTLING = 0.25  # part of each run: the elastic energy of the frozen modes at x⁰ has to go first


def study_of(potentials: list[str], assignments: list[str]) -> Study:
    """The study of srom.toml, with other potentials where some are named."""
    study = load_study(HERE / "srom.toml", assignments)
    models = []
    for text in potentials:
        label, equals, potential = text.partition("=")
        name, colon, species = potential.partition(":")
        if not equals:
            sys.exit(f"{text!r}: expected LABEL=FILE, e.g. nep=MgSbBi_NEP4.txt")
        if not Path(name).is_file():
            sys.exit(f"no file {name}: the published pair is at {SOURCE}, see README.md")
        models.append(Model(label, f"{Path(name).resolve()}{colon}{species}"))
    if models:
        folder = f"work/{'-'.join(m.label for m in models)}"
        study = replace(
            study, settings=replace(study.settings, models=tuple(models), folder=folder)
        )
    return study


def motion(positions: np.ndarray, symbols: np.ndarray, elements, timestep: float) -> np.ndarray:
    """B = 8π²/3 ⟨|u|²⟩ (Å²) and centroid of the velocity spectrum (THz) of each element, (elements, 2).

    Positions (frames, N, 3) are unwrapped and without drift, a `timestep` (ps) apart.
    """
    settled = positions[round(SETTLING * len(positions)) :]
    u = settled - settled.mean(axis=0)
    f = np.fft.rfftfreq(len(u), timestep)
    displaced = np.abs(np.fft.rfft(np.hanning(len(u))[:, None, None] * u, axis=0)) ** 2
    power = f[:, None, None] ** 2 * displaced  # of the velocities
    found = []
    for element in elements:
        here = symbols == element
        b = 8 * np.pi**2 / 3 * (u[:, here] ** 2).sum(axis=2).mean()
        spectrum = power[:, here].sum(axis=(1, 2))
        found.append((b, f @ spectrum / spectrum.sum()))
    return np.array(found)


@dataclass(frozen=True)
class Motion:
    """Thermal motion at one temperature: arrays (runs, elements, 2), of the models by label."""

    case: Case
    full: dict[str, np.ndarray]
    reduced: dict[str, np.ndarray]
    samples: np.ndarray
    by_modes: dict[int, np.ndarray]

    @classmethod
    def of(cls, case: Case) -> "Motion":
        """Read the trajectories of a study that has run."""
        settings = case.settings
        elements, timestep = settings.start.elements, settings.md.timestep * settings.md.every
        system = trajectory(case, settings.labels[0], 0).system
        symbols = np.array(system.symbols)

        def full(label: str) -> np.ndarray:
            runs = [trajectory(case, label, k) for k in range(settings.basis.replicas)]
            return np.array([motion(r.displacements, symbols, elements, timestep) for r in runs])

        def reduced(names: list[str]) -> np.ndarray:
            found = []
            for name in names:
                if (case.run(name) / ERROR).exists():
                    print(f"{name} failed and is left out: {case.run(name) / ERROR}")
                    continue
                frames = np.array([f.positions for f in LammpsDump(case.run(name) / DUMP)])
                drifted = remove_drift(frames, system.masses)
                found.append(motion(drifted, symbols, elements, timestep))
            return np.array(found)

        repeats = range(settings.propagate.repeats)
        return cls(
            case,
            {n: full(n) for n in settings.labels},
            {n: reduced([f"{NOMINAL}-{n}-{k}" for k in repeats]) for n in settings.labels},
            reduced([f"{SAMPLE}{k:04d}" for k in range(settings.sampler.samples)]),
            {n: reduced([f"{CONVERGENCE}-{n}"]) for n in settings.propagate.convergence},
        )

    def spread(self, element: int, quantity: int) -> Spread:
        """Distribution over the samples; the repeated runs show the error of one."""
        values = self.samples[:, element, quantity]
        repeats = [runs[:, element, quantity] for runs in self.reduced.values()]
        return spread(values, np.zeros_like(values), repeats)

    def models(self, element: int, quantity: int) -> list[tuple[str, float, float]]:
        """What, mean, and standard error: each model's full and reduced dynamics."""
        rows = []
        for kind, groups in (("full", self.full), ("reduced", self.reduced)):
            runs = {label: found[:, element, quantity] for label, found in groups.items()}
            variance = pooled_variance(list(runs.values())) or 0.0
            rows += [
                (f"{label}, {kind}", x.mean(), np.sqrt(variance / len(x)))
                for label, x in runs.items()
            ]
        return rows


def section(found: Motion) -> list[str]:
    """Tables of one temperature."""
    settings, lines = found.case.settings, []
    for q, quantity in enumerate(QUANTITIES):
        rows: dict[str, list[str]] = {}
        for e in range(len(settings.start.elements)):
            s = found.spread(e, q)
            cells = [(name, f"{x:.3f} ± {error:.3f}") for name, x, error in found.models(e, q)]
            cells += [
                ("samples, median", f"{s.median:.3f}"),
                ("samples, 95 %", "{:.3f}–{:.3f}".format(*s.interval)),
                ("one run, standard deviation", f"{s.within**0.5:.3f}"),
                ("between samples, standard deviation", f"{max(s.between, 0) ** 0.5:.3f}"),
            ]
            cells += [
                (f"{settings.labels[0]}, {n} modes", f"{x[0, e, q]:.3f}")
                for n, x in found.by_modes.items()
            ]
            for name, text in cells:
                rows.setdefault(name, []).append(text)
        head = f"{found.case.temperature:g} K, {quantity}"
        lines += [f"| {head} | {' | '.join(settings.start.elements)} |", "|---|---|---|---|"]
        lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
        lines.append("")
    return lines


def draw(studied: list[Motion], path: Path) -> None:
    """Models' full and reduced dynamics beside the interval of the samples."""
    fig, axes = figure(len(QUANTITIES), nrows=len(studied), height=3.0)
    for row, found in zip(axes, studied, strict=True):
        elements = found.case.settings.start.elements
        for q, ax in enumerate(row):
            for e in range(len(elements)):
                models = found.models(e, q)
                for k, (name, x, error) in enumerate(models):
                    color = f"C{k % len(found.full)}"
                    fill = color if name.endswith("full") else "white"
                    at = e + 0.12 * (k - (len(models) - 1) / 2)
                    label = name if e == 0 else None
                    ax.errorbar(at, x, 1.96 * error, color=color, mfc=fill, fmt="o", label=label)
                low, high = found.spread(e, q).interval
                label = "95 % of samples" if e == 0 else None
                ax.fill_between([e - 0.3, e + 0.3], low, high, color=GREY, alpha=0.3, label=label)
            ax.set(xticks=range(len(elements)), xticklabels=elements, ylabel=QUANTITIES[q])
            ax.set_title(f"{found.case.temperature:g} K")
    axes[0, -1].legend(frameon=False, fontsize=7)
    fig.savefig(path)


def main() -> None:
    """Run everything, write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("potentials", nargs="*", metavar="LABEL=FILE[:El1,El2,...]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    study = study_of(args.potentials, args.set)
    (HERE / "work").mkdir(exist_ok=True)
    extxyz.write(
        HERE / study.settings.start.structure, [mg3sbbi((2, 1, 2), 0.5, np.random.default_rng(1))]
    )
    make_snapshots(study)
    build(study)
    make_ensemble(study)
    propagate(study)
    studied = [Motion.of(case) for case in study.cases]
    text = "\n".join(line for found in studied for line in section(found))
    write_text(study.folder / "motion.md", text)
    draw(studied, study.folder / "motion.png")
    print(f"{text}\n{study.folder / 'motion.md'}, motion.png")


if __name__ == "__main__":
    main()
