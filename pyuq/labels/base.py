# SPDX-License-Identifier: GPL-2.0-or-later
"""What every source of labels has in common."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms

from pyuq.brief import brief


@brief()
@dataclass(frozen=True)
class Failure:
    """A structure that got no label.

    Attributes
    ----------
    atoms : Atoms
    reason : str
        One line: what happened, for the history.
    """

    atoms: Atoms
    reason: str


class Waiting(Exception):  # noqa: N818 (a state, not an error)
    """Labels were requested from outside and are not there yet; ask again later."""


class Labeller(Protocol):
    """A reference method: energies (eV), forces (eV/Å) and stresses (eV/Å³)."""

    def label(self, structures: list[Atoms]) -> list[Atoms | Failure]:
        """Label structures.

        A structure that cannot be labelled gives a :class:`Failure` in its place and costs no other one its label.

        Returns
        -------
        list of Atoms or Failure
            In the order of `structures`. Labelled structures carry a ``SinglePointCalculator`` with energy, forces
            and (where the method has it) stress.

        Raises
        ------
        Waiting
            Labels come from outside and are not complete yet.
        """
        ...


def defect(atoms: Atoms, max_force: float = np.inf) -> str | None:
    """Say what is wrong with a labelled structure, or None.

    Parameters
    ----------
    atoms : Atoms
        With a calculator.
    max_force : float
        Largest force norm that is taken for physics, eV/Å.
    """
    results = atoms.calc.results
    for name in ("energy", "forces", "stress"):
        if name in results and not np.all(np.isfinite(results[name])):
            return f"{name} of the label is not finite"
    for name, shape in (("forces", (len(atoms), 3)), ("stress", (6,))):
        if name in results and results[name].shape != shape:
            return f"label has {name} of shape {results[name].shape}, expected {shape}"
    largest = np.linalg.norm(results["forces"], axis=1).max(initial=0.0)
    if largest > max_force:
        return f"largest force {largest:.3g} eV/Å exceeds max_force = {max_force:g}"
    return None
