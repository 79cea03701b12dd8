# SPDX-License-Identifier: GPL-2.0-or-later
r"""Intervals with a guarantee that needs no model of the errors.

With the ratios :math:`|e_i|/\sigma_i` of n held-out labels, let q be their :math:`\lceil(n+1)(1-\alpha)\rceil`-th
smallest. If a new error is exchangeable with them, :math:`|e| \le q\sigma` with a probability between
:math:`1-\alpha` and :math:`1-\alpha+1/(n+1)`, on average over the labels.

Forces of one structure are not exchangeable with those of another. With clusters (structures), only these need be
exchangeable: each of K clusters has the weight :math:`1/(K+1)`, shared by its labels, and q is the smallest ratio up
to which the weights sum to :math:`1-\alpha`. The guarantee is then for a random label of a new cluster.

References
----------
V. Vovk, A. Gammerman, G. Shafer, *Algorithmic Learning in a Random World* (Springer, 2005).
J. Lei et al., J. Am. Stat. Assoc. **113**, 1094 (2018).
Y. Lee, R. F. Barber, R. Willett, arXiv:2306.06342 (2023) (clusters).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyuq.brief import brief
from pyuq.calibration.student import ratios
from pyuq.errors import InputError


@brief()
@dataclass(frozen=True)
class ConformalScale:
    """Factor on standard deviations for each group (species, configuration type).

    Attributes
    ----------
    alpha : float
        Allowed miss rate.
    factors : dict
        {group: q}; infinite where a group has fewer than 1/alpha - 1 labels (clusters).
    counts : dict
        {group: number of labels (clusters)}.
    """

    alpha: float
    factors: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def fit(
        cls,
        errors: ArrayLike,
        sigmas: ArrayLike,
        alpha: float = 0.05,
        groups: Sequence[str] | None = None,
        clusters: ArrayLike | None = None,
    ) -> "ConformalScale":
        """Find the factors from held-out labels.

        Parameters
        ----------
        errors, sigmas : (n,)
        alpha : float
            Between 0 and 1.
        groups : (n,) sequence of str, optional
            The guarantee then holds within each group; default: one group, ``"all"``.
        clusters : (n,) array of int, optional
            Structure of each label; default: every label for itself.

        Raises
        ------
        InputError
            See :func:`pyuq.calibration.student.ratios`; alpha outside (0, 1); or not as many groups or clusters as
            labels.
        """
        if not 0 < alpha < 1:
            raise InputError(f"alpha = {alpha}; expected a number between 0 and 1")
        z = np.abs(ratios(errors, sigmas))
        names = np.full(len(z), "all") if groups is None else np.asarray(groups)
        members = np.arange(len(z)) if clusters is None else np.asarray(clusters)
        for kind, found in (("groups", names), ("clusters", members)):
            if found.shape != z.shape:
                raise InputError(f"{kind} {found.shape} and errors {z.shape} must match")
        factors, counts = {}, {}
        for name in np.unique(names):
            mine = names == name
            factors[str(name)], counts[str(name)] = _quantile(z[mine], members[mine], alpha)
        return cls(alpha, factors, counts)

    def half_width(
        self, sigma: ArrayLike, groups: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """Half width of the interval at each standard deviation.

        Raises
        ------
        InputError
            A group that had no labels.
        """
        sigma = np.asarray(sigma, dtype=float)
        names = np.full(sigma.shape, "all") if groups is None else np.asarray(groups)
        if unknown := sorted(set(names.reshape(-1)) - self.factors.keys()):
            raise InputError(
                f"group {', '.join(unknown)} had no labels; known: {' '.join(self.factors)}"
            )
        factor = np.array([self.factors[str(name)] for name in names.reshape(-1)])
        return factor.reshape(sigma.shape) * sigma


def _quantile(
    z: NDArray[np.float64], clusters: NDArray[np.int_], alpha: float
) -> tuple[float, int]:
    """Smallest z up to which clusters of weight 1/(K+1) sum to 1 - alpha, and K."""
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    order = np.argsort(z, kind="stable")
    reached = np.cumsum(1.0 / sizes[index.reshape(-1)[order]])
    needed = (len(sizes) + 1) * (1 - alpha) - 1e-9
    k = int(np.searchsorted(reached, needed))
    return (float(z[order[k]]) if k < len(z) else float("inf")), len(sizes)
