# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers under the sanitizers of the compiler: damaged files are read or refused, none reaches beyond memory."""

import io
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import naive_mtp
import numpy as np
import pytest
from naive_nep import nep_text
from synthetic import yace
from test_ace_dialects import SMALL_BBASIS
from test_mtp_reader import ALMTP
from test_readers import LEGACY, NETWORK, SMALL

ROOT = Path(__file__).resolve().parents[2]
FILES, SEED = 1500, 20
NUMBERS = b"0 -1 1e999 nan 99999999999 4000000000 2 8 64 65535 1e-320 { } [ ]".split()
NEP = {"elements": ("Ag", "I"), "neurons": 2}


def active_set() -> bytes:
    file = io.BytesIO()
    np.savez(file, Si=np.random.default_rng(8).normal(size=(2, 2)))
    return file.getvalue()


CASES = {  # content, suffix, names of the species
    "mtp": (naive_mtp.mtp_text().encode(), ".mtp", "Al,Si"),
    "almtp": (ALMTP, ".almtp", "Al,Si"),
    "nep": (nep_text(zbl="0.9 1.9", l_max="4 1 1 1 1", **NEP).encode(), ".txt", ""),
    "flexible nep": (nep_text(zbl="0 0", l_max="4 2 1 1 1 1 1", **NEP).encode(), ".txt", ""),
    "yace": (yace(**SMALL).encode(), ".yace", ""),
    "bbasis": (SMALL_BBASIS.encode(), ".yaml", ""),
    "asi": (active_set(), ".asi", ""),
    "ace": (LEGACY, ".ace", ""),
    "network": (NETWORK, ".safetensors", ""),
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """The core and reader_driver.cpp, built with the sanitizers."""
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("no g++ that builds with the sanitizers")
    nlohmann = pytest.importorskip("nlohmann_json", reason="no header of nlohmann_json")
    include = next(p for p in Path(nlohmann.__file__).parent.rglob("json.hpp")).parents[1]
    folder, plugin = tmp_path_factory.mktemp("driver"), ROOT / "lammps_plugin"
    flags = "-std=c++17 -O0 -g1 -pthread -w -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    command = [compiler, *flags.split(), f"-I{plugin}", f"-I{include}", "-DUQ_SIMD_LEVEL=baseline"]
    objects = []
    for k, source in enumerate(
        [*sorted(plugin.glob("core/**/*.cpp")), Path(__file__).parent / "reader_driver.cpp"]
    ):
        objects.append(folder / f"{k}.o")
        subprocess.run([*command, "-c", source, "-o", objects[-1]], check=True)
    subprocess.run([*command, *objects, "-o", folder / "driver"], check=True)
    return folder / "driver"


def mutate(draw: random.Random, data: bytes) -> bytes:
    """One to six damages: bits, pieces, numbers, lines."""
    for _ in range(draw.choice([1, 1, 1, 2, 3, 6])):
        if not data:
            break
        a, kind, lines = draw.randrange(len(data)), draw.randrange(9), data.split(b"\n")
        b = min(len(data), a + draw.randrange(1, 40))
        if kind == 0:
            data = data[:a] + bytes([data[a] ^ (1 << draw.randrange(8))]) + data[a + 1 :]
        elif kind == 1:
            data = data[:a] + data[b:]
        elif kind == 2:
            data = data[:a]
        elif kind == 3:
            data = data[:b] + data[a:b] + data[b:]
        elif kind == 4:
            data = data[:a] + draw.randbytes(draw.randrange(1, 5)) + data[a:]
        elif kind < 7:
            if found := list(re.finditer(rb"-?\d[\d.e+-]*", data[:100_000])):
                number = draw.choice(found)
                data = data[: number.start()] + draw.choice(NUMBERS) + data[number.end() :]
        else:
            lines.insert(draw.randrange(len(lines)), lines[draw.randrange(len(lines))])
            if kind == 8:
                del lines[draw.randrange(len(lines))]
            data = b"\n".join(lines)
    return data


@pytest.mark.validate
@pytest.mark.parametrize("case", CASES)
def test_damaged_files_stay_within_memory(driver, tmp_path, case):
    data, suffix, names = CASES[case]
    draw, paths = random.Random(SEED), []
    for k in range(FILES):
        path = tmp_path / f"damaged{k}{suffix}"
        path.write_bytes(mutate(draw, data) if k else data)
        if suffix == ".asi":
            path = path.with_suffix(".yaml")
            path.write_text(SMALL_BBASIS)
        paths.append(f"{path}|{names}" if names else str(path))
    limits = {"ASAN_OPTIONS": "detect_leaks=0:max_allocation_size_mb=4000"}
    run = subprocess.run(
        [driver],
        input="\n".join(paths) + "\n",
        capture_output=True,
        text=True,
        env=os.environ | limits,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    read, refused, faults = map(int, run.stdout.split()[-3:])
    assert read + refused == FILES and read > 0 and refused > FILES // 3 and faults == 0
