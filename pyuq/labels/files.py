# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels made outside, for batch DFT: requests are written, results are read when they come."""

import hashlib
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.io import extxyz, predictions
from pyuq.labels.base import Failure, Waiting, defect
from pyuq.labels.match import MismatchError, match

POLL = 2.0  # s
SHOWN = 3  # faults in a message


@brief("folder", "wait")
class FileLabeller:
    """Labels exchanged through a folder.

    A structure is written to ``requests/KEY.extxyz``; its label is expected in ``results/KEY.extxyz`` (any extended XYZ
    with energy, forces and perhaps stress), or a line of text in ``results/KEY.failed`` when it cannot be labelled.
    KEY is a hash of the structure, so that a repeated request finds its result. Its atoms may be in another order, in
    another image of the cell, and shifted together.

    A result that cannot be used, but can be mended (another structure, no forces, half a file), counts as missing: the
    request stays, and the file is read again by the next call. Only ``KEY.failed`` and `max_force` end it.

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
        while True:
            answers = [self._read(key, atoms) for key, atoms in zip(keys, structures, strict=True)]
            faults = [answer for answer in answers if isinstance(answer, str)]
            missing = [key for key, answer in zip(keys, answers, strict=True) if answer is None]
            if not missing and not faults:
                return answers
            if time.monotonic() >= deadline:
                raise Waiting(self._wanted(len(keys), missing, faults))
            time.sleep(min(POLL, max(self.wait, 0.01)))

    def _wanted(self, total: int, missing: list[str], faults: list[str]) -> str:
        """Sentences on what a person has to bring or to mend."""
        said = []
        if missing:
            said.append(
                f"{len(missing)} of {total} labels are missing in {self.folder / 'results'} "
                f"(first: {missing[0]}.extxyz)"
            )
        if faults:
            further = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
            said.append(
                f"{len(faults)} of {total} cannot be used and wait to be mended, or given up by a KEY.failed: "
                + "; ".join(faults[:SHOWN])
                + further
            )
        return "; ".join(said) + "; run the same command again when they are there"

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

    def _read(self, key: str, atoms: Atoms) -> Atoms | Failure | str | None:
        """Read a label; None where there is none yet, and a sentence where a person can mend it."""
        path = self.folder / "results" / f"{key}.extxyz"
        given_up = path.with_suffix(".failed")
        found = self._label(path, atoms) if path.exists() else None
        if (found is None or isinstance(found, str)) and given_up.exists():
            text = given_up.read_text().strip()
            return Failure(atoms, text.splitlines()[0] if text else "marked as failed")
        return found

    def _label(self, path: Path, atoms: Atoms) -> Atoms | Failure | str:
        try:
            result, *further = extxyz.read(path)
        except ValueError as error:
            return str(error)
        if further:
            return f"{path} holds {1 + len(further)} structures, expected one"
        if not extxyz.is_labelled(result):
            told = predictions.told(result)
            return f"{path} has no energy and forces" + (f": {told}" if told else "")
        if (reason := defect(result)) is not None:
            return f"{path}: {reason}"
        values = result.calc.results
        try:
            order = match(atoms, result, values["forces"])
        except MismatchError as error:
            return f"{path}: {error}"
        # What only a box gives has no meaning for a request without one.
        stress = values.get("stress") if all(atoms.pbc) else None
        label = extxyz.labelled(atoms, values["energy"], values["forces"][order], stress)
        reason = defect(label, self.max_force)
        return label if reason is None else Failure(atoms, reason)
