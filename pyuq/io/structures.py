# SPDX-License-Identifier: GPL-2.0-or-later
"""Read labelled structures: extended XYZ, MLIP's .cfg, and JSON lists of pymatgen structures with their outputs."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.io import extxyz, mlip

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def expand(path: str, folder: Path) -> Path:
    """Resolve ``${NAME}`` and ``${NAME:-default}`` in a path, relative to a folder.

    Raises
    ------
    ValueError
        A variable is not set and has no default, or no file is where it points.
    """

    def value(match):
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise ValueError(f"{path}: the environment variable {name} is not set")
        return found

    found = folder / VARIABLE.sub(value, path)
    if (variable := VARIABLE.search(path)) and not found.exists():
        raise ValueError(
            f"no file {found}: set the environment variable {variable[1]} so that {path} exists"
        )
    return found


def read_structures(paths: Iterable[Path], elements: Sequence[str] = ()) -> list[Atoms]:
    """Read labelled structures of several files, in order.

    Parameters
    ----------
    paths : iterable of Path
    elements : sequence of str
        Names of species 0, 1, ... of formats that number them (``.cfg``).

    Raises
    ------
    ValueError
        A file is missing or unreadable, or a structure carries no energy and forces.
    """
    structures = []
    for path in map(Path, paths):
        if path.suffix == ".cfg" and mlip.recognises(path):
            frames = mlip.read_cfg(path, elements)
        else:
            frames = read_pymatgen(path) if path.suffix == ".json" else extxyz.read(path)
        for k, atoms in enumerate(frames):
            if not extxyz.is_labelled(atoms):
                raise ValueError(f"{path}: structure {k} has no label; expected energy and forces")
        structures += frames
    return structures


def read_pymatgen(path: Path) -> list[Atoms]:
    """Read a JSON list of {structure, outputs: {energy, forces, virial_stress}, group}.

    ``virial_stress`` (kbar, order xx yy zz xy yz xz, positive when the cell wants to grow) becomes
    ASE's stress; ``group`` becomes ``config_type``. This is the format of the mlearn data sets.

    Raises
    ------
    ValueError
        No such file, or another content.
    """
    try:
        entries = json.loads(path.read_text())
        return [from_pymatgen(entry) for entry in entries]
    except FileNotFoundError:
        raise ValueError(f"no file {path}") from None
    except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: not a list of structures with outputs: {type(error).__name__} {error}"
        ) from error


def from_pymatgen(entry: dict) -> Atoms:
    """Make a labelled structure of one entry."""
    sites, outputs = entry["structure"]["sites"], entry["outputs"]
    atoms = Atoms(
        symbols=[site["species"][0]["element"] for site in sites],
        positions=[site["xyz"] for site in sites],
        cell=entry["structure"]["lattice"]["matrix"],
        pbc=True,
    )
    stress = None
    if (virial := outputs.get("virial_stress")) is not None:
        xx, yy, zz, xy, yz, xz = np.array(virial) / 1602.1766208  # kbar to eV/Å³
        stress = -np.array([xx, yy, zz, yz, xz, xy])
    atoms = extxyz.labelled(atoms, outputs["energy"], outputs["forces"], stress)
    atoms.info["config_type"] = entry.get("group", "default")
    return atoms
