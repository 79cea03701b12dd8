# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks with random weights."""

import numpy as np


def random_tensors(architecture, samples, rng, repulsion=()):
    """Weights of about unit activations; `repulsion`: from and to, Å, of the first pair, shorter for the others."""
    scale = {"sources": 0.5, "radial1": 0.7, "radial2": 0.3, "bias": 0.1, "readout": 0.4}
    tensors = {"frequencies": np.pi * np.arange(1, architecture.bessels + 1)}
    for name, shape in architecture.shapes().items():
        width = next((s for key, s in scale.items() if key in name), 0.8)
        if "linear" in name or "self" in name:
            width /= np.sqrt(architecture.channels)
        tensors[name] = rng.normal(scale=width, size=(samples, *shape))
    if repulsion:
        n = len(architecture.elements)
        shorter = 1 - 0.1 * np.add.outer(np.arange(n), np.arange(n))
        tensors["repulsion"] = shorter[:, :, None] * repulsion
    return tensors
