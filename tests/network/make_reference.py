# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes tests/data/network: a small network of two samples, and what its torch twin says of structures.

``PYTHONPATH=tests python tests/network/make_reference.py``; needs torch.
"""

import json
from pathlib import Path

import numpy as np
from conftest import STRUCTURES
from random_network import random_tensors

from pyuq.bnn.architecture import Architecture, read_network, write_network
from pyuq.bnn.network import Batch, force_noise, predict, sample_weights

DATA = Path(__file__).resolve().parents[1] / "data" / "network"


def main() -> None:
    """Write agi.safetensors and agi.json."""
    architecture = Architecture(
        ("Ag", "I"), 4.0, lmax=2, layers=3, channels=3, hidden=4, bessels=5, noise_hidden=4
    )
    DATA.mkdir(exist_ok=True)
    tensors = random_tensors(architecture, 2, np.random.default_rng(1))
    write_network(DATA / "agi.safetensors", architecture, tensors, {"seed": 1})
    file = read_network(DATA / "agi.safetensors")
    rows = []
    for atoms in STRUCTURES:
        rows.append(
            {
                "symbols": str(atoms.symbols),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.array.tolist(),
                "pbc": atoms.pbc.tolist(),
                "samples": [],
            }
        )
        for k in range(file.samples):
            weights = sample_weights(file, k)
            found = predict(architecture, weights, Batch.of([atoms], architecture))
            rows[-1]["samples"].append(
                {
                    "energies": found.atomic.tolist(),
                    "forces": found.forces.tolist(),
                    "virial": found.virials[0].tolist(),
                    "noise": force_noise(weights, found.features).tolist(),
                }
            )
    (DATA / "agi.json").write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
