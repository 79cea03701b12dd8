# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts of the examples run as their first lines say."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyuq import lmp
from pyuq.hal.settings import load_settings

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name, script, folder, *arguments):
    """Run a script of an example in a copy; lines of the output."""
    ignore = shutil.ignore_patterns("work")  # what a study has left there
    shutil.copytree(EXAMPLES / name, folder / "examples" / name, ignore=ignore)
    executable = [lmp.mpirun(), "-np", "2", str(lmp.lammps_executable()), "-log", "none"]
    done = subprocess.run(
        [*executable, "-in", f"examples/{name}/{script}", *arguments],
        cwd=folder,
        env=lmp.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "columns"), [("in.hal", "tau sigma_E max_f"), ("in.md", "sigma_E max_f")]
)
def test_silver_iodide(script, columns, tmp_path):
    lines = run_example("agi", script, tmp_path)
    head = next(k for k, line in enumerate(lines) if line.split()[:1] == ["Step"])
    names = lines[head].split()
    assert " ".join(name for name in names if name in columns.split()) == columns
    last = next(k for k, line in enumerate(lines) if line.startswith("Loop time"))
    table = np.array([line.split() for line in lines[head + 1 : last]], dtype=float)
    assert len(table) > 2
    assert (table[:, names.index("sigma_E")] > 0).all()


def test_network_of_silicon(tmp_path):
    lines = run_example("bnn-si", "in.hal", tmp_path, "-var", "steps", "60")
    assert "network" in "\n".join(lines)
    series = np.loadtxt(tmp_path / "biased.dat")
    assert len(series) > 5
    assert (series[:, 1:3] > 0).all()


def test_committee_of_two_families(tmp_path):
    lines = run_example("mgsbbi", "in.committee", tmp_path, "-var", "steps", "40")
    text = "\n".join(lines)
    assert "ace, 1113 readout weights" in text
    assert "mtp, 95 readout weights" in text
    series = np.loadtxt(tmp_path / "model_devi.out")
    np.testing.assert_array_equal(series[:, 0], [0, 20, 40])
    atoms = np.loadtxt(tmp_path / "spread.dump", skiprows=9)
    assert len(atoms) == 720
    assert ((atoms[:, 5] > 0) & (atoms[:, 5] < atoms[:, 6])).mean() > 0.9
    assert atoms[:, 5].mean() == pytest.approx(series[1:, 6].mean(), rel=1e-4)
    picture = EXAMPLES / "mgsbbi" / "picture.py"
    done = subprocess.run(
        [sys.executable, str(picture), "."], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| octahedral Mg | 144 |" in done.stdout
    assert (tmp_path / "spread.png").stat().st_size > 10_000


def thermal_motion(folder, *potentials):
    """Run motion.py, cut short; what it prints."""
    here = folder / "examples" / "mgsbbi"
    ignore = shutil.ignore_patterns("work")
    shutil.copytree(EXAMPLES / "mgsbbi", here, ignore=ignore, dirs_exist_ok=True)
    changes = [
        *(
            "md.steps=1500",
            "md.every=10",
            "md.equilibration=200",
            "propagate.convergence=[10, 117]",
        ),
        *("basis.modes=40", "basis.replicas=2", "propagate.repeats=2", "sampler.samples=3"),
    ]
    return subprocess.run(
        [sys.executable, "motion.py", *potentials, *(w for c in changes for w in ("--set", c))],
        cwd=here,
        env=lmp.environment(launched=False) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def motion_table(text, heading):
    """Rows of the table under a heading: name to numbers of Mg, Sb, Bi, errors left out."""
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = [line.strip("| ").split(" | ") for line in lines[first + 2 : lines.index("", first)]]
    return {
        name: [float(c.split("±")[0]) for c in cells]
        for name, *cells in rows
        if "–" not in cells[0]
    }


def test_thermal_motion_between_two_families(tmp_path):
    done = thermal_motion(tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    b = motion_table(done.stdout, "300 K, B (Å²)")
    # Fewer modes, stiffer crystal; all of them are the full dynamics.
    assert (np.array(b["ace, 10 modes"]) < 0.7 * np.array(b["ace, 117 modes"])).all()
    np.testing.assert_allclose(b["ace, 117 modes"], b["ace, full"], rtol=0.5)
    frequency = motion_table(done.stdout, "300 K, mean frequency (THz)")
    for table in (frequency["ace, full"], frequency["mtp, full"]):
        assert 7 > table[0] > table[1] > table[2] > 1  # the heavier, the slower
    work = tmp_path / "examples" / "mgsbbi" / "work" / "ace-mtp"
    assert (work / "motion.png").stat().st_size > 10_000
    assert (work / "motion.md").read_text() in done.stdout


def test_thermal_motion_of_the_published_pair(tmp_path, shared_data):
    nep, mtp = shared_data / "nep/pot/MgSbBi_NEP4.txt", shared_data / "mtp/pot/MgSbBi_L20.mtp"
    if not (nep.is_file() and mtp.is_file()):
        pytest.skip("the published potentials are not there")
    done = thermal_motion(tmp_path, f"nep={nep}", f"mtp={mtp}:Mg,Bi,Sb")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    b = motion_table(done.stdout, "300 K, B (Å²)")
    assert all(0.4 < x < 4 for label in ("nep", "mtp") for x in b[f"{label}, full"])


@pytest.mark.parametrize(
    ("potential", "message"),
    [("nep=none.txt", "no file none.txt: the published pair is at https"), ("x", "LABEL=FILE")],
)
def test_thermal_motion_needs_potentials(tmp_path, potential, message):
    done = thermal_motion(tmp_path, potential)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_bias_of_a_committee(tmp_path):
    lines = run_example("ch-committee", "in.hal", tmp_path, "-var", "steps", "200")
    assert sum("ace, 512 readout weights, no posterior" in line for line in lines) == 5
    table = np.loadtxt(tmp_path / "biased.txt")
    np.testing.assert_array_equal(table[:, 0], np.arange(0, 201, 10))
    tau, sigma = table[:, 2], table[:, 3]
    assert (tau[:10] == 0).all()
    assert (tau[12:] > 0).all()
    assert sigma[15:].mean() > 1.2 * sigma[2:11].mean()  # the bias has found a direction
    assert (tmp_path / "found.data").exists()


def test_random_basis_of_silver_iodide(tmp_path):
    lines = run_example("agi-diffusivity", "in.rom", tmp_path, "-var", "steps", "100")
    assert not any("WARNING: fix uq/rom" in line for line in lines)
    head = next(k for k, line in enumerate(lines) if line.split()[:1] == ["Step"])
    table = np.array([line.split() for line in lines[head + 1 : head + 12]], dtype=float)
    values = dict(zip(lines[head].split(), table.T, strict=True))
    assert np.ptp(values["Econserve"]) < 0.005
    assert ((values["residual"] > 0.1) & (values["residual"] < 0.9)).all()
    assert values["msd_Ag"][-1] > 0.3


def test_quickstart_scripts_match_the_reference():
    from pyuq import systems
    from pyuq.verbs import run_quickstart as quickstart

    text = quickstart.production_script(quickstart.FAST, "reference")
    assert all(command in text for command in systems.reference_commands())


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/hal.toml")), ids=lambda p: p.parent.name)
def test_settings_of_loops_are_valid(path):
    assert load_settings(path).elements


def test_error_bars_for_copper(tmp_path):
    """The commands of the README, the heating cut short."""
    folder = tmp_path / "posterior"
    shutil.copytree(
        EXAMPLES / "posterior", folder, ignore=shutil.ignore_patterns("Cu.uq", "*.extxyz")
    )
    (folder / "expansion.png").unlink()
    readme = (folder / "README.md").read_text()
    block = readme.split("```bash\n")[1].split("```")[0]
    commands = [line.split("#")[0].split() for line in block.splitlines()[1:]]
    assert [c[0] for c in commands] == ["python", "pyuq", "pyuq", "python", "lmp"]
    for command in commands:
        if command[0] == "lmp":
            command = [str(lmp.lammps_executable()), *command[1:], "-var", "steps", "400"]
        elif command[0] == "pyuq":
            command = [sys.executable, "-m", *command]
        else:
            command = [sys.executable, *command[1:]]
        done = subprocess.run(
            command,
            cwd=folder,
            env=lmp.environment() | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "grade" in done.stdout
    assert (folder / "expansion.png").stat().st_size > 10_000
    report = (folder / "Cu.calibration.md").read_text()
    assert "recalibrated" in report
