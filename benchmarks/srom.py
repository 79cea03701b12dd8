#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Time and memory of a stochastic reduced-order model: bases of snapshots, and samples between them.

``python benchmarks/srom.py`` makes synthetic snapshots of several models (thirty slow modes shared up to a tilt, and
noise), builds the basis of each model and the joint one on MPI ranks, and draws samples on one core. ``--ranks``
counts those of the build; memory is the largest resident set of each rank, summed. The folder of the snapshots needs
24 bytes × atoms × snapshots × models.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pyuq import lmp
from pyuq.srom.basis import build_basis
from pyuq.srom.sampling import Frame, RiemannianSampler, convex_weights
from pyuq.srom.snapshots import DISPLACEMENTS, VELOCITIES, Snapshots
from pyuq.srom.system import System

SHARED_MODES = 30
CHUNK = 50  # frames


def write_snapshots(folder: Path, atoms: int, frames: int, models: int) -> None:
    """Trajectories of all models; velocities, which are not read, take no place on the disk."""
    rng = np.random.default_rng(0)
    ids = np.arange(1, atoms + 1)
    system = System(ids, np.full(atoms, 63.5), np.zeros((atoms, 3)), np.eye(3), ("Cu",) * atoms)
    modes = rng.normal(size=(3 * atoms, SHARED_MODES)) / np.arange(1, SHARED_MODES + 1)
    times = np.arange(frames)[:, None]
    for model in range(models):
        tilted = modes + 0.3 * rng.normal(size=modes.shape) / np.arange(1, SHARED_MODES + 1)
        snapshots = Snapshots.create(folder / f"{model}.snap", system, 0.1, str(model), str(model))
        waves = np.cos(
            0.01 * times * rng.uniform(1, 9, SHARED_MODES) + rng.uniform(0, 6, SHARED_MODES)
        )
        with open(snapshots.path / DISPLACEMENTS, "wb") as file:
            for start in range(0, frames, CHUNK):
                block = waves[start : start + CHUNK] @ tilted.T
                block += 0.1 * rng.standard_normal(block.shape)
                file.write(block.tobytes())
        with open(snapshots.path / VELOCITIES, "wb") as file:
            file.truncate(24 * atoms * frames)


def build(folder: Path, modes: int) -> None:
    """On each rank: all bases; rank 0 prints seconds and memory, and keeps the bases."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    snapshots = [Snapshots(path) for path in sorted(folder.glob("*.snap"))]
    comm.Barrier()
    start = time.perf_counter()
    bases = [build_basis([s], modes, comm=comm)[0] for s in snapshots]
    single = time.perf_counter() - start
    joint = build_basis(snapshots, modes, comm=comm)[0]
    both = time.perf_counter() - start
    memory = comm.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    if comm.rank == 0:
        for name, basis in zip(
            ("joint", *map(str, range(len(bases)))), (joint, *bases), strict=True
        ):
            np.save(folder / f"{name}.npy", basis.vectors)
        print(json.dumps({"models": single, "joint": both - single, "GiB": sum(memory)}))


def sample(folder: Path, samples: int) -> dict:
    """Draw samples on one core; seconds, and the largest |WᵀW - 1| of a few of them."""
    bases = [np.load(path) for path in sorted(folder.glob("[0-9]*.npy"))]
    start = time.perf_counter()
    frame = Frame.at(np.load(folder / "joint.npy"), bases)
    sampler = RiemannianSampler(frame, convex_weights(frame.gram))
    prepared = time.perf_counter() - start
    error = 0.0
    for k in range(samples):
        w = sampler.draw(k)
        if k < 5:
            error = max(error, np.abs(w.T @ w - np.eye(w.shape[1])).max())
    return {"frame": prepared, "draws": time.perf_counter() - start - prepared, "error": error}


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[272, 28790])
    parser.add_argument("--snapshots", type=int, default=2000)
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--modes", type=int, default=20)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--folder", help="for the snapshots; default: a temporary one")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        build(Path(args.build), args.modes)
        return
    print(
        f"{args.models} models, {args.snapshots} snapshots each, {args.modes} modes, {args.ranks} ranks"
    )
    print(
        f"{'atoms':>6} {'disk GiB':>9} {'models s':>9} {'joint s':>8} {'memory GiB':>10} "
        f"{'frame s':>8} {f'{args.samples} draws s':>12} {'|WᵀW-1|':>8}"
    )
    for atoms in args.atoms:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            write_snapshots(folder, atoms, args.snapshots, args.models)
            command = [lmp.mpirun(), "-np", str(args.ranks), sys.executable, __file__]
            command += ["--build", name, "--modes", str(args.modes)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            built = json.loads(done.stdout.splitlines()[-1])
            drawn = sample(folder, args.samples)
        disk = 24 * atoms * args.snapshots * args.models / 2**30
        print(
            f"{atoms:6d} {disk:9.2f} {built['models']:9.1f} {built['joint']:8.1f} {built['GiB']:10.2f} "
            f"{drawn['frame']:8.2f} {drawn['draws']:12.2f} {drawn['error']:8.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
