# SPDX-License-Identifier: GPL-2.0-or-later
"""Diffusivities of small periodic cells, extrapolated to large ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyuq.brief import brief
from pyuq.diffusion.self_diffusion import Diffusivity
from pyuq.errors import InputError

XI = 2.837297  # of the Ewald sum over images of a cubic cell
BOLTZMANN_SI = 1.380649e-23  # J/K
A2_PS = 1e8  # Å²/ps in one m²/s
METRE = 1e-10  # m in one Å


@brief()
@dataclass(frozen=True)
class YehHummer:
    r"""Hydrodynamic correction of a fluid's self-diffusivity in a cubic cell.

    .. math:: D_∞ = D + \frac{ξ k_B T}{6 π η L}

    An atom that moves drags the fluid around its periodic images. In a crystal the framework takes up the momentum,
    there is no such flow, and adding the term would be wrong.

    Parameters
    ----------
    temperature : float
        K.
    viscosity, viscosity_error : float
        mPa s.

    References
    ----------
    I.-C. Yeh and G. Hummer, J. Phys. Chem. B 108, 15873 (2004).
    """

    temperature: float
    viscosity: float
    viscosity_error: float = 0.0

    def compute(
        self, diffusivity: Diffusivity, cell: np.ndarray, everything: Sequence[Diffusivity]
    ) -> tuple[float, float]:
        """Corrected diffusivity and its standard error, Å²/ps.

        Parameters
        ----------
        diffusivity : Diffusivity
        cell : ndarray, shape (3, 3)
            Å.
        everything : sequence of Diffusivity
            Of every species in the cell: the correction is for fluids, where all of them diffuse.

        Raises
        ------
        InputError
            A crystal, or a cell that is not cubic.
        """
        if not everything or not all(d.resolved for d in everything):
            raise InputError(
                "the Yeh–Hummer correction holds in fluids only: here some species does not diffuse, so that its "
                "framework takes up the momentum and there is no flow around periodic images. For a crystal run "
                "several cell sizes and extrapolate them with SizeSeries"
            )
        length = np.cbrt(abs(np.linalg.det(cell)))
        if not np.allclose(
            np.asarray(cell) @ np.transpose(cell), length**2 * np.eye(3), atol=0.01 * length**2
        ):
            raise InputError(
                f"cell {np.round(cell, 3).tolist()}: expected a cubic one for the constant {XI}"
            )
        for name in ("temperature", "viscosity"):
            if not 0 < (value := getattr(self, name)) < np.inf:
                raise InputError(f"{name} {value}: expected a positive number, K or mPa s")
        shift = XI * BOLTZMANN_SI * self.temperature * A2_PS
        shift /= 6.0 * np.pi * (1e-3 * self.viscosity) * (length * METRE)
        error = np.hypot(diffusivity.error, shift * self.viscosity_error / self.viscosity)
        return float(diffusivity.value + shift), float(error)


@brief()
@dataclass(frozen=True)
class SizeSeries:
    """Straight line of D against the inverse edge, for crystals and fluids alike."""

    def compute(
        self, lengths: Sequence[float], values: Sequence[float], errors: Sequence[float]
    ) -> tuple[float, float]:
        """Diffusivity of an infinite cell and its standard error, Å²/ps.

        Parameters
        ----------
        lengths : sequence of float, length n
            Edges of cells of one shape, Å.
        values, errors : sequence of float, length n
            Å²/ps.

        Raises
        ------
        InputError
            Fewer than two sizes, or numbers that are not positive.
        """
        lengths, values, errors = (np.asarray(v, dtype=float) for v in (lengths, values, errors))
        if len(np.unique(lengths)) < 2:
            raise InputError(
                f"cell edges {lengths.tolist()} Å: expected at least two different ones"
            )
        if not (lengths > 0).all() or not (errors > 0).all():
            raise InputError(
                f"cell edges {lengths.tolist()} Å, errors {errors.tolist()}: expected positive numbers"
            )
        design = np.column_stack([np.ones(len(lengths)), 1.0 / lengths]) / errors[:, None]
        spread = np.linalg.inv(design.T @ design)
        return float((spread @ design.T @ (values / errors))[0]), float(np.sqrt(spread[0, 0]))
