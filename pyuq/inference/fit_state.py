# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fit leaves for the next one: its normal equations, to which further structures are added exactly.

``NAME.fit`` (safetensors) holds XᵀX, Xᵀy, yᵀy and the number of rows, of an MTP its radial coefficients; as metadata
the settings, the one-body energies, the repulsion and a hash of every structure. A resumed fit keeps all of these, so
that it equals the fit of all structures with them; the hyperparameters maximise the evidence anew.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.regression import NormalEquations
from pyuq.io.files import read_tensors, write_tensors
from pyuq.potentials.repulsion import Repulsion
from pyuq.provenance import record, require_same

FORMAT = "pyuq-fit"
# Entries and tensors of the fit itself; the others are the basis's.
OWN = {"settings", "one_body", "repulsion", "hashes", "gram", "rhs", "scalars"}


@brief()
@dataclass(frozen=True)
class FitState:
    """Everything but the structures.

    Attributes
    ----------
    settings : dict
        What the user asked for, :meth:`pyuq.inference.fit_settings.FitSettings.table`.
    one_body : dict
        One-body energies, eV.
    repulsion : Repulsion or None
    hashes : tuple of str
        :func:`pyuq.io.identity.structure_hash` of the structures taken in.
    normal : NormalEquations
    found : dict
        What the data defined in the basis, :meth:`pyuq.potentials.protocol.Basis.state`: arrays and numbers.
    """

    settings: dict
    one_body: dict[str, float]
    repulsion: Repulsion | None
    hashes: tuple[str, ...]
    normal: NormalEquations
    found: dict[str, np.ndarray | float] = field(default_factory=dict)

    def save(self, path) -> Path:
        """Write atomically."""
        repulsion = self.repulsion and {
            "inner": {"-".join(pair): r for pair, r in self.repulsion.inner.items()},
            "width": self.repulsion.width,
        }
        record = {
            "settings": self.settings,
            "one_body": self.one_body,
            "repulsion": repulsion,
            "hashes": self.hashes,
        }
        tensors = self.normal.tensors()
        for name, value in self.found.items():
            if isinstance(value, np.ndarray):
                tensors[name] = np.ascontiguousarray(value)
            else:
                record[name] = value
        write_tensors(path, tensors, {"format": FORMAT, "record": json.dumps(record)})
        return Path(path)

    @classmethod
    def load(cls, path) -> "FitState":
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        InputError
            It is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {path}: fit once without resuming")
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path}: format is {metadata.get('format')!r}, expected {FORMAT!r}")
        record = json.loads(metadata["record"])
        if repulsion := record["repulsion"]:
            inner = {tuple(pair.split("-")): r for pair, r in repulsion["inner"].items()}
            repulsion = Repulsion(inner, repulsion["width"])
        return cls(
            settings=record["settings"],
            one_body=record["one_body"],
            repulsion=repulsion or None,
            hashes=tuple(record["hashes"]),
            normal=NormalEquations.from_sums(tensors["gram"], tensors["rhs"], tensors["scalars"]),
            found={k: v for k, v in (record | tensors).items() if k not in OWN and v is not None},
        )

    def further(
        self, structures: Sequence[Atoms], hashes: Sequence[str], settings: Mapping
    ) -> list[Atoms]:
        """Structures that are not taken in yet; one that is there more often than it was is new so many times.

        Raises
        ------
        InputError
            The settings are others, or a structure that was taken in is missing now.
        """
        remedy = "put them back, or fit without resuming"
        free = ("uncertainty",)  # the kind of error bar changes no sum
        what = "the fit that is to be resumed"
        require_same(what, record(self.settings), record(settings), remedy, free)
        known = Counter(self.hashes)
        if missing := known - Counter(hashes):
            raise InputError(
                f"{missing.total()} of the {len(self.hashes)} structures of the fit that is to be resumed are not in "
                "the training set: rows cannot be taken out, fit without resuming"
            )
        new = []
        for atoms, h in zip(structures, hashes, strict=True):
            if known[h]:
                known[h] -= 1
            else:
                new.append(atoms)
        return new
