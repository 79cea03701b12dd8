# SPDX-License-Identifier: GPL-2.0-or-later
"""What defines a fit, apart from the data: weights of the labels, the solver, the repulsion."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.pops import UNCERTAINTIES
from pyuq.inference.regression import ARDRegression, BayesianRidge, NormalEquations
from pyuq.potentials.protocol import Basis
from pyuq.potentials.repulsion import Repulsion, repulsion_inside
from pyuq.settings import choose, limits, not_negative

SOLVERS = ("ridge", "ard")
STEEPEST = 20.0  # smoothness; beyond, prior variances leave double precision


@brief()
@dataclass(frozen=True)
class Weights:
    """Standard deviation at which each kind of label is to be met, up to the noise that the fit finds.

    Parameters
    ----------
    energy : float
        eV/atom; the deviation of a structure of N atoms is energy · √N.
    force : float
        eV/Å.
    virial : float
        eV/atom; of a structure: virial · √N. Zero or negative: virials are left out.
    """

    energy: float = 0.005
    force: float = 0.05
    virial: float = 0.05

    def __post_init__(self):
        if not (self.energy > 0 and self.force > 0):
            raise InputError(
                f"energy and force deviations must be positive, found {self.energy}, {self.force}"
            )
        if np.isnan(self.virial):
            raise InputError(
                "the virial deviation is nan; expected a number, 0: virials are left out"
            )


@brief()
@dataclass(frozen=True)
class Solver:
    """How the weights are found.

    Parameters
    ----------
    kind : str
        ``ridge`` or ``ard``.
    smoothness : float
        Prior standard deviation falls as (1 + degree)^-smoothness, of MTP as level^-smoothness.
    """

    kind: str = "ridge"
    smoothness: float = 1.0

    def __post_init__(self):
        if self.kind not in SOLVERS:
            raise InputError(f"kind must be one of {', '.join(SOLVERS)}, found {self.kind!r}")
        if not 0 <= self.smoothness <= STEEPEST:
            raise InputError(
                f"smoothness = {self.smoothness}; expected a number from 0 to {STEEPEST}"
            )

    def estimator(self, basis: Basis, normal: NormalEquations) -> BayesianRidge | ARDRegression:
        """Return the regression for a basis and data."""
        shape = basis.prior_shape(self.smoothness, normal.gram)
        return (BayesianRidge if self.kind == "ridge" else ARDRegression)(prior_shape=shape)


@brief()
@dataclass(frozen=True)
class RepulsionSettings:
    """Short-range repulsion inside the data, see :class:`pyuq.potentials.repulsion.Repulsion`.

    Only of families whose files can hold one.
    """

    zbl: bool = True
    margin: float = 0.1

    def __post_init__(self):
        not_negative(margin=self.margin)

    def choose(self, structures: Sequence[Atoms], basis: Basis) -> Repulsion | None:
        """Return the repulsion for a training set."""
        if not (self.zbl and basis.has_repulsion):
            return None
        return repulsion_inside(structures, basis.elements, basis.largest_cutoff, self.margin)


@brief()
@dataclass(frozen=True)
class FitSettings:
    """Everything that defines a fit, apart from the data.

    Parameters
    ----------
    basis : Basis
        :class:`pyuq.ACEBasis`, :class:`pyuq.MTPBasis`, or what else :class:`pyuq.potentials.protocol.Basis` describes.
    weights : Weights
    groups : dict
        {config_type: weights}: structures of a group are weighted by these instead.
    solver : Solver
    repulsion : RepulsionSettings
    one_body : dict, optional
        {element: energy in eV}; default: isolated atoms of the training set, or, without them, least
        squares of the energies on the composition.
    max_force : float
        A structure with a larger force component keeps only its smaller ones, eV/Å.
    uncertainty : {"pops", "bayes"}
        The covariance of the weights: the box of pointwise fits, which knows what the basis cannot describe
        (:mod:`pyuq.inference.pops`), or the exact posterior, which does not.
    """

    basis: Basis
    weights: Weights = field(default_factory=Weights)
    groups: dict[str, Weights] = field(default_factory=dict)
    solver: Solver = field(default_factory=Solver)
    repulsion: RepulsionSettings = field(default_factory=RepulsionSettings)
    one_body: dict[str, float] | None = None
    max_force: float = np.inf
    uncertainty: str = "pops"

    def __post_init__(self):
        limits(max_force=self.max_force)
        choose("uncertainty", self.uncertainty, UNCERTAINTIES)
        for element, energy in (self.one_body or {}).items():
            if element not in self.basis.elements or not np.isfinite(energy):
                raise InputError(
                    f"one_body: {element} = {energy}; expected finite energies (eV) of "
                    f"{', '.join(self.basis.elements)}"
                )

    def table(self) -> dict:
        """Settings as a JSON table."""
        table = {f.name: getattr(self, f.name) for f in fields(self)} | {
            "basis": self.basis.table()
        }
        return json.loads(
            json.dumps(table, default=lambda x: asdict(x) if is_dataclass(x) else str(x))
        )
