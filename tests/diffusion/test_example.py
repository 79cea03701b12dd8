# SPDX-License-Identifier: GPL-2.0-or-later
"""The example runs as its README says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from pyuq import systems

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_trajectories_are_made_and_analysed(tmp_path):
    for name in ("agi", "diffusion"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    folder = tmp_path / "diffusion"
    done = subprocess.run(
        [sys.executable, str(folder / "run.py"), "--steps", "300", "--ranks", "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads((folder / "report" / "diffusion.json").read_text())
    assert [c["temperature"] for c in found["conditions"]] == [500, 600, 700]
    assert {r["n_frames"] for r in found["trajectories"]} == {31}
    assert (folder / "report" / "diffusion.png").exists()


def test_script_has_the_reference():
    text = (EXAMPLES / "diffusion" / "in.agi").read_text()
    words = " ".join(text.split())
    assert all(" ".join(line.split()) in words for line in systems.reference_commands())
