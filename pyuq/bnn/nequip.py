# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of nequip as `pyuq-network` files: they then run in LAMMPS under MPI without torch.

A model of nequip is a chain of linear maps, tensor products and gates whose normalisation lies in e3nn. Every linear
map is read off by its action on unit vectors, every tensor product by the factor between its output and our
coupling, every gate by its value at one point; so nothing here depends on how e3nn normalises or orders.
Channels that a degree lacks are filled with zeros.

References
----------
S. Batzner et al., Nat. Commun. **13**, 2453 (2022).
"""

import math
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch.nn.functional import silu

from pyuq.bnn.architecture import Architecture, write_network
from pyuq.bnn.coupling import coupling
from pyuq.brief import brief
from pyuq.errors import InputError, RunError
from pyuq.io.files import require_folder
from pyuq.io.identity import hash_file

FloatArray = NDArray[np.float64]

# What the chain of modules of a supported model consists of, layers aside.
KNOWN = (
    "type_embed",
    "spharm",
    "edge_norm",
    "bessel_encode",
    "factor",
    "per_atom_energy_readout",
    "per_type_energy_scale_shift",
    "total_energy_sum",
)


def import_nequip(path, out, elements: tuple[str, ...] = ()) -> Path:
    """Write a saved model of nequip as a network file.

    Parameters
    ----------
    path : str or Path
        ``.ckpt`` of a training run, or ``.nequip.zip`` of `nequip-package`. Loading runs code that it contains.
    out : str or Path
    elements : tuple of str
        Chemical symbols of the model's types, in their order, if they are not called so.

    Raises
    ------
    RuntimeError
        nequip is not installed.
    InputError
        Another kind of file, or a model with parts that the network does not have; the message names them.
    """
    path = Path(path)
    if not path.name.endswith((".ckpt", ".nequip.zip")):
        raise InputError(
            f"{path}: expected a checkpoint (.ckpt) or a package (.nequip.zip) of nequip; "
            "a compiled model no longer has its weights by name"
        )
    if not path.is_file():
        raise InputError(f"no file {path}")
    require_folder(out, [path])
    try:
        from nequip.model.saved_models import load_saved_model
        from nequip.utils.global_state import set_global_state
    except ModuleNotFoundError as error:
        raise RunError(f"{error}: pip install nequip==0.19.1") from error
    set_global_state()
    architecture, tensors = convert(load_saved_model(str(path)), elements)
    write_network(
        out, architecture, tensors, {"nequip": path.name, "nequip_sha256": hash_file(path)}
    )
    return Path(out)


def convert(
    model: torch.nn.Module, elements: tuple[str, ...] = ()
) -> tuple[Architecture, dict[str, FloatArray]]:
    """Turn a ``GraphModel`` of nequip into an architecture and its tensors.

    Parameters
    ----------
    model : torch.nn.Module
    elements : tuple of str
        Symbols of the types of the model, in order; default: the names of its types.

    Raises
    ------
    InputError
        The number of elements differs from that of the types, a type is no chemical symbol, or the model has parts
        that cannot be imported.
    """
    names = list(model.metadata["type_names"].split())
    elements = elements or tuple(names)
    if len(elements) != len(names):
        raise InputError(
            f"the model has the types {' '.join(names)}; found {len(elements)} elements"
        )
    if strange := [e for e in elements if e not in chemical_symbols[1:]]:
        raise InputError(
            f"type {strange[0]} is no chemical symbol: name the elements of {' '.join(names)}"
        )
    chain = next(m for m in model.modules() if hasattr(m, "type_embed"))
    modules = dict(chain.named_children())
    if missing := unsupported(model, modules):
        raise InputError("this nequip model cannot be imported: " + "; ".join(missing))
    with torch.no_grad():
        return Converter(model.double(), modules, elements).convert()


def layers_of(modules: dict) -> list[torch.nn.Module]:
    """Convolution layers in order."""
    count = sum(name.endswith("_convnet") for name in modules)
    return [modules[f"layer{t}_convnet"] for t in range(count)]


def unsupported(model: torch.nn.Module, modules: dict) -> list[str]:
    """Names of all that a model has and the network has not."""
    found = []
    for name in modules:
        if name == "pair_potential":
            found.append("pair_potential (add it in LAMMPS: pair_style hybrid/overlay)")
        elif name not in KNOWN and not name.endswith("_convnet"):
            found.append(f"module {name}")
    if "per_edge_type_cutoff" in model.metadata:
        found.append("per_edge_type_cutoff")
    if len(modules["type_embed"].categorical_graph_field_embed_modules):
        found.append("categorical_graph_field_embed")
    lmax = max(modules["spharm"].irreps_edge_sh.ls)
    if lmax > 2:
        found.append(f"l_max = {lmax} (at most 2)")
    power = modules["bessel_encode"].cutoff.p
    if power != int(power):
        found.append(f"polynomial_cutoff_p = {power} (a whole number)")
    if modules["per_atom_energy_readout"].mlp_module.num_layers > 1:
        found.append("readout_mlp_hidden_layers_depth above 0")
    for t, layer in enumerate(layers_of(modules)):
        found += [f"layer {t}: {text}" for text in unsupported_in_layer(layer)]
    return found


def unsupported_in_layer(layer: torch.nn.Module) -> list[str]:
    """Names of all that one layer has and the network has not."""
    found = []
    mlp, gate = layer.conv.edge_mlp, layer.equivariant_nonlin
    for _, ir in layer.feature_irreps_hidden:
        if ir.p != (-1) ** ir.l:
            found.append(f"features of parity {ir} (train with parity: false)")
    if layer.resnet:
        found.append("convnet_resnet")
    if mlp.num_layers != 2 or mlp.bias or not hasattr(mlp, "mlp"):
        found.append(f"radial_mlp_depth = {mlp.num_layers - 1} (1)")
    norm = layer.conv.avg_num_neighbors_norm.norm_const
    if float(norm.max() - norm.min()) > 1e-12 * float(norm.max()):
        found.append("avg_num_neighbors per type")
    if type(gate).__name__ != "Gate":
        found.append(f"nonlinearity {type(gate).__name__}")
    elif not found and gate_constants(gate) is None:
        found.append("an activation that is not SiLU")
    return found


def gate_constants(gate: torch.nn.Module) -> dict[int, float] | None:
    """Factor between the gate and SiLU for each degree; None if it is no multiple of SiLU."""
    gate = gate.double()
    found = []
    for x in (1.0, -0.7):
        inputs = torch.ones(1, gate.irreps_in.dim, dtype=torch.float64)
        scalars = sum(mul for mul, ir in gate.irreps_in if ir.l == 0)
        inputs[:, :scalars] = x  # scalars and gates come first
        with torch.no_grad():
            out = gate(inputs)[0] / silu(torch.tensor(x, dtype=torch.float64))
        parts = [out[s] for s in gate.irreps_out.slices()]
        found.append({ir.l: p for (_, ir), p in zip(gate.irreps_out, parts, strict=True)})
    for l, values in found[0].items():
        if not torch.allclose(torch.cat([values, found[1][l]]), values[:1], rtol=1e-5, atol=0.0):
            return None
    return {l: float(values.mean()) for l, values in found[0].items()}


def starts(irreps) -> list[int]:
    """Where each block of an e3nn layout begins."""
    return [s.start for s in irreps.slices()]


@brief("architecture")
class Converter:
    """Folds a supported model into the tensors of one sample."""

    def __init__(self, model: torch.nn.Module, modules: dict, elements: tuple[str, ...]):
        self.modules, self.layers = modules, layers_of(modules)
        hidden = [layer.conv.edge_mlp.dims[1] for layer in self.layers]
        embed = modules["type_embed"].embed_module.weight
        widths = [mul for layer in self.layers for mul, _ in layer.feature_irreps_hidden]
        self.architecture = Architecture(
            elements,
            float(model.metadata["r_max"]),
            lmax=max(1, *modules["spharm"].irreps_edge_sh.ls),
            layers=len(self.layers),
            channels=max(embed.shape[1], *widths),
            hidden=max(hidden),
            bessels=modules["bessel_encode"].num_bessels,
            envelope=int(modules["bessel_encode"].cutoff.p),
            noise_hidden=0,
        )
        shapes = self.architecture.shapes()
        self.tensors = {name: np.zeros(shape) for name, shape in shapes.items()}

    def convert(self) -> tuple[Architecture, dict[str, FloatArray]]:
        """Return the architecture of the model and the tensors of its network file."""
        activation = {0: 1.0}  # what the gate before leaves out, for each degree
        for t, layer in enumerate(self.layers):
            self.linear1(t, layer, activation)
            self.radial(t, layer)
            self.linear2(t, layer)
            if t > 0 and layer.conv.sc is not None:
                self.self_term(t, layer, activation)
            activation = gate_constants(layer.equivariant_nonlin)
        self.readout(activation[0])
        tensors = {name: value[None] for name, value in self.tensors.items()}
        weights = self.modules["bessel_encode"].bessel_weights
        tensors["frequencies"] = math.pi * weights.double().reshape(-1).numpy()
        return self.architecture, tensors

    def linear1(self, t: int, layer: torch.nn.Module, activation: dict[int, float]) -> None:
        """Sources, or the map before the messages; the number of neighbours goes into it."""
        linear = layer.conv.linear_1
        norm = float(layer.conv.avg_num_neighbors_norm.norm_const.reshape(-1)[0])
        if t == 0:
            embed = self.modules["type_embed"].embed_module.weight
            self.tensors["sources"][:, : embed.shape[1]] = norm * linear(embed).numpy()
            return
        for (mul, ir), start in zip(linear.irreps_in, starts(linear.irreps_in), strict=True):
            inputs = units(mul, start, 2 * ir.l + 1, linear.irreps_in.dim)
            found = linear(inputs)[:, start :: 2 * ir.l + 1][:, :mul]
            target = self.tensors[f"layers.{t}.linear1.{ir.l}"]
            target[:mul, :mul] = norm * activation[ir.l] * found.numpy()

    def radial(self, t: int, layer: torch.nn.Module) -> None:
        """Radial network; factors of the tensor product and of the Bessel functions go into it."""
        first, _, second = layer.conv.edge_mlp.mlp
        cutoff = self.architecture.cutoff
        factor = float(self.modules["factor"].factor) / (2 * math.pi / cutoff**2)
        width = first.weight.shape[1]
        name = f"layers.{t}.radial"
        self.tensors[f"{name}1"][:, :width] = factor * (first.weight * first.alpha).numpy()
        outer = (second.weight * second.alpha).numpy()
        tp, column = layer.conv.tp_scatter.tp, 0
        for number, instruction in enumerate(tp.instructions):
            mul = tp.irreps_in1[instruction.i_in1].mul
            p = self.architecture.paths(t).index(self.degrees(tp, instruction))
            part = outer[:, column : column + mul] * self.product(tp, number, column)
            self.tensors[f"{name}2"][:width, p, :mul] = part
            column += mul

    @staticmethod
    def degrees(tp: torch.nn.Module, instruction) -> tuple[int, int, int]:
        """Path (l1, l2, l3) of an instruction of a tensor product."""
        inputs = tp.irreps_in1[instruction.i_in1].ir.l, tp.irreps_in2[instruction.i_in2].ir.l
        return (*inputs, tp.irreps_out[instruction.i_out].ir.l)

    def product(self, tp: torch.nn.Module, number: int, column: int) -> float:
        """Factor between one path of a tensor product and our coupling."""
        instruction = tp.instructions[number]
        l1, l2, l3 = self.degrees(tp, instruction)
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=2 * l1 + 1), rng.normal(size=2 * l2 + 1)
        x, y = torch.zeros(1, tp.irreps_in1.dim), torch.zeros(1, tp.irreps_in2.dim)
        weights = torch.zeros(1, tp.weight_numel)
        start = starts(tp.irreps_in1)[instruction.i_in1]
        x[0, start : start + 2 * l1 + 1] = torch.from_numpy(a)
        start = starts(tp.irreps_in2)[instruction.i_in2]
        y[0, start : start + 2 * l2 + 1] = torch.from_numpy(b)
        weights[0, column] = 1.0
        start = starts(tp.irreps_out)[instruction.i_out]
        found = tp(x.double(), y.double(), weights.double())[0, start : start + 2 * l3 + 1].numpy()
        ours = np.einsum("m,n,mnk->k", a, b, coupling(l1, l2, l3))
        return float(found @ ours / (ours @ ours))

    def linear2(self, t: int, layer: torch.nn.Module) -> None:
        """Map after the messages, path by path."""
        linear, tp = layer.conv.linear_2, layer.conv.tp_scatter.tp
        there, used = self.architecture.paths(t), tp.irreps_out
        for instruction in tp.instructions:
            path = self.degrees(tp, instruction)
            l = path[2]
            mul, start = used[instruction.i_out].mul, starts(used)[instruction.i_out]
            found = linear(units(mul, start, 2 * l + 1, used.dim))
            slot = [p for p in there if p[2] == l].index(path)
            self.place(t, layer, f"linear2.{l}", l, (slot, slice(mul)), found)

    def self_term(self, t: int, layer: torch.nn.Module, activation: dict[int, float]) -> None:
        """Self-connection, for each species."""
        sc = layer.conv.sc
        embed = self.modules["type_embed"].embed_module.weight
        for z, row in enumerate(embed):
            for (mul, ir), start in zip(sc.irreps_in1, starts(sc.irreps_in1), strict=True):
                if ir.l not in self.architecture.degrees(t):
                    continue
                inputs = units(mul, start, 2 * ir.l + 1, sc.irreps_in1.dim)
                found = activation[ir.l] * sc(inputs, row.expand(mul, -1))
                self.place(t, layer, f"self.{ir.l}", ir.l, (z, slice(mul)), found)

    def place(self, t: int, layer, name: str, l: int, where: tuple, found: torch.Tensor) -> None:
        """Put outputs of degree l of a linear map, shape (inputs, all outputs), into a tensor."""
        gate, target = layer.equivariant_nonlin, self.tensors[f"layers.{t}.{name}"]
        outputs = layer.conv.linear_2.irreps_out
        block = next(k for k, (_, ir) in enumerate(outputs) if ir.l == l)
        start = starts(outputs)[block]
        values = found.numpy()[:, start : start + outputs[block].mul * (2 * l + 1) : 2 * l + 1]
        if l > 0:
            target[(*where, slice(values.shape[1]))] = values
            return
        scalars = gate.irreps_scalars.dim
        target[(*where, slice(scalars))] = values[:, :scalars]
        column = scalars
        for mul, ir in gate.irreps_gated:  # one gate for each of its channels
            first = ir.l * self.architecture.channels
            target[(*where, slice(first, first + mul))] = values[:, column : column + mul]
            column += mul

    def readout(self, activation: float) -> None:
        """Readout with scales and shifts of the species."""
        mlp, scaling = (
            self.modules["per_atom_energy_readout"].mlp_module,
            self.modules["per_type_energy_scale_shift"],
        )
        width, nz = mlp.dims[0], len(self.architecture.elements)
        weights = mlp(torch.eye(width, dtype=torch.float64))[:, 0].numpy() * activation
        scales = scaling.scales.reshape(-1).numpy() if scaling.has_scales else np.ones(nz)
        shifts = scaling.shifts.reshape(-1).numpy() if scaling.has_shifts else np.zeros(nz)
        self.tensors["readout"][:, :width] = scales[:, None] * weights
        self.tensors["readout"][:, -1] = shifts


def units(mul: int, start: int, stride: int, width: int) -> torch.Tensor:
    """Unit vectors (mul, width): the first component of each channel of a block."""
    found = torch.zeros(mul, width, dtype=torch.float64)
    found[torch.arange(mul), start + stride * torch.arange(mul)] = 1.0
    return found
