# SPDX-License-Identifier: GPL-2.0-or-later
"""LAMMPS simulations of a study: a script in a folder each, several at a time, complete when renamed.

A simulation runs in ``.NAME.running`` and is renamed to ``NAME`` when it is over, whatever came of it; a folder with
its final name is never run again. Ranks of one simulation share the atoms; simulations share nothing.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.files import write_text
from pyuq.jobs import ERROR, Job, check_dump, check_rows, error_of, run_jobs
from pyuq.lmp import quoted
from pyuq.srom.settings import Case, Model, Runs

SCRIPT, DUMP, THERMO = "in.lmp", "trajectory.dump", "thermo.txt"
THERMO_POINTS = 200


@brief()
@dataclass(frozen=True)
class Simulation:
    """A folder to be filled by a script.

    Attributes
    ----------
    folder : Path
        Final name.
    script : str
    check : callable
        Takes the folder and raises ValueError unless its files are whole; see ``Job.check`` (:class:`pyuq.jobs.Job`).
    prepare : callable, optional
        Writes further input files into the folder that it is given.
    """

    folder: Path
    script: str
    check: Callable[[Path], object]
    prepare: Callable[[Path], None] | None = None

    @property
    def running(self) -> Path:
        """Name while it runs."""
        return self.folder.with_name(f".{self.folder.name}.running")

    @property
    def error(self) -> str:
        """First line of what went wrong, or empty."""
        return error_of(self.folder)

    def finished(self, say: Callable[[str], None] = print) -> bool:
        """Tell whether its folder is there and whole; one that is damaged is removed, to be made again.

        Raises
        ------
        InputError
            The folder was made with another script.
        """
        if not self.folder.exists():
            return False
        script = self.folder / SCRIPT
        if not script.is_file():
            say(f"{self.folder} runs again: no file {script}")
            shutil.rmtree(self.folder)
            return False
        if script.read_text() != self.script:
            raise InputError(
                f"{self.folder} was made with other settings than those of now (compare its {SCRIPT}): remove "
                "it, or choose another `folder`"
            )
        if (self.folder / ERROR).exists():
            return True
        try:
            self.check(self.folder)
        except (ValueError, OSError) as problem:
            say(f"{self.folder} runs again: {problem}")
            shutil.rmtree(self.folder)
            return False
        return True

    @property
    def job(self) -> Job:
        """What is to be run for it."""
        return Job(self.running, self.folder, SCRIPT, self.check, self.set_up)

    def set_up(self) -> None:
        """Write its input into an empty folder."""
        shutil.rmtree(self.running, ignore_errors=True)
        self.running.mkdir(parents=True)
        write_text(self.running / SCRIPT, self.script)
        if self.prepare is not None:
            self.prepare(self.running)


def run_all(
    simulations: Sequence[Simulation],
    runs: Runs,
    over: Callable[[Simulation], None],
    comm=None,
    say: Callable[[str], None] = print,
) -> None:
    """Run those that are not there yet.

    Parameters
    ----------
    simulations : sequence of Simulation
    runs : Runs
    over : callable
        Called with each as soon as it is over, the finished ones first; with ranks, when all are over, on rank 0 only.
    comm : mpi4py.MPI.Comm, optional
        Ranks to share out in groups of ``runs.ranks``; call on all of them. Without: an ``lmp`` or ``mpirun`` each.
    say : callable
        Takes lines of progress.

    Raises
    ------
    pyuq.jobs.NotRunError
        One was ended from outside, or its files are not whole; what is over is kept.
    """
    waiting = None
    if comm is None or comm.rank == 0:
        waiting = [s for s in simulations if not s.finished(say)]
        for s in simulations:
            if s not in waiting:
                over(s)
    if comm is not None:
        folders = comm.bcast([s.folder for s in waiting] if comm.rank == 0 else None)
        waiting = [s for s in simulations if s.folder in folders]
    by_folder = {s.folder: s for s in waiting}
    run_jobs(
        [s.job for s in waiting],
        runs.ranks,
        runs.timeout,
        runs.parallel,
        comm,
        over=lambda job: over(by_folder[job.final]),
    )


def header(case: Case, model: Model, data: Path, folder: Path) -> list[str]:
    """Commands up to the forces, for a simulation in `folder`.

    File names are relative to it: a study that is moved stays valid.
    """
    settings = case.settings
    here = os.path.relpath(case.study.here, folder)
    return [
        "units           metal",
        f"atom_style      {settings.start.atom_style}",
        "atom_modify     map yes",
        "box             tilt large",
        f"read_data       {quoted(os.path.relpath(data, folder))}",
        *model.pair_commands(here, settings.start.elements),
        f"# {model.label}: {model.sha256(case.study.here)}",
        f"timestep        {settings.md.timestep:.10g}",
    ]


def dynamics(case: Case, seed: int) -> list[str]:
    """Velocities, integrator and thermostat."""
    md, t = case.settings.md, f"{case.temperature:.10g}"
    lines = [f"velocity        all create {t} {seed} mom yes rot no dist gaussian"]
    if md.thermostat == "nvt":
        return [*lines, f"fix             move all nvt temp {t} {t} {md.damp:.10g}"]
    lines.append("fix             move all nve")
    if md.thermostat == "langevin":
        lines.append(
            f"fix             heat all langevin {t} {t} {md.damp:.10g} {seed + 1} zero yes tally yes"
        )
    return lines


def recording(steps: int, every: int, columns: str, extra: str = "") -> list[str]:
    """Trajectory and time averages of what tells whether a run went well, and the run itself.

    The file ``thermo.txt`` has the columns step, temperature, conserved energy (eV), and `extra`.
    """
    often = max(1, steps // THERMO_POINTS)
    return [
        "thermo_style    custom step temp pe etotal econserve press",
        f"thermo          {often}",
        "variable        T equal temp",
        "variable        E equal econserve",
        f"fix             record all ave/time {often} 1 {often} v_T v_E {extra} file {THERMO}",
        f"dump            record all custom {every} {DUMP} {columns}",
        "dump_modify     record format float %.17g",
        f"run             {steps}",
    ]


def check_recording(folder: Path, steps: int, every: int) -> None:
    """Refuse a folder whose script ended with :func:`recording` and that does not hold all of it.

    Raises
    ------
    InputError
        Names the file and what was found.
    """
    check_dump(folder / DUMP, steps, every)
    check_rows(folder / THERMO, steps // max(1, steps // THERMO_POINTS) + 1)
