# SPDX-License-Identifier: GPL-2.0-or-later
r"""Radial coefficients of a moment tensor potential by variable projection.

For given radial coefficients c the best readout weights are the solution :math:`\xi(c)` of a linear least-squares
problem. What is left to minimise depends on c alone,

.. math:: L(c) = \min_\xi \sum_r \omega_r^2\,[y_r - p_r(c, \xi)]^2 + \sum_n \rho_n \xi_n^2, \qquad
          \frac{dL}{dc} = -2\sum_r \omega_r^2\,[y_r - p_r]\, \frac{\partial p_r}{\partial c}\Big|_{\xi(c)},

since L is stationary in ξ. The penalties ρ of the moments are fixed and small: without them nearly dependent
functions would make L rough. Forces and virials being derivatives of the energy, the sum over their rows is the
derivative of the energy along one displacement of all atoms, which the core differentiates by c.

References
----------
G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from tqdm import tqdm

from pyuq import _core
from pyuq.brief import brief
from pyuq.evaluate.evaluator import VOIGT, Evaluator
from pyuq.inference.design import feature_evaluator, row_weights, weighted_rows
from pyuq.inference.regression import NormalEquations
from pyuq.potentials.protocol import Basis, FloatArray, SearchedBasis

RIDGE = 1e-10  # ρ, in units of the diagonal of the Gram matrix at the first guess
JITTER = 1e-14  # keeps the factorisation alive where a function vanishes on all structures
AXES = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@brief("basis", "penalty")
class Objective:
    """L(c) and its gradient, from structures that are shared by the ranks of a communicator.

    Parameters
    ----------
    basis : SearchedBasis
        With first radial coefficients.
    structures : sequence of Atoms
        Labelled; the same on all ranks.
    settings : FitSettings
        Weights of the labels.
    comm : mpi4py.MPI.Comm, optional
    """

    def __init__(self, basis: SearchedBasis, structures: Sequence[Atoms], settings, comm=None):
        self.basis, self.settings, self.comm = basis, settings, comm
        rank, size = (comm.rank, comm.size) if comm is not None else (0, 1)
        self.structures = structures[rank::size]
        evaluator = feature_evaluator(basis, {}, None)
        self.neighbors = [evaluator.neighbors(atoms) for atoms in self.structures]
        self.penalty = RIDGE * np.diag(self._normal(evaluator).gram)
        self.penalty[: len(basis.elements)] = 0.0

    def __call__(self, coefficients: FloatArray) -> tuple[float, FloatArray]:
        """Return L and dL/dc at radial coefficients (flat)."""
        evaluator = feature_evaluator(self.basis.with_coefficients(coefficients), {}, None)
        weights = self._weights(evaluator)
        loss, gradient = 0.0, np.zeros(coefficients.size)
        for atoms, (view, owner) in zip(self.structures, self.neighbors, strict=True):
            part, slope = self._structure(evaluator, atoms, view, owner, weights)
            loss += part
            gradient += slope
        if self.comm is not None:
            loss = self.comm.allreduce(loss)
            gradient = self.comm.allreduce(gradient)
        return loss + self.penalty @ weights**2, gradient

    def _normal(self, evaluator: Evaluator) -> NormalEquations:
        normal = NormalEquations(self.basis.nfunctions)
        for atoms, neighbors in zip(self.structures, self.neighbors, strict=True):
            normal.add(*weighted_rows(evaluator, atoms, self.settings, neighbors))
        if self.comm is not None:
            normal.allreduce(self.comm)
        return normal

    def _weights(self, evaluator: Evaluator) -> FloatArray:
        """Best readout weights."""
        normal = self._normal(evaluator)
        gram = normal.gram + np.diag(self.penalty)
        scale = 1.0 / np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
        factor = cho_factor(gram * scale * scale[:, None] + JITTER * np.eye(len(gram)))
        return scale * cho_solve(factor, scale * normal.rhs)

    def _structure(
        self,
        evaluator: Evaluator,
        atoms: Atoms,
        view: _core.NeighborView,
        owner,
        weights: FloatArray,
    ) -> tuple[float, FloatArray]:
        """Loss of one structure and its gradient at fixed readout weights."""
        energy_weight, force_weights, virial_weight = row_weights(atoms, self.settings)
        label, result = atoms.calc.results, evaluator.model.evaluate(view, weights)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, owner, result["forces"])
        errors = force_weights * (np.asarray(label["forces"]) - forces)
        loss = (errors**2).sum()
        # -2 ω² [y - p] ∂p/∂c with p = F = -∂E/∂x: a displacement of 2 ω² [y - F].
        displacement = (2.0 * force_weights * errors)[owner]
        error = energy_weight * (label["energy"] - result["energy"])
        loss += error**2
        if virial_weight:
            wanted = -np.asarray(label["stress"]) * atoms.get_volume()
            errors = virial_weight * (wanted - result["virial"][list(VOIGT)])
            loss += (errors**2).sum()
            for (a, b), e in zip(AXES, errors, strict=True):  # W_ab = -Σ x_a ∂E/∂x_b
                displacement[:, b] += 2.0 * virial_weight * e * view.x[:, a]
        slope = evaluator.model.radial_gradient(
            view, weights, -2.0 * energy_weight * error, displacement
        )
        return float(loss), slope


def refine(basis: Basis, structures: Sequence[Atoms], settings, comm=None) -> Basis:
    """Return the basis with what the data define in it: of an MTP the radial coefficients that fit best.

    Parameters
    ----------
    basis : Basis
    structures : sequence of Atoms
        Labelled; the same on all ranks.
    settings : FitSettings
        Weights of the labels.
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the structures; all return the same.
    """
    basis = basis.prepare(structures)
    if not basis.search:
        return basis
    objective = Objective(basis, structures, settings, comm)
    silent = comm is not None and comm.rank != 0
    with tqdm(total=basis.search, desc="radial coefficients", disable=silent or None) as bar:
        found = minimize(
            objective,
            basis.coefficients,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": basis.search, "maxcor": 30},
            callback=lambda _: bar.update(),
        )
    return basis.with_coefficients(found.x)
