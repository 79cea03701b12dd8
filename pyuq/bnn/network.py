# SPDX-License-Identifier: GPL-2.0-or-later
r"""The equivariant network in torch: the twin of the native kernel.

Node states :math:`h_i^l[u,m]` of channels u and degrees :math:`l\le l_\mathrm{max}`, natural parity. In each layer

.. math::
    A_i[p,u,m_3] &= \sum_j R_p[u](r_{ij}) \sum_{m_1m_2} C^{l_1l_2l_3}_{m_1m_2m_3}\,
                    g_j^{l_1}[u,m_1]\, Y_{l_2m_2}(\hat r_{ij}), \qquad g^l = h^l W_1^l, \\
    q_i^l &= \sum_{p\to l} A_i[p]\,W_2^l[p] + h_i^l\,S^l_{z_i},

followed by a gate: :math:`h^0 = \mathrm{SiLU}(q^0)` of the first C scalars, :math:`h^l = q^l\,\mathrm{SiLU}(q^0)` with
another C scalars for each l > 0. :math:`R = \mathrm{SiLU}(b V_1) V_2` of Bessel functions times a smooth cutoff.
The energy of an atom is linear in the final scalars, plus, where the file says so, half of the ZBL repulsion of its
pairs. All weights here are those of the file: every
constant is folded into them.

References
----------
S. Batzner et al., Nat. Commun. **13**, 2453 (2022).
J. Gasteiger, J. Groß, S. Günnemann, ICLR (2020) (Bessel functions and cutoff polynomial).
J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (1985).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import vesin
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor
from torch.nn.functional import silu

from pyuq.bnn.architecture import Architecture, NetworkFile
from pyuq.bnn.coupling import coupling
from pyuq.brief import brief
from pyuq.errors import InputError

Weights = Mapping[str, Tensor]


@brief()
@dataclass(frozen=True)
class Batch:
    """Structures side by side.

    Attributes
    ----------
    species : Tensor of int, shape (N,)
    structure : Tensor of int, shape (N,)
        To which structure each atom belongs.
    count : int
        Number of structures.
    centers, neighbors : Tensor of int, shape (E,)
        Atoms i and j of each directed edge.
    vectors : Tensor, shape (E, 3)
        r_j - r_i, Å.
    """

    species: Tensor
    structure: Tensor
    count: int
    centers: Tensor
    neighbors: Tensor
    vectors: Tensor

    @classmethod
    def of(
        cls, frames: Sequence[Atoms], architecture: Architecture, dtype: torch.dtype = torch.float64
    ) -> "Batch":
        """Find the neighbours of structures.

        Raises
        ------
        InputError
            An element is not one of the network's.
        """
        return cls.join([cls._single(atoms, architecture, dtype) for atoms in frames])

    @classmethod
    def _single(cls, atoms: Atoms, architecture: Architecture, dtype: torch.dtype) -> "Batch":
        symbols = atoms.get_chemical_symbols()
        if unknown := sorted(set(symbols) - set(architecture.elements)):
            raise InputError(
                f"element {', '.join(unknown)} is not in the network, which knows "
                + " ".join(architecture.elements)
            )
        finder = vesin.NeighborList(cutoff=architecture.cutoff, full_list=True)
        i, j, d = finder.compute(atoms.positions, atoms.cell.array, atoms.pbc, "ijD")
        return cls(
            torch.tensor([architecture.elements.index(s) for s in symbols]),
            torch.zeros(len(atoms), dtype=torch.int64),
            1,
            torch.from_numpy(i.astype(np.int64)),
            torch.from_numpy(j.astype(np.int64)),
            torch.from_numpy(np.array(d, dtype=float)).reshape(-1, 3).to(dtype),
        )

    @classmethod
    def join(cls, parts: Sequence["Batch"]) -> "Batch":
        """Several batches as one."""
        atoms = np.cumsum([0] + [len(p.species) for p in parts])
        structures = np.cumsum([0] + [p.count for p in parts])
        return cls(
            torch.cat([p.species for p in parts]),
            torch.cat([p.structure + int(s) for p, s in zip(parts, structures, strict=False)]),
            int(structures[-1]),
            torch.cat([p.centers + int(n) for p, n in zip(parts, atoms, strict=False)]),
            torch.cat([p.neighbors + int(n) for p, n in zip(parts, atoms, strict=False)]),
            torch.cat([p.vectors for p in parts]),
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Move to a device."""
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return Batch(**moved)


@brief()
@dataclass(frozen=True)
class Prediction:
    """What a network says about a batch.

    Attributes
    ----------
    energies : Tensor, shape (structures,)
        eV.
    atomic : Tensor, shape (N,)
        eV.
    forces : Tensor, shape (N, 3)
        eV/Å.
    virials : Tensor, shape (structures, 3, 3)
        Σ r ⊗ f, eV; stress is -virial / volume.
    features : Tensor, shape (N, C)
        Final scalars h⁰.
    """

    energies: Tensor
    atomic: Tensor
    forces: Tensor
    virials: Tensor
    features: Tensor


def harmonics(unit: Tensor, lmax: int) -> list[Tensor]:
    """Spherical harmonics of unit vectors (E, 3) as in :mod:`pyuq.bnn.coupling`."""
    x, y, z = unit.unbind(-1)
    found = [torch.ones_like(unit[:, :1]), 3**0.5 * unit]
    if lmax == 2:
        second = (
            15**0.5 * x * z,
            15**0.5 * x * y,
            5**0.5 * (y * y - 0.5 * (x * x + z * z)),
            15**0.5 * y * z,
            0.5 * 15**0.5 * (z * z - x * x),
        )
        found.append(torch.stack(second, dim=-1))
    return found


def radial_basis(architecture: Architecture, frequencies: Tensor, r: Tensor) -> Tensor:
    """Bessel functions times the cutoff polynomial, shape (E, B)."""
    t, p = r / architecture.cutoff, architecture.envelope
    inside = (
        1
        - 0.5 * (p + 1) * (p + 2) * t**p
        + p * (p + 2) * t ** (p + 1)
        - 0.5 * p * (p + 1) * t ** (p + 2)
    )
    f = torch.where(t < 1, inside, torch.zeros_like(t))
    return (2 / architecture.cutoff) * torch.sin(frequencies * t[:, None]) * (f / r)[:, None]


COULOMB = 14.399645  # e²/(4πε0), eV Å
SCREENING = 2.134563  # 1/Å
ZBL = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))


def repulsion(architecture: Architecture, w: Weights, batch: Batch) -> Tensor:
    """ZBL repulsion of each atom, half of that of its pairs, shape (N,), eV."""
    r = batch.vectors.norm(dim=-1)
    charges = torch.tensor([float(atomic_numbers[e]) for e in architecture.elements]).to(r)
    i, j = batch.species[batch.centers], batch.species[batch.neighbors]
    begin, end = w["repulsion"][i, j].to(r).unbind(-1)
    x = SCREENING * r * (charges[i] ** 0.23 + charges[j] ** 0.23)
    screened = sum(a * torch.exp(-b * x) for a, b in ZBL)
    t = ((r - begin) / (end - begin)).clamp(0.0, 1.0)
    pairs = COULOMB * charges[i] * charges[j] / r * screened * 0.5 * (1 + torch.cos(math.pi * t))
    return r.new_zeros(len(batch.species)).index_add(0, batch.centers, 0.5 * pairs)


def features(architecture: Architecture, w: Weights, batch: Batch) -> Tensor:
    """Final scalars h⁰ of every atom, shape (N, C)."""
    r = batch.vectors.norm(dim=-1)
    basis = radial_basis(architecture, w["frequencies"], r)
    y = harmonics(batch.vectors / r[:, None], architecture.lmax)
    h: dict[int, Tensor] = {}
    for t in range(architecture.layers):
        if t == 0:
            g = {0: w["sources"][batch.species][:, :, None]}
        else:
            g = {
                l: torch.einsum("ncm,cd->ndm", h[l], w[f"layers.{t}.linear1.{l}"])
                for l in range(architecture.lmax + 1)
            }
        q = messages(architecture, w, batch, t, g, basis, y)
        if t > 0:
            for l in q:
                self_term = w[f"layers.{t}.self.{l}"][batch.species]
                q[l] = q[l] + torch.einsum("ncm,ncd->ndm", h[l], self_term)
        h = gate(q, architecture.channels)
    return h[0][:, :, 0]


def messages(
    architecture: Architecture,
    w: Weights,
    batch: Batch,
    t: int,
    g: dict[int, Tensor],
    basis: Tensor,
    y: list[Tensor],
) -> dict[int, Tensor]:
    """Sums over neighbours in layer t, mixed: q of each l, shape (N, outputs, 2 l + 1)."""
    radial = torch.einsum(
        "eh,hpc->epc", silu(basis @ w[f"layers.{t}.radial1"]), w[f"layers.{t}.radial2"]
    )
    q: dict[int, Tensor] = {}
    used = dict.fromkeys(architecture.degrees(t), 0)
    for p, (l1, l2, l3) in enumerate(architecture.paths(t)):
        tensor = torch.from_numpy(coupling(l1, l2, l3)).to(basis)
        edge = torch.einsum("en,mnk->emk", y[l2], tensor)
        message = torch.einsum("ecm,emk->eck", g[l1][batch.neighbors], edge) * radial[:, p, :, None]
        total = message.new_zeros(len(batch.species), *message.shape[1:])
        total = total.index_add(0, batch.centers, message)
        mixed = torch.einsum("nck,cd->ndk", total, w[f"layers.{t}.linear2.{l3}"][used[l3]])
        used[l3] += 1
        q[l3] = q[l3] + mixed if l3 in q else mixed
    return q


def gate(q: dict[int, Tensor], channels: int) -> dict[int, Tensor]:
    """Activate: scalars by SiLU, other degrees by scalars of their own."""
    scalars = silu(q[0])
    h = {0: scalars[:, :channels]}
    for l in q:
        if l > 0:
            h[l] = q[l] * scalars[:, l * channels : (l + 1) * channels]
    return h


def predict(
    architecture: Architecture, w: Weights, batch: Batch, create_graph: bool = False
) -> Prediction:
    """Energies, forces and virials.

    Parameters
    ----------
    architecture : Architecture
    w : mapping of str to Tensor
        Weights of one sample as in the file.
    batch : Batch
    create_graph : bool
        Forces will be differentiated again (training).

    Returns
    -------
    Prediction
    """
    with torch.enable_grad():
        vectors = batch.vectors.detach().requires_grad_(True)
        moved = Batch(**(vars(batch) | {"vectors": vectors}))
        h = features(architecture, w, moved)
        readout = w["readout"][batch.species]
        atomic = (h * readout[:, :-1]).sum(-1) + readout[:, -1]
        if "repulsion" in w:
            atomic = atomic + repulsion(architecture, w, moved)
        (slope,) = torch.autograd.grad(
            atomic.sum(), vectors, create_graph=create_graph, allow_unused=True
        )
    slope = torch.zeros_like(vectors) if slope is None else slope
    forces, virials = assemble(batch, slope)
    energies = atomic.new_zeros(batch.count).index_add(0, batch.structure, atomic)
    if not create_graph:
        energies, atomic, h = energies.detach(), atomic.detach(), h.detach()
    return Prediction(energies, atomic, forces, virials, h)


def assemble(batch: Batch, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Forces (..., N, 3) and virials (..., structures, 3, 3) from dE/d(r_j - r_i), (..., E, 3)."""
    lead = slope.shape[:-2]
    forces = slope.new_zeros(*lead, len(batch.species), 3).index_add(-2, batch.centers, slope)
    forces = forces.index_add(-2, batch.neighbors, -slope)
    outer = -batch.vectors.detach()[:, :, None] * slope[..., None, :]
    virials = outer.new_zeros(*lead, batch.count, 3, 3)
    return forces, virials.index_add(-3, batch.structure[batch.centers], outer)


def repulsion_of(architecture: Architecture, w: Weights, batch: Batch) -> Prediction:
    """What the repulsion alone does; there are no features."""
    with torch.enable_grad():
        vectors = batch.vectors.detach().requires_grad_(True)
        moved = Batch(**(vars(batch) | {"vectors": vectors}))
        atomic = repulsion(architecture, w, moved)
        (slope,) = torch.autograd.grad(atomic.sum(), vectors)
    forces, virials = assemble(batch, slope)
    atomic = atomic.detach()
    energies = atomic.new_zeros(batch.count).index_add(0, batch.structure, atomic)
    return Prediction(energies, atomic, forces, virials, atomic.new_zeros(len(atomic), 0))


def predict_heads(
    architecture: Architecture,
    w: Weights,
    batch: Batch,
    readouts: Tensor,
    create_graph: bool = False,
) -> Prediction:
    """Predictions of Q readouts on the same features: one forward pass, Q reverse passes.

    Parameters
    ----------
    architecture, w, batch, create_graph
        As of :func:`predict`; `w["readout"]` is not used, and there is no repulsion.
    readouts : Tensor, shape (Q, species, C + 1)

    Returns
    -------
    Prediction
        Energies, atomic energies, forces and virials have Q as leading dimension.
    """
    with torch.enable_grad():
        vectors = batch.vectors.detach().requires_grad_(True)
        h = features(architecture, w, Batch(**(vars(batch) | {"vectors": vectors})))
        readout = readouts[:, batch.species]
        (slope,) = torch.autograd.grad(
            h,
            vectors,
            readout[:, :, :-1],
            create_graph=create_graph,
            is_grads_batched=True,
            allow_unused=True,
        )
        atomic = (h * readout[:, :, :-1]).sum(-1) + readout[:, :, -1]
    slope = vectors.new_zeros(len(readouts), *vectors.shape) if slope is None else slope
    forces, virials = assemble(batch, slope)
    energies = atomic.new_zeros(len(readouts), batch.count).index_add(-1, batch.structure, atomic)
    if not create_graph:
        energies, atomic, h = energies.detach(), atomic.detach(), h.detach()
    return Prediction(energies, atomic, forces, virials, h)


def force_noise(w: Weights, h: Tensor) -> Tensor:
    """Standard deviation of the force labels of each atom, shape (N,), eV/Å, from features (N, C)."""
    hidden = silu(h @ w["force_noise.0.weight"] + w["force_noise.0.bias"])
    return torch.exp(hidden @ w["force_noise.1.weight"] + w["force_noise.1.bias"])


LEAST_NOISE = 1e-3  # eV/Å


def label_noise(w: Weights, h: Tensor) -> Tensor:
    """`force_noise` with a floor, shape (N,), eV/Å.

    Without one, atoms whose forces vanish by symmetry, predicted without any error, make the likelihood infinite.
    """
    return torch.sqrt(force_noise(w, h) ** 2 + LEAST_NOISE**2)


def sample_weights(file: NetworkFile, k: int, dtype: torch.dtype = torch.float64) -> Weights:
    """Weights of one sample of a file."""
    return {name: torch.from_numpy(np.array(v)).to(dtype) for name, v in file.sample(k).items()}
