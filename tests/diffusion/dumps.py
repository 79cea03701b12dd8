# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps for tests of the analysis of diffusion."""

import numpy as np


def write(path, positions, types=None, columns="xu yu zu", extra=None, **options):
    """Write positions (T, N, 3) as a dump.

    Options: ``steps`` and ``times`` (T,), ``edge`` of a cubic cell or ``boxes`` (T texts), ``order`` (T, N) of the
    rows.
    """
    steps = options.get("steps", range(0, 10 * len(positions), 10))
    types = np.ones(positions.shape[1], dtype=int) if types is None else types
    edge = options.get("edge", 12.0)
    with open(path, "w") as file:
        for t, frame in enumerate(positions):
            box = options["boxes"][t] if "boxes" in options else "pp pp pp\n" + f"0 {edge}\n" * 3
            time = f"ITEM: TIME\n{options['times'][t]:.16g}\n" if "times" in options else ""
            rows = frame if extra is None else np.concatenate([frame, extra[t]], axis=1)
            order = options["order"][t] if "order" in options else range(len(rows))
            file.write(
                f"{time}ITEM: TIMESTEP\n{steps[t]}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n"
                f"ITEM: BOX BOUNDS {box.rstrip()}\nITEM: ATOMS id type {columns}\n"
            )
            for k in order:
                file.write(f"{k + 1} {types[k]} {' '.join(f'{v:.12g}' for v in rows[k])}\n")
    return path


def walk(seed, n_frames, n_atoms, d, spacing):
    """Brownian positions (T, N, 3) of diffusivity d; `spacing` is a number or (T - 1,)."""
    rng = np.random.default_rng(seed)
    spread = np.sqrt(2 * d * np.broadcast_to(spacing, n_frames - 1))[:, None, None]
    steps = rng.normal(size=(n_frames - 1, n_atoms, 3)) * spread
    start = rng.uniform(0, 12, (1, n_atoms, 3))
    return np.concatenate([start, start + np.cumsum(steps, axis=0)])
