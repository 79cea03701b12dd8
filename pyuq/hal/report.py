# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run shows: lines on the terminal, history, plots, report."""

import csv
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from pathlib import Path

import numpy as np

from pyuq import log
from pyuq.errors import InputError
from pyuq.hal.provenance import damages
from pyuq.hal.settings import Settings
from pyuq.hal.state import State, load_state
from pyuq.io.files import atomic_write, write_text
from pyuq.io.identity import hash_file
from pyuq.jobs import check_rows

COLUMNS = {
    "iteration": "",
    "labels": "in the database",
    "new": "labels of this iteration",
    "uncertain": "walkers stopped by their uncertainty",
    "discarded": "walkers stopped by a guard or an error",
    "failed": "structures without label",
    "step": "mean length of a walker",
    "max_relative": "mean relative force uncertainty at the end",
    "temperature": "K",
    "tau": "",
    "sigma": "eV",
    "grade": "mean of the largest extrapolation grade at the end",
    "new_energy": "meV/atom, RMSE on new labels before they are learnt",
    "new_force": "eV/Å",
    "scale": "factor on the error bar of the energy that the new labels so far ask for",
    "force_scale": "the same of forces, the largest of the species",
    "test_energy": "meV/atom, RMSE on the test set",
    "test_force": "eV/Å",
    "test_stress": "GPa",
}
# Columns of a walker's trace.txt.
TRACE = (
    "step",
    "temperature",
    "pressure",
    "energy",
    "tau",
    "sigma",
    "max_relative",
    "min_distance",
)


def say(text: str) -> None:
    """Print a line of progress, with the line buffered out at once."""
    log.say(text)


def write_report(folder: Path, state: State, settings: Settings, pictures: bool = True) -> None:
    """Write ``history.csv``, ``report.md`` and, as they take a second, on request the pictures."""
    rows = state.history + ([state.row] if state.row else [])
    with atomic_write(folder / "history.csv") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    write_text(folder / "report.md", report(folder, state, settings))
    if pictures:
        plot_history(folder / "history.png", rows)
        plot_traces(folder / "traces.png", read_traces(folder), settings.stop.threshold)


def report(folder: Path, state: State, settings: Settings) -> str:
    """Text of the report."""
    bias = f"tau_rel = {settings.bias.tau_rel}" if settings.bias.tau_rel else "no bias"
    lines = [
        f"# Active learning of {settings.name}",
        "",
        status_line(state),
        "",
        f"Elements {' '.join(settings.elements)}; labels from {settings.labels.kind}; {bias}; "
        f"{triggers(settings)}.",
        "",
        f"- database: `database.extxyz`, {state.batches[-1] if state.batches else 0} structures, "
        f"SHA-256 `{hash_file(folder / 'database.extxyz')[:16]}…`",
        f"- potential: {settings.potential_files}",
        "- scripts and traces of all walkers: `iterations/`",
        "",
    ]
    if state.failures:
        lines += ["Structures without label:", ""]
        lines += [f"- iteration {f['iteration']}: {f['reason']}" for f in state.failures]
        lines.append("")
    rows = state.history + ([state.row] if state.row else [])
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    lines.append("| " + " | ".join(names) + " |")
    lines.append("|" + "---|" * len(names))
    for row in rows:
        lines.append("| " + " | ".join(cell(row.get(name)) for name in names) + " |")
    lines += ["", *(f"- {n}: {COLUMNS[n]}" for n in names if COLUMNS[n]), ""]
    lines += ["![history](history.png)", "![traces](traces.png)"]
    return "\n".join(lines) + "\n"


def triggers(settings: Settings) -> str:
    """Say when a walker is stopped to have its frame labelled."""
    stop, text = settings.stop, []
    if stop.threshold < inf:
        text.append(f"threshold {stop.threshold:g} of the relative force uncertainty")
    if stop.energy_error is not None:
        text.append(
            f"energy wrong by more than {1000 * stop.energy_error:g} meV/atom with a probability above "
            f"{1 - stop.confidence:.3g}"
        )
    if stop.force_error is not None:
        allowed = stop.force_error
        named = allowed.items() if isinstance(allowed, dict) else [("", allowed)]
        text.append(
            f"a force wrong by more than {', '.join(f'{e} {x:g}'.strip() for e, x in named)} eV/Å with a "
            f"probability above {1 - stop.confidence:.3g}"
        )
    if stop.grade is not None:
        text.append(f"an extrapolation grade above {stop.grade:g}")
    return " or ".join(text)


def cell(value) -> str:
    """Format a number for a table."""
    return "" if value is None else f"{value:.4g}"


def status_line(state: State) -> str:
    """Return one line on where a run stands."""
    labels = state.batches[-1] if state.batches else 0
    where = (
        f"finished ({state.finished})" if state.stage == "done" else f"next stage: {state.stage}"
    )
    return (
        f"iteration {state.iteration}, {labels} labelled structures, "
        f"{len(state.failures)} without label; {where}"
    )


def status(path, assignments: Iterable[str] = ()) -> str:
    """Say where the run of a TOML file, with these settings changed, stands, and which of its files are damaged.

    Raises
    ------
    InputError
        There is no run, or its state is damaged.
    """
    from pyuq.hal.settings import load_settings

    settings = load_settings(path, assignments)
    folder = Path(path).parent / settings.folder
    state = load_state(folder / "state.json")
    if state is None:
        raise InputError(f"no run in {folder}: start it with `pyuq hal run {path}`")
    found = [f"damaged: {damage}" for damage in damages(folder, state, settings)]
    if found:
        found.append(
            "`pyuq hal run` makes again what can be made again, and says what to do about the rest"
        )
    return "\n".join([status_line(state), *found])


def read_traces(folder: Path) -> list[np.ndarray]:
    """Traces of walker 0 of each iteration, arrays of shape (n, 8), columns TRACE."""
    traces = []
    for path in sorted(folder.glob("iterations/*/walker0/trace.txt")):
        with suppress(ValueError):  # LAMMPS ended with an error while it wrote
            rows = check_rows(path)
            if rows.shape[1:] == (len(TRACE),):
                traces.append(rows)
    return traces


def plot_history(path: Path, rows: list[dict]) -> None:
    """Errors and uncertainty along the iterations."""
    from pyuq.plotting import figure

    fig, axes = figure(ncols=3)
    panels = (
        (("new_energy", "test_energy"), "energy RMSE, meV/atom"),
        (("new_force", "test_force"), "force RMSE, eV/Å"),
        (("max_relative",), "relative force uncertainty at the end"),
    )
    for ax, (names, label) in zip(axes[0], panels, strict=True):
        for name in names:
            points = [(row["labels"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                ax.plot(*np.transpose(points), "o-", ms=3, label=name.partition("_")[0])
                ax.set_yscale("log")
                ax.legend()
        ax.set_xlabel("labelled structures")
        ax.set_ylabel(label)
    save(fig, path)


def plot_traces(path: Path, traces: list[np.ndarray], threshold: float) -> None:
    """Uncertainty, temperature and pressure along the walkers, iteration after iteration."""
    from pyuq.plotting import figure

    fig, axes = figure(nrows=3, width=8.0, height=2.2)
    panels = (
        ("max_relative", "max relative\nforce uncertainty", 1.0),
        ("temperature", "temperature, K", 1.0),
        ("pressure", "pressure, GPa", 1e-4),
    )
    for ax, (name, label, unit) in zip(axes[:, 0], panels, strict=True):
        offset = 0.0
        for trace in traces:
            steps = trace[:, 0] - trace[0, 0]
            ax.plot(offset + steps, unit * trace[:, TRACE.index(name)], lw=0.8)
            offset += steps[-1]
        ax.set_ylabel(label)
    if threshold < inf:
        axes[0, 0].axhline(threshold, color="k", ls=":", lw=0.8)
    axes[-1, 0].set_xlabel("steps of walker 0, all iterations")
    save(fig, path)


def save(fig, path: Path) -> None:
    """Write a figure atomically."""
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")
