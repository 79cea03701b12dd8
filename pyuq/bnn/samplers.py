# SPDX-License-Identifier: GPL-2.0-or-later
r"""Draws of weights: stochastic-gradient Hamiltonian Monte Carlo and its rivals.

The rivals: deep and shallow ensembles, Monte Carlo dropout, the exact posterior of the last layer.

All samplers see one flat vector of parameters :math:`\theta` and a :class:`Target`, whose loss is
:math:`\hat u(\theta) = -\frac1N \log p(\theta) - \langle\log p(D_i|\theta)\rangle_\mathrm{batch}` for N data.

SGHMC moves with one step for each parameter, :math:`\varepsilon_i = \alpha\eta/(N M_i)`:

.. math::
    r &\to (1-\alpha)\,r - \sqrt{\varepsilon}\,N\nabla\hat u + \sqrt{2\alpha T}\,\xi, \\
    \theta &\to \theta + \sqrt{\varepsilon}\,r.

For a small step the law of :math:`\theta` is the posterior at any friction :math:`\alpha` (for a quadratic loss the
stationary covariance of this scheme is exact up to :math:`O(\varepsilon)`).
:math:`M = \sqrt{\max_t \hat v_t} + \epsilon`, a running maximum of the averaged square gradient, adapts during
burn-in and is **frozen before the first draw is kept**: a step that goes on adapting to the gradient leaves
the posterior biased however small it is.

References
----------
T. Rensmeyer, B. Craig, D. Kramer, O. Niggemann, Digital Discovery **3**, 2356 (2024).
T. Rensmeyer, O. Niggemann, arXiv:2403.08609 (the bias of adaptive samplers).
T. Chen, E. Fox, C. Guestrin, ICML (2014) (SGHMC).
R. Zhang et al., ICLR (2020) (cyclical schedules).
B. Lakshminarayanan, A. Pritzel, C. Blundell, NeurIPS (2017) (deep ensembles).
Y. Gal, Z. Ghahramani, ICML (2016) (dropout).
M. Kellner, M. Ceriotti, Mach. Learn.: Sci. Technol. **5**, 035006 (2024) (shallow ensembles).
F. Bigi, S. Chong, M. Ceriotti, F. Grasselli, Mach. Learn.: Sci. Technol. **5**, 045018 (2024) (last layer).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.posterior import Posterior
from pyuq.io.files import read_tensors, write_tensors
from pyuq.provenance import require_same
from pyuq.settings import not_negative, positive


class Target(Protocol):
    """What is sampled."""

    size: int  # N, number of data (structures)

    def initial(self, generator: torch.Generator) -> Tensor:
        """Draw parameters to start from, shape (P,)."""

    def loss(self, theta: Tensor, batch: Tensor) -> Tensor:
        """Return û of a batch, indices of shape (B,); a scalar that depends on `theta` by autograd."""


@brief()
@dataclass(frozen=True)
class Draws:
    """Weights drawn by a sampler.

    Attributes
    ----------
    theta : Tensor, shape (chains, draws, P)
    gradients : int
        Evaluations of the gradient on a batch that they cost.
    """

    theta: Tensor
    gradients: int

    def flat(self) -> Tensor:
        """All draws, shape (chains * draws, P)."""
        return self.theta.flatten(0, 1)


def gradient(target: Target, theta: Tensor, batch: Tensor) -> Tensor:
    """∇û at `theta`, shape (P,).

    Raises
    ------
    FloatingPointError
        The gradient is not finite.
    """
    leaf = theta.detach().requires_grad_(True)
    (found,) = torch.autograd.grad(target.loss(leaf, batch), leaf)
    if not torch.isfinite(found).all():
        raise FloatingPointError(
            "the gradient is not finite: reduce `step_size`, or `learning_rate` of the quiet steps"
        )
    return found


@brief()
@dataclass
class Chain:
    """State of one chain; all of it goes into a checkpoint.

    Attributes
    ----------
    theta, momentum : Tensor, shape (P,)
    average, maximum : Tensor, shape (P,)
        Running average of the square gradient, and its running maximum.
    step : int
        Steps done.
    adaptations : int
        Steps in which the preconditioner adapted.
    generator : torch.Generator
        Of batches and noise.
    kept : list of Tensor
        Draws so far.
    """

    theta: Tensor
    momentum: Tensor
    average: Tensor
    maximum: Tensor
    step: int
    adaptations: int
    generator: torch.Generator
    kept: list[Tensor]

    @classmethod
    def start(cls, target: Target, seed: int) -> "Chain":
        """Begin at parameters drawn by the target."""
        generator = torch.Generator().manual_seed(seed)
        theta = target.initial(generator).detach().clone()
        zero = torch.zeros_like(theta)
        return cls(theta, zero, zero.clone(), zero.clone(), 0, 0, generator, [])

    def forget(self) -> None:
        """Set the momentum to zero, and forget the size of earlier gradients."""
        for memory in (self.momentum, self.average, self.maximum):
            memory.zero_()
        self.adaptations = 0

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write a checkpoint atomically."""
        kept = torch.stack(self.kept) if self.kept else self.theta.new_zeros(0, len(self.theta))
        tensors = {
            "theta": self.theta,
            "momentum": self.momentum,
            "average": self.average,
            "maximum": self.maximum,
            "counts": torch.tensor([self.step, self.adaptations]),
            "generator": self.generator.get_state(),
            "kept": kept,
        }
        write_tensors(path, {k: v.numpy() for k, v in tensors.items()}, metadata)

    @classmethod
    def load(cls, path: Path, metadata: dict[str, str]) -> "Chain":
        """Read a checkpoint.

        Raises
        ------
        InputError
            It was written by a run with other settings, or is damaged.
        """
        tensors, found = read_tensors(path)
        found = {k: v for k, v in found.items() if k in metadata}
        require_same(path, found, metadata, "put them back, or remove it")
        t = {k: torch.from_numpy(v) for k, v in tensors.items()}
        generator = torch.Generator()
        generator.set_state(t["generator"])
        step, adaptations = (int(n) for n in t["counts"])
        return cls(
            t["theta"],
            t["momentum"],
            t["average"],
            t["maximum"],
            step,
            adaptations,
            generator,
            list(t["kept"].clone()),
        )


@brief()
@dataclass(frozen=True)
class SGHMC:
    """Stochastic-gradient Hamiltonian Monte Carlo with one step for each parameter.

    Parameters
    ----------
    draws : int
        Kept in each chain.
    thinning : int
        Steps from one draw to the next; of a cyclical schedule, the length of a cycle.
    burn_in : int
        Steps before the first cycle. The preconditioner adapts only here. Its first part is free of noise
        (`quiet`), then the noise comes in linearly over a quarter as many steps, so that it is at least 5/4 of `quiet`.
    quiet : int
        Steps without noise at the start: an optimisation, preconditioned by the plain average. What it has seen of
        gradients far from the posterior is forgotten at its end.
    learning_rate : float
        η of the first quiet step, from where it falls to `step_size` along half a cosine.
    step_size : float
        η.
    friction : float
        α, in (0, 1].
    temperature : float
        T of the posterior p^(1/T); 1 is Bayes, below 1 "cold".
    batch : int
        Data in a batch; 0: all of them, whose gradient has no noise of its own.
    memory : float
        β of the average of square gradients.
    floor : float
        ε added to the preconditioner.
    cyclical : bool
        η falls as half a cosine within each cycle, and starts anew.
    chains : int
        Independent chains from different starts.
    """

    draws: int = 8
    thinning: int = 200
    burn_in: int = 2000
    quiet: int = 800
    learning_rate: float = 1e-2
    step_size: float = 1e-4
    friction: float = 0.1
    temperature: float = 1.0
    batch: int = 5
    memory: float = 0.999
    floor: float = 1e-4
    cyclical: bool = False
    chains: int = 1

    def __post_init__(self):
        positive(draws=self.draws, thinning=self.thinning, burn_in=self.burn_in)
        positive(learning_rate=self.learning_rate, step_size=self.step_size)
        positive(floor=self.floor, chains=self.chains)
        if not 0 < self.friction <= 1:
            raise InputError(f"friction = {self.friction}; expected a number in (0, 1]")
        if not 0 <= self.memory < 1:
            raise InputError(f"memory = {self.memory}; expected a number in [0, 1)")
        if not 0 <= self.quiet < self.burn_in:
            raise InputError(f"quiet = {self.quiet}; expected 0 or more, below burn_in")
        if self.quiet and self.quiet + self.ramp > self.burn_in:
            raise InputError(
                f"quiet = {self.quiet}, burn_in = {self.burn_in}: the noise comes in over {self.ramp} steps after the "
                f"quiet ones; expected a burn_in of {self.quiet + self.ramp} or more"
            )
        not_negative(temperature=self.temperature, batch=self.batch)

    @property
    def steps(self) -> int:
        """Steps of a chain."""
        return self.burn_in + self.draws * self.thinning

    @property
    def ramp(self) -> int:
        """Steps over which the noise comes in after the quiet ones."""
        return max(1, self.quiet // 4)

    def noise(self, step: int) -> float:
        """Factor on the noise of a step: the ramp of the burn-in."""
        return min(1.0, max(0.0, (step - self.quiet) / self.ramp)) if self.quiet else 1.0

    def rate(self, step: int) -> float:
        """η of a step."""
        if step < self.quiet:
            fall = 0.5 * (1 + math.cos(math.pi * step / self.quiet))
            return self.step_size + (self.learning_rate - self.step_size) * fall
        if not self.cyclical or step < self.burn_in:
            return self.step_size
        phase = (step - self.burn_in) % self.thinning / self.thinning
        return 0.5 * self.step_size * (1 + math.cos(math.pi * phase))

    def adapt(self, chain: Chain, slope: Tensor) -> None:
        """Take a gradient into the preconditioner."""
        chain.average.mul_(self.memory).addcmul_(slope, slope, value=1 - self.memory)
        torch.maximum(chain.maximum, chain.average, out=chain.maximum)
        chain.adaptations += 1

    def preconditioner(self, chain: Chain) -> Tensor:
        """M of each parameter, shape (P,)."""
        filled = 1 - self.memory**chain.adaptations
        square = chain.average if chain.step < self.quiet else chain.maximum
        return torch.sqrt(square / filled) + self.floor

    def advance(self, chain: Chain, target: Target) -> None:
        """One step."""
        slope = gradient(target, chain.theta, draw_batch(self.batch, target.size, chain.generator))
        if chain.step == self.quiet:
            chain.forget()
        if chain.step < self.burn_in:
            self.adapt(chain, slope)
        rate = self.rate(chain.step)
        root = torch.sqrt(self.friction * rate / (target.size * self.preconditioner(chain)))
        spread = self.noise(chain.step) * math.sqrt(2 * self.friction * self.temperature)
        xi = torch.randn(chain.theta.shape, generator=chain.generator, dtype=chain.theta.dtype)
        chain.momentum.mul_(1 - self.friction).addcmul_(root, slope, value=-target.size).add_(
            xi, alpha=spread
        )
        chain.theta.addcmul_(root, chain.momentum)
        chain.step += 1
        if chain.step > self.burn_in and (chain.step - self.burn_in) % self.thinning == 0:
            chain.kept.append(chain.theta.clone())

    def run(
        self, target: Target, seed: int, folder: Path | None = None, checkpoint: int = 500
    ) -> Draws:
        """Draw.

        Parameters
        ----------
        target : Target
        seed : int
        folder : Path, optional
            Checkpoints are kept here; the same call goes on from them to the same draws.
        checkpoint : int
            Steps from one checkpoint to the next.

        Returns
        -------
        Draws

        Raises
        ------
        FloatingPointError
            A chain ran away.
        InputError
            A checkpoint of other settings.
        """
        kept = []
        for number in range(self.chains):
            path = None if folder is None else Path(folder) / f"chain{number}.ckpt"
            kept.append(torch.stack(self._chain(target, seed, number, path, checkpoint).kept))
        return Draws(torch.stack(kept), self.chains * self.steps)

    def _chain(
        self, target: Target, seed: int, number: int, path: Path | None, checkpoint: int
    ) -> Chain:
        # More draws may be asked for later; whatever else changes is another run.
        shared = replace(self, draws=1, chains=1)
        metadata = {k: str(v) for k, v in asdict(shared).items()} | {"seed": str(seed)}
        if path is not None and path.exists():
            chain = Chain.load(path, metadata)
        else:
            chain = Chain.start(target, child_seed(seed, number))
        progress = tqdm(
            total=self.steps,
            initial=chain.step,
            desc=f"chain {number + 1}/{self.chains}",
            disable=None,
        )
        while chain.step < self.steps:
            self.advance(chain, target)
            progress.update()
            if path is not None and (chain.step % checkpoint == 0 or chain.step == self.steps):
                chain.save(path, metadata)
        progress.close()
        chain.kept = chain.kept[: self.draws]
        return chain


@brief()
@dataclass(frozen=True)
class Training:
    """Adam, its rate falling to zero along half a cosine.

    Parameters
    ----------
    steps : int
        Of each network.
    learning_rate : float
    batch : int
        Data in a batch; 0: all.
    """

    steps: int = 4000
    learning_rate: float = 1e-2
    batch: int = 5

    def __post_init__(self):
        positive(steps=self.steps, learning_rate=self.learning_rate)
        not_negative(batch=self.batch)


@brief()
@dataclass(frozen=True)
class Ensemble(Training):
    """Deep ensemble: maxima of the posterior found from different starts.

    Parameters
    ----------
    members : int
    steps, learning_rate, batch
        As of :class:`Training`.
    """

    members: int = 8

    def __post_init__(self):
        super().__post_init__()
        positive(members=self.members)

    def run(
        self, target: Target, seed: int, folder: Path | None = None, checkpoint: int = 500
    ) -> Draws:
        """Train all members; each is a chain of one draw.

        Parameters
        ----------
        target : Target
            The posterior to be sampled.
        seed : int
        folder : Path, optional
            Where checkpoints are kept; default: none are written.
        checkpoint : int
            Steps from one checkpoint to the next.
        """
        found = []
        for k in range(self.members):
            path = None if folder is None else Path(folder) / f"member{k}.ckpt"
            name = f"member {k + 1}/{self.members}"
            found.append(
                optimize(self, target, child_seed(seed, k), name, path=path, checkpoint=checkpoint)
            )
        return Draws(torch.stack(found)[:, None], self.members * self.steps)


class MaskedTarget(Target, Protocol):
    """A target that can switch hidden units off."""

    def mask(self, rate: float, generator: torch.Generator) -> Tensor:
        """Factors on the parameters, (P,): 0 on the outgoing weights of dropped units, 1/(1-rate) on the others."""


@brief()
@dataclass(frozen=True)
class Dropout(Training):
    """Monte Carlo dropout: one network trained and evaluated with units switched off at random.

    A draw is the trained network under one mask: a function of its own, smooth in the positions.

    Parameters
    ----------
    draws : int
    rate : float
        Part of the units that is off.
    steps, learning_rate, batch
        As of :class:`Training`.
    """

    draws: int = 8
    rate: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        positive(draws=self.draws)
        if not 0 < self.rate < 1:
            raise InputError(f"rate = {self.rate}; expected a number between 0 and 1")

    def run(
        self, target: MaskedTarget, seed: int, folder: Path | None = None, checkpoint: int = 500
    ) -> Draws:
        """Train, then draw masks.

        Parameters
        ----------
        target : MaskedTarget
            The posterior to be sampled.
        seed : int
        folder : Path, optional
            Where checkpoints are kept; default: none are written.
        checkpoint : int
            Steps from one checkpoint to the next.
        """
        theta = optimize(
            self,
            target,
            child_seed(seed, 0),
            "dropout",
            transform=lambda t, generator: t * target.mask(self.rate, generator),
            path=None if folder is None else Path(folder) / "dropout.ckpt",
            checkpoint=checkpoint,
        )
        masks = torch.Generator().manual_seed(child_seed(seed, 1))
        found = [theta * target.mask(self.rate, masks) for _ in range(self.draws)]
        return Draws(torch.stack(found)[None], self.steps)


class LinearTarget(Target, Protocol):
    """A target whose prediction is linear in some of the parameters, the readout."""

    readout: slice  # where they lie

    def readout_posterior(self, theta: Tensor) -> Posterior:
        """Gaussian posterior of the readout given all other parameters."""

    def heads_loss(self, theta: Tensor, heads: Tensor, batch: Tensor) -> Tensor:
        """û of several readouts, shape (K, R), that share the other parameters."""


@brief()
@dataclass(frozen=True)
class LastLayer(Training):
    """One trained network, and the exact posterior of its readout given everything else.

    The rows of the regression cost a pass over all data, which is not counted among the gradients.

    Parameters
    ----------
    draws : int
    steps, learning_rate, batch
        As of :class:`Training`.
    """

    draws: int = 8

    def __post_init__(self):
        super().__post_init__()
        positive(draws=self.draws)

    def run(
        self, target: LinearTarget, seed: int, folder: Path | None = None, checkpoint: int = 500
    ) -> Draws:
        """Train, then draw readouts.

        Parameters
        ----------
        target : LinearTarget
            The posterior to be sampled.
        seed : int
        folder : Path, optional
            Where checkpoints are kept; default: none are written.
        checkpoint : int
            Steps from one checkpoint to the next.
        """
        path = None if folder is None else Path(folder) / "lastlayer.ckpt"
        start = child_seed(seed, 0)
        theta = optimize(self, target, start, "last layer", path=path, checkpoint=checkpoint)
        posterior = target.readout_posterior(theta)
        found = theta.repeat(self.draws, 1)
        found[:, target.readout] = torch.from_numpy(
            posterior.sample(self.draws, child_seed(seed, 1))
        ).to(theta)
        return Draws(found[None], self.steps)


@brief("count", "size")
class Heads:
    """A target with several readouts on one trunk; the readouts follow the parameters in the flat vector."""

    def __init__(self, target: LinearTarget, count: int):
        self.target, self.count, self.size = target, count, target.size

    def initial(self, generator: torch.Generator) -> Tensor:
        """Draw a trunk and independent readouts."""
        starts = [self.target.initial(generator) for _ in range(self.count)]
        return torch.cat([starts[0], *(start[self.target.readout] for start in starts)])

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (P,) and readouts (K, R)."""
        width = self.target.readout.stop - self.target.readout.start
        trunk = len(theta) - self.count * width
        return theta[:trunk], theta[trunk:].reshape(self.count, width)

    def loss(self, theta: Tensor, batch: Tensor) -> Tensor:
        """û of the heads together."""
        return self.target.heads_loss(*self.split(theta), batch)


@brief()
@dataclass(frozen=True)
class ShallowEnsemble(Training):
    """Several readouts on one trunk, trained together so that their spread explains the errors.

    A step costs one forward pass and `members` reverse passes; it counts as `members` gradients.

    Parameters
    ----------
    members : int
    steps, learning_rate, batch
        As of :class:`Training`.
    """

    members: int = 8

    def __post_init__(self):
        super().__post_init__()
        if self.members < 2:
            raise InputError(f"members = {self.members}; expected at least 2, a spread is fitted")

    def run(
        self, target: LinearTarget, seed: int, folder: Path | None = None, checkpoint: int = 500
    ) -> Draws:
        """Train all heads.

        Parameters
        ----------
        target : LinearTarget
            The posterior to be sampled.
        seed : int
        folder : Path, optional
            Where checkpoints are kept; default: none are written.
        checkpoint : int
            Steps from one checkpoint to the next.
        """
        heads = Heads(target, self.members)
        path = None if folder is None else Path(folder) / "shallow.ckpt"
        start = child_seed(seed, 0)
        theta, readouts = heads.split(
            optimize(self, heads, start, "heads", path=path, checkpoint=checkpoint)
        )
        found = theta.repeat(self.members, 1)
        found[:, target.readout] = readouts
        return Draws(found[:, None], self.members * self.steps)


def unchanged(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Parameters as they are."""
    return theta


def optimize(
    settings: Training,
    target: Target,
    seed: int,
    name: str,
    transform: Callable[[Tensor, torch.Generator], Tensor] = unchanged,
    path: Path | None = None,
    checkpoint: int = 500,
) -> Tensor:
    """Minimise û by Adam with a cosine schedule; returns parameters (P,).

    The average square gradient and the average gradient live in a :class:`Chain`, which is checkpointed like that
    of a sampler.

    References
    ----------
    D. P. Kingma, J. Ba, ICLR (2015).
    """
    # More members or draws may be asked for later, unless they are trained together.
    loose = ("draws",) if isinstance(settings, ShallowEnsemble) else ("members", "draws")
    metadata = {k: str(v) for k, v in asdict(settings).items() if k not in loose}
    metadata |= {"seed": str(seed)}
    resumed = path is not None and path.exists()
    chain = Chain.load(path, metadata) if resumed else Chain.start(target, seed)
    progress = tqdm(total=settings.steps, initial=chain.step, desc=name, disable=None)
    while chain.step < settings.steps:
        batch = draw_batch(settings.batch, target.size, chain.generator)
        leaf = chain.theta.detach().requires_grad_(True)
        loss = target.loss(transform(leaf, chain.generator), batch)
        (slope,) = torch.autograd.grad(loss, leaf)
        if not torch.isfinite(slope).all():
            raise FloatingPointError("the gradient is not finite: reduce `learning_rate`")
        chain.momentum.mul_(0.9).add_(slope, alpha=0.1)
        chain.average.mul_(0.999).addcmul_(slope, slope, value=0.001)
        chain.step += 1
        first = chain.momentum / (1 - 0.9**chain.step)
        second = chain.average / (1 - 0.999**chain.step)
        rate = 0.5 * settings.learning_rate * (1 + math.cos(math.pi * chain.step / settings.steps))
        chain.theta.addcdiv_(first, second.sqrt().add_(1e-8), value=-rate)
        progress.update()
        if path is not None and (chain.step % checkpoint == 0 or chain.step == settings.steps):
            chain.save(path, metadata)
    progress.close()
    return chain.theta


def draw_batch(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Indices of a batch without repetition; all of them for 0."""
    if batch == 0 or batch >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=generator)[:batch]


def child_seed(seed: int, number: int) -> int:
    """Return the seed of an independent stream."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint32)[0])
