# SPDX-License-Identifier: GPL-2.0-or-later
"""Positions out of LAMMPS text dumps."""

from pathlib import Path

import numpy as np


def read_unwrapped(path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read unwrapped positions of a dump with the columns ``id type xu yu zu``, sorted by id.

    Parameters
    ----------
    path : str or Path
        Of ``dump ID all custom N FILE id type xu yu zu`` with ``dump_modify ID sort id``.

    Returns
    -------
    steps : ndarray of int, shape (T,)
    types : ndarray of int, shape (N,)
    positions : ndarray, shape (T, N, 3)
        Å.

    Raises
    ------
    ValueError
        Other columns, unsorted atoms, a changing number of atoms, or a truncated frame.
    """
    lines = Path(path).read_text().splitlines()
    if len(lines) < 9 or not lines[8].startswith("ITEM: ATOMS id type xu yu zu"):
        raise ValueError(f"{path}: expected the columns id type xu yu zu, found {lines[8:9]}")
    n = int(lines[3])
    length = n + 9
    if len(lines) % length or any(line != lines[3] for line in lines[3::length]):
        raise ValueError(f"{path}: frames differ in their number of atoms ({n} in the first)")
    frames = len(lines) // length
    text = " ".join(
        line for k in range(frames) for line in lines[k * length + 9 : (k + 1) * length]
    )
    table = np.array(text.split(), dtype=float).reshape(frames, n, 5)
    if (table[:, :, 0] != table[0, :, 0]).any():
        raise ValueError(f"{path}: atoms are not sorted; use dump_modify sort id")
    steps = np.array([int(lines[k * length + 1]) for k in range(frames)])
    return steps, table[0, :, 1].astype(int), table[:, :, 2:]
