# SPDX-License-Identifier: GPL-2.0-or-later
r"""What is known of the readout weights of a model, and the file that carries it.

The belief is Gaussian, :math:`w \sim N(\bar w, \Sigma)`. For a sum of features :math:`\Phi` it
gives the energy :math:`\bar w\cdot\Phi` with variance :math:`\Phi^T\Sigma\Phi`.

References
----------
C. M. Bishop, *Pattern Recognition and Machine Learning* (Springer, 2006), section 3.3.
"""

import glob
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpstrf

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.files import read_metadata, read_tensors, write_tensors
from pyuq.io.identity import hash_file

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-6  # allowed of a covariance, in units of standard deviations
_SMALLEST = 1e-12  # variances below it, in units of the largest, are rounding
_BLOCK = 512  # rows conditioned on at a time: the work array of an update is _BLOCK × M


def weighted(
    rows: ArrayLike, targets: ArrayLike, weights: ArrayLike | None, nfeatures: int
) -> tuple[FloatArray, FloatArray]:
    """Return rows (n, M) and targets (n,), both multiplied by the weights, after checking shapes.

    Raises
    ------
    InputError
        If shapes do not agree, a weight is negative or not a number.
    """
    rows = np.atleast_2d(np.asarray(rows, dtype=float))
    targets = np.atleast_1d(np.asarray(targets, dtype=float))
    if rows.ndim != 2 or rows.shape[1] != nfeatures or targets.shape != rows.shape[:1]:
        raise InputError(
            f"rows {rows.shape} and targets {targets.shape} do not fit together: "
            f"expected (n, {nfeatures}) and (n,)"
        )
    if weights is not None:
        weights = np.broadcast_to(np.asarray(weights, dtype=float), targets.shape)
        if not np.all(weights >= 0.0):
            raise InputError("row weights (1/standard deviation) must be numbers >= 0")
        rows, targets = rows * weights[:, None], targets * weights
    return np.ascontiguousarray(rows), targets


@brief()
@dataclass(frozen=True)
class Posterior:
    r"""Gaussian belief about `M` readout weights, with the noise of the data that it came from.

    Attributes
    ----------
    mean : (M,)
        :math:`\bar w`.
    covariance : (M, M)
        :math:`\Sigma`, symmetric.
    noise_variance : float
        Variance of a row of weight 1; a row of weight :math:`\omega` has this over
        :math:`\omega^2`.
    prior_variance : (M,)
        Prior variance of each weight.
    log_evidence : float
        Log marginal likelihood of the weighted targets.
    nrows : int
        Rows conditioned on.
    """

    mean: FloatArray
    covariance: FloatArray
    noise_variance: float
    prior_variance: FloatArray
    log_evidence: float
    nrows: int

    def predict(
        self, rows: ArrayLike, weights: ArrayLike | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the targets of new rows.

        Parameters
        ----------
        rows : (n, M)
            Design-matrix rows, unweighted.
        weights : (n,) or scalar, optional
            If given, the noise of rows with these weights is part of the standard deviation.

        Returns
        -------
        mean, std : (n,)
        """
        rows = np.atleast_2d(np.asarray(rows, dtype=float))
        variance = np.einsum("nm,nm->n", rows @ self.covariance, rows)
        if weights is not None:
            variance = variance + self.noise_variance / np.square(weights)
        return rows @ self.mean, np.sqrt(np.maximum(variance, 0.0))

    def sample(self, k: int, rng: np.random.Generator | int) -> FloatArray:
        """Draw `k` weight vectors.

        Parameters
        ----------
        k
            Number of draws.
        rng
            Generator or seed.

        Returns
        -------
        (k, M)
        """
        rng = np.random.default_rng(rng)
        factor, pivots, rank, _ = dpstrf(self.covariance, lower=1)
        factor = np.tril(factor)
        factor[:, rank:] = 0.0  # directions without variance
        draws = np.empty((k, self.mean.size))
        draws[:, pivots - 1] = rng.standard_normal((k, self.mean.size)) @ factor.T
        return self.mean + draws

    def update(
        self, rows: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
    ) -> "Posterior":
        r"""Condition on further rows at fixed hyperparameters, exactly, in O(nM²).

        With :math:`S = v_e I + X\Sigma X^T` and :math:`K = \Sigma X^T S^{-1}`,
        :math:`\bar w' = \bar w + K(y - X\bar w)` and :math:`\Sigma' = \Sigma - KSK^T`; the log
        evidence grows by :math:`\log N(y; X\bar w, S)`.

        Parameters
        ----------
        rows : (n, M)
            New design-matrix rows.
        targets : (n,)
            Their targets.
        weights : (n,) or scalar, optional
            Row weights, 1/standard deviation relative to the noise.

        Returns
        -------
        Posterior
        """
        rows, targets = weighted(rows, targets, weights, self.mean.size)
        mean, log_evidence = self.mean, self.log_evidence
        covariance = np.asfortranarray(self.covariance)
        for start in range(0, len(rows), _BLOCK):
            X, y = rows[start : start + _BLOCK], targets[start : start + _BLOCK]
            XS = X @ covariance
            S = XS @ X.T
            S[np.diag_indices_from(S)] += self.noise_variance
            L = cholesky(S, lower=True)
            gain = solve_triangular(L, XS, lower=True)
            innovation = solve_triangular(L, y - X @ mean, lower=True)
            mean = mean + innovation @ gain
            upper = np.triu(dsyrk(-1.0, gain.T, beta=1.0, c=covariance))
            covariance = np.asfortranarray(upper + np.triu(upper, 1).T)
            log_evidence -= 0.5 * (
                len(y) * np.log(2.0 * np.pi)
                + 2.0 * np.log(np.diag(L)).sum()
                + innovation @ innovation
            )
        return replace(
            self,
            mean=mean,
            covariance=covariance,
            log_evidence=float(log_evidence),
            nrows=self.nrows + len(rows),
        )


def check_covariance(covariance: FloatArray) -> None:
    """Refuse a matrix that is no covariance: σ² along some direction would come out negative, and count as 0.

    Each condition holds to rounding, 1e-6 of the standard deviations: a matrix that a fit has made may have eigenvalues
    a little below 0.

    Parameters
    ----------
    covariance : (M, M)

    Raises
    ------
    InputError
        A number is not finite, a variance is below 0, the matrix is not symmetric, or not positive semidefinite.
    """
    if not np.isfinite(covariance).all():
        raise InputError("the covariance holds a number that is not finite")
    variance = np.diag(covariance)
    floor = _SMALLEST * np.abs(variance).max(initial=0.0)
    if (variance < -floor).any():
        lowest = int(variance.argmin())
        raise InputError(
            f"the covariance has the variance [{lowest},{lowest}] = {variance[lowest]:.3g}, expected none below 0"
        )
    scale = np.sqrt(np.maximum(variance, floor))
    if not scale.any():
        if covariance.any():
            raise InputError("the covariance has no variances, but covariances")
        return
    correlation = covariance / scale[:, None] / scale
    gap = np.abs(correlation - correlation.T)
    if gap.max() > _ROUNDING:
        i, j = np.unravel_index(gap.argmax(), gap.shape)
        raise InputError(
            f"the covariance is not symmetric: [{i},{j}] = {covariance[i, j]:.6g}, "
            f"[{j},{i}] = {covariance[j, i]:.6g}"
        )
    correlation[np.diag_indices_from(correlation)] += _ROUNDING
    try:
        cholesky(correlation, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        raise InputError(
            "the covariance is not positive semidefinite: some combination of weights has a variance below 0"
        ) from None


@brief()
@dataclass(frozen=True)
class PosteriorFile:
    """Content of ``NAME.uq``: a model of unit coefficients and the belief about its weights.

    Attributes
    ----------
    model : bytes
        Native model file whose functions carry unit coefficients.
    mean : (M,)
        Mean weights.
    covariance : (M, M) or None
        Exact covariance, or
    samples : (K, M) or None
        draws of the weights. Exactly one of the two is given.
    elements : tuple of str
        Elements of the model, in its order.
    family : str
        Family of the model: "ace", ...
    model_sha256 : str
        SHA-256 of the exported model that lies beside this file (coefficients folded in).
    training_sha256 : str
        SHA-256 of the training set.
    provenance : dict
        Free-form record of how the fit was made (JSON types).
    active_inverse : (Σ_z F_z²,) or None
        Inverses of the active sets of all species, see :mod:`pyuq.inference.maxvol`.
    uncertainty : str
        What the covariance is: ``pops`` or ``bayes`` (:mod:`pyuq.inference.pops`); of files that do not say it,
        ``bayes``.
    leave_one_out : dict
        {column: {scale, floor, ...}}: what structures left out make of σ, :class:`pyuq.inference.leave_one_out.Scale`.
    """

    model: bytes
    mean: FloatArray
    elements: tuple[str, ...]
    covariance: FloatArray | None = None
    samples: FloatArray | None = None
    family: str = "ace"
    model_sha256: str = ""
    training_sha256: str = ""
    provenance: dict = field(default_factory=dict)
    active_inverse: FloatArray | None = None
    uncertainty: str = "bayes"
    leave_one_out: dict = field(default_factory=dict)

    FORMAT = "pyuq-posterior"
    VERSION = "1"

    def __post_init__(self):
        m = self.mean.shape
        if len(m) != 1 or (self.covariance is None) == (self.samples is None):
            raise InputError("a posterior needs a mean (M,) and either a covariance or samples")
        if self.covariance is not None and self.covariance.shape != m * 2:
            raise InputError(f"covariance has shape {self.covariance.shape}, expected {m * 2}")
        if self.covariance is not None:
            check_covariance(self.covariance)
        if self.samples is not None and (self.samples.ndim != 2 or self.samples.shape[1:] != m):
            raise InputError(f"samples have shape {self.samples.shape}, expected (K, {m[0]})")

    def write(self, path: str | os.PathLike) -> None:
        """Write the file atomically (safetensors)."""
        tensors = {"model": np.frombuffer(self.model, dtype=np.uint8), "mean": self.mean}
        for name in ("covariance", "samples", "active_inverse"):
            if (value := getattr(self, name)) is not None:
                tensors[name] = np.asarray(value, dtype=float)
        metadata = {
            "format": self.FORMAT,
            "format_version": self.VERSION,
            "family": self.family,
            "elements": " ".join(self.elements),
            "units": "metal",
            "model_sha256": self.model_sha256,
            "training_sha256": self.training_sha256,
            "provenance": json.dumps(self.provenance, sort_keys=True),
            "uncertainty": self.uncertainty,
            "leave_one_out": json.dumps(self.leave_one_out, sort_keys=True),
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def read(cls, path: str | os.PathLike) -> "PosteriorFile":
        """Read a file written by `write`.

        Raises
        ------
        InputError
            If it is not a posterior file of this format version, is damaged, or holds no covariance.
        """
        tensors, metadata = read_tensors(path, (cls.FORMAT, cls.VERSION))
        if missing := {"model", "mean"} - tensors.keys():
            raise InputError(f"{path}: lacks {' and '.join(sorted(missing))}")
        for name, value in tensors.items():
            if name != "model" and not np.isfinite(value).all():
                raise InputError(f"{path}: the tensor '{name}' holds a number that is not finite")
        try:
            return cls(
                model=tensors["model"].tobytes(),
                mean=tensors["mean"],
                covariance=tensors.get("covariance"),
                samples=tensors.get("samples"),
                active_inverse=tensors.get("active_inverse"),
                elements=tuple(metadata["elements"].split()),
                family=metadata["family"],
                model_sha256=metadata["model_sha256"],
                training_sha256=metadata["training_sha256"],
                provenance=json.loads(metadata["provenance"]),
                uncertainty=metadata.get("uncertainty", "bayes"),
                leave_one_out=json.loads(metadata.get("leave_one_out", "{}")),
            )
        except KeyError as error:
            raise InputError(f"{path}: the metadata entry {error} is missing") from error
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error

    def check_model(self, path: str | os.PathLike) -> None:
        """Refuse an exported model that this posterior was not made for.

        Raises
        ------
        InputError
            If the SHA-256 of the file at `path` is not the one recorded here.
        """
        found = hash_file(path)
        if found != self.model_sha256:
            raise InputError(
                f"{path}: SHA-256 {found[:12]}… but its posterior was made for "
                f"{self.model_sha256[:12]}…; fit again or restore the pair of files"
            )


def refuse_other_owner(path: str | os.PathLike, model: str | os.PathLike) -> None:
    """Refuse to write ``NAME.uq`` of a model over that of another model ``NAME.*`` in the same folder.

    Raises
    ------
    InputError
        It holds the SHA-256 of a file of the same name and another suffix.
    """
    path = Path(path)
    wanted = read_metadata(path).get("model_sha256")
    own = {path.name, Path(model).name}
    for other in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")) if wanted else ():
        if other.name not in own and other.is_file() and hash_file(other) == wanted:
            raise InputError(
                f"{path} is the posterior of {other.name}: give one of the two models another name, or write "
                "elsewhere"
            )
