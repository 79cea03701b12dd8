# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars for machine-learned molecular dynamics, inside LAMMPS.

The names that a script needs most are here, and are imported when they are first used:

==================  ==================================================================================
``Calculator``      ASE calculator of a model or a committee, with error bars
``load``            a model file, applied to structures: energies, forces, features, σ_E
``read``            labelled structures of files (extended XYZ, ``.cfg``, what ASE reads)
``fit``             fit a linear potential and its posterior
``FitSettings``     what defines a fit, with ``ACEBasis`` or ``MTPBasis``
``posterior``       error bars for a potential that exists
``collect``         errors of a calculator on labelled structures, and its error bars for them
``calibrate``       are the error bars right? factors that make them so
``trajectory``      positions of a LAMMPS dump or another file, continuous over boundaries
``diffusivity``     D of positions, with an honest interval
``lammps``          LAMMPS with the plugin in this process
``InputError``      what all of these raise for a mistake that the user can mend
==================  ==================================================================================

Examples
--------
Fit a potential to argon, labelled here by a Lennard-Jones potential, and ask it for energies with error bars:

>>> import numpy as np
>>> import pyuq
>>> from ase.build import bulk
>>> from ase.calculators.lj import LennardJones
>>> rng = np.random.default_rng(1)
>>> def argon():
...     atoms = bulk("Ar", a=5.4, cubic=True)
...     atoms.positions += rng.normal(scale=0.2, size=(4, 3))
...     atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=5.0, smooth=True)
...     atoms.get_forces()
...     return atoms
>>> basis = pyuq.ACEBasis(("Ar",), cutoff=5.0, order=2, degree=(8, 6))
>>> result = pyuq.fit([argon() for _ in range(20)], pyuq.FitSettings(basis))
>>> new = argon()
>>> prediction = result.predict(new)
>>> bool(abs(prediction["energy"] - new.get_potential_energy()) < 0.01)
True

In a notebook, ``result`` shows itself as a table:

>>> "Fitted potential" in result._repr_html_()
True

Save it, for ``pair_style uq`` of LAMMPS and for ASE:

>>> path = result.save(".", "argon")
>>> new.calc = pyuq.Calculator(path)
>>> bool(0 < new.calc.get_property("energy_uncertainty", new) < 0.01)
True
>>> new.calc
UQCalculator(files=['argon.uq'], forces_uncertainty=True, calibration=None)

A diffusivity from positions of shape (frames, atoms, 3), here of a random walk with D = 0.5 Å²/ps:

>>> steps = rng.normal(scale=np.sqrt(2 * 0.5 * 0.1), size=(2000, 50, 3))
>>> walk = pyuq.diffusivity(np.cumsum(steps, axis=0), timestep=0.1)
>>> low, high = walk.interval()
>>> low < 0.5 < high
True

Notes
-----
Importing this package is cheap and cannot fail: LAMMPS imports it at start-up to find the plugin.
"""

import sys
from contextlib import suppress
from pathlib import Path

from pyuq import _moved

__version__ = "0.1.0"

# The public face: where each name lives. Nothing is imported before it is asked for.
_FACE = {
    "ACEBasis": "potentials.basis.ACEBasis",
    "Calculator": "evaluate.calculator.UQCalculator",
    "FitSettings": "inference.fit_settings.FitSettings",
    "InputError": "errors.InputError",
    "MTPBasis": "potentials.mtp.MTPBasis",
    "calibrate": "calibration.judge.calibrate",
    "collect": "evaluate.collect.collect",
    "diffusivity": "diffusion.self_diffusivity",
    "fit": "inference.fit.fit",
    "lammps": "lmp.lammps",
    "load": "evaluate.evaluator.Evaluator",
    "posterior": "inference.readout_posterior.readout_posterior",
    "read": "io.structures.read_structures",
    "trajectory": "io.trajectory.read_trajectory",
}
__all__ = ["__version__", *_FACE]  # noqa: PLE0604 (all are strings)


def __getattr__(name: str):
    """Import a name of the public face (PEP 562)."""
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, own = _FACE[name].rpartition(".")
    globals()[name] = found = getattr(import_module(f"{__name__}.{module}"), own)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_FACE})


def _find_compiled_parts() -> None:
    """Extend ``__path__`` by the installed copy when this one is a bare checkout.

    Python started in a checkout finds these sources before the installed package, but the plugin and the
    bindings were compiled into the latter.
    """
    if any(Path(__file__).parent.glob("_core.*.so")):
        return
    for folder in sys.path:
        package = Path(folder or ".") / __name__
        if any(package.glob("_core.*.so")):
            __path__.append(str(package))
            return


_moved.install()
with suppress(OSError):  # an unreadable entry of sys.path must not break `import lammps`
    _find_compiled_parts()
