# SPDX-License-Identifier: GPL-2.0-or-later
"""Write linear ACE potentials in ML-PACE's format.

References
----------
Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021); the format is described in docs/file-formats.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from os import PathLike
from typing import TextIO

import numpy as np
import vesin
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.files import write_text
from pyuq.potentials.basis import ACEBasis, Function
from pyuq.settings import check_elements

SPLINE_STEP = 0.001  # Å, of the radial tables that ML-PACE makes
CORE_FADE = (
    100000.0,
    250.0,
)  # eV; without core repulsion the fading that it causes is never reached
SMALLEST_INNER = 0.5  # Å, of a repulsion drawn from data
WITHOUT_DATA = 0.5  # shortest distance over sum of covalent radii, where no structure has any pair
NEIGHBORS = (
    1.2  # spread of shortest distance over sum of covalent radii among pairs that are neighbours
)


@brief()
@dataclass(frozen=True)
class Repulsion:
    """Universal short-range repulsion (Ziegler-Biersack-Littmark) that takes over inside the data.

    With d the distance of the nearest neighbour beyond its ``inner - width``, the energy of an atom is
    E0 + f(d) E_ACE + (1 - f(d)) E_ZBL, f a quintic step from 0 (d ≤ 0) to 1 (d ≥ width). Nothing changes for
    atoms whose neighbours all are farther than ``inner``.

    Attributes
    ----------
    inner : mapping of pair to float
        {("Al", "Si"): distance in Å at which the fitted energy begins to fade}, a pair in either order.
    width : float
        Width of the change, Å, at most half of the shortest ``inner``. The same for all pairs: the nearest
        neighbour alone sets f, and with one width it is the one with the smallest f.
    """

    inner: Mapping[tuple[str, str], float]
    width: float = 0.3

    def __post_init__(self):
        if not self.inner or not all(0 < r < np.inf for r in self.inner.values()):
            raise InputError(f"inner needs positive distances (Å) of pairs, found {self.inner}")
        if not 0 < self.width <= 0.5 * min(self.inner.values()):
            raise InputError(
                f"width must lie in 0..{0.5 * min(self.inner.values())} Å (half of the shortest inner "
                f"distance), found {self.width}"
            )

    def distance(self, a: str, b: str) -> float:
        """Inner distance of a pair, Å.

        Raises
        ------
        InputError
            ``inner`` does not name the pair, or ZBL does not know the elements.
        """
        check_elements((a, b), "repulsion")
        for pair in ((a, b), (b, a)):
            if pair in self.inner:
                return float(self.inner[pair])
        raise InputError(f"repulsion names no inner distance for {a}-{b}; give one for every pair")


def shortest_distances(
    structures: Iterable[Atoms], elements: Sequence[str], cutoff: float
) -> dict[tuple[str, str], float]:
    """Shortest distance of each pair of elements in a set of structures, Å.

    Pairs that never come closer than `cutoff` are left out. Keys follow the order of `elements`.
    """
    shortest: dict[tuple[str, str], float] = {}
    for atoms in structures:
        i, j, d = vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
            atoms.positions, atoms.cell.array, atoms.pbc, quantities="ijd"
        )
        symbols = np.array(atoms.get_chemical_symbols())
        for a, b in combinations_with_replacement(elements, 2):
            found = d[(symbols[i] == a) & (symbols[j] == b)]
            if found.size:
                shortest[a, b] = min(shortest.get((a, b), cutoff), float(found.min()))
    return shortest


def repulsion_inside(
    structures: Iterable[Atoms],
    elements: Sequence[str],
    cutoff: float,
    margin: float = 0.1,
    width: float = 0.3,
) -> Repulsion:
    """Repulsion that begins just inside the shortest distance of each pair in the data.

    The tightest pair tells how close atoms of this material come, as a part of the sum of their covalent radii. A pair
    that keeps 1.2 times farther apart, or never meets, is none of neighbours (two anions of a crystal): its distance is
    a habit of the structure and says nothing of repulsion, which begins at that 1.2.

    Parameters
    ----------
    structures : iterable of Atoms
        Training data.
    elements : sequence of str
    cutoff : float
        Distances up to this are looked at, Å.
    margin : float
        Distance kept from the data, Å.
    width : float
        Largest width of the change, Å; narrower where the shortest distance asks for it.

    Returns
    -------
    Repulsion
    """
    check_elements(elements, "repulsion")

    def radii(pair):
        return sum(covalent_radii[atomic_numbers[element]] for element in pair)

    shortest = shortest_distances(structures, elements, cutoff)
    ratio = min((d / radii(pair) for pair, d in shortest.items()), default=WITHOUT_DATA)
    inner = {
        pair: max(
            min(shortest.get(pair, np.inf), NEIGHBORS * ratio * radii(pair)) - margin,
            SMALLEST_INNER,
        )
        for pair in combinations_with_replacement(elements, 2)
    }
    return Repulsion(inner, min(width, 0.5 * min(inner.values())))


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


def format_bond(basis: ACEBasis, a: str, b: str, repulsion: Repulsion | None) -> str:
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


def format_function(species: int, function: Function, weight: float) -> str:
    """Entry of one function with its weight folded into the coupling."""
    return (
        f"{{mu0: {species}, rank: {len(function.mus)}, ndensity: 1, num_ms_combs: {len(function.ms)}, "
        f"mus: {integers(function.mus)}, ns: {integers(function.ns)}, ls: {integers(function.ls)}, "
        f"ms_combs: {integers(m for ms in function.ms for m in ms)}, "
        f"ctildes: {numbers(weight * function.ctildes)}}}"
    )


def write_yace(
    path: str | PathLike | TextIO,
    basis: ACEBasis,
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
