# SPDX-License-Identifier: GPL-2.0-or-later
r"""The posterior of a network's weights, as samplers see it: one flat vector of raw weights.

A raw weight is of order one; the file's weight is the raw one times a constant that keeps activations of order one
(1/√fan-in, the second moment of SiLU, 1/√neighbours, 1/the size of the radial basis). The prior is :math:`N(0, s^2)`
on raw weights. Labels are Gaussian: the energy of a structure of N atoms with variance :math:`N\sigma_E^2`, force
components with the variance :math:`\sigma_i^2` that the noise head gives atom i, virials with a fixed variance.

References
----------
T. Rensmeyer, B. Craig, D. Kramer, O. Niggemann, Digital Discovery **3**, 2356 (2024).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from pyuq.bnn.architecture import Architecture, check_repulsion
from pyuq.bnn.network import (
    Batch,
    Prediction,
    Weights,
    label_noise,
    predict,
    predict_heads,
    radial_basis,
    repulsion_of,
)
from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.posterior import Posterior
from pyuq.inference.regression import NormalEquations, condition
from pyuq.io.structures import check_structures
from pyuq.potentials.baseline import fit_one_body
from pyuq.settings import positive

SILU = 1.6765324703310907  # 1/√⟨SiLU(x)²⟩ of a standard normal x


@brief()
@dataclass(frozen=True)
class Likelihood:
    """Noise of the labels, and the prior.

    Parameters
    ----------
    energy : float
        Starting value of σ_E, eV/√atom; the network learns its own. 0: what forces of the size of the labels do over a
        tenth of an Å. (The spread of the energies is no guide: it is that of the compositions, or of one molecule.)
    force : float
        Value of σ_i at a zero noise head, eV/Å. 0: the size of the forces themselves, so that learning starts from
        noise that explains everything and takes it back, atom by atom; a small value drives the noise head up first,
        and atoms that it has declared noisy are then hardly learned from.
    virial : float
        eV/√atom; 0: virials are not used.
    prior : float
        Standard deviation of raw weights.
    """

    energy: float = 0.0
    force: float = 0.0
    virial: float = 0.0
    prior: float = 1.0

    def __post_init__(self):
        positive(prior=self.prior)
        for name, zero in (("energy", "automatic"), ("force", "automatic"), ("virial", "not used")):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} = {getattr(self, name)}; expected 0 ({zero}) or more")


@brief()
@dataclass(frozen=True)
class Scaling:
    """What the training set says about sizes.

    Attributes
    ----------
    neighbors : float
        Mean number of neighbours.
    radial : float
        Root mean square of the radial basis over pairs, 1/Å.
    force : float
        Root mean square force component, eV/Å: the unit of the output.
    one_body : tuple of float
        Energy of each species, eV.
    """

    neighbors: float
    radial: float
    force: float
    one_body: tuple[float, ...]


def factors(architecture: Architecture, scaling: Scaling) -> dict[str, float]:
    """Constant between raw weights and those of the file, for each tensor but the readout."""
    c, h = architecture.channels, architecture.hidden
    found = {"sources": 1.0}
    for t in range(architecture.layers):
        there = architecture.paths(t)
        found[f"layers.{t}.radial1"] = 1.0 / (scaling.radial * math.sqrt(architecture.bessels))
        found[f"layers.{t}.radial2"] = SILU / math.sqrt(h * scaling.neighbors)
        for l in architecture.degrees(t):
            found[f"layers.{t}.linear2.{l}"] = 1.0 / math.sqrt(c * sum(p[2] == l for p in there))
            if t > 0:
                found[f"layers.{t}.self.{l}"] = SILU / math.sqrt(c)
        for l in range(architecture.lmax + 1 if t > 0 else 0):
            found[f"layers.{t}.linear1.{l}"] = SILU / math.sqrt(c)
    if architecture.noise_hidden:
        found["force_noise.0.weight"] = SILU / math.sqrt(c)
        found["force_noise.1.weight"] = SILU / math.sqrt(architecture.noise_hidden)
        found |= {"force_noise.0.bias": 1.0, "force_noise.1.bias": 1.0, "energy_noise": 1.0}
    return found


@brief("architecture", "size", "device", "dtype")
class NetworkTarget:
    """Weights of a network given labelled structures; see :class:`pyuq.bnn.samplers.Target`.

    Parameters
    ----------
    architecture : Architecture
    structures : sequence of Atoms
        With energy and forces.
    likelihood : Likelihood
    dtype : torch.dtype
    device : str
        A torch device: ``cpu``, ``cuda``, ``cuda:1``, ...
    scaling : Scaling, optional
        Default: that of the structures.
    repulsion : ndarray (species, species, 2), optional
        Ranges of a ZBL repulsion as in the file, Å: taken off the labels, so that the network learns the rest.

    Raises
    ------
    InputError
        No structures, missing labels, an element that the architecture does not know, no force anywhere; a device
        that torch cannot use here.
    """

    def __init__(
        self,
        architecture: Architecture,
        structures: Sequence[Atoms],
        likelihood: Likelihood | None = None,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        scaling: Scaling | None = None,
        repulsion: NDArray | None = None,
    ):
        if not structures:
            raise InputError("no training structures")
        check_device(device, dtype)
        check_structures(structures, architecture.elements)
        self.architecture = architecture
        self.size, self.dtype, self.device = len(structures), dtype, device
        self.batches = [Batch.of([a], architecture, dtype) for a in structures]
        self.repulsion = None if repulsion is None else np.asarray(repulsion, dtype=float)
        self.labels = [self._labels(a, dtype) for a in structures]
        self.frequencies = math.pi * torch.arange(1, architecture.bessels + 1, dtype=dtype)
        self.scaling = scaling or self._scaling(structures)
        given = likelihood or Likelihood()
        if not architecture.noise_hidden and not (given.energy and given.force):
            raise InputError("without a noise head the likelihood needs its energy and force")
        self.likelihood = replace(
            given,
            energy=given.energy or 0.1 * self.scaling.force,
            force=given.force or self.scaling.force,
        )
        shapes = architecture.shapes()
        self.names = list(shapes)
        self.shapes = [shapes[name] for name in self.names]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.factors = factors(architecture, self.scaling)
        channels, force = architecture.channels, self.scaling.force
        scale = [force * SILU / math.sqrt(channels)] * channels + [force]
        self.readout_scale = torch.tensor(scale, dtype=dtype)
        self.readout_shift = torch.zeros(len(architecture.elements), channels + 1, dtype=dtype)
        self.readout_shift[:, -1] = torch.tensor(self.scaling.one_body, dtype=dtype)

    def _labels(self, atoms: Atoms, dtype: torch.dtype) -> dict[str, Tensor]:
        label = labels_of(atoms, torch.float64)
        if self.repulsion is not None:
            check_repulsion(self.architecture, self.repulsion, "the target")
            ranges = {"repulsion": torch.from_numpy(self.repulsion)}
            fixed = repulsion_of(self.architecture, ranges, Batch.of([atoms], self.architecture))
            label["energy"] = label["energy"] - fixed.energies
            label["forces"] = label["forces"] - fixed.forces
            label["virial"] = label["virial"] - fixed.virials
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in label.items()}

    def _scaling(self, structures: Sequence[Atoms]) -> Scaling:
        edges = sum(len(b.centers) for b in self.batches)
        atoms = sum(len(a) for a in structures)
        forces = np.concatenate([a.calc.results["forces"].reshape(-1) for a in structures])
        if not forces.any():
            raise InputError("all forces are zero: the scale of the energies is unknown")
        elements = self.architecture.elements
        one_body = fit_one_body(structures, elements)
        r = torch.cat([b.vectors for b in self.batches]).norm(dim=-1)
        basis = radial_basis(self.architecture, self.frequencies, r)
        if not basis.any():
            raise InputError(
                f"no pair of atoms is closer than the cutoff {self.architecture.cutoff} Å"
            )
        return Scaling(
            neighbors=max(1.0, edges / atoms),
            radial=float(basis.square().mean().sqrt()),
            force=float(np.sqrt(np.mean(forces**2))),
            one_body=tuple(one_body[e] for e in elements),
        )

    @property
    def nparameters(self) -> int:
        """Length of the flat vector P."""
        return sum(self.sizes)

    def initial(self, generator: torch.Generator) -> Tensor:
        """Draw raw weights to start from: standard normal, but with small forces, and noise at its starting value."""
        theta = torch.randn(self.nparameters, generator=generator, dtype=self.dtype)
        theta[self.readout] *= 0.1
        for name, part in zip(self.names, torch.split(theta, self.sizes), strict=True):
            if "noise" in name and not name.endswith("0.weight"):
                part.zero_()
        return theta

    def weights(self, theta: Tensor) -> Weights:
        """Weights of the file from raw ones."""
        found: dict[str, Tensor] = {}
        parts = torch.split(theta, self.sizes)
        for name, part, shape in zip(self.names, parts, self.shapes, strict=True):
            found[name] = part.reshape(shape) * self.factors.get(name, 1.0)
        found["readout"] = self.readouts(theta[None, self.readout])[0]
        if self.architecture.noise_hidden:
            found["force_noise.1.bias"] = found["force_noise.1.bias"] + math.log(
                self.likelihood.force
            )
            found["energy_noise"] = found["energy_noise"] + math.log(self.likelihood.energy)
        found["frequencies"] = self.frequencies.to(theta)
        return found

    @property
    def readout(self) -> slice:
        """Where the raw readout lies in the flat vector."""
        position = self.names.index("readout")
        start = sum(self.sizes[:position])
        return slice(start, start + self.sizes[position])

    def readouts(self, raw: Tensor) -> Tensor:
        """Readouts of the file, (Q, species, C + 1), from raw ones, (Q, R)."""
        shape = (len(raw), len(self.architecture.elements), self.architecture.channels + 1)
        return raw.reshape(shape) * self.readout_scale.to(raw) + self.readout_shift.to(raw)

    def loss(self, theta: Tensor, batch: Tensor) -> Tensor:
        """û: -(1/N) log prior - mean log-likelihood of a batch."""
        return self._loss(theta, batch, None)

    def heads_loss(self, theta: Tensor, heads: Tensor, batch: Tensor) -> Tensor:
        """û of several raw readouts (K, R) on one trunk, whose spread is part of the predictive variance.

        The Gaussian of a label has the mean of the heads, and their variance plus that of the noise. The prior of the
        heads counts in the mean over them.
        """
        return self._loss(theta, batch, heads)

    def _loss(self, theta: Tensor, batch: Tensor, heads: Tensor | None) -> Tensor:
        chosen = [int(k) for k in batch]
        frames = Batch.join([self.batches[k] for k in chosen]).to(self.device)
        labels = {
            name: torch.cat([self.labels[k][name] for k in chosen]).to(self.device)
            for name in self.labels[chosen[0]]
        }
        square = torch.sum(theta**2)
        w = self.weights(theta.to(self.device))
        if heads is None:
            found = predict(self.architecture, w, frames, create_graph=True)
        else:
            square = square - torch.sum(theta[self.readout] ** 2) + torch.sum(heads**2) / len(heads)
            readouts = self.readouts(heads.to(self.device))
            found = predict_heads(self.architecture, w, frames, readouts, create_graph=True)
        log_likelihood = self.log_likelihood(w, frames, labels, found)
        prior = 0.5 * square / self.likelihood.prior**2 / self.size
        return prior - log_likelihood.to(theta.device) / len(chosen)

    def noise(self, w: Weights, frames: Batch, h: Tensor) -> tuple[Tensor, Tensor]:
        """Standard deviations of energies (structures,) and of the force components of each atom (N,)."""
        roots = torch.bincount(frames.structure, minlength=frames.count).to(h).sqrt()
        if self.architecture.noise_hidden:
            return torch.exp(w["energy_noise"]) * roots, label_noise(w, h)
        return self.likelihood.energy * roots, torch.full_like(h[:, 0], self.likelihood.force)

    def log_likelihood(
        self, w: Weights, frames: Batch, labels: Mapping[str, Tensor], found: Prediction
    ) -> Tensor:
        """Sum over the structures of a batch; `found` is of one network or of several heads."""

        def density(values: Tensor, label: Tensor, sigma: Tensor) -> Tensor:
            if values.ndim == label.ndim:
                return normal(values - label, sigma).sum()
            mean = values.mean(dim=0)
            spread = (values - mean).square().mean(dim=0)  # `var` warns of batches without stresses
            return normal(mean - label, (spread + sigma**2).sqrt()).sum()

        energy_noise, noise = self.noise(w, frames, found.features)
        total = density(found.energies, labels["energy"], energy_noise)
        total = total + density(found.forces, labels["forces"], noise[:, None])
        if self.likelihood.virial > 0:
            atoms = torch.bincount(frames.structure, minlength=frames.count).to(noise)
            spread = self.likelihood.virial * atoms[labels["stressed"]].sqrt()
            i, j = torch.triu_indices(3, 3)
            values = found.virials[..., labels["stressed"], :, :][..., i, j]
            label = labels["virial"][labels["stressed"]][:, i, j]
            total = total + density(values, label, spread[:, None])
        return total

    def readout_posterior(self, theta: Tensor) -> Posterior:
        """Posterior of the raw readout, all other weights and the noise being those of `theta`.

        The energy is linear in the readout, so that it is the Gaussian of a Bayesian linear regression on the
        final features.
        """
        w = self.weights(theta.to(self.device))
        size = self.readout.stop - self.readout.start
        unit = torch.eye(size, dtype=self.dtype, device=self.device)
        rows_of = self.readouts(unit) - self.readout_shift.to(unit)
        shift = self.readout_shift.to(unit)[None].expand(1, -1, -1)
        normal_equations = NormalEquations(size)
        for frames, label in zip(self.batches, self.labels, strict=True):
            frames = frames.to(self.device)  # noqa: PLW2901
            basis = predict_heads(self.architecture, w, frames, torch.cat([rows_of, shift]))
            energy_noise, noise = self.noise(w, frames, basis.features)
            kinds = [
                (basis.energies, label["energy"], energy_noise),
                (basis.forces, label["forces"], noise[:, None].expand(-1, 3)),
            ]
            if self.likelihood.virial > 0 and bool(label["stressed"]):
                i, j = torch.triu_indices(3, 3)
                spread = self.likelihood.virial * math.sqrt(len(frames.species))
                virial = label["virial"][:, i, j]
                kinds.append((basis.virials[..., i, j], virial, torch.full_like(virial, spread)))
            for values, wanted, sigma in kinds:
                rows = values.detach().flatten(1).T.double().cpu().numpy()
                left = wanted.double().numpy().reshape(-1) - rows[:, -1]
                weights = 1.0 / sigma.detach().double().cpu().numpy().reshape(-1)
                normal_equations.add(rows[:, :-1], left, weights)
        return condition(normal_equations, self.likelihood.prior**2, 1.0)

    def mask(self, rate: float, generator: torch.Generator) -> Tensor:
        """Drop channels of node states: factors (P,) on the weights that read them."""
        c = self.architecture.channels
        channels = [
            (torch.rand(c, generator=generator, dtype=self.dtype) >= rate) / (1 - rate)
            for _ in range(self.architecture.layers)
        ]
        factor = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            ones = torch.ones(shape, dtype=self.dtype)
            if name == "readout":
                ones[:, :-1] *= channels[-1]
            elif name.startswith("layers.") and (".linear1." in name or ".self." in name):
                ones *= channels[int(name.split(".")[1]) - 1][:, None]
            factor.append(ones.reshape(-1))
        return torch.cat(factor)

    def tensors(self, draws: Tensor) -> dict[str, NDArray]:
        """Tensors of a network file from raw weights (K, P)."""
        samples = [self.weights(theta.to(torch.float64)) for theta in draws]
        stacked = {
            name: torch.stack([w[name] for w in samples]).detach().numpy() for name in self.names
        }
        stacked["frequencies"] = np.pi * np.arange(1.0, self.architecture.bessels + 1)
        return stacked if self.repulsion is None else stacked | {"repulsion": self.repulsion}


def check_device(name: str, dtype: torch.dtype) -> None:
    """Refuse a device on which torch cannot hold a number.

    Raises
    ------
    InputError
        With torch's reason, and the devices that there are.
    """
    try:
        torch.zeros(1, device=name, dtype=dtype).item()
    except (AssertionError, RuntimeError, TypeError) as error:
        there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device = {name!r} is of no use here ({reason}); expected one of {', '.join(there)}"
        ) from error


def normal(difference: Tensor, sigma: Tensor) -> Tensor:
    """Log density of a Gaussian, elementwise."""
    return -0.5 * (difference / sigma) ** 2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)


def labels_of(atoms: Atoms, dtype: torch.dtype) -> dict[str, Tensor]:
    """Labels of one structure: energy (1,), forces (N, 3), virial (1, 3, 3) and whether there is one, (1,)."""
    found = atoms.calc.results
    stressed = "stress" in found and bool(all(atoms.pbc))
    virial = np.zeros((3, 3))
    if stressed:
        xx, yy, zz, yz, xz, xy = -np.asarray(found["stress"]) * atoms.get_volume()
        virial = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return {
        "energy": torch.tensor([found["energy"]], dtype=dtype),
        "forces": torch.tensor(np.asarray(found["forces"]), dtype=dtype),
        "virial": torch.tensor(virial[None], dtype=dtype),
        "stressed": torch.tensor([stressed]),
    }
