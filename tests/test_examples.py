# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts of the examples run as their first lines say."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyuq import lmp

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("script", "columns"), [("in.hal", "tau sigma_E max_f"), ("in.md", "sigma_E max_f")]
)
def test_silver_iodide(script, columns, tmp_path):
    shutil.copytree(EXAMPLES / "agi", tmp_path / "examples" / "agi")
    executable = [lmp.mpirun(), "-np", "2", str(lmp.lammps_executable()), "-log", "none"]
    done = subprocess.run(
        [*executable, "-in", f"examples/agi/{script}"],
        cwd=tmp_path,
        env=lmp.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    lines = done.stdout.splitlines()
    head = next(k for k, line in enumerate(lines) if line.split()[:1] == ["Step"])
    names = lines[head].split()
    assert " ".join(name for name in names if name in columns.split()) == columns
    last = next(k for k, line in enumerate(lines) if line.startswith("Loop time"))
    table = np.array([line.split() for line in lines[head + 1 : last]], dtype=float)
    assert len(table) > 2
    assert (table[:, names.index("sigma_E")] > 0).all()


def test_quickstart_scripts_match_the_reference():
    from pyuq import quickstart, systems

    text = quickstart.production_script(quickstart.FAST, "reference")
    assert all(command in text for command in systems.reference_commands())
