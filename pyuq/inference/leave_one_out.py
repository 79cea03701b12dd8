# SPDX-License-Identifier: GPL-2.0-or-later
r"""Errors on structures that are left out of a linear fit, exactly and without fitting again, and what they say of σ.

With the weighted rows :math:`X_k` of a structure, its residuals :math:`e_k` at the mean of the whole fit and
:math:`H_k = X_kGX_k^T`, :math:`G = \Sigma/v_e`, the fit without the structure has on it, at the same prior and noise,

.. math:: e_k^\mathrm{loo} = (I - H_k)^{-1}e_k, \qquad
    G_{-k} = L\,(I - U_k^TU_k)^{-1}L^T, \quad U_k = X_kL .

The predictive covariance of the exact posterior is :math:`v_eX_kG_{-k}X_k^T = v_eH_k(I - H_k)^{-1}`. A box of pointwise
fits (:mod:`pyuq.inference.pops`) is carried over by the symmetric square root: in axes :math:`L(I-U_k^TU_k)^{-1/2}` the
posterior without the structure is a unit matrix again, and the box has the bounds of the whole fit. The same holds for
groups of structures. Exact copies of a structure are left out with it.

From the errors and their standard deviations of each column (energies, forces by species, virials) a factor s and a
floor f maximise the likelihood of a Student-t distribution of width :math:`s\sqrt{\sigma^2+f^2}`: its heavy tails keep
few structures of high leverage from deciding.

References
----------
R. D. Cook and S. Weisberg, *Residuals and Influence in Regression* (Chapman & Hall, 1982).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln

from pyuq.brief import brief
from pyuq.calibration.scores import scores
from pyuq.inference.pops import Spread
from pyuq.inference.rows import RowBlock
from pyuq.parallel import Reducer

FloatArray = NDArray[np.float64]

MEMORY = 512 * 2**20  # bytes of sums over groups at a time
UNRESOLVED = (
    1e-9  # of 1 - λ: a structure that alone determines a weight, whose error rounding hides
)
FEWEST = 5  # structures that a factor and a floor are learnt from
SYMMETRIC = (
    1e-6  # of the largest σ of a column: a force that symmetry makes zero, which teaches nothing
)
LARGEST = 5000  # errors that are looked at in the search for factor and floor
LEAST_DOF, MOST_DOF = 3.0, 100.0


@brief()
@dataclass(frozen=True)
class LeftOut:
    """Errors of structures that were left out, and the standard deviations predicted for them.

    Attributes
    ----------
    columns : (n,) array of str
        ``energy``, ``virial``, ``force`` and species.
    errors : (n,)
        Label less prediction, eV/atom or eV/Å.
    sigmas : (n,)
        Of the weights' covariance alone.
    noises : (n,)
        Of the regression's noise.
    structures : (n,) array of int
    unresolved : int
        Structures without which a weight is not determined at all: left aside.
    """

    columns: NDArray[np.str_]
    errors: FloatArray
    sigmas: FloatArray
    noises: FloatArray
    structures: NDArray[np.int_]
    unresolved: int = 0

    def names(self) -> list[str]:
        """Return the columns that there are, energies first."""
        return sorted(set(map(str, self.columns)), key=lambda name: (name != "energy", name))

    def of(self, column: str) -> "LeftOut":
        """Return one column."""
        c = self.columns == column
        return LeftOut(
            self.columns[c], self.errors[c], self.sigmas[c], self.noises[c], self.structures[c]
        )


def leave_out(
    blocks: Iterable[RowBlock],
    mean: FloatArray,
    spread: Spread,
    noise_variance: float,
    white: FloatArray | None = None,
    reducer: Reducer | None = None,
    fixed: bool = False,
) -> LeftOut:
    """Leave each structure out.

    Parameters
    ----------
    blocks : iterable of RowBlock
        Weighted rows of this rank.
    mean : (M,)
        Of the whole fit.
    spread : Spread
        Covariance that is judged.
    noise_variance : float
        Of a row of weight 1.
    white : (M, M), optional
        L of the regression that gave the mean, where it is not that of the spread (automatic relevance
        determination with restored priors).
    reducer : Reducer, optional
        Of the ranks that share the rows; all return the same.
    fixed : bool
        The mean does not come from these rows (weights of a file that is kept): only the covariance changes.
    """
    found = []
    for block in blocks:
        e = block.targets - block.rows @ mean
        inside = block.rows @ spread.axes
        left = _without(inside, block.copies)
        if fixed:
            errors = e
        else:
            other = left if white is None else _without(block.rows @ white, block.copies)
            errors = other.error(e) if other is not None else None
        found.append(_scored(block, errors, left, spread, noise_variance))
    return _joined((reducer or Reducer()).gathered(found))


def leave_groups_out(
    blocks: Iterable[RowBlock],
    mean: FloatArray,
    spread: Spread,
    noise_variance: float,
    white: FloatArray | None = None,
    reducer: Reducer | None = None,
    fixed: bool = False,
) -> LeftOut | None:
    """Leave each group of structures out in turn; None where there is one group only.

    The parameters are those of :func:`leave_out`.

    The prior and the noise stay those of the whole fit. Rows are gone through twice for as many groups as fit in
    memory, 8M² bytes each.
    """
    reducer = reducer or Reducer()
    names = sorted({name for name in reducer.gathered(sorted({b.group for b in blocks}))})
    if len(names) < 2:
        return None
    size = spread.axes.shape[0]
    at_once = max(1, int(MEMORY // (8 * size**2)))
    found = []
    for start in range(0, len(names), at_once):
        chosen = names[start : start + at_once]
        sums = {name: _GroupSums(size, white is not None) for name in chosen}
        for block in blocks:
            if block.group in sums:
                sums[block.group].add(block, mean, spread.axes, white)
        left = {}
        for name in chosen:
            left[name] = sums.pop(name).reduced(reducer)
        for block in blocks:
            if block.group not in left:
                continue
            of_spread, of_mean, pull = left[block.group]
            e = block.targets - block.rows @ mean
            inside = block.rows @ spread.axes
            if fixed:
                errors = e
            elif of_mean is None:
                errors = None
            else:
                errors = e + (inside if white is None else block.rows @ white) @ (
                    of_mean.full @ pull
                )
            rows = None if of_spread is None else _Rows(inside @ of_spread.root)
            found.append(_scored(block, errors, rows, spread, noise_variance))
    return _joined(reducer.gathered(found))


@dataclass(frozen=True)
class _Rows:
    """Rows in the axes of the fit without them, (n, M)."""

    rows: FloatArray


@dataclass(frozen=True)
class _Without(_Rows):
    """The same with what gives the residuals: (I - H)⁻¹, (n, n)."""

    inverse: FloatArray

    def error(self, residuals: FloatArray) -> FloatArray:
        return self.inverse @ residuals


def _without(inside: FloatArray, copies: int) -> "_Without | None":
    """Rows (n, M) of a structure without itself and its copies; None where they alone determine a weight."""
    n, m = inside.shape
    if n <= m:
        values, vectors = np.linalg.eigh(copies * (inside @ inside.T))
        rest = 1.0 - values
        if n and rest.min() < UNRESOLVED:
            return None
        return _Without(
            (vectors / np.sqrt(rest)) @ (vectors.T @ inside), (vectors / rest) @ vectors.T
        )
    values, vectors = np.linalg.eigh(copies * (inside.T @ inside))
    rest = 1.0 - values
    if rest.min() < UNRESOLVED:
        return None
    turned = inside @ vectors
    inverse = copies * (turned / rest) @ turned.T
    inverse[np.diag_indices(n)] += 1.0
    return _Without((turned / np.sqrt(rest)) @ vectors.T, inverse)


@dataclass(frozen=True)
class _GroupLeft:
    """(I - UᵀU)⁻¹ and its root of a group, (M, M)."""

    full: FloatArray
    root: FloatArray


class _GroupSums:
    """UᵀU and Uᵀe of a group: in the axes of the spread, and of the mean where these are others."""

    def __init__(self, size: int, apart: bool):
        self.second = [np.zeros((size, size)) for _ in range(1 + apart)]
        self.pull = np.zeros(size)

    def add(self, block: RowBlock, mean: FloatArray, axes: FloatArray, white) -> None:
        inside = block.rows @ axes
        self.second[0] += inside.T @ inside
        if white is not None:
            inside = block.rows @ white
            self.second[1] += inside.T @ inside
        self.pull += inside.T @ (block.targets - block.rows @ mean)

    def reduced(self, reducer: Reducer):
        left = []
        for second in self.second:
            values, vectors = np.linalg.eigh(reducer.total(second))
            rest = 1.0 - values
            unresolved = rest.min() < UNRESOLVED
            left.append(
                None
                if unresolved
                else _GroupLeft((vectors / rest) @ vectors.T, (vectors / np.sqrt(rest)) @ vectors.T)
            )
        return left[0], left[-1], reducer.total(self.pull)


def _scored(block: RowBlock, errors, left: _Rows | None, spread: Spread, noise_variance: float):
    if errors is None or left is None:
        return block.structure, None
    variances = np.square(left.rows) @ spread.moments
    return block.structure, (
        block.columns,
        errors * block.units,
        np.sqrt(variances) * block.units,
        np.sqrt(noise_variance) * block.units,
    )


def _joined(found: Sequence[tuple]) -> LeftOut:
    found = sorted(found, key=lambda item: item[0])
    whole = [(k, parts) for k, parts in found if parts is not None]
    join = lambda i: np.concatenate([parts[i] for _, parts in whole] or [np.zeros(0)])  # noqa: E731
    columns = [parts[0] for _, parts in whole]
    structures = [np.full(len(parts[1]), k) for k, parts in whole]
    return LeftOut(
        np.concatenate(columns or [np.zeros(0, dtype="U1")]),
        join(1),
        join(2),
        join(3),
        np.concatenate(structures or [np.zeros(0, dtype=int)]),
        len(found) - len(whole),
    )


@brief()
@dataclass(frozen=True)
class Scale:
    """From a standard deviation of the weights' covariance to that of the error: s √(σ² + f²).

    Attributes
    ----------
    scale : float
        s; of a standard deviation, the tails included.
    floor : float
        f, in the unit of the column.
    dof : float
        Degrees of freedom of the Student-t distribution: few mean heavy tails.
    labels, structures : int
        That it was learnt from.
    """

    scale: float
    floor: float
    dof: float
    labels: int
    structures: int

    def deviation(self, sigma) -> FloatArray:
        """Standard deviation of the error."""
        return self.scale * np.hypot(np.asarray(sigma, dtype=float), self.floor)


def _moving(sigmas: FloatArray) -> NDArray[np.bool_]:
    """Labels that depend on the weights."""
    return sigmas > SYMMETRIC * np.max(sigmas, initial=0.0)


def scale_of(left: LeftOut) -> Scale | None:
    """Factor and floor of one column; None with fewer than five structures, or where all errors vanish."""
    some = _moving(left.sigmas)
    structures = len(np.unique(left.structures[some]))
    e, sigma = np.abs(left.errors[some]), left.sigmas[some]
    if structures < FEWEST or not e.any():
        return None
    if len(e) > LARGEST:
        some = np.random.default_rng(0).choice(len(e), LARGEST, replace=False)
        e, sigma = e[some], sigma[some]
    size = float(np.sqrt(np.mean(e**2)))
    e, sigma = e / size, sigma / size
    typical = float(np.median(sigma[sigma > 0])) if (sigma > 0).any() else 1.0

    def loss(p: FloatArray) -> float:
        dof = np.exp(p[2])
        width = np.exp(p[0]) * np.hypot(sigma, np.exp(p[1]))
        constant = gammaln(0.5 * dof) - gammaln(0.5 * (dof + 1)) + 0.5 * np.log(dof)
        tails = 0.5 * (dof + 1) * np.log1p(np.square(e / width) / dof)
        # A belief worth a label or so keeps the search inside where the data say nothing.
        belief = 0.5 * (p[0] / 3.0) ** 2 + 0.5 * ((p[1] + 3.0) / 5.0) ** 2
        return float(np.mean(np.log(width) + tails) + constant + belief / len(e))

    bounds = [(-12.0, 12.0), (-12.0, 3.0), (np.log(LEAST_DOF), np.log(MOST_DOF))]
    starts = [(-np.log(typical), -6.0, np.log(8.0)), (-0.7, 0.0, np.log(8.0))]
    tries = [
        minimize(loss, np.clip(x, *np.transpose(bounds)), method="L-BFGS-B", bounds=bounds)
        for x in starts
    ]
    best = min(tries, key=lambda found: found.fun).x
    dof = float(np.exp(best[2]))
    return Scale(
        scale=float(np.exp(best[0]) * np.sqrt(dof / (dof - 2.0))),
        floor=float(np.exp(best[1]) * size),
        dof=dof,
        labels=int(some.sum()),
        structures=structures,
    )


@brief()
@dataclass(frozen=True)
class Judgement:
    """How right error bars are.

    Attributes
    ----------
    n : int
    rmse : float
    factor : float
        Root mean square of error over σ: 1 when right.
    robust : float
        Median of the same over that of a normal distribution: 1 when right for most.
    within_1, within_2 : float
        Parts of the errors inside σ and 2σ: 0.683 and 0.954 when right.
    nll : float
        Mean negative log-likelihood.
    spearman : float
        Rank correlation of error and σ.
    """

    n: int
    rmse: float
    factor: float
    robust: float
    within_1: float
    within_2: float
    nll: float
    spearman: float


MEDIAN = 0.6744897501960817  # of abs(z), z normal


def judge(errors: FloatArray, sigmas: FloatArray) -> Judgement | None:
    """Judge error bars by the errors that came; None without any but those that symmetry makes zero."""
    some = _moving(sigmas)
    if not some.any():
        return None
    z = np.abs(errors[some] / sigmas[some])
    s = scores(errors[some], sigmas[some])
    return Judgement(
        n=s.n,
        rmse=s.rmse,
        factor=float(np.sqrt(np.mean(z**2))),
        robust=float(np.median(z) / MEDIAN),
        within_1=s.within_1,
        within_2=s.within_2,
        nll=s.nll,
        spearman=s.spearman,
    )


@brief()
@dataclass(frozen=True)
class LeaveOneOut:
    """What structures that were left out say of a fit.

    Attributes
    ----------
    structures : LeftOut
        Each left out alone, with its copies.
    groups : LeftOut or None
        Each group left out as a whole; None where there is one group only.
    scales : dict
        {column: Scale}, from `structures`.
    """

    structures: LeftOut
    groups: LeftOut | None
    scales: dict[str, Scale]

    @classmethod
    def of(cls, structures: LeftOut, groups: LeftOut | None = None) -> "LeaveOneOut":
        """Find the scales."""
        found = {name: scale_of(structures.of(name)) for name in structures.names()}
        return cls(structures, groups, {k: v for k, v in found.items() if v is not None})

    def renamed(self, names: Mapping[str, str]) -> "LeaveOneOut":
        """Return the same with other names of columns."""

        def other(left: LeftOut) -> LeftOut:
            columns = np.array([names.get(c, c) for c in map(str, left.columns)], dtype=str)
            return replace(left, columns=columns)

        groups = other(self.groups) if self.groups is not None else None
        scales = {names.get(column, column): scale for column, scale in self.scales.items()}
        return LeaveOneOut(other(self.structures), groups, scales)

    def table(self) -> dict[str, dict]:
        """Scales as plain data, for files."""
        return {column: asdict(scale) for column, scale in self.scales.items()}

    def text(self) -> str:
        """Markdown for reports."""
        left, lines = self.structures, []
        if not len(left.errors):
            return (
                "leave-one-out: nothing to judge by, every structure alone determines some weight; hold out data "
                "and run `pyuq calibrate`"
            )
        lines += [
            "errors of structures left out of the fit one by one, over their error bars; factor 1, robust factor 1, "
            "0.683 and 0.954 are right",
            "",
            "| left out | quantity | error bar | n | RMSE | factor | robust | in 1σ | in 2σ | NLL | Spearman |",
            "|" + "---|" * 11,
        ]
        for what, sample in (("structure", left), ("group", self.groups)):
            for name in sample.names() if sample is not None else ():
                column = sample.of(name)
                kinds = {"σ": column.sigmas}
                if scale := self.scales.get(name):
                    kinds["calibrated"] = scale.deviation(column.sigmas)
                some = _moving(column.sigmas)
                for kind, sigma in kinds.items():
                    if found := judge(column.errors[some], sigma[some]):
                        lines.append(_line(what, name, kind, found))
        lines += [""]
        for name, scale in self.scales.items():
            unit = "eV/Å" if name.startswith("force") else "eV/atom"
            lines.append(
                f"calibrated error bar of {name}: {scale.scale:.3g} · √(σ² + ({scale.floor:.3g} {unit})²)"
            )
        missing = [n for n in left.names() if n not in self.scales]
        if missing:
            lines.append(
                f"no calibrated error bar of {', '.join(missing)}: fewer than {FEWEST} structures"
            )
        if left.unresolved:
            lines.append(
                f"{left.unresolved} structures alone determine some weight and are not judged here: more like them "
                "would tell"
            )
        if self.groups is not None and self.groups.unresolved:
            lines.append(
                f"{self.groups.unresolved} structures are in groups without which some weight is not determined"
            )
        return "\n".join(lines)


def _line(what: str, name: str, kind: str, j: Judgement) -> str:
    return (
        f"| {what} | {name} | {kind} | {j.n} | {j.rmse:.4g} | {j.factor:.3g} | {j.robust:.3g} | {j.within_1:.3f} | "
        f"{j.within_2:.3f} | {j.nll:.3f} | {j.spearman:.2f} |"
    )
