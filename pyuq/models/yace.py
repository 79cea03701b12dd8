# SPDX-License-Identifier: GPL-2.0-or-later
"""Write linear ACE potentials in ML-PACE's format.

References
----------
Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021); the format is described in docs/file-formats.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from pyuq.io.files import atomic_write
from pyuq.models.basis import ACEBasis, Function

SPLINE_STEP = 0.001  # Å, of the radial tables that ML-PACE makes
NO_CORE = (
    100000.0,
    250.0,
)  # core energy in eV beyond which ML-PACE fades the embedding; never reached


@dataclass(frozen=True)
class Repulsion:
    """Universal short-range repulsion (Ziegler-Biersack-Littmark) that takes over inside the data.

    When the nearest neighbour of an atom comes closer than ``inner[pair]``, its energy changes smoothly,
    over ``width``, from the fitted one to the ZBL one.

    Attributes
    ----------
    inner : mapping of pair to float
        {("Al", "Si"): distance in Å at which the fitted energy begins to fade}; both orders of a pair.
    width : float
        Width of the change, Å.
    """

    inner: Mapping[tuple[str, str], float] = field(default_factory=dict)
    width: float = 0.3

    def bond(self, a: str, b: str) -> str:
        """Entries of the bond of two elements."""
        inner = self.inner[(a, b)]
        width = min(self.width, 0.5 * inner)
        return f"rcut_in: {number(inner)}, dcut_in: {number(width)}, inner_cutoff_type: zbl"


def repulsion_inside(
    structures: Iterable[Atoms], elements: Sequence[str], cutoff: float, margin: float = 0.1
) -> Repulsion:
    """Repulsion that begins just inside the shortest distance of each pair in the data.

    Parameters
    ----------
    structures : iterable of Atoms
    elements : sequence of str
    cutoff : float
        Distances up to this are looked at, Å.
    margin : float
        Distance kept from the data, Å. A pair that never meets takes the shortest distance of all pairs.

    Returns
    -------
    Repulsion
    """
    from ase.neighborlist import neighbor_list

    shortest: dict[tuple[str, str], float] = {}
    for atoms in structures:
        i, j, d = neighbor_list("ijd", atoms, cutoff)
        symbols = np.array(atoms.get_chemical_symbols())
        for a in elements:
            for b in elements:
                chosen = d[(symbols[i] == a) & (symbols[j] == b)]
                if chosen.size:
                    shortest[a, b] = min(shortest.get((a, b), cutoff), float(chosen.min()))
    least = min(shortest.values(), default=1.5)
    return Repulsion(
        {(a, b): max(shortest.get((a, b), least) - margin, 0.5) for a in elements for b in elements}
    )


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
    basis: ACEBasis,
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
    ValueError
        Wrong number of coefficients, or coefficients that are not finite.
    """
    m = basis.nfunctions
    weights = np.ones(m) if coefficients is None else np.asarray(coefficients, dtype=float)
    if weights.shape != (m,) or not np.isfinite(weights).all():
        raise ValueError(f"expected {m} finite coefficients, found shape {weights.shape}")
    e0 = e0 or {}
    elements = basis.elements
    lines = [
        f"elements: [{', '.join(elements)}]",
        f"E0: {numbers(e0.get(element, 0.0) for element in elements)}",
        f"deltaSplineBins: {SPLINE_STEP}",
        "embeddings:",
    ]
    lines += [
        f"  {z}: {{ndensity: 1, FS_parameters: [1.0, 1.0], npoti: FinnisSinclairShiftedScaled, "
        f"rho_core_cutoff: {NO_CORE[0]}, drho_core_cutoff: {NO_CORE[1]}}}"
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


def format_bond(basis: ACEBasis, a: str, b: str, repulsion: Repulsion | None) -> str:
    """Radial functions of a pair: R_nl = g_n, identity coefficients."""
    nradial, lmax, nbase = basis.nradial, basis.largest_l, basis.nbase
    identity = np.eye(nradial, nbase)
    rows = ", ".join("[" + ", ".join([numbers(row)] * (lmax + 1)) + "]" for row in identity)
    core = "rcut_in: 0, dcut_in: 0, inner_cutoff_type: density"
    if repulsion is not None:
        core = repulsion.bond(a, b)
    return (
        f"{{nradmax: {nradial}, lmax: {lmax}, nradbasemax: {nbase}, radbasename: {basis.radial}, "
        f"radparameters: [{number(basis.radial_parameter)}], radcoefficients: [{rows}], "
        f"prehc: {0.0 if repulsion is None else 1.0}, lambdahc: 1.0, rcut: {number(basis.cutoff)}, "
        f"dcut: {number(basis.dcut)}, {core}}}"
    )


def format_function(species: int, function: Function, weight: float) -> str:
    """Entry of one function with its weight folded into the coupling."""
    return (
        f"{{mu0: {species}, rank: {len(function.mus)}, ndensity: 1, num_ms_combs: {len(function.ms)}, "
        f"mus: {integers(function.mus)}, ns: {integers(function.ns)}, ls: {integers(function.ls)}, "
        f"ms_combs: {integers(m for ms in function.ms for m in ms)}, "
        f"ctildes: {numbers(weight * function.ctildes)}}}"
    )


def write_yace(path, basis: ACEBasis, coefficients=None, e0=None, repulsion=None) -> None:
    """Write :func:`format_yace` to a file, atomically."""
    with atomic_write(path) as file:
        file.write(format_yace(basis, coefficients, e0, repulsion))
