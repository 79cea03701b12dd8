# SPDX-License-Identifier: GPL-2.0-or-later
r"""Recalibrated error bars of a model: a floor and a factor for each quantity and group, and conformal factors.

From labelled structures that the model has not seen: a quarter of them chooses the floor f and a first guess of the
factor s in :math:`s\sqrt{\sigma^2 + f^2}`, the others update s (:class:`StudentScale`) and give the conformal factor
q of :math:`\pm q\sqrt{\sigma^2 + f^2}` (:class:`ConformalScale`), whose guarantee needs that the floor was chosen on
other structures than q.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyuq.brief import brief
from pyuq.calibration.conformal import ConformalScale
from pyuq.calibration.student import StudentScale
from pyuq.errors import InputError
from pyuq.io.files import write_text

FloatArray = NDArray[np.float64]

SHAPE_PART = 0.25  # of the structures, for the floor


@brief()
@dataclass(frozen=True)
class Sample:
    """Errors of one quantity and the standard deviations predicted for them.

    Attributes
    ----------
    errors, sigmas : (n,)
        In one unit.
    groups : (n,) array of str
        Species, or ``"all"``.
    structures : (n,) array of int
        Where each comes from.
    """

    errors: FloatArray
    sigmas: FloatArray
    groups: NDArray[np.str_]
    structures: NDArray[np.int_]

    def chosen(self, mask: NDArray[np.bool_]) -> "Sample":
        """Return the errors that a mask selects."""
        return Sample(
            self.errors[mask], self.sigmas[mask], self.groups[mask], self.structures[mask]
        )

    def of_structures(self, structures: NDArray[np.int_]) -> "Sample":
        """Return the part that comes from some structures."""
        return self.chosen(np.isin(self.structures, structures))


@brief()
@dataclass(frozen=True)
class ErrorScale:
    """Turns predicted standard deviations of one quantity and group into calibrated ones.

    Attributes
    ----------
    student : StudentScale
        Its floor in the unit of the quantity.
    conformal : float
        Factor on √(σ² + floor²); infinite with too few structures.
    structures, labels : int
        That the factors come from.
    """

    student: StudentScale
    conformal: float
    structures: int
    labels: int


@brief()
@dataclass(frozen=True)
class Recalibration:
    """Scales of all quantities of a model, as ``NAME.calibration.json`` keeps them.

    Attributes
    ----------
    alpha : float
        Miss rate of the conformal intervals.
    scales : dict
        {quantity: {group: ErrorScale}}.
    models : dict
        {file name: SHA-256} of what was calibrated, in order.
    provenance : dict
        Free-form record (JSON types).
    """

    alpha: float
    scales: dict[str, dict[str, ErrorScale]]
    models: dict[str, str] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)

    FORMAT = "pyuq-calibration"
    VERSION = "1"

    @classmethod
    def fit(
        cls,
        samples: Mapping[str, Sample],
        alpha: float = 0.1,
        rng: np.random.Generator | int = 0,
        **record,
    ) -> "Recalibration":
        """Find all scales.

        Parameters
        ----------
        samples : dict
            {quantity: sample} of labels that the model has not seen.
        alpha : float
        rng : Generator or int
            Chooses the structures that choose the floors.
        record
            `models`, `provenance`.

        Raises
        ------
        InputError
            Fewer than two structures; or see :class:`StudentScale`, :class:`ConformalScale`.
        """
        known = np.unique(np.concatenate([s.structures for s in samples.values()]))
        if len(known) < 2:
            raise InputError(f"found {len(known)} labelled structures; expected two or more")
        order = np.random.default_rng(rng).permutation(known)
        cut = max(1, round(SHAPE_PART * len(known)))
        scales = {
            quantity: _group_scales(
                sample.of_structures(order[:cut]), sample.of_structures(order[cut:]), alpha
            )
            for quantity, sample in samples.items()
        }
        return cls(alpha, scales, **record)

    def deviation(self, quantity: str, sigma: ArrayLike, groups: Sequence[str]) -> FloatArray:
        """Calibrated standard deviations.

        Parameters
        ----------
        quantity : str
        sigma : (n,)
        groups : (n,) sequence of str

        Raises
        ------
        InputError
            There were no labels of the quantity, or of a group.
        """
        sigma = np.asarray(sigma, dtype=float)
        return self._apply(quantity, sigma, groups, lambda one, s: one.student.deviation(s))

    def half_width(self, quantity: str, sigma: ArrayLike, groups: Sequence[str]) -> FloatArray:
        """Half widths of conformal intervals; the parameters are those of :meth:`deviation`."""
        sigma = np.asarray(sigma, dtype=float)
        return self._apply(
            quantity, sigma, groups, lambda one, s: one.conformal * np.hypot(s, one.student.floor)
        )

    def _apply(self, quantity: str, sigma: FloatArray, groups: Sequence[str], scale) -> FloatArray:
        scales, names = self.scales.get(quantity, {}), np.asarray(groups)
        if missing := sorted(set(names) - scales.keys()):
            raise InputError(
                f"no calibration of {quantity} of {', '.join(missing)}; there is one of "
                f"{', '.join(scales) or 'nothing'}"
            )
        found = np.empty_like(sigma)
        for name in np.unique(names):
            mine = names == name
            found[mine] = scale(scales[name], sigma[mine])
        return found

    def write(self, path) -> None:
        """Write JSON, atomically."""
        scales = {
            quantity: {
                group: {
                    "floor": one.student.floor,
                    "a": one.student.a,
                    "b": one.student.b,
                    "scale": one.student.scale,
                    "conformal": one.conformal if np.isfinite(one.conformal) else None,
                    "structures": one.structures,
                    "labels": one.labels,
                }
                for group, one in found.items()
            }
            for quantity, found in self.scales.items()
        }
        head = {"format": self.FORMAT, "format_version": self.VERSION}
        content = head | asdict(self) | {"scales": scales}
        write_text(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, path) -> "Recalibration":
        """Read what :meth:`write` has written.

        Raises
        ------
        InputError
            No such file, or another content.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text())
            if (content["format"], content["format_version"]) != (cls.FORMAT, cls.VERSION):
                raise InputError(f"version {content['format_version']} of {content['format']}")
            scales = {
                quantity: {group: _error_scale(one) for group, one in found.items()}
                for quantity, found in content["scales"].items()
            }
            return cls(content["alpha"], scales, content["models"], content["provenance"])
        except FileNotFoundError:
            raise InputError(f"no file {path}: `pyuq calibrate` makes it") from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{path} is not a calibration of version {cls.VERSION}: {error}"
            ) from error


def _error_scale(one: dict) -> ErrorScale:
    conformal = np.inf if one["conformal"] is None else one["conformal"]
    student = StudentScale(one["a"], one["b"], one["floor"])
    return ErrorScale(student, conformal, one["structures"], one["labels"])


def _group_scales(shape: Sample, rest: Sample, alpha: float) -> dict[str, ErrorScale]:
    """Scales of one quantity: floors from one part, factors from the other."""
    found = {}
    for group in np.unique(rest.groups):
        first, mine = (s.chosen(s.groups == group) for s in (shape, rest))
        start = (
            StudentScale.guess(first.errors, first.sigmas) if len(first.errors) else StudentScale()
        )
        structures = len(np.unique(mine.structures))
        # Errors inside one structure resemble each other: together they count as one label.
        weight = structures / len(mine.errors)
        conformal = ConformalScale.fit(
            mine.errors, np.hypot(mine.sigmas, start.floor), alpha, clusters=mine.structures
        )
        found[str(group)] = ErrorScale(
            start.update(mine.errors, mine.sigmas, weight),
            conformal.factors["all"],
            structures,
            len(mine.errors),
        )
    return found
