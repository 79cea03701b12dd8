# SPDX-License-Identifier: GPL-2.0-or-later
"""Diffusivities with honest intervals, from unwrapped trajectories.

Every analysis is ``Name(parameters).compute(arrays)`` and returns an immutable result.
"""

from pyuq.diffusion.msd import atom_msd, atom_tensor_msd, remove_drift
from pyuq.diffusion.self_diffusion import Diffusivity, SelfDiffusion, self_diffusivity

__all__ = [
    "Diffusivity",
    "SelfDiffusion",
    "atom_msd",
    "atom_tensor_msd",
    "remove_drift",
    "self_diffusivity",
]
