# SPDX-License-Identifier: GPL-2.0-or-later
"""What a study found: tables, pictures, and plain words on what it does not show."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pyuq.brief import brief
from pyuq.diffusion import Arrhenius, ArrheniusFit, Diffusivity
from pyuq.errors import InputError
from pyuq.io.files import atomic_write, write_text
from pyuq.srom.build import read_ensemble, read_summary, warnings
from pyuq.srom.ensemble import Ensemble
from pyuq.srom.propagate import CONVERGENCE, NOMINAL, SAMPLE, full_diffusivity, results
from pyuq.srom.settings import Case, Study
from pyuq.srom.statistics import Spread, spread

SLOPE = 0.7  # least part of the MSD at the longest lag that 6 D t must explain; at most its inverse
ENOUGH = 40  # samples whose range holds 95 % of the distribution on average
USABLE = 0.9  # least part of the samples that must give a D for an interval
SIGMAS = 3.0  # difference of reduced and full dynamics beyond statistics


@brief()
@dataclass(frozen=True)
class Findings:
    """What one temperature gave.

    Attributes
    ----------
    case : Case
    ensemble : Ensemble
    summary : dict
        Of :func:`pyuq.srom.build.build`.
    full : dict of str to Diffusivity
        Full dynamics of each model.
    runs : list of dict
        See :func:`pyuq.srom.propagate.analyse`.
    """

    case: Case
    ensemble: Ensemble
    summary: dict
    full: dict[str, Diffusivity]
    runs: list[dict]
    spread: Spread | None = field(init=False)

    def __post_init__(self):
        good = [r["diffusion"] for r in self.usable]
        enough = len(good) >= max(2, USABLE * len(self.of_kind(SAMPLE)))
        found = None
        if enough:
            runs = [r for r in self.of_kind(NOMINAL) if diffuses(r)]  # as the samples
            repeats = [
                [r["diffusion"]["diffusivity"] for r in runs if r["driver"] == label]
                for label in self.full
            ]
            found = spread([d["diffusivity"] for d in good], [d["error"] for d in good], repeats)
        object.__setattr__(self, "spread", found)

    @classmethod
    def of(cls, case: Case) -> "Findings":
        """Read the results on disk.

        Raises
        ------
        InputError
            A stage is missing.
        """
        ensemble = read_ensemble(case)
        runs = results(case, ensemble)
        if not any(r["kind"] == SAMPLE for r in runs):
            raise InputError(f"no results in {case.folder}: run `pyuq srom propagate` first")
        full = {label: full_diffusivity(case, label) for label in case.settings.labels}
        return cls(case, ensemble, read_summary(case), full, runs)

    def of_kind(self, kind: str) -> list[dict]:
        """Runs of one kind."""
        return [r for r in self.runs if r["kind"] == kind]

    @property
    def reduced(self) -> dict[str, list[dict]]:
        """Diffusivities of the models' reduced dynamics in their own bases, for each model."""
        runs = [r for r in self.of_kind(NOMINAL) if r["ok"]]
        return {
            label: [r["diffusion"] for r in runs if r["driver"] == label] for label in self.full
        }

    @property
    def usable(self) -> list[dict]:
        """Samples that give a diffusivity."""
        return [r for r in self.of_kind(SAMPLE) if diffuses(r)]

    @property
    def covered(self) -> list[str]:
        """Models whose full dynamics lies in the interval of the samples."""
        if self.spread is None:
            return []
        low, high = self.spread.interval
        return [label for label, d in self.full.items() if low <= d.value <= high]

    def to_dict(self) -> dict:
        """JSON types."""
        return {
            "temperature": self.case.temperature,
            "samples": len(self.of_kind(SAMPLE)),
            "usable": len(self.usable),
            "failed": [r["error"] for r in self.runs if not r["ok"]],
            "spread": None if self.spread is None else self.spread.to_dict(),
            "models": {
                label: {"diffusivity": d.value, "error": d.error} for label, d in self.full.items()
            },
            "reduced": {
                label: dict(zip(("diffusivity", "error"), mean_of_runs(runs), strict=True))
                for label, runs in self.reduced.items()
                if runs
            },
            "covered": self.covered,
            "verdicts": verdicts(self),
        }


def is_line(diffusion: dict) -> bool:
    """Whether D differs from zero and 6 D t is most of the MSD: the slope of ln MSD against ln t is near 1.

    Parameters
    ----------
    diffusion : dict
        Of :meth:`pyuq.diffusion.Diffusivity.to_dict`.
    """
    growth = 6.0 * diffusion["diffusivity"] * diffusion["times"][-1]
    return diffusion["resolved"] and SLOPE <= growth / sum(diffusion["msd"][-1]) <= 1 / SLOPE


def diffuses(run: dict) -> bool:
    """Whether a run gives a diffusivity."""
    return run["ok"] and is_line(run["diffusion"])


def verdicts(found: Findings) -> list[str]:
    """Plain words on what the numbers mean, and where they mean nothing."""
    samples, lines = found.of_kind(SAMPLE), warnings(found.summary)
    failed = [r for r in samples if not r["ok"]]
    caged = [r for r in samples if r["ok"] and not diffuses(r)]
    if failed:
        lines.append(f"{len(failed)} of {len(samples)} samples failed: {failed[0]['error']}")
    if caged:
        lines.append(
            f"{len(caged)} of {len(samples)} samples do not diffuse: 6 D t is not the MSD within a factor of {SLOPE}"
        )
    if found.spread is None:
        lines.append("no interval is given: too few samples have a diffusivity")
    elif found.spread.count < ENOUGH:
        count = found.spread.count
        lines.append(
            f"{count} samples: even their whole range holds only {(count - 1) / (count + 1):.0%} of the "
            f"distribution on average; a 95 % interval needs {ENOUGH} or more"
        )
    lines += [
        f"reduced dynamics of {r['driver']} failed: {r['error']}"
        for r in found.of_kind(NOMINAL)
        if not r["ok"]
    ]
    moving = [label for label, d in found.full.items() if is_line(d.to_dict())]
    lines += [line for label in moving if (line := _frozen(found, label))]
    lines += [
        f"{label} does not diffuse in full dynamics either: there is no D of it"
        for label in found.full
        if label not in moving
    ]
    changed = [line for label in moving if (line := _compare(found, label))]
    lines += changed
    if moving and (caged or changed):
        lines.append(_advice(found))
    lines.append(
        "samples interpolate between the models: an error that all models share is invisible here"
    )
    return lines


def _advice(found: Findings) -> str:
    """What to do where reduced dynamics cannot represent the diffusion."""
    table, species = found.case.settings.basis, found.case.settings.diffusion.species
    if species in table.free:
        return (
            f"{table.modes} modes of the framework do not let it give way to {species} as it does in full "
            "dynamics: take more modes until D(n) meets the full dynamics; until then the interval is not one of D"
        )
    return (
        "a few collective modes cannot carry the hops of single ions: this interval is not one of D. Leave the "
        f'ions unreduced, `free = ["{species}"]` in [basis], or take more modes until D(n) meets the full dynamics'
    )


def mean_of_runs(runs: list[dict]) -> tuple[float, float]:
    """Mean diffusivity of equivalent runs and its standard error: the larger of the claimed and the seen one."""
    values = np.array([d["diffusivity"] for d in runs])
    claimed = np.sqrt(np.mean([d["error"] ** 2 for d in runs]))
    seen = values.std(ddof=1) if len(runs) > 1 else 0.0
    return float(values.mean()), float(max(claimed, seen) / np.sqrt(len(runs)))


def _frozen(found: Findings, label: str) -> str:
    """Say whether the reduced dynamics of a model stands still in some runs."""
    runs = found.reduced[label]
    if not (frozen := sum(not is_line(d) for d in runs)):
        return ""
    return f"{frozen} of {len(runs)} runs of {label} in its own modes do not diffuse"


def _compare(found: Findings, label: str) -> str:
    """Say whether the reduced dynamics of a model changes its diffusivity."""
    if not (runs := found.reduced[label]):
        return ""
    value, error = mean_of_runs(runs)
    full, modes = found.full[label], found.summary["modes"]
    if abs(value - full.value) <= SIGMAS * np.hypot(error, full.error):
        return ""
    return (
        f"reduced dynamics of {label} with {modes} modes gives D = {value:.3g}, its full dynamics "
        f"{full.value:.3g} Å²/ps: the reduction itself changes D"
    )


def write_report(study: Study) -> Path:
    """Write ``report.md``, ``results.json`` and the pictures into the study's folder."""
    found = [Findings.of(case) for case in study.cases]
    folder = study.folder
    species = study.settings.diffusion.species
    lines = [
        f"# Stochastic reduced-order model: {study.settings.name}",
        "",
        f"Diffusivity of {species} between the models {', '.join(study.settings.labels)}.",
        "",
    ]
    for f in found:
        lines += section(f)
        for name, draw in PICTURES.items():
            _picture(f.case.folder / name, draw, f)
        lines += [f"![{name}]({f.case.folder.name}/{name})" for name in PICTURES] + [""]
    lines += _arrhenius(folder, found)
    write_text(folder / "results.json", json.dumps([f.to_dict() for f in found], indent=1))
    write_text(folder / "report.md", "\n".join(lines) + "\n")
    return folder / "report.md"


def section(found: Findings) -> list[str]:
    """Tables of one temperature."""
    lines = [f"## {found.case.temperature:g} K", ""]
    lines += _model_table(found)
    lines += _spread_table(found)
    lines += [*(f"- {line}" for line in verdicts(found)), ""]
    rows = found.of_kind(CONVERGENCE)
    if rows:
        lines += [f"D(n) of {rows[0]['driver']}:", "", "| modes | D (Å²/ps) |", "|---|---|"]
        lines += [f"| {r['modes']} | {_value(r)} |" for r in sorted(rows, key=lambda r: r["modes"])]
        lines.append("")
    return lines


def _value(run: dict) -> str:
    if not run["ok"]:
        return "failed"
    d = run["diffusion"]
    return f"{d['diffusivity']:.4g} ± {d['error']:.2g}" + ("" if diffuses(run) else " (caged)")


def _reduced(runs: list[dict]) -> str:
    return "{:.4g} ± {:.2g}".format(*mean_of_runs(runs)) if runs else ""


def _model_table(found: Findings) -> list[str]:
    notes, summary = found.ensemble.provenance, found.summary
    lines = [
        f"{summary['modes']} modes of {summary['coordinates']} coordinates; D in Å²/ps, ± one standard error.",
        "",
        "| model | D, full | D, reduced | mean weight | largest angle (°) | energy of its snapshots |",
        "|---|---|---|---|---|---|",
    ]
    weights = notes.get("mean_weights", [None] * len(found.full))
    for (label, d), weight in zip(found.full.items(), weights, strict=True):
        lines.append(
            f"| {label} | {d.value:.4g} ± {d.error:.2g} | {_reduced(found.reduced[label])} | "
            f"{'' if weight is None else f'{weight:.3f}'} | {max(summary['angles'][label]):.1f} | "
            f"{100 * summary['energy'][label]:.1f} % |"
        )
    distance, floor = summary["model_distance"], summary["noise_floor"]
    text = [
        f"{name} {value:.3g}"
        for name, value in (
            ("distance of the models' bases", distance),
            ("of two trajectories of one model", floor),
            ("a₀", notes.get("concentration")),
            ("length of the mean tangent vector over the mean length", notes.get("residual")),
        )
        if value is not None
    ]
    return [*lines, "", "; ".join(text) + ".", ""]


def _spread_table(found: Findings) -> list[str]:
    samples = found.of_kind(SAMPLE)
    head = f"{len(found.usable)} of {len(samples)} samples give a diffusivity."
    if found.spread is None:
        return [head, ""]
    s = found.spread
    low, high = s.interval
    good = [r for r in found.usable]
    drift = np.abs([r["drift"] for r in good]).max()
    residual = np.mean([r["residual"] for r in good])
    temperature = np.mean([r["temperature"] for r in good])
    return [
        head,
        "",
        "| over samples | Å²/ps |",
        "|---|---|",
        f"| median D | {s.median:.4g} |",
        f"| 95 % interval | {low:.4g} to {high:.4g} (± {s.interval_errors[0]:.2g}, {s.interval_errors[1]:.2g}) |",
        f"| standard deviation over samples | {np.sqrt(s.total):.3g} |",
        f"| statistical error of one sample, as it claims | {np.sqrt(s.claimed):.3g} |",
        *(
            [f"| the same from repeated runs of one basis | {np.sqrt(s.repeated):.3g} |"]
            if s.repeated is not None
            else []
        ),
        f"| between samples: variance less the (larger) statistical one | {s.between:.3g} (Å²/ps)² |",
        f"| its root: spread by the models alone | {np.sqrt(max(s.between, 0.0)):.3g} |",
        "",
        f"Full dynamics inside the interval: {len(found.covered)} of {len(found.full)} models"
        f" ({', '.join(found.covered) or 'none'}). Mean temperature of the modes {temperature:.0f} K, mean "
        f"residual force fraction {residual:.2f}, largest drift of the conserved energy {drift:.1e} eV/atom/ps.",
        "",
    ]


def _picture(path: Path, draw, *arguments) -> None:
    from pyuq.plotting import figure

    fig, axes = figure()
    draw(axes[0, 0], *arguments)
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png", bbox_inches="tight")


def plot_msd(ax, found: Findings) -> None:
    """MSD of the samples as a band, of the models' full dynamics as lines."""
    from matplotlib.ticker import NullFormatter

    from pyuq.plotting import GREY

    good = [r["diffusion"] for r in found.of_kind(SAMPLE) if r["ok"]]
    for label, d in found.full.items():
        ax.plot(d.times, d.msd.sum(axis=1), lw=1.2, label=f"{label}, full")
    if good:
        times = np.array(good[0]["times"])
        curves = np.array(
            [np.sum(d["msd"], axis=1) for d in good if d["times"] == good[0]["times"]]
        )
        low, middle, high = np.quantile(curves, (0.025, 0.5, 0.975), axis=0)
        ax.fill_between(times, low, high, color=GREY, alpha=0.3, lw=0, label="95 % of samples")
        ax.plot(times, middle, color=GREY)
    ax.set(xlabel="time (ps)", ylabel="MSD (Å²)", xscale="log", yscale="log")
    ax.xaxis.set_minor_formatter(NullFormatter())  # less than a decade would crowd the axis
    ax.legend(frameon=False, fontsize=7)


def plot_diffusivity(ax, found: Findings) -> None:
    """Histogram of D over samples, full dynamics of the models as lines."""
    from pyuq.plotting import GREY

    values = [r["diffusion"]["diffusivity"] for r in found.usable]
    if values:
        ax.hist(values, bins="auto", color=GREY, alpha=0.5, label="samples")
    for k, (label, d) in enumerate(found.full.items()):
        ax.axvline(d.value, color=f"C{k}", label=f"{label}, full")
        ax.axvspan(*d.interval(), color=f"C{k}", alpha=0.12, lw=0)
        if runs := found.reduced[label]:
            value, _ = mean_of_runs(runs)
            ax.axvline(value, color=f"C{k}", ls="--", lw=1, label=f"{label}, reduced")
    ax.set(xlabel="D (Å²/ps)", ylabel="samples")
    ax.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def plot_singular_values(ax, found: Findings) -> None:
    """Singular values of the snapshots of each model."""
    for label, values in found.summary["singular_values"].items():
        ax.semilogy(np.arange(1, len(values) + 1), np.array(values) / values[0], label=label)
    ax.set(xlabel="mode", ylabel="singular value / largest")
    ax.legend(frameon=False, fontsize=7)


def plot_angles(ax, found: Findings) -> None:
    """Principal angles between the global basis and those of the models."""
    for label, angles in found.summary["angles"].items():
        ax.plot(np.arange(1, len(angles) + 1), angles, ".-", label=label)
    ax.axhline(80, color="k", lw=0.6, ls=":")
    ax.set(xlabel="direction", ylabel="angle to the global basis (°)", ylim=(0, 90))
    ax.legend(frameon=False, fontsize=7)


def plot_concentration(ax, found: Findings) -> None:
    """Spread of the samples' tangent vectors against a₀, and the a₀ in use."""
    from pyuq.plotting import GREY

    notes = found.ensemble.provenance
    if "concentration" not in notes:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "this sampler has no a₀", ha="center", va="center")
        return
    used = notes["concentration"]
    at_zero = notes["dispersion"] * (used + 1)
    a0 = np.geomspace(0.01, 1000, 200)
    ax.semilogx(a0, np.sqrt(at_zero / (a0 + 1)), color=GREY)
    ax.plot([used], [np.sqrt(notes["dispersion"])], "o", label=f"a₀ = {used:.3g}")
    if (floor := found.summary["noise_floor"]) is not None:
        ax.axhline(
            floor, color="k", lw=0.6, ls=":", label="distance of two trajectories of one model"
        )
    ax.set(xlabel="a₀", ylabel="spread of the bases (radian)")
    ax.legend(frameon=False, fontsize=7)


def plot_convergence(ax, found: Findings) -> None:
    """D(n) of the first model beside its full dynamics."""
    rows = sorted(found.of_kind(CONVERGENCE) + found.of_kind(NOMINAL), key=lambda r: r["modes"])
    first = found.case.settings.labels[0]
    rows = [r for r in rows if r["ok"] and r["driver"] == first]
    full = found.full[first]
    ax.axhspan(*full.interval(), alpha=0.2, lw=0, label=f"{first}, full")
    if rows:
        values = [r["diffusion"]["diffusivity"] for r in rows]
        errors = [1.96 * r["diffusion"]["error"] for r in rows]
        ax.errorbar([r["modes"] for r in rows], values, errors, fmt="o", capsize=3)
    ax.set(xlabel="modes", ylabel="D (Å²/ps)")
    ax.legend(frameon=False, fontsize=7)


PICTURES = {
    "msd.png": plot_msd,
    "diffusivity.png": plot_diffusivity,
    "singular-values.png": plot_singular_values,
    "angles.png": plot_angles,
    "concentration.png": plot_concentration,
    "modes.png": plot_convergence,
}


def plot_arrhenius(ax, found: list[Findings]) -> None:
    """D of models and samples against 1000/T."""
    for k, label in enumerate(found[0].full):
        x = [1000 / f.case.temperature for f in found]
        ax.errorbar(
            np.array(x) + 0.004 * k,
            [f.full[label].value for f in found],
            [1.96 * f.full[label].error for f in found],
            fmt="o",
            ms=3,
            capsize=2,
            label=f"{label}, full",
        )
    for f in found:
        if f.spread is not None:
            low, high = f.spread.interval
            x = 1000 / f.case.temperature
            label = "95 % of samples" if f is found[0] else None
            ax.plot([x, x], [low, high], color="k", lw=4, alpha=0.3, label=label)
    ax.set(xlabel="1000 K / T", ylabel="D (Å²/ps)", yscale="log")
    ax.legend(frameon=False, fontsize=7)


def activation_energies(found: list[Findings]) -> dict[str, ArrheniusFit]:
    """Arrhenius laws of the models' full dynamics and of the samples, where there is a D at two temperatures or more.

    The error of the samples' medians is the standard deviation over samples.
    """
    series = {
        f"{label}, full": [
            (f.case.temperature, f.full[label].value, f.full[label].error)
            for f in found
            if is_line(f.full[label].to_dict())
        ]
        for label in found[0].full
    }
    series["samples"] = [
        (f.case.temperature, f.spread.median, np.sqrt(f.spread.total)) for f in found if f.spread
    ]
    fits = {}
    for name, points in series.items():
        with suppress(ValueError):  # one temperature only, or errors too large for a logarithm
            fits[name] = Arrhenius().compute(*zip(*points, strict=True)) if points else None
    return {name: fit for name, fit in fits.items() if fit is not None}


def _arrhenius(folder: Path, found: list[Findings]) -> list[str]:
    if len(found) < 2:
        return []
    _picture(folder / "arrhenius.png", plot_arrhenius, found)
    rows = [
        f"| {name} | {fit.activation_energy:.3f} ± {fit.activation_energy_error:.2g} |"
        for name, fit in activation_energies(found).items()
    ]
    table = ["| | activation energy (eV) |", "|---|---|", *rows, ""] if rows else []
    return ["## Temperatures", "", *table, "![arrhenius.png](arrhenius.png)", ""]
