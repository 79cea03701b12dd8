# SPDX-License-Identifier: GPL-2.0-or-later
"""Walkers whose diffusivity is known: Brownian, caged hoppers that jump back, a lattice gas.

All make R independent trajectories at once, shape (R, T, N, 3), with unit time between frames.
"""

import numpy as np

AXES = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])


def brownian(rng, replicas, n_frames, n_atoms, d=0.1, rattle=0.3):
    """Free walkers of diffusivity d, seen with a localised noise of standard deviation `rattle`."""
    x = rng.normal(0.0, np.sqrt(2.0 * d), (replicas, n_frames, n_atoms, 3))
    np.cumsum(x, axis=1, out=x)
    x += rng.normal(0.0, rattle, x.shape)
    return x


def caged_hopper_diffusivity(length=2.0, leave=0.02, back=0.15, settle=0.1):
    """D of :func:`caged_hoppers`: from one settled state to the next, a jump that was not undone."""
    cycle = 1.0 / leave + 1.0 / (back + settle)
    return settle / (back + settle) * length**2 / (6.0 * cycle)


def caged_hoppers(
    rng,
    replicas,
    n_frames,
    n_atoms,
    length=2.0,
    leave=0.02,
    back=0.15,
    settle=0.1,
    rattle=0.3,
    memory=0.6,
):
    """Atoms that vibrate in cages, jump to one of six neighbours, and often jump back at once.

    Chances in each frame: a settled atom jumps with `leave`; one that has just jumped returns with
    `back` or settles with `settle`. The vibration is a first-order autoregressive process of
    standard deviation `rattle` and correlation `memory` between frames.
    """
    walkers = replicas * n_atoms
    site = np.zeros((walkers, 3))
    shake = rng.normal(0.0, rattle, (walkers, 3))
    busy = 1.0 / (back + settle)
    fresh = rng.random(walkers) < busy / (busy + 1.0 / leave)  # the stationary state
    last = AXES[rng.integers(6, size=walkers)]
    x = np.empty((n_frames, walkers, 3))
    for frame in x:
        chance = rng.random(walkers)
        jump = ~fresh & (chance < leave)
        undo = fresh & (chance < back)
        rest = fresh & (chance >= back) & (chance < back + settle)
        site[undo] -= length * last[undo]
        last[jump] = AXES[rng.integers(6, size=jump.sum())]
        site[jump] += length * last[jump]
        fresh = (fresh | jump) & ~undo & ~rest
        shake = memory * shake + rng.normal(0.0, rattle * np.sqrt(1 - memory**2), shake.shape)
        frame[:] = site + shake
    return x.reshape(n_frames, replicas, n_atoms, 3).swapaxes(0, 1)


def lattice_gas(rng, replicas, n_frames, n_atoms, edge=5, length=2.0, moves=0.5):
    """Atoms on a simple cubic lattice of edge³ sites that exclude each other; `moves` trials per atom and frame.

    Back-jumps come of themselves: the site just left is free.
    """
    every = np.arange(replicas)
    occupied = np.zeros((replicas, edge, edge, edge), dtype=bool)
    start = rng.permuted(np.tile(np.arange(edge**3), (replicas, 1)), axis=1)[:, :n_atoms]
    site = np.stack(np.unravel_index(start, (edge,) * 3), axis=-1)
    occupied[every[:, None], *np.moveaxis(site, -1, 0)] = True
    trials = round(moves * n_atoms)
    x = np.empty((replicas, n_frames, n_atoms, 3))
    for t in range(n_frames):
        who = rng.integers(n_atoms, size=(trials, replicas))
        way = AXES[rng.integers(6, size=(trials, replicas))]
        for atom, step in zip(who, way, strict=True):
            old = site[every, atom]
            new = old + step
            target = (every, *(new % edge).T)
            free = ~occupied[target]
            occupied[(every, *(old % edge).T)] ^= free
            occupied[target] |= free
            site[every[free], atom[free]] = new[free]
        x[:, t] = length * site
    return x
