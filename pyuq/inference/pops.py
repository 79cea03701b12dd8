# SPDX-License-Identifier: GPL-2.0-or-later
r"""Covariance of weights that cannot all be right: pointwise optimal parameter sets (POPS) in whitened axes.

The posterior of a linear regression supposes that some weights reproduce the labels. No potential does, and with many
rows its error bars become far too small. What the data say of the misfit is how far the weights would have to move for
each single row to come out right. With weighted rows :math:`x_i`, residuals :math:`e_i` at the mean, the posterior
:math:`\Sigma = v_e G` and the leverage :math:`h_i = x_i^TGx_i`, the least such change, in the metric
:math:`G^{-1}`, is

.. math:: \delta_i = G x_i e_i / h_i .

In axes in which G is the unit matrix (:math:`G = LL^T`, :math:`\delta = L\eta`) nothing depends on the units of the
weights. There the rows whose leverage is at least the median span a box: along each principal axis of
:math:`\sum_i\eta_i\eta_i^T`, from the smallest to the largest :math:`\eta_i`. A uniform distribution in the box has the
second moment :math:`m = (h-l)^2/12 + ((h+l)/2)^2` about the mean along an axis, and the covariance is
:math:`\Sigma_\mathrm{POPS} = W\,\mathrm{diag}(m)\,W^T`, :math:`W = LV`. No m is taken below the posterior's, which is
:math:`v_e`: where the data are interpolated the residuals vanish, and the uncertainty does not.

The rows stream by three times: leverages (a histogram), :math:`\sum\eta\eta^T`, bounds. Each result is a sum or an
extreme over ranks. The histogram makes the median a bin's lower edge, at most 0.06 % below it: the same on any number
of ranks, and therefore the whole, up to the rounding of sums.

References
----------
T. D. Swinburne and D. Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), arXiv:2402.01810.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cholesky, solve_triangular

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.regression import NormalEquations
from pyuq.inference.rows import RowBlock
from pyuq.parallel import Reducer

FloatArray = NDArray[np.float64]

UNCERTAINTIES = ("pops", "bayes")
ERROR_BARS = {
    "pops": "error bars: box of pointwise fits (pops), which knows what the model cannot describe",
    "bayes": "error bars: exact posterior (bayes), which supposes that the model can describe the labels; "
    'uncertainty = "pops" does not',
}
NO_LEVERAGE = 1e-14  # rows below say nothing of the weights: forces that symmetry makes zero
_BINS = 65536
_EDGES = np.geomspace(NO_LEVERAGE, 1.0, _BINS + 1)
INTERPOLATED = 0.5  # weights determined per row, above which residuals say little


def whitening(
    normal: NormalEquations, prior_variance: ArrayLike, noise_variance: float
) -> FloatArray:
    """Return L (M, M) with L Lᵀ = Σ/v_e, Σ the exact posterior covariance.

    From a Cholesky factor of the precision, not from Σ, whose small eigenvalues would be lost in rounding.

    Parameters
    ----------
    normal
        Sufficient statistics of the weighted rows.
    prior_variance : (M,) or scalar
        Prior variances; 0 fixes a weight.
    noise_variance
        v_e.

    Raises
    ------
    InputError
        The equations are singular in double precision.
    """
    d = np.broadcast_to(np.asarray(prior_variance, dtype=float), (normal.nfeatures,))
    root = np.sqrt(d)
    A = normal.gram
    A *= root[:, None] * (root / noise_variance)
    A[np.diag_indices_from(A)] += 1.0
    try:
        factor = cholesky(A, lower=True, overwrite_a=True)
    except np.linalg.LinAlgError:
        raise InputError(
            "the normal equations are singular in double precision: "
            "give a smaller prior variance or a larger noise variance"
        ) from None
    inverse = solve_triangular(factor, np.eye(len(d)), lower=True, overwrite_b=True)
    return root[:, None] * inverse.T / np.sqrt(noise_variance)


@brief()
@dataclass(frozen=True)
class Spread:
    """A covariance of the weights in axes in which the rows' leverages are squared lengths.

    Attributes
    ----------
    axes : (M, M)
        W, with W Wᵀ = G.
    moments : (M,)
        Second moment along each axis: Σ = W diag(moments) Wᵀ. Of the exact posterior all are v_e.
    """

    axes: FloatArray
    moments: FloatArray

    def covariance(self) -> FloatArray:
        """Return Σ, (M, M)."""
        half = self.axes * np.sqrt(self.moments)
        return half @ half.T


@brief()
@dataclass(frozen=True)
class Pops(Spread):
    """The box of pointwise fits.

    Attributes
    ----------
    low, high : (M,)
        Its bounds along each axis.
    noise_variance : float
        v_e: no second moment is below.
    threshold : float
        Rows of at least this leverage bound the box.
    nrows, used : int
        Rows that say something of the weights, and those that bound the box.
    determined : float
        Number of weights that the data determine, the sum of leverages.
    """

    low: FloatArray
    high: FloatArray
    noise_variance: float
    threshold: float
    nrows: int
    used: int
    determined: float

    def updated(self, rows: FloatArray, residuals: FloatArray) -> "Pops":
        """Take in further weighted rows, with their residuals at the new mean.

        G is updated exactly. The box keeps its bounds in the axes that go over into each other by the symmetric
        square root, and grows where a new row asks for it: residuals of old rows at the new mean are not looked at.

        Parameters
        ----------
        rows : (n, M)
        residuals : (n,)
        """
        axes = self.axes + _contraction(self.axes, rows @ self.axes)
        eta = _changes(rows @ axes, residuals, self.threshold)
        low = np.minimum(self.low, eta.min(axis=0, initial=np.inf))
        high = np.maximum(self.high, eta.max(axis=0, initial=-np.inf))
        return replace(
            self,
            axes=axes,
            moments=_moments(low, high, self.noise_variance),
            low=low,
            high=high,
            nrows=self.nrows + len(rows),
            used=self.used + len(eta),
        )

    def sample(self, mean: FloatArray, k: int, rng: np.random.Generator | int) -> FloatArray:
        """Draw `k` weight vectors uniformly from the box about a mean (M,), shape (k, M)."""
        rng = np.random.default_rng(rng)
        return mean + rng.uniform(self.low, self.high, (k, len(self.low))) @ self.axes.T

    def note(self) -> str:
        """Say where the box says less than it seems to; empty if nothing is to be said."""
        if self.determined <= INTERPOLATED * self.nrows:
            return ""
        return (
            f"{self.nrows} labels determine {self.determined:.0f} weights: they are interpolated, and residuals "
            "hardly show the misfit; error bars are not below those of the exact posterior, but believe them only "
            "after `pyuq calibrate`, or give more structures or a smaller basis"
        )


def _contraction(axes: FloatArray, inside: FloatArray) -> FloatArray:
    """W ((I + PᵀP)^-½ - I) for axes W and rows P in them, by the smaller of the two Gram matrices."""
    if len(inside) <= inside.shape[1]:
        values, vectors = np.linalg.eigh(inside @ inside.T)
        values = values.clip(min=0.0)
        # ((1+λ)^-½ - 1)/λ without loss of digits at small λ
        root = np.sqrt(1.0 + values)
        turned = vectors.T @ inside
        return -((axes @ turned.T) / (root * (1.0 + root))) @ turned
    values, vectors = np.linalg.eigh(inside.T @ inside)
    root = np.sqrt(1.0 + values.clip(min=0.0))
    return ((axes @ vectors) * (1.0 / root - 1.0)) @ vectors.T


def _changes(inside: FloatArray, residuals: FloatArray, threshold: float) -> FloatArray:
    """Least changes of weights η that reproduce rows of enough leverage, in whitened axes, (n', M)."""
    leverage = np.einsum("nm,nm->n", inside, inside)
    chosen = leverage >= threshold
    return inside[chosen] * (residuals[chosen] / leverage[chosen])[:, None]


def _moments(low: FloatArray, high: FloatArray, noise_variance: float) -> FloatArray:
    return np.maximum((high - low) ** 2 / 12.0 + (0.5 * (high + low)) ** 2, noise_variance)


def pops(
    blocks: Iterable[RowBlock],
    mean: FloatArray,
    white: FloatArray,
    noise_variance: float,
    reducer: Reducer | None = None,
) -> Pops:
    """Find the box of pointwise fits.

    Parameters
    ----------
    blocks : iterable of RowBlock
        Weighted rows of this rank, to be gone through three times.
    mean : (M,)
        Weights that the residuals are taken at.
    white : (M, M)
        See :func:`whitening`.
    noise_variance : float
        Of a row of weight 1.
    reducer : Reducer, optional
        Of the ranks that share the rows; all return the same.

    Raises
    ------
    InputError
        No row says anything of the weights.
    """
    reducer, size = reducer or Reducer(), white.shape[1]
    counts, determined = np.zeros(_BINS, dtype=np.int64), 0.0
    for block in blocks:
        inside = block.rows @ white
        leverage = np.einsum("nm,nm->n", inside, inside)
        determined += float(leverage.sum())
        leverage = leverage[leverage >= NO_LEVERAGE].clip(max=1.0)
        np.add.at(counts, np.searchsorted(_EDGES[1:-1], leverage, side="right"), 1)
    counts = reducer.total(counts)
    determined = float(reducer.total(np.array([determined]))[0])
    nrows = int(counts.sum())
    if not nrows:
        raise InputError(
            "no label depends on the weights: all features are zero (a cutoff below the distances of neighbours?)"
        )
    threshold = float(_EDGES[np.searchsorted(np.cumsum(counts), 0.5 * nrows, side="right")])
    second = np.zeros((size, size))
    for block in blocks:
        eta = _changes(block.rows @ white, block.targets - block.rows @ mean, threshold)
        second += eta.T @ eta
    second = reducer.total(second)
    _, vectors = np.linalg.eigh(0.5 * (second + second.T))
    axes = white @ vectors
    low, high, used = np.full(size, np.inf), np.full(size, -np.inf), 0
    for block in blocks:
        eta = _changes(block.rows @ axes, block.targets - block.rows @ mean, threshold)
        low = np.minimum(low, eta.min(axis=0, initial=np.inf))
        high = np.maximum(high, eta.max(axis=0, initial=-np.inf))
        used += len(eta)
    low, high = reducer.least(low), reducer.largest(high)
    used = int(reducer.total(np.array([used]))[0])
    if not used:  # rounding moved the only rows across the edge of a bin
        low, high = np.zeros(size), np.zeros(size)
    return Pops(
        axes=axes,
        moments=_moments(low, high, noise_variance),
        low=low,
        high=high,
        noise_variance=noise_variance,
        threshold=threshold,
        nrows=nrows,
        used=used,
        determined=determined,
    )
