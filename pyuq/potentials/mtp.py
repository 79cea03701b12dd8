# SPDX-License-Identifier: GPL-2.0-or-later
r"""Moment tensor potentials as a basis for linear fits, and as ``.mtp`` text.

.. math:: E_i = e_{z_i} + \sum_n \xi_n B_n, \qquad
          f_\mu^{zz'}(r) = s\,(r - r_c)^2 \sum_k c^{zz'}_{\mu k}\, T_k(x), \quad
          x = \frac{2r - r_{\min} - r_c}{r_c - r_{\min}},

with the scalar moments :math:`B_n` of a level (:mod:`pyuq.potentials.mtp_moments`). The energy is linear in the
species constants e and the coefficients ξ, which the regression finds; the radial coefficients c come before,
see :mod:`pyuq.inference.mtp_radial`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.potentials.mtp_moments import Moments, moments
from pyuq.potentials.repulsion import shortest_distances

FloatArray = NDArray[np.float64]


@brief()
@dataclass(frozen=True)
class MTPBasis:
    """The functions of a moment tensor potential.

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols; their order is the species order of the file.
    cutoff : float
        Å.
    level : int
        Even, from 2: 8, 12, 16 are small, usual and large.
    radial_size : int
        Number of Chebyshev polynomials in a radial function.
    min_dist : float, optional
        Where the argument of the polynomials is -1, Å; default: the shortest distance of the training set. The
        functions go on below it.
    refine : int
        Largest number of steps of the search for radial coefficients; 0 keeps the first guess.
    seed : int
        Of the first guess.
    radial : ndarray, shape (elements, elements, radial functions, radial_size), optional
        Radial coefficients, found by a fit.

    Raises
    ------
    InputError
        A parameter outside its range.
    """

    elements: tuple[str, ...]
    cutoff: float
    level: int = 12
    radial_size: int = 8
    min_dist: float | None = None
    refine: int = 50
    seed: int = 0
    radial: FloatArray | None = field(default=None, compare=False, metadata={"setting": False})

    family = "mtp"
    suffix = ".mtp"
    has_repulsion = False

    def __post_init__(self):
        object.__setattr__(self, "elements", tuple(self.elements))
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise InputError(f"elements must be distinct symbols, found {self.elements}")
        if not 2 <= self.radial_size <= 64:
            raise InputError(f"radial_size must lie in 2..64, found {self.radial_size}")
        if self.refine < 0:
            raise InputError(f"refine must not be negative, found {self.refine}")
        low = 0.0 if self.min_dist is None else self.min_dist
        if not (low >= 0 and low < self.cutoff < 1000):
            raise InputError(
                f"expected 0 <= min_dist < cutoff < 1000 Å, found {self.min_dist} and {self.cutoff}"
            )
        moments(self.level)

    @property
    def moments(self) -> Moments:
        """Moments of the level."""
        return moments(self.level)

    @property
    def nfunctions(self) -> int:
        """Number of readout weights: species constants and scalar moments."""
        return len(self.elements) + len(self.moments.scalars)

    @property
    def largest_cutoff(self) -> float:
        """Cutoff, Å."""
        return self.cutoff

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the radial coefficients."""
        n = len(self.elements)
        return n, n, self.moments.nradial, self.radial_size

    def table(self) -> dict:
        """Parameters as a TOML or JSON table."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "radial"}
        return {name: value for name, value in values.items() if value is not None}

    def prior_mean(self, one_body: Mapping[str, float]) -> FloatArray:
        """Prior mean of the readout weights, eV, shape (M,): the one-body energies, then zeros."""
        mean = np.zeros(self.nfunctions)
        mean[: len(self.elements)] = [one_body[e] for e in self.elements]
        return mean

    def prior_shape(self, smoothness: float, gram: FloatArray) -> FloatArray:
        """Relative prior variances of the readout weights, shape (M,).

        A priori every function contributes alike to the (weighted) data, higher levels less, as
        level^-smoothness: moments, unlike the functions of an ACE, differ in scale by orders of magnitude.
        """
        levels = np.array([1] * len(self.elements) + list(self.moments.levels), dtype=float)
        power = np.diag(gram)
        floor = np.finfo(float).eps * power.max()
        return levels ** (-2.0 * smoothness) * power.max() / np.maximum(power, floor)

    @property
    def search(self) -> int:
        """Largest number of steps of the search for radial coefficients."""
        return self.refine

    @property
    def coefficients(self) -> FloatArray:
        """Radial coefficients, flat."""
        return self.radial.reshape(-1)

    def with_coefficients(self, coefficients: FloatArray) -> "MTPBasis":
        """Return the basis with other radial coefficients, flat."""
        return replace(self, radial=coefficients.reshape(self.shape))

    def state(self) -> dict[str, FloatArray | float]:
        """Radial coefficients, and the distance at which their polynomials begin, Å."""
        return {"radial": self.radial, "min_dist": self.min_dist}

    def with_state(self, state: Mapping[str, FloatArray | float]) -> "MTPBasis":
        """Return the basis with the radial functions of another fit."""
        return replace(self, radial=state["radial"], min_dist=state["min_dist"])

    def prepare(self, structures: Sequence[Atoms]) -> "MTPBasis":
        """Return the basis with the shortest distance of a training set and first radial coefficients.

        Radial function μ starts as the polynomial T_μ, with a random part for each pair of species that falls
        with the order of the polynomial: equal functions could not tell neighbours of two elements apart.
        """
        if self.radial is not None:
            return self
        low = self.min_dist
        if low is None:
            found = shortest_distances(structures, self.elements, self.cutoff)
            low = min(found.values(), default=0.4 * self.cutoff)
        rng = np.random.default_rng(self.seed)
        radial = 0.3 * rng.normal(size=self.shape) / (1.0 + np.arange(self.radial_size))
        radial += np.eye(*self.shape[2:])
        return replace(self, min_dist=float(low), radial=radial)

    def text(
        self,
        weights: FloatArray | None = None,
        one_body: Mapping[str, float] | None = None,
        repulsion=None,
    ) -> str:
        """Text of the ``.mtp`` file.

        Parameters
        ----------
        weights : ndarray, shape (M,), optional
            Readout weights; default: ones.
        one_body, repulsion
            Ignored, other families use them: species constants are readout weights, the format knows no repulsion.

        Raises
        ------
        InputError
            The basis has not been fitted.
        """
        if self.radial is None:
            raise InputError("the basis has no radial coefficients yet: fit it first")
        return format_mtp(self, np.ones(self.nfunctions) if weights is None else weights)


def format_mtp(basis: MTPBasis, weights: FloatArray) -> str:
    """Text of the ``.mtp`` file of a basis with readout weights, shape (M,)."""
    m, n = basis.moments, len(basis.elements)
    # Radial functions of order 1 for coefficients of order 1.
    scaling = 1.0 / (basis.cutoff - basis.min_dist) ** 2
    lines = [
        "MTP",
        "version = 1.1.0",
        f"potential_name = pyuq-{'-'.join(basis.elements)}",  # one word: all that MLIP reads
        f"scaling = {scaling:.16e}",
        f"species_count = {n}",
        "potential_tag = ",
        "radial_basis_type = RBChebyshev",
        f"\tmin_dist = {basis.min_dist:.16e}",
        f"\tmax_dist = {basis.cutoff:.16e}",
        f"\tradial_basis_size = {basis.radial_size}",
        f"\tradial_funcs_count = {m.nradial}",
        "\tradial_coeffs",
    ]
    for i, j in np.ndindex(n, n):
        lines.append(f"\t\t{i}-{j}")
        lines += [f"\t\t\t{_numbers(row)}" for row in basis.radial[i, j]]
    lines += [
        f"alpha_moments_count = {m.count}",
        f"alpha_index_basic_count = {len(m.basic)}",
        f"alpha_index_basic = {_lists(m.basic)}",
        f"alpha_index_times_count = {len(m.products)}",
        f"alpha_index_times = {_lists(m.products)}",
        f"alpha_scalar_moments = {len(m.scalars)}",
        f"alpha_moment_mapping = {_integers(m.scalars)}",
        f"species_coeffs = {_numbers(weights[:n])}",
        f"moment_coeffs = {_numbers(weights[n:])}",
    ]
    return "\n".join(lines) + "\n"


def _numbers(values) -> str:
    return "{" + ", ".join(f"{v:.16e}" for v in values) + "}"


def _integers(values) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _lists(rows) -> str:
    return "{" + ", ".join(map(_integers, rows)) + "}"
