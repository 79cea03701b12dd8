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
from pyuq.evaluate.committee import Committee, prediction
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.fit_settings import Weights
from pyuq.inference.pops import UNCERTAINTIES, Pops, pops, whitening
from pyuq.inference.posterior import Posterior
from pyuq.inference.readout_posterior import (
    PosteriorSettings,
    ReadoutPosterior,
    find_noise,
    native_evaluator,
)
from pyuq.inference.readout_sums import Components, blocks, row_stream, weighed
from pyuq.inference.regression import condition
from pyuq.io.identity import structure_hash, training_hash, training_record
from pyuq.io.structures import check_structures
from pyuq.settings import choose

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
    uncertainty : {"pops", "bayes"}
        See :class:`pyuq.inference.fit_settings.FitSettings`.
    """

    path: Path
    elements: Sequence[str] = ()
    weights: Weights = field(default_factory=Weights)
    max_force: float = np.inf
    uncertainty: str = "pops"

    def __post_init__(self):
        choose("uncertainty", self.uncertainty, UNCERTAINTIES)


@brief()
@dataclass(frozen=True)
class ReadoutFit:
    """Mean and covariance of a refitted readout, with what exact updates need.

    It has the methods of :class:`pyuq.inference.fit.FitResult`, so that either can drive active learning.

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
    pops : Pops or None
        The box of pointwise fits, where that is the covariance.
    """

    settings: ReadoutFitSettings
    features: Evaluator
    sums: Components
    prior: FloatArray
    posterior: Posterior
    structures: list[Atoms]
    pops: Pops | None = None

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
        """Take in further structures at the same noise and prior, without the old rows.

        Mean and exact posterior are those of all structures; of the box see
        :meth:`pyuq.inference.fit.FitResult.update`.
        """
        structures = list(structures)
        check_structures(structures, self.features.elements)
        sums = self.sums.copy()
        for atoms in structures:
            sums.add(blocks(self.features, atoms, self.settings.max_force))
        posterior, box = condition(sums.joined(), self.prior, 1.0), self.pops
        if box is not None and structures:
            found = list(
                weighed(row_stream(self.features, structures, self.settings.max_force), sums)
            )
            rows = np.concatenate([block.rows for block in found])
            targets = np.concatenate([block.targets for block in found])
            box = box.updated(rows, targets - rows @ posterior.mean)
        if box is not None:
            posterior = replace(posterior, covariance=box.covariance())
        return replace(
            self,
            sums=sums,
            posterior=about_file(self.features, posterior),
            structures=[*self.structures, *structures],
            pops=box,
        )

    def predict(self, atoms: Atoms) -> dict:
        """Energy, forces (N, 3), virial (6,) and standard deviation and noise of the energy, eV and eV/Å."""
        found = prediction(self.committee, atoms)
        noise = float(np.sqrt(self.sums.variances["energy"] * len(atoms)))
        return found | {"noise": noise, "total": float(np.hypot(found["sigma"], noise))}

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
                uncertainty=self.settings.uncertainty,
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
    normal, box = sums.joined(), None
    posterior = condition(normal, prior, 1.0)
    if settings.uncertainty == "pops":
        stream = weighed(row_stream(features, structures, settings.max_force), sums)
        box = pops(stream, posterior.mean, whitening(normal, prior, 1.0), 1.0)
        posterior = replace(posterior, covariance=box.covariance())
    return ReadoutFit(
        settings, features, sums, prior, about_file(features, posterior), structures, box
    )


def about_file(model: Evaluator, deviation: Posterior) -> Posterior:
    """Posterior of the weights from that of their deviation from the file's."""
    return replace(deviation, mean=deviation.mean + model.model.weights)
