#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cost of what is asked beside the forces: per-atom uncertainty and extrapolation grade, committees, threads.

``python benchmarks/committee.py`` prints µs per atom and step of one rank and the ratio to the plain step: processor
time, so that other jobs on the machine disturb little; of threads the time on the wall. The
variants of a table alternate inside one LAMMPS run. The linear ACE is random, with a random covariance and active
set: the arithmetic does not depend on the numbers. The committees are five linear ACEs of its basis; with the data
folder, five MTPs of equal moments and five NEPs of C-H; without it, five random NEPs for bcc Ta.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from families import CASES, DATA, Case, supercell
from hal_step import CUTOFF, SYSTEM, write_model
from rom_step import write_nep
from safetensors import safe_open
from safetensors.numpy import save_file

from pyuq import _core
from pyuq import lmp as launcher
from pyuq.io.lammps_data import write_data
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.yace import format_yace

DEGREES = (14, 12, 10, 7)  # about 700 functions
# Keywords of the pair style and what is asked beside it.
ASKED = {"plain": ("", "")} | {
    f"{quantity} every {n}, {precision}": (
        f"precision {precision}",
        f"fix s all pair {n} uq {quantity} 1",
    )
    for precision in ("double", "mixed")
    for quantity in ("sigma", "grade")
    for n in (1, 10)
}
COMMITTEE = {
    "one": ("driver 1", ""),
    "mean": ("", ""),
    "mean and sigma_E": ("", "fix s all uq/hal tau 0 every 1000000"),
    "biased": ("", "fix s all uq/hal tau 0.1"),
    "one, force spread every 1": ("driver 1", "fix s all uq/deviation 1 file none"),
    "one, force spread every 10": ("driver 1", "fix s all uq/deviation 10 file none"),
}


def add_active_set(path: Path, m: int, rng: np.random.Generator) -> None:
    """Put a random active set into a posterior of one species."""
    with safe_open(path, "np") as archive:
        tensors = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
        metadata = archive.metadata()
    tensors["active_inverse"] = rng.normal(size=m * m)
    save_file(tensors, path, metadata=metadata)


def loops(script: str, folder: Path, threads: int = 1, cpu: bool = True) -> list[float]:
    """Run a script on one rank; µs per atom and step of each second loop, which the first has warmed up."""
    (folder / "in.bench").write_text(script)
    env = launcher.environment() | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    command = [str(launcher.lammps_executable()), "-in", "in.bench", "-log", "none"]
    out = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(out.stdout[-2000:] + out.stderr[-2000:])
    pattern = r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms.*?(\S+)% CPU use"
    found = [[float(x) for x in loop] for loop in re.findall(pattern, out.stdout, re.DOTALL)]
    share = 0.01 if cpu else 0.0
    return [1e6 * t * (share * use or 1) / (s * n) for t, s, n, use in found[1::2]]


def table(title: str, names: list[str], times: list[float]) -> None:
    """Medians of variants that alternate, and of their ratios to the first."""
    columns = [times[n :: len(names)] for n in range(len(names))]
    print(f"\n{title}\n{'':32s}{'µs/atom/step':>14s}{'ratio':>8s}")
    for name, column in zip(names, columns, strict=True):
        ratio = statistics.median(a / b for a, b in zip(column, columns[0], strict=True))
        print(f"{name:32s}{statistics.median(column):14.2f}{ratio:8.2f}", flush=True)


def alternate(
    system: str, coeff: str, variants: dict[str, tuple[str, str]], steps: int, repeats: int
) -> str:
    """Return a script that runs all variants of a pair style in turn, `repeats` times."""
    script = system + "fix n all nve\n"
    for _ in range(repeats):
        for style, setup in variants.values():
            script += f"pair_style uq {style}\npair_coeff * * {coeff}\n{setup}\nrun 10\n"
            script += f"run {steps}\n" + ("unfix s\n" if setup else "")
    return script


def tantalum(edge: int) -> str:
    """Return the commands of a bcc crystal."""
    return SYSTEM.format(nx=edge, ny=edge, nz=edge)


def linear_model(folder: Path, edge: int) -> tuple[str, str]:
    """Return the commands of a structure, and a linear ACE with covariance and active set, with its element."""
    rng = np.random.default_rng(1)
    model = folder / "model.uq"
    m = write_model(model, DEGREES, rng)
    add_active_set(model, m, rng)
    return tantalum(edge), f"{model} Ta"


def five_linear(folder: Path, edge: int) -> tuple[str, str]:
    """Return the same of five linear ACEs of one basis."""
    rng = np.random.default_rng(1)
    basis = ACEBasis(("Ta",), cutoff=CUTOFF, order=len(DEGREES), degree=DEGREES)
    files = [folder / f"{n}.yace" for n in range(5)]
    for file in files:
        file.write_text(format_yace(basis, rng.normal(scale=1e-5, size=basis.nfunctions)))
    return tantalum(edge), " ".join([*map(str, files), "Ta"])


def crystal(folder: Path, case: Case) -> str:
    """Return the commands of a case's structure."""
    write_data(folder / "atoms.data", supercell(case.structure()), case.elements)
    system = f"units metal\natom_modify map yes\nread_data {folder / 'atoms.data'}\n"
    return system + "velocity all create 300 1\ntimestep 1e-4\nthermo 100000\n"


def five_moment_tensor(folder: Path, edge: int) -> tuple[str, str]:
    """Return the same of five MTPs with other coefficients of the moments."""
    case = CASES["MTP cubic L20"]
    head, tail = (DATA / case.files[0]).read_text().rsplit("moment_coeffs", 1)
    numbers = np.array(re.findall(r"[-+.\de]+", tail), dtype=float)
    files = [folder / f"{n}.mtp" for n in range(5)]
    for n, file in enumerate(files):
        values = ", ".join(map(str, (1 + 1e-3 * n) * numbers))
        file.write_text(f"{head}moment_coeffs = {{{values}}}\n")
    return crystal(folder, case), " ".join(map(str, [*files, *case.elements]))


def five_networks(folder: Path, edge: int) -> tuple[str, str]:
    """Return the same of five NEPs."""
    case = CASES["NEP CH, five"]
    files = [DATA / file for file in case.files]
    if all(file.is_file() for file in files):
        return crystal(folder, case), " ".join(map(str, [*files, *case.elements]))
    print(f"\nno {files[0]}: random NEPs instead")
    files = [folder / f"{n}.txt" for n in range(5)]
    for n, file in enumerate(files):
        write_nep(file, np.random.default_rng(n))
    return tantalum(edge), " ".join([*map(str, files), "Ta"])


TABLES = {
    "linear ACE": (ASKED, linear_model),
    "five linear ACEs": (COMMITTEE, five_linear),
    "five MTPs": (COMMITTEE, five_moment_tensor),
    "five NEPs": (COMMITTEE, five_networks),
}


def threads(folder: Path, args: argparse.Namespace) -> list[float]:
    """Times on the wall of the plain step by one, two and four threads in turn."""
    script = alternate(*linear_model(folder, args.edge), {"": ("", "")}, args.steps, 1)
    return [loops(script, folder, n, cpu=False)[0] for _ in range(args.repeats) for n in (1, 2, 4)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=10, help="bcc cells along each edge")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=[*TABLES, "threads"], help="one table")
    args = parser.parse_args()
    print(f"kernels: {os.environ.get('PYUQ_SIMD') or _core.simd_level()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, (variants, make) in TABLES.items():
            if args.only not in (None, title):
                continue
            if make is five_moment_tensor and not DATA.is_dir():
                print(f"\n{title}: skipped, no {DATA}")
                continue
            script = alternate(*make(folder, args.edge), variants, args.steps, args.repeats)
            table(title, list(variants), loops(script, folder))
        if args.only in (None, "threads"):
            names = ["1 thread", "2 threads", "4 threads"]
            table("threads of one rank, plain step", names, threads(folder, args))


if __name__ == "__main__":
    main()
