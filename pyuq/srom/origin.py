# SPDX-License-Identifier: GPL-2.0-or-later
"""Which settings made a file: stored in it, and compared with those in force where it is read.

What a stage leaves depends on its own settings and on those of the stages before it. A file that other settings made is
refused: the message names them, and what to do.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from pyuq.errors import InputError
from pyuq.io.identity import hash_file
from pyuq.provenance import record, require_same
from pyuq.srom.settings import Case

TABLES = {
    "snapshots": ("start", "md"),
    "build": ("basis",),
    "sample": ("sampler",),
    "propagate": ("propagate", "diffusion"),
}
# What a file does not depend on: it has a temperature of its own, and runs may come and go.
APART = ("md.temperatures", "propagate.repeats", "propagate.convergence")


def origin(
    case: Case, stage: str, models: Collection[str] = (), without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Settings that a file of a stage depends on, by dotted key; JSON types.

    Parameters
    ----------
    case : Case
    stage : {"snapshots", "build", "sample", "propagate"}
    models : collection of str
        Labels of the potentials behind the file; default: all.
    without : tuple of str
        Keys, or tables with a dot behind them, that this file does not depend on either.

    Raises
    ------
    InputError
        The start structure is not there.
    """
    settings, here = case.settings, case.study.here
    stages = list(TABLES)[: list(TABLES).index(stage) + 1]
    tables = {name: asdict(getattr(settings, name)) for s in stages for name in TABLES[s]}
    found = record(tables)
    if not (structure := here / settings.start.structure).is_file():
        raise InputError(f"no file {structure}, which [start] structure names")
    found["start.structure"] = hash_file(structure)
    found["start.model"] = settings.labels[settings.index(settings.start.model)]
    found |= {
        f"models.{m.label}": m.sha256(here)
        for m in settings.models
        if not models or m.label in models
    }
    return {key: value for key, value in found.items() if not key.startswith((*APART, *without))}


def require_origin(
    case: Case, stage: str, path, found: Mapping[str, Any] | None, wanted: Mapping[str, Any]
) -> None:
    """Refuse a file that other settings made.

    Parameters
    ----------
    case : Case
    stage : str
        That made the file.
    path : Path
        The file.
    found : mapping or None
        What the file says of its origin.
    wanted : mapping
        :func:`origin` of the settings in force.

    Raises
    ------
    InputError
        Names the settings that differ, and what to do.
    """
    require_same(path, found, wanted, remedy(case, stage))


def remedy(case: Case, stage: str) -> str:
    """What to do where a file of a stage is out of date."""
    command = f"run `pyuq srom {stage}` again"
    if stage == "snapshots":
        return f"choose another `folder`, or remove {case.trajectories}, and {command}"
    if stage == "propagate":
        return f"remove {case.run('')} and {command}"
    return command
