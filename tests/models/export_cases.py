# SPDX-License-Identifier: GPL-2.0-or-later
"""Potentials whose energies and forces ML-PACE's own evaluator computed (tests/data/yace_export)."""

import numpy as np

from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.repulsion import Repulsion

# name: (basis, one-body energies, repulsion)
CASES = {
    "si_order4": (
        ACEBasis(
            ("Si",), 4.5, order=4, degree=(8, 7, 6, 5), lmax=(0, 5, 3, 2), radial="ChebExpCos"
        ),
        {"Si": -0.75},
        None,
    ),
    "si_order6": (
        ACEBasis(("Si",), 4.0, order=6, degree=3, radial="ChebLinear", n_weight=1.5),
        {"Si": 0.5},
        None,
    ),
    "si_radial_only": (ACEBasis(("Si",), 5.0, order=1, degree=7, radial="ChebExpCos"), {}, None),
    "alsi_sbessel": (
        ACEBasis(
            ("Al", "Si"),
            {("Al", "Al"): 5.0, ("Al", "Si"): 4.5, ("Si", "Si"): 4.0},
            degree=(6, 5, 4),
            radial="SBessel",
            radial_parameter=5.25,
            species_weights={("Si", "Si"): 1.0},
        ),
        {"Al": -0.1, "Si": -0.2},
        None,
    ),
    "agi_zbl": (
        ACEBasis(("Ag", "I"), 5.0, degree=(6, 6, 3), radial="ChebExpCos", dcut=0.5),
        {"Ag": -0.25},
        Repulsion({("Ag", "Ag"): 2.3, ("Ag", "I"): 2.4, ("I", "I"): 3.4}, width=0.4),
    ),
    "naps_zbl": (
        ACEBasis(
            ("Na", "P", "S"),
            4.5,
            order=4,
            degree=(4, 3, 1, 1),
            radial="ChebPow",
            radial_parameter=2.0,
        ),
        {"Na": 0.1, "P": 0.2, "S": 0.3},
        Repulsion(
            {
                ("Na", "Na"): 2.4,
                ("Na", "P"): 2.3,
                ("Na", "S"): 2.2,
                ("P", "P"): 2.1,
                ("P", "S"): 1.8,
                ("S", "S"): 2.0,
            },
            width=0.3,
        ),
    ),
}


def coefficients(basis: ACEBasis) -> np.ndarray:
    """Made-up weights that fall off with the degree, eV."""
    k = np.arange(basis.nfunctions)
    return 0.5 * np.sin(1.0 + 1.7 * k) / (1.0 + basis.degrees()) ** 2
