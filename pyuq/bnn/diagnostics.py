# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether chains have mixed: split R̂, effective sample size, spread between chains.

They are computed on predictions (energies, force components), since weights of a network are not identifiable.

References
----------
A. Gelman et al., *Bayesian Data Analysis*, 3rd ed. (CRC, 2013), sections 11.4-11.5.
A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, Bayesian Anal. **16**, 667 (2021).
C. J. Geyer, Stat. Sci. **7**, 473 (1992).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyuq.brief import brief
from pyuq.errors import InputError

FloatArray = NDArray[np.float64]

MIXED = 1.05  # largest split R̂ of chains that are called mixed
ENOUGH = 10.0  # effective samples below which no spread can be trusted


def halves(draws: ArrayLike) -> FloatArray:
    """Cut each chain in two: (chains, n, ...) to (2 chains, n // 2, ...).

    Raises
    ------
    InputError
        Fewer than four draws in a chain, or a number that is not finite.
    """
    draws = np.asarray(draws, dtype=float)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise InputError(
            f"draws have shape {draws.shape}; expected (chains, n, ...) with at least four draws in a chain"
        )
    if not np.isfinite(draws).all():
        raise InputError("draws hold NaN or infinite numbers")
    n = draws.shape[1] // 2
    return np.concatenate([draws[:, :n], draws[:, -n:]])


def split_rhat(draws: ArrayLike) -> FloatArray:
    """Potential scale reduction of split chains.

    Parameters
    ----------
    draws : (chains, n, ...)
        Draws of one or more quantities.

    Returns
    -------
    (...)
        About 1 for chains that sample one distribution; 1 where nothing varies at all.
    """
    parts = halves(draws)
    n = parts.shape[1]
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = n * parts.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = np.sqrt((n - 1) / n + between / (n * within))
    return np.where((within == 0) & (between == 0), 1.0, rhat)


def autocovariance(x: FloatArray) -> FloatArray:
    """Biased autocovariance along axis 1 by FFT, all lags; x has zero mean along it."""
    n = x.shape[1]
    f = np.fft.rfft(x, 2 * n, axis=1)
    return np.fft.irfft(f * f.conj(), 2 * n, axis=1)[:, :n] / n


def effective_sample_size(draws: ArrayLike) -> FloatArray:
    """Effective number of independent draws of all chains together.

    The sum of autocorrelations ends where Geyer's initial monotone sequence does.

    Parameters
    ----------
    draws : (chains, n, ...)

    Returns
    -------
    (...)
    """
    parts = halves(draws)
    m, n = parts.shape[:2]
    centred = parts - parts.mean(axis=1, keepdims=True)
    covariance = autocovariance(centred).mean(axis=0)
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    total = (n - 1) / n * within + parts.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1.0 - (within - covariance * n / (n - 1)) / total
    rho[0] = 1.0
    pairs = rho[: 2 * (n // 2)].reshape(n // 2, 2, *rho.shape[1:]).sum(axis=1)
    positive = np.cumprod(pairs > 0, axis=0).astype(bool)
    monotone = np.minimum.accumulate(np.where(positive, pairs, 0.0), axis=0)
    time = np.maximum(2.0 * monotone.sum(axis=0) - 1.0, 1.0 / np.log10(max(m * n, 10)))
    return np.where(total == 0, float(m * n), m * n / time)


@brief()
@dataclass(frozen=True)
class Diagnosis:
    """What the chains say about themselves.

    Attributes
    ----------
    chains, draws : int
        Number of chains, and of draws in each.
    rhat : float
        Largest split R̂ of all quantities.
    ess : float
        Smallest effective sample size.
    between : float
        Median over quantities of the standard deviation of chain means over the mean standard deviation inside
        chains: much above 1/√(draws) the chains sit in different places.
    """

    chains: int
    draws: int
    rhat: float
    ess: float
    between: float

    @property
    def mixed(self) -> bool:
        """Whether the chains may be taken as draws of one distribution."""
        return self.rhat <= MIXED and self.ess >= ENOUGH

    def verdict(self) -> str:
        """Describe in a sentence whether the chains have mixed."""
        figures = (
            f"{self.chains} chain(s) of {self.draws} draws: largest split R̂ {self.rhat:.3f}, "
            f"smallest effective sample size {self.ess:.0f}"
        )
        if self.mixed:
            return f"mixed; {figures}"
        if self.chains > 1 and self.rhat > MIXED:
            advice = (
                f"the chains have not mixed (between chains {self.between:.2g} times the spread inside "
                "them): take them as an ensemble, or run longer"
            )
        elif self.rhat > MIXED:
            advice = "the chain has not converged: run longer, with a larger step or more burn-in"
        else:
            advice = "too few effective draws to trust their spread: take more, further apart"
        return f"{advice}; {figures}"


def diagnose(draws: ArrayLike) -> Diagnosis:
    """Diagnose chains by the draws of their predictions.

    Parameters
    ----------
    draws : (chains, n, Q)
        Draws of Q predictions.

    Returns
    -------
    Diagnosis
    """
    draws = np.asarray(draws, dtype=float)
    varied = np.ptp(draws, axis=(0, 1)) > 0  # what symmetry fixes is no evidence
    if not varied.any():
        halves(draws)
        return Diagnosis(*draws.shape[:2], rhat=math.inf, ess=0.0, between=0.0)
    draws = draws[:, :, varied]
    inside = draws.std(axis=1, ddof=1).mean(axis=0)
    spread = draws.mean(axis=1).std(axis=0, ddof=1) if len(draws) > 1 else np.zeros_like(inside)
    moving = inside > 0
    return Diagnosis(
        chains=draws.shape[0],
        draws=draws.shape[1],
        rhat=float(np.max(split_rhat(draws))),
        ess=float(np.min(effective_sample_size(draws))),
        between=float(np.median((spread / np.where(moving, inside, 1.0))[moving]))
        if moving.any()
        else 0.0,
    )
