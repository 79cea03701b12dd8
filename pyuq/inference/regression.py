# SPDX-License-Identifier: GPL-2.0-or-later
r"""Bayesian linear regression from normal equations: evidence maximisation, ridge and ARD.

Model, for a design matrix :math:`X` (n, M) and targets :math:`y`, both already multiplied by the
row weights:

.. math:: y = Xw + \epsilon,\quad \epsilon \sim N(0, v_e I),\quad w \sim N(0, \mathrm{diag}(d)) .

With :math:`D = \mathrm{diag}(d)` and :math:`A = I + D^{1/2}X^TXD^{1/2}/v_e`,

.. math::
    \Sigma = D^{1/2}A^{-1}D^{1/2},\quad \bar w = \Sigma X^Ty/v_e,\quad
    -2\log p(y) = n\log 2\pi v_e + \log|A| + (y^Ty - y^TX\bar w)/v_e .

Only :math:`X^TX`, :math:`X^Ty`, :math:`y^Ty` and :math:`n` enter, so that rows are streamed, one
structure at a time, and summed over MPI ranks; memory is :math:`8M^2` bytes on each rank whatever
the number of rows. The price: forming :math:`X^TX` squares the condition number. Directions whose
singular value is below :math:`\sqrt{M\varepsilon}\approx 5\times10^{-7}` of the largest are lost
in rounding and answer with their prior; and the residual :math:`y^Ty - y^TX\bar w` carries an error
of about :math:`10^{-16} y^Ty`, so that a noise below :math:`10^{-8}` of the root-mean-square target
is not resolved.

References
----------
D. J. C. MacKay, Neural Computation 4, 415 (1992).
M. E. Tipping, J. Machine Learning Research 1, 211 (2001).
M. E. Tipping and A. C. Faul, Proc. 9th Workshop on Artificial Intelligence and Statistics (2003).
C. M. Bishop, *Pattern Recognition and Machine Learning* (Springer, 2006), sections 3.5 and 7.2.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigvalsh_tridiagonal, lapack
from scipy.linalg.blas import dsyrk
from scipy.optimize import brentq

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.posterior import FloatArray, Posterior, weighted
from pyuq.io.files import read_tensors, write_tensors

_EPS = np.finfo(float).eps
FEW = 10  # structures from which nothing general can be said
# Part of the rows that the weights have used up: residuals then show the weights, not the model.
SPENT = 0.3


@brief("nrows", "rhs")
class NormalEquations:
    """Sufficient statistics of a linear regression, summed as rows stream by.

    Parameters
    ----------
    nfeatures
        Number `M` of columns of the design matrix.

    Attributes
    ----------
    rhs : (M,)
        Xᵀy.
    yty : float
        yᵀy.
    nrows : int
        Rows added so far.
    """

    def __init__(self, nfeatures: int):
        self._upper = np.zeros((nfeatures, nfeatures), order="F")  # upper triangle of XᵀX
        self.rhs = np.zeros(nfeatures)
        self.yty = 0.0
        self.nrows = 0

    @property
    def nfeatures(self) -> int:
        """Number `M` of columns."""
        return self.rhs.size

    @property
    def gram(self) -> FloatArray:
        """XᵀX, (M, M), symmetric; a copy."""
        upper = np.triu(self._upper)
        return np.asfortranarray(upper + np.triu(upper, 1).T)

    def add(self, rows: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Add rows of the design matrix.

        Parameters
        ----------
        rows : (n, M)
            Design-matrix rows.
        targets : (n,)
            Their targets.
        weights : (n,) or scalar, optional
            1/standard deviation of each row, up to a common factor that the fit finds.

        Raises
        ------
        InputError
            If shapes do not agree, a weight is negative or a number is not finite.
        """
        rows, targets = weighted(rows, targets, weights, self.nfeatures)
        with np.errstate(over="ignore"):
            rhs, yty = targets @ rows, float(targets @ targets)
        if not (np.isfinite(rhs).all() and np.isfinite(yty)):  # also if any single number is not
            raise InputError(
                "design matrix or targets hold NaN or infinite numbers, or such that their squares are"
            )
        self._upper = dsyrk(1.0, rows.T, beta=1.0, c=self._upper, overwrite_c=1)
        self.rhs += rhs
        self.yty += yty
        self.nrows += len(targets)
        return self

    def merge(self, other: "NormalEquations") -> Self:
        """Add the rows of another set of normal equations.

        Raises
        ------
        InputError
            The other has another number of features.
        """
        if other.nfeatures != self.nfeatures:
            raise InputError(
                f"cannot merge normal equations of {other.nfeatures} features into {self.nfeatures}"
            )
        self._upper += other._upper
        self.rhs += other.rhs
        self.yty += other.yty
        self.nrows += other.nrows
        return self

    def scaled(self, factor: float) -> "NormalEquations":
        """Return the equations of the same rows with `factor` times their squared weights."""
        other = self.copy()
        other._upper *= factor
        other.rhs *= factor
        other.yty *= factor
        return other

    def shifted(self, w: ArrayLike) -> "NormalEquations":
        """Return the equations of the same rows with targets y + Xw, w (M,)."""
        other, w = self.copy(), np.asarray(w, dtype=float)
        product = self.gram @ w
        other.rhs += product
        other.yty += float(2.0 * (w @ self.rhs) + w @ product)
        return other

    def allreduce(self, comm) -> Self:
        """Sum over the ranks of an mpi4py communicator, in place: one Allreduce of 8M² bytes."""
        from mpi4py import MPI

        tail = np.concatenate([self.rhs, [self.yty, float(self.nrows)]])
        comm.Allreduce(MPI.IN_PLACE, self._upper.T)  # the transpose is a C-ordered view
        comm.Allreduce(MPI.IN_PLACE, tail)
        self.rhs, self.yty, self.nrows = tail[:-2].copy(), float(tail[-2]), round(tail[-1])
        return self

    def copy(self) -> "NormalEquations":
        """Return an independent copy."""
        return NormalEquations(self.nfeatures).merge(self)

    def tensors(self) -> dict[str, FloatArray]:
        """Return XᵀX, Xᵀy and (yᵀy, number of rows) for `from_sums`."""
        scalars = np.array([self.yty, float(self.nrows)])
        return {"gram": np.ascontiguousarray(self.gram), "rhs": self.rhs, "scalars": scalars}

    def save(self, path: str | os.PathLike) -> None:
        """Write to a safetensors file, atomically."""
        write_tensors(path, self.tensors(), {})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "NormalEquations":
        """Read a file written by `save`.

        Raises
        ------
        InputError
            The file holds something else.
        """
        tensors, _ = read_tensors(path)
        if tensors.keys() != {"gram", "rhs", "scalars"}:
            raise InputError(f"{path}: holds {sorted(tensors)}, not normal equations")
        return cls.from_sums(tensors["gram"], tensors["rhs"], tensors["scalars"])

    @classmethod
    def from_sums(cls, gram: FloatArray, rhs: FloatArray, scalars: FloatArray) -> Self:
        """Make them from XᵀX, Xᵀy and (yᵀy, number of rows)."""
        normal = cls(rhs.size)
        normal._upper = np.asfortranarray(gram)
        normal.rhs = rhs.copy()
        normal.yty, normal.nrows = float(scalars[0]), round(scalars[1])
        return normal


@brief()
@dataclass(frozen=True)
class Conditioning:
    """How well the data determine the weights.

    Attributes
    ----------
    effective : float
        Number of weights that the data determine, Σ_k λ_k/(1 + λ_k) with the eigenvalues λ_k of the precision that the
        data add to a prior precision of 1; the others keep the prior.
    condition : float
        Of the equations that are solved, (1 + max λ)/(1 + min λ). Beyond 1e15 rounding shows in the worst determined
        directions.
    absent : tuple of str
        Elements of the model that the data do not hold.
    """

    effective: float
    condition: float
    absent: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, normal: NormalEquations, prior: FloatArray, absent: Sequence[str] = ()
    ) -> "Conditioning":
        """Find it for normal equations of noise variance 1 and prior variances (M,)."""
        root = np.sqrt(prior)
        values = np.linalg.eigvalsh(root[:, None] * normal.gram * root).clip(min=0.0)
        effective = float(np.sum(values / (1.0 + values)))
        return cls(effective, float((1.0 + values[-1]) / (1.0 + values[0])), tuple(absent))

    def text(self, nreadout: int) -> str:
        """Sentences for the report."""
        words = f"the data determine {self.effective:.1f} of {nreadout} weights; "
        words += f"condition number {self.condition:.1e}"
        if self.condition > 1e15:
            words += (
                ", rounding shows in the worst determined directions: more data, or fewer features"
            )
        if self.absent:
            words += f"; no {', '.join(self.absent)} in the data: these weights keep the prior"
        return words


def condition(
    normal: NormalEquations, prior_variance: ArrayLike, noise_variance: float
) -> Posterior:
    """Return the exact posterior at given hyperparameters: one Cholesky factorisation.

    Parameters
    ----------
    normal
        Sufficient statistics of the weighted rows.
    prior_variance : (M,) or scalar
        Prior variance of each weight; 0 fixes a weight at zero.
    noise_variance
        Noise variance of a row of weight 1.

    Returns
    -------
    Posterior

    Raises
    ------
    InputError
        If a variance is negative, or so large that the equations are singular in double precision.
    """
    d = np.broadcast_to(np.asarray(prior_variance, dtype=float), (normal.nfeatures,))
    if not (np.all(d >= 0.0) and noise_variance > 0.0):
        raise InputError("prior variances must be >= 0 and the noise variance > 0")
    mean, inverse, log_det = _solve(normal.gram, normal.rhs, d, noise_variance)
    misfit = max(normal.yty - normal.rhs @ mean, _EPS * normal.yty)
    log_evidence = -0.5 * (
        normal.nrows * np.log(2.0 * np.pi * noise_variance) + log_det + misfit / noise_variance
    )
    inverse *= np.sqrt(d)[:, None] * np.sqrt(d)
    return Posterior(
        mean, inverse, float(noise_variance), d.copy(), float(log_evidence), normal.nrows
    )


def _solve(
    gram: FloatArray, rhs: FloatArray, d: FloatArray, noise_variance: float
) -> tuple[FloatArray, FloatArray, float]:
    """Return the mean, A⁻¹ and log|A|; `gram` is overwritten."""
    if d.size == 0:
        return rhs, gram, 0.0
    root = np.sqrt(d)
    A = gram
    A *= root[:, None] * (root / noise_variance)
    A[np.diag_indices_from(A)] += 1.0
    factor, inverse = _cholesky_inverse(A)
    mean = root * lapack.dpotrs(factor, root * rhs)[0] / noise_variance
    return mean, inverse, 2.0 * float(np.log(np.diag(factor)).sum())


def _cholesky_inverse(A: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the upper Cholesky factor and the full inverse of a symmetric positive matrix."""
    factor, info = lapack.dpotrf(A)
    if info != 0:
        raise InputError(
            "the normal equations are singular in double precision: "
            "give a smaller prior variance or a larger noise variance"
        )
    inverse, _ = lapack.dpotri(factor)
    inverse = np.triu(inverse)
    return factor, np.asfortranarray(inverse + np.triu(inverse, 1).T)


def _tridiagonal(matrix: FloatArray, vector: FloatArray) -> tuple[FloatArray, ...]:
    """Return diagonal and off-diagonal of T = QᵀAQ, and Qᵀb: the cheap half of eigenvalues."""
    lwork = int(lapack.dsytrd_lwork(len(matrix), lower=1)[0])
    reflectors, diagonal, off, tau, _ = lapack.dsytrd(matrix, lower=1, lwork=lwork, overwrite_a=1)
    rotated = np.array(vector, dtype=float)
    if len(off):
        tail = rotated[1:, None]
        rotated[1:] = lapack.dormqr("L", "T", reflectors[1:, :-1], tau, tail, lwork=64)[0][:, 0]
    return diagonal, off, rotated


class _Estimator:
    """What ridge and ARD share: fitting from rows, prediction."""

    posterior_: Posterior

    def condition(self, normal: NormalEquations) -> Posterior:
        """Return the posterior for other rows at the hyperparameters already learned."""
        raise NotImplementedError

    def fit(self, X: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Fit to a design matrix.

        Parameters
        ----------
        X : (n, M)
            Design matrix.
        y : (n,)
            Targets.
        weights : (n,), optional
            1/standard deviation of each row, up to a common factor.
        """
        X = np.asarray(X, dtype=float)
        return self.fit_statistics(NormalEquations(X.shape[1]).add(X, y, weights))

    def fit_statistics(self, normal: NormalEquations) -> Self:
        """Fit to normal equations."""
        raise NotImplementedError

    def predict(self, X: ArrayLike, return_std: bool = False):
        """Return the mean (n,) of the targets of `X` (n, M) and, on request, its error."""
        mean, std = self.posterior_.predict(X)
        return (mean, std) if return_std else mean

    @property
    def coef_(self) -> FloatArray:
        """Posterior mean of the weights, (M,)."""
        return self.posterior_.mean

    @property
    def log_evidence_(self) -> float:
        """Log marginal likelihood of the weighted targets."""
        return self.posterior_.log_evidence


def _check_statistics(normal: NormalEquations) -> None:
    """Refuse statistics that no evidence can be maximised on."""
    what = "there are no rows" if normal.nrows == 0 else ""
    if normal.nrows and not np.trace(normal._upper) > 0.0:
        what = "all features are zero (a cutoff below the distances of neighbours?)"
    elif normal.nrows and not normal.yty > 0.0:
        what = "all targets are zero"
    if what:
        raise InputError(f"cannot fit {normal.nfeatures} weights to {normal.nrows} rows: {what}")


@brief("prior_shape", "noise_variance")
class BayesianRidge(_Estimator):
    r"""Ridge regression whose two strengths maximise the evidence.

    Prior :math:`w_j \sim N(0, v s_j)` with a given shape :math:`s`, e.g. smaller for functions that
    oscillate more. After one reduction of the scaled Gram matrix to tridiagonal form, O(M³), an
    evaluation of the evidence costs O(M); the noise variance has its best value in closed form for
    each ratio :math:`r = v_e/v`, so that a search along one line finds the global maximum.

    Parameters
    ----------
    prior_shape : (M,), optional
        Relative prior variances :math:`s`, positive. Default: 1.
    noise_variance, prior_variance : float, optional
        :math:`v_e` and :math:`v`; a value that is given is kept, the others maximise the evidence.

    Attributes
    ----------
    posterior_ : Posterior
    noise_variance_ : float
        :math:`v_e`.
    prior_variance_ : (M,)
        :math:`v s`.
    effective_parameters_ : float
        Number of weights that the data determine, M − tr Σ D⁻¹.
    """

    def __init__(
        self,
        *,
        prior_shape: ArrayLike | None = None,
        noise_variance: float | None = None,
        prior_variance: float | None = None,
    ):
        self.prior_shape = prior_shape
        self.noise_variance = noise_variance
        self.prior_variance = prior_variance

    def fit_statistics(self, normal: NormalEquations) -> Self:
        """Fit to normal equations.

        Raises
        ------
        InputError
            If there is nothing to fit, or the prior shape is not positive.
        """
        _check_statistics(normal)
        shape = np.asarray(
            np.ones(normal.nfeatures) if self.prior_shape is None else self.prior_shape
        )
        if shape.shape != (normal.nfeatures,) or not np.all(shape > 0.0):
            raise InputError(f"prior_shape must be {normal.nfeatures} positive numbers")
        v, v_e = self.prior_variance, self.noise_variance
        if v is None or v_e is None:
            v, v_e = self._maximise_evidence(normal, np.sqrt(shape))
        self.prior_variance_, self.noise_variance_ = v * shape, float(v_e)
        self.posterior_ = self.condition(normal)
        trace = np.sum(np.diag(self.posterior_.covariance) / self.prior_variance_)
        self.effective_parameters_ = float(normal.nfeatures - trace)
        return self

    def condition(self, normal: NormalEquations) -> Posterior:
        """Return the posterior for other rows at the hyperparameters already learned."""
        return condition(normal, self.prior_variance_, self.noise_variance_)

    def _maximise_evidence(
        self, normal: NormalEquations, root_shape: FloatArray
    ) -> tuple[float, float]:
        """Return prior and noise variance of the highest evidence."""
        gram = normal.gram
        gram *= root_shape[:, None] * root_shape
        diagonal, off, rhs = _tridiagonal(gram, root_shape * normal.rhs)
        eigenvalues = eigvalsh_tridiagonal(diagonal, off).clip(min=0.0)
        off = off if len(off) else np.zeros(1)  # dptsv wants one even for a single weight
        n, m, floor = normal.nrows, normal.nfeatures, _EPS * normal.yty

        def evidence(log_r: float) -> tuple[float, float, float]:
            """Return −2 log evidence (less n log 2π), its derivative by log r, and v_e."""
            r = np.exp(log_r)
            solution = lapack.dptsv(diagonal + r, off, rhs)[2]
            misfit = max(normal.yty - rhs @ solution, floor)
            v_e = self.noise_variance
            if v_e is None:
                v_e = misfit / n if self.prior_variance is None else r * self.prior_variance
            value = n * np.log(v_e) + np.log1p(eigenvalues / r).sum() + misfit / v_e
            slope = r * (solution @ solution) / v_e - (eigenvalues / (eigenvalues + r)).sum()
            if self.prior_variance is not None:
                slope += n - misfit / v_e
            return value, slope, v_e

        # The best of a grid, then the zero of the derivative: a minimum is only known to √ε.
        scale = eigenvalues[-1]
        grid = np.linspace(np.log(scale * m * _EPS), np.log(scale * 1e6), 100)
        best = int(np.argmin([evidence(x)[0] for x in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        log_r = grid[best]
        if evidence(low)[1] < 0.0 < evidence(high)[1]:
            log_r = brentq(lambda x: evidence(x)[1], low, high, xtol=1e-14, rtol=1e-14)
        v_e = evidence(log_r)[2]
        return v_e / np.exp(log_r), v_e


@brief("prior_shape", "max_iter", "tol")
class ARDRegression(_Estimator):
    r"""Automatic relevance determination: one prior variance for each weight, set by the evidence.

    MacKay's fixed point :math:`d_j = \bar w_j^2/\gamma_j`, :math:`\gamma_j = 1 - \Sigma_{jj}/d_j`,
    starting from the ridge solution. A function whose best prior variance is zero (Tipping and
    Faul: :math:`q_j^2 < s_j`) is pruned once that changes the evidence no more; at convergence
    every pruned function is tested again by the same rule, and comes back if the evidence rises.

    A pruned function says nothing about a structure that needs it, so that plain ARD reports *no*
    uncertainty just where it is largest. Therefore, by default, the covariance is computed with the
    prior variance of the ridge solution restored for pruned functions; the mean, and the log
    evidence, stay those of ARD.

    Parameters
    ----------
    prior_shape : (M,), optional
        Relative prior variances of the ridge solution to start from and to restore.
    noise_variance : float, optional
        Kept if given; default: maximises the evidence.
    restore
        Restore the prior variance of pruned functions in the covariance.
    tol
        Converged when a sweep changes the log evidence by less than this.
    max_iter
        Most sweeps.

    Attributes
    ----------
    posterior_ : Posterior
    noise_variance_ : float
    prior_variance_ : (M,)
        Zero for pruned functions.
    restored_variance_ : (M,)
        What the covariance is computed with.
    kept_ : (M,) of bool
    n_iter_ : int
    """

    def __init__(
        self,
        *,
        prior_shape: ArrayLike | None = None,
        noise_variance: float | None = None,
        restore: bool = True,
        tol: float = 1e-3,
        max_iter: int = 1000,
    ):
        self.prior_shape = prior_shape
        self.noise_variance = noise_variance
        self.restore = restore
        self.tol = tol
        self.max_iter = max_iter

    def fit_statistics(self, normal: NormalEquations) -> Self:
        """Fit to normal equations.

        Raises
        ------
        InputError
            If there is nothing to fit, or `max_iter` sweeps do not converge.
        """
        ridge = BayesianRidge(prior_shape=self.prior_shape, noise_variance=self.noise_variance)
        ridge.fit_statistics(normal)
        self._gram = normal.gram
        self._ridge_variance = ridge.prior_variance_
        d, v_e = ridge.prior_variance_.copy(), ridge.noise_variance_
        previous, revivals = -np.inf, 0
        for self.n_iter_ in range(1, self.max_iter + 1):  # noqa: B020
            log_evidence, d, v_e = self._sweep(normal, d, v_e)
            rounding = 2.0 * _EPS * normal.yty / v_e  # of the misfit in the log evidence
            if abs(log_evidence - previous) < max(self.tol, rounding):
                revived = self._revive(normal, d, v_e)
                if not revived.any() or revivals == self._MAX_REVIVALS:
                    break
                d, revivals = np.where(revived > 0.0, revived, d), revivals + 1
            previous = log_evidence
        else:
            raise InputError(
                f"ARD did not converge in {self.max_iter} sweeps: raise max_iter or tol"
            )
        self.kept_ = d > 0.0
        self.prior_variance_, self.noise_variance_ = d, float(v_e)
        self.restored_variance_ = self._restored(d)
        del self._gram, self._ridge_variance
        self.posterior_ = self.condition(normal)
        return self

    def _restored(self, d: FloatArray) -> FloatArray:
        """Prior variances with that of the ridge solution for pruned functions."""
        return np.where(d > 0.0, d, self._ridge_variance)

    def _least_noise(self, d: FloatArray) -> float:
        """Noise variance that keeps the equations regular: data without noise have no best one."""
        return 10.0 * _EPS * float(np.diag(self._gram) @ self._restored(d))

    _MAX_REVIVALS = 10  # rounds; each raises the evidence, later ones hardly
    _PRUNE = 1e-3  # prune below this part of the noise: the evidence then moves by less

    def _sweep(
        self, normal: NormalEquations, d: FloatArray, v_e: float
    ) -> tuple[float, FloatArray, float]:
        """Return the log evidence at (d, v_e) and the hyperparameters of the next sweep."""
        kept = np.flatnonzero(d)
        gram = self._gram[np.ix_(kept, kept)]
        mean, inverse, log_det = _solve(gram.copy(), normal.rhs[kept], d[kept], v_e)
        explained = normal.rhs[kept] @ mean
        misfit = max(normal.yty - explained, _EPS * normal.yty)
        n = normal.nrows
        log_evidence = -0.5 * (n * np.log(2.0 * np.pi * v_e) + log_det + misfit / v_e)

        gamma = np.clip(1.0 - np.diag(inverse), _EPS, 1.0 - _EPS)
        sparsity = gamma / (d[kept] * (1.0 - gamma))  # s_j: overlap with the data not explained
        quality = mean / (d[kept] * (1.0 - gamma))  # q_j: by the other functions
        new = mean**2 / gamma
        new[(quality**2 < sparsity) & (new * sparsity < self._PRUNE)] = 0.0
        if self.noise_variance is None:
            residual = normal.yty - 2.0 * explained + mean @ gram @ mean
            v_e = max(residual, _EPS * normal.yty) / (n - gamma.sum())
        d = np.zeros_like(d)
        d[kept] = new
        if self.noise_variance is None:
            v_e = max(v_e, self._least_noise(d))
        return log_evidence, d, v_e

    def _revive(self, normal: NormalEquations, d: FloatArray, v_e: float) -> FloatArray:
        """Return the best prior variance of pruned functions: zero where evidence would fall."""
        kept, pruned = d > 0.0, d == 0.0
        cross = self._gram[np.ix_(pruned, kept)]
        root = np.sqrt(d[kept])
        gram = self._gram[np.ix_(kept, kept)]
        mean, inverse, _ = _solve(gram, normal.rhs[kept], d[kept], v_e)
        scaled = cross * root
        explained = np.einsum("pk,pk->p", scaled @ inverse, scaled) / v_e
        sparsity = (np.diag(self._gram)[pruned] - explained) / v_e
        quality = (normal.rhs[pruned] - cross @ mean) / v_e
        gain = (quality**2 - sparsity) / np.maximum(sparsity, _EPS) ** 2
        revived = np.zeros_like(d)
        revived[pruned] = np.where(gain * sparsity > self._PRUNE, gain, 0.0)
        return revived

    def condition(self, normal: NormalEquations) -> Posterior:
        """Return the posterior for other rows at the hyperparameters already learned."""
        posterior = condition(normal, self.prior_variance_, self.noise_variance_)
        if not self.restore:
            return posterior
        restored = condition(normal, self.restored_variance_, self.noise_variance_)
        return replace(restored, mean=posterior.mean, log_evidence=posterior.log_evidence)


def few_data_note(structures: int, rows: int, effective: float) -> str:
    """Say where a fit rests on so little that its errors and its noise mean nothing beyond it; empty if it does not.

    Parameters
    ----------
    structures, rows : int
        That taught.
    effective : float
        Number of weights that they determine, see :class:`Conditioning`.
    """
    found = []
    if structures < FEW:
        found.append(f"only {structures} structure{'s' if structures > 1 else ''} taught")
    if effective > SPENT * rows:
        found.append(f"{rows} rows determine {effective:.0f} weights")
    if not found:
        return ""
    return (
        f"{' and '.join(found)}: errors on the training set, the noise and the error bars say how well these "
        "structures can be reproduced, not how wrong the potential is on others; give more structures, and judge by "
        "a test set"
    )
