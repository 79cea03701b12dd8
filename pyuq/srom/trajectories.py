# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of all models of a study: the same start, the same velocities, each model its own dynamics."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.io import read

from pyuq.errors import InputError, RunError
from pyuq.io.dump import Frame, LammpsDump
from pyuq.io.files import sync_folder, sync_tree, write_text
from pyuq.io.lammps_data import write_data
from pyuq.jobs import check_data
from pyuq.srom.origin import origin, remedy, require_origin
from pyuq.srom.settings import Case, Settings, Start, Study
from pyuq.srom.simulate import (
    DUMP,
    Simulation,
    check_recording,
    dynamics,
    header,
    recording,
    run_all,
)
from pyuq.srom.snapshots import Snapshots, remove_drift
from pyuq.srom.system import System

CHUNK = 2**26  # bytes of frames held at a time
REPLICA_SEED = 7919  # between the velocity seeds of two replicas


def make_snapshots(study: Study, comm=None, say=print) -> None:
    """Run every model from the common start; trajectories that are there are kept.

    Parameters
    ----------
    study : Study
    comm : mpi4py.MPI.Comm, optional
        See :func:`pyuq.srom.simulate.run_all`.
    say : callable
        Takes lines of progress.

    Raises
    ------
    RuntimeError
        A simulation failed.
    InputError
        Other settings made the trajectories that are there.
    """
    for case in study.cases:
        for label, replica in _trajectories(case).values():
            if case.snapshots(label, replica).exists():
                trajectory(case, label, replica)
        _make_start(case, comm)
        simulations = _trajectories(case)
        done = []

        def over(simulation: Simulation, case=case, simulations=simulations, done=done) -> None:
            done.append(simulation)
            label, replica = simulations[simulation]
            _require_success(simulation)
            if collect(case, simulation.folder, label, replica):
                say(f"{case.temperature:g} K: {label}-{replica} ({len(done)}/{len(simulations)})")

        run_all(list(simulations), study.settings.runs, over, comm, say)
        if comm is not None:
            comm.Barrier()


def _require_success(simulation: Simulation) -> None:
    if error := simulation.error:
        failed = simulation.folder.with_name(f"{simulation.folder.name}.failed")
        shutil.rmtree(failed, ignore_errors=True)
        simulation.folder.rename(failed)
        raise RunError(f"LAMMPS failed in {failed}: {error}")


def _make_start(case: Case, comm) -> None:
    """Equilibrate the structure with one model; all runs start from its last frame."""
    settings = case.settings
    folder = case.trajectories / "start"
    model = settings.models[settings.index(settings.start.model)]
    lines = [
        "# Common start of all models; made by `pyuq srom snapshots`.",
        *header(case, model, folder / "structure.data", folder),
        *dynamics(case, settings.md.seed),
        "thermo          100",
        f"run             {settings.md.equilibration}",
        "write_data      start.data nocoeff nofix",
    ]

    def prepare(folder: Path) -> None:
        start = settings.start
        atoms = read(case.study.here / start.structure, parallel=False)
        style = {"atom_style": start.atom_style, "charges": start.charges, "masses": start.masses}
        write_data(folder / "structure.data", atoms, start.elements, **style)

    def check(folder: Path) -> None:
        check_data(folder / "start.data")

    def over(simulation: Simulation) -> None:
        _require_success(simulation)
        if not case.start.exists():
            write_text(case.start, (folder / "start.data").read_text())

    simulation = Simulation(folder, "\n".join(lines) + "\n", check, prepare)
    run_all([simulation], settings.runs, over, comm)
    if comm is not None:
        comm.Barrier()


def _trajectories(case: Case) -> dict[Simulation, tuple[str, int]]:
    """Simulations of all models and replicas, with label and number."""
    settings, found = case.settings, {}
    for replica in range(settings.basis.replicas):
        for model in settings.models:
            path = case.snapshots(model.label, replica)
            lines = [
                f"# Snapshots of {model.label}; made by `pyuq srom snapshots`.",
                *header(case, model, case.start, path),
                *dynamics(case, settings.md.seed + REPLICA_SEED * replica),
                *recording(settings.md.steps, settings.md.every, "id type xu yu zu vx vy vz"),
            ]
            check = partial(_check_trajectory, case, label=model.label, replica=replica)
            simulation = Simulation(path.with_suffix(".run"), "\n".join(lines) + "\n", check)
            found[simulation] = (model.label, replica)
    return found


def _check_trajectory(case: Case, folder: Path, label: str, replica: int) -> None:
    """Refuse a trajectory that is neither whole in its dump nor collected from it."""
    md = case.settings.md
    if (folder / DUMP).exists() or not case.snapshots(label, replica).exists():
        check_recording(folder, md.steps, md.every)


def collect(case: Case, folder: Path, label: str, replica: int) -> bool:
    """Turn the trajectory of a simulation into snapshots; return whether there was anything to do."""
    path = case.snapshots(label, replica)
    if path.exists() and not (folder / DUMP).exists():
        return False
    unfinished = path.with_name(f".{path.name}.partial")
    if unfinished.is_symlink():
        unfinished.unlink()
    read_dump(folder / DUMP, unfinished, case.settings, label, _origin(case, label)).seal()
    sync_tree(unfinished)
    shutil.rmtree(path, ignore_errors=True)
    unfinished.rename(path)
    sync_folder(path.parent)
    (folder / DUMP).unlink()
    return True


def _origin(case: Case, label: str) -> dict:
    """Settings that a model's snapshots depend on."""
    settings = case.settings
    starter = settings.labels[settings.index(settings.start.model)]
    return origin(case, "snapshots", models={label, starter})


def trajectory(case: Case, label: str, replica: int) -> Snapshots:
    """Snapshots of a model, made by the settings in force.

    Raises
    ------
    InputError
        There are none, other settings made them, or they are cut short or damaged.
    """
    snapshots = Snapshots(case.snapshots(label, replica))
    require_origin(case, "snapshots", snapshots.path, snapshots.origin, _origin(case, label))
    md = case.settings.md
    if (found := snapshots.nframes) != (expected := md.steps // md.every + 1):
        raise InputError(
            f"{snapshots.path} holds {found} frames, expected {expected}: {remedy(case, 'snapshots')}"
        )
    snapshots.check_seal(remedy(case, "snapshots"))
    return snapshots


def read_dump(dump, path, settings: Settings, label: str, origin: dict | None = None) -> Snapshots:
    """Snapshots of a LAMMPS dump: displacements from its first frame, and velocities.

    Both are without the motion of the centre of mass. Memory does not grow with the trajectory.

    Parameters
    ----------
    dump : str or Path
        Text dump with the columns ``xu yu zu`` (or positions and image flags) and ``vx vy vz``.
    path : str or Path
        Folder to write.
    settings : Settings
        Elements, masses, and the time between frames.
    label : str
        Of the model.
    origin : dict, optional
        Settings that made the dump.

    Raises
    ------
    InputError
        Wrapped positions without image flags, no velocities, a cell that changes, atoms that are lost, a dump that is
        cut short.
    """
    source = LammpsDump(dump)
    frames = (continuous(frame, source) for frame in source)
    first = next(frames)
    system = system_of(first, settings.start)
    timestep = settings.md.timestep * settings.md.every
    digest = (origin or {}).get(f"models.{label}", "")
    snapshots = Snapshots.create(path, system, timestep, label, digest, origin)
    append_frames(snapshots, chain([first], frames))
    return snapshots


def continuous(frame: Frame, source: LammpsDump) -> Frame:
    """Frame with unwrapped positions.

    Raises
    ------
    InputError
        The dump has wrapped positions and no image flags.
    """
    if source.unwrapped:
        return frame
    if frame.images is None:
        raise InputError(
            f"{source.path} has wrapped positions without image flags (columns {' '.join(source.columns)}): "
            "displacements across the boundary are lost. Write xu yu zu, or ix iy iz besides"
        )
    return replace(frame, positions=frame.positions + frame.images @ frame.cell)


def system_of(frame: Frame, start: Start) -> System:
    """Atoms of a study, x⁰ from a frame of unwrapped positions."""
    symbols = tuple(start.elements[t - 1] for t in frame.types)
    masses = {e: start.masses.get(e, atomic_masses[atomic_numbers[e]]) for e in start.elements}
    return System(
        ids=frame.ids,
        masses=np.array([masses[s] for s in symbols]),
        reference=frame.positions,
        cell=frame.cell,
        symbols=symbols,
    )


def append_frames(snapshots: Snapshots, frames: Iterable[Frame]) -> None:
    """Append displacements from x⁰ and velocities of frames in a fixed cell.

    Raises
    ------
    InputError
        The cell changes, or there are no velocities.
    """
    system = snapshots.system
    size = max(1, CHUNK // (48 * system.natoms))
    held: list[tuple[np.ndarray, np.ndarray]] = []

    def flush() -> None:
        u, v = (np.array(values) for values in zip(*held, strict=True))
        snapshots.append(remove_drift(u, system.masses), remove_drift(v, system.masses))
        held.clear()

    for frame in frames:
        if frame.velocities is None:
            raise InputError(f"step {frame.step}: no velocities; expected the columns vx vy vz")
        if (gap := np.abs(frame.cell - system.cell).max()) > 1e-9 * np.abs(system.cell).max():
            raise InputError(
                f"the cell changes: by {gap:.3g} Å until step {frame.step}; expected the fixed cell of nve, nvt or "
                "langevin, without which modes of displacements are not defined"
            )
        held.append((frame.positions - system.reference, frame.velocities))
        if len(held) == size:
            flush()
    if held:
        flush()
