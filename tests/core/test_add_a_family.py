# SPDX-License-Identifier: GPL-2.0-or-later
"""A family that only evaluates is its own file and one line: the toy of docs/develop/add-a-family.md."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN, HERE = ROOT / "lammps_plugin", Path(__file__).parent
REGISTRY = PLUGIN / "core/families/registry.cpp"
ROOMS = ["committee", "map", "model", "parallel", "posterior", "simd"]
BESIDE = [
    "math/matrix",
    "math/matrix_kernel",
    "formats/safetensors",
    "formats/sha256",
    "formats/text",
]
BUILT_IN = re.compile(r"core/families/(?!registry)")


def core_without_families() -> list[Path]:
    """Sources that loading and evaluating need, none of which may name a family."""
    found = [p for room in ROOMS for p in sorted((PLUGIN / "core" / room).glob("*.cpp"))]
    found += [PLUGIN / "core" / f"{name}.cpp" for name in BESIDE]
    assert not [p for p in found if BUILT_IN.search(p.read_text())], "the core names a family"
    return found


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """The core with the toy as its only family, whose line replaces those of the others."""
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("no g++")
    nlohmann = pytest.importorskip("nlohmann_json", reason="no header of nlohmann_json")
    include = next(p for p in Path(nlohmann.__file__).parent.rglob("json.hpp")).parents[1]
    folder = tmp_path_factory.mktemp("toy")
    text = REGISTRY.read_text()
    lines = re.findall(r"^  FAMILY\(\w+\).*\n", text, re.M)
    assert len(lines) >= 4, "registry.cpp lists the families another way"
    for line in lines[1:]:
        text = text.replace(line, "")
    (folder / "registry.cpp").write_text(text.replace(lines[0], "  FAMILY(toy)\n"))
    sources = [
        *core_without_families(),
        folder / "registry.cpp",
        HERE / "toy/family.cpp",
        HERE / "toy_driver.cpp",
    ]
    flags = f"-std=c++17 -O0 -pthread -w -DUQ_SIMD_LEVEL=baseline -I{PLUGIN} -I{include}".split()
    objects = []
    for k, source in enumerate(sources):
        objects.append(folder / f"{k}.o")
        subprocess.run([compiler, *flags, "-c", source, "-o", objects[-1]], check=True)
    subprocess.run([compiler, "-pthread", *objects, "-o", folder / "driver"], check=True)
    return folder / "driver"


def run(driver, *files):
    result = subprocess.run([driver, *files], capture_output=True, text=True)
    return result.returncode, result.stdout.splitlines()


def toy(path, silver=0.3):
    path.write_text(f"# a comment\ntoy\n4.0\nAg {silver}\nI -0.2\n")
    return path


def test_toy_family(driver, tmp_path):
    code, lines = run(driver, toy(tmp_path / "a.txt"), toy(tmp_path / "b.txt", silver=0.5))
    assert code == 0, lines
    assert lines[0] == "toy Ag I"
    x = np.array([[0, 0.1, 0], [1.7, 0.2, 0.3], [0.1, 2.1, -0.4], [-0.3, 0.6, 2.4]])
    r = np.linalg.norm(x[:, None] - x, axis=2) + np.eye(4) * 9
    features = np.where(r < 4, (1 - r / 4) ** 2, 0).sum(axis=1)
    silver, iodine = features[[0, 2]].sum(), features[[1, 3]].sum()
    energy, difference, sigma, sigma_difference = map(float, lines[1:])
    assert energy == pytest.approx(0.4 * silver - 0.2 * iodine, rel=1e-13)
    assert sigma == pytest.approx(0.1 * silver, rel=1e-13)  # of two members 0.2 eV apart
    assert difference < 1e-9 and sigma_difference < 1e-9


def test_mistakes_name_file_and_families(driver, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("toy\nfour\nAg 0.3\n")
    assert run(driver, path)[1] == [
        f"error: {path}:2: the cutoff is no number above 0, expected one in Å"
    ]
    path.write_text("MTP\n")
    code, lines = run(driver, path)
    assert code == 1
    assert lines[0].endswith(
        "not a potential of a known format; expected toy.txt or a pyuq posterior (.uq)"
    )


def test_the_page_shows_the_line():
    page = (ROOT / "docs/develop/add-a-family.md").read_text()
    assert "FAMILY(toy)" in page and "tests/core/toy/family.cpp" in page
    for name in re.findall(r"core/[\w/]+\.(?:h|cpp)", page):
        assert (PLUGIN / name).exists() or "NAME" in name or "toy" in name, name
