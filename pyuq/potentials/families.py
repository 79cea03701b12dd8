# SPDX-License-Identifier: GPL-2.0-or-later
"""The families of potentials that can be fitted, by the name that settings give them."""

from dataclasses import asdict, dataclass, field

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.mtp import MTPBasis
from pyuq.settings import from_table

FAMILIES = ("ace", "mtp")


@brief()
@dataclass(frozen=True)
class BasisTable:
    """TOML form of :class:`pyuq.potentials.basis.ACEBasis`; pairs of elements read "Al-Si"."""

    elements: tuple[str, ...]
    cutoff: float | dict[str, float]
    order: int = 3
    degree: float | tuple[float, ...] = 8.0
    n_weight: float | tuple[float, ...] = 1.0
    l_weight: float | tuple[float, ...] = 1.0
    nmax: int | tuple[int, ...] | None = None
    lmax: int | tuple[int, ...] | None = None
    radial: str = "SBessel"
    radial_parameter: float = 3.0
    dcut: float = 0.01
    species_weights: dict[str, float] = field(default_factory=dict)


@brief()
@dataclass(frozen=True)
class MTPTable:
    """TOML form of :class:`pyuq.potentials.mtp.MTPBasis`."""

    elements: tuple[str, ...]
    cutoff: float
    level: int = 12
    radial_size: int = 8
    min_dist: float | None = None
    refine: int = 50
    seed: int = 0


def basis_from_table(table: dict, where: str, family: str = "ace") -> ACEBasis | MTPBasis:
    """Make a basis from a TOML table.

    Raises
    ------
    InputError
        Unknown key, wrong type or value; the message begins with ``where``.
    """
    values = asdict(from_table(MTPTable if family == "mtp" else BasisTable, table, where))
    try:
        if family == "mtp":
            return MTPBasis(**values)
        for name in ("cutoff", "species_weights"):
            if isinstance(values[name], dict):
                values[name] = {tuple(pair.split("-")): v for pair, v in values[name].items()}
        return ACEBasis(**values)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
