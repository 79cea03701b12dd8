# SPDX-License-Identifier: GPL-2.0-or-later
r"""Superionic α-AgI with a classical potential: the embedded reference, where the truth is known.

The pair potential of Vashishta and Rahman in the form of Parrinello, Rahman and Vashishta: charges ±0.6 e and
:math:`V(r)/e^2 = H r^{-n} - P r^{-4} - W r^{-6}`. The Coulomb part is damped and shifted at 9 Å
(coul/dsf), which makes the reference short-ranged, so that a local model can learn it.

References
----------
P. Vashishta, A. Rahman, Phys. Rev. Lett. 40, 1337 (1978).
M. Parrinello, A. Rahman, P. Vashishta, Phys. Rev. Lett. 50, 1073 (1983).
"""

import numpy as np
from ase import Atoms

ELEMENTS = ("Ag", "I")
MASSES = {"Ag": 107.868, "I": 126.904}  # g/mol
CHARGES = {"Ag": 0.6, "I": -0.6}  # e
LATTICE_CONSTANT = 5.062  # Å
CUTOFF = 9.0  # Å
E2 = 14.39964  # eV Å
PAIRS = {
    ("Ag", "Ag"): "0.014804/r^11",
    ("Ag", "I"): "114.48/r^9 - 1.1736/r^4",
    ("I", "I"): "446.64/r^7 - 2.3472/r^4 - 6.9331/r^6",
}
# Tetrahedral sites of the bcc cell; two of the twelve hold silver in each cell.
SITES = np.array(
    [
        (x, y, z)
        for a in ((0.5, 0.25), (0.5, 0.75), (0.25, 0.5), (0.75, 0.5))
        for x, y, z in ((*a, 0.0), (0.0, *a), (a[0], 0.0, a[1]))
    ]
)


def reference_commands() -> tuple[str, ...]:
    """LAMMPS commands of the reference; atom types 1 and 2 are Ag and I, atom style charge."""
    kinds = {"Ag": 1, "I": 2}
    return (
        f"pair_style hybrid/overlay lepton {CUTOFF} coul/dsf 0.25 {CUTOFF}",
        *(
            f'pair_coeff {kinds[a]} {kinds[b]} lepton "{E2}*({expression})"'
            for (a, b), expression in PAIRS.items()
        ),
        "pair_coeff * * coul/dsf",
    )


def silver_iodide(
    cells: int,
    rng: np.random.Generator,
    rattle: float = 0.0,
    strain: float = 0.0,
) -> Atoms:
    """Make a cubic supercell of α-AgI: bcc iodine, silver on random tetrahedral sites.

    Parameters
    ----------
    cells : int
        Cubic cells (2 Ag, 2 I) along each direction.
    rng : numpy.random.Generator
    rattle : float
        Standard deviation of random displacements, Å.
    strain : float
        Standard deviation of the random strain's components.

    Returns
    -------
    Atoms
        With 4 · cells³ atoms.
    """
    origins = np.array(list(np.ndindex(cells, cells, cells)), dtype=float)
    iodine = (origins[:, None] + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3)
    silver = _spread_silver(origins, cells, rng)
    atoms = Atoms(
        ["Ag"] * len(silver) + ["I"] * len(iodine),
        scaled_positions=np.concatenate([silver, iodine]) / cells,
        cell=[cells * LATTICE_CONSTANT] * 3,
        pbc=True,
    )
    atoms.set_masses([MASSES[s] for s in atoms.get_chemical_symbols()])
    deformation = strain * rng.normal(size=(3, 3))
    deformation = np.eye(3) + (deformation + deformation.T) / 2
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    atoms.positions += rattle * rng.normal(size=atoms.positions.shape)
    return atoms


def _spread_silver(origins: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Choose two sites in each cell, never nearest neighbours (cell units)."""
    chosen: list[np.ndarray] = []
    for origin in origins:
        free = [*rng.permutation(SITES)]
        for _ in range(2):
            distances = [_nearest(origin + site, chosen, cells) for site in free]
            best = int(np.argmax(np.minimum(distances, 0.6)))  # the first that is far enough
            chosen.append(origin + free.pop(best))
    return np.array(chosen)


def _nearest(point: np.ndarray, others: list[np.ndarray], cells: int) -> float:
    if not others:
        return np.inf
    d = point - np.array(others)
    d -= cells * np.round(d / cells)
    return float(np.sqrt((d**2).sum(axis=1)).min())
