#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Is the interval right? α-AgI, where the truth is known.

Hyperactive learning makes three training sets from the reference and a linear ACE potential on each; a moment tensor
potential is fitted to each as well. SROM between the six in several variants, beside the plain spread of the
potentials, draws from a posterior, and the reference's own diffusivity. A second call goes on where the first was
stopped. Results: work/results.md.
"""

import dataclasses
from pathlib import Path

import numpy as np

from pyuq import log, systems
from pyuq.diffusion import Diffusivity
from pyuq.hal.loop import run_hal
from pyuq.inference.posterior import PosteriorFile
from pyuq.io import extxyz
from pyuq.io.files import write_text
from pyuq.srom.pipeline import run_stages
from pyuq.srom.propagate import full_diffusivity
from pyuq.srom.report import Findings
from pyuq.srom.settings import load_study
from pyuq.verbs.run_fit import run_fit
from pyuq.verbs.run_quickstart import thermal

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
POTENTIALS = WORK / "potentials"
DRAWS = 8  # from the posterior of ace-1
ONE = "md.temperatures=[700.0]"
SHARED = 'trajectories="work/srom"'
SAME = "propagate.repeats=0"  # the bases are those of srom.toml
SHORT = ["propagate.convergence=[]", "propagate.repeats=1", "sampler.samples=12"]

# Settings of each training set that differ from hal.toml, besides its start structures and seed.
SETS = {
    1: [],
    2: ["md.temperature=[800.0, 1100.0]", "bias.tau_rel=0.4"],
    3: ["md.temperature=[900.0, 1200.0]", "bias.tau_rel=0.1"],
}

# Settings that differ from srom.toml; all but the first at one temperature, over the same trajectories.
VARIANTS = {
    "srom": [],
    "momenta": [ONE, SHARED, *SHORT, "basis.momenta=0.0"],
    "low": [ONE, SHARED, *SHORT, "sampler.split=low", SAME],
    "high": [ONE, SHARED, *SHORT, "sampler.split=high", SAME],
    "concentration": [ONE, SHARED, *SHORT, "sampler.concentration=fit", SAME],
    "modes-20": [ONE, SHARED, *SHORT, "basis.modes=20"],
    "silver-reduced": [ONE, SHARED, *SHORT, "basis.modes=20", "basis.free=[]", "sampler.samples=6"],
}


def prepare() -> None:
    """Structures, training sets with their potentials, draws from one posterior."""
    WORK.mkdir(exist_ok=True)
    if not (WORK / "test.extxyz").exists():
        for k in SETS:
            rng = np.random.default_rng(k)
            rattled = [systems.silver_iodide(2, rng, 0.12, 0.02) for _ in range(8)]
            extxyz.write(WORK / f"start-{k}.extxyz", rattled)
        extxyz.write(WORK / "test.extxyz", thermal(np.random.default_rng(9), 12, 700.0))
    for k in SETS:
        learn(k)
    file = PosteriorFile.read(WORK / "hal-1" / "potential" / "ace-1.uq")
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(file.mean, file.covariance, DRAWS, method="eigh")
    for k, w in enumerate(drawn, 1):
        draw = dataclasses.replace(file, mean=w, samples=w[None], covariance=None)
        draw.write(POTENTIALS / f"draw-{k}.uq")


def learn(k: int) -> None:
    """Training set k, its ACE potential by HAL, and the MTP fitted to it."""
    print(f"-- training set {k}", flush=True)
    names = [f"name=ace-{k}", f"folder=work/hal-{k}", f"loop.seed={k}"]
    starts = f'start.structures=["work/start-{k}.extxyz"]'
    run_hal(HERE / "hal.toml", assignments=[*names, starts, *SETS[k]])
    if not (POTENTIALS / f"mtp-{k}.uq").exists():
        train, test = (f"work/hal-{k}/{name}.extxyz" for name in ("database", "test"))
        changes = [f"name=mtp-{k}", f'train=["{train}"]', f'test=["{test}"]']
        run_fit(HERE / "mtp.toml", output=POTENTIALS, assignments=changes)


@dataclasses.dataclass(frozen=True)
class Row:
    """A prediction of D and whether it holds the truth."""

    name: str
    middle: float
    low: float
    high: float
    note: str = ""

    def text(self, truth: Diffusivity) -> str:
        """Line of the table."""
        if np.isnan(self.middle):
            return f"| {self.name} | none | none | | | {self.note} |"
        inside = "yes" if self.low <= truth.value <= self.high else "no"
        return (
            f"| {self.name} | {self.middle:.3f} | {self.low:.3f} to {self.high:.3f} | "
            f"{self.high - self.low:.3f} | {inside} | {self.note} |"
        )


def spread_of(name: str, values: list[Diffusivity]) -> Row:
    """Mean and two standard deviations."""
    d = np.array([v.value for v in values])
    error = np.sqrt(np.mean([v.error**2 for v in values]))
    note = f"{len(d)} runs of {error:.3f} statistical error each"
    return Row(name, d.mean(), d.mean() - 2 * d.std(ddof=1), d.mean() + 2 * d.std(ddof=1), note)


def full(settings: str, temperature: float) -> list[Diffusivity]:
    """Full dynamics of all models of a study."""
    case = load_study(HERE / settings).case(temperature)
    return [full_diffusivity(case, label) for label in case.settings.labels]


def srom_row(name: str, temperature: float) -> Row:
    """Interval of an ensemble, or why there is none."""
    case = load_study(HERE / "srom.toml", changes(name)).case(temperature)
    found = Findings.of(case)
    samples = found.of_kind("sample")
    note = f"{len(found.usable)} of {len(samples)} samples diffuse"
    reduced = [r["diffusion"]["diffusivity"] for r in found.of_kind("nominal") if r["ok"]]
    if reduced:
        note += f"; models, reduced: {np.mean(reduced):.3f}"
    name = "SROM" if name == "srom" else f"SROM, {name}"
    if found.spread is None:
        return Row(name, np.nan, np.nan, np.nan, note)
    s = found.spread
    note += f"; {max(s.between, 0) ** 0.5:.3f} between, {s.within**0.5:.3f} within samples"
    return Row(name, s.median, *s.interval, note)


def changes(name: str) -> list[str]:
    """Settings of a variant."""
    return [f"folder=work/{name}", *VARIANTS[name]]


def main() -> None:
    """Run everything and write the table."""
    log.show()
    prepare()
    for settings in ("truth.toml", "posterior.toml"):
        run_stages(HERE / settings, "snapshots")
    for name in VARIANTS:
        print(f"-- {name}", flush=True)
        run_stages(HERE / "srom.toml", "all", assignments=changes(name))
    lines = ["# Silver diffusivity of α-AgI (Å²/ps): intervals of 95 %, or ± 2 standard deviations"]
    for temperature in load_study(HERE / "srom.toml").settings.md.temperatures:
        (truth,) = full("truth.toml", temperature)
        rows = [
            spread_of("six potentials, full dynamics", full("srom.toml", temperature)),
            spread_of("draws from ace-1's posterior", full("posterior.toml", temperature)),
        ]
        rows += [srom_row(n, temperature) for n in VARIANTS if n == "srom" or temperature == 700.0]
        low, high = truth.interval()
        lines += [
            "",
            f"## {temperature:g} K: reference {truth.value:.3f} ({low:.3f} to {high:.3f})",
            "",
            "| | middle | interval | width | holds the reference | |",
            "|---|---|---|---|---|---|",
            *(row.text(truth) for row in rows),
        ]
    write_text(WORK / "results.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
