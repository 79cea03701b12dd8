#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars of a network by six samplers at equal gradient evaluations, beside a linear ACE.

``python benchmarks/network_uq.py --short`` prints, for each data set, a table of errors and of what the error bars are
worth: SGHMC with one chain and with four, deep ensemble, shallow ensemble, dropout, last layer, and the posterior of
a linear ACE, which costs no gradients. Every network method may spend the same number of gradients on batches of the
same size, with the same settings on all data sets. Starting values and learning rate were chosen in a few tries on the
silicon set, its test errors in view.

Data sets: silicon and germanium from DFT (mlearn: name its folder by ``--mlearn`` or ``PYUQ_MLEARN_DIR``), and two
molecules, labelled here with GFN2-xTB through tblite: trained at 300 K, tested at 300 K and at 600 K. What is absent
is skipped, and said so. Labels, checkpoints and results stay in ``--out``: the same command goes on where it ended.

``--short`` takes seven minutes of CPU time, about four on two cores. Without it, networks are larger and the budget
is 60,000 gradients: some eight hours on two cores.
"""

# ruff: noqa: E402

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # one core for each data set; read when numpy loads

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from pyuq.io import extxyz
from pyuq.io.files import write_text
from pyuq.io.structures import read_structures

ROOT = Path(__file__).resolve().parents[1]
MLEARN = os.environ.get("PYUQ_MLEARN_DIR", ROOT.parent / "shared/data/train/mlearn")
MOLECULES = {"ethanol": "CH3CH2OH", "acetamide": "CH3CONH2"}
CRYSTALS = {"silicon": "Si", "germanium": "Ge"}
STEP = 0.5  # fs


@dataclass(frozen=True)
class Plan:
    """What is spent.

    Attributes
    ----------
    gradients : int
        Of each network method.
    batch : int
        Structures in a gradient.
    members : int
        Members of the ensembles, and chains of the second SGHMC.
    draws : int
        Samples kept of the other methods.
    channels, lmax, cutoff
        Of the network, Å; the cutoff is the ACE's too.
    train, test : int
        Structures of each molecule.
    stride : int
        Time steps of 0.5 fs between them.
    degree : tuple of int
        Of the ACE functions, by order.
    """

    gradients: int = 60_000
    batch: int = 4
    members: int = 8
    draws: int = 16
    channels: int = 16
    lmax: int = 1
    cutoff: float = 5.0
    train: int = 1000
    test: int = 200
    stride: int = 60
    degree: tuple[int, ...] = (14, 10, 8, 6)


SHORT = Plan(1500, 2, 4, 8, 8, 1, 4.0, 80, 40, 20, (10, 8, 5))


def crystal(name: str, folder: Path) -> dict[str, list[Atoms]]:
    """Training and test set of an element from mlearn."""
    symbol = CRYSTALS[name]
    paths = {kind: folder / f"{symbol}_{kind}.json" for kind in ("training", "test")}
    if absent := [p for p in paths.values() if not p.is_file()]:
        raise FileNotFoundError(f"no {absent[0]}; name the folder of mlearn by --mlearn")
    return {
        "train": read_structures([paths["training"]]),
        "test": read_structures([paths["test"]]),
    }


def trajectory(atoms: Atoms, kelvin: float, count: int, stride: int, seed: int) -> list[Atoms]:
    """Labelled structures of Langevin dynamics; the first quarter of it is thrown away."""
    rng = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
    dynamics = Langevin(
        atoms, STEP * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, rng=rng, fixcm=False
    )
    dynamics.run(count * stride // 4)
    found = []
    for _ in range(count):
        dynamics.run(stride)
        found.append(extxyz.labelled(atoms, atoms.get_potential_energy(), atoms.get_forces()))
    return found


def molecular(name: str, plan: Plan, folder: Path) -> dict[str, list[Atoms]]:
    """Structures of a molecule labelled with GFN2-xTB: train and test at 300 K, hot at 600 K."""
    paths = {kind: folder / f"{name}-{kind}.xyz" for kind in ("train", "test", "hot")}
    if all(p.is_file() for p in paths.values()):
        return {kind: read_structures([p]) for kind, p in paths.items()}
    try:
        from tblite.ase import TBLite
    except ModuleNotFoundError as error:
        raise FileNotFoundError(f"{error}: pip install tblite") from error
    found = {}
    for kind, kelvin, count, seed in (
        ("train", 300, plan.train, 1),
        ("test", 300, plan.test, 2),
        ("hot", 600, plan.test, 3),
    ):
        atoms = molecule(MOLECULES[name])
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        found[kind] = trajectory(atoms, kelvin, count, plan.stride, seed)
        extxyz.write(paths[kind], found[kind])
    return found


def samplers(plan: Plan) -> dict:
    """Each method, as many gradients as the plan allows."""
    from pyuq.bnn.samplers import SGHMC, Dropout, Ensemble, LastLayer, ShallowEnsemble

    def chains(count: int) -> SGHMC:
        steps, draws = plan.gradients // count, max(4, plan.draws // count)
        thinning = steps // (2 * draws)
        burn_in = steps - draws * thinning
        quiet = int(0.6 * burn_in)
        return SGHMC(draws, thinning, burn_in, quiet, batch=plan.batch, chains=count)

    each, batch = plan.gradients // plan.members, plan.batch
    return {
        "SGHMC, one chain": chains(1),
        f"SGHMC, {plan.members} chains": chains(plan.members),
        "deep ensemble": Ensemble(each, batch=batch, members=plan.members),
        "shallow ensemble": ShallowEnsemble(each, batch=batch, members=plan.members),
        "dropout": Dropout(plan.gradients, batch=batch, draws=plan.draws),
        "last layer": LastLayer(plan.gradients, batch=batch, draws=plan.draws),
    }


def network_results(data: dict[str, list[Atoms]], plan: Plan, folder: Path) -> dict:
    """Scores of all network methods: {method: {test set: scores}}."""
    import torch

    from pyuq.bnn.architecture import Architecture, NetworkFile
    from pyuq.bnn.evaluate import judge, predict_all
    from pyuq.bnn.run import convergence
    from pyuq.bnn.target import NetworkTarget

    torch.set_num_threads(1)
    elements = tuple(sorted({s for a in data["train"] for s in a.get_chemical_symbols()}))
    c = plan.channels
    shape = Architecture(elements, plan.cutoff, plan.lmax, channels=c, hidden=c, noise_hidden=c)
    target = NetworkTarget(shape, data["train"], dtype=torch.float32)
    found = {}
    for method, sampler in samplers(plan).items():
        path = folder / f"{method.replace(', ', '-').replace(' ', '-')}"
        path.mkdir(parents=True, exist_ok=True)
        if (path / "results.json").is_file():
            found[method] = json.loads((path / "results.json").read_text())
            continue
        start = time.perf_counter()
        try:
            draws = sampler.run(target, 1, path)
        except FloatingPointError as error:
            found[method] = {"failed": str(error)}
            continue
        result = {"gradients": draws.gradients, "seconds": time.perf_counter() - start}
        file = NetworkFile(shape, target.tensors(draws.flat()))
        for kind in data.keys() - {"train"}:
            result[kind] = judge(predict_all(file, data[kind]), data[kind])
        if "SGHMC" in method:
            result["chains"] = convergence(target, draws, data["test"])
        write_text(path / "results.json", json.dumps(result))
        found[method] = result
    return found


def ace_results(data: dict[str, list[Atoms]], plan: Plan) -> dict:
    """Scores of the posterior of a linear ACE, by 64 draws from it."""
    from pyuq.bnn.evaluate import SamplePredictions, judge
    from pyuq.inference.fit import fit
    from pyuq.inference.fit_settings import FitSettings, Weights
    from pyuq.potentials.basis import ACEBasis

    elements = tuple(sorted({s for a in data["train"] for s in a.get_chemical_symbols()}))
    degree = plan.degree if len(elements) == 1 else tuple(max(2, d // 2) for d in plan.degree)
    basis = ACEBasis(elements, cutoff=plan.cutoff, order=len(degree), degree=degree)
    start = time.perf_counter()
    settings = FitSettings(basis, Weights(energy=0.02, force=0.1, virial=0.0))
    result = fit(data["train"], settings)
    weights = result.posterior.sample(64, 1)
    scale = np.sqrt(result.posterior.noise_variance)

    def predict(atoms: Atoms) -> SamplePredictions:
        rows = result.features.rows(atoms)
        forces = weights @ rows.forces.T + rows.baseline_forces
        noise = np.full((64, len(atoms)), scale * settings.weights.force)
        energy_noise = np.full(64, scale * settings.weights.energy * np.sqrt(len(atoms)))
        energies = weights @ rows.energy + rows.baseline_energy
        return SamplePredictions(energies, forces.reshape(64, -1, 3), energy_noise, noise)

    kinds = data.keys() - {"train"}
    found = {kind: judge([predict(a) for a in data[kind]], data[kind]) for kind in kinds}
    return found | {"gradients": 0, "seconds": time.perf_counter() - start}


def run(name: str, plan: Plan, mlearn: Path, out: Path) -> dict | str:
    """All results of a data set; a text says why there are none."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        data = crystal(name, mlearn) if name in CRYSTALS else molecular(name, plan, folder)
    except FileNotFoundError as error:
        return f"skipped: {error}"
    found = network_results(data, plan, folder)
    found["linear ACE"] = ace_results(data, plan)
    return found


TITLES = {"test": "test set", "hot": "600 K, trained at 300 K"}
HEAD = (
    "| method | E MAE | E RMSE | E NLL | E in 1σ / 2σ | E ρ | F MAE | F RMSE | F NLL | F in 1σ / 2σ | F ρ | s |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def cells(scores: dict, unit: float) -> str:
    """Five cells of a row: errors in 1/unit of eV/atom or eV/Å."""
    return (
        f"{scores['mae'] * unit:.1f} | {scores['rmse'] * unit:.1f} | {scores['nll']:.2f} | "
        f"{scores['within_1']:.2f} / {scores['within_2']:.2f} | {scores['spearman']:.2f}"
    )


def tables(name: str, found: dict) -> str:
    """Markdown tables of a data set: energies in meV/atom, forces in meV/Å, ρ by Spearman."""
    lines = []
    for kind in TITLES:
        rows = {method: r for method, r in found.items() if kind in r}
        if not rows:
            continue
        lines += [f"### {name}, {TITLES[kind]}", "", *HEAD]
        for method, r in rows.items():
            energy, force = (cells(r[kind][q], 1e3) for q in ("energy", "force"))
            lines.append(f"| {method} | {energy} | {force} | {r['seconds']:.0f} |")
        lines.append("")
    for method, r in found.items():
        lines += [f"{method}: {r[note]}." for note in ("failed", "chains") if note in r]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="about five minutes on two cores")
    everything = [*CRYSTALS, *MOLECULES]
    parser.add_argument("--sets", nargs="+", choices=everything, default=everything)
    parser.add_argument("--gradients", type=int, help="instead of the plan's")
    parser.add_argument("--jobs", type=int, default=2, help="data sets at a time")
    parser.add_argument("--mlearn", type=Path, default=Path(MLEARN), help="folder of mlearn")
    parser.add_argument("--out", type=Path, default=Path("network_uq"), help="labels and results")
    args = parser.parse_args(arguments)
    plan = SHORT if args.short else Plan()
    if args.gradients:
        plan = Plan(**(asdict(plan) | {"gradients": args.gradients}))
    out = args.out / f"{'short' if args.short else 'full'}-{plan.gradients}"
    print(f"{plan.gradients} gradients of {plan.batch} structures for each network method\n")
    # A process forked from one that has imported torch may hang: start fresh ones.
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(run, n, plan, args.mlearn.resolve(), out): n for n in args.sets}
        for job in as_completed(jobs):
            found, name = job.result(), jobs[job]
            print(f"{name}: {found}\n" if isinstance(found, str) else tables(name, found))


if __name__ == "__main__":
    main()
