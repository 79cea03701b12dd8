# SPDX-License-Identifier: GPL-2.0-or-later
"""Spread of a quantity over samples, apart from the statistical error of each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pyuq.brief import brief
from pyuq.errors import InputError

FloatArray = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 2000


@brief()
@dataclass(frozen=True)
class Spread:
    """Distribution of a quantity over samples.

    Attributes
    ----------
    count : int
    median : float
    interval : (float, float)
        Central 95 % of the samples (interpolated quantiles).
    interval_errors : (float, float)
        Bootstrap standard errors of its ends.
    total : float
        Variance over the samples.
    claimed : float
        Mean of the squared errors that the samples claim for themselves (finite trajectory).
    repeated : float or None
        Variance of repeated runs of one and the same basis.
    """

    count: int
    median: float
    interval: tuple[float, float]
    interval_errors: tuple[float, float]
    total: float
    claimed: float
    repeated: float | None

    @property
    def within(self) -> float:
        """Variance of one sample's own value: the larger of what runs claim and what repeated runs show."""
        return max(self.claimed, self.repeated or 0.0)

    @property
    def between(self) -> float:
        """Variance that finite trajectories do not explain; negative values are possible and mean none."""
        return self.total - self.within

    def to_dict(self) -> dict:
        """JSON types."""
        return asdict(self) | {"within": self.within, "between": self.between}


def pooled_variance(groups: Sequence[Sequence[float]]) -> float | None:
    """Variance inside groups that each have their own mean; None without a group of two."""
    deviations = [np.asarray(g) - np.mean(g) for g in groups if len(g) > 1]
    freedom = sum(len(d) - 1 for d in deviations)
    return float(sum(d @ d for d in deviations) / freedom) if freedom else None


def spread(
    values: Sequence[float],
    errors: Sequence[float],
    repeats: Sequence[Sequence[float]] = (),
    seed: int = 0,
) -> Spread:
    """Summarise values with standard errors.

    Parameters
    ----------
    values, errors : (K,)
    repeats : sequence of sequences of float
        Values of runs that differ in nothing but their velocities, one sequence for each basis.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        Fewer than two values.
    """
    x, e = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    if len(x) < 2 or x.shape != e.shape:
        raise InputError(f"{len(x)} values and {len(e)} errors; expected two or more of each")
    tails = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
    rng = np.random.default_rng(seed)
    boots = np.quantile(x[rng.integers(0, len(x), (RESAMPLES, len(x)))], tails, axis=1)
    return Spread(
        count=len(x),
        median=float(np.median(x)),
        interval=tuple(float(q) for q in np.quantile(x, tails)),
        interval_errors=tuple(float(s) for s in boots.std(axis=1)),
        total=float(x.var(ddof=1)),
        claimed=float((e**2).mean()),
        repeated=pooled_variance(repeats),
    )
