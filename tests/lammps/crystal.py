# SPDX-License-Identifier: GPL-2.0-or-later
"""A small random linear ACE with a random posterior, and ways to run LAMMPS on it."""

import ctypes
import hashlib
import subprocess
from math import factorial, prod
from pathlib import Path

import numpy as np
from naive_nep import nep_text
from random_network import random_tensors
from safetensors.numpy import save_file

from pyuq import lmp as launcher
from pyuq.bnn.architecture import COMMON, Architecture, write_network
from pyuq.evaluate.evaluator import Evaluator
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.repulsion import Repulsion
from pyuq.potentials.yace import write_yace

DATA = Path(__file__).resolve().parents[1] / "data"
ELEMENTS = ("Al", "Si")
BASIS = ACEBasis(
    ELEMENTS, cutoff=4.5, order=3, degree=(4.0, 3.0, 2.0), radial_parameter=2.5, dcut=1.0
)
INNER = Repulsion({(a, b): 1.6 for a in ELEMENTS for b in ELEMENTS})  # ZBL below 1.6 Å


def posterior_file(
    folder: Path,
    name: str,
    seed: int = 1,
    spread: float = 0.01,
    samples: int = 0,
    basis: ACEBasis = BASIS,
) -> Path:
    """Write NAME.yace (coefficients folded in) and NAME.uq beside it; returns the .uq file."""
    rng = np.random.default_rng(seed)
    m = basis.nfunctions
    e0 = dict(zip(ELEMENTS, (-1.0, -2.0), strict=True))
    mean = rng.normal(scale=0.03, size=m)
    exported, unit = folder / f"{name}.yace", folder / f"{name}.unit"
    write_yace(exported, basis, mean, e0, INNER)
    write_yace(unit, basis, None, e0, INNER)
    factor = rng.normal(scale=spread / np.sqrt(m), size=(m, m))
    tensors = {"model": np.frombuffer(unit.read_bytes(), dtype=np.uint8), "mean": mean}
    if samples:
        tensors["samples"] = mean + rng.normal(size=(samples, m)) @ factor.T
    else:
        tensors["covariance"] = factor @ factor.T
    metadata = dict(
        format="pyuq-posterior",
        format_version="1",
        family="ace",
        elements=" ".join(ELEMENTS),
        units="metal",
        model_sha256=hashlib.sha256(exported.read_bytes()).hexdigest(),
        training_sha256="",
        provenance="{}",
    )
    save_file(tensors, folder / f"{name}.uq", metadata=metadata)
    unit.unlink()
    return folder / f"{name}.uq"


def native_posterior(path: Path, seed: int = 5, spread: float = 0.02) -> Path:
    """Write NAME.uq with a random covariance beside the native file of a NEP or MTP of Al and Si."""
    native = Evaluator(path, elements=ELEMENTS).model
    mean = np.array(native.weights)
    m = len(mean)
    factor = np.random.default_rng(seed).normal(scale=spread / np.sqrt(m), size=(m, m))
    metadata = dict(
        format="pyuq-posterior",
        format_version="1",
        family=native.family,
        elements=" ".join(ELEMENTS),
        units="metal",
        model_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        training_sha256="",
        provenance="{}",
    )
    model = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    tensors = {"model": model, "mean": mean, "covariance": factor @ factor.T}
    save_file(tensors, path.with_suffix(".uq"), metadata=metadata)
    return path.with_suffix(".uq")


def mtp_text() -> str:
    """A small MTP of two species: the radial functions of the random file, rotational invariants of its moments."""
    header = (DATA / "mtp" / "random.mtp").read_text().split("alpha_moments_count")[0]
    basics = [
        (0, *a)
        for a in sorted(
            (i, j, r - i - j) for r in range(4) for i in range(r + 1) for j in range(r + 1 - i)
        )
    ]
    basics += [(1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]
    index = {basic: n for n, basic in enumerate(basics)}
    times, scalars = [], [index[0, 0, 0, 0], index[1, 0, 0, 0]]
    for mu, nu, rank in ((0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 1, 1), (0, 1, 0)):  # M_mu : M_nu
        scalars.append(len(basics) + len(scalars) - 2)
        for a in (basic[1:] for basic in basics if basic[0] == 0 and sum(basic[1:]) == rank):
            weight = factorial(rank) // prod(map(factorial, a))
            times.append((index[mu, *a], index[nu, *a], weight, scalars[-1]))
    coefficients = np.random.default_rng(2).normal(scale=0.05, size=len(scalars))

    def braces(rows) -> str:
        return "{" + ", ".join(map(str, rows)) + "}"

    return (
        header
        + f"alpha_moments_count = {len(basics) + len(scalars) - 2}\n"
        + f"alpha_index_basic_count = {len(basics)}\n"
        + f"alpha_index_basic = {braces(braces(b) for b in basics)}\n"
        + f"alpha_index_times_count = {len(times)}\n"
        + f"alpha_index_times = {braces(braces(t) for t in times)}\n"
        + f"alpha_scalar_moments = {len(scalars)}\n"
        + f"alpha_moment_mapping = {braces(scalars)}\n"
        + "species_coeffs = {-0.4, -0.3}\n"
        + f"moment_coeffs = {braces(map(float, coefficients))}\n"
    )


def network_file(path: Path, samples: int = 3, seed: int = 4, **shape) -> Path:
    """Samples of a random network of Al and Si, with ZBL, whose readouts spread about a common one."""
    shape = {"channels": 4, "hidden": 4, "bessels": 5, "noise_hidden": 3} | shape
    architecture = Architecture(ELEMENTS, 4.2, **shape)
    rng = np.random.default_rng(seed)
    tensors = random_tensors(architecture, 1, rng, repulsion=(1.0, 2.58))
    tensors = {k: v if k in COMMON else np.repeat(v, samples, 0) for k, v in tensors.items()}
    radial = [f"layers.{t}.radial2" for t in range(min(2, architecture.layers))]
    for name in radial:
        tensors[name] *= 5.0
    for name in ("readout", *radial):
        tensors[name] *= 1.0 + 0.4 * rng.normal(size=tensors[name].shape)
    write_network(path, architecture, tensors, {"seed": seed})
    return path


def family_files(folder: Path) -> dict[str, str]:
    """What pair_coeff names: one model of each family, with a posterior, and a committee of all."""
    nep, mtp = folder / "nep.txt", folder / "small.mtp"
    nep.write_text(nep_text(elements=ELEMENTS, zbl="0.8 1.8", l_max="4 1 1", seed=3))
    mtp.write_text(mtp_text())
    files = {
        "ace": posterior_file(folder, "ace"),
        "nep": native_posterior(nep),
        "mtp": native_posterior(mtp),
        "network": network_file(folder / "network.safetensors"),
    }
    sample = network_file(folder / "sample.safetensors", samples=1)
    members = (files["ace"], nep, f"{mtp}:Al,Si", sample)
    return {name: str(file) for name, file in files.items()} | {
        "committee": " ".join(map(str, members))
    }


def atoms(
    potential,
    *,
    size=(2, 2, 2),
    tilt=None,
    units="metal",
    pair="uq",
    coeff=None,
    rattle=0.12,
    extra="",
) -> str:
    """Commands for a rattled fcc Al-Si crystal with `pair_style uq`."""
    cell = " ".join(f"0 {n}" for n in size)
    region = (
        f"block {cell}" if tilt is None else "prism {} {}".format(cell, " ".join(map(str, tilt)))
    )
    return f"""
units {units}
atom_modify map yes
lattice fcc 4.05
region box {region}
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.4 771
mass 1 26.98
mass 2 28.09
{extra}
displace_atoms all random {rattle} {rattle} {rattle} 88
velocity all create 600 4
pair_style {pair}
{coeff or f"pair_coeff * * {potential} Al Si"}
thermo_modify format float %.16g
"""


def held(potential, **options) -> str:
    """The crystal with a Lennard-Jones pair laid over the random model, so that it keeps its shape."""
    lj = "pair_coeff * * lj/gromacs 0.3 2.55\n"
    return atoms(
        potential,
        pair="hybrid/overlay uq lj/gromacs 3.5 4.5",
        coeff=f"pair_coeff * * uq {potential} Al Si\n{lj}",
        **options,
    )


def run(commands: str, comm=None):
    """A LAMMPS instance after these commands."""
    instance = launcher.lammps(comm=comm)
    instance.commands_string(commands)
    return instance


def mpirun(ranks: int, commands: str, folder: Path) -> str:
    """Run commands with `mpirun lmp`; returns the screen output."""
    script = folder / f"in.{ranks}"
    script.write_text(commands)
    command = [
        launcher.mpirun(),
        "-np",
        str(ranks),
        str(launcher.lammps_executable()),
        "-in",
        str(script),
        "-log",
        "none",
    ]
    env = launcher.environment() | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stdout[-2000:] + out.stderr[-2000:]
    return out.stdout


def forces(instance) -> np.ndarray:
    """Forces in the order of the atom ids, (n, 3)."""
    n = instance.get_natoms()
    return np.array(instance.gather_atoms("f", 1, 3)).reshape(n, 3)


def positions(instance) -> np.ndarray:
    """Positions in the order of the atom ids, (n, 3)."""
    n = instance.get_natoms()
    return np.array(instance.gather_atoms("x", 1, 3)).reshape(n, 3)


def set_positions(instance, x: np.ndarray) -> None:
    """Put positions (n, 3), in the order of the atom ids."""
    instance.scatter_atoms("x", 1, 3, (ctypes.c_double * x.size)(*x.ravel()))


def pressure_tensor(instance, name: str) -> np.ndarray:
    """Six components (xx yy zz xy xz yz, bar) of a compute pressure."""
    return np.array([instance.extract_compute(name, 0, 1)[n] for n in range(6)])
