# SPDX-License-Identifier: GPL-2.0-or-later
"""Shape of an equivariant network, and the file that holds one or several of them (no torch needed)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pyuq
from pyuq.bnn.coupling import paths
from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.files import read_tensors, require_folder, write_tensors
from pyuq.io.identity import hash_file
from pyuq.settings import check_elements, positive

# What a file may ask for, as the native reader has it: far beyond any network, and a bound on what is made of a header.
MOST = {
    "cutoff": 1000.0,
    "layers": 64,
    "channels": 4096,
    "hidden": 4096,
    "bessels": 4096,
    "envelope": 64,
    "noise_hidden": 4096,
}


@brief()
@dataclass(frozen=True)
class Architecture:
    """Hyperparameters of a network.

    Parameters
    ----------
    elements : tuple of str
        Species, in order.
    cutoff : float
        Å.
    lmax : int
        Largest l of harmonics and node states, 1 or 2.
    layers : int
        Message-passing layers T.
    channels : int
        C.
    hidden : int
        Hidden units of the radial networks, H.
    bessels : int
        Radial basis functions, B.
    envelope : int
        Power p of the cutoff polynomial.
    noise_hidden : int
        Hidden units of the force-noise head; 0: no head.
    """

    elements: tuple[str, ...]
    cutoff: float
    lmax: int = 1
    layers: int = 2
    channels: int = 16
    hidden: int = 16
    bessels: int = 8
    envelope: int = 6
    noise_hidden: int = 16

    def __post_init__(self):
        if self.lmax not in (1, 2):
            raise InputError(f"lmax = {self.lmax}; expected 1 or 2")
        positive(layers=self.layers, channels=self.channels, hidden=self.hidden)
        positive(bessels=self.bessels, cutoff=self.cutoff)
        if self.noise_hidden < 0:
            raise InputError(f"noise_hidden = {self.noise_hidden}; expected 0 (no head) or more")
        if self.envelope < 2:
            raise InputError(f"envelope = {self.envelope}; expected a power from 2")
        for name, most in MOST.items():
            if not (value := getattr(self, name)) <= most:
                raise InputError(f"{name} = {value}; expected at most {most}")
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise InputError(f"elements = {self.elements}; expected different chemical symbols")
        check_elements(self.elements)

    def paths(self, layer: int) -> list[tuple[int, int, int]]:
        """Paths of a layer, counted from 0."""
        return paths(self.lmax, layer == 0, layer == self.layers - 1)

    def degrees(self, layer: int) -> range:
        """Values of l that a layer emits."""
        return range(1 if layer == self.layers - 1 else self.lmax + 1)

    def outputs(self, layer: int, l: int) -> int:
        """Channels of degree l before the gate: the scalars bring one gate for each other degree."""
        return self.channels * len(self.degrees(layer)) if l == 0 else self.channels

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors of one sample, by name; see docs/file-formats.md."""
        nz, c, h = len(self.elements), self.channels, self.hidden
        shapes: dict[str, tuple[int, ...]] = {"sources": (nz, c)}
        for t in range(self.layers):
            there = self.paths(t)
            shapes[f"layers.{t}.radial1"] = (self.bessels, h)
            shapes[f"layers.{t}.radial2"] = (h, len(there), c)
            for l in self.degrees(t):
                out = self.outputs(t, l)
                shapes[f"layers.{t}.linear2.{l}"] = (sum(p[2] == l for p in there), c, out)
                if t > 0:
                    shapes[f"layers.{t}.self.{l}"] = (nz, c, out)
            if t > 0:
                for l in range(self.lmax + 1):
                    shapes[f"layers.{t}.linear1.{l}"] = (c, c)
        shapes["readout"] = (nz, c + 1)
        if self.noise_hidden:
            shapes["force_noise.0.weight"] = (c, self.noise_hidden)
            shapes["force_noise.0.bias"] = (self.noise_hidden,)
            shapes["force_noise.1.weight"] = (self.noise_hidden,)
            shapes["force_noise.1.bias"] = ()
            shapes["energy_noise"] = ()
        return shapes


@brief()
@dataclass(frozen=True)
class NetworkFile:
    """Samples of one architecture with all constants folded into the weights.

    Attributes
    ----------
    architecture : Architecture
    tensors : dict of str to ndarray
        As :meth:`Architecture.shapes`, with the sample as leading dimension; ``frequencies`` (B,); optionally
        ``repulsion`` (species, species, 2): where the ZBL repulsion of a pair begins to be switched off, and where
        it ends, Å.
    """

    architecture: Architecture
    tensors: dict[str, NDArray]

    @property
    def samples(self) -> int:
        """Number of samples K."""
        return len(self.tensors["sources"])

    def sample(self, k: int) -> dict[str, NDArray]:
        """Tensors of one sample."""
        return {n: v if n in COMMON else v[k] for n, v in self.tensors.items()}


COMMON = ("frequencies", "repulsion")  # tensors that samples share
INTEGERS = ("lmax", "layers", "channels", "hidden", "bessels", "envelope", "noise_hidden")


def write_network(
    path, architecture: Architecture, tensors: Mapping[str, NDArray], provenance: Mapping
) -> None:
    """Write samples of a network as a `pyuq-network` file.

    Parameters
    ----------
    path : str or Path
    architecture : Architecture
    tensors : mapping of str to ndarray
        See :class:`NetworkFile`.
    provenance : mapping
        Settings and seeds, stored as JSON.

    Raises
    ------
    InputError
        A tensor is missing or has another shape.
    """
    tensors = {k: np.asarray(v, dtype=np.float64) for k, v in tensors.items()}
    check(architecture, tensors, str(path))
    metadata = {
        "format": "pyuq-network",
        "format_version": "1",
        "units": "metal",
        "elements": " ".join(architecture.elements),
        "cutoff": repr(float(architecture.cutoff)),
        "provenance": json.dumps({"pyuq": pyuq.__version__, **provenance}, sort_keys=True),
    }
    metadata |= {name: str(getattr(architecture, name)) for name in INTEGERS}
    write_tensors(path, tensors, metadata)


def read_network(path) -> NetworkFile:
    """Read a `pyuq-network` file.

    Raises
    ------
    InputError
        Another format, metadata that make no network, or tensors that do not fit; the message names the file.
    """
    tensors, found = read_tensors(path, ("pyuq-network", "1"))

    def number(name, kind, expected):
        if name not in found:
            raise InputError(f"the metadata entry {name} is missing")
        try:
            return kind(found[name])
        except ValueError:
            raise InputError(f"{name} = {found[name]!r}; expected {expected}") from None

    try:
        architecture = Architecture(
            tuple(found.get("elements", "").split()),
            number("cutoff", float, "a distance in Å"),
            **{name: number(name, int, "a whole number") for name in INTEGERS},
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    check(architecture, tensors, str(path))
    return NetworkFile(architecture, tensors)


def join_networks(paths: Sequence, out, keep: int = 0, apart: bool = False) -> list[Path]:
    """Join the samples of several files of one architecture, e.g. chains that ran apart.

    Parameters
    ----------
    paths : sequence of str or Path
    out : str or Path
        File to write.
    keep : int
        Samples to keep, spread evenly over all of them; 0: all.
    apart : bool
        A file for each sample instead: NAME-1.safetensors, NAME-2.safetensors, ...

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        The architectures differ, a file is named twice, or there are fewer samples than `keep`.
    """
    files = [read_network(path) for path in paths]
    hashes = [hash_file(path) for path in paths]
    for k, path in enumerate(paths):
        if (same := hashes.index(hashes[k])) < k:
            raise InputError(
                f"{paths[same]} and {path} are the same networks, which would count twice: name each file once"
            )
    first = files[0]
    for path, file in zip(paths, files, strict=True):
        if file.architecture != first.architecture:
            raise InputError(
                f"{path} holds {file.architecture}, expected that of {paths[0]}: {first.architecture}"
            )
        for name in COMMON:
            mine, others = first.tensors.get(name), file.tensors.get(name)
            if not np.array_equal(mine, others):  # None: there is no such tensor
                raise InputError(f"{path} and {paths[0]} differ in the tensor {name}")
    total = sum(file.samples for file in files)
    if not 0 <= keep <= total:
        raise InputError(f"{keep} samples are to be kept, expected at most {total}")
    chosen = np.round(np.linspace(0, total - 1, keep or total)).astype(int)
    tensors = {name: first.tensors[name] for name in COMMON if name in first.tensors}
    for name in first.tensors.keys() - tensors.keys():
        tensors[name] = np.concatenate([file.tensors[name] for file in files])[chosen]
    sources = [[Path(path).name, sha] for path, sha in zip(paths, hashes, strict=True)]
    rows, out = range(len(chosen)), Path(out)
    parts = {out: slice(None)}  # the samples of each file
    if apart:
        parts = {out.with_name(f"{out.stem}-{k + 1}.safetensors"): slice(k, k + 1) for k in rows}
    for path in parts:
        require_folder(path, paths)
    for path, part in parts.items():
        mine = {n: v if n in COMMON else v[part] for n, v in tensors.items()}
        provenance = {"joined": sources, "samples": chosen[part].tolist()}
        write_network(path, first.architecture, mine, provenance)
    return list(parts)


def check(architecture: Architecture, tensors: Mapping[str, NDArray], name: str) -> None:
    """Compare names and shapes of tensors with what an architecture wants.

    Raises
    ------
    InputError
        A tensor is missing, unknown or of another shape, or the repulsion makes no sense. The message begins with
        `name`.
    """
    shapes = architecture.shapes()
    samples = len(tensors["sources"]) if "sources" in tensors else 1
    wanted = {n: (samples, *shape) for n, shape in shapes.items()}
    wanted["frequencies"] = (architecture.bessels,)
    if "repulsion" in tensors:
        wanted["repulsion"] = (len(architecture.elements), len(architecture.elements), 2)
    if missing := sorted(set(wanted) - set(tensors)):
        raise InputError(f"{name}: the tensor {missing[0]} is missing")
    if unknown := sorted(set(tensors) - set(wanted)):
        raise InputError(f"{name}: unknown tensor {unknown[0]}")
    for tensor, shape in wanted.items():
        if tensors[tensor].shape != shape:
            raise InputError(
                f"{name}: the tensor {tensor} has shape {tensors[tensor].shape}, expected {shape}"
            )
    if "repulsion" in tensors:
        check_repulsion(architecture, tensors["repulsion"], name)


def check_repulsion(architecture: Architecture, ranges: NDArray, name: str) -> None:
    """Refuse ranges (species, species, 2) that make no sense.

    Raises
    ------
    InputError
        A range outside of 0 ≤ from < to ≤ cutoff, or not the same in both orders of a pair.
    """
    begin, end = np.moveaxis(np.asarray(ranges), -1, 0)
    if not ((begin >= 0) & (begin < end) & (end <= architecture.cutoff)).all():
        raise InputError(
            f"{name}: repulsion from {begin.tolist()} to {end.tolist()} Å, expected "
            f"0 <= from < to <= the cutoff {architecture.cutoff}"
        )
    if not np.array_equal(ranges, np.swapaxes(ranges, 0, 1)):
        raise InputError(f"{name}: the repulsion of a pair is not the same in both orders")
