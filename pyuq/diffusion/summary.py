# SPDX-License-Identifier: GPL-2.0-or-later
"""Several trajectories: replicas are pooled, temperatures make an Arrhenius line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyuq.brief import brief
from pyuq.diffusion.arrhenius import LARGEST, Arrhenius, ArrheniusFit
from pyuq.diffusion.conductivity import Conductivity, IonicConductivity, haven_ratio
from pyuq.diffusion.pooling import Pooled, pool
from pyuq.diffusion.trajectory import TrajectoryResult
from pyuq.errors import InputError


@brief()
@dataclass(frozen=True)
class Condition:
    """Replicas at one temperature.

    Attributes
    ----------
    temperature : float, or None
        K.
    runs : tuple of TrajectoryResult
    diffusivities : dict
        Pooled self-diffusivity of each group.
    collective : dict
        Pooled jump diffusivity of each group.
    conductivity : Conductivity, or None
    """

    temperature: float | None
    runs: tuple[TrajectoryResult, ...]
    diffusivities: dict[str, Pooled]
    collective: dict[str, Pooled]
    conductivity: Conductivity | None

    def haven(self, group: str) -> tuple[float, tuple[float, float]]:
        """Ratio of self- and jump diffusivity of a group, and its 95 % interval."""
        a, b = self.diffusivities[group], self.collective[group]
        return haven_ratio(a.value, a.error, b.value, b.error)

    def verdict(self, group: str) -> str:
        """One sentence on a group's self-diffusion."""
        if len(self.runs) == 1:
            return self.runs[0].diffusivities[group].verdict()
        return self.diffusivities[group].verdict()

    def to_dict(self) -> dict:
        """Plain numbers, for JSON."""
        return {
            "temperature": self.temperature,
            "runs": [run.name for run in self.runs],
            "diffusivities": {
                s: d.to_dict() | {"verdict": self.verdict(s)} for s, d in self.diffusivities.items()
            },
            "collective": {
                s: d.to_dict() | dict(zip(("haven", "haven_interval"), self.haven(s), strict=True))
                for s, d in self.collective.items()
            },
            "conductivity": None if self.conductivity is None else self.conductivity.to_dict(),
        }


@brief()
@dataclass(frozen=True)
class ArrheniusLine:
    """A quantity at several temperatures.

    Attributes
    ----------
    name : str
        For a legend.
    symbol, unit : str
        For an axis.
    temperatures, values, errors : ndarray, shape (n,)
        Those that went into the fit.
    left_out : tuple of float
        Temperatures at which the quantity is not resolved, K.
    fit : ArrheniusFit, or None
        None where fewer than two temperatures are left.
    """

    name: str
    symbol: str
    unit: str
    temperatures: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    left_out: tuple[float, ...]
    fit: ArrheniusFit | None

    def verdict(self) -> str:
        """One sentence for a report."""
        left = ""
        if self.left_out:
            left = f" (not resolved, left out: {', '.join(f'{t:g}' for t in self.left_out)} K)"
        if self.fit is None:
            return (
                f"{self.name}: resolved at {len(self.values)} temperatures, a line needs two{left}"
            )
        return f"{self.name}: {self.fit.verdict()}{left}"

    def to_dict(self) -> dict:
        """Plain numbers, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "temperatures": self.temperatures.tolist(),
            "values": self.values.tolist(),
            "errors": self.errors.tolist(),
            "left_out": list(self.left_out),
            "fit": None if self.fit is None else self.fit.to_dict(),
        }


@brief()
@dataclass(frozen=True)
class Summary:
    """All trajectories together.

    Attributes
    ----------
    conditions : tuple of Condition
        Ascending temperature.
    arrhenius : tuple of ArrheniusLine
        Empty where there is one temperature only.
    """

    conditions: tuple[Condition, ...]
    arrhenius: tuple[ArrheniusLine, ...]

    @property
    def groups(self) -> list[str]:
        """Names of what was analysed."""
        return list(self.conditions[0].diffusivities)

    @property
    def runs(self) -> list[TrajectoryResult]:
        """All trajectories."""
        return [run for condition in self.conditions for run in condition.runs]

    def to_dict(self) -> dict:
        """Plain numbers, lists and words, for JSON."""
        return {
            "conditions": [c.to_dict() for c in self.conditions],
            "arrhenius": [a.to_dict() for a in self.arrhenius],
            "trajectories": [r.to_dict() for r in self.runs],
        }


def summarise(
    runs: Sequence[TrajectoryResult],
    temperatures: Sequence[float] | None = None,
    charges: Mapping[str, float] | None = None,
) -> Summary:
    """Pool replicas and fit the Arrhenius law.

    Parameters
    ----------
    runs : sequence of TrajectoryResult
        Of one :class:`TrajectoryAnalysis`.
    temperatures : sequence of float, optional
        One for each run, K; runs of the same temperature are replicas. Default: all runs are replicas.
    charges : mapping from species to float, optional
        e; asks for the conductivity, which needs temperatures.

    Raises
    ------
    InputError
        Replicas of different cells, runs with different groups, charges without temperatures.
    """
    if charges is not None and temperatures is None:
        raise InputError("charges without temperatures: a conductivity needs both, in e and K")
    if temperatures is not None and len(temperatures) != len(runs):
        raise InputError(
            f"{len(temperatures)} temperatures for {len(runs)} trajectories: expected one for each"
        )
    every = [None] * len(runs) if temperatures is None else list(temperatures)
    conditions = tuple(
        _condition(t, [r for r, own in zip(runs, every, strict=True) if own == t], charges)
        for t in ([None] if temperatures is None else sorted(set(every)))
    )
    for condition in conditions:
        if list(condition.diffusivities) != list(conditions[0].diffusivities):
            raise InputError(
                f"{condition.runs[0].name} has {', '.join(condition.diffusivities)}, {conditions[0].runs[0].name} has "
                f"{', '.join(conditions[0].diffusivities)}: expected the same species; choose those in common"
            )
    return Summary(conditions, _lines(conditions) if len(conditions) > 1 else ())


def _condition(
    temperature: float | None,
    runs: Sequence[TrajectoryResult],
    charges: Mapping[str, float] | None,
) -> Condition:
    first = runs[0]
    for run in runs[1:]:
        if run.counts != first.counts:
            raise InputError(
                f"{run.name} has the atoms {run.counts}, {first.name} has {first.counts}: expected replicas of one "
                "cell; give each its temperature, or analyse them on their own"
            )
    diffusivities = {s: pool([r.diffusivities[s] for r in runs]) for s in first.counts}
    conductivity = None
    if charges is not None:
        volume = float(np.mean([r.volume for r in runs]))
        conductivity = IonicConductivity(temperature, volume).compute(
            pool([r.charge for r in runs]),
            {s: d for s, d in diffusivities.items() if s in charges},
            charges,
            first.counts,
        )
    return Condition(
        temperature=temperature,
        runs=tuple(runs),
        diffusivities=diffusivities,
        collective={s: pool([r.collective[s] for r in runs]) for s in first.collective},
        conductivity=conductivity,
    )


def _lines(conditions: Sequence[Condition]) -> tuple[ArrheniusLine, ...]:
    temperatures = np.array([c.temperature for c in conditions])
    lines = []
    for group in conditions[0].diffusivities:
        found = [c.diffusivities[group] for c in conditions]
        lines.append(_line(f"D of {group}", "D", "Å²/ps", temperatures, found))
    if conditions[0].conductivity is not None:
        both = [c.conductivity for c in conditions]
        single = [(c.nernst_einstein, c.nernst_einstein_error, True) for c in both]
        collective = [(c.collective, c.collective_error, c.resolved) for c in both]
        for name, found in (("Nernst–Einstein", single), ("collective", collective)):
            scaled = [(t * v, t * e, r) for t, (v, e, r) in zip(temperatures, found, strict=True)]
            lines.append(_line(f"σT, {name}", "σT", "S K/cm", temperatures, scaled))
    return tuple(lines)


def _line(
    name: str, symbol: str, unit: str, temperatures: np.ndarray, found: Sequence
) -> ArrheniusLine:
    """Fit what is resolved; `found` holds Pooled or (value, error, resolved)."""
    rows = [(d.value, d.error, d.resolved) if isinstance(d, Pooled) else d for d in found]
    values, errors, resolved = (np.array(column) for column in zip(*rows, strict=True))
    good = resolved.astype(bool) & (errors < LARGEST * values)
    fit = None
    if good.sum() > 1:
        fit = Arrhenius().compute(temperatures[good], values[good], errors[good])
    return ArrheniusLine(
        name=name,
        symbol=symbol,
        unit=unit,
        temperatures=temperatures[good],
        values=values[good],
        errors=errors[good],
        left_out=tuple(temperatures[~good].tolist()),
        fit=fit,
    )
