# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels made outside, for batch DFT: requests are written, results are read when they come."""

import hashlib
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.io import extxyz
from pyuq.labels.base import Failure, Waiting, defect

POLL = 2.0  # s
TOLERANCE = 1e-4  # of positions and cell between request and result, Å


@brief("folder", "wait")
class FileLabeller:
    """Labels exchanged through a folder.

    A structure is written to ``requests/KEY.extxyz``; its label is expected in ``results/KEY.extxyz`` (any extended XYZ
    with energy, forces and perhaps stress), or a line of text in ``results/KEY.failed`` when it cannot be labelled.
    KEY is a hash of the structure, so that a repeated request finds its result.

    Parameters
    ----------
    folder : str or Path
    wait : float
        How long to wait for results, s; after that :class:`Waiting` is raised.
    max_force : float
        Labels with a larger force are failures, eV/Å.
    """

    def __init__(self, folder, wait: float = 0.0, max_force: float = np.inf):
        self.folder = Path(folder)
        self.wait = wait
        self.max_force = max_force

    def label(self, structures: list[Atoms]) -> list[Atoms | Failure]:
        """Label structures; see :meth:`pyuq.labels.base.Labeller.label`."""
        keys = [self._request(atoms) for atoms in structures]
        deadline = time.monotonic() + self.wait
        while missing := [key for key in keys if not self._answered(key)]:
            if time.monotonic() >= deadline:
                raise Waiting(
                    f"{len(missing)} of {len(keys)} labels are missing in "
                    f"{self.folder / 'results'} (first: {missing[0]}.extxyz); run the same command "
                    "again when they are there"
                )
            time.sleep(min(POLL, max(self.wait, 0.01)))
        return [self._read(key, atoms) for key, atoms in zip(keys, structures, strict=True)]

    def _request(self, atoms: Atoms) -> str:
        content = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        key = hashlib.sha256(
            b"".join(np.ascontiguousarray(a).tobytes() for a in content)
        ).hexdigest()[:12]
        for name in ("requests", "results"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        request = self.folder / "requests" / f"{key}.extxyz"
        if not request.exists():
            extxyz.write(request, [atoms])
        return key

    def _answered(self, key: str) -> bool:
        results = self.folder / "results"
        return (results / f"{key}.extxyz").exists() or (results / f"{key}.failed").exists()

    def _read(self, key: str, atoms: Atoms) -> Atoms | Failure:
        path = self.folder / "results" / f"{key}.extxyz"
        if not path.exists():
            text = path.with_suffix(".failed").read_text().strip()
            return Failure(atoms, text.splitlines()[0] if text else "marked as failed")
        try:
            result, *further = extxyz.read(path)
        except ValueError as error:
            return Failure(atoms, str(error))
        if further:
            return Failure(atoms, f"{path} holds {1 + len(further)} structures, expected one")
        if not extxyz.is_labelled(result):
            return Failure(atoms, f"{path} has no energy and forces")
        if result.get_chemical_symbols() != atoms.get_chemical_symbols():
            return Failure(atoms, f"{path} holds other atoms than its request, or in another order")
        shift = max(
            np.abs(result.positions - atoms.positions).max(),
            np.abs(result.cell.array - atoms.cell.array).max(),
        )
        if shift > TOLERANCE:
            return Failure(atoms, f"{path} differs from its request by {shift:.2g} Å")
        if (reason := defect(result, self.max_force)) is not None:
            return Failure(atoms, reason)
        values = result.calc.results
        return extxyz.labelled(atoms, values["energy"], values["forces"], values.get("stress"))
