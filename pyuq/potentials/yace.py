# SPDX-License-Identifier: GPL-2.0-or-later
"""Write linear ACE potentials in ML-PACE's format.

References
----------
Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021); the format is described in docs/file-formats.md.
"""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, TextIO

import numpy as np

from pyuq.errors import InputError
from pyuq.io.files import write_text
from pyuq.potentials.repulsion import Repulsion

if TYPE_CHECKING:
    from pyuq.potentials.basis import ACEBasis, Function

SPLINE_STEP = 0.001  # Å, of the radial tables that ML-PACE makes
CORE_FADE = (
    100000.0,
    250.0,
)  # eV; without core repulsion the fading that it causes is never reached


def number(value: float) -> str:
    """Shortest text that reads back as the same double."""
    return repr(float(value))


def numbers(values: Iterable[float]) -> str:
    """Flow list of numbers."""
    return "[" + ", ".join(number(v) for v in values) + "]"


def integers(values: Iterable[int]) -> str:
    """Flow list of integers."""
    return "[" + ", ".join(str(int(v)) for v in values) + "]"


def format_yace(
    basis: "ACEBasis",
    coefficients: np.ndarray | None = None,
    e0: Mapping[str, float] | None = None,
    repulsion: Repulsion | None = None,
) -> str:
    """Text of a potential.

    Parameters
    ----------
    basis : ACEBasis
    coefficients : ndarray, shape (M,), optional
        Weights of the functions, eV; default: ones, which makes the file a definition of the features.
    e0 : mapping of str to float, optional
        One-body energies, eV.
    repulsion : Repulsion, optional

    Returns
    -------
    str

    Raises
    ------
    InputError
        Wrong number of coefficients, coefficients that are not finite, or one-body energies of elements
        that the basis does not have.
    """
    m = basis.nfunctions
    weights = np.ones(m) if coefficients is None else np.asarray(coefficients, dtype=float)
    if weights.shape != (m,) or not np.isfinite(weights).all():
        raise InputError(f"expected {m} finite coefficients, found shape {weights.shape}")
    e0 = e0 or {}
    elements = basis.elements
    if unknown := set(e0) - set(elements):
        raise InputError(f"e0 names {', '.join(sorted(unknown))}, expected {', '.join(elements)}")
    lines = [
        f"elements: [{', '.join(elements)}]",
        f"E0: {numbers(e0.get(element, 0.0) for element in elements)}",
        f"deltaSplineBins: {SPLINE_STEP}",
        "embeddings:",
    ]
    lines += [
        f"  {z}: {{ndensity: 1, FS_parameters: [1.0, 1.0], npoti: FinnisSinclairShiftedScaled, "
        f"rho_core_cutoff: {CORE_FADE[0]}, drho_core_cutoff: {CORE_FADE[1]}}}"
        for z in range(len(elements))
    ]
    lines.append("bonds:")
    lines += [
        f"  [{i}, {j}]: {format_bond(basis, a, b, repulsion)}"
        for i, a in enumerate(elements)
        for j, b in enumerate(elements)
    ]
    lines.append("functions:")
    k = 0
    for z, functions in enumerate(basis.functions):
        lines.append(f"  {z}:" if functions else f"  {z}: []")
        for function in functions:
            lines.append(f"    - {format_function(z, function, weights[k])}")
            k += 1
    return "\n".join(lines) + "\n"


def format_bond(basis: "ACEBasis", a: str, b: str, repulsion: Repulsion | None) -> str:
    """Radial functions of a pair, R_nl = g_n (identity coefficients), and its repulsion."""
    nradial, lmax, nbase = basis.nradial, basis.largest_l, basis.nbase
    identity = np.eye(nradial, nbase)
    rows = ", ".join("[" + ", ".join([numbers(row)] * (lmax + 1)) + "]" for row in identity)
    if repulsion is None:
        core = "prehc: 0.0, rcut_in: 0.0, dcut_in: 0.0, inner_cutoff_type: density"
    else:
        core = (
            f"prehc: 1.0, rcut_in: {number(repulsion.distance(a, b))}, "
            f"dcut_in: {number(repulsion.width)}, inner_cutoff_type: zbl"
        )
    return (
        f"{{nradmax: {nradial}, lmax: {lmax}, nradbasemax: {nbase}, radbasename: {basis.radial}, "
        f"radparameters: [{number(basis.radial_parameter)}], radcoefficients: [{rows}], "
        f"lambdahc: 1.0, rcut: {number(basis.pair_cutoff(a, b))}, dcut: {number(basis.dcut)}, {core}}}"
    )


def format_function(species: int, function: "Function", weight: float) -> str:
    """Entry of one function with its weight folded into the coupling."""
    return (
        f"{{mu0: {species}, rank: {len(function.mus)}, ndensity: 1, num_ms_combs: {len(function.ms)}, "
        f"mus: {integers(function.mus)}, ns: {integers(function.ns)}, ls: {integers(function.ls)}, "
        f"ms_combs: {integers(m for ms in function.ms for m in ms)}, "
        f"ctildes: {numbers(weight * function.ctildes)}}}"
    )


def write_yace(
    path: str | PathLike | TextIO,
    basis: "ACEBasis",
    coefficients: np.ndarray | None = None,
    e0: Mapping[str, float] | None = None,
    repulsion: Repulsion | None = None,
) -> None:
    """Write :func:`format_yace` to a path, atomically, or to an open text file."""
    text = format_yace(basis, coefficients, e0, repulsion)
    if hasattr(path, "write"):
        path.write(text)
    else:
        write_text(path, text)
