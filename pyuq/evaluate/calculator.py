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
from pyuq.evaluate.committee import Committee, Members
from pyuq.evaluate.evaluator import Evaluator
from pyuq.io.masses import refuse_wrong_masses

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
        format that stores none (MTP), ``"FILE:gpumd=5.3"`` the version of GPUMD that wrote a nep.txt which does not
        tell it.
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
        No file; a structure holds an element that a member does not know, or masses that are other elements'; or the
        calibration is one of other files, or has none of a species.
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
        loaded = [Evaluator.members(file, elements) for file in files]
        _refuse_repetition(loaded)
        self.committee = Committee([member for members in loaded for member in members])
        self.forces_uncertainty = forces_uncertainty
        self.calibration = self._calibration(calibration)

    def set(self, **kwargs) -> dict:
        """Refuse keywords: ASE lets a calculator take any, but none would have an effect here.

        Raises
        ------
        TypeError
            A keyword was given.
        """
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
    def members(self) -> tuple[Evaluator, ...]:
        """The models."""
        return self.committee.members

    @property
    def files(self) -> list[str]:
        """Names of the model files, in order."""
        return list(dict.fromkeys(str(member.path) for member in self.members))

    @property
    def has_uncertainty(self) -> bool:
        """Whether there is a posterior, or more than one member."""
        return self.committee.has_uncertainty

    def features(self, atoms: Atoms | None = None, member: int = 0) -> np.ndarray:
        """Features (descriptors) of each atom, shape (N, F), padded with zeros.

        Their meaning is the family's: ACE basis functions, MTP moments, hidden activations of a NEP, final scalars
        of a network.

        Raises
        ------
        InputError
            No structure was given, and none was calculated before.
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
        if atoms.has("masses"):
            masses = sorted(set(zip(atoms.symbols, atoms.get_masses(), strict=True)))
            refuse_wrong_masses(*zip(*masses, strict=True), f"masses of {atoms.symbols}")
        committee, n = self.committee, len(atoms)
        view = committee.neighbors(atoms)
        found = committee.predict(atoms, view)
        self.results = {
            "energy": found.energy.mean(),
            "free_energy": found.energy.mean(),
            "energies": found.energies.mean(axis=0),
            "forces": found.forces.mean(axis=0),
        }
        volume = atoms.cell.volume if atoms.cell.rank == 3 else None
        if volume:
            self.results["stress"] = -found.virial.mean(axis=0) / volume
        if len(committee) > 1:
            self.results |= {"members_energy": found.energy, "members_forces": found.forces}
            if volume:
                self.results["members_stress"] = -found.virial / volume
        if committee.has_noise:
            self.results["forces_noise"] = committee.noise(atoms, view)
        if n and (self.has_uncertainty or committee.has_grades):
            sigma_atoms, grades = committee.atomic(atoms, view)
            if grades is not None:
                self.results["grade"] = grades
        if self.has_uncertainty:
            energy = committee.uncertainty(atoms, view)
            self.results |= {
                "energy_uncertainty": energy.sigma,
                "energies_uncertainty": sigma_atoms if n else np.zeros(0),
                "bias_forces": energy.forces,
            }
            wanted = {f"{n}_{kind}" for n in ROW_QUANTITIES for kind in ("uncertainty", "interval")}
            if self.forces_uncertainty or wanted & set(properties):
                self._row_uncertainties(found, volume)
            if self.calibration is not None:
                self._recalibrate(volume)

    def _row_uncertainties(self, found: Members, volume: float | None) -> None:
        """Standard deviations of forces and stress."""
        rows = np.mean([_row_variances(member, self.atoms) for member in self.members], axis=0)
        forces = rows[:-6].reshape(-1, 3) + found.forces.var(axis=0)
        self.results["forces_uncertainty"] = np.sqrt(forces)
        if volume:
            virial = rows[-6:] + found.virial.var(axis=0)
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


def _refuse_repetition(files: Sequence[Sequence[Evaluator]]) -> None:
    """A model given twice would count twice in the mean and make the spread too small."""
    seen: dict[tuple, Path] = {}
    for first, *_ in files:
        other = seen.setdefault((first.fingerprint(), *first.elements), first.path)
        if other is not first.path:
            raise InputError(
                f"{other} and {first.path} are the same model; members of a committee must differ: name each once"
            )


def _row_variances(member: Evaluator, atoms: Atoms) -> np.ndarray:
    """Variances of forces (eV/Å)² and virial (eV²) by a member's posterior, shape (3N + 6,)."""
    variances = np.zeros(3 * len(atoms) + 6)
    if member.model.has_posterior:
        view, owner = member.neighbors(atoms)
        rows = member.model.jacobian(view, owner, len(atoms))
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            variances[block] = member.model.row_variances(rows[block])
    return variances.clip(min=0.0)
