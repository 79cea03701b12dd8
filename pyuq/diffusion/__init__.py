# SPDX-License-Identifier: GPL-2.0-or-later
"""Self-diffusivity with an honest interval, from unwrapped trajectories."""

from pyuq.diffusion.msd import atom_msd, remove_drift
from pyuq.diffusion.regression import (
    Diffusivity,
    Line,
    brownian_covariance,
    covariance_kernels,
    fit_line,
    log_lags,
    self_diffusivity,
)

__all__ = [
    "Diffusivity",
    "Line",
    "atom_msd",
    "brownian_covariance",
    "covariance_kernels",
    "fit_line",
    "log_lags",
    "remove_drift",
    "self_diffusivity",
]
