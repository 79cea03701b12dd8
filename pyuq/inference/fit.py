# SPDX-License-Identifier: GPL-2.0-or-later
"""Fit a linear potential to labelled structures, with the uncertainty of its weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

import pyuq
from pyuq.brief import brief, html_table
from pyuq.errors import InputError
from pyuq.evaluate.committee import Committee, prediction
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.design import (
    centered_rows,
    feature_evaluator,
    row_blocks,
    shift,
    weights_of,
)
from pyuq.inference.fit_settings import FitSettings
from pyuq.inference.fit_state import FitState
from pyuq.inference.leave_one_out import LeaveOneOut, leave_groups_out, leave_out
from pyuq.inference.mtp_radial import refine
from pyuq.inference.pops import Pops, Spread, pops, whitening
from pyuq.inference.posterior import Posterior, PosteriorFile
from pyuq.inference.regression import ARDRegression, BayesianRidge, Conditioning, NormalEquations
from pyuq.inference.rows import BUDGET, RowStream
from pyuq.io.files import write_text
from pyuq.io.identity import hash_bytes, structure_hash, training_hash, training_record
from pyuq.io.structures import check_structures
from pyuq.parallel import Reducer
from pyuq.potentials.baseline import fit_one_body, isolated_atoms
from pyuq.potentials.protocol import Basis
from pyuq.potentials.repulsion import Repulsion


@brief()
@dataclass
class FitResult:
    """A fitted potential.

    Attributes
    ----------
    settings : FitSettings
    one_body : dict
        One-body energies, eV.
    repulsion : Repulsion or None
    normal : NormalEquations
        Of all structures taken in.
        Their targets are what the prior mean leaves.
    regression : BayesianRidge or ARDRegression
        Fitted; knows the hyperparameters.
    posterior : Posterior
        With the covariance that the settings ask for.
    structures : list of Atoms
        The training set.
    pops : Pops or None
        The box of pointwise fits, where that is the covariance.
    leave_one_out : LeaveOneOut or None
        Errors of structures left out, where :func:`fit` was asked for them; of the fit, not of later updates.
    """

    settings: FitSettings
    one_body: dict[str, float]
    repulsion: Repulsion | None
    normal: NormalEquations
    regression: BayesianRidge | ARDRegression
    posterior: Posterior
    structures: list[Atoms]
    pops: Pops | None = None
    leave_one_out: LeaveOneOut | None = None

    def _repr_html_(self) -> str:
        """Table of a notebook: what was fitted, to what, and the noise that is left."""
        noise = self.noise
        rows = [
            ("family", self.basis.family.upper()),
            ("elements", ", ".join(self.basis.elements)),
            ("functions", self.basis.nfunctions),
            ("training structures", len(self.structures)),
            ("rows of the regression", self.normal.nrows),
            ("noise of energies, eV/√atom", noise["energy"]),
            ("noise of force components, eV/Å", noise["force"]),
            ("log evidence", self.posterior.log_evidence),
        ]
        return html_table("Fitted potential", ("", ""), rows)

    @property
    def basis(self) -> Basis:
        """The functions."""
        return self.settings.basis

    @cached_property
    def features(self) -> Evaluator:
        """Evaluator of the features: all weights are one."""
        return feature_evaluator(self.basis, self.one_body, self.repulsion)

    @cached_property
    def committee(self) -> Committee:
        """The fitted model, a committee of one."""
        weights = self.posterior
        return Committee([self.features.with_readout(weights.mean, weights.covariance)])

    @property
    def noise(self) -> dict[str, float]:
        """Standard deviation of the noise, misfit included: of energies (eV/√atom) and force components (eV/Å)."""
        root, weights = np.sqrt(self.posterior.noise_variance), self.settings.weights
        return {"energy": root * weights.energy, "force": root * weights.force}

    def update(self, structures: Sequence[Atoms]) -> "FitResult":
        """Take in further structures at fixed hyperparameters, without the old rows.

        Returns
        -------
        FitResult
            A new one; mean and exact posterior equal those of the fit of all structures with the same
            hyperparameters. Of a box of pointwise fits the metric is exact; it grows where the new rows ask for it, see
            :meth:`pyuq.inference.pops.Pops.updated`, and is found anew by the next fit.
        """
        check_structures(structures, self.basis.elements)
        normal = self.normal.copy()
        found = []
        for atoms in structures:
            rows, targets, weights = centered_rows(
                self.features, atoms, self.settings, self.one_body
            )
            normal.add(rows, targets, weights)
            found.append((rows * weights[:, None], targets * weights))
        # From the updated normal equations and not Posterior.update: as exact, and a subtraction of
        # covariances would lose digits where the prior is wide and the data are sharp.
        posterior, box = self.regression.condition(normal), self.pops
        if box is not None and found:
            X, y = (np.concatenate([part[i] for part in found]) for i in (0, 1))
            box = box.updated(X, y - X @ posterior.mean)
        if box is not None:
            posterior = replace(posterior, covariance=box.covariance())
        result = replace(
            self,
            normal=normal,
            posterior=shift(posterior, self.basis, self.one_body),
            structures=[*self.structures, *structures],
            pops=box,
            leave_one_out=None,
        )
        result.__dict__["features"] = self.features
        return result

    def state(self, asked: FitSettings) -> FitState:
        """Return what `fit` needs to go on with further structures; `asked`: the settings that it was given."""
        return FitState(
            settings=asked.table(),
            one_body=self.one_body,
            repulsion=self.repulsion,
            hashes=tuple(map(structure_hash, self.structures)),
            normal=self.normal,
            found=self.basis.state(),
        )

    def conditioning(self) -> Conditioning:
        """How well the data determine the weights."""
        normal = self.normal.scaled(1.0 / self.posterior.noise_variance)
        seen = {symbol for atoms in self.structures for symbol in set(atoms.symbols)}
        absent = [element for element in self.basis.elements if element not in seen]
        return Conditioning.of(normal, self.posterior.prior_variance, absent)

    def predict(self, atoms: Atoms) -> dict:
        """Energy, forces (N, 3), virial (6,) and the standard deviation of the energy, eV and eV/Å.

        ``sigma`` is that of the weights' covariance, ``noise`` that of the regression's noise, ``total`` that of the
        error: calibrated where structures were left out, else both together.
        """
        found = prediction(self.committee, atoms)
        noise = float(np.sqrt(self.posterior.noise_variance)) * self._energy_deviation(atoms)
        total = float(np.hypot(found["sigma"], noise))
        if self.leave_one_out is not None and "energy" in self.leave_one_out.scales:
            scale = self.leave_one_out.scales["energy"]
            total = len(atoms) * float(scale.deviation(found["sigma"] / len(atoms)))
        return found | {"noise": noise, "total": total}

    def _energy_deviation(self, atoms: Atoms) -> float:
        return weights_of(atoms, self.settings).energy * np.sqrt(len(atoms))

    def export(self) -> str:
        """Text of the native file: mean weights folded in."""
        return self.basis.text(self.posterior.mean, self.one_body, self.repulsion)

    def save(self, folder, name: str, active_inverse: np.ndarray | None = None) -> Path:
        """Write the native file (``name.yace``, ``name.mtp``) and ``name.uq`` into a folder.

        Parameters
        ----------
        folder : str or Path
        name : str
        active_inverse : ndarray, optional
            See :func:`pyuq.inference.maxvol.flat_inverses`.

        Returns
        -------
        Path
            Of the posterior, which is all that ``pair_coeff`` needs.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        native = self.export()
        posterior = PosteriorFile(
            model=self.basis.text(None, self.one_body, self.repulsion).encode(),
            mean=self.posterior.mean,
            covariance=self.posterior.covariance,
            elements=self.basis.elements,
            family=self.basis.family,
            model_sha256=hash_bytes(native.encode()),
            training_sha256=training_hash(self.structures),
            provenance={
                "pyuq": pyuq.__version__,
                "settings": self.settings.table(),
                "structures": len(self.structures),
                "rows": self.normal.nrows,
                "noise_variance": self.posterior.noise_variance,
                "log_evidence": self.posterior.log_evidence,
                "training": training_record(map(structure_hash, self.structures)),
            },
            active_inverse=active_inverse,
            uncertainty=self.settings.uncertainty,
            leave_one_out=self.leave_one_out.table() if self.leave_one_out is not None else {},
        )
        # A crash between the two leaves a pair whose hashes differ, which every reader refuses.
        posterior.write(folder / f"{name}.uq")
        write_text(folder / f"{name}{self.basis.suffix}", native)
        return folder / f"{name}.uq"


def fit(
    structures: Sequence[Atoms],
    settings: FitSettings,
    comm=None,
    earlier: FitState | None = None,
    leave: bool = False,
) -> FitResult:
    """Fit a potential, with the uncertainty of its weights.

    Parameters
    ----------
    structures : sequence of Atoms
        Labelled; the same on all ranks.
    settings : FitSettings
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the assembly of the rows; all return the same result.
    earlier : FitState, optional
        Of a fit with the same settings to a part of the structures: only the rows of the others are made. Its
        one-body energies, repulsion and what the data defined in the basis are kept. The box of pointwise fits, and
        leaving structures out, look at the rows of all again.
    leave : bool
        Also leave each structure, and each group of them, out: :attr:`FitResult.leave_one_out`.

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        No structures, one that `check_structures` refuses, or an earlier fit that does not match.
    """
    structures = list(structures)
    basis = settings.basis
    if not structures:
        raise InputError("no training structures")
    if not basis.nfunctions:
        raise InputError("the basis holds no function: raise its degree, nmax or lmax")
    check_structures(structures, basis.elements)
    new = structures
    if earlier is not None:
        hashes = [structure_hash(atoms) for atoms in structures]
        new = earlier.further(structures, hashes, settings.table())
    one_body = (
        (earlier.one_body if earlier is not None else settings.one_body)
        or isolated_atoms(structures, basis.elements, basis.largest_cutoff)
        or fit_one_body(structures, basis.elements)
    )
    basis = (
        basis.with_state(earlier.found)
        if earlier is not None
        else refine(basis, structures, settings, comm)
    )
    settings = replace(settings, basis=basis)
    repulsion = (
        earlier.repulsion if earlier is not None else settings.repulsion.choose(structures, basis)
    )
    features = feature_evaluator(basis, one_body, repulsion)
    normal = NormalEquations(basis.nfunctions)
    rank, size = (comm.rank, comm.size) if comm is not None else (0, 1)
    if earlier is not None and rank == 0:
        normal.merge(earlier.normal)
    again = settings.uncertainty == "pops" or leave
    stream = RowStream(
        range(rank, len(structures), size),
        lambda indices: row_blocks(features, structures, settings, one_body, indices),
        BUDGET if again else 0,
    )
    if earlier is None:
        for block in stream:
            normal.add(block.rows, block.targets)
    else:
        for atoms in new[rank::size]:
            normal.add(*centered_rows(features, atoms, settings, one_body))
    if comm is not None:
        normal.allreduce(comm)
    if not normal.nrows:
        raise InputError(f"max_force = {settings.max_force:g} eV/Å leaves no row to fit")
    regression = settings.solver.estimator(basis, normal).fit_statistics(normal)
    posterior, box, left = uncertainty(settings, regression, normal, stream, comm, leave)
    result = FitResult(
        settings,
        one_body,
        repulsion,
        normal,
        regression,
        shift(posterior, basis, one_body),
        structures,
        box,
        left,
    )
    result.__dict__["features"] = features
    return result


def uncertainty(
    settings: FitSettings,
    regression: BayesianRidge | ARDRegression,
    normal: NormalEquations,
    stream: RowStream,
    comm=None,
    leave: bool = False,
) -> tuple[Posterior, Pops | None, LeaveOneOut | None]:
    """Return the posterior with the covariance asked for, the box that it comes from, and errors left out."""
    posterior, box, left = regression.posterior_, None, None
    if settings.uncertainty == "bayes" and not leave:
        return posterior, box, left
    noise, reducer = posterior.noise_variance, Reducer(comm)
    # After relevance determination the covariance has the priors of pruned functions again, the mean has not.
    white = whitening(normal, posterior.prior_variance, noise)
    spread = Spread(white, np.full(normal.nfeatures, noise))
    if settings.uncertainty == "pops":
        spread = box = pops(stream, posterior.mean, white, noise, reducer)
        posterior = replace(posterior, covariance=box.covariance())
    if leave:
        apart = np.any(regression.prior_variance_ != posterior.prior_variance)
        of_mean = whitening(normal, regression.prior_variance_, noise) if apart else None
        asked = (stream, posterior.mean, spread, noise, of_mean, reducer)
        left = LeaveOneOut.of(leave_out(*asked), leave_groups_out(*asked))
    return posterior, box, left
