# SPDX-License-Identifier: GPL-2.0-or-later
"""Several results of one quantity: replicas, blocks of one run, models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pyuq.brief import brief
from pyuq.diffusion.self_diffusion import CAGED, Diffusivity, SelfDiffusion
from pyuq.errors import InputError

AGREE = 0.05  # p-value below which results disagree by more than their errors


@brief()
@dataclass(frozen=True)
class Pooled:
    """Mean of results, with an error that is larger where they disagree.

    Attributes
    ----------
    value, error : float
        Weighted mean and its standard error, Å²/ps.
    dof : float
        Of the error: results less one where their scatter is the error, else infinite.
    values, errors : ndarray, shape (n,)
        The results.
    p_value : float
        Chance of a larger scatter if nothing but the errors separates them; nan for one result.
    between_variance : float
        Variance of the values less their mean squared error: what separates models or replicas beyond
        statistics; may be negative. nan for one result.
    log_slope : float
        Weighted mean of the results' (:attr:`Diffusivity.log_slope`).
    """

    value: float
    error: float
    dof: float
    values: np.ndarray
    errors: np.ndarray
    p_value: float
    between_variance: float
    log_slope: float

    @property
    def agree(self) -> bool:
        """Whether the results scatter no more than their errors allow."""
        return not self.p_value < AGREE

    @property
    def resolved(self) -> bool:
        """Whether the mean differs from zero and the atoms leave their cages."""
        return bool(self.interval()[0] > 0.0 and self.log_slope > CAGED)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the mean, Å²/ps."""
        reach = stats.t.ppf(0.5 + level / 2, self.dof) * self.error
        return float(self.value - reach), float(self.value + reach)

    def verdict(self) -> str:
        """One sentence for a report."""
        low, high = self.interval()
        text = f"D = {self.value:.4g} Å²/ps, 95 % interval {low:.4g} to {high:.4g}"
        if not self.resolved:
            text = f"no diffusion resolved: the MSD stays in its cage ({text})"
        if not self.agree:
            return (
                f"{text}; the {len(self.values)} runs differ by more than their errors (p = {self.p_value:.2g}): "
                "their scatter is the error; run longer"
            )
        return text

    def to_dict(self) -> dict:
        """Plain numbers, for JSON."""
        return {
            "diffusivity": self.value,
            "error": self.error,
            "interval": list(self.interval()),
            "values": self.values.tolist(),
            "errors": self.errors.tolist(),
            "p_value": self.p_value,
            "between_variance": self.between_variance,
            "agree": self.agree,
            "resolved": self.resolved,
            "verdict": self.verdict(),
        }


def pool(results: Sequence[Diffusivity]) -> Pooled:
    """Mean of independent results, weighted by atoms times duration.

    These weights do not know the values; inverse variances would favour whatever came out small. Where the results
    disagree, their scatter replaces the statistical error.

    Parameters
    ----------
    results : sequence of Diffusivity

    Raises
    ------
    InputError
        No result.
    """
    if not results:
        raise InputError("no result to pool: expected at least one")
    weights = np.array([r.n_atoms * r.duration for r in results])
    weights = weights / weights.sum()
    values = np.array([r.value for r in results])
    errors = np.array([r.error for r in results])
    value = float(weights @ values)
    log_slope = float(weights @ [r.log_slope for r in results])
    error, dof = float(np.sqrt(weights**2 @ errors**2)), np.inf
    if len(results) == 1:
        return Pooled(value, error, results[0].dof, values, errors, np.nan, np.nan, log_slope)
    p_value = float(stats.chi2.sf((((values - value) / errors) ** 2).sum(), len(values) - 1))
    if p_value < AGREE:
        n = len(values)
        scatter = float(np.sqrt(weights**2 @ (values - value) ** 2 * n / (n - 1)))
        if scatter > error:
            error, dof = scatter, n - 1
    between = float(np.var(values, ddof=1) - np.mean(errors**2))
    return Pooled(value, error, dof, values, errors, p_value, between, log_slope)


def block_average(positions: np.ndarray, analysis: SelfDiffusion, n_blocks: int = 5) -> Pooled:
    """Analyse consecutive parts of a trajectory on their own: a check for drifts and slow events.

    Parameters
    ----------
    positions : ndarray, shape (T, N, 3)
        Unwrapped positions, drift removed, Å.
    analysis : SelfDiffusion
        Its longest lag is not used; in each block it is a quarter of the block.
    n_blocks : int

    Returns
    -------
    Pooled
        One result for each block; ``agree`` is False where D changes along the run.
    """
    analysis = replace(analysis, last=None)
    return pool([analysis.compute(block) for block in np.array_split(positions, n_blocks)])
