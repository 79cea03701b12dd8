# SPDX-License-Identifier: GPL-2.0-or-later
"""Which structures to label: those that together tell most."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from pyuq.inference.fit import FitResult
from pyuq.inference.readout_fit import ReadoutFit


def energy_covariance(fit: FitResult | ReadoutFit, structures: Sequence[Atoms]) -> np.ndarray:
    """Posterior covariance of the energies per atom of structures, shape (n, n), eV²."""
    features = np.array(
        [
            fit.features.model.sums(fit.features.neighbors(atoms)[0]) / len(atoms)
            for atoms in structures
        ]
    )
    return features @ fit.posterior.covariance @ features.T


def diverse(covariance: np.ndarray, count: int, redundancy: float = 0.0) -> list[int]:
    """Greedy D-optimal choice: each time the structure that is least known given those chosen before.

    This is a Cholesky factorisation with pivoting, stopped early.

    Parameters
    ----------
    covariance : ndarray, shape (n, n)
        Of the candidates' predictions.
    count : int
        Most structures to choose.
    redundancy : float
        A candidate is left out when the part of its variance that the chosen ones leave is smaller.

    Returns
    -------
    list of int
        In the order of the choice.
    """
    variance = np.array(np.diag(covariance), dtype=float)
    first = variance.copy()
    factor = np.zeros((0, len(variance)))
    chosen: list[int] = []
    while len(chosen) < min(count, len(variance)):
        open_ = (variance > redundancy * first) & (variance > 0.0)
        open_[chosen] = False
        if not open_.any():
            break
        best = int(np.argmax(np.where(open_, variance, -np.inf)))
        row = (covariance[best] - factor[:, best] @ factor) / np.sqrt(variance[best])
        factor = np.vstack([factor, row])
        variance = variance - row**2
        chosen.append(best)
    return chosen
