# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq calibrate``: how right the error bars of a model or a committee are, before and after recalibration."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import pyuq
from pyuq import log
from pyuq.calibration.judge import TITLES, UNITS, Calibration, calibrate
from pyuq.calibration.recalibration import Recalibration
from pyuq.calibration.scores import LEVELS, Scores, coverage, reliability
from pyuq.evaluate.calculator import UQCalculator
from pyuq.evaluate.collect import collect
from pyuq.inference.readout_posterior import species_names
from pyuq.io.files import atomic_write, beside, require_folder, write_text
from pyuq.io.structures import StructureFiles


def report(result: Calibration, picture: str) -> str:
    """Markdown: scores before and after on the structures that judge, and the scales from all."""
    final = result.recalibration
    level = f"{1 - final.alpha:.0%}"
    head = (
        "| quantity | | error bars | n | RMSE | sharpness | NLL | in 1σ | in 2σ | in 90 % | miscal. | "
        f"Spearman | conformal {level}: inside | half width |"
    )
    lines = [
        f"# Calibration of {', '.join(Path(m).name for m in final.models)}",
        "",
        "Scores on the structures that judge; 0.683, 0.954, 0.900 are right.",
        "",
        head,
        "|" + "---|" * 14,
    ]
    for quantity, groups in result.verdicts.items():
        for group, v in groups.items():
            where = f"| {TITLES[quantity]}, {UNITS[quantity]} | {group} "
            lines.append(f"{where}| as predicted {_score_cells(v.predicted)} | | |")
            lines.append(
                f"{where}| recalibrated {_score_cells(v.recalibrated)} | {v.conformal_coverage:.3f} | "
                f"{v.conformal_width:.3g} |"
            )
    lines += [
        "",
        f"![reliability]({picture})",
        "",
        "Scales from all structures: σ → factor · √(σ² + floor²); with conformal · √(σ² + floor²) on either side, "
        f"an error is inside with a probability of at least {level}, if structures are exchangeable.",
        "",
        "| quantity | | structures | labels | floor | factor | degrees of freedom | conformal |",
        "|" + "---|" * 8,
    ]
    for quantity, groups in final.scales.items():
        for group, one in groups.items():
            lines.append(
                f"| {TITLES[quantity]}, {UNITS[quantity]} | {group} | {one.structures} | {one.labels} | "
                f"{one.student.floor:.3g} | {one.student.scale:.3g} | {one.student.dof:.0f} | "
                f"{one.conformal:.3g} |"
            )
    return "\n".join(lines) + "\n"


def _score_cells(s: Scores) -> str:
    nll = "no spread" if s.no_spread == 1.0 else f"{s.nll:.4g}"
    if 0.0 < s.no_spread < 1.0:
        nll += (
            f" ({s.no_spread:.0%} without spread)"
            if s.no_spread >= 0.005
            else " (some without spread)"
        )
    return (
        f"| {s.n} | {s.rmse:.3g} | {s.sharpness:.3g} | {nll} | {s.within_1:.3f} | {s.within_2:.3f} | "
        f"{s.within_90:.3f} | {s.miscalibration:.3f} | {s.spearman:.2f}"
    )


def draw(result: Calibration, path) -> None:
    """Reliability and coverage of energies, forces and virials before and after, as PNG."""
    from matplotlib.ticker import NullFormatter

    from pyuq.plotting import BLUE, GREY, ORANGE, figure

    names = [q for q in ("energy", "force", "virial") if result.verdicts.get(q)]
    fig, axes = figure(ncols=len(names), nrows=2, width=3.8, height=3.4)
    for column, quantity in enumerate(names):
        sample, size = result.judged[quantity], axes[0, column]
        sample = sample.chosen(np.isin(sample.groups, list(result.verdicts[quantity])))
        after = result.trial.deviation(quantity, sample.sigmas, sample.groups)
        for sigma, color, name in (
            (sample.sigmas, BLUE, "as predicted"),
            (after, ORANGE, "recalibrated"),
        ):
            size.loglog(
                *reliability(sample.errors, sigma), "o-", color=color, ms=4, lw=1, label=name
            )
            axes[1, column].plot(
                LEVELS, coverage(sample.errors, sigma), "o-", color=color, ms=3, lw=1, label=name
            )
        limits = (min(size.get_xlim() + size.get_ylim()), max(size.get_xlim() + size.get_ylim()))
        size.plot(limits, limits, color=GREY, lw=0.8, zorder=0)
        for axis in (size.xaxis, size.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes[1, column].plot([0, 1], [0, 1], color=GREY, lw=0.8, zorder=0)
        size.set(
            title=TITLES[quantity],
            xlim=limits,
            ylim=limits,
            xlabel=f"RMS σ ({UNITS[quantity]})",
            ylabel=f"RMS error ({UNITS[quantity]})",
        )
        axes[1, column].set(
            xlabel="stated coverage", ylabel="observed coverage", xlim=(0, 1), ylim=(0, 1)
        )
    axes[0, 0].legend(frameon=False, fontsize=8)
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")


def run_calibrate(
    models: Sequence,
    data: Sequence,
    elements: Sequence[str] = (),
    out=None,
    alpha: float = 0.1,
    split: float = 0.5,
    seed: int = 0,
    comm=None,
) -> Calibration:
    """Calibrate a model or a committee; write ``NAME.calibration.json``, ``.md`` and ``.png``, and print the report.

    Parameters
    ----------
    models : sequence of str or Path
        As of :class:`pyuq.evaluate.calculator.UQCalculator`; several are a committee.
    data : sequence of str or Path
        Files of labelled structures that no model was trained on.
    elements : sequence of str
        Names of the species of files that store none.
    out : str or Path, optional
        Beginning of the file names; default: that of the first model, of a committee with ``-committee``.
    alpha, split, seed
        Of :func:`pyuq.calibration.judge.calibrate`.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the structures.

    Raises
    ------
    InputError, RuntimeError
        A file is missing or wrong, or there are too few structures.
    """
    if out:
        require_folder(out)
    names = tuple(elements)
    for path in map(Path, models):
        names = names or (species_names(path, data)[0] if path.is_file() else ())
    calculator = UQCalculator(models, elements=names)
    structures = StructureFiles(data, names or calculator.members[0].elements)
    samples = collect(calculator, structures, comm)
    files = calculator.fingerprints()
    record = {
        "pyuq": pyuq.__version__,
        "data": [Path(d).name for d in data],
        "structures": len(structures),
    }
    result = calibrate(samples, alpha, split, seed, models=files, provenance=record)
    if comm is None or comm.rank == 0:
        first = calculator.members[0].path
        name = first.stem if len(models) == 1 else f"{first.stem}-committee"
        log.say(_write(result, Path(out) if out else beside(first, name)))
    return result


def _write(result: Calibration, stem: Path) -> str:
    """Write all files; returns the report."""
    json_, markdown, picture = (
        stem.with_name(f"{stem.name}.calibration.{end}") for end in ("json", "md", "png")
    )
    text = report(result, picture.name)
    verdicts = {
        quantity: {group: asdict(v) for group, v in groups.items()}
        for quantity, groups in result.verdicts.items()
    }
    final = result.recalibration
    provenance = final.provenance | {
        "judged": json.loads(json.dumps(verdicts), parse_constant=lambda _: None)
    }
    Recalibration(final.alpha, final.scales, final.models, provenance).write(json_)
    draw(result, picture)
    write_text(markdown, text)
    return f"{text}\nwritten: {json_}, {markdown.name}, {picture.name}"
