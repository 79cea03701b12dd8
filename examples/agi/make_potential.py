#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Refit the potential of this example on what a quickstart has labelled.

python make_potential.py pyuq-quickstart/hal/database.extxyz
"""

import sys
from pathlib import Path

from pyuq.inference.fit import fit
from pyuq.inference.fit_settings import FitSettings, Weights
from pyuq.io.structures import read_structures
from pyuq.potentials.basis import ACEBasis

basis = ACEBasis(("Ag", "I"), cutoff=6.5, order=3, degree=(8, 5, 3))
settings = FitSettings(basis, Weights(energy=0.001, force=0.05, virial=0.01))
result = fit(read_structures([Path(sys.argv[1])]), settings)
print(result.save(Path(__file__).parent, "agi"), basis.nfunctions, "functions")
