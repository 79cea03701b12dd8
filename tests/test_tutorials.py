# SPDX-License-Identifier: GPL-2.0-or-later
"""The tutorials run as they stand: their blocks, in order, in an empty folder; and what they claim is so.

A block behind "Save this as `NAME`:" is written to that file. A ``bash`` block is run. A ``text`` block is output that
the command before it must have printed: the same words, and numbers that are close. There are no other blocks. To make
the pictures of ``docs/images`` anew, run with ``--basetemp=FOLDER`` and copy those that `CLAIMS` names.
"""

import csv
import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from pyuq import lmp
from pyuq.io.thermo import read_table

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/tutorials/*.md"))
BLOCK = re.compile(
    r"(?:as `(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?(?![\w])")
CLOSE = 0.5  # relative; other processors round differently, and atoms move chaotically


@dataclass(frozen=True)
class Block:
    """A block of a page: a file to write, commands to run, or output to compare."""

    kind: str
    text: str
    file: str | None


def blocks(page: str) -> list[Block]:
    """Split a page into its blocks; one that nobody would run is a mistake of the page."""
    found = [Block(m["kind"], m["text"], m["file"]) for m in BLOCK.finditer(page)]
    assert len(found) == page.count("\n```") / 2
    for block in found:
        assert block.file or block.kind in ("bash", "text"), f"not run: {block.text}"
    return found


def environment() -> dict[str, str]:
    """Commands of this Python first on the path, one thread, and nothing else that a user has not."""
    apart = ("PYUQ_", "LAMMPS_", *lmp.LAUNCHER_VARIABLES)
    env = {k: v for k, v in os.environ.items() if not k.startswith(apart)}
    path = os.pathsep.join([sysconfig.get_path("scripts"), env.get("PATH", "")])
    return env | {"PATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def run(text: str, folder: Path) -> str:
    """Run commands; what they print."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", text],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}"
    return done.stdout


def words(line: str) -> str:
    """A line without its numbers, blanks and rules of tables."""
    return " ".join(re.sub(r"[-─]{3,}", "", NUMBER.sub("#", line)).split())


def numbers(line: str) -> list[float]:
    return [float(x) for x in NUMBER.findall(line)]


def compare(shown: str, printed: str) -> None:
    """Each line that a page shows is printed, in this order, with numbers that are close."""
    lines = iter(printed.splitlines())
    for line in filter(str.strip, shown.splitlines()):
        if line.strip() == "...":
            continue
        same = next((x for x in lines if words(x) == words(line)), None)
        assert same is not None, f"not printed: {line}\n{printed[-3000:]}"
        np.testing.assert_allclose(
            numbers(same), numbers(line), rtol=CLOSE, atol=1e-9, err_msg=f"{same}\nshown: {line}"
        )


def follow(page: Path, folder: Path) -> str:
    """Do what a page says; all that was printed."""
    printed = [""]
    for block in blocks(page.read_text()):
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.kind == "text":
            compare(block.text, printed[-1])
        else:
            printed.append(run(block.text, folder))
    return "\n".join(printed)


def first_run(folder: Path, printed: str) -> None:
    """Error and error bar are small at the data, and larger on both sides."""
    found = re.findall(r"^\S+ Å: (\S+) ± (\S+) meV/atom, reference (\S+)$", printed, re.MULTILINE)
    (error, bar), *outside = ([abs(float(e) - float(t)), float(s)] for e, s, t in found)
    assert error < 0.05
    assert len(outside) == 2
    assert all(e > 2 * error and s > 3 * bar for e, s in outside)
    assert "sigma_E" in printed


def posterior(folder: Path, printed: str) -> None:
    """The error bar holds the error at the data, and the grade is large outside."""
    found = re.findall(r"^(\S+) Å: error (\S+), 2σ (\S+) meV/atom, grade (\S+)$", printed, re.M)
    (_, error, two_sigma, inside), (_, _, _, outside) = (map(float, row) for row in found)
    assert error < two_sigma < 30
    assert inside <= 1.2 < 2 < outside


def active_learning(folder: Path, printed: str) -> None:
    """Iterations find structures, all labelled by the program, and each knows where it comes from."""
    frames = read(folder / "run/database.extxyz", ":")
    found = [f for f in frames if f.info.get("iteration", -1) >= 0 and "walker" in f.info]
    assert len(frames) > 3 and found
    results = list((folder / "run/labels/results").glob("*.extxyz"))
    assert len(re.findall(r"^labelled \w{12}$", printed, re.MULTILINE)) == len(results)
    with open(folder / "run/history.csv") as file:
        assert len(list(csv.DictReader(file))) >= 3


def committee(folder: Path, printed: str) -> None:
    """The disagreement grows on heating; the watched run stops before its end, with a frame."""
    table = read_table(folder / "model_devi.out")
    largest = table["max_devi_f"]
    assert largest[-10:].mean() > 1.5 * largest[:10].mean()
    assert "Fix halt condition" in printed
    assert len(read(folder / "uncertain.xyz", ":")) == 1
    assert read_table(folder / "watch.out")["step"][-1] < 2000


def diffusivity(folder: Path, printed: str) -> None:
    """Both ways give the same interval, and it holds D."""
    found = re.findall(r"D = (\S+) Å²/ps, 95 % interval (\S+) to (\S+)$", printed, re.MULTILINE)
    (d, low, high), again = ([float(x) for x in row] for row in found)
    assert 0.1 < d < 0.6
    assert 0 < low < d < high < 2 * d
    np.testing.assert_allclose(again, [d, low, high], atol=6e-4)
    assert (folder / "pyuq-diffusion/report.md").is_file()


def network(folder: Path, printed: str) -> None:
    """Errors are larger where the networks disagree."""
    small, large = map(
        float, re.findall(r"^error where the spread is \w+: (\S+) eV/Å$", printed, re.M)
    )
    assert large > 1.3 * small
    assert (folder / "run/si-samples.md").is_file()


@dataclass(frozen=True)
class Claims:
    """What a page promises: a picture that its commands make, and facts."""

    picture: str
    check: Callable[[Path, str], None]
    needs: str = "pyuq"


CLAIMS = {
    "first-run": Claims("first-run.png", first_run),
    "posterior": Claims("posterior.png", posterior),
    "active-learning": Claims("run/history.png", active_learning),
    "committee": Claims("committee.png", committee),
    "diffusivity": Claims("pyuq-diffusion/diffusion.png", diffusivity),
    "network": Claims("network.png", network, needs="torch"),
}


QUICK = ("first-run", "committee")  # the others take half a minute or more each


def marked(pages: list[Path]) -> list:
    """Return the pages as parameters; slow ones belong to the validate run."""
    slow = pytest.mark.validate
    return [page if page.stem in QUICK else pytest.param(page, marks=slow) for page in pages]


@pytest.mark.parametrize("page", marked(PAGES), ids=lambda page: page.stem)
def test_tutorial(page, tmp_path):
    claims = CLAIMS[page.stem]
    pytest.importorskip(claims.needs, reason=f"this page needs {claims.needs}")
    claims.check(tmp_path, follow(page, tmp_path))
    made, shown = tmp_path / claims.picture, ROOT / f"docs/images/{page.stem}.png"
    assert f"(../images/{shown.name})" in page.read_text()
    assert made.stat().st_size > 5_000 and 5_000 < shown.stat().st_size < 150_000


def test_there_are_six():
    assert {page.stem for page in PAGES} == set(CLAIMS)


def test_the_checks_can_fail(tmp_path):
    """A block that is not run, a command that fails, a word or a number that is not printed."""
    with pytest.raises(AssertionError, match="not run"):
        blocks("text\n\n```python\n1\n```\n")
    with pytest.raises(AssertionError):
        run("false", tmp_path)
    compare("D = 0.20\n...\nend 3", "D = 0.21\nother\nend 3\n")
    with pytest.raises(AssertionError, match="not printed"):
        compare("D = 0.2", "E = 0.2\n")
    with pytest.raises(AssertionError, match="shown"):
        compare("D = 0.2", "D = 0.5\n")
