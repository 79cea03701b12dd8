#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Cost of fix uq/rom: a step in a reduced basis beside a plain step of a NEP.

``python benchmarks/rom_step.py`` prints µs per atom and step of one core (loop time × ranks / atoms / steps). The
variants alternate inside one LAMMPS run. The NEP is a random one for bcc Ta, its hyperparameters those of a
published silicon potential: the arithmetic does not depend on the numbers.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from hal_step import SYSTEM, times
from safetensors.numpy import save_file

from pyuq import lmp as launcher

MODES = (20, 100)


def write_nep(path: Path, rng: np.random.Generator) -> None:
    """Write a random NEP with twelve radial and twelve angular channels, five-body, 50 neurons."""
    neurons, channels, basis = 50, 12, 12
    descriptors = channels + 6 * channels
    count = neurons * (descriptors + 2) + 1 + 2 * channels * basis
    numbers = [*(1e-4 * rng.normal(size=count)), *np.full(descriptors, 0.1)]
    head = f"""nep4 1 Ta
cutoff 5 5 100 100
n_max {channels - 1} {channels - 1}
basis_size {basis - 1} {basis - 1}
l_max 4 2 1
ANN {neurons} 0
"""
    path.write_text(head + "".join(f"{x:.9e}\n" for x in numbers))


def write_basis(path: Path, system: str, modes: int, rng: np.random.Generator) -> None:
    """Write random orthonormal modes for the atoms of the benchmark."""
    instance = launcher.lammps()
    instance.commands_string(system)
    n = instance.get_natoms()
    low, high = instance.extract_box()[:2]
    w = np.linalg.qr(rng.normal(size=(3 * n, modes)))[0]
    tensors = dict(
        basis=np.ascontiguousarray(w.reshape(n, 3, modes)),
        ids=np.arange(1, n + 1),
        masses=np.full(n, 180.88),
        reference=np.array(instance.gather_atoms("x", 1, 3)).reshape(n, 3),
        cell=np.diag(np.subtract(high, low)),
    )
    metadata = dict(
        format="pyuq-basis",
        format_version="1",
        units="metal",
        weighting="mass",
        model_sha256="[]",
        provenance="{}",
    )
    save_file(tensors, path, metadata=metadata)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--cells", type=int, default=10, help="bcc cells along each edge per rank")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    rng = np.random.default_rng(1)
    print("core-µs per atom and step (loop time × ranks / atoms / steps)")
    header = " ".join(f"{f'n = {n}':>8} {'ratio':>6}" for n in MODES)
    print(f"{'ranks':>5} {'atoms':>6} {'plain':>8} {header}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_nep(folder / "nep.txt", rng)
        for ranks in args.ranks:
            cells = args.cells
            system = SYSTEM.format(nx=cells * ranks, ny=cells, nz=cells)
            for n in MODES:
                write_basis(folder / f"{n}.rom", system, n, rng)
            script = system + f"pair_style uq\npair_coeff * * {folder}/nep.txt Ta\nfix n all nve\n"
            script += "run 2\n"
            for _ in range(args.repeats):
                script += f"run {args.steps}\n"
                for n in MODES:
                    script += f"fix r all uq/rom file {n}.rom\nrun {args.steps}\nunfix r\n"
            loops = times(script, ranks, folder)[1:]
            stride = len(MODES) + 1
            plain = loops[::stride]
            row = f"{ranks:5d} {2 * cells**3 * ranks:6d} {statistics.median(plain):8.2f}"
            for k in range(1, stride):
                reduced = loops[k::stride]
                ratio = statistics.median(b / a for a, b in zip(plain, reduced, strict=True))
                row += f" {statistics.median(reduced):8.2f} {ratio:6.3f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
