# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq fit``: a fit described by a TOML file, with report and pictures."""

import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq import log
from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.fit import FitResult, fit
from pyuq.inference.fit_settings import FitSettings, RepulsionSettings, Solver, Weights
from pyuq.inference.fit_state import FitState
from pyuq.inference.maxvol import describe, flat_inverses, select_active_sets
from pyuq.inference.metrics import Predictions, error_table, format_table, predict
from pyuq.inference.pops import ERROR_BARS, UNCERTAINTIES
from pyuq.inference.posterior import refuse_other_owner
from pyuq.inference.regression import few_data_note
from pyuq.io.files import atomic_write, check_folder, write_text
from pyuq.io.identity import repetition_note, structure_hash
from pyuq.io.structures import expand, group_of, read_structures
from pyuq.potentials.families import FAMILIES, basis_from_table
from pyuq.potentials.repulsion import shortest_distances
from pyuq.settings import assign, check_name, choose, from_table, load_toml


@brief()
@dataclass(frozen=True)
class FitFile:
    """Content of ``fit.toml``.

    Parameters
    ----------
    train : tuple of str
        Files of labelled structures, relative to the TOML file; ``${NAME:-default}`` is expanded.
    basis : dict
        Parameters of :class:`pyuq.potentials.basis.ACEBasis` or :class:`pyuq.potentials.mtp.MTPBasis`.
    test : tuple of str
        Files that are only predicted.
    name : str
        Of the potential: ``name.yace`` (or ``name.mtp``) and ``name.uq``.
    output : str
        Folder to write, relative to the TOML file.
    family : str
        ``ace`` or ``mtp``.
    active_set : bool
        Also choose the active set of the extrapolation grade, :mod:`pyuq.inference.maxvol`.
    weights, groups, solver, repulsion, one_body, max_force, uncertainty
        See :class:`pyuq.inference.fit_settings.FitSettings`.
    """

    train: tuple[str, ...]
    basis: dict
    test: tuple[str, ...] = ()
    name: str = "potential"
    output: str = "fit"
    family: str = "ace"
    active_set: bool = False
    weights: Weights = field(default_factory=Weights)
    groups: dict[str, Weights] = field(default_factory=dict)
    solver: Solver = field(default_factory=Solver)
    repulsion: RepulsionSettings = field(default_factory=RepulsionSettings)
    one_body: dict[str, float] | None = None
    max_force: float = np.inf
    uncertainty: str = "pops"

    def __post_init__(self):
        check_name(self.name)
        choose("family", self.family, FAMILIES)
        choose("uncertainty", self.uncertainty, UNCERTAINTIES)
        if not self.train:
            raise InputError("train names no file")

    def settings(self, where: str) -> FitSettings:
        """Return the settings of the fit."""
        return FitSettings(
            basis=basis_from_table(self.basis, f"{where} [basis]", self.family),
            weights=self.weights,
            groups=self.groups,
            solver=self.solver,
            repulsion=self.repulsion,
            one_body=self.one_body,
            max_force=self.max_force,
            uncertainty=self.uncertainty,
        )


def run_fit(
    path, output=None, comm=None, assignments: Iterable[str] = (), resume: bool = False
) -> FitResult:
    """Fit as a TOML file says, and write potential, posterior, error tables and parity plots.

    Parameters
    ----------
    path : str or Path
    output : str or Path, optional
        Folder to write instead of the file's.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the work; rank 0 writes.
    assignments : iterable of str, optional
        Settings to change: ``solver.kind=ard``.
    resume : bool
        Begin with the normal equations that the last run left in the output folder: only structures that are new
        in the training files cost time.

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        A mistake in the file or the data; the message names it.
    OSError
        The folder cannot be written into.
    """
    path = Path(path)
    table = load_toml(path)
    assign(table, assignments)
    file = from_table(FitFile, table, str(path))
    settings = file.settings(str(path))
    elements = settings.basis.elements
    train = read_structures((expand(p, path.parent) for p in file.train), elements)
    test = read_structures((expand(p, path.parent) for p in file.test), elements)
    folder = check_folder(output if output is not None else path.parent / file.output)
    refuse_other_owner(folder / f"{file.name}.uq", f"{file.name}{settings.basis.suffix}")
    earlier = FitState.load(folder / f"{file.name}.fit") if resume else None
    start = time.perf_counter()
    result = fit(train, settings, comm, earlier, leave=True)
    seconds = time.perf_counter() - start
    active = select_active_sets(result.features, train, comm=comm) if file.active_set else []
    if comm is None or comm.rank == 0:
        result.save(folder, file.name, flat_inverses(active) if active else None)
        result.state(settings).save(folder / f"{file.name}.fit")
        sets = {"train": predict(result, train)} | ({"test": predict(result, test)} if test else {})
        copies = repetition_note(map(structure_hash, train), map(structure_hash, test))
        few = few_data_note(len(train), result.normal.nrows, result.conditioning().effective)
        found = (few, copies, groups_note(settings.groups, train), repulsion_note(result, test))
        notes = [note for note in found if note]
        log.say(write_report(folder, result, sets, seconds, notes))
        if active:
            log.say(describe(active, elements))
        log.say(
            f"written: {folder / file.name}{settings.basis.suffix}, {file.name}.uq, {file.name}.fit, "
            "report.md, errors.csv, parity.png"
        )
    return result


def groups_note(groups: Iterable[str], structures: Iterable[Atoms]) -> str:
    """Say which groups have weights of their own and no training structure."""
    found = sorted({group_of(atoms) for atoms in structures})
    if not (unused := sorted(set(groups) - set(found))):
        return ""
    return (
        f"no training structure is of group {', '.join(unused)}: these weights have no effect; "
        f"the groups (config_type) are {', '.join(found)}"
    )


def repulsion_note(result: FitResult, structures: Sequence[Atoms]) -> str:
    """Say which pairs of a test set are so close that the repulsion acts, where no training structure has been."""
    if result.repulsion is None:
        return ""
    reached, closest = 0, {}
    for atoms in structures:
        found = shortest_distances([atoms], result.basis.elements, result.basis.largest_cutoff)
        inside = {p: d for p, d in found.items() if d < result.repulsion.distance(*p)}
        reached += bool(inside)
        closest |= {p: min(d, closest.get(p, d)) for p, d in inside.items()}
    if not reached:
        return ""
    pairs = ", ".join(
        f"{a}-{b} {d:.2f} Å (repulsion from {result.repulsion.distance(a, b):.2f} Å)"
        for (a, b), d in closest.items()
    )
    return (
        f"{reached} of {len(structures)} test structures have atoms closer than any training structure: {pairs}. "
        "There the repulsion acts and errors are its own: train on such structures, or set zbl = false in [repulsion]"
    )


def write_report(
    folder: Path,
    result: FitResult,
    sets: dict[str, Predictions],
    seconds: float,
    notes: Sequence[str] = (),
) -> str:
    """Write report.md, errors.csv and parity.png; return the report's text."""
    posterior = result.posterior
    lines = [
        f"{result.basis.nfunctions} functions, {len(result.structures)} structures, "
        f"{result.normal.nrows} rows; assembly and fit {seconds:.2f} s",
        f"log evidence {posterior.log_evidence:.1f}, noise {posterior.noise_variance**0.5:.3g} "
        "times the weights' deviations",
        result.conditioning().text(result.basis.nfunctions),
        ERROR_BARS[result.settings.uncertainty],
        "",
    ]
    rows = []
    for name, predictions in sets.items():
        table = error_table(predictions)
        rows += [{"set": name} | asdict(row) for row in table]
        lines += [f"{name} errors", "", format_table(table), ""]
    if result.leave_one_out is not None:
        lines += [result.leave_one_out.text(), ""]
    box = result.pops.note() if result.pops is not None else ""
    for note in filter(None, (box, *notes)):
        lines += [note, ""]
    text = "\n".join(lines)
    write_text(folder / "report.md", f"# Fit\n\n{text}\n![parity](parity.png)\n")
    with atomic_write(folder / "errors.csv") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    plot_parity(folder / "parity.png", sets)
    return text


def plot_parity(path: Path, sets: dict[str, Predictions]) -> None:
    """Write parity plots of energies and forces."""
    from pyuq.plotting import figure, parity

    fig, axes = figure(ncols=2)
    parity(axes[0, 0], {k: p.energies for k, p in sets.items()}, "energy", "eV/atom")
    forces = {k: np.concatenate(p.forces) for k, p in sets.items()}
    parity(axes[0, 1], forces, "force", "eV/Å")
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")
