# SPDX-License-Identifier: GPL-2.0-or-later
"""The families of potentials that can be fitted, by the name that settings give them.

A further family is a class with what :class:`pyuq.potentials.protocol.Basis` asks for, and a line here.
"""

from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.mtp import MTPBasis
from pyuq.potentials.protocol import Basis
from pyuq.settings import from_table

FAMILIES: dict[str, type[Basis]] = {cls.family: cls for cls in (ACEBasis, MTPBasis)}


def basis_from_table(table: dict, where: str, family: str = "ace") -> Basis:
    """Make a basis from a TOML table, whose keys are the parameters of the family's class.

    A pair of elements reads "Al-Si".

    Raises
    ------
    InputError
        Unknown key, wrong type or value; the message begins with ``where``.
    """
    return from_table(FAMILIES[family], table, where)
