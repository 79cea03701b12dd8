# SPDX-License-Identifier: GPL-2.0-or-later
"""An anharmonic crystal of two masses, and basis files for it, written without pyuq."""

from pathlib import Path

import numpy as np
from crystal import run
from safetensors.numpy import save_file

MASSES = {1: 26.98, 2: 63.55}


def crystal(size=(3, 2, 2), extra="", data=None) -> str:
    """A short-ranged Lennard-Jones crystal of two masses at about 300 K."""
    if data:
        start = f"read_data {data}"
    else:
        cell = " ".join(f"0 {n}" for n in size)
        start = f"""lattice fcc 4.05
region box block {cell}
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.4 771
mass 1 {MASSES[1]}
mass 2 {MASSES[2]}
{extra}
velocity all create 600 4"""
    return f"""
units metal
atom_modify map yes
{start}
pair_style lj/gromacs 3.0 3.9
pair_coeff * * 0.25 2.55
neighbor 0.5 bin
thermo_modify format float %.16g
"""


def system(instance):
    """Ids, masses (N,), unwrapped positions (N, 3) and cell (3, 3) of an instance, sorted by id."""
    n = instance.get_natoms()
    types = np.array(instance.gather_atoms("type", 0, 1))
    box = instance.extract_box()
    low, high, xy, yz, xz = box[:5]
    cell = np.diag(np.subtract(high, low))
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    x = np.array(instance.gather_atoms("x", 1, 3)).reshape(n, 3)
    images = np.array(instance.gather_atoms("image", 0, 3)).reshape(n, 3)
    masses = np.array([MASSES[t] for t in types])
    return np.arange(1, n + 1), masses, x + images @ cell, cell


def random_basis(masses, n, rng, zero_momentum=True, free=None) -> np.ndarray:
    """Orthonormal mass-weighted columns (3 N, n)."""
    root = np.repeat(np.sqrt(masses), 3)
    w = rng.normal(size=(len(root), n))
    if free is not None:
        w[np.repeat(free, 3)] = 0.0
    if zero_momentum:
        shift = root[:, None] * np.tile(np.eye(3), (len(masses), 1))
        shift, _ = np.linalg.qr(shift)
        w -= shift @ (shift.T @ w)
    return np.linalg.qr(w)[0]


def write_basis(path: Path, instance, w, weighting="mass", free=None, **changes) -> Path:
    """A basis file for the atoms of an instance; `changes` replace tensors or metadata."""
    ids, masses, x, cell = system(instance)
    tensors = dict(
        basis=np.ascontiguousarray(w.reshape(len(ids), 3, -1)),
        ids=ids.astype(np.int64),
        masses=masses,
        reference=x,
        cell=cell,
    )
    if free is not None:
        tensors["free"] = free.astype(np.uint8)
    metadata = dict(
        format="pyuq-basis",
        format_version="1",
        units="metal",
        weighting=weighting,
        model_sha256="[]",
        provenance="{}",
    )
    for key, value in changes.items():
        (metadata if key in metadata else tensors)[key] = value
    save_file(tensors, path, metadata=metadata)
    return path


def start(commands: str):
    """An instance whose atoms, forces and neighbours are set up."""
    return run(commands + "\nrun 0 post no\n")
