# SPDX-License-Identifier: GPL-2.0-or-later
"""How right error bars are on structures that did not recalibrate them, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyuq.brief import brief, html_table
from pyuq.calibration.recalibration import Recalibration, Sample
from pyuq.calibration.scores import Scores, scores
from pyuq.errors import InputError

UNITS = {"energy": "eV/atom", "force": "eV/Å", "virial": "eV/atom", "gradient": "eV/Å"}
TITLES = {
    "energy": "energy",
    "force": "force component",
    "virial": "virial component",
    "gradient": "force component, by the length of ∇σ_E",
}


@brief()
@dataclass(frozen=True)
class Verdict:
    """Error bars of one quantity and group on the structures that judge.

    Attributes
    ----------
    predicted, recalibrated : Scores
        Of the model's standard deviations, and of the recalibrated ones.
    conformal_coverage : float
        Part of the errors inside the conformal intervals.
    conformal_width : float
        Their mean half width; infinite with too few structures.
    """

    predicted: Scores
    recalibrated: Scores
    conformal_coverage: float
    conformal_width: float


@brief()
@dataclass(frozen=True)
class Calibration:
    """What :func:`calibrate` finds.

    Attributes
    ----------
    recalibration : Recalibration
        From all structures.
    trial : Recalibration
        From the structures that do not judge.
    judged : dict
        {quantity: Sample} of the structures that judge.
    verdicts : dict
        {quantity: {group: Verdict}}.
    """

    recalibration: Recalibration
    trial: Recalibration
    judged: dict[str, Sample]
    verdicts: dict[str, dict[str, Verdict]]

    def _repr_html_(self) -> str:
        """Table of a notebook: RMSE and error bars before and after, on the structures that judge."""
        rows = [
            (
                TITLES[q],
                UNITS[q],
                group,
                v.predicted.rmse,
                v.predicted.sharpness,
                v.predicted.within_1,
                v.recalibrated.sharpness,
                v.recalibrated.within_1,
                v.conformal_coverage,
            )
            for q, groups in self.verdicts.items()
            for group, v in groups.items()
        ]
        head = (
            "quantity",
            "unit",
            "",
            "RMSE",
            "σ predicted",
            "inside 1σ",
            "σ recalibrated",
            "inside 1σ",
        )
        level = f"conformal {1 - self.recalibration.alpha:.0%}: inside"
        return html_table("Calibration", (*head, level), rows, "0.683 inside 1σ is right.")


def calibrate(
    samples: Mapping[str, Sample], alpha: float = 0.1, split: float = 0.5, seed: int = 0, **record
) -> Calibration:
    """Recalibrate error bars on a part of the structures and judge them by the others; then by all.

    Parameters
    ----------
    samples : dict
        {quantity: Sample}, see :func:`pyuq.evaluate.collect.collect`.
    alpha : float
        Miss rate of the conformal intervals.
    split : float
        Part of the structures that recalibrates; the others judge.
    seed : int
        Of both choices of structures.
    record
        `models`, `provenance` of :class:`Recalibration`.

    Raises
    ------
    InputError
        Fewer than four structures; or `split` leaves fewer than two to recalibrate, or none to judge.
    """
    known = np.unique(np.concatenate([s.structures for s in samples.values()]))
    rng = np.random.default_rng(seed)
    order, cut = rng.permutation(known), round(split * len(known))
    if not 2 <= cut < len(known):
        raise InputError(
            f"of {len(known)} structures, split = {split} leaves {cut} to recalibrate and {len(known) - cut} "
            "to judge; expected at least 2 and 1"
        )
    trial = Recalibration.fit(
        {q: s.of_structures(order[:cut]) for q, s in samples.items()}, alpha, rng
    )
    judged = {q: s.of_structures(order[cut:]) for q, s in samples.items()}
    verdicts = {
        quantity: {
            str(group): _verdict(trial, quantity, sample.chosen(sample.groups == group))
            for group in np.unique(sample.groups)
            if group in trial.scales[quantity]
        }
        for quantity, sample in judged.items()
    }
    final = Recalibration.fit(samples, alpha, rng, **record)
    return Calibration(final, trial, judged, verdicts)


def _verdict(trial: Recalibration, quantity: str, sample: Sample) -> Verdict:
    deviation = trial.deviation(quantity, sample.sigmas, sample.groups)
    width = trial.half_width(quantity, sample.sigmas, sample.groups)
    return Verdict(
        scores(sample.errors, sample.sigmas),
        scores(sample.errors, deviation),
        float((np.abs(sample.errors) <= width).mean()),
        float(width.mean()),
    )
