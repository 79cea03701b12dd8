# SPDX-License-Identifier: GPL-2.0-or-later
r"""When a frame is to be labelled: its energy or a force may be wrong by more than the user allows.

What a walker sees in LAMMPS is σ_E, and :math:`|\nabla_i\sigma_E|` of each atom. The error behind them also holds what
the features cannot describe: the noise that the fit finds, added in square. How large errors then are is learnt from
those of new labels, of the energy and of the forces on each species (:class:`pyuq.calibration.StudentScale`): any
model with error bars can drive the loop.
"""

from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.calibration import Recalibration, StudentScale
from pyuq.errors import InputError
from pyuq.hal.settings import Stop

START_LABELS = 10.0  # that a calibration counts for at most: the potentials of the loop are others
SMALLEST = 1e-6  # of the largest |∇σ_E| of a structure: what symmetry makes zero

# {"energy" or species: parameters of a StudentScale}; without a floor, which a calibration brings, it is the noise.
Beliefs = dict[str, dict[str, float]]


def start_beliefs(path: Path | None, elements: Sequence[str]) -> Beliefs:
    """Beliefs that a loop starts from: doubtful, or those of ``NAME.calibration.json``.

    Raises
    ------
    InputError
        The calibration holds neither the energy nor a species.
    """
    if path is None:
        return {}
    scales = Recalibration.read(path).scales
    found = {e: one for e, one in scales.get("gradient", {}).items() if e in elements}
    if "energy" in scales:
        found["energy"] = scales["energy"]["all"]
    if not found:
        raise InputError(f"{path} holds no calibration of the energy or of {', '.join(elements)}")
    return {key: asdict(one.student.tempered(START_LABELS)) for key, one in found.items()}


def energy_limit(stop: Stop, beliefs: Beliefs, noise: float) -> float:
    """σ_E, eV/atom, above which the energy may be wrong by more than `energy_error`; infinite without.

    noise: of the energy of the structure, eV/atom. 0 is returned where it alone is too much.
    """
    if stop.energy_error is None:
        return inf
    return _belief(beliefs, "energy", noise).largest_sigma(stop.energy_error, stop.confidence)


def force_limits(
    stop: Stop, beliefs: Beliefs, noise: float, elements: Sequence[str]
) -> dict[str, float]:
    """{species: length of ∇_i σ_E above which a force component may be wrong by more than `force_error`}, eV/Å.

    noise: of a force component, eV/Å.
    """
    allowed = stop.force_error
    if allowed is None:
        return {}
    if not isinstance(allowed, dict):
        allowed = dict.fromkeys(elements, allowed)
    return {
        species: _belief(beliefs, species, noise).largest_sigma(error, stop.confidence)
        for species, error in allowed.items()
    }


def learn_energies(
    beliefs: Beliefs,
    errors: np.ndarray,
    sigmas: np.ndarray,
    noises: np.ndarray,
    memory: float = inf,
) -> Beliefs:
    """Take in the energy errors of new labels, σ_E and noise, eV/atom, predicted before they were learnt.

    memory: :attr:`pyuq.hal.settings.Stop.memory`.
    """
    found = dict(beliefs)
    for error, sigma, noise in zip(errors, sigmas, noises, strict=True):
        belief = _belief(found, "energy", noise).discounted(1.0 - 1.0 / memory)
        scale = belief.update([error], [sigma])
        found["energy"] = _kept(scale, beliefs, "energy")
    return found


def learn_forces(
    beliefs: Beliefs,
    atoms: Atoms,
    errors: np.ndarray,
    sigmas: np.ndarray,
    noise: float,
    memory: float = inf,
) -> Beliefs:
    """Take in the force errors of a new label; those on one species count as one label, as they resemble each other.

    Parameters
    ----------
    beliefs : dict
    atoms : Atoms
    errors : ndarray, shape (N, 3)
        eV/Å.
    sigmas : ndarray, shape (N,)
        Length of ∇_i σ_E, eV/Å.
    noise : float
        Of a force component, eV/Å.
    memory : float
        See :attr:`pyuq.hal.settings.Stop.memory`.
    """
    sigmas = np.maximum(sigmas, max(SMALLEST * sigmas.max(), 1e-300))
    found, symbols = dict(beliefs), np.array(atoms.get_chemical_symbols())
    for species in map(str, np.unique(symbols)):
        mine = symbols == species
        belief = _belief(beliefs, species, noise).discounted(1.0 - 1.0 / memory)
        scale = belief.update(
            errors[mine].ravel(), np.repeat(sigmas[mine], 3), weight=1.0 / (3 * mine.sum())
        )
        found[species] = _kept(scale, beliefs, species)
    return found


def factors(beliefs: Beliefs) -> dict[str, float]:
    """Columns of the history: factor on the error bars of the energy, and the largest one of the species' forces."""
    scales = {key: StudentScale(**value).scale for key, value in beliefs.items()}
    forces = [scale for key, scale in scales.items() if key != "energy"]
    found = {"scale": scales["energy"]} if "energy" in scales else {}
    return found | ({"force_scale": max(forces)} if forces else {})


def _belief(beliefs: Beliefs, key: str, noise: float) -> StudentScale:
    return StudentScale(**({"floor": float(noise)} | beliefs.get(key, {})))


def _kept(scale: StudentScale, beliefs: Beliefs, key: str) -> dict[str, float]:
    """Parameters that are kept: the noise belongs to the next fit."""
    values = asdict(scale)
    if "floor" not in beliefs.get(key, {}):
        del values["floor"]
    return values
