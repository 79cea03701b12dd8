# SPDX-License-Identifier: GPL-2.0-or-later
r"""ASE calculator of models with error bars: one model, or a committee of any families.

Energies, forces and stress are means over the members. The uncertainty of any quantity q that is linear in the
readout weights (energy, force, virial), with design-matrix row :math:`r_k` of member k, is

.. math::
    \sigma_q^2 = \frac1K\sum_k r_k^T\Sigma_k r_k + \frac1K\sum_k (q_k - \bar q)^2 ,

the law of total variance. The same numbers come out of ``pair_style uq`` in LAMMPS.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from pyuq.brief import brief
from pyuq.calibration import Recalibration
from pyuq.errors import InputError
from pyuq.models.evaluator import VOIGT, Evaluator

_BLOCK = 512  # rows whose variances are made at a time

ROW_QUANTITIES = ("forces", "stress")  # need the rows of all forces: 8·3N·M bytes, O(N M²) work


@brief("files", "forces_uncertainty", "calibration")
class UQCalculator(Calculator):
    r"""Energies, forces and stress with uncertainties.

    Parameters
    ----------
    files : str, Path or sequence of these
        Model files of any family, or their posteriors (``NAME.uq``; one that lies beside its model is found).
        Several are a committee, and so are the samples of a network. ``"FILE:Mg,Bi,Sb"`` names the species of a
        format that stores none (MTP).
    elements : sequence of str
        Names of the species of files that neither store nor are given names.
    forces_uncertainty : bool
        Compute `forces_uncertainty` and `stress_uncertainty` with every evaluation. They need the design-matrix
        rows of all forces, several times the cost of everything else; without it they are computed when asked
        for: ``calculator.get_property("forces_uncertainty", atoms)``.
    calibration : str, Path or Recalibration, optional
        Of these files, made by ``pyuq calibrate``. `energy_uncertainty`, `forces_uncertainty` and
        `stress_uncertainty` are then calibrated standard deviations (of errors against labels: learned noise is in
        them), and there are conformal intervals; what it
        saw no labels of is left out.

    Attributes
    ----------
    results : dict
        Of ASE: ``energy``, ``free_energy`` (eV), ``energies`` (N,), ``forces`` (N, 3) in eV/Å and, with a
        cell, ``stress`` (6,) in eV/Å³. Of a model with a posterior, or of a committee:

        - ``energy_uncertainty``: σ_E, eV;
        - ``energies_uncertainty`` (N,): σ_i, eV. Atomic energies of the members of a committee are counted
          from their mean over the atoms of each species of the structure: members share neither zero of energy
          nor its division among species;
        - ``bias_forces`` (N, 3): −∇σ_E, eV/Å, the force that the bias of ``fix uq/hal`` is made of;
        - ``forces_uncertainty`` (N, 3), ``stress_uncertainty`` (6,): standard deviation of each component;
        - ``energy_interval``, ``forces_interval``, ``stress_interval``, with a calibration: half widths that hold
          the error with probability 1 - α; infinite where it had too few structures.

        Of a committee of K: ``members_energy`` (K,), ``members_forces`` (K, N, 3), ``members_stress`` (K, 6).
        Of networks with a noise head: ``forces_noise`` (N,), the noise of a force component in labels, as learned
        (aleatoric; not part of the uncertainties above, which are the model's own), mean variance over members.
        Of files with an active set: ``grade`` (N,), the extrapolation grade γ; of several, the largest.

    Notes
    -----
    Copies share the models. A pickled calculator (for another process) names its files by absolute path; they must
    be there, unchanged, where it is unpickled.

    Raises
    ------
    TypeError
        A keyword that neither this class nor ASE's calculators have.
    InputError
        No file; a structure holds an element that a member does not know; or the calibration is one of other
        files, or has none of a species.
    RuntimeError
        Unreadable or inconsistent file; the message names it.
    """

    implemented_properties = [  # noqa: RUF012 (ASE's attribute)
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "energy_uncertainty",
        "energies_uncertainty",
        "bias_forces",
        "forces_uncertainty",
        "stress_uncertainty",
        "energy_interval",
        "forces_interval",
        "stress_interval",
        "members_energy",
        "members_forces",
        "members_stress",
        "forces_noise",
        "grade",
    ]

    def __init__(
        self,
        files,
        elements: Sequence[str] = (),
        forces_uncertainty: bool = True,
        calibration: "str | Path | Recalibration | None" = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        files = [files] if isinstance(files, str | Path) else list(files)
        if not files:
            raise InputError("a calculator needs at least one model file")
        loaded = [_members(file, elements) for file in files]
        _refuse_repetition(loaded)
        self.members = [member for members in loaded for member in members]
        self.forces_uncertainty = forces_uncertainty
        self.calibration = self._calibration(calibration)

    def set(self, **kwargs) -> dict:
        """Of ASE, which takes any keyword: refuse them, as none would have an effect."""
        if kwargs:
            raise TypeError(
                f"UQCalculator has no keyword {', '.join(kwargs)}; it is made with files, elements, "
                "forces_uncertainty, calibration, and ASE's restart, label, atoms, directory"
            )
        return super().set()

    def fingerprints(self) -> dict[str, str]:
        """{file name: SHA-256} of what the predictions come from."""
        return {str(m.path): m.fingerprint() for m in self.members}

    def _calibration(self, given) -> Recalibration | None:
        """Recalibration of these files and no others."""
        if given is None or isinstance(given, Recalibration):
            return given
        found = Recalibration.read(given)
        if list(found.models.values()) != list(self.fingerprints().values()):
            raise InputError(
                f"{given} was made for {', '.join(found.models)} as they were then, not for these files: run "
                "`pyuq calibrate` again"
            )
        return found

    @property
    def files(self) -> list[str]:
        """Names of the model files, in order."""
        return list(dict.fromkeys(str(member.path) for member in self.members))

    @property
    def has_uncertainty(self) -> bool:
        """Whether there is a posterior, or more than one member."""
        return len(self.members) > 1 or self.members[0].model.has_posterior

    def features(self, atoms: Atoms | None = None, member: int = 0) -> np.ndarray:
        """Features (descriptors) of each atom, shape (N, F), padded with zeros.

        Their meaning is the family's: ACE basis functions, MTP moments, hidden activations of a NEP, final scalars
        of a network.
        """
        atoms = atoms if atoms is not None else self.atoms
        if atoms is None:
            raise InputError(
                "features of which structure? Give atoms, or calculate something before"
            )
        return self.members[member].features(atoms)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        parts = [_MemberResult(member, atoms) for member in self.members]
        energy = np.array([p.energy for p in parts])
        forces = np.array([p.forces for p in parts])
        virial = np.array([p.virial for p in parts])
        self.results = {
            "energy": energy.mean(),
            "free_energy": energy.mean(),
            "energies": np.mean([p.energies for p in parts], axis=0),
            "forces": forces.mean(axis=0),
        }
        volume = atoms.cell.volume if atoms.cell.rank == 3 else None
        if volume:
            self.results["stress"] = -virial.mean(axis=0) / volume
        if len(parts) > 1:
            self.results |= {"members_energy": energy, "members_forces": forces}
            if volume:
                self.results["members_stress"] = -virial / volume
        noise = [p.noise for p in parts if p.noise is not None]
        if noise:
            self.results["forces_noise"] = np.sqrt(np.mean(noise, axis=0))
        if self.has_uncertainty:
            self._energy_uncertainty(parts)
            wanted = {f"{n}_{kind}" for n in ROW_QUANTITIES for kind in ("uncertainty", "interval")}
            if self.forces_uncertainty or wanted & set(properties):
                self._row_uncertainties(parts, volume)
            if self.calibration is not None:
                self._recalibrate(volume)
        grades = [p.grades for p in parts if p.grades is not None]
        if grades:
            self.results["grade"] = np.max(grades, axis=0)

    def _energy_uncertainty(self, parts: Sequence["_MemberResult"]) -> None:
        """σ_E, −∇σ_E and σ_i."""
        spread = np.array([p.energy for p in parts])
        spread = spread - spread.mean()
        sigma = np.sqrt(np.mean([p.variance for p in parts] + spread**2))
        bias = np.zeros((len(self.atoms), 3))
        if sigma > 0.0:  # σ = 0 is a corner without gradient
            for part, deviation in zip(parts, spread, strict=True):
                bias += part.sigma_forces(deviation) / (len(parts) * sigma)
        energies = np.array([p.energies for p in parts])
        if len(parts) > 1:
            for element in set(self.atoms.symbols):
                chosen = self.atoms.symbols == element
                energies[:, chosen] -= energies[:, chosen].mean(axis=1, keepdims=True)
        variances = np.mean([p.variances for p in parts], axis=0) + energies.var(axis=0)
        self.results |= {
            "energy_uncertainty": float(sigma),
            "energies_uncertainty": np.sqrt(variances),
            "bias_forces": bias,
        }

    def _row_uncertainties(self, parts: Sequence["_MemberResult"], volume: float | None) -> None:
        """Standard deviations of forces and stress."""
        rows = np.mean([p.row_variances() for p in parts], axis=0)
        forces = rows[:-6].reshape(-1, 3) + np.var([p.forces for p in parts], axis=0)
        self.results["forces_uncertainty"] = np.sqrt(forces)
        if volume:
            virial = rows[-6:] + np.var([p.virial for p in parts], axis=0)
            self.results["stress_uncertainty"] = np.sqrt(virial) / volume

    def _recalibrate(self, volume: float | None) -> None:
        """Calibrated standard deviations in place of predicted ones, and intervals; per atom where extensive."""
        results, n = self.results, len(self.atoms)
        kinds = {
            "energy": ("energy", n, ["all"]),
            "forces": ("force", 1.0, np.repeat(list(self.atoms.symbols), 3)),
            "stress": ("virial", n / volume if volume else 0.0, ["all"] * 6),
        }
        for name, (quantity, unit, groups) in kinds.items():
            if (sigma := results.get(f"{name}_uncertainty")) is None:
                continue
            if quantity not in self.calibration.scales:
                del results[f"{name}_uncertainty"]
                continue
            if name == "forces":
                sigma = force_deviations(results)
            flat = np.ravel(sigma) / unit
            for kind, scaled in (
                ("uncertainty", self.calibration.deviation(quantity, flat, groups)),
                ("interval", self.calibration.half_width(quantity, flat, groups)),
            ):
                value = unit * scaled.reshape(np.shape(sigma))
                results[f"{name}_{kind}"] = value if np.ndim(sigma) else float(value)


def force_deviations(results: dict) -> np.ndarray:
    """Standard deviation of each force component's error against a label, (N, 3): uncertainty and learned noise."""
    noise = results.get("forces_noise", np.zeros(len(results["forces"])))
    return np.hypot(results["forces_uncertainty"], noise[:, None])


def _members(file, elements: Sequence[str]) -> list[Evaluator]:
    """Evaluators of ``FILE`` or ``FILE:El1,El2``."""
    name, separator, names = str(file).rpartition(":")
    if separator and not Path(file).exists():
        return Evaluator.members(name, names.split(","), named=True)
    return Evaluator.members(file, elements)


def _refuse_repetition(files: Sequence[Sequence[Evaluator]]) -> None:
    """A model given twice would count twice in the mean and make the spread too small."""
    seen: dict[tuple, Path] = {}
    for first, *_ in files:
        other = seen.setdefault((first.fingerprint(), *first.elements), first.path)
        if other is not first.path:
            raise InputError(
                f"{other} and {first.path} are the same model; members of a committee must differ: name each once"
            )


class _MemberResult:
    """One member on one structure: its mean prediction, and what the uncertainty is made of.

    Attributes
    ----------
    energy, energies, forces, virial
        As of :meth:`pyuq.models.evaluator.Evaluator.compute`.
    variance : float
        Φ·ΣΦ, eV².
    variances : ndarray, shape (N,)
        φ_i·Σφ_i, eV².
    grades : ndarray, shape (N,), or None
    noise : ndarray, shape (N,), or None
        Learned variance of a force component in labels, (eV/Å)².
    """

    def __init__(self, member: Evaluator, atoms: Atoms):
        self.model = model = member.model
        self.natoms = len(atoms)
        self.view, self.owner = member.neighbors(atoms)
        result = model.evaluate(self.view)
        self.energy = result["energy"]
        self.energies = result["energies"][: self.natoms]
        self.forces = self._folded(result["forces"])
        self.virial = result["virial"][list(VOIGT)]
        self.variance, self.variances, self._product = 0.0, np.zeros(self.natoms), None
        self.grades = model.grades(self.view) if model.has_grades else None
        self.noise = model.noise(self.view)[: self.natoms] if model.has_noise else None
        if model.has_posterior:
            features, total = model.features(self.view)
            variance, self._product = model.variance(total)
            self.variance = max(variance, 0.0)
            species = self.view.species[: self.natoms]
            for z in np.unique(species):
                chosen = species == z
                self.variances[chosen] = model.variances(int(z), features[chosen])[0].clip(min=0.0)

    def _folded(self, forces: np.ndarray) -> np.ndarray:
        """Forces on atoms and ghosts, booked on the atoms, (N, 3)."""
        folded = np.zeros((self.natoms, 3))
        np.add.at(folded, self.owner, forces)
        return folded

    def sigma_forces(self, spread: float) -> np.ndarray:
        """−½∇(Φ·ΣΦ) − spread ∇E, (N, 3), eV²/Å; `spread` is E less the committee's mean."""
        weights = spread * self.model.weights
        if self._product is not None:
            weights += self._product
        return self._folded(self.model.evaluate(self.view, weights, fixed=spread)["forces"])

    def row_variances(self) -> np.ndarray:
        """Variances of forces (eV/Å)² and virial (eV²) by the posterior, shape (3N + 6,)."""
        variances = np.zeros(3 * self.natoms + 6)
        if self.model.has_posterior:
            rows = self.model.jacobian(self.view, self.owner, self.natoms)
            for start in range(0, len(rows), _BLOCK):
                block = slice(start, start + _BLOCK)
                variances[block] = self.model.row_variances(rows[block])
        return variances.clip(min=0.0)
