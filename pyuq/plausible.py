# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of TOML tables that nobody can mean: a time step in fs, a pressure in bar, a cutoff in nm.

A table is checked as it is read (:func:`pyuq.settings.from_table`). The ranges are wide: what lies outside is a slip of
the unit, and would make a run blow up, or stand still, without a word. Classes made in Python are not checked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from pyuq.errors import InputError


@dataclass(frozen=True)
class Quantity:
    """A kind of value.

    Attributes
    ----------
    unit : str
    low, high : float
        Range of what somebody may mean, ends included.
    slip : str
        What is easily confused, for the message.
    zero, endless : bool
        Whether 0 and infinity have a meaning of their own.
    """

    unit: str
    low: float
    high: float
    slip: str = ""
    zero: bool = False
    endless: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether somebody may mean a value."""
        if (value == 0.0 and self.zero) or (value == inf and self.endless):
            return True
        return self.low <= value <= self.high


TIME_STEP = Quantity("ps", 1e-6, 0.05, "2 fs are 0.002 ps")
RELAXATION = Quantity("ps", 1e-3, 50.0, "100 fs are 0.1 ps")
SLOW_RELAXATION = Quantity("ps", 1e-3, 500.0, "1000 fs are 1 ps")
LAG = Quantity("ps", 1e-4, 1e7, "1000 fs are 1 ps")
MOMENTA = Quantity("ps", 1e-6, 1e3, zero=True)
FREQUENCY = Quantity("THz", 1e-3, 500.0, "33.4 cm⁻¹ are 1 THz")
TEMPERATURE = Quantity("K", 0.1, 1e5, "0.1 eV are 1160 K")
PRESSURE = Quantity("GPa", -2000.0, 2000.0, "10000 bar are 1 GPa")
FORCE = Quantity("eV/Å", 1e-6, 1e5, endless=True)
FORCE_ERROR = Quantity("eV/Å", 1e-9, 20.0, "100 meV/Å are 0.1 eV/Å")
ENERGY_ERROR = Quantity("eV/atom", 1e-12, 2.0, "5 meV/atom are 0.005 eV/atom")
ENERGY = Quantity("eV", 0.0, 1e6)
ONE_BODY = Quantity("eV", -1e6, 1e6)
DEVIATION = Quantity("eV/atom", 0.0, 50.0, "5 meV/atom are 0.005 eV/atom")
VIRIAL = Quantity("eV/atom", -inf, 50.0, "5 meV/atom are 0.005 eV/atom")
FORCE_DEVIATION = Quantity("eV/Å", 0.0, 100.0, "50 meV/Å are 0.05 eV/Å")
DISTANCE = Quantity("Å", 1e-3, 20.0, "0.1 nm are 1 Å", zero=True)
CUTOFF = Quantity("Å", 1.0, 30.0, "0.6 nm are 6 Å")
WIDTH = Quantity("Å", 0.0, 30.0)
LENGTH = Quantity("Å", 0.01, 1e4, zero=True)
CHARGE = Quantity("e", -20.0, 20.0)
MASS = Quantity("g/mol", 0.5, 500.0, "1 g/mol, not kg")
SECONDS = Quantity("s", 1e-3, 1e9, zero=True, endless=True)

# By class and key. A key with a unit that is missing here fails a test.
QUANTITIES: Mapping[str, Mapping[str, Quantity]] = {
    "Override": {"temperature": TEMPERATURE, "pressure": PRESSURE},
    "Labels": {
        "charges": CHARGE,
        "masses": MASS,
        "wait": SECONDS,
        "timeout": SECONDS,
        "max_force": FORCE,
    },
    "MD": {
        "temperature": TEMPERATURE,
        "temperatures": TEMPERATURE,
        "pressure": PRESSURE,
        "timestep": TIME_STEP,
        "thermostat_damp": RELAXATION,
        "barostat_damp": SLOW_RELAXATION,
        "damp": RELAXATION,
        "timeout": SECONDS,
    },
    "Bias": {"floor": ENERGY},
    "Stop": {
        "energy_error": ENERGY_ERROR,
        "force_error": FORCE_ERROR,
        "epsilon": Quantity("eV/Å", 1e-6, 20.0, "200 meV/Å are 0.2 eV/Å"),
        "min_distance": DISTANCE,
        "max_force": FORCE,
    },
    "Start": {"charges": CHARGE, "masses": MASS},
    "DiffusionTable": {"first": LAG, "last": LAG},
    "Runs": {"timeout": SECONDS},
    "SamplerTable": {"cutoff": FREQUENCY, "length": LENGTH},
    "Weights": {"energy": DEVIATION, "force": FORCE_DEVIATION, "virial": VIRIAL},
    "RepulsionSettings": {"margin": WIDTH},
    "Settings": {"one_body": ONE_BODY},
    "FitFile": {"one_body": ONE_BODY, "max_force": FORCE},
    "BasisTable": {"momenta": MOMENTA},
    "ACEBasis": {"cutoff": CUTOFF, "dcut": WIDTH},
    "MTPBasis": {"cutoff": CUTOFF, "min_dist": DISTANCE},
    "Architecture": {"cutoff": CUTOFF},
    "Likelihood": {"energy": DEVIATION, "force": FORCE_DEVIATION, "virial": VIRIAL},
}


def check_plausible(cls: type, values: Mapping[str, object]) -> None:
    """Refuse values of a table that nobody can mean.

    Parameters
    ----------
    cls : dataclass type
        That the table fills.
    values : mapping
        By key: numbers, and lists or tables of them; others are left alone.

    Raises
    ------
    InputError
        Names key, value, unit and range, and what was perhaps confused.
    """
    for key, quantity in QUANTITIES.get(cls.__name__, {}).items():
        for name, value in _numbers(key, values.get(key)):
            if not quantity.holds(value):
                slip = f" ({quantity.slip})" if quantity.slip else ""
                raise InputError(
                    f"{name} = {value:g} {quantity.unit}; expected {quantity.low:g} to {quantity.high:g} "
                    f"{quantity.unit}{slip}"
                )


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    """All numbers of a value, each with its name."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, float(value)
    elif isinstance(value, (list, tuple)):
        for k, one in enumerate(value):
            yield from _numbers(f"{name}[{k}]", one)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _numbers(f"{name}.{'-'.join(key) if isinstance(key, tuple) else key}", one)
