# SPDX-License-Identifier: GPL-2.0-or-later
"""Small systems and trajectories of known content."""

import numpy as np

from pyuq.srom.snapshots import Snapshots
from pyuq.srom.system import System


def make_system(n=12, seed=0) -> System:
    rng = np.random.default_rng(seed)
    return System(
        ids=np.arange(1, n + 1) * 2,
        masses=np.where(np.arange(n) % 2, 107.868, 126.904),
        reference=rng.uniform(0, 8, size=(n, 3)),
        cell=8.0 * np.eye(3),
        symbols=("I", "Ag") * (n // 2),
    )


def make_snapshots(path, system=None, frames=40, seed=1, label="a", rank=None) -> Snapshots:
    """Random frames; of a given rank where asked for."""
    system = system or make_system()
    rng = np.random.default_rng(seed)
    shape = (frames, system.natoms, 3)
    u = rng.normal(size=shape) * np.exp(-np.arange(system.natoms))[:, None]
    if rank is not None:
        u = (rng.normal(size=(frames, rank)) @ rng.normal(size=(rank, 3 * system.natoms))).reshape(
            shape
        )
    snapshots = Snapshots.create(path, system, 0.02, label, f"hash-{label}")
    snapshots.append(u, rng.normal(size=shape))
    return snapshots
