#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cost of what is asked beside the forces: per-atom uncertainty and extrapolation grade, committees, threads.

``python benchmarks/committee.py`` prints µs per atom and step of one core and the ratio to the plain step. All
variants of a model alternate inside one LAMMPS run. The linear ACE is random, with a random covariance and active
set: the arithmetic does not depend on the numbers. ``--members FILE ... --elements C H`` adds a committee.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from hal_step import SYSTEM, write_model
from safetensors import safe_open
from safetensors.numpy import save_file

from pyuq import lmp as launcher

DEGREES = (14, 12, 10, 7)  # about 700 functions
ASKED = {
    "plain": "",
    "sigma every 1": "fix s all pair 1 uq sigma 1",
    "sigma every 10": "fix s all pair 10 uq sigma 1",
    "grade every 1": "fix s all pair 1 uq grade 1",
    "grade every 10": "fix s all pair 10 uq grade 1",
}
COMMITTEE = {
    "driver 1": ("driver 1", ""),
    "mean": ("", ""),
    "mean and sigma": ("", "fix s all uq/hal tau 0 every 1000000"),
    "driver 1, deviation every 10": (
        "driver 1",
        "fix s all uq/deviation 10 file none",
    ),
}


def add_active_set(path: Path, m: int, rng: np.random.Generator) -> None:
    """Put a random active set into a posterior of one species."""
    with safe_open(path, "np") as archive:
        tensors = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
        metadata = archive.metadata()
    save_file(
        tensors | {"active_inverse": rng.normal(size=m * m)},
        path,
        metadata=metadata,
    )


def loops(script: str, folder: Path, threads: int = 1) -> list[float]:
    """Run a script on one rank; wall µs per atom and step of each of its loops."""
    (folder / "in.bench").write_text(script)
    env = launcher.environment() | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    command = [str(launcher.lammps_executable()), "-in", "in.bench", "-log", "none"]
    out = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(out.stdout[-2000:] + out.stderr[-2000:])
    found = re.findall(
        r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", out.stdout
    )
    return [1e6 * float(t) / (int(steps) * int(n)) for t, steps, n in found]


def table(title: str, names: list[str], times: list[float]) -> None:
    """Medians of variants that alternate, and of their ratios to the first."""
    columns = [times[n :: len(names)] for n in range(len(names))]
    print(f"\n{title}\n{'':32s}{'µs/atom/step':>14s}{'ratio':>8s}")
    for name, column in zip(names, columns, strict=True):
        ratio = statistics.median(a / b for a, b in zip(column, columns[0], strict=True))
        print(f"{name:32s}{statistics.median(column):14.2f}{ratio:8.2f}")


def asked(folder: Path, edge: int, steps: int, repeats: int) -> Path:
    """Per-atom quantities of a linear ACE."""
    rng = np.random.default_rng(1)
    model = folder / "model.uq"
    m = write_model(model, DEGREES, rng)
    add_active_set(model, m, rng)
    script = SYSTEM.format(nx=edge, ny=edge, nz=edge)
    script += f"pair_style uq\npair_coeff * * {model} Ta\nfix n all nve\nrun 2\n"
    for _ in range(repeats):
        for setup in ASKED.values():
            script += f"{setup}\nrun {steps}\n" + ("unfix s\n" if setup else "")
    table(f"linear ACE, {m} functions", list(ASKED), loops(script, folder)[1:])
    return model


def committee(
    folder: Path, files: list[Path], elements: list[str], edge: int, steps: int, repeats: int
) -> None:
    """Several models on a diamond lattice of the first element, every fifth atom of each further one."""
    script = "units metal\natom_modify map yes\nlattice diamond 3.6\n"
    script += f"region box block 0 {edge} 0 {edge} 0 {edge}\n"
    script += f"create_box {len(elements)} box\ncreate_atoms 1 box\nmass * 12.0\n"
    for n in range(2, len(elements) + 1):
        script += f"set type 1 type/fraction {n} 0.2 {n}\n"
    script += "velocity all create 300 1\ntimestep 1e-5\nthermo 100000\nfix n all nve\n"
    names = " ".join(str(file.resolve()) for file in files)
    for _ in range(repeats):
        for style, setup in COMMITTEE.values():
            script += f"pair_style uq {style}\npair_coeff * * {names} {' '.join(elements)}\n"
            script += f"run 1\n{setup}\nrun {steps}\n" + ("unfix s\n" if setup else "")
    table(f"committee of {len(files)}", list(COMMITTEE), loops(script, folder)[1::2])


def threads(folder: Path, model: Path, edge: int, steps: int, repeats: int) -> None:
    """One rank on one and on four threads, in alternation."""
    script = SYSTEM.format(nx=edge, ny=edge, nz=edge)
    script += f"pair_style uq\npair_coeff * * {model} Ta\nfix n all nve\nrun 2\nrun {steps}\n"
    times = [loops(script, folder, n)[1] for _ in range(repeats) for n in (1, 4)]
    table("threads of one rank, plain step", ["1 thread", "4 threads"], times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=10, help="cells along each edge")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--members", type=Path, nargs="+", help="files of a committee")
    parser.add_argument("--elements", nargs="+", help="their elements")
    args = parser.parse_args()
    print(f"host: {os.uname().nodename}, PYUQ_SIMD={os.environ.get('PYUQ_SIMD', 'best')}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = asked(folder, args.edge, args.steps, args.repeats)
        threads(folder, model, args.edge, args.steps, args.repeats)
        if args.members:
            committee(folder, args.members, args.elements, args.edge // 2, args.steps, args.repeats)


if __name__ == "__main__":
    main()
