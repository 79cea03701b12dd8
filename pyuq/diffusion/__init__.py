# SPDX-License-Identifier: GPL-2.0-or-later
"""Diffusivities and conductivities with honest intervals, from unwrapped trajectories.

Every analysis is ``Name(parameters).compute(arrays)`` and returns an immutable result.
"""

from pyuq.diffusion.arrhenius import Arrhenius, ArrheniusFit
from pyuq.diffusion.conductivity import (
    Conductivity,
    IonicConductivity,
    charge_displacement,
    collective_diffusivity,
)
from pyuq.diffusion.finite_size import SizeSeries, YehHummer
from pyuq.diffusion.green_kubo import GreenKubo, VelocityCorrelation, atom_vacf
from pyuq.diffusion.msd import atom_msd, atom_tensor_msd, remove_drift
from pyuq.diffusion.pooling import Pooled, block_average, pool
from pyuq.diffusion.self_diffusion import Diffusivity, SelfDiffusion, self_diffusivity
from pyuq.diffusion.streaming import StreamingMSD
from pyuq.diffusion.summary import Condition, Summary, summarise
from pyuq.diffusion.trajectory import TrajectoryAnalysis, TrajectoryResult

__all__ = [
    "Arrhenius",
    "ArrheniusFit",
    "Condition",
    "Conductivity",
    "Diffusivity",
    "GreenKubo",
    "IonicConductivity",
    "Pooled",
    "SelfDiffusion",
    "SizeSeries",
    "StreamingMSD",
    "Summary",
    "TrajectoryAnalysis",
    "TrajectoryResult",
    "VelocityCorrelation",
    "YehHummer",
    "atom_msd",
    "atom_tensor_msd",
    "atom_vacf",
    "block_average",
    "charge_displacement",
    "collective_diffusivity",
    "pool",
    "remove_drift",
    "self_diffusivity",
    "summarise",
]
