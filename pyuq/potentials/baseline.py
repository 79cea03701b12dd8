# SPDX-License-Identifier: GPL-2.0-or-later
"""One-body energies: what an atom has without neighbours, from which a potential counts."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from pyuq.potentials.repulsion import shortest_distances


def fit_one_body(structures: Sequence[Atoms], elements: Sequence[str]) -> dict[str, float]:
    """One-body energies (eV) that explain the energies best; of minimal norm where undetermined."""
    counts = np.array([[a.symbols.count(e) for e in elements] for a in structures], dtype=float)
    size = counts.sum(axis=1)
    energies = np.array([a.calc.results["energy"] for a in structures])
    e0 = np.linalg.lstsq(counts / size[:, None], energies / size, rcond=1e-8)[0]
    return dict(zip(elements, map(float, e0), strict=True))


def isolated_atoms(
    structures: Sequence[Atoms], elements: Sequence[str], cutoff: float
) -> dict[str, float] | None:
    """Energies (eV) of atoms without neighbours; None unless there is one of every element."""
    energies = {
        atoms.get_chemical_symbols()[0]: float(atoms.calc.results["energy"])
        for atoms in structures
        if len(atoms) == 1 and not shortest_distances([atoms], elements, cutoff)
    }
    return energies if energies.keys() >= set(elements) else None
