# SPDX-License-Identifier: GPL-2.0-or-later
"""Fits of the readout of a model whose features stay as they are, with exact updates: what active learning needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pyuq.brief import brief
from pyuq.io.structures import check_structures
from pyuq.models.committee import Committee, prediction
from pyuq.models.evaluator import Evaluator
from pyuq.models.fit import Weights, structure_hash, training_hash, training_record
from pyuq.models.posterior import Posterior
from pyuq.models.readout_posterior import (
    PosteriorSettings,
    ReadoutPosterior,
    find_noise,
    native_evaluator,
)
from pyuq.models.readout_sums import Components, blocks
from pyuq.models.regression import condition

FloatArray = NDArray[np.float64]


@brief()
@dataclass(frozen=True)
class ReadoutFitSettings:
    """A fit of the readout of a model whose features stay as they are.

    Parameters
    ----------
    path : Path
        Native model file.
    elements : sequence of str
        Names of the species of a file that stores none (MTP).
    weights : Weights
        Starting values of the noise.
    max_force : float
        Force components above are left out, eV/Å.
    """

    path: Path
    elements: Sequence[str] = ()
    weights: Weights = field(default_factory=Weights)
    max_force: float = np.inf


@brief()
@dataclass(frozen=True)
class ReadoutFit:
    """Mean and covariance of a refitted readout, with what exact updates need.

    It has the methods of :class:`pyuq.models.fit.FitResult`, so that either can drive active learning.

    Attributes
    ----------
    settings : ReadoutFitSettings
    features : Evaluator
        The model with the weights of its file.
    sums : Components
        Normal equations for the deviation from these weights, and the noise.
    prior : (M,)
        Prior variances.
    posterior : Posterior
        Of the weights.
    structures : list of Atoms
        The training set.
    """

    settings: ReadoutFitSettings
    features: Evaluator
    sums: Components
    prior: FloatArray
    posterior: Posterior
    structures: list[Atoms]

    @cached_property
    def committee(self) -> Committee:
        """The refitted model, a committee of one."""
        weights = self.posterior
        return Committee([self.features.with_readout(weights.mean, weights.covariance)])

    @property
    def noise(self) -> dict[str, float]:
        """Standard deviation of the noise, misfit included: of energies (eV/√atom) and force components (eV/Å)."""
        return self.sums.deviations()

    def update(self, structures: Sequence[Atoms]) -> "ReadoutFit":
        """Take in further structures at the same noise and prior: exact, and without the old rows."""
        check_structures(structures, self.features.elements)
        sums = self.sums.copy()
        for atoms in structures:
            sums.add(blocks(self.features, atoms, self.settings.max_force))
        posterior = about_file(self.features, condition(sums.joined(), self.prior, 1.0))
        return replace(
            self, sums=sums, posterior=posterior, structures=[*self.structures, *structures]
        )

    def predict(self, atoms: Atoms) -> dict:
        """Energy, forces (N, 3), virial (6,) and standard deviation and noise of the energy, eV and eV/Å."""
        noise = self.sums.variances["energy"] * len(atoms)
        return prediction(self.committee, atoms) | {"noise": float(np.sqrt(noise))}

    def save(self, folder, name: str, active_inverse: FloatArray | None = None) -> Path:
        """Write ``name.uq`` into a folder; returns its path. For `active_inverse` see :class:`ReadoutPosterior`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return ReadoutPosterior(
            path=self.settings.path,
            elements=tuple(self.features.elements),
            family=self.features.model.family,
            mean=self.posterior.mean,
            covariance=self.posterior.covariance,
            noise=self.sums.deviations(),
            calibration={},
            training_sha256=training_hash(self.structures),
            training=training_record(map(structure_hash, self.structures)),
            settings=PosteriorSettings(
                mean="refit",
                holdout=0.0,
                weights=self.settings.weights,
                max_force=self.settings.max_force,
            ),
            active_inverse=active_inverse,
        ).write(folder / f"{name}.uq")


def fit_readout(structures: Sequence[Atoms], settings: ReadoutFitSettings) -> ReadoutFit:
    """Fit the readout of a model anew, with noise and prior by the evidence.

    Parameters
    ----------
    structures : sequence of Atoms
        Labelled.
    settings : ReadoutFitSettings

    Raises
    ------
    ValueError
        See :func:`readout_posterior`.
    """
    structures = list(structures)
    features = native_evaluator(settings.path, settings.elements)
    check_structures(structures, features.elements)
    sums = Components(features.nreadout, settings.weights)
    for atoms in structures:
        sums.add(blocks(features, atoms, settings.max_force))
    prior, _ = find_noise(sums, features.model.weights, "refit")
    posterior = about_file(features, condition(sums.joined(), prior, 1.0))
    return ReadoutFit(settings, features, sums, prior, posterior, structures)


def about_file(model: Evaluator, deviation: Posterior) -> Posterior:
    """Posterior of the weights from that of their deviation from the file's."""
    return replace(deviation, mean=deviation.mean + model.model.weights)
