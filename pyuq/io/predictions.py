# SPDX-License-Identifier: GPL-2.0-or-later
"""Energies and forces that a model has predicted are not labels; here they are recognised and set aside.

A frame that a model has written looks like a labelled structure. Who learns from it, or judges by it, finds the model
right, with error bars of nothing. Readers therefore take predictions out of the place of labels and keep them under
names of their own, which are also those that pyuq writes: ``uq_energy`` (eV), ``uq_forces`` (eV/Å), ``uq_virial`` (eV).
"""

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms

PREFIX = "uq_"
FROM = "uq_from"  # in `info`: the mark that predictions were recognised by

CALCULATOR = "calculator "
# What only a model writes, in the comment line, as a column, or as a result of a calculator.
MARKS = (
    "uncertainty",
    "energy_uncertainty",
    "energies_uncertainty",
    "forces_uncertainty",
    "force_uncertainty",
    "stress_uncertainty",
    "bias_forces",
)
# Calculators of machine-learned models, as ASE's own formats (.traj, .json, .db) keep their names.
MODELS = re.compile(
    r"uq|mace|nequip|allegro|chgnet|m3gnet|matgl|sevenn|orb|mattersim|(cpu|gpu)?nep|pyace|grace|deepmd|dp$|schnet|"
    r"fairchem|ocp|quip|gap|mlip|mtp|snap|ani$|torchani|aimnet|alignn|pet|upet|nequix",
    re.IGNORECASE,
)


def mark(atoms: Atoms) -> str:
    """Name what tells that the energy and forces in the place of labels are a model's; empty if nothing does."""
    if atoms.calc is None and not {"energy", "force", "forces"} & {*atoms.info, *atoms.arrays}:
        return ""
    results = atoms.calc.results if atoms.calc is not None else {}
    names = {name.lower(): name for name in (*atoms.info, *atoms.arrays, *results)}
    if found := next((names[m] for m in MARKS if m in names), ""):
        return f"{found}="
    if "MTP" in str(atoms.info.get("EFS_by", "")):
        return f"EFS_by={atoms.info['EFS_by']}"
    name = str(getattr(atoms.calc, "name", None) or "")
    return f"{CALCULATOR}{name}" if MODELS.match(name) else ""


def set_apart(atoms: Atoms, reason: str) -> Atoms:
    """Copy a structure without its labels, which are kept as predictions.

    Parameters
    ----------
    atoms : Atoms
    reason : str
        See :func:`mark`.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    bare = atoms.copy()  # without its calculator
    for name in ("energy", "virial"):
        if (value := bare.info.pop(name, results.get(name))) is not None:
            bare.info[PREFIX + name] = value
    if (stress := bare.info.pop("stress", results.get("stress"))) is not None:
        bare.info[f"{PREFIX}stress"] = stress
    forces = bare.arrays.pop("forces", bare.arrays.pop("force", results.get("forces")))
    if forces is not None:
        bare.arrays[f"{PREFIX}forces"] = np.asarray(forces)
    for held in (bare.info, bare.arrays):
        for name in [name for name in held if name.lower() in MARKS]:
            held[PREFIX + name.lower()] = held.pop(name)
    bare.info.pop("Time", None)
    bare.info[FROM] = reason
    return bare


def told(atoms: Atoms) -> str:
    """End of a sentence on predictions that a structure carries; empty if it carries none."""
    if not any(str(name).startswith(PREFIX) for name in (*atoms.info, *atoms.arrays)):
        return ""
    reason = atoms.info.get(FROM, f"{PREFIX}energy")
    mend = "if it has been, take that mark out of the file"
    if reason.startswith(CALCULATOR):
        mend = "if that model is the reference, write its labels as extended XYZ"
    elif reason.startswith(PREFIX):
        mend = "its energy and forces then go beside, under these names"
    return (
        f"its energy and forces are a model's own, as {reason} tells: predictions, not labels. Have the structure "
        f"labelled by the reference method; {mend}"
    )


def count_told(frames: Sequence[Atoms]) -> str:
    """Sentence on those of some frames whose only energy and forces are predictions; empty if there are none."""
    bare = [
        atoms
        for atoms in frames
        if told(atoms) and (atoms.calc is None or "energy" not in atoms.calc.results)
    ]
    if not bare:
        return ""
    reason = bare[0].info.get(FROM, f"{PREFIX}energy")
    return (
        f"{len(bare)} of {len(frames)} structures carry energies and forces that are a model's own, as {reason} tells: "
        "these are no labels, and the structures are labelled anew"
    )
