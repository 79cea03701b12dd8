# SPDX-License-Identifier: GPL-2.0-or-later
"""The active-learning loop: fit, biased dynamics, selection, labels, and again.

Each stage reads its input from the run folder and leaves its output there, complete, before the state file
says that it is done. A stage that was cut short is done again from the same input, with the same seeds: a
run that was killed and continued ends with the same database as one that was not.

References
----------
C. van der Oord, M. Sachs, D. P. Kovács, C. Ortner, G. Csányi, npj Comput. Mater. 9, 168 (2023).
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import ase
import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.errors import InputError, RunError
from pyuq.hal import provenance
from pyuq.hal.provenance import DATABASE, START, STATE, TEST
from pyuq.hal.report import say, write_report
from pyuq.hal.selection import diverse, energy_covariance
from pyuq.hal.settings import Settings, ends, load_settings, relative_to
from pyuq.hal.state import State, resume
from pyuq.hal.triggers import (
    energy_limit,
    factors,
    force_limits,
    learn_energies,
    learn_forces,
    start_beliefs,
)
from pyuq.hal.walker import (
    Conditions,
    Outcome,
    clear_unfinished,
    conditions,
    outcome,
    prepare,
    repeatable,
    run_walkers,
)
from pyuq.inference.fit import FitResult, fit
from pyuq.inference.maxvol import flat_inverses, select_active_sets
from pyuq.inference.metrics import Errors, errors, predict
from pyuq.inference.readout_fit import ReadoutFit, ReadoutFitSettings, fit_readout
from pyuq.inference.readout_posterior import native_evaluator
from pyuq.io import extxyz, predictions
from pyuq.io.files import Lock, atomic_write, check_folder, clear_temporaries
from pyuq.io.identity import hash_file, repetition_note, structure_hash
from pyuq.io.lammps_data import box_of, type_indices
from pyuq.labels import Failure, FileLabeller, Labeller, PoolLabeller
from pyuq.trust import (
    HARMLESS,
    code_in_calculator,
    code_in_commands,
    origin_of_module,
    require_trust,
)

SHORTEST = 0.6  # default smallest distance, as a part of the shortest one in the start structures


def make_labeller(settings: Settings, toml: Path, folder: Path) -> Labeller:
    """Make the source of labels that the settings describe."""
    labels = settings.labels
    if labels.kind == "files":
        return FileLabeller(folder / labels.folder, labels.wait, labels.max_force)
    if labels.kind == "lammps":
        description = {
            "kind": "lammps",
            "elements": settings.elements,
            "commands": labels.commands,
            "atom_style": labels.atom_style,
            "unit_style": labels.unit_style,
            "charges": labels.charges,
            "masses": labels.masses,
            "folder": str(toml.parent.resolve()),
        }
    else:
        # Modules beside the TOML file are code: not looked for where no code was trusted.
        known = labels.calculator in HARMLESS
        description = {
            "kind": "ase",
            "calculator": labels.calculator,
            "arguments": labels.arguments,
            "folder": str(Path(ase.__file__).parents[1] if known else toml.parent.resolve()),
        }
    return PoolLabeller(
        description, labels.workers, labels.timeout, labels.retries, labels.max_force
    )


@brief("toml", "folder")
class Loop:
    """One run of active learning in one folder.

    Parameters
    ----------
    settings : Settings
    toml : Path
        The file that the settings come from; file names in it are relative to it.
    comm : mpi4py.MPI.Comm, optional
        Ranks for the walkers, which then run in this job. The loop itself runs on rank 0.
    labeller : Labeller, optional
        Default: as the settings say.
    fit : callable, optional
        Structures to a :class:`FitResult` or :class:`ReadoutFit`; default: as the settings say.
    walk : callable
        See :func:`pyuq.hal.walker.run_walkers`.
    """

    def __init__(
        self,
        settings: Settings,
        toml: Path,
        comm=None,
        labeller: Labeller | None = None,
        fit: Callable | None = None,
        walk: Callable = run_walkers,
    ):
        self.settings = settings
        self.toml = Path(toml)
        self.folder = self.toml.parent.resolve() / settings.folder
        self.comm = comm
        self.labeller = labeller or make_labeller(settings, self.toml, self.folder)
        self._fit, self._walk = fit or self._default_fit, walk
        self._model: tuple[int, FitResult | ReadoutFit] | None = None
        check_folder(self.folder).mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder)
        clear_temporaries(self.folder)
        self.state: State = resume(self.folder / STATE, settings.flat())

    def run(self) -> str:
        """Go on until the run is finished.

        Returns
        -------
        str
            Why it ended.

        Raises
        ------
        pyuq.labels.Waiting
            Labels come from outside and are not there yet; run again later.
        ValueError, RuntimeError, OSError
            What went wrong; what was done is kept and the next call goes on from there.
        """
        state = self.state
        if state.stage == "done" and self._budget_left():
            state.stage, state.finished = "walk", ""
        self._check_files()
        while state.stage != "done":
            files = provenance.written(state, self.settings)
            getattr(self, state.stage)()
            provenance.note(self.folder, state, files)
            state.save(self.folder / STATE)
            self._end_without_fruit()
            self._check_files()
        return state.finished

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    # Stages.

    def start(self) -> None:
        """Label the start structures and the test set.

        Raises
        ------
        RunError
            None of the start structures got a label.
        """
        settings, kept, test = self.settings, [], []
        self._prepare()  # mistakes come to light before any label is paid for
        frames = self._read("start", settings.start.structures)
        self._refuse_what_cannot_walk(frames)
        for index, result in enumerate(self._label(frames)):
            if isinstance(result, Failure):
                self._failed(f"start structure {index}: {result.reason}")
            else:
                result.info = {**result.info, "source": "start", "start": index}
                kept.append(result)
        if not any(len(atoms) > 1 for atoms in kept):
            raise RunError(
                f"none of {sum(len(atoms) > 1 for atoms in frames)} start structures got a label: "
                f"{self.state.failures[-1]['reason']}"
            )
        if settings.test.structures:
            test = self._label(self._read("test", settings.test.structures))
            for index, result in enumerate(test):
                if isinstance(result, Failure):
                    self._failed(f"test structure {index}: {result.reason}")
            test = [a for a in test if not isinstance(a, Failure)]
            extxyz.write(self.folder / TEST, test)
        extxyz.write(self.folder / START, kept)
        extxyz.write(self.folder / DATABASE, kept)
        say(f"start: {len(kept)} labelled structures, {len(frames) - len(kept)} without label")
        if copies := repetition_note(map(structure_hash, kept), map(structure_hash, test)):
            say(copies)
        self.state.batches = [len(kept)]
        self.state.stage = "fit"

    def fit(self) -> None:
        """Fit, write the potential, and see whether that was the last one."""
        model = self._write_potential()
        row = {"iteration": self.state.iteration, "labels": self.state.batches[-1]}
        test = self._errors(model, self._frames(TEST))
        if test is not None:
            row |= {
                "test_energy": test.energy_rmse,
                "test_force": test.force_rmse,
                "test_stress": test.stress_rmse,
            }
        self.state.row = row
        self.state.stage = "walk" if self._budget_left() else "done"
        drawn = self.state.iteration % self.settings.loop.refit_every == 0
        write_report(self.folder, self.state, self.settings, drawn or self.state.stage == "done")

    def walk(self) -> None:
        """Run the walkers of this iteration and collect what they end with."""
        folder = self._iteration_folder()
        folder.mkdir(parents=True, exist_ok=True)
        clear_unfinished(folder)
        plan = self._plan()
        jobs = []
        for walker, (atoms, c) in enumerate(plan):
            final = folder / f"walker{walker}"
            if final.exists() and (reason := repeatable(final, self.settings)):
                say(f"  walker {walker} runs again: {reason}")
                shutil.rmtree(final)
            if not final.exists():
                running = folder / f".walker{walker}.{os.getpid()}"
                potential = f"../../../potential/{self.settings.name}.uq"
                prepare(running, self.settings, atoms, c, potential)
                jobs.append((running, final))
        if self.comm is not None:
            self.comm.bcast(jobs)
        self._walk(jobs, self.settings, self.comm)
        outcomes = [
            outcome(folder / f"walker{walker}", self.settings, c)
            for walker, (_, c) in enumerate(plan)
        ]
        self._collect(plan, outcomes)
        self.state.stage = "select"

    def select(self) -> None:
        """Choose the structures to label."""
        folder, loop = self._iteration_folder(), self.settings.loop
        if not (folder / "frames.extxyz").is_file():
            self.state.stage = "walk"  # the walkers are there, and what is not is made again
            return
        frames = self._frames(folder / "frames.extxyz")
        if not self.settings.stop.label_final:
            frames = [atoms for atoms in frames if atoms.info["reason"] == "uncertain"]
        chosen = []
        if frames:
            room = loop.labels - self.state.batches[-1] if loop.labels else len(frames)
            count = min(loop.select or len(frames), room)
            chosen = diverse(energy_covariance(self.model(), frames), count, loop.redundancy)
        extxyz.write(folder / "selected.extxyz", [frames[k] for k in sorted(chosen)])
        self.state.stage = "label"

    def label(self) -> None:
        """Label the chosen structures and add them to the database."""
        state, folder = self.state, self._iteration_folder()
        if not (folder / "selected.extxyz").is_file():
            state.stage = "select"
            return
        new = []
        selected = self._frames(folder / "selected.extxyz")
        for result in self._label(selected):
            if isinstance(result, Failure):
                self._failed(result.reason)
            else:
                new.append(result)
        row = state.row | {"new": len(new), "failed": len(selected) - len(new)}
        if new:
            row |= self._learn(new)
        known = self._frames(DATABASE)[: state.batches[-1]]
        extxyz.write(self.folder / DATABASE, known + new)
        state.batches.append(len(known) + len(new))
        fruitless = not new and (row["uncertain"] or row["discarded"] or row["failed"])
        state.fruitless = state.fruitless + 1 if fruitless else 0
        state.history.append(row)
        state.row = {}
        say(_summary(row))
        state.iteration += 1
        state.stage = "fit"

    # What the stages share.

    def _write_potential(self) -> FitResult | ReadoutFit:
        """Write the potential of the database as it stands."""
        model, inverse = self.model(), None
        if self.settings.stop.grade is not None:
            inverse = flat_inverses(select_active_sets(model.features, model.structures))
        model.save(self.folder / "potential", self.settings.name, inverse)
        return model

    def model(self) -> FitResult | ReadoutFit:
        """Return the potential of the database as it stands.

        Hyperparameters are found anew every `refit_every` fits; between, structures are taken in exactly at
        fixed ones. After a restart the same steps are gone through again, so that the numbers are the same.
        """
        batches, every = self.state.batches, self.settings.loop.refit_every
        current = len(batches) - 1
        done, model = self._model or (-1, None)
        refit = current - current % every
        database = self._frames(DATABASE) if done < current else []
        if done < refit:
            model, done = self._fit(database[: batches[refit]]), refit
        while done < current:
            model = model.update(database[batches[done] : batches[done + 1]])
            done += 1
        self._model = (done, model)
        return model

    def _default_fit(self, structures: list[Atoms]) -> FitResult | ReadoutFit:
        settings = self.settings
        if settings.model is None:
            return fit(structures, settings.fit)
        readout = ReadoutFitSettings(
            self._fixed_model(),
            settings.model.elements,
            settings.weights,
            uncertainty=settings.uncertainty,
        )
        return fit_readout(structures, readout)

    def _prepare(self) -> None:
        """Keep the model whose readout is learnt, and the beliefs that a calibration gives."""
        settings, here = self.settings, self.toml.parent
        if settings.model is not None:
            native_evaluator(here / settings.model.file, settings.model.elements)
            self._keep_model()
        calibration = settings.stop.calibration
        path = here / calibration if calibration else None
        self.state.beliefs = start_beliefs(path, settings.elements)

    def _keep_model(self) -> None:
        with atomic_write(self._fixed_model(), "wb") as file:
            file.write((self.toml.parent / self.settings.model.file).read_bytes())

    def _fixed_model(self) -> Path:
        """Where the run folder keeps the model whose readout is learnt."""
        return self.folder / provenance.fixed_model(self.settings)[0]

    def _budget_left(self) -> bool:
        loop, state = self.settings.loop, self.state
        reasons = (
            (
                loop.labels is not None and state.batches[-1] >= loop.labels,
                f"{state.batches[-1]} labels",
            ),
            (state.iteration >= loop.iterations, f"{state.iteration} iterations"),
            (
                0 < loop.converged <= state.quiet,
                f"converged: no walker was uncertain in {state.quiet} iterations",
            ),
        )
        state.finished = next((text for reached, text in reasons if reached), "")
        return not state.finished

    def _plan(self) -> list[tuple[Atoms, Conditions]]:
        """Start structure and conditions of each walker."""
        starts = [atoms for atoms in self._frames(START) if len(atoms) > 1]  # lone atoms stay
        loop, stop = self.settings.loop, self.settings.stop
        noise, beliefs = self.model().noise, self.state.beliefs
        shortest = stop.min_distance
        if shortest is None:
            shortest = SHORTEST * min(shortest_distance(atoms) for atoms in starts)
        plan = []
        for walker in range(loop.walkers):
            atoms = starts[(self.state.iteration * loop.walkers + walker) % len(starts)]
            n = len(atoms)
            c = conditions(
                self.settings,
                self.state.iteration,
                walker,
                atoms.info["start"],
                shortest,
                n * energy_limit(stop, beliefs, noise["energy"] / np.sqrt(n)),
                force_limits(stop, beliefs, noise["force"], self.settings.elements),
            )
            plan.append((atoms, c))
        if any(0.0 in (c.largest_sigma, *c.largest_gradient.values()) for _, c in plan):
            say(
                "  the potential misses `energy_error` or `force_error` everywhere: all frames are uncertain"
            )
        return plan

    def _learn(self, new: list[Atoms]) -> dict:
        """Recalibrate the triggers by new labels, predicted before they are learnt; returns their errors."""
        model, beliefs = self.model(), self.state.beliefs
        found = predict(model, new)
        rmse = errors("new", found, np.ones(len(new), dtype=bool))
        wrong = np.diff(found.energies)[:, 0]
        stop = self.settings.stop
        beliefs = learn_energies(beliefs, wrong, *found.deviations.T, stop.memory)
        if stop.force_error is not None:
            for atoms, forces in zip(new, found.forces, strict=True):
                sigmas = np.linalg.norm(model.committee.uncertainty(atoms).forces, axis=1)
                wrong = np.diff(forces).reshape(-1, 3)
                noise = model.noise["force"]
                beliefs = learn_forces(beliefs, atoms, wrong, sigmas, noise, stop.memory)
        self.state.beliefs = beliefs
        return {"new_energy": rmse.energy_rmse, "new_force": rmse.force_rmse} | factors(beliefs)

    def _collect(self, plan: list[tuple[Atoms, Conditions]], outcomes: list[Outcome]) -> None:
        frames = []
        for walker, ((start, c), found) in enumerate(zip(plan, outcomes, strict=True)):
            if found.atoms is None:
                say(f"  walker {walker} discarded: {found.message}")
                continue
            found.atoms.info = {
                "source": "hal",
                "iteration": self.state.iteration,
                "walker": walker,
                "start": start.info["start"],
                "reason": found.reason,
                "tau_rel": c.tau_rel,
                **found.values,
            }
            if "config_type" in start.info:
                found.atoms.info["config_type"] = start.info["config_type"]
            frames.append(found.atoms)
        extxyz.write(self._iteration_folder() / "frames.extxyz", frames)
        uncertain = sum(o.reason == "uncertain" for o in outcomes)
        discarded = sum(o.reason == "discarded" for o in outcomes)
        alive = [o.values for o in outcomes if o.values]
        self.state.quiet = 0 if uncertain or discarded else self.state.quiet + 1
        self.state.row |= {"uncertain": uncertain, "discarded": discarded}
        if discarded:
            self.state.row["reasons"] = [o.message for o in outcomes if o.reason == "discarded"]
        for name in ("step", "max_relative", "temperature", "sigma", "grade", "tau"):
            if alive and name in alive[0]:
                self.state.row[name] = float(np.mean([values[name] for values in alive]))

    def _label(self, frames: list[Atoms]) -> list[Atoms | Failure]:
        """Label the frames that carry no label, in order."""
        bare = [k for k, atoms in enumerate(frames) if not extxyz.is_labelled(atoms)]
        results: list[Atoms | Failure] = list(frames)
        for k, result in zip(bare, self.labeller.label([frames[k] for k in bare]), strict=True):
            results[k] = result
        return results

    def _failed(self, reason: str) -> None:
        say(f"  no label: {reason}")
        self.state.failures.append({"iteration": self.state.iteration, "reason": reason})

    def _errors(self, model: FitResult | ReadoutFit, frames: list[Atoms]) -> Errors | None:
        if not frames:
            return None
        return errors("all", predict(model, frames), np.ones(len(frames), dtype=bool))

    def _read(self, table: str, names: tuple[str, ...]) -> list[Atoms]:
        frames = []
        for path in relative_to(self.toml, names):
            found = extxyz.read(path)
            if told := predictions.count_told(found):
                say(f"{path}: {told}")
            frames += found
        for atoms in frames:
            try:
                type_indices(atoms, self.settings.elements)
            except ValueError as error:
                raise InputError(f"{self.toml} [{table}]: {error} ([basis] elements)") from error
        return frames

    def _refuse_what_cannot_walk(self, frames: list[Atoms]) -> None:
        for index, atoms in enumerate(frames):
            try:
                box_of(atoms)
            except ValueError as error:
                raise InputError(f"{self.toml} [start]: structure {index}: {error}") from error
        if not any(len(atoms) > 1 for atoms in frames):
            raise InputError(
                f"{self.toml} [start]: a lone atom has nowhere to go: no structure has two atoms or more"
            )

    def _frames(self, path) -> list[Atoms]:
        path = self.folder / path
        return extxyz.read(path) if path.is_file() and path.stat().st_size else []

    def _check_files(self) -> None:
        """Compare the files that the present stage relies on with what the run left; mend what can be made again.

        Raises
        ------
        InputError
            Labels are lost, or are not those that the run left.
        """
        state = self.state
        if not state.files and state.stage != "start":  # a run of an older version
            provenance.note(self.folder, state, provenance.needed(state, self.settings))
        for damage in provenance.damages(self.folder, state, self.settings):
            name = damage.path.relative_to(self.folder).as_posix()
            if not (how := self._mend(name)):
                raise InputError(f"{damage}; {provenance.remedy(name)}")
            say(f"{damage}; {how}")

    def _mend(self, name: str) -> str:
        """Make a file of the run again; says from what, or nothing if that cannot be."""
        state, settings = self.state, self.settings
        batches = state.batches
        if name == START:
            first = self._frames(DATABASE)[: batches[0]]
            return self._restored(name, first, f"made again from {DATABASE}")
        if name == DATABASE and len(batches) == 1 and (self.folder / START).is_file():
            with suppress(ValueError):
                return self._restored(name, self._frames(START), f"made again from {START}")
        if name == TEST:
            with suppress(ValueError):
                frames = self._read("test", settings.test.structures)
                if all(extxyz.is_labelled(atoms) for atoms in frames):
                    return self._restored(name, frames, "made again from [test] structures")
        if name in provenance.potential_files(settings):
            self._write_potential()
            provenance.note(self.folder, state, provenance.potential_files(settings))
            return f"the potential was fitted again to {DATABASE}"
        if name in provenance.fixed_model(settings):
            source = self.toml.parent / settings.model.file
            if source.is_file() and hash_file(source) == state.files[name]["sha256"]:
                self._keep_model()
                return f"copied again from {source}"
        if name == provenance.iteration_file(state, provenance.FRAMES):
            state.stage, state.quiet = "walk", max(state.quiet - 1, 0)  # counted again there
            return "collected again from the walkers"
        if name == provenance.iteration_file(state, provenance.SELECTED):
            state.stage = "select"
            return "selected again"
        return ""

    def _restored(self, name: str, frames: list[Atoms], how: str) -> str:
        return how if provenance.restore(self.folder, self.state, name, frames) else ""

    def _end_without_fruit(self) -> None:
        """End a run whose walkers give nothing to learn from, and say why.

        Raises
        ------
        RuntimeError
            The next call goes on with a new count.
        """
        state, limit = self.state, self.settings.loop.fruitless
        if not 0 < limit <= state.fruitless:
            return
        state.fruitless = 0
        state.save(self.folder / STATE)
        rows = state.history[-limit:]
        md, discarded = self.settings.md, sum(row["discarded"] for row in rows)
        lines = [
            f"{limit} iterations in a row gave no new label: {discarded} of "
            f"{limit * self.settings.loop.walkers} walkers were discarded, {sum(row['failed'] for row in rows)} "
            "structures got no label"
        ]
        reasons = Counter(reason for row in rows for reason in row.get("reasons", ()))
        if reasons:
            lines.append(
                "reasons: " + "; ".join(f"{n} × {text}" for text, n in reasons.most_common(3))
            )
        if discarded:
            lines.append(
                f"where the dynamics blows up at once, look at [md] timestep ({md.timestep:g} ps), temperature "
                f"({ends(md.temperature)[0]:g} to {ends(md.temperature)[1]:g} K) and pressure, at close atoms in the "
                "start structures, at [stop] max_force, max_temperature and min_distance, and at [bias] tau_rel"
            )
        lines.append(
            f"folders of the walkers: {self.folder / 'iterations'}. Changed settings need another `folder`; the same "
            "command goes on as it is"
        )
        raise RunError(". ".join(lines))

    def _iteration_folder(self) -> Path:
        return self.folder / "iterations" / f"{self.state.iteration:04d}"


def shortest_distance(atoms: Atoms) -> float:
    """Shortest distance between two atoms, periodic images included, Å."""
    from ase.neighborlist import neighbor_list

    # An fcc crystal of N atoms in V has its neighbours at 1.12 (V/N)^(1/3); nothing is closer than half.
    reach = 1.5 * (atoms.get_volume() / len(atoms)) ** (1 / 3) if all(atoms.pbc) else 5.0
    distances = neighbor_list("d", atoms, reach)
    return float(distances.min()) if len(distances) else reach


def _summary(row: dict) -> str:
    text = (
        f"iteration {row['iteration']}: {row['uncertain']} uncertain, {row['discarded']} discarded, "
        f"{row['new']} new labels"
    )
    if "new_force" in row:
        text += (
            f"; error on them before: {row['new_energy']:.1f} meV/atom, {row['new_force']:.3f} eV/Å"
        )
    if "test_force" in row:
        text += f"; test: {row['test_energy']:.1f} meV/atom, {row['test_force']:.3f} eV/Å"
    return text


def require_trusted(settings: Settings, path: Path, trust: bool) -> None:
    """Refuse settings that run code, unless they are trusted; say what is imported.

    Raises
    ------
    InputError
        Names what runs code, or a module that anybody may write.
    """
    labels, here = settings.labels, path.parent.resolve()
    require_trust(
        str(path),
        [
            *(code_in_calculator(labels.calculator) if labels.kind == "ase" else ()),
            *(code_in_commands(labels.commands, here, None) if labels.kind == "lammps" else ()),
            *code_in_commands(settings.md.commands, None, None),
        ],
        trust,
    )
    if labels.kind == "ase" and labels.calculator not in HARMLESS:
        say(f"labels by {labels.calculator}, {origin_of_module(labels.calculator, here)}")


def run_hal(path, comm=None, assignments: Iterable[str] = (), trust: bool = False) -> Path:
    """Run, or continue, the active-learning loop that a TOML file describes.

    Parameters
    ----------
    path : str or Path
        ``hal.toml``.
    comm : mpi4py.MPI.Comm, optional
        All ranks of the job; the walkers run in them.
    assignments : iterable of str
        Settings to change: ``loop.seed=2``.
    trust : bool
        Run the code that the settings name: see :mod:`pyuq.trust`.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    pyuq.labels.Waiting
        Labels come from outside and are not there yet.
    ValueError, RuntimeError, OSError
        See :meth:`Loop.run`.
    """
    path = Path(path)
    settings = load_settings(path, assignments)
    if comm is None or comm.rank == 0 or not trust:
        require_trusted(settings, path, trust)
    folder = path.parent.resolve() / settings.folder
    if comm is not None and comm.size < settings.loop.ranks:
        raise InputError(
            f"[loop] ranks = {settings.loop.ranks}, but this job has only {comm.size} ranks"
        )
    if comm is not None and comm.rank > 0:
        while (jobs := comm.bcast(None)) is not None:
            run_walkers(jobs, settings, comm)
        return folder
    loop = None
    try:
        loop = Loop(settings, path, comm)
        say(f"finished: {loop.run()}; {folder / 'report.md'}")
    finally:
        if loop is not None:
            loop.close()
        if comm is not None:
            comm.bcast(None)
    return folder
