# SPDX-License-Identifier: GPL-2.0-or-later
"""An ensemble of random bases and its file ``NAME.srom``.

The file holds the sampler, not the samples: tall matrices once, and for each sample its weights and the model whose
forces drive it. A sample's own file ``NAME.rom`` is written when it is needed.
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import pyuq
from pyuq.brief import brief
from pyuq.io.files import read_tensors, write_tensors
from pyuq.srom.basis import Basis
from pyuq.srom.sampling import (
    Frame,
    PolarSampler,
    RiemannianSampler,
    Sampler,
    SubspaceSampler,
)
from pyuq.srom.system import System

FloatArray = NDArray[np.float64]

FORMAT, VERSION = "pyuq-srom", "1"
KINDS = {"riemannian": RiemannianSampler, "ppca": SubspaceSampler, "npm": PolarSampler}


@brief()
@dataclass(frozen=True)
class Ensemble:
    """Samples of a random basis.

    Attributes
    ----------
    nominal : Basis
        The base point; samples share its system, weighting and free atoms.
    sampler : Sampler
    labels : tuple of str
        Of the models.
    model_sha256 : tuple of str
        Their hashes.
    weights : (K, m)
        Weights of the models in each sample; empty (K, 0) where a sampler knows one model only.
    drivers : (K,) of int
        Index of the model whose forces drive the sample.
    provenance : dict
        JSON types.
    """

    nominal: Basis
    sampler: Sampler
    labels: tuple[str, ...]
    model_sha256: tuple[str, ...]
    weights: FloatArray
    drivers: NDArray[np.int64]
    provenance: dict = field(default_factory=dict)

    suffix: ClassVar[str] = ".srom"

    def __len__(self) -> int:
        return len(self.drivers)

    def sample(self, k: int) -> Basis:
        """Basis of sample k.

        Raises
        ------
        IndexError
            There are fewer samples.
        """
        if not 0 <= k < len(self):
            raise IndexError(f"sample {k} of {len(self)}")
        driver = int(self.drivers[k])
        vectors = self.sampler.draw(k)
        basis = self.nominal.with_vectors(
            vectors,
            sample=k,
            weights=[float(p) for p in self.weights[k]],
            driver=self.labels[driver],
        )
        return basis

    @cached_property
    def _sampler_hash(self) -> bytes:
        tensors, numbers = _dismantle(self.sampler)
        found = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
        for _, array in sorted(tensors.items()):
            found.update(np.ascontiguousarray(array))
        return found.digest()

    def digest(self, k: int) -> str:
        """Hash of everything that sample k depends on, hexadecimal."""
        found = hashlib.sha256(self._sampler_hash)
        found.update(f"{k} {self.labels[self.drivers[k]]} {self.model_sha256}".encode())
        found.update(np.ascontiguousarray(self.weights[k]))
        return found.hexdigest()

    def write(self, path) -> None:
        """Write ``NAME.srom`` atomically."""
        kind = next(k for k, cls in KINDS.items() if isinstance(self.sampler, cls))
        tensors, numbers = _dismantle(self.sampler)
        tensors |= self.nominal.system.tensors()
        tensors |= {
            "nominal": self.nominal.vectors,
            "sample_weights": self.weights,
            "drivers": self.drivers.astype(np.int64),
        }
        if self.nominal.free is not None:
            tensors["free"] = self.nominal.free.astype(np.uint8)
        metadata = {
            "format": FORMAT,
            "format_version": VERSION,
            "units": "metal",
            "kind": kind,
            "sampler": json.dumps(numbers, sort_keys=True),
            "weighting": self.nominal.weighting,
            "symbols": " ".join(self.nominal.system.symbols),
            "labels": json.dumps(list(self.labels)),
            "model_sha256": json.dumps(list(self.model_sha256)),
            "provenance": json.dumps({"pyuq": pyuq.__version__} | self.provenance, sort_keys=True),
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def read(cls, path) -> "Ensemble":
        """Read ``NAME.srom``.

        Raises
        ------
        ValueError
            It is not such a file.
        """
        what = "an ensemble of bases, as `pyuq srom sample` makes"
        tensors, metadata = read_tensors(path, (FORMAT, VERSION), what)
        hashes = tuple(json.loads(metadata["model_sha256"]))
        free = tensors.get("free")
        nominal = Basis(
            System.from_tensors(tensors, metadata["symbols"]),
            tensors["nominal"],
            metadata["weighting"],
            None if free is None else free.astype(bool),
            hashes,
        )
        sampler = _assemble(metadata["kind"], tensors, json.loads(metadata["sampler"]))
        return cls(
            nominal,
            sampler,
            tuple(json.loads(metadata["labels"])),
            hashes,
            tensors["sample_weights"],
            tensors["drivers"],
            json.loads(metadata["provenance"]),
        )


def _dismantle(sampler: Sampler) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and numbers of a sampler."""
    tensors, numbers = {}, {}
    for name, value in vars(sampler).items():
        if isinstance(value, Frame):
            tensors |= {f"frame.{part}": array for part, array in vars(value).items()}
        elif isinstance(value, np.ndarray):
            tensors[f"sampler.{name}"] = value.astype(np.uint8) if value.dtype == bool else value
        elif value is not None:
            numbers[name] = value
    return tensors, numbers


def _assemble(kind: str, tensors: dict[str, np.ndarray], numbers: dict) -> Sampler:
    parts = {
        name.removeprefix("sampler."): array.astype(bool) if array.dtype == np.uint8 else array
        for name, array in tensors.items()
        if name.startswith("sampler.")
    }
    frame = {n.removeprefix("frame."): a for n, a in tensors.items() if n.startswith("frame.")}
    if frame:
        parts["frame"] = Frame(**frame)
    return KINDS[kind](**parts, **numbers)
