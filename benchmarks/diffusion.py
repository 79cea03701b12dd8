#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-diffusivity beside kinisi, MDAnalysis and tidynamics: seconds, bias, and whether errors are what they claim.

``python benchmarks/diffusion.py`` takes Brownian walkers of D = 0.1 Å²/ps with localised noise of 0.3 Å, seen once
a picosecond. Times are those of the processor, which other work on the machine does not change much. MDAnalysis and
tidynamics give the mean squared displacement; D and its error come from an ordinary line through lags of T/100 to
T/10, as is usual. kinisi gets the forty lags that pyuq uses, without and with the longest lag of the trajectory, from
which it counts its independent samples. Packages that are absent are named.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import importlib
import logging
import resource
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats
from tqdm import tqdm

from pyuq.diffusion import SelfDiffusion, StreamingMSD, self_diffusivity
from pyuq.diffusion.regression import log_lags

D, RATTLE = 0.1, 0.3  # Å²/ps, Å
PACKAGES = ("kinisi", "MDAnalysis", "tidynamics")
BOX = 1e5  # Å, so large that nothing is wrapped


def walkers(rng: np.random.Generator, n_frames: int, n_atoms: int) -> np.ndarray:
    x = rng.normal(0.0, np.sqrt(2.0 * D), (n_frames, n_atoms, 3))
    np.cumsum(x, axis=0, out=x)
    x += rng.normal(0.0, RATTLE, x.shape)
    return x


def ordinary_line(msd: np.ndarray) -> tuple[float, float]:
    """D and standard error of least squares through the MSD at lags 0, 1, ..., of T/100 to T/10."""
    lags = np.arange(len(msd) // 100, len(msd) // 10)
    line = stats.linregress(lags, msd[lags])
    return line.slope / 6, line.stderr / 6


def universe(positions: np.ndarray):
    """Universe in memory; the last atom rests, for kinisi takes drift from what it does not analyse."""
    import MDAnalysis
    from MDAnalysis.coordinates.memory import MemoryReader

    frames = np.concatenate([positions, np.zeros((len(positions), 1, 3))], axis=1)
    frames = (frames + BOX / 2).astype(np.float32)
    atoms = MDAnalysis.Universe.empty(frames.shape[1], trajectory=True)
    atoms.add_TopologyAttr("type", ["Li"] * positions.shape[1] + ["X"])
    atoms.load_new(frames, format=MemoryReader, dimensions=[BOX] * 3 + [90] * 3)
    return atoms


def with_pyuq(positions: np.ndarray) -> tuple[float, float]:
    found = self_diffusivity(positions, 1.0)
    return found.value, found.error


def with_mdanalysis(positions: np.ndarray) -> tuple[float, float]:
    from MDAnalysis.analysis.msd import EinsteinMSD

    return ordinary_line(
        EinsteinMSD(universe(positions), select="type Li", fft=True).run().results.timeseries
    )


def with_tidynamics(positions: np.ndarray) -> tuple[float, float]:
    import tidynamics

    atoms = np.moveaxis(positions, 1, 0)
    return ordinary_line(np.mean([tidynamics.msd(atom) for atom in atoms], axis=0))


def with_kinisi(positions: np.ndarray, longest: bool = False) -> tuple[float, float]:
    import scipp
    from kinisi.analyze import DiffusionAnalyzer

    lags = log_lags(len(positions))
    if longest:
        lags = np.append(lags, len(positions) - 1)
    analysis = DiffusionAnalyzer.from_universe(
        universe(positions),
        specie="Li",
        time_step=1.0 * scipp.Unit("ps"),
        step_skip=1 * scipp.units.one,
        dt=scipp.array(dims=["time interval"], values=lags.astype(float), unit="ps"),
        progress=False,
    )
    analysis.diffusion(3.0 * scipp.Unit("ps"), progress=False)
    found = analysis.D.values * 1e4  # cm²/s
    return float(found.mean()), float(found.std())


def with_kinisi_longest(positions: np.ndarray) -> tuple[float, float]:
    return with_kinisi(positions, longest=True)


def stream(n_frames: int, n_atoms: int, chunk: int = 1000) -> None:
    """One pass over a trajectory that is never in memory."""
    rng = np.random.default_rng(0)
    accumulator, place, seconds = StreamingMSD(), np.zeros((1, n_atoms, 3)), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in tqdm(range(n_frames // chunk), desc="one pass", disable=None):
        frames = walkers(rng, chunk, n_atoms) + place
        place = frames[-1:]
        clock = time.process_time()
        accumulator.update(frames)
        seconds += time.process_time() - clock
    found = SelfDiffusion(1.0).compute_msd(*accumulator.averages())
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"one pass over {n_frames} frames × {n_atoms} atoms: {seconds:.1f} s of CPU, {memory:.0f} MB more memory, "
        f"D = {found.value:.5f} ± {found.error:.5f} (exact {D})\n"
    )


def speed(methods: dict[str, Callable], n_frames: int, n_atoms: int, repeats: int) -> None:
    positions = walkers(np.random.default_rng(0), n_frames, n_atoms)
    print(f"{n_atoms} atoms × {n_frames} frames, best of {repeats}:\n")
    print("| | CPU seconds | error of D | claimed |\n|---|---|---|---|")
    for name, method in methods.items():
        seconds = []
        for _ in range(repeats):
            clock = time.process_time()
            value, error = method(positions)
            seconds.append(time.process_time() - clock)
        wrong = f"{100 * (value / D - 1):+.2f} %"
        print(f"| {name} | {min(seconds):.2f} | {wrong} | {100 * error / D:.2f} % |", flush=True)
    print()


def calibration(methods: dict[str, Callable], seeds: dict[str, int]) -> None:
    print("64 atoms × 2000 frames:\n")
    print("| | seeds | bias | scatter | claimed | std(z) | in the 95 % interval |")
    print("|---|---|---|---|---|---|---|")
    for name, method in methods.items():
        rows = [
            method(walkers(np.random.default_rng(seed), 2000, 64))
            for seed in tqdm(range(seeds[name]), desc=name, disable=None)
        ]
        values, errors = np.array(rows).T
        z = (values - D) / errors
        scatter, margin = values.std(), values.std() / np.sqrt(len(values))
        print(
            f"| {name} | {len(rows)} | {100 * (values.mean() / D - 1):+.2f} ± {100 * margin / D:.2f} % | "
            f"{100 * scatter / D:.2f} % | {100 * errors.mean() / D:.2f} % | {z.std():.2f} | "
            f"{100 * np.mean(np.abs(z) < 1.96):.0f} % |",
            flush=True,
        )


def present(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        print(f"{package} is absent: pip install {package}")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="0: speed only")
    parser.add_argument("--slow-seeds", type=int, default=40, help="of kinisi (%(default)s)")
    parser.add_argument("--atoms", type=int, default=500)
    parser.add_argument("--frames", type=int, default=10000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stream", type=int, default=1_000_000, help="frames; 0: leave out")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    have = {package for package in PACKAGES if present(package)}
    methods: dict[str, Callable] = {"pyuq": with_pyuq}
    if "MDAnalysis" in have:
        methods["MDAnalysis, ordinary line"] = with_mdanalysis
    if "tidynamics" in have:
        methods["tidynamics, ordinary line"] = with_tidynamics
    if {"kinisi", "MDAnalysis"} <= have:
        methods["kinisi"] = with_kinisi
        methods["kinisi, longest lag added"] = with_kinisi_longest
    if args.stream:
        stream(args.stream, 20)
    speed(methods, args.frames, args.atoms, args.repeats)
    slow = {name: args.slow_seeds if "kinisi" in name else args.seeds for name in methods}
    if args.seeds:
        calibration(methods, slow)


if __name__ == "__main__":
    main()
