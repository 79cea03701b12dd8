# SPDX-License-Identifier: GPL-2.0-or-later
"""Report and pictures of an analysis of diffusion."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from pyuq.diffusion.pooling import Pooled
from pyuq.diffusion.self_diffusion import LEVEL, PER_CM2_S, Diffusivity
from pyuq.diffusion.summary import Condition, Summary
from pyuq.diffusion.trajectory import TrajectoryAnalysis, TrajectoryResult
from pyuq.io.files import atomic_write

MANY = 8  # remarks on one trajectory that are printed
REACH = stats.norm.ppf(0.5 + LEVEL / 2)  # standard errors in a 95 % band


def verdicts(summary: Summary) -> Iterator[str]:
    """One line for each result."""
    for condition in summary.conditions:
        at = "" if condition.temperature is None else f" at {condition.temperature:g} K"
        for group in condition.diffusivities:
            yield f"{group}{at}: {condition.verdict(group)}"
            for run in condition.runs:
                if group in run.green_kubo:
                    yield f"{group}{at}: {compare(run, group)}"
                if group in run.blocks:
                    yield f"{group}{at}: {_blocks(run.blocks[group])}"
        for group, jump in condition.collective.items():
            yield f"{group}{at}, collective: {_haven(condition, group, jump)}"
        if condition.conductivity is not None:
            yield f"conductivity{at}: {condition.conductivity.verdict()}"
    for line in summary.arrhenius:
        yield line.verdict()
    yield from remarks(summary)


def remarks(summary: Summary) -> Iterator[str]:
    """What was mended, guessed or decided, once for all trajectories it holds for; at most a few of each."""
    said: dict[str, list[str]] = {}
    for run in summary.runs:
        for remark in run.remarks[:MANY]:
            said.setdefault(remark, []).append(Path(run.name).name)
        if (more := len(run.remarks) - MANY) > 0:
            yield f"note, {Path(run.name).name}: {more} more notes of this kind in diffusion.json"
    for remark, names in said.items():
        yield f"note, {', '.join(names)}: {remark}"


def compare(run: TrajectoryResult, group: str) -> str:
    """Green–Kubo beside the regression on displacements, which comes from the same frames."""
    velocities, displacements = run.green_kubo[group], run.diffusivities[group]
    error = np.hypot(velocities.error, displacements.error)
    apart = abs(velocities.value - displacements.value) / error if error > 0 else 0.0
    judgement = "agrees with" if apart < REACH else "disagrees with"
    return (
        f"{velocities.verdict()} ({judgement} the displacements, {apart:.1f} standard errors apart)"
    )


def _blocks(blocks: Pooled) -> str:
    values = ", ".join(f"{value:.3g}" for value in blocks.values)
    if blocks.agree:
        return f"consecutive parts agree ({values} Å²/ps)"
    return (
        f"consecutive parts differ by more than their errors (p = {blocks.p_value:.2g}; {values} Å²/ps): not "
        "equilibrated, or slow events; leave out the beginning or run longer"
    )


def _haven(condition: Condition, group: str, jump) -> str:
    low, high = jump.interval()
    text = f"D_J = {jump.value:.4g} Å²/ps, 95 % interval {low:.4g} to {high:.4g}"
    if not jump.resolved:
        return f"not resolved ({text}); run longer, or more replicas"
    ratio, (low, high) = condition.haven(group)
    return f"{text}; Haven ratio D/D_J {ratio:.2f}, {low:.2f} to {high:.2f}"


def report(summary: Summary, analysis: TrajectoryAnalysis, predict: Sequence[float] = ()) -> str:
    """Text of the report, Markdown."""
    lines = ["# Diffusion", "", *(f"- {line}" for line in verdicts(summary)), ""]
    lines += ["![mean squared displacement and choice of the window](diffusion.png)", ""]
    lines += ["## Self-diffusion", "", *_self_table(summary), ""]
    if analysis.tensor:
        lines += ["### Tensors (Å²/ps)", "", *_tensors(summary), ""]
    if summary.arrhenius:
        lines += ["## Temperature", "", *_predictions(summary, predict)]
        lines += ["![Arrhenius plot](arrhenius.png)", ""]
    lines += ["## Trajectories", "", *_trajectory_table(summary), ""]
    lines += [f"Positions are relative to {summary.runs[0].reference}."]
    if analysis.skip or analysis.stride > 1:
        lines += [f"The first {analysis.skip} frames are left out; stride {analysis.stride}."]
    if not all(run.fixed_cell for run in summary.runs):
        lines += ["The cell changes; displacements are those inside of it, frame by frame."]
    if analysis.stream:
        lines += ["Read in one pass; long lags are averaged over spaced origins."]
    if abs(charge := summary.runs[0].net_charge) > 1e-6 * summary.runs[0].volume:
        lines += [
            f"The charges add up to {charge:.4g} e: the collective conductivity is relative to the frame named above."
        ]
    lines += [
        "",
        "Errors hold for the trajectories as they are: they know nothing of the potential's own error, of cells that "
        "are too small, or of slow events that no run has seen.",
        "",
    ]
    return "\n".join(lines)


def _self_table(summary: Summary) -> Iterator[str]:
    yield (
        "| species | K | trajectory | D (Å²/ps) | 95 % interval | D (cm²/s) | along x, y, z | window (ps) | χ²/dof "
        "| error from |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for condition in summary.conditions:
        kelvin = "" if condition.temperature is None else f"{condition.temperature:g}"
        for group, pooled in condition.diffusivities.items():
            for run in condition.runs:
                d = run.diffusivities[group]
                source = "spread between atoms" if np.isfinite(d.dof) else "Brownian covariance"
                yield (
                    f"| {group} | {kelvin} | {Path(run.name).name} | {_value(d)} | {_interval(d)} | "
                    f"{d.value_cm2_s:.3g} | {_vector(d.directions, d.direction_errors)} | "
                    f"{d.window[0]:.3g} to {d.window[1]:.3g} | {d.chi2_dof:.2f} | {source} |"
                )
            if len(condition.runs) > 1:
                source = "scatter of the runs" if np.isfinite(pooled.dof) else "errors of the runs"
                yield (
                    f"| {group} | {kelvin} | **{len(condition.runs)} pooled** | {_value(pooled)} | "
                    f"{_interval(pooled)} | {pooled.value * PER_CM2_S:.3g} | | | | {source} |"
                )


def _value(d) -> str:
    return f"{d.value:.4g} ± {d.error:.2g}"


def _interval(d) -> str:
    low, high = d.interval()
    return f"{low:.4g} to {high:.4g}"


def _vector(values: np.ndarray, errors: np.ndarray) -> str:
    return ", ".join(f"{v:.3g} ± {e:.1g}" for v, e in zip(values, errors, strict=True))


def _tensors(summary: Summary) -> Iterator[str]:
    for run in summary.runs:
        for group, d in run.diffusivities.items():
            yield f"{group}, {Path(run.name).name}:\n\n```"
            for row, errors in zip(d.tensor, d.tensor_errors, strict=True):
                yield "  ".join(f"{v:10.4g} ± {e:<8.2g}" for v, e in zip(row, errors, strict=True))
            yield "```"


def _predictions(summary: Summary, predict: Sequence[float]) -> Iterator[str]:
    lines = [line for line in summary.arrhenius if line.fit is not None]
    if not (predict and lines):
        return
    yield "| quantity | " + " | ".join(f"{t:g} K" for t in predict) + " |"
    yield "|---|" + "---|" * len(predict)
    for line in lines:
        cells = (
            f"{value:.3g}, {low:.3g} to {high:.3g}"
            for value, low, high in zip(*line.fit.predict(predict), strict=True)
        )
        yield f"| {line.name} ({line.unit}) | " + " | ".join(cells) + " |"
    yield ""


def _trajectory_table(summary: Summary) -> Iterator[str]:
    yield "| file | K | frames | every (ps) | length (ps) | atoms | volume (Å³) |"
    yield "|---|---|---|---|---|---|---|"
    for condition in summary.conditions:
        kelvin = "" if condition.temperature is None else f"{condition.temperature:g}"
        for run in condition.runs:
            atoms = ", ".join(f"{n} {s}" for s, n in run.counts.items())
            volume = f"{run.volume:.5g}" + ("" if run.fixed_cell else " (mean)")
            yield (
                f"| `{run.name}` | {kelvin} | {run.n_frames} | {run.spacing:.4g} | "
                f"{run.spacing * (run.n_frames - 1):.5g} | {atoms} | {volume} |"
            )


def plot_diffusion(path, summary: Summary) -> None:
    """For each group: MSD with band, window and line; D against the start of the window; Green–Kubo."""
    from matplotlib import colormaps

    from pyuq.plotting import figure

    green_kubo = any(run.green_kubo for run in summary.runs)
    fig, axes = figure(ncols=2 + green_kubo, nrows=len(summary.groups))
    n = len(summary.conditions)
    shade = len(summary.runs) == 1
    colors = ["#1f6fb2"] if n == 1 else [colormaps["plasma"](0.85 * k / (n - 1)) for k in range(n)]
    for group, row in zip(summary.groups, axes, strict=True):
        for condition, color in zip(summary.conditions, colors, strict=True):
            label = None if condition.temperature is None else f"{condition.temperature:g} K"
            for run in condition.runs:
                plot_msd(row[0], run.diffusivities[group], color, label, shade)
                plot_scan(row[1], run.diffusivities[group], color)
                if group in run.green_kubo:
                    plot_green_kubo(row[2], run.green_kubo[group], color, shade)
                label = None
            _pooled_band(row[1], condition.diffusivities[group], color)
        row[0].set(ylabel=f"MSD of {group} (Å²)")
        row[1].set(ylabel=f"D of {group} (Å²/ps)")
        if any(c.temperature is not None for c in summary.conditions):
            row[0].legend(frameon=False, fontsize=7)
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")


def plot_msd(ax, d: Diffusivity, color, label: str | None = None, shade: bool = True):
    """Mean squared displacement, its 95 % band, the window of lags and the line through it."""
    msd = d.msd.sum(axis=1)
    low = np.maximum(msd - REACH * d.msd_error, 1e-3 * msd)
    ax.fill_between(d.times, low, msd + REACH * d.msd_error, color=color, alpha=0.25, lw=0)
    ax.plot(d.times, msd, color=color, lw=1.2, label=label)
    window = np.geomspace(*d.window, 50)
    line = d.localised + 6 * d.value * window
    if (line > 0).all():
        ax.plot(window, line, "--", color="black", lw=0.9)
    if shade:
        ax.axvspan(*d.window, color=color, alpha=0.06, lw=0)
    ax.set(
        xscale="log", yscale="log", xlabel="lag (ps)", title="MSD, 95 % band; line in its window"
    )
    ax.title.set_fontsize(8)
    return ax


def plot_scan(ax, d: Diffusivity, color):
    """D and its 95 % interval against the first lag of the regression; the one chosen is marked."""
    first, value, error = d.scan.T
    ax.fill_between(
        first, value - REACH * error, value + REACH * error, color=color, alpha=0.2, lw=0
    )
    ax.plot(first, value, color=color, lw=1)
    ax.errorbar([d.window[0]], [d.value], [REACH * d.error], fmt="o", ms=4, color=color, capsize=3)
    ax.set(xscale="log", xlabel="first lag of the window (ps)", title="choice of the window")
    ax.title.set_fontsize(8)
    return ax


def _pooled_band(ax, pooled, color) -> None:
    if len(pooled.values) > 1:
        ax.axhspan(*pooled.interval(), color=color, alpha=0.3, lw=0)


def plot_green_kubo(ax, g, color, shade: bool = True):
    """Running integral of the velocity autocorrelation, 95 % band, and the time it is read at."""
    upto = max(4 * np.searchsorted(g.times, g.cutoff), 8)
    times, value, error = g.times[:upto], g.integral[:upto], g.integral_error[:upto]
    ax.fill_between(
        times, value - REACH * error, value + REACH * error, color=color, alpha=0.2, lw=0
    )
    ax.plot(times, value, color=color, lw=1)
    ax.errorbar(
        [1.5 * g.cutoff], [g.value], [REACH * g.error], fmt="o", ms=4, color=color, capsize=3
    )
    if shade:
        ax.axvspan(g.cutoff, 2 * g.cutoff, color=color, alpha=0.06, lw=0)
    ax.set(xlabel="time (ps)", ylabel="integral (Å²/ps)", title="Green–Kubo, 95 % band")
    ax.title.set_fontsize(8)
    return ax


def plot_arrhenius(path, summary: Summary, predict: Sequence[float] = ()) -> None:
    """Logarithms against inverse temperature, with the 95 % band of the lines."""
    from pyuq.plotting import BLUE, GREEN, GREY, ORANGE, figure

    families = [
        [line for line in summary.arrhenius if line.unit == unit]
        for unit in dict.fromkeys(line.unit for line in summary.arrhenius)
    ]
    fig, axes = figure(ncols=len(families))
    for ax, lines in zip(axes[0], families, strict=True):
        for k, line in enumerate(lines):
            color = (BLUE, ORANGE, GREEN, GREY)[k % 4]
            ax.errorbar(
                1000 / line.temperatures,
                line.values,
                REACH * line.errors,
                fmt="o",
                ms=4,
                color=color,
                capsize=3,
                label=line.name,
            )
            if line.fit is not None:
                reach = [*line.temperatures, *predict]
                inverse = np.linspace(1 / max(reach), 1 / min(reach), 100)
                value, low, high = line.fit.predict(1 / inverse)
                ax.plot(1000 * inverse, value, color=color, lw=1)
                ax.fill_between(1000 * inverse, low, high, color=color, alpha=0.2, lw=0)
        ax.set(yscale="log", xlabel="1000/T (1/K)", ylabel=f"{lines[0].symbol} ({lines[0].unit})")
        ax.legend(frameon=False, fontsize=7)
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")
