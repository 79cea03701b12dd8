# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``hal.toml`` says: a strict table for each part of the loop."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.fit_settings import FitSettings, RepulsionSettings, Solver, Weights
from pyuq.inference.pops import UNCERTAINTIES
from pyuq.io.masses import refuse_wrong_masses
from pyuq.potentials.families import FAMILIES, basis_from_table
from pyuq.provenance import record
from pyuq.settings import (
    assign,
    check_elements,
    check_name,
    choose,
    from_table,
    limits,
    load_toml,
    not_negative,
    positive,
)

Ramp = float | tuple[float, float]

# Keys that may change between two calls on one run folder: they do not change what a run computes, only
# how far it goes and how it is executed.
FREE = (
    "folder",
    "loop.iterations",
    "loop.fruitless",
    "loop.labels",
    "loop.parallel",
    "labels.workers",
    "labels.timeout",
    "labels.retries",
    "labels.wait",
    "md.timeout",
)


@brief()
@dataclass(frozen=True)
class Override:
    """Conditions of the walkers that start from one structure (counted from 0)."""

    structure: int
    temperature: Ramp | None = None
    pressure: Ramp | None = None
    tau_rel: Ramp | None = None
    steps: int | None = None


@brief()
@dataclass(frozen=True)
class Start:
    """Start structures; those without energy and forces are labelled first."""

    structures: tuple[str, ...]
    overrides: tuple[Override, ...] = ()


@brief()
@dataclass(frozen=True)
class Labels:
    """The reference method.

    Parameters
    ----------
    kind : {"lammps", "ase", "files"}
    commands, atom_style, unit_style, charges, masses
        Of kind ``lammps``; see :class:`pyuq.labels.reference.LammpsReference`.
    calculator, arguments
        Of kind ``ase``; see :class:`pyuq.labels.reference.AseReference`.
    folder, wait
        Of kind ``files``; see :class:`pyuq.labels.FileLabeller`. The folder is relative to the run folder.
    workers, timeout, retries, max_force
        See :class:`pyuq.labels.PoolLabeller`.
    """

    kind: str
    commands: tuple[str, ...] = ()
    atom_style: str = "atomic"
    unit_style: str = "metal"
    charges: dict[str, float] = field(default_factory=dict)
    masses: dict[str, float] = field(default_factory=dict)
    calculator: str = ""
    arguments: dict = field(default_factory=dict)
    folder: str = "labels"
    wait: float = 0.0
    workers: int = 1
    timeout: float = 600.0
    retries: int = 1
    max_force: float = 100.0

    def __post_init__(self):
        choose("kind", self.kind, ("lammps", "ase", "files"))
        choose("atom_style", self.atom_style, ("atomic", "charge"))
        choose("unit_style", self.unit_style, ("metal", "real"))
        refuse_wrong_masses(list(self.masses), list(self.masses.values()), "masses")
        positive(workers=self.workers)
        limits(timeout=self.timeout, max_force=self.max_force)
        if self.kind == "lammps" and not self.commands:
            raise InputError("kind = 'lammps' needs `commands` (pair_style, pair_coeff)")
        if self.kind == "ase" and ":" not in self.calculator:
            raise InputError(f"calculator = '{self.calculator}'; expected 'module:attribute'")


@brief()
@dataclass(frozen=True)
class MD:
    """Dynamics of a walker, in metal units; pressures in GPa.

    Parameters
    ----------
    temperature : float or (first, last)
        K; a pair is a ramp.
    pressure : float or (first, last), optional
        GPa; makes the cell move.
    ensemble : {"langevin", "nvt", "npt"}
        ``langevin`` with a pressure: Langevin thermostat with the barostat of ``fix nph``.
    barostat : {"iso", "aniso", "tri"}
    timestep : float
        ps.
    steps : int
        Longest run of a walker.
    thermostat_damp, barostat_damp : float
        Relaxation times, ps.
    ramp : {"iterations", "steps"}
        A ramp of temperature and pressure runs over ``ramp_iterations`` iterations, or over the steps of
        each walker.
    ramp_iterations : int
    swap_every : int
        Steps between swap attempts of unlike atoms, 0: none.
    swap_attempts : int
        For each pair of elements.
    commands : tuple of str
        Further LAMMPS commands, just before ``run``.
    timeout : float
        Longest time of a walker, s.
    """

    temperature: Ramp
    pressure: Ramp | None = None
    ensemble: str = "langevin"
    barostat: str = "iso"
    timestep: float = 0.001
    steps: int = 2000
    thermostat_damp: float = 0.1
    barostat_damp: float = 1.0
    ramp: str = "iterations"
    ramp_iterations: int = 20
    swap_every: int = 0
    swap_attempts: int = 1
    commands: tuple[str, ...] = ()
    timeout: float = 3600.0

    def __post_init__(self):
        choose("ensemble", self.ensemble, ("langevin", "nvt", "npt"))
        choose("barostat", self.barostat, ("iso", "aniso", "tri"))
        choose("ramp", self.ramp, ("iterations", "steps"))
        positive(temperature=min(ends(self.temperature)), timestep=self.timestep, steps=self.steps)
        positive(thermostat_damp=self.thermostat_damp, barostat_damp=self.barostat_damp)
        if self.ensemble == "npt" and self.pressure is None:
            raise InputError("ensemble = 'npt' needs `pressure`")
        if self.ensemble == "nvt" and self.pressure is not None:
            raise InputError("ensemble = 'nvt' has no pressure; expected 'npt' or 'langevin'")


@brief()
@dataclass(frozen=True)
class Bias:
    """Biasing strength; ``tau_rel = 0`` is plain active learning with the same trigger."""

    tau_rel: Ramp = 0.2
    window: int = 100
    mode: str = "global"
    cap: float | None = None
    floor: float | None = None
    bound: float | None = None
    volume: float | None = None

    def __post_init__(self):
        choose("mode", self.mode, ("global", "local"))
        positive(window=self.window)
        if min(ends(self.tau_rel)) < 0:
            raise InputError(f"tau_rel = {self.tau_rel}; expected 0 (no bias) or more")
        if self.volume is not None and not self.volume > 1:
            raise InputError(f"volume = {self.volume}; expected a factor above 1")


@brief()
@dataclass(frozen=True)
class Stop:
    """When a walker ends.

    Parameters
    ----------
    threshold : float
        Of the largest relative force uncertainty max |F_σ,i|/(|F̄_i| + ε): the frame is labelled. ``inf``: off.
    energy_error : float, optional
        eV/atom; the frame is also labelled when its energy may be wrong by more with a probability above
        ``1 - confidence``. σ_E is recalibrated by the error of each new label
        (:class:`pyuq.calibration.StudentScale`).
    force_error : float or dict, optional
        eV/Å, for all species or {species: value}; the frame is also labelled when a force component on an atom may
        be wrong by more with a probability above ``1 - confidence``. The length of ∇_i σ_E is recalibrated by the
        errors of each new label, species by species.
    grade : float, optional
        Extrapolation grade γ (:mod:`pyuq.inference.maxvol`): the frame is also labelled when that of an atom is above.
    confidence : float
    memory : float
        Number of labels that the recalibration rests on: an error of the past counts for less with each new label, as
        the potentials that made it are gone. ``inf``: nothing is forgotten.
    calibration : str, optional
        ``NAME.calibration.json`` of ``pyuq calibrate``, relative to the TOML file: the beliefs that the
        recalibration starts from; default: doubtful ones.
    epsilon : float
        ε, eV/Å.
    every : int
        Steps from one look to the next. An uncertain walker can run away within a few steps.
    min_distance : float, optional
        Å; below it a frame is thrown away. Default: 0.6 of the shortest distance in the start structures.
    max_force : float
        eV/Å; above it a frame is thrown away.
    max_temperature : float
        As a multiple of the thermostat's; above it a frame is thrown away.
    label_final : bool
        Label the last frame of a walker that was not stopped.
    """

    threshold: float = 0.05
    energy_error: float | None = None
    force_error: float | dict[str, float] | None = None
    grade: float | None = None
    calibration: str | None = None
    confidence: float = 0.95
    memory: float = 20.0
    epsilon: float = 0.2
    every: int = 1
    min_distance: float | None = None
    max_force: float = 50.0
    max_temperature: float = 5.0
    label_final: bool = True

    def __post_init__(self):
        positive(epsilon=self.epsilon, every=self.every)
        limits(threshold=self.threshold, max_force=self.max_force)
        limits(max_temperature=self.max_temperature, grade=self.grade)
        force = self.force_error
        limits(energy_error=self.energy_error)
        limits(**(force if isinstance(force, dict) else {"force_error": force}))
        if not self.memory > 1:
            raise InputError(f"memory = {self.memory}; expected a number of labels above 1")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence = {self.confidence}; expected a number between 0 and 1")
        if self.threshold == float("inf") and not (self.energy_error or force or self.grade):
            raise InputError(
                "threshold = inf leaves no trigger; expected a number, `energy_error`, `force_error` or `grade`"
            )


@brief()
@dataclass(frozen=True)
class LoopTable:
    """How far the loop goes.

    Parameters
    ----------
    iterations : int
        Largest number of iterations.
    labels : int, optional
        Ends when the database has as many structures.
    converged : int
        Ends after as many iterations in a row in which no walker was stopped; 0: never.
    walkers : int
        For each iteration; they start from successive start structures.
    ranks : int
        MPI ranks of a walker.
    parallel : int, optional
        Walkers at a time; default: as many as there are processors (under mpirun: ranks).
    select : int, optional
        Most structures to label in an iteration; default: as many as there are walkers.
    fruitless : int
        Ends with an error, and a diagnosis, after as many iterations in a row that gave no new label though a
        walker was uncertain or discarded, or a label failed; 0: never.
    redundancy : float
        A structure is left out when those chosen before it leave less than this part of its variance.
    refit_every : int
        Iterations from one evidence fit to the next; exact updates at fixed hyperparameters between.
    seed : int
    """

    iterations: int = 100
    labels: int | None = None
    converged: int = 0
    fruitless: int = 5
    walkers: int = 1
    ranks: int = 1
    parallel: int | None = None
    select: int | None = None
    redundancy: float = 0.01
    refit_every: int = 5
    seed: int = 1

    def __post_init__(self):
        positive(iterations=self.iterations, labels=self.labels, walkers=self.walkers)
        positive(ranks=self.ranks, parallel=self.parallel, select=self.select)
        positive(refit_every=self.refit_every)
        not_negative(converged=self.converged, fruitless=self.fruitless)


@brief()
@dataclass(frozen=True)
class Test:
    """Held-out structures that are only predicted; labelled first where they carry no label."""

    structures: tuple[str, ...] = ()


@brief()
@dataclass(frozen=True)
class FixedModel:
    """A potential whose features stay as they are: only its readout is learnt.

    Parameters
    ----------
    file : str
        Native model file of any family.
    elements : tuple of str
        In the order of the file where it stores none (MTP).
    """

    file: str
    elements: tuple[str, ...]

    def __post_init__(self):
        check_elements(self.elements)


@brief()
@dataclass(frozen=True)
class Settings:
    """Content of ``hal.toml``; file names are relative to it.

    Either `basis`, of a potential that is fitted, or `model`, whose readout is.
    """

    start: Start
    labels: Labels
    md: MD
    basis: dict | None = None
    model: FixedModel | None = None
    name: str = "potential"
    folder: str = "run"
    family: str = "ace"
    bias: Bias = field(default_factory=Bias)
    stop: Stop = field(default_factory=Stop)
    loop: LoopTable = field(default_factory=LoopTable)
    test: Test = field(default_factory=Test)
    weights: Weights = field(default_factory=Weights)
    groups: dict[str, Weights] = field(default_factory=dict)
    solver: Solver = field(default_factory=Solver)
    repulsion: RepulsionSettings = field(default_factory=RepulsionSettings)
    one_body: dict[str, float] | None = None
    uncertainty: str = "bayes"  # thresholds are found for it

    def __post_init__(self):
        check_name(self.name)
        choose("uncertainty", self.uncertainty, UNCERTAINTIES)
        choose("family", self.family, FAMILIES)
        if (self.basis is None) == (self.model is None):
            raise InputError("expected one of the tables [basis] and [model]")
        if self.model is not None and (self.groups or self.one_body):
            raise InputError("[groups] and [one_body] belong to [basis]; a [model] has none")

    @property
    def fit(self) -> FitSettings:
        """The settings of the fit."""
        basis = basis_from_table(self.basis, "[basis]", self.family)
        return FitSettings(
            basis,
            self.weights,
            self.groups,
            self.solver,
            self.repulsion,
            self.one_body,
            uncertainty=self.uncertainty,
        )

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements in the order of the potential."""
        return tuple(self.model.elements if self.basis is None else self.basis["elements"])

    @property
    def potential_files(self) -> str:
        """What the fit writes, for the report."""
        posterior = f"`potential/{self.name}.uq`"
        if self.basis is None:
            return f"{posterior}, with the features of {self.model.file}"
        return f"`potential/{self.name}{self.fit.basis.suffix}`, posterior {posterior}"

    def flat(self) -> dict[str, object]:
        """Return all values by dotted key, as JSON has them."""
        return record(self)


def load_settings(path, assignments: Iterable[str] = ()) -> Settings:
    """Read ``hal.toml``.

    Parameters
    ----------
    path : str or Path
    assignments : iterable of str
        Settings to change: ``loop.seed=2``.

    Raises
    ------
    InputError
        A mistake in the file; the message names file, table and key.
    """
    table = load_toml(path)
    assign(table, assignments)
    settings = from_table(Settings, table, str(path))
    if settings.basis is not None:
        basis_from_table(settings.basis, f"{path} [basis]", settings.family)
    limits = settings.stop.force_error
    if isinstance(limits, dict) and (unknown := sorted(set(limits) - set(settings.elements))):
        raise InputError(
            f"{path} [stop] force_error: element {', '.join(unknown)}; expected of "
            f"{' '.join(settings.elements)}"
        )
    return settings


def ends(ramp: Ramp) -> tuple[float, float]:
    """First and last value."""
    return ramp if isinstance(ramp, tuple) else (ramp, ramp)


def relative_to(path: Path, names: tuple[str, ...]) -> list[Path]:
    """File names of a TOML file as paths."""
    return [path.parent / name for name in names]
