# SPDX-License-Identifier: GPL-2.0-or-later
"""LAMMPS simulations of a study: a script in a folder each, several at a time, complete when renamed.

A simulation runs in ``.NAME.running`` and is renamed to ``NAME`` when it is over, whatever came of it; a folder with
its final name is never run again. Ranks of one simulation share the atoms; simulations share nothing.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pyuq.brief import brief
from pyuq.io.files import write_text
from pyuq.lmp import interruptible, run_in_process, run_script
from pyuq.srom.settings import Case, Model, Runs

SCRIPT, ERROR, DUMP, THERMO = "in.lmp", "error.txt", "trajectory.dump", "thermo.txt"
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
    prepare : callable, optional
        Writes further input files into the folder that it is given.
    """

    folder: Path
    script: str
    prepare: Callable[[Path], None] | None = None

    @property
    def running(self) -> Path:
        """Name while it runs."""
        return self.folder.with_name(f".{self.folder.name}.running")

    @property
    def error(self) -> str:
        """First line of what went wrong, or empty."""
        path = self.folder / ERROR
        if not path.exists():
            return ""
        lines = path.read_text().strip().splitlines()
        return next((line for line in lines if "ERROR" in line), lines[-1] if lines else "failed")

    @property
    def finished(self) -> bool:
        """Whether its folder is there.

        Raises
        ------
        ValueError
            The folder was made with another script.
        """
        if not self.folder.exists():
            return False
        if (self.folder / SCRIPT).read_text() != self.script:
            raise ValueError(
                f"{self.folder} was made with other settings than those of now (compare its {SCRIPT}): remove "
                "it, or choose another `folder`"
            )
        return True

    def set_up(self) -> None:
        """Write its input into an empty folder."""
        shutil.rmtree(self.running, ignore_errors=True)
        self.running.mkdir(parents=True)
        write_text(self.running / SCRIPT, self.script)
        if self.prepare is not None:
            self.prepare(self.running)

    def run(self, runs: Runs, stop: Event | None = None) -> "Simulation":
        """Set up, run as processes of its own until the end or until `stop` is set, rename."""
        self.set_up()
        if error := run_script(self.running, SCRIPT, runs.ranks, runs.timeout, stop):
            write_text(self.running / ERROR, error + "\n")
        os.replace(self.running, self.folder)
        return self


def run_all(simulations: Sequence[Simulation], runs: Runs, comm=None) -> Iterator[Simulation]:
    """Run those that are not there yet.

    Parameters
    ----------
    simulations : sequence of Simulation
    runs : Runs
    comm : mpi4py.MPI.Comm, optional
        Ranks to share out in groups of ``runs.ranks``; call on all of them. Without: an ``lmp`` or ``mpirun`` each.

    Yields
    ------
    Simulation
        Each as soon as it is over, the finished ones first; with ranks, when all are over, on rank 0 only.
    """
    if comm is not None:
        yield from _run_in_process(simulations, runs, comm)
        return
    waiting = [s for s in simulations if not s.finished]
    yield from (s for s in simulations if s not in waiting)
    parallel = runs.parallel or max(1, len(os.sched_getaffinity(0)) // runs.ranks)
    threads = ThreadPoolExecutor(parallel)
    try:
        with interruptible() as stop:
            for done in as_completed([threads.submit(s.run, runs, stop) for s in waiting]):
                yield done.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _run_in_process(simulations: Sequence[Simulation], runs: Runs, comm) -> Iterator[Simulation]:
    waiting = comm.bcast([s.folder for s in simulations if not s.finished])
    jobs = [s for s in simulations if s.folder in waiting]
    if comm.rank == 0:
        for s in jobs:
            s.set_up()
    comm.Barrier()
    run_in_process([(s.running, s.folder) for s in jobs], SCRIPT, ERROR, runs.ranks, comm)
    if comm.rank == 0:
        yield from simulations


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
        f'read_data       "{os.path.relpath(data, folder)}"',
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
