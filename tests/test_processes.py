# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that pyuq starts end with it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pyuq.lmp import guarded

FAMILY = "sleep 60 & echo $! $$ > pids.part; mv pids.part pids; wait"  # a child of a child
OF_LABEL = f"""
import subprocess
from ase.calculators.emt import EMT

class Slow(EMT):
    def calculate(self, *args):
        subprocess.call(["sh", "-c", {FAMILY!r}])
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not waited for does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(program: str, folder: Path, signum: int) -> list[int]:
    """Send a signal to a Python program once it has a family; returns its exit code and who is left of the family."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    pids = folder / "pids"
    while process.poll() is None and not pids.exists():
        time.sleep(0.02)
    process.send_signal(signum)
    code = process.wait(timeout=30)
    family = [int(pid) for pid in pids.read_text().split()]
    patience = time.monotonic() + 30.0
    while any(map(alive, family)) and time.monotonic() < patience:
        time.sleep(0.02)
    return [code, *filter(alive, family)]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_programs_end_with_their_parent(tmp_path, signum):
    program = f"from pyuq.lmp import guarded; guarded(['sh', '-c', {FAMILY!r}]).wait()"
    assert end(program, tmp_path, signum) == [-signum]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_labels_end_with_their_parent(tmp_path, monkeypatch, signum):
    """Neither the structure under way nor those in the queue keep an interrupted command alive."""
    (tmp_path / "slow.py").write_text(OF_LABEL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    program = """
from ase.build import bulk
from pyuq.labels import PoolLabeller
PoolLabeller({"kind": "ase", "calculator": "slow:Slow"}).label([bulk("Cu")] * 3)
"""
    code = end(program, tmp_path, signum)
    assert code == [-signum]


def test_end_of_the_program_is_passed_on():
    for command, code in (("exit 3", 3), ("kill -SEGV $$", -signal.SIGSEGV), ("true", 0)):
        assert guarded(["sh", "-c", command]).wait() == code
    with pytest.raises(FileNotFoundError, match="no-such-program is not an executable"):
        guarded(["no-such-program"])
