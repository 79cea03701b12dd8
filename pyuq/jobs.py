# SPDX-License-Identifier: GPL-2.0-or-later
"""A LAMMPS job in a folder: started, judged, and complete only when its files are checked and on the disk.

How a job ended is judged by what LAMMPS wrote, never by an exit code: launchers return the signal of a rank as it is,
as 128 + n, or joined bit by bit with that of the ranks that they kill in turn, and LAMMPS itself ends with 0 on a full
disk. There are three ends.

- LAMMPS stopped with an error of its own (a line that begins with ``ERROR``), or ran past its time: this is the job's
  result, kept in ``error.txt``.
- LAMMPS came to its end, and the files that the job is for hold what they should: complete.
- Anything else (a rank that was killed, a segmentation fault, a full disk, a lack of memory) says nothing of the
  script: the job did not run, :class:`NotRunError`. It is done again from its beginning.
"""

import errno
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyuq import log
from pyuq.brief import brief
from pyuq.errors import InputError, RunError
from pyuq.io.dump import LammpsDump
from pyuq.io.files import sync_folder, sync_tree, write_text
from pyuq.lmp import (
    POLL,
    environment,
    executable,
    guarded,
    interruptible,
    lammps,
    launched,
)

SCREEN, LOG, ERROR = "screen.txt", "log.lammps", "error.txt"

LAMMPS_ERROR = re.compile(r"^ERROR(?: on proc \d+)?: .*", re.MULTILINE)

# What an error of LAMMPS says where the machine is at fault, and not the script or the physics.
MACHINE = re.compile(
    "|".join(
        [
            *(
                re.escape(os.strerror(number))
                for number in (
                    errno.ENOSPC,
                    errno.EDQUOT,
                    errno.EFBIG,
                    errno.EIO,
                    errno.ENOMEM,
                    errno.EMFILE,
                    errno.ENFILE,
                    errno.EROFS,
                    errno.ESTALE,
                )
            ),
            r"Failed to (?:re)?allocate",
            "bad_alloc",
            "std::bad_array_new_length",
        ]
    )
)
ROOM = 2**16  # bytes; with less, an error of LAMMPS may be that of the disk
WORDS_KEPT = 3  # last lines of the output, in a message


class NotRunError(RunError):
    """A job was ended from outside or left files that are not whole: this says nothing of its script."""


@brief()
@dataclass(frozen=True)
class Job:
    """An input script in a folder, which gets its final name when the job is over.

    Attributes
    ----------
    running : Path
        The folder with the script, under a temporary name on the same disk.
    final : Path
        Its name when the job is over.
    script : str
        File name in the folder.
    check : callable
        Takes the folder and raises ValueError, with the file and what is wrong in it, unless the job's files are
        complete. It is asked only where LAMMPS ended without an error.
    prepare : callable, optional
        Makes the folder with the script in it, just before it runs; default: it is there.
    """

    running: Path
    final: Path
    script: str
    check: Callable[[Path], object]
    prepare: Callable[[], object] = lambda: None


def run_jobs(
    jobs: Sequence[Job],
    ranks: int,
    timeout: float,
    parallel: int | None = None,
    comm=None,
    over: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run jobs, several at a time.

    Parameters
    ----------
    jobs : sequence of Job
    ranks : int
        MPI ranks of a job.
    timeout : float
        Longest time of a job, s; without effect on jobs in the ranks of `comm`.
    parallel : int, optional
        Jobs at a time; default: as many as the processors of this process allow.
    comm : mpi4py.MPI.Comm, optional
        Ranks to share out; call on all of them. Without: one ``lmp`` or ``mpirun`` for each job.
    over : callable
        Called with each job as soon as it is over; with `comm` on rank 0, when all are.

    Raises
    ------
    NotRunError
        A job did not run; those that are over are kept.
    InterruptedError
        The command was interrupted.
    """
    if comm is not None:
        run_in_ranks(jobs, ranks, comm)
        if comm.rank == 0:
            for job in jobs:
                over(job)
        return
    parallel = parallel or max(1, len(os.sched_getaffinity(0)) // ranks)
    threads = ThreadPoolExecutor(parallel)
    try:
        with interruptible() as stop:
            futures = {threads.submit(run, job, ranks, timeout, stop): job for job in jobs}
            for future in as_completed(futures):
                future.result()
                over(futures[future])
    finally:
        threads.shutdown(cancel_futures=True)


def run(job: Job, ranks: int, timeout: float, stop: threading.Event | None = None) -> None:
    """Run a job as processes of its own and give its folder the final name.

    Raises
    ------
    NotRunError, InterruptedError
        See :func:`launch`; the folder keeps its temporary name.
    """
    job.prepare()
    error = launch(job.running, job.script, ranks, timeout, job.check, stop)
    if error:
        write_text(job.running / ERROR, error + "\n")
    _conclude(job)


def launch(
    folder: Path,
    script: str,
    ranks: int,
    timeout: float,
    check: Callable[[Path], object],
    stop: threading.Event | None = None,
    log: str = LOG,
    screen: str = SCREEN,
) -> str:
    """Run an input script with ``lmp`` in its folder, and judge how it ended.

    Parameters
    ----------
    folder : Path
    script, log, screen : str
        File names in the folder.
    ranks : int
        MPI ranks; more than one by ``mpirun``.
    timeout : float
        Longest time, s.
    check : callable
        See :attr:`Job.check`.
    stop : threading.Event, optional
        Ends it when set.

    Returns
    -------
    str
        Empty, or LAMMPS's error.

    Raises
    ------
    NotRunError
        It did not come to an end of its own, or its files are not whole.
    InterruptedError
        `stop` is set.
    FileNotFoundError
        No LAMMPS, or no launcher.
    """
    command = launched([executable(), "-in", script, "-log", log, "-nocite"], ranks)
    with open(folder / screen, "wb") as output:
        process = guarded(
            command,
            cwd=folder,
            env=environment(launched=False),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = _wait(process, timeout, stop)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return f"timed out after {timeout:g} s"
            raise
    said = (folder / screen).read_text(errors="replace")
    if code == 0:
        require_whole(folder, check)
        return ""
    found = LAMMPS_ERROR.search(said)
    if found and not MACHINE.search(said) and _free(folder) > ROOM:
        return found[0]
    if found:
        why = f"was ended by the machine, not by its script ({found[0]}; {_free(folder) / 2**20:.1f} MiB free)"
    else:
        words = [line.strip() for line in said.split("\n") if line.strip()][-WORDS_KEPT:]
        why = f"was killed ({_ended(code)}): LAMMPS named no error of the script"
        why += f"; the last words were: {' | '.join(words)}" if words else ""
    raise NotRunError(
        f"{' '.join(command)} in {folder} {why}. Begin again when the reason is gone (memory, disk, time limit of the "
        "queue, a crash); what is finished is kept"
    )


def _free(folder: Path) -> int:
    """Bytes that its disk has left."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def require_whole(folder: Path, check: Callable[[Path], object]) -> None:
    """Refuse the files of a job that are not whole, though LAMMPS came to its end.

    Raises
    ------
    NotRunError
        Names the file, and how much room the disk has.
    """
    try:
        check(folder)
    except (ValueError, OSError) as error:
        raise NotRunError(
            f"LAMMPS ended in {folder}, but its files are not whole: {error}. Is the disk full "
            f"({_free(folder) / 2**20:.1f} MiB free)? Make room and begin again; what is "
            "finished is kept"
        ) from error


def _ended(code: int) -> str:
    """How a process ended, for a message; a launcher's code is not to be trusted."""
    number = -code if code < 0 else code - 128
    if code < 0 or number in set(signal.Signals):
        return f"exit code {code}, {signal.Signals(number).name}"
    return f"exit code {code}"


def _wait(process: subprocess.Popen, timeout: float, stop: threading.Event | None) -> int:
    """Exit code of a process."""
    end = time.monotonic() + timeout
    while True:
        if stop is not None and stop.is_set():
            raise InterruptedError("interrupted")
        left = end - time.monotonic()
        try:
            return process.wait(min(left, POLL))
        except subprocess.TimeoutExpired:
            if left <= POLL:
                raise


def _conclude(job: Job) -> None:
    """Bring a folder to the disk, and only then give it its final name."""
    sync_tree(job.running)
    os.replace(job.running, job.final)
    sync_folder(job.final.parent)


def run_in_ranks(jobs: Sequence[Job], ranks: int, comm) -> None:
    """Run jobs in the ranks of this one, several at a time on sub-communicators.

    Parameters
    ----------
    jobs : sequence of Job
    ranks : int
        For each script.
    comm : mpi4py.MPI.Comm
        Called on all its ranks. Those that do not fill a group of `ranks` wait.

    Raises
    ------
    InputError
        There are fewer ranks than one script needs.
    NotRunError
        On rank 0: files of a job are not whole.
    """
    if comm.size < ranks:
        raise InputError(f"a simulation needs {ranks} ranks, this job has {comm.size}")
    ngroups = comm.size // ranks
    group = comm.rank // ranks
    part = comm.Split(min(group, ngroups), comm.rank)
    home, problems = Path.cwd(), []
    try:
        if group < ngroups:
            problems = [_run_in_part(job, part) for job in jobs[group::ngroups]]
    finally:
        os.chdir(home)
        part.Free()
    found = comm.gather([text for text in problems if text])
    if comm.rank == 0 and (texts := [text for texts in found for text in texts]):
        raise NotRunError(texts[0])


def _run_in_part(job: Job, comm) -> str:
    """Run a job on the ranks of a communicator; return why it did not run, on its rank 0."""
    if comm.rank == 0:
        job.prepare()
    comm.Barrier()
    os.chdir(job.running)
    lmp = lammps(comm=comm, cmdargs=["-screen", "none", "-log", LOG, "-nocite"])
    problem, failed = "", False
    try:
        lmp.file(job.script)
    except Exception as error:
        # An error of one rank only leaves the others waiting in LAMMPS: note it and end the job. The next
        # call of the same command finds the note and goes on from there.
        alone = type(error).__name__ == "MPIAbortException" and comm.size > 1
        failed = True
        if MACHINE.search(str(error)):
            problem = (
                f"LAMMPS did not run in {job.running}: {error}. Begin again when the reason is gone"
            )
        elif alone or comm.rank == 0:
            write_text(job.running / ERROR, f"{error}\n")
        if alone:
            if problem:
                log.LOGGER.error(problem)
            else:
                _conclude(job)
            comm.Abort(1)
    lmp.close()
    os.chdir(job.running.parent)
    comm.Barrier()
    if comm.rank == 0 and not problem:
        try:
            if not failed:
                require_whole(job.running, job.check)
            _conclude(job)
        except (OSError, NotRunError) as error:
            problem = str(error)
    return problem if comm.rank == 0 else ""


def error_of(folder: Path) -> str:
    """LAMMPS's error that a job ended with, one line, or empty."""
    path = folder / ERROR
    if not path.exists():
        return ""
    lines = path.read_text().strip().splitlines()
    return next((line for line in lines if "ERROR" in line), lines[-1] if lines else "failed")


def check_data(path: Path) -> None:
    """Refuse a file of ``write_data`` that does not hold positions and velocities of all its atoms.

    Raises
    ------
    InputError
        Names the file and the section.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    lines = path.read_text(errors="replace").split("\n")
    natoms = next((int(line.split()[0]) for line in lines if line.endswith(" atoms")), 0)
    for section in ("Atoms", "Velocities"):
        start = next(
            (k + 2 for k, line in enumerate(lines) if line.startswith(section)), len(lines)
        )
        # What stands before the last "\n" of the file is whole.
        rows = [line.split() for line in lines[start : min(start + natoms, len(lines) - 1)]]
        whole = len({row[0] for row in rows if row}) == natoms > 0
        if not whole or any(len(row) != len(rows[0]) for row in rows):
            raise InputError(
                f"{path}: expected {section} of {natoms} atoms, found {len(rows)} rows, not all whole"
            )


def check_rows(path: Path, count: int | None = None) -> np.ndarray:
    """Read a file of ``fix ave/time``, or refuse one whose rows are not whole.

    Parameters
    ----------
    path : Path
    count : int, optional
        Rows that it must have.

    Returns
    -------
    ndarray, shape (rows, columns)

    Raises
    ------
    InputError
        Names the file and what was found.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    text = path.read_text(errors="replace")
    try:
        rows = np.array(
            [[float(w) for w in line.split()] for line in text.splitlines() if line[:1] != "#"]
        )
    except ValueError as error:
        raise InputError(f"{path}: damaged, {error}") from error
    if not text.endswith("\n") or rows.ndim != 2 or (count is not None and len(rows) != count):
        wanted = "whole rows" if count is None else f"{count} rows"
        raise InputError(
            f"{path}: expected {wanted}, found {len(rows)}, the last of them perhaps cut short"
        )
    return rows


def check_dump(path: Path, steps: int, every: int) -> None:
    """Refuse a dump that does not hold all frames of a run from step 0.

    Parameters
    ----------
    path : Path
    steps, every : int
        Of the run, and from frame to frame.

    Raises
    ------
    InputError
        Names the file, how many frames were found, and how many were expected.
    """
    found = [frame.step for frame in LammpsDump(path)]
    expected = list(range(0, steps + 1, every))
    if found != expected:
        last = f", the last of step {found[-1]}" if found else ""
        raise InputError(
            f"{path}: expected {len(expected)} frames, the last of step {expected[-1]}, found {len(found)}{last}"
        )
