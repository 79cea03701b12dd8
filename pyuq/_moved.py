# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules under the names that they had before they moved: importing one warns and gives the new one."""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ROOMS = {
    "potentials": ("basis", "coupling", "mtp", "mtp_moments", "yace"),
    "inference": (
        "fit",
        "fit_state",
        "maxvol",
        "metrics",
        "mtp_radial",
        "posterior",
        "readout_fit",
        "readout_posterior",
        "readout_sums",
        "regression",
    ),
    "evaluate": ("evaluator",),
}
MOVED = {f"pyuq.models.{name}": f"pyuq.{room}.{name}" for room in ROOMS for name in ROOMS[room]}
MOVED["pyuq.models.run_fit"] = "pyuq.verbs.run_fit"
MOVED["pyuq.calibration.run"] = "pyuq.verbs.run_calibrate"
MOVED |= {f"pyuq.{name}": f"pyuq.verbs.run_{name}" for name in ("build", "doctor", "quickstart")}
MOVED["pyuq.calculator"] = "pyuq.evaluate.calculator"
# What was taken out of a module, and is found under its old name all the same.
SPLIT = {
    "pyuq.models.fit": (
        "pyuq.inference.fit_settings",
        "pyuq.inference.design",
        "pyuq.inference.regression",
        "pyuq.io.identity",
        "pyuq.potentials.baseline",
    ),
    "pyuq.models.run_fit": ("pyuq.potentials.families",),
    "pyuq.models.readout_posterior": ("pyuq.verbs.run_posterior",),
    "pyuq.models.readout_sums": ("pyuq.parallel",),
    "pyuq.calibration.run": ("pyuq.calibration.judge", "pyuq.evaluate.collect"),
    "pyuq.models.yace": ("pyuq.potentials.repulsion",),
}


class _Moved(MetaPathFinder, Loader):
    """Finds the old names."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "pyuq.models":
            return ModuleSpec(fullname, self, is_package=True)
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if spec.name not in MOVED:
            return None
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is {new} now", DeprecationWarning, stacklevel=2)
        # The import system marks what it is given as the old module: let it mark a copy.
        copy = ModuleType(spec.name, importlib.import_module(new).__doc__)
        for name in (*SPLIT.get(spec.name, ()), new):
            found = vars(importlib.import_module(name))
            copy.__dict__.update({k: v for k, v in found.items() if not k.startswith("__")})
        return copy

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Let the old names be found, once."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
