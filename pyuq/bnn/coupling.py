# SPDX-License-Identifier: GPL-2.0-or-later
r"""Paths of a tensor product of natural parity, and the invariant tensors that couple them.

Real spherical harmonics with :math:`\sum_m Y_{lm}^2 = 2l+1`, in this order: :math:`Y_1=\sqrt3\,(x,y,z)`;
:math:`Y_2=\sqrt{15}\,xz,\ \sqrt{15}\,xy,\ \sqrt5\,(y^2-\tfrac12(x^2+z^2)),
\sqrt{15}\,yz,\ \tfrac12\sqrt{15}\,(z^2-x^2)`.
For even :math:`l_1+l_2+l_3` the integral of three of them does not vanish, and is the invariant tensor up to a factor.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Path = tuple[int, int, int]


def harmonics(unit: NDArray) -> list[NDArray]:
    """Harmonics l = 0, 1, 2 of unit vectors (..., 3); each (..., 2 l + 1)."""
    x, y, z = np.moveaxis(unit, -1, 0)
    root3, root5, root15 = np.sqrt([3.0, 5.0, 15.0])
    second = (
        root15 * x * z,
        root15 * x * y,
        root5 * (y * y - 0.5 * (x * x + z * z)),
        root15 * y * z,
        0.5 * root15 * (z * z - x * x),
    )
    return [np.ones_like(x)[..., None], root3 * unit, np.stack(second, axis=-1)]


@cache
def coupling(l1: int, l2: int, l3: int) -> NDArray:
    """Invariant tensor (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) of Frobenius norm √(2 l3 + 1), by exact quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(4)  # exact to degree 7
    phi = np.arange(8) * np.pi / 4
    rho = np.sqrt(1 - nodes**2)[:, None]
    points = [rho * np.cos(phi), rho * np.sin(phi), nodes[:, None] + 0 * phi]
    y = harmonics(np.stack(points, axis=-1))
    tensor = np.einsum("t,tpi,tpj,tpk->ijk", weights, y[l1], y[l2], y[l3])
    tensor[abs(tensor) < 1e-12] = 0.0
    return tensor * np.sqrt(2 * l3 + 1) / np.linalg.norm(tensor)


def paths(lmax: int, first: bool, last: bool) -> list[Path]:
    """Paths (l1, l2, l3) of a layer in ascending order: l1 = 0 in the first layer, l3 = 0 in the last."""
    return [
        (l1, l2, l3)
        for l1 in range(1 if first else lmax + 1)
        for l2 in range(lmax + 1)
        for l3 in range(1 if last else lmax + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    ]
