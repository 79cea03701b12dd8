# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq quickstart``: from ten structures to a diffusivity with error bars, where the truth is known.

A classical potential of superionic α-AgI plays the role of DFT. It labels what hyperactive learning finds, and
at the end tells how far the learned potential's silver diffusivity is from its own.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyuq import lmp, log, systems
from pyuq.brief import brief
from pyuq.diffusion import Diffusivity, remove_drift, self_diffusivity
from pyuq.errors import InputError, RunError
from pyuq.io import extxyz
from pyuq.io.files import (
    Lock,
    atomic_write,
    check_folder,
    read_json,
    sync_files,
    write_json,
    write_text,
)
from pyuq.io.lammps_data import write_data
from pyuq.io.trajectory import read_trajectory
from pyuq.jobs import check_dump, launch
from pyuq.provenance import require_same

if TYPE_CHECKING:
    from pyuq.srom.report import Findings

TEMPERATURE = 700.0  # K
TIMESTEP = 0.002  # ps
DUMP_EVERY = 20  # steps
TIMEOUT = 86400.0  # s, of a production run


@brief()
@dataclass(frozen=True)
class Size:
    """How much is computed.

    Attributes
    ----------
    starts, tests : int
        Structures before HAL, and held out.
    labels : int
        Structures at the end of HAL.
    steps : int
        Longest HAL run of a walker.
    cells : int
        Cubic cells along each edge in production.
    production, equilibration : int
        Steps.
    degree : str
        Of the basis, as in the TOML file.
    level : int
        Of the moment tensor potential.
    srom_cells, srom_steps, srom_every, modes, samples : int
        Of the stochastic reduced-order model: cubic cells along each edge, steps of a run and between its frames,
        modes of the iodine framework, random bases.
    first : float
        Lag at which the mean squared displacements of its runs count as straight, ps.
    """

    starts: int
    tests: int
    labels: int
    steps: int
    cells: int
    equilibration: int
    production: int
    degree: str
    level: int
    srom_cells: int
    srom_steps: int
    srom_every: int
    modes: int
    samples: int
    first: float


FULL = Size(10, 12, 40, 500, 4, 2000, 30000, "[10, 8, 6]", 10, 3, 6000, 20, 120, 10, 1.0)
FAST = Size(5, 3, 8, 100, 2, 200, 1500, "[8, 5, 3]", 8, 2, 600, 10, 24, 3, 0.1)

HAL = """\
# Hyperactive learning of α-AgI. Every key is explained in docs/guide/hal.md.
name = "agi"
folder = "hal"

[start]
structures = ["start.extxyz"]

[test]
structures = ["test.extxyz"]

[labels]                        # the reference that plays the role of DFT
kind = "lammps"
atom_style = "charge"
charges = {{ Ag = 0.6, I = -0.6 }}
commands = [
{commands}
]

[basis]
elements = ["Ag", "I"]
cutoff = 6.5
order = 3
degree = {degree}

[weights]                       # standard deviations
energy = 0.001                  # eV/atom
force = 0.05                    # eV/Å
virial = 0.01                   # eV/atom

[md]
temperature = [700.0, 900.0]    # K, over the iterations
ensemble = "langevin"
timestep = 0.002                # ps
steps = {steps}

[bias]
tau_rel = 0.2
window = 50
bound = 0.5                     # bias of any atom, as a part of its force

[stop]
threshold = 0.05
epsilon = 0.2                   # eV/Å
every = 5                       # steps

[loop]
labels = {labels}
walkers = 2
seed = {seed}
"""

MTP = """\
# A second family from the same labels: pyuq fit mtp.toml
family = "mtp"
name = "agi"
train = ["hal/database.extxyz"]
test = ["hal/test.extxyz"]
output = "mtp"

[basis]
elements = ["Ag", "I"]
cutoff = 6.5                    # Å
level = {level}

[weights]                       # standard deviations
energy = 0.001                  # eV/atom
force = 0.05                    # eV/Å
virial = 0.01                   # eV/atom
"""

SROM = """\
# What the disagreement of the two families means for D: pyuq srom all srom.toml; keys: docs/guide/srom.md.
name = "agi"
folder = "srom"

[start]
structure = "srom-start.extxyz"
elements = ["Ag", "I"]
masses = {{ Ag = {mass_ag}, I = {mass_i} }}

[[models]]
label = "ace"
potential = "hal/potential/agi.uq"

[[models]]
label = "mtp"
potential = "mtp/agi.uq"

[md]
temperatures = [{temperature}]       # K
timestep = {timestep}                # ps
equilibration = {equilibration}
steps = {steps}
every = {every}
damp = 0.2                      # ps

[basis]
modes = {modes}                     # of the iodine framework
free = ["Ag"]                   # silver keeps its own coordinates: a few modes cannot carry its hops

[sampler]
samples = {samples}

[propagate]
repeats = 2                     # runs of each potential in its own basis

[diffusion]
species = "Ag"
first = {first}                     # ps; the same lags for all runs

[runs]
parallel = {ranks}
"""

PRODUCTION = """\
# Molecular dynamics of α-AgI with {title}; edit and run again:
#   mpirun -np 2 lmp -in {name}
units           metal
atom_style      {atom_style}
read_data       agi.data
{potential}

timestep        {timestep}
velocity        all create {temperature} {seed} mom yes rot no
fix             1 all nvt temp {temperature} {temperature} $(100*dt)
thermo_style    custom step temp pe press{columns}
thermo          500
run             {equilibration}
reset_timestep  0
dump            1 all custom {every} {dump} id type xu yu zu
dump_modify     1 sort id format float %.8g
run             {production}
"""


def quickstart(out="pyuq-quickstart", fast: bool = False, ranks: int = 2, seed: int = 1) -> Path:
    """Run the whole of it; a second call on the same folder goes on where the first was stopped.

    Parameters
    ----------
    out : str or Path
        Folder to write.
    fast : bool
        A minute's worth, to see that everything works.
    ranks : int
        MPI ranks of the production runs.
    seed : int

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        No ranks, or a folder that was begun with other settings.
    """
    if ranks < 1:
        raise InputError(f"ranks = {ranks}; expected 1 or more")
    folder = check_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder):
        return _quickstart(folder, FAST if fast else FULL, ranks, seed)


def _quickstart(folder: Path, size: Size, ranks: int, seed: int) -> Path:
    from pyuq.hal.loop import run_hal

    clock = time.perf_counter()
    say(f"1/5  structures and settings in {folder}")
    prepare(folder, size, ranks, seed)
    say(f"2/5  hyperactive learning from {size.starts} to {size.labels} labelled structures")
    run_hal(folder / "hal.toml")
    say(f"3/5  molecular dynamics with the learned potential and with the reference, {ranks} ranks")
    ace = produce(folder, "ace", size, ranks)
    reference = produce(folder, "reference", size, ranks)
    say("4/5  a second family from the same labels, and reduced dynamics between the two")
    families = two_families(folder)
    say("5/5  report")
    report = write_report(folder, size, ace, reference, families, time.perf_counter() - clock)
    log.say(report.read_text())
    say(f"report: {report}")
    return report


def say(text: str) -> None:
    """Progress, at once even into a pipe."""
    log.say(text)


def check_begun(folder: Path, choice: dict) -> None:
    """Refuse a folder that was begun with other options: its results would be taken for those of these options.

    Raises
    ------
    InputError
        The folder was begun with other options.
    """
    record = folder / "quickstart.json"
    if not record.exists():
        write_json(record, choice)
    else:
        remedy = "name another folder (--out), or remove this one"
        require_same(folder, read_json(record), choice, remedy)


def prepare(folder: Path, size: Size, ranks: int, seed: int) -> None:
    """Write start structures, held-out structures, settings and the production scripts."""
    check_begun(folder, {"fast": size is FAST, "seed": seed})
    rng = np.random.default_rng(seed)
    commands = "\n".join(f"  {c!r}," for c in systems.reference_commands())
    files = {
        "hal.toml": HAL.format(
            commands=commands, degree=size.degree, steps=size.steps, labels=size.labels, seed=seed
        ),
        "mtp.toml": MTP.format(level=size.level),
        "srom.toml": SROM.format(
            mass_ag=systems.MASSES["Ag"],
            mass_i=systems.MASSES["I"],
            temperature=TEMPERATURE,
            timestep=TIMESTEP,
            equilibration=size.equilibration,
            steps=size.srom_steps,
            every=size.srom_every,
            modes=size.modes,
            samples=size.samples,
            first=size.first,
            ranks=ranks,
        ),
        "in.ace": production_script(size, "ace"),
        "in.reference": production_script(size, "reference"),
    }
    if not (folder / "hal.toml").exists():
        start = [systems.silver_iodide(2, rng, 0.12, 0.02) for _ in range(size.starts)]
        extxyz.write(folder / "start.extxyz", start)
        extxyz.write(folder / "test.extxyz", thermal(rng, size.tests))
        frame = systems.silver_iodide(size.srom_cells, rng)
        extxyz.write(folder / "srom-start.extxyz", [frame])
        atoms = systems.silver_iodide(size.cells, rng)
        write_data(
            folder / "agi.data",
            atoms,
            systems.ELEMENTS,
            atom_style="charge",
            charges=systems.CHARGES,
            masses=systems.MASSES,
        )
        for name, text in sorted(
            files.items(), reverse=True
        ):  # hal.toml last: it says that all is there
            write_text(folder / name, text)


def thermal(rng: np.random.Generator, count: int, temperature: float = TEMPERATURE) -> list:
    """Snapshots of the reference's own dynamics, the structures that matter."""
    atoms = systems.silver_iodide(2, rng)
    frames = []
    lammps = lmp.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    try:
        length = atoms.cell[0, 0]
        lammps.commands_list(
            [
                "units metal",
                "atom_style charge",
                "atom_modify map array",
                f"region box block 0 {length} 0 {length} 0 {length}",
                "create_box 2 box",
            ]
        )
        types = [systems.ELEMENTS.index(s) + 1 for s in atoms.get_chemical_symbols()]
        lammps.create_atoms(len(atoms), None, types, atoms.positions.ravel())
        lammps.commands_list(
            [
                *(f"mass {k + 1} {systems.MASSES[e]}" for k, e in enumerate(systems.ELEMENTS)),
                *(
                    f"set type {k + 1} charge {systems.CHARGES[e]}"
                    for k, e in enumerate(systems.ELEMENTS)
                ),
                *systems.reference_commands(),
                f"timestep {TIMESTEP}",
                f"velocity all create {temperature} {rng.integers(1, 900_000_000)}",
                f"fix 1 all langevin {temperature} {temperature} 0.1 {rng.integers(1, 900_000_000)}",
                "fix 2 all nve",
            ]
        )
        for _ in range(count):
            lammps.command("run 250")
            frame = atoms.copy()
            frame.positions = np.array(lammps.gather_atoms("x", 1, 3)).reshape(-1, 3)
            frames.append(frame)
    finally:
        lammps.close()
    return frames


def production_script(size: Size, kind: str) -> str:
    """Input script of the learned potential (``ace``) or of the reference."""
    if kind == "ace":
        title, columns = "the learned potential", " c_u[1] c_u[2]"
        potential = (
            "pair_style      uq\n"
            "pair_coeff      * * hal/potential/agi.uq Ag I\n"
            "compute         u all uq    # σ_E (eV), max relative force uncertainty"
        )
    else:
        title, columns = "the reference", ""
        potential = "\n".join(systems.reference_commands())
    return PRODUCTION.format(
        title=title,
        name=f"in.{kind}",
        atom_style="charge",
        potential=potential,
        columns=columns,
        timestep=TIMESTEP,
        temperature=TEMPERATURE,
        seed=4711,
        equilibration=size.equilibration,
        production=size.production,
        every=DUMP_EVERY,
        dump=f"{kind}.dump",
    )


def produce(folder: Path, kind: str, size: Size, ranks: int) -> Diffusivity:
    """Run the dynamics of one potential unless it is there, and read the silver diffusivity.

    Raises
    ------
    RunError
        LAMMPS failed; the message names its output.
    """
    dump = folder / f"{kind}.dump"
    finished = folder / f"log.{kind}"

    def check(_: Path) -> None:
        check_dump(dump, size.production, DUMP_EVERY)

    if finished.exists():
        try:
            check(folder)
        except ValueError as problem:
            say(f"     {kind} runs again: {problem}")
            finished.unlink()
    if not finished.exists():
        log = f".log.{kind}"
        screen = f".screen.{kind}"
        error = launch(folder, f"in.{kind}", ranks, TIMEOUT, check, log=log, screen=screen)
        if error:
            raise RunError(f"LAMMPS failed in {folder} (in.{kind}, {screen}): {error}")
        sync_files(dump, folder / log)
        os.replace(folder / log, finished)
    run = read_trajectory(dump, elements=systems.ELEMENTS)
    silver = run.group("Ag")
    positions = remove_drift(run.positions, ~silver)
    result = self_diffusivity(positions[:, silver], DUMP_EVERY * TIMESTEP)
    say(f"     {kind}: {result.verdict()}")
    return result


def two_families(folder: Path) -> list[str]:
    """Fit the moment tensor potential, run the stochastic reduced-order model over both, and report on it."""
    from pyuq.srom.pipeline import run_stages
    from pyuq.srom.report import Findings
    from pyuq.srom.settings import load_study
    from pyuq.verbs.run_fit import run_fit

    if not (folder / "mtp" / "agi.uq").exists():
        run_fit(folder / "mtp.toml")
    lines = [
        "## Two families from the same labels",
        "",
        "A moment tensor potential was fitted to the same labels (`mtp.toml`).",
    ]
    try:
        run_stages(folder / "srom.toml", "all")
    except RuntimeError as error:  # a potential does not survive its own dynamics
        return [*lines, f"No diffusivity between the two: {error}. It needs more labels."]
    return lines + families_section(Findings.of(load_study(folder / "srom.toml").case(TEMPERATURE)))


def families_section(found: "Findings") -> list[str]:
    """What the report says of the two families."""
    from pyuq.srom.report import verdicts

    modes, count = found.ensemble.nominal.nmodes, len(found.ensemble)
    lines = [
        f"{count} random bases lie between those of the two potentials: {modes} modes of the iodine framework, "
        "silver unreduced.",
        "",
        f"| silver diffusivity at {TEMPERATURE:.0f} K | Å²/ps | 95 % interval |",
        "|---|---|---|",
        *(
            "| {}, full dynamics | {:.3f} | {:.3f} to {:.3f} |".format(
                label, d.value, *d.interval()
            )
            for label, d in found.full.items()
        ),
    ]
    if found.spread is not None:
        s = found.spread
        lines.append(
            "| random bases: median | {:.3f} | {:.3f} to {:.3f} |".format(s.median, *s.interval)
        )
        lines += [
            "",
            f"Variance over the samples {s.total:.2g} (Å²/ps)², of one run by its finite length {s.within:.2g}.",
        ]
    picture = f"srom/{found.case.folder.name}/diffusivity.png"
    return [
        *lines,
        "",
        *(f"- {line}" for line in verdicts(found)),
        "",
        f"![diffusivity of random bases]({picture})",
        "",
        "All of it: [srom/report.md](srom/report.md). Edit next: `mtp.toml`, `srom.toml`.",
    ]


def write_report(
    folder: Path,
    size: Size,
    ace: Diffusivity,
    reference: Diffusivity,
    families: list[str],
    seconds: float,
) -> Path:
    """Write report.md with the pictures."""
    from pyuq.evaluate.committee import Committee, prediction
    from pyuq.evaluate.evaluator import Evaluator

    test = [a for a in extxyz.read(folder / "hal" / "test.extxyz") if extxyz.is_labelled(a)]
    committee = Committee([Evaluator(folder / "hal" / "potential" / "agi.uq")])
    found = [prediction(committee, atoms) for atoms in test]
    sigmas = np.array([f["sigma"] / len(a) for a, f in zip(test, found, strict=True)])
    energies = np.array(
        [
            (a.calc.results["energy"] / len(a), f["energy"] / len(a))
            for a, f in zip(test, found, strict=True)
        ]
    )
    forces = np.concatenate(
        [
            np.column_stack([a.calc.results["forces"].ravel(), f["forces"].ravel()])
            for a, f in zip(test, found, strict=True)
        ]
    )
    energy_error, force_error = (np.sqrt(np.mean(np.diff(v) ** 2)) for v in (energies, forces))
    plot_parity(folder / "parity.png", energies, forces, sigmas)
    plot_diffusion(folder / "diffusion.png", ace, reference)
    difference = ace.value - reference.value
    error = np.hypot(ace.error, reference.error)
    labels = len(extxyz.read(folder / "hal" / "database.extxyz"))
    lines = [
        "# α-AgI: a learned potential and what it does not know",
        "",
        f"{labels} labelled structures of 32 atoms, {committee.members[0].nreadout} functions, "
        f"{seconds:.0f} s for this call.",
        "",
        "| held-out structures of the reference's dynamics | |",
        "|---|---|",
        f"| energy RMSE | {1000 * energy_error:.2f} meV/atom |",
        f"| force RMSE | {force_error:.3f} eV/Å |",
        f"| mean σ_E of the posterior | {1000 * sigmas.mean():.2f} meV/atom |",
        "",
        f"| silver diffusivity at {TEMPERATURE:.0f} K, {4 * size.cells**3} atoms, "
        f"{size.production * TIMESTEP:.0f} ps | Å²/ps | 95 % interval |",
        "|---|---|---|",
        *(
            "| {} | {:.3f} | {:.3f} to {:.3f} |".format(name, d.value, *d.interval())
            for name, d in (("learned potential", ace), ("reference", reference))
        ),
        "",
        f"Difference {difference:+.3f} ± {error:.3f} Å²/ps (statistical, one standard error; the error of the "
        "potential itself is not in it).",
        "",
        "![energies and forces of held-out structures](parity.png)",
        "![mean squared displacement of silver](diffusion.png)",
        "",
        "The learning, iteration by iteration: [hal/report.md](hal/report.md). Edit next: `hal.toml`, `in.ace`.",
        "",
        *families,
    ]
    report = folder / "report.md"
    write_text(report, "\n".join(lines) + "\n")
    return report


def plot_parity(path: Path, energies: np.ndarray, forces: np.ndarray, sigmas: np.ndarray) -> None:
    """Predictions of held-out structures, energies with their error bars."""
    from pyuq.plotting import BLUE, figure, parity

    fig, axes = figure(ncols=2)
    shifted = 1000 * (energies - energies.mean())
    parity(axes[0, 0], {"held out": shifted}, "energy - mean", "meV/atom")
    axes[0, 0].errorbar(*shifted.T, yerr=2000 * sigmas, fmt="none", color=BLUE, lw=1, label="2σ")
    axes[0, 0].legend(frameon=False, fontsize=7)
    parity(axes[0, 1], {"held out": forces}, "force", "eV/Å")
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")


def plot_diffusion(path: Path, ace: Diffusivity, reference: Diffusivity) -> None:
    """Mean squared displacements, and the diffusivities with their intervals."""
    from pyuq.plotting import BLUE, ORANGE, figure

    fig, axes = figure(ncols=2)
    pairs = (("learned", ace, BLUE), ("reference", reference, ORANGE))
    for k, (name, d, color) in enumerate(pairs):
        axes[0, 0].plot(d.times, d.msd.sum(axis=1), color=color, label=name)
        window = np.array(d.window)
        axes[0, 0].plot(window, d.localised + 6 * d.value * window, "--", color=color, lw=0.9)
        low, high = d.interval()
        axes[0, 1].errorbar(
            [k], [d.value], [[d.value - low], [high - d.value]], fmt="o", color=color, capsize=4
        )
    axes[0, 0].set(xlabel="time (ps)", ylabel="MSD of silver (Å²)", xlim=(0, None), ylim=(0, None))
    axes[0, 0].legend(frameon=False)
    axes[0, 1].set(
        xticks=[0, 1],
        xticklabels=[p[0] for p in pairs],
        xlim=(-0.6, 1.6),
        ylabel="D of silver (Å²/ps), 95 %",
    )
    axes[0, 1].set_ylim(0, None)
    with atomic_write(path, "wb") as file:
        fig.savefig(file, format="png")
