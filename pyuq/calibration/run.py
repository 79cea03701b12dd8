# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq calibrate``: how right the error bars of a model or a committee are, before and after recalibration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from tqdm import tqdm

import pyuq
from pyuq import log
from pyuq.brief import brief, html_table
from pyuq.calibration.recalibration import Recalibration, Sample
from pyuq.calibration.scores import LEVELS, Scores, coverage, reliability, scores
from pyuq.errors import InputError
from pyuq.evaluate.calculator import UQCalculator, force_deviations
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.fit import HASH_DIGITS, joined_hash, structure_hash
from pyuq.inference.readout_posterior import species_names
from pyuq.inference.readout_sums import agree, my_share
from pyuq.io.files import atomic_write, beside, read_metadata, require_folder, write_text
from pyuq.io.structures import StructureFiles, check_structure, take

UNITS = {"energy": "eV/atom", "force": "eV/Å", "virial": "eV/atom", "gradient": "eV/Å"}
TITLES = {
    "energy": "energy",
    "force": "force component",
    "virial": "virial component",
    "gradient": "force component, by the length of ∇σ_E",
}
SMALLEST = 1e-6  # of the RMSE: a standard deviation that symmetry makes zero


def collect(
    calculator: UQCalculator, structures: Sequence[Atoms] | StructureFiles, comm=None
) -> dict[str, Sample]:
    """Errors of a calculator on labelled structures, and its standard deviations for them.

    Parameters
    ----------
    calculator : UQCalculator
    structures : sequence of Atoms or StructureFiles
        Labelled; the same on all ranks.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the structures; all return the same.

    Returns
    -------
    dict
        {quantity: Sample}: ``energy`` and ``virial`` (six components) in eV/atom, group ``"all"``; ``force``
        (components, eV/Å) by species, and ``gradient``, the same with the length of ∇_i σ_E in place of the standard
        deviation: what ``compute uq/atom force`` gives.

    Raises
    ------
    InputError
        The calculator has no uncertainty; a structure has no label, or an element that a member does not know; or a
        member has been trained on some of the structures.
    """
    if not calculator.has_uncertainty:
        raise InputError(
            f"{calculator.members[0].path} has no posterior and is alone: make one (`pyuq posterior`), or name "
            "further models"
        )
    refuse_taught(calculator, structures, comm)
    mine, found, error = my_share(len(structures), comm), {}, None
    progress = tqdm(mine, desc="structures", disable=None)
    try:
        for k, atoms in zip(progress, take(structures, mine), strict=True):
            for member in calculator.members:
                check_structure(structures, k, atoms, member.elements)
            found[k] = _errors(calculator, atoms)
    except ValueError as reason:
        error = reason
    agree(comm, error)
    if comm is not None:
        found = {k: parts for part in comm.allgather(found) for k, parts in part.items()}
    samples = {}
    for quantity in UNITS:
        rows = [(k, *found[k][quantity]) for k in sorted(found) if quantity in found[k]]
        if rows:
            samples[quantity] = _sample(rows)
    return samples


def training_of(member: Evaluator) -> tuple[Path, str, frozenset[str]]:
    """Return what the files of a model say about its training set.

    Returns
    -------
    path : Path
        File that tells it.
    joined : str
        Hash of the whole set; empty where nothing is known.
    single : frozenset of str
        What :func:`pyuq.inference.fit.training_record` keeps of its structures; empty in older files.
    """
    path = member.path
    for file in (path, path.with_suffix(".uq")):
        metadata = read_metadata(file)
        if not metadata or (file != path and not member.model.has_posterior):
            continue
        record = json.loads(metadata.get("provenance", "{}"))
        joined = metadata.get("training_sha256") or record.get("training_sha256") or ""
        if joined:
            return file, joined, frozenset(record.get("training", ()))
    return path, "", frozenset()


def refuse_taught(
    calculator: UQCalculator, structures: Sequence[Atoms] | StructureFiles, comm=None
) -> None:
    """Refuse structures that a member was trained on: it errs less on them than on any other.

    Raises
    ------
    InputError
        Some are in the training set that a member's files name, exactly as they are; or are all of it.
    """
    known = {record for member in calculator.members if (record := training_of(member))[1]}
    if not known:
        return
    mine, hashes, error = my_share(len(structures), comm), [], None
    try:
        for k, atoms in zip(mine, take(structures, mine), strict=True):
            check_structure(structures, k, atoms, ())
            hashes.append((k, structure_hash(atoms)))
    except ValueError as reason:
        error = reason
    agree(comm, error)
    if comm is not None:
        hashes = [pair for part in comm.allgather(hashes) for pair in part]
    hashes.sort()
    for path, joined, single in sorted(known, key=lambda record: record[0]):
        taught = [k for k, h in hashes if h[:HASH_DIGITS] in single]
        if joined == joined_hash(h for _, h in hashes):
            taught = [k for k, _ in hashes]
        if taught:
            few = ", ".join(map(str, taught[:5])) + (", ..." if len(taught) > 5 else "")
            raise InputError(
                f"{len(taught)} of {len(hashes)} structures are among those that {path} was trained on (numbers {few}, "
                "from 0): a model is surer and better there than anywhere else, and they would judge it too well. Name "
                "structures that it has not seen"
            )


def _errors(calculator: UQCalculator, atoms: Atoms) -> dict[str, tuple]:
    """Errors, standard deviations and groups of one structure by quantity."""
    label, n = atoms.calc.results, len(atoms)
    calculator.calculate(atoms, calculator.implemented_properties)
    result, species = calculator.results, np.repeat(list(atoms.symbols), 3)
    force = np.ravel(result["forces"] - label["forces"])
    gradient = np.repeat(np.linalg.norm(result["bias_forces"], axis=1), 3)
    found = {
        "energy": (
            [(result["energy"] - label["energy"]) / n],
            [result["energy_uncertainty"] / n],
            ["all"],
        ),
        "force": (force, np.ravel(force_deviations(result)), species),
        "gradient": (force, gradient, species),
    }
    if "stress" in label and all(atoms.pbc):
        per_atom = atoms.cell.volume / n
        error = (result["stress"] - label["stress"]) * per_atom
        found["virial"] = (error, result["stress_uncertainty"] * per_atom, ["all"] * 6)
    return found


def _sample(rows: Sequence[tuple]) -> Sample:
    """Join structures; of a standard deviation that symmetry makes zero, the smallest that can be scored."""
    errors, sigmas = (
        np.concatenate([np.asarray(row[i], dtype=float) for row in rows]) for i in (1, 2)
    )
    smallest = SMALLEST * max(float(np.sqrt(np.mean(errors**2))), float(sigmas.max()), 1e-300)
    return Sample(
        errors,
        np.maximum(sigmas, smallest),
        np.concatenate([np.asarray(row[3], dtype=str) for row in rows]),
        np.concatenate([np.full(len(row[1]), row[0]) for row in rows]),
    )


@brief()
@dataclass(frozen=True)
class Verdict:
    """Error bars of one quantity and group on the structures that judge.

    Attributes
    ----------
    predicted, recalibrated : Scores
        Of the model's standard deviations, and of the recalibrated ones.
    conformal_coverage : float
        Part of the errors inside the conformal intervals.
    conformal_width : float
        Their mean half width; infinite with too few structures.
    """

    predicted: Scores
    recalibrated: Scores
    conformal_coverage: float
    conformal_width: float


@brief()
@dataclass(frozen=True)
class Calibration:
    """What :func:`calibrate` finds.

    Attributes
    ----------
    recalibration : Recalibration
        From all structures.
    trial : Recalibration
        From the structures that do not judge.
    judged : dict
        {quantity: Sample} of the structures that judge.
    verdicts : dict
        {quantity: {group: Verdict}}.
    """

    recalibration: Recalibration
    trial: Recalibration
    judged: dict[str, Sample]
    verdicts: dict[str, dict[str, Verdict]]

    def _repr_html_(self) -> str:
        """Table of a notebook: RMSE and error bars before and after, on the structures that judge."""
        rows = [
            (
                TITLES[q],
                UNITS[q],
                group,
                v.predicted.rmse,
                v.predicted.sharpness,
                v.predicted.within_1,
                v.recalibrated.sharpness,
                v.recalibrated.within_1,
                v.conformal_coverage,
            )
            for q, groups in self.verdicts.items()
            for group, v in groups.items()
        ]
        head = (
            "quantity",
            "unit",
            "",
            "RMSE",
            "σ predicted",
            "inside 1σ",
            "σ recalibrated",
            "inside 1σ",
        )
        level = f"conformal {1 - self.recalibration.alpha:.0%}: inside"
        return html_table("Calibration", (*head, level), rows, "0.683 inside 1σ is right.")


def calibrate(
    samples: Mapping[str, Sample], alpha: float = 0.1, split: float = 0.5, seed: int = 0, **record
) -> Calibration:
    """Recalibrate error bars on a part of the structures and judge them by the others; then by all.

    Parameters
    ----------
    samples : dict
        {quantity: Sample}, see :func:`collect`.
    alpha : float
        Miss rate of the conformal intervals.
    split : float
        Part of the structures that recalibrates; the others judge.
    seed : int
        Of both choices of structures.
    record
        `models`, `provenance` of :class:`Recalibration`.

    Raises
    ------
    InputError
        Fewer than four structures; or `split` leaves fewer than two to recalibrate, or none to judge.
    """
    known = np.unique(np.concatenate([s.structures for s in samples.values()]))
    rng = np.random.default_rng(seed)
    order, cut = rng.permutation(known), round(split * len(known))
    if not 2 <= cut < len(known):
        raise InputError(
            f"of {len(known)} structures, split = {split} leaves {cut} to recalibrate and {len(known) - cut} "
            "to judge; expected at least 2 and 1"
        )
    trial = Recalibration.fit(
        {q: s.of_structures(order[:cut]) for q, s in samples.items()}, alpha, rng
    )
    judged = {q: s.of_structures(order[cut:]) for q, s in samples.items()}
    verdicts = {
        quantity: {
            str(group): _verdict(trial, quantity, sample.chosen(sample.groups == group))
            for group in np.unique(sample.groups)
            if group in trial.scales[quantity]
        }
        for quantity, sample in judged.items()
    }
    final = Recalibration.fit(samples, alpha, rng, **record)
    return Calibration(final, trial, judged, verdicts)


def _verdict(trial: Recalibration, quantity: str, sample: Sample) -> Verdict:
    deviation = trial.deviation(quantity, sample.sigmas, sample.groups)
    width = trial.half_width(quantity, sample.sigmas, sample.groups)
    return Verdict(
        scores(sample.errors, sample.sigmas),
        scores(sample.errors, deviation),
        float((np.abs(sample.errors) <= width).mean()),
        float(width.mean()),
    )


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
        Of :func:`calibrate`.
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
