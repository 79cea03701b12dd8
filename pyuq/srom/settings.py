# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``srom.toml`` says: a strict table for each part of the study."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path

from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.io.identity import hash_file
from pyuq.lmp import quoted
from pyuq.settings import (
    assign,
    check_elements,
    choose,
    from_table,
    load_toml,
    not_negative,
    positive,
)
from pyuq.srom.geometry import ALIGNMENTS


@brief()
@dataclass(frozen=True)
class Start:
    """The structure that all models start from.

    Parameters
    ----------
    structure : str
        File that ASE reads.
    elements : tuple of str
        Atom type i is ``elements[i-1]``.
    atom_style : {"atomic", "charge"}
    charges, masses : dict of str to float
        By element, e and g/mol; defaults 0 and the standard masses.
    model : str
        Label of the model whose dynamics equilibrates the structure; default: the first.
    """

    structure: str
    elements: tuple[str, ...]
    atom_style: str = "atomic"
    charges: dict[str, float] = field(default_factory=dict)
    masses: dict[str, float] = field(default_factory=dict)
    model: str = ""

    def __post_init__(self):
        choose("atom_style", self.atom_style, ("atomic", "charge"))
        if len(set(self.elements)) < len(self.elements) or not self.elements:
            raise InputError(f"elements = {list(self.elements)}; expected one or more, each once")
        check_elements(self.elements)
        for element in (*self.masses, *self.charges):
            choose("element of masses or charges", element, self.elements)
        positive(**{f"masses.{e}": m for e, m in self.masses.items()})
        for element, charge in self.charges.items():
            if not isfinite(charge):
                raise InputError(f"charges.{element} = {charge}; expected a finite number")


@brief()
@dataclass(frozen=True)
class Model:
    """One of the potentials that disagree.

    Parameters
    ----------
    label : str
        For tables and file names.
    potential : str
        File for ``pair_style uq``, with ``:El1,El2`` behind it where the file names no species; or
    commands : tuple of str
        LAMMPS commands of any pair style; ``${here}`` stands for the folder of ``srom.toml``.
    files : tuple of str
        Files that the commands read: their content is part of the model's hash.
    """

    label: str
    potential: str = ""
    commands: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self):
        named = self.label and all(c.isalnum() or c in "._+-" for c in self.label)
        if not named or self.label == "global":  # the name of the joint basis
            raise InputError(
                f"label = {self.label!r}; expected letters, digits, '.', '_', '+', '-', and not 'global'"
            )
        if bool(self.potential) == bool(self.commands):
            raise InputError(f"model {self.label}: expected either `potential` or `commands`")

    def pair_commands(self, here: str, elements: tuple[str, ...]) -> tuple[str, ...]:
        """LAMMPS commands that define the forces; `here` is the folder of ``srom.toml``.

        Raises
        ------
        InputError
            LAMMPS could not read the name of the folder.
        """
        if self.commands:
            plain = re.fullmatch(r"[A-Za-z0-9_./+@=-]+", here)
            if not plain and any("${here}" in c for c in self.commands):
                raise InputError(
                    f"model {self.label}: ${{here}} would be {here!r}, which LAMMPS may not read as one name; expected "
                    "letters, digits and _ . / + @ = -. Choose a `folder` beside srom.toml, or rename those above it"
                )
            return tuple(c.replace("${here}", here) for c in self.commands)
        return (
            "pair_style      uq",
            f"pair_coeff      * * {quoted(Path(here, self.potential))} {' '.join(elements)}",
        )

    def sha256(self, folder: Path) -> str:
        """Hash of the commands and of the files behind them.

        Raises
        ------
        InputError
            A file is not there.
        """
        digest = hashlib.sha256("\n".join(self.commands).encode())
        potential, _, species = self.potential.partition(":")
        digest.update(species.encode())
        for name in filter(None, (potential, *self.files)):
            if not (folder / name).is_file():
                raise InputError(f"no file {folder / name}, which model {self.label} names")
            digest.update(hash_file(folder / name).encode())
        return digest.hexdigest()


@brief()
@dataclass(frozen=True)
class MD:
    """Dynamics, in metal units.

    Parameters
    ----------
    temperatures : tuple of float
        K; the whole study is made at each.
    timestep : float
        ps.
    equilibration : int
        Steps from the structure to the common start.
    steps : int
        Of every run that is analysed.
    every : int
        Steps from one snapshot to the next.
    thermostat : {"nvt", "langevin", "none"}
    damp : float
        Relaxation time, ps.
    seed : int
        Of the velocities: the same for all models.
    """

    temperatures: tuple[float, ...]
    timestep: float = 0.001
    equilibration: int = 2000
    steps: int = 20000
    every: int = 20
    thermostat: str = "nvt"
    damp: float = 0.1
    seed: int = 1

    def __post_init__(self):
        choose("thermostat", self.thermostat, ("nvt", "langevin", "none"))
        if not self.temperatures:
            raise InputError("temperatures = []; expected at least one, K")
        positive(**{f"temperatures[{k}]": t for k, t in enumerate(self.temperatures)})
        if len({f"{t:g}" for t in self.temperatures}) < len(self.temperatures):
            raise InputError(f"temperatures = {list(self.temperatures)}; expected different ones")
        positive(timestep=self.timestep, steps=self.steps, every=self.every, damp=self.damp)
        positive(seed=self.seed)
        not_negative(equilibration=self.equilibration)
        if self.steps < 10 * self.every:
            raise InputError(f"steps = {self.steps} give too few snapshots every {self.every}")


@brief()
@dataclass(frozen=True)
class Runs:
    """How the simulations are executed.

    Parameters
    ----------
    ranks : int
        MPI ranks of a simulation.
    parallel : int, optional
        Simulations at a time; default: as many as there are processors.
    timeout : float
        Longest time of a simulation, s.
    keep : bool
        Keep the trajectories of samples once they are analysed.
    """

    ranks: int = 1
    parallel: int | None = None
    timeout: float = 86400.0
    keep: bool = False

    def __post_init__(self):
        positive(ranks=self.ranks, parallel=self.parallel)
        if not self.timeout > 0:
            raise InputError(f"timeout = {self.timeout}; expected a number above 0")


@brief()
@dataclass(frozen=True)
class BasisTable:
    """Reduced bases.

    Parameters
    ----------
    modes : int
        n.
    weighting, momenta
        See :class:`pyuq.srom.snapshots.SnapshotMatrix`.
    free : tuple of str
        Elements that are left unreduced.
    replicas : int
        Trajectories of each model, with velocities of different seeds. The bases come from the first; the distance
        to the others is the noise floor.
    method : {"auto", "thin", "randomized"}
        See :func:`pyuq.srom.pod.pod`.
    """

    modes: int
    weighting: str = "mass"
    momenta: float | None = None
    free: tuple[str, ...] = ()
    replicas: int = 2
    method: str = "auto"

    def __post_init__(self):
        choose("weighting", self.weighting, ("mass", "none"))
        choose("method", self.method, ("auto", "thin", "randomized"))
        positive(modes=self.modes, replicas=self.replicas)
        not_negative(momenta=self.momenta)


@brief()
@dataclass(frozen=True)
class SamplerTable:
    """Random bases.

    Parameters
    ----------
    kind : {"riemannian", "ppca", "npm"}
        Between the models; or around one of them: random mixtures of its snapshots, a random field.
    samples : int
    seed : int
    base : {"global", "karcher"}
        Base point: POD of all snapshots together, or the Riemannian centre of the models' bases.
    align : {"procrustes", "sign", "none"}
    concentration : float or "fit"
        a₀; ``fit`` matches the spread of the models.
    split : {"none", "low", "high"}
        Which block of modes is randomised: all, or those below or above `cutoff`.
    cutoff : float, optional
        THz; default: the median centroid of the base's modes.
    force_model : str
        Whose forces drive a sample: that of its ``largest`` weight, one ``drawn`` with the weights as
        probabilities, or the model of this label.
    model : str
        Label of the model of ``ppca`` and ``npm``; default: the first.
    beta : int or "fit"
        Of ``ppca``.
    spread, length : float
        Of ``npm``: size of the fluctuation, correlation length (Å).
    """

    kind: str = "riemannian"
    samples: int = 50
    seed: int = 1
    base: str = "global"
    align: str = "procrustes"
    concentration: float | str = 1.0
    split: str = "none"
    cutoff: float | None = None
    force_model: str = "largest"
    model: str = ""
    beta: int | str = "fit"
    spread: float = 0.3
    length: float = 0.0

    def __post_init__(self):
        choose("kind", self.kind, ("riemannian", "ppca", "npm"))
        choose("base", self.base, ("global", "karcher"))
        choose("align", self.align, ALIGNMENTS)
        choose("split", self.split, ("none", "low", "high"))
        positive(samples=self.samples, concentration=self.concentration, beta=self.beta)
        positive(cutoff=self.cutoff, spread=self.spread)
        not_negative(seed=self.seed, length=self.length)
        for name in ("concentration", "beta"):
            if isinstance(value := getattr(self, name), str):
                choose(name, value, ("fit",))
        if self.kind != "riemannian" and self.split != "none":
            raise InputError(f"split = {self.split!r} belongs to kind = 'riemannian'")


@brief()
@dataclass(frozen=True)
class Propagation:
    """Reduced dynamics of the samples.

    Parameters
    ----------
    steps : int, optional
        Default: as many as the snapshots: predictions stay inside the training window.
    repeats : int
        Reduced runs of every model in its own basis, with different velocities: their scatter shows the error of one
        run as it is, whatever the run itself claims. 0: none.
    convergence : tuple of int
        Numbers of modes at which the first model is run for D(n); they may exceed that of the samples.
    """

    steps: int | None = None
    repeats: int = 3
    convergence: tuple[int, ...] = ()

    def __post_init__(self):
        positive(steps=self.steps)
        positive(**{f"convergence[{k}]": n for k, n in enumerate(self.convergence)})
        not_negative(repeats=self.repeats)


@brief()
@dataclass(frozen=True)
class DiffusionTable:
    """What is read from the trajectories.

    Parameters
    ----------
    species : str
        Element that diffuses.
    framework : tuple of str
        Elements at whose centre the frame of reference lies; default: all others.
    first, last : float, optional
        Lags between which the MSD is fitted, ps, the same for all runs so that they can be compared; default: as the
        data of each run tell, up to a quarter of it.
    """

    species: str
    framework: tuple[str, ...] = ()
    first: float | None = None
    last: float | None = None

    def __post_init__(self):
        positive(first=self.first, last=self.last)
        if (self.first or 0.0) >= (self.last or inf):
            raise InputError(f"first = {self.first}, last = {self.last}; expected first < last, ps")


@brief()
@dataclass(frozen=True)
class Settings:
    """Content of ``srom.toml``; file names are relative to it.

    Parameters
    ----------
    start, models, md, basis, diffusion, sampler, propagate, runs
        The tables.
    name : str
        Of the ensemble's file.
    folder : str
        Where results go.
    trajectories : str
        Folder of another study whose start and snapshots are taken; default: `folder`.
    """

    start: Start
    models: tuple[Model, ...]
    md: MD
    basis: BasisTable
    diffusion: DiffusionTable
    name: str = "srom"
    folder: str = "srom"
    trajectories: str = ""
    sampler: SamplerTable = field(default_factory=SamplerTable)
    propagate: Propagation = field(default_factory=Propagation)
    runs: Runs = field(default_factory=Runs)

    def __post_init__(self):
        labels = self.labels
        if len(set(labels)) < len(labels) or not labels:
            raise InputError(
                f"models have the labels {labels}; expected one or more, all different"
            )
        if self.sampler.kind == "riemannian" and len(labels) < 2:
            raise InputError(
                "a riemannian sampler lies between two or more models; with one, use kind = 'ppca' or 'npm'"
            )
        named = {"start.model": self.start.model, "sampler.model": self.sampler.model}
        if self.sampler.force_model not in ("largest", "drawn"):
            named["sampler.force_model"] = self.sampler.force_model
        for name, label in named.items():
            if label:
                choose(name, label, tuple(labels))
        steps = min(self.md.steps, self.propagate.steps or self.md.steps)
        longest = steps * self.md.timestep
        for name in ("first", "last"):
            if (lag := getattr(self.diffusion, name)) is not None and lag >= longest:
                raise InputError(
                    f"diffusion.{name} = {lag} ps, but the runs last {longest:g} ps; expected a lag well below that"
                )
        elements = self.start.elements
        for element in (self.diffusion.species, *self.diffusion.framework, *self.basis.free):
            choose("element", element, elements)

    @property
    def labels(self) -> list[str]:
        """Labels of the models."""
        return [m.label for m in self.models]

    def index(self, label: str) -> int:
        """Position of a model; of the first for an empty label."""
        return self.labels.index(label) if label else 0


@brief()
@dataclass(frozen=True)
class Study:
    """Settings and the folders they refer to."""

    settings: Settings
    here: Path

    @property
    def folder(self) -> Path:
        """Where results go."""
        return self.here / self.settings.folder

    def case(self, temperature: float) -> "Case":
        """Return the part of the study at one temperature."""
        return Case(self, temperature)

    @property
    def cases(self) -> "list[Case]":
        """The study at each temperature."""
        return [self.case(t) for t in self.settings.md.temperatures]


@brief()
@dataclass(frozen=True)
class Case:
    """The study at one temperature: names of its files."""

    study: Study
    temperature: float

    @property
    def settings(self) -> Settings:
        """Settings of the study."""
        return self.study.settings

    @property
    def folder(self) -> Path:
        """Folder of the study at this temperature."""
        return self.study.folder / f"{self.temperature:g}K"

    @property
    def trajectories(self) -> Path:
        """Folder of start and snapshots."""
        settings = self.settings
        return self.study.here / (settings.trajectories or settings.folder) / self.folder.name

    @property
    def start(self) -> Path:
        """Data file of the common start."""
        return self.trajectories / "start.data"

    def snapshots(self, label: str, replica: int) -> Path:
        """Folder of a trajectory."""
        return self.trajectories / "snapshots" / f"{label}-{replica}.snap"

    def basis(self, label: str) -> Path:
        """Basis of a model."""
        return self.folder / f"{label}.rom"

    @property
    def ensemble(self) -> Path:
        """The sampler and its draws."""
        return self.folder / f"{self.settings.name}.srom"

    @property
    def summary(self) -> Path:
        """What `build` found."""
        return self.folder / "build.json"

    def run(self, name: str) -> Path:
        """Folder of a reduced simulation."""
        return self.folder / "runs" / name


def load_study(path, assignments: Iterable[str] = ()) -> Study:
    """Read ``srom.toml``.

    Parameters
    ----------
    path : str or Path
    assignments : iterable of str
        Settings to change: ``basis.modes=40``.

    Raises
    ------
    InputError
        A mistake in the file; the message names file, table and key.
    """
    path = Path(path)
    table = load_toml(path)
    assign(table, assignments)
    return Study(from_table(Settings, table, str(path)), path.parent.resolve())
