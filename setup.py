# SPDX-License-Identifier: GPL-2.0-or-later
"""Build: CMake makes the LAMMPS plugin and the core library, Cython the bindings on that library.

Environment variables
---------------------
PYUQ_LAMMPS_HEADER_DIR
    Folder of LAMMPS's ``pair.h``; default: the headers inside the ``lammps`` package.
PYUQ_MPI_INCLUDE_DIR
    Folder of ``mpi.h``; default: the one of the ``mpich`` package.
PYUQ_JSON_INCLUDE_DIR
    Folder of ``nlohmann/json.hpp``; default: the one of the ``nlohmann-json`` package.
PYUQ_BUILD_JOBS
    Parallel compile jobs; default: the number of processors.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
PLUGIN = "pyuq.uqplugin"


def header_dir(variable: str, distribution: str, header: str) -> str:
    """Folder of a header: from the environment, else from the files of an installed distribution."""
    if folder := os.environ.get(variable):
        if not (Path(folder) / header).is_file():
            raise SystemExit(f"{variable}={folder} does not contain {header}")
        return folder
    depth = len(Path(header).parts)
    for path in metadata.files(distribution) or []:
        if path.parts[-depth:] == Path(header).parts:
            return str(Path(path.locate()).resolve().parents[depth - 1])
    raise SystemExit(
        f"no {header} in the package {distribution}; install it or set {variable} to the folder that holds it"
    )


class BuildPy(build_py):
    """Carry the plugin's sources along, for ``pyuq build-plugin``; an editable install has them already."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "pyuq" / "plugin_sources"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / "lammps_plugin", target / "lammps_plugin")
        shutil.copy2(ROOT / "CMakeLists.txt", target)


class BuildExt(build_ext):
    """Run CMake first, then the ordinary extension build."""

    def run(self):
        # An editable install keeps its build folder, so that the next one compiles only what changed.
        folder = ROOT / "build" / "editable" if self.editable_mode else Path(self.build_temp)
        self.cmake_dir = folder.resolve() / "cmake"
        self.run_cmake()
        for extension in self.extensions:
            if extension.name != PLUGIN:
                extension.extra_objects = [str(self.cmake_dir / "libuqcore.a")]
        super().run()

    def run_cmake(self):
        """Configure and build the targets uqcore and uqplugin."""
        jobs = os.environ.get("PYUQ_BUILD_JOBS", str(len(os.sched_getaffinity(0))))
        headers = {
            "UQ_LAMMPS_HEADERS": header_dir("PYUQ_LAMMPS_HEADER_DIR", "lammps", "pair.h"),
            "UQ_MPI_INCLUDE": header_dir("PYUQ_MPI_INCLUDE_DIR", "mpich", "mpi.h"),
            "UQ_JSON_INCLUDE": header_dir(
                "PYUQ_JSON_INCLUDE_DIR", "nlohmann-json", "nlohmann/json.hpp"
            ),
        }
        self.cmake_dir.mkdir(parents=True, exist_ok=True)
        # A CMakeCache from another build environment names a CMake that no longer exists.
        (self.cmake_dir / "CMakeCache.txt").unlink(missing_ok=True)
        definitions = [f"-D{name}={value}" for name, value in headers.items()]
        subprocess.run(
            ["cmake", "-S", ROOT, "-B", self.cmake_dir, "-G", "Ninja", *definitions], check=True
        )
        subprocess.run(["cmake", "--build", self.cmake_dir, "-j", jobs], check=True)

    def build_extension(self, ext):
        """Copy the plugin that CMake made; compile the others."""
        if ext.name != PLUGIN:
            return super().build_extension(ext)
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.copy_file(str(self.cmake_dir / "uqplugin.so"), str(target))

    def get_ext_filename(self, fullname):
        """LAMMPS loads only names that end in ``plugin.so``: no ABI tag for the plugin."""
        if fullname.endswith("uqplugin"):
            return str(Path(*fullname.split("."))) + ".so"
        return super().get_ext_filename(fullname)


bindings = cythonize(
    [
        Extension(
            f"pyuq._{name}",
            [f"cython/{name}.pyx"],
            include_dirs=[numpy.get_include(), "lammps_plugin"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            extra_compile_args=["-std=c++17", "-O3", "-fvisibility=hidden"],
            language="c++",
        )
        for name in ("core", "dump")
    ],
    language_level=3,
)

if sys.platform != "linux":
    raise SystemExit(f"pyuq runs on Linux; this is {sys.platform}")

setup(
    ext_modules=[Extension(PLUGIN, []), *bindings],
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
)
