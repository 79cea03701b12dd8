# SPDX-License-Identifier: GPL-2.0-or-later
"""Masses that contradict the elements of their atoms: a sign that elements were exchanged."""

import warnings
from collections.abc import Sequence

from pyuq._core import check_masses
from pyuq.errors import InputError


def refuse_wrong_masses(elements: Sequence[str], masses: Sequence[float], where: str) -> None:
    """Refuse masses of other elements.

    A mass is wrong when it is that of another of the elements, or farther from the element's own than isotopes are.
    Isotopes pass, deuterium and tritium among them. Hydrogen that has taken mass from the atoms that it is bonded to
    (mass repartitioning) gives a warning.

    Parameters
    ----------
    elements : sequence of str
    masses : sequence of float
        Of each of the elements, g/mol.
    where : str
        File, table or structure, for the message.

    Raises
    ------
    InputError
        A mass is wrong.
    """
    message, wrong = check_masses(elements, masses)
    if wrong:
        raise InputError(
            f"{where}: {message}. Elements were exchanged, or the masses are wrong: mend either"
        )
    if message:
        warnings.warn(f"{where}: {message}. Taken for repartitioned masses", stacklevel=3)
