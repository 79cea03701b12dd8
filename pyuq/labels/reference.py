# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference methods: a function from a structure to energy, forces and stress."""

import importlib
import sys
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms, units

from pyuq.brief import brief
from pyuq.io.lammps_data import box_of, write_data
from pyuq.lmp import lammps

# Energy and pressure units of a LAMMPS unit style, in eV and eV/Å³ (lengths are Å in both).
LAMMPS_UNITS = {
    "metal": (1.0, units.bar),
    "real": (units.kcal / units.mol, 1.01325 * units.bar),
}


@brief()
@dataclass(frozen=True)
class LammpsReference:
    """A reference method given by LAMMPS commands.

    Parameters
    ----------
    elements : sequence of str
        LAMMPS atom type i is ``elements[i-1]``; the element names are type labels that `commands`
        may use.
    commands : sequence of str
        ``pair_style``, ``pair_coeff`` and whatever else the method needs.
    atom_style : {"atomic", "charge"}
    unit_style : {"metal", "real"}
        Units that the commands are written in; results are converted.
    charges : dict of str to float
        Charge of each element, e; only for ``atom_style = "charge"``, 0 if not named.
    masses : dict of str to float
        Where they differ from the standard ones, g/mol.
    folder : str
        Where file names in the commands start from.
    """

    elements: tuple[str, ...]
    commands: tuple[str, ...]
    atom_style: str = "atomic"
    unit_style: str = "metal"
    charges: dict[str, float] = field(default_factory=dict)
    masses: dict[str, float] = field(default_factory=dict)
    folder: str = "."

    def load(self) -> None:
        """Do what takes time once: nothing, LAMMPS is loaded with this module."""

    def __call__(self, atoms: Atoms) -> dict:
        """Return energy (eV), forces (N, 3) in eV/Å and, if periodic, stress (6,) in eV/Å³."""
        # Files are named from the folder by going there, and the structure by a descriptor: in a command LAMMPS would
        # read a blank, `#`, `$` or quote of a path as something else, and perhaps find another folder's files.
        with chdir(self.folder):
            lmp = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
            try:
                self._set_up(lmp, atoms)
                lmp.command("run 0 post no")
                return self._results(lmp, atoms)
            finally:
                lmp.close()

    def _set_up(self, lmp, atoms: Atoms) -> None:
        lmp.commands_list(
            [
                f"units {self.unit_style}",
                f"atom_style {self.atom_style}",
                "atom_modify map array sort 0 0",
                f"boundary {'p p p' if all(atoms.pbc) else 'f f f'}",
                "box tilt large",
            ]
        )
        with TemporaryDirectory() as folder:
            data = Path(folder) / "atoms.data"
            write_data(data, atoms, self.elements, self.atom_style, self.charges, self.masses)
            with open(data, "rb") as file:
                lmp.command(f"read_data /dev/fd/{file.fileno()}")
        lmp.commands_list(
            [
                *self.commands,
                "compute pyuq_stress all pressure NULL virial",
                "thermo_style custom pe c_pyuq_stress",
            ]
        )

    def _results(self, lmp, atoms: Atoms) -> dict:
        energy_unit, pressure_unit = LAMMPS_UNITS[self.unit_style]
        _, rotation, _ = box_of(atoms)
        forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
        results = {
            "energy": energy_unit * lmp.get_thermo("pe"),
            "forces": energy_unit * forces @ rotation,
        }
        if all(atoms.pbc):
            # LAMMPS: xx yy zz xy xz yz of the pressure tensor, which is minus the stress.
            p = -pressure_unit * lmp.numpy.extract_compute("pyuq_stress", 0, 1)
            tensor = np.array([[p[0], p[3], p[4]], [p[3], p[1], p[5]], [p[4], p[5], p[2]]])
            tensor = rotation.T @ tensor @ rotation
            results["stress"] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return results


@brief()
@dataclass(frozen=True)
class AseReference:
    """A reference method given by an ASE calculator.

    Parameters
    ----------
    calculator : str
        Import path ``"module:attribute"`` of a calculator class or of a function that returns a
        calculator.
    arguments : dict
        Its keyword arguments.
    folder : str
        Searched for the module first.
    """

    calculator: str
    arguments: dict = field(default_factory=dict)
    folder: str = "."

    def load(self) -> Callable:
        """Import the calculator, which may take a while, and return what makes it."""
        module, _, attribute = self.calculator.partition(":")
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        return getattr(importlib.import_module(module), attribute)

    def __call__(self, atoms: Atoms) -> dict:
        """Return energy (eV), forces (N, 3) in eV/Å and, if there is one, stress (6,) in eV/Å³."""
        make = self.load()
        # A new calculator for each structure: a label must not depend on what was computed before
        # it.
        atoms.calc = make(**self.arguments)
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if all(atoms.pbc) and "stress" in atoms.calc.implemented_properties:
            results["stress"] = atoms.get_stress()
        return results


def make_reference(description: dict) -> Callable[[Atoms], dict]:
    """Make a reference method from ``{"kind": "lammps" | "ase", **arguments}``."""
    arguments = dict(description)
    return {"lammps": LammpsReference, "ase": AseReference}[arguments.pop("kind")](**arguments)
