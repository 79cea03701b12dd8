# SPDX-License-Identifier: GPL-2.0-or-later
"""Biased molecular dynamics of one walker: a LAMMPS script, its run, and what came of it.

A walker is a folder with an ordinary input script. It runs under a temporary name and is renamed when it is
over, so that a folder without a dot is complete; its outcome is a function of its files alone.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite
from pathlib import Path

import numpy as np
from ase import Atoms

from pyuq.brief import brief
from pyuq.errors import InputError, RunError
from pyuq.hal.settings import Settings, ends
from pyuq.io.files import write_text
from pyuq.io.lammps_data import read_data, type_indices, write_data
from pyuq.jobs import ERROR, Job, check_data, check_rows, error_of, run_jobs

SCRIPT, DATA, FINAL, OUTCOME = "in.hal", "start.data", "final.data", "outcome.json"
TRACE = "trace.txt"
GIVEN_UP = "given up"  # begins the ``error.txt`` that a user writes for a walker that dies without LAMMPS's word
BAR_PER_GPA = 1.0e4
TRACE_EVERY = 10  # steps


@brief()
@dataclass(frozen=True)
class Conditions:
    """Conditions under which one walker runs; a pair holds the values at its first and last step."""

    temperature: tuple[float, float]  # K
    pressure: tuple[float, float] | None  # GPa
    tau_rel: float
    steps: int
    seed: int
    min_distance: float  # Å
    largest_sigma: float  # eV, of σ_E; above it the frame is labelled
    largest_gradient: dict[str, float]  # eV/Å, of |∇_i σ_E| by species; the same


@brief()
@dataclass(frozen=True)
class Outcome:
    """What came of a walker.

    Attributes
    ----------
    reason : {"uncertain", "end", "discarded"}
    message : str
        Why it was discarded.
    atoms : Atoms or None
        The last frame, unless discarded.
    values : dict
        At the end: step, temperature (K), max_force (eV/Å), max_relative, min_distance (Å), tau, sigma (eV),
        gradient_El (eV/Å) of each species with a limit, and grade where it has one.
    """

    reason: str
    message: str
    atoms: Atoms | None
    values: dict


def conditions(
    settings: Settings,
    iteration: int,
    walker: int,
    start: int,
    min_distance: float,
    largest_sigma: float = inf,
    largest_gradient: dict[str, float] | None = None,
) -> Conditions:
    """Conditions of a walker: ramps and overrides applied, and a seed of its own."""
    md = settings.md
    override = next((o for o in settings.start.overrides if o.structure == start), None)

    def value(name: str, default):
        special = getattr(override, name, None)
        return default if special is None else special

    done = min(1.0, iteration / max(md.ramp_iterations - 1, 1))

    def now(ramp) -> float:
        first, last = ends(ramp)
        return first + (last - first) * done

    def run(ramp) -> tuple[float, float]:
        return ends(ramp) if md.ramp == "steps" else (now(ramp), now(ramp))

    pressure = value("pressure", md.pressure)
    seed = np.random.SeedSequence([settings.loop.seed, iteration, walker]).generate_state(1)[0]
    return Conditions(
        temperature=run(value("temperature", md.temperature)),
        pressure=None if pressure is None else run(pressure),
        tau_rel=now(value("tau_rel", settings.bias.tau_rel)),
        steps=value("steps", md.steps),
        seed=int(seed) % 800_000_000 + 1,
        min_distance=min_distance,
        largest_sigma=largest_sigma,
        largest_gradient=largest_gradient or {},
    )


def script(settings: Settings, atoms: Atoms, c: Conditions, potential: str) -> str:
    """LAMMPS input of a walker; `potential` as seen from its folder."""
    every = settings.stop.every
    watched = watched_species(atoms, c)
    traced = every * max(1, TRACE_EVERY // every)
    lines = [
        "# Uncertainty-biased dynamics; made by `pyuq hal run`, to be run again or edited at will.",
        "units           metal",
        "atom_style      atomic",
        "atom_modify     map yes",
        "box             tilt large",
        f"read_data       {DATA}",
        "pair_style      uq",
        f"pair_coeff      * * {potential} {' '.join(settings.elements)}",
        f"timestep        {settings.md.timestep:g}",
        f"velocity        all create {c.temperature[0]:.10g} {c.seed} mom yes rot no dist gaussian",
        "",
        f"fix             bias all uq/hal {bias_keywords(settings, c)}",
        *integrator(settings, c),
        *swaps(settings, atoms, c),
        "",
        "# Quantities that are watched, and when to stop.",
        "variable        force atom sqrt(fx^2+fy^2+fz^2)",
        "compute         force all reduce max v_force",
        *gradients(settings, watched),
        *grades(settings),
        f"fix             watch all ave/time {every} 1 {every} {' '.join(watched_values(settings, watched).values())}",
        f'variable        stop equal "{stop_condition(settings, c, watched)}"',
        f"fix             stop all halt {every} v_stop > 0.5 error soft message no",
        f"fix             trace all ave/time {traced} 1 {traced} c_thermo_temp c_thermo_press "
        f"c_thermo_pe f_bias[1] f_bias[2] f_bias[5] f_bias[7] file {TRACE}",
        f"thermo          {10 * traced}",
        "thermo_style    custom step temp press pe f_bias[1] f_bias[2] f_bias[5] f_bias[7]",
        *settings.md.commands,
        "",
        f"run             {c.steps}",
        f"write_data      {FINAL} nocoeff",
        f'print           """{outcome_json(settings, watched)}""" file {OUTCOME} screen no',
    ]
    return "\n".join(lines) + "\n"


def watched_species(atoms: Atoms, c: Conditions) -> list[str]:
    """Species of a structure whose forces have a limit, in a fixed order."""
    return [element for element in c.largest_gradient if element in set(atoms.symbols)]


def watched_values(settings: Settings, watched: Sequence[str]) -> dict[str, str]:
    """What is looked at while a walker runs: names and LAMMPS references."""
    values = {
        "temperature": "c_thermo_temp",
        "max_force": "c_force",
        "max_relative": "f_bias[5]",
        "min_distance": "f_bias[7]",
        "sigma": "f_bias[2]",
    } | {f"gradient_{element}": f"c_gradient_{element}" for element in watched}
    return values | ({"grade": "c_largest_grade"} if settings.stop.grade else {})


def grades(settings: Settings) -> list[str]:
    """Largest extrapolation grade."""
    if settings.stop.grade is None:
        return []
    return [
        "compute         grade all uq/atom grade",
        "compute         largest_grade all reduce max c_grade",
    ]


def gradients(settings: Settings, watched: Sequence[str]) -> list[str]:
    """Largest |∇_i σ_E| of each species that is watched."""
    lines = ["compute         gradient all uq/atom force"] if watched else []
    for element in watched:
        lines += [
            f"group           species_{element} type {settings.elements.index(element) + 1}",
            f"compute         gradient_{element} species_{element} reduce max c_gradient",
        ]
    return lines


def stop_condition(settings: Settings, c: Conditions, watched: Sequence[str]) -> str:
    """LAMMPS formula that ends the run: the frame is uncertain, or has gone astray."""
    stop = settings.stop
    place = {name: k + 1 for k, name in enumerate(watched_values(settings, watched))}
    above = {
        "max_force": f"{stop.max_force:g}",
        "temperature": f"{stop.max_temperature * max(c.temperature):g}",
    }
    if stop.threshold < inf:
        above["max_relative"] = f"{stop.threshold:g}"
    if c.largest_sigma < inf:
        above["sigma"] = f"{c.largest_sigma:.17g}"
    for element in watched:
        above[f"gradient_{element}"] = f"{c.largest_gradient[element]:.17g}"
    if stop.grade:
        above["grade"] = f"{stop.grade:g}"
    terms = [f"(f_watch[{place['min_distance']}] < {c.min_distance:g})"]
    terms += [f"(f_watch[{place[name]}] > {limit})" for name, limit in above.items()]
    return " || ".join(terms)


def bias_keywords(settings: Settings, c: Conditions) -> str:
    """Arguments of ``fix uq/hal``."""
    bias, stop = settings.bias, settings.stop
    words = [f"tau_rel {c.tau_rel:.10g}" if c.tau_rel > 0 else "tau 0.0"]
    words += [
        f"window {bias.window}",
        f"every {stop.every}",
        f"eps {stop.epsilon:g}",
        f"mode {bias.mode}",
    ]
    for name in ("cap", "floor", "bound", "volume"):
        if (value := getattr(bias, name)) is not None:
            words.append(f"{name} {value:g}")
    return " ".join(words)


def integrator(settings: Settings, c: Conditions) -> list[str]:
    """Equations of motion: thermostat, barostat."""
    md = settings.md
    temperature = f"{c.temperature[0]:.10g} {c.temperature[1]:.10g} {md.thermostat_damp:g}"
    barostat = ""
    if c.pressure is not None:
        first, last = (BAR_PER_GPA * p for p in c.pressure)
        barostat = f"{md.barostat} {first:.10g} {last:.10g} {md.barostat_damp:g}"
    if md.ensemble == "nvt":
        return [f"fix             move all nvt temp {temperature}"]
    if md.ensemble == "npt":
        return [f"fix             move all npt temp {temperature} {barostat}"]
    move = f"nph {barostat}" if barostat else "nve"
    return [
        f"fix             move all {move}",
        f"fix             heat all langevin {temperature} {c.seed + 1} zero yes",
    ]


def swaps(settings: Settings, atoms: Atoms, c: Conditions) -> list[str]:
    """Swap moves between all pairs of elements that the structure has."""
    md = settings.md
    if md.swap_every == 0:
        return []
    types = np.unique(type_indices(atoms, settings.elements)) + 1
    pairs = [(a, b) for k, a in enumerate(types) for b in types[k + 1 :]]
    return [
        f"fix             swap{a}{b} all atom/swap {md.swap_every} {md.swap_attempts} "
        f"{c.seed + 2 + k} {c.temperature[1]:.10g} types {a} {b}"
        for k, (a, b) in enumerate(pairs)
    ]


def outcome_json(settings: Settings, watched: Sequence[str]) -> str:
    """Template of the outcome file, filled in by LAMMPS."""
    names = watched_values(settings, watched)
    values = {name: f"f_watch[{k + 1}]" for k, name in enumerate(names)} | {"tau": "f_bias[1]"}
    numbers = ", ".join(f'"{k}": $({v}:%.17g)' for k, v in values.items())
    return f'{{"step": $(step:%.0f), {numbers}}}'


def prepare(folder: Path, settings: Settings, atoms: Atoms, c: Conditions, potential: str) -> None:
    """Write the files that a walker starts from."""
    folder.mkdir(parents=True)
    triclinic = settings.md.barostat == "tri" and c.pressure is not None
    masses = settings.labels.masses
    write_data(folder / DATA, atoms, settings.elements, masses=masses, triclinic=triclinic)
    write_text(folder / SCRIPT, script(settings, atoms, c, potential))


def run_walkers(jobs: Sequence[tuple[Path, Path]], settings: Settings, comm=None) -> None:
    """Run walkers in parallel.

    Parameters
    ----------
    jobs : sequence of (Path, Path)
        Prepared folder, and the name that it gets when it is over.
    settings : Settings
    comm : mpi4py.MPI.Comm, optional
        Ranks to share out; call on all of them. Without: one ``lmp`` or ``mpirun`` for each walker.
    """
    loop, check = settings.loop, partial(check_run, settings=settings)
    run_jobs(
        [Job(running, final, SCRIPT, check) for running, final in jobs],
        loop.ranks,
        settings.md.timeout,
        loop.parallel,
        comm,
    )


def check_files(folder: Path, settings: Settings) -> None:
    """Refuse the folder of a walker whose files are not whole, as a full disk leaves them.

    Raises
    ------
    InputError
        Names the file, and what is wrong in it.
    """
    if (folder / ERROR).exists():
        if not (folder / ERROR).read_text().strip():
            raise InputError(f"{folder / ERROR}: empty")
        return
    read_values(folder / OUTCOME)
    read_data(folder / FINAL, settings.elements)


def check_run(folder: Path, settings: Settings) -> None:
    """Refuse what a run that has just ended left, the files that only people read included.

    Raises
    ------
    InputError
        See :func:`check_files`.
    """
    check_files(folder, settings)
    check_data(folder / FINAL)
    check_rows(folder / TRACE)


def read_values(path: Path) -> dict[str, float]:
    """Read ``outcome.json``; what is not a number in it becomes one: LAMMPS writes ``nan`` and ``inf``.

    Raises
    ------
    InputError
        There is no such file, or it is damaged.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    text = re.sub(
        r"(?<=[ :])(-?)(nan|inf)\b",
        lambda m: {"nan": "NaN", "inf": m[1] + "Infinity"}[m[2]],
        path.read_text(),
    )
    try:
        values = json.loads(text)
        return {name: float(values[name]) for name in values}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged, {error}") from error


def clear_unfinished(folder: Path) -> None:
    """Remove what walkers of a killed process have left."""
    for path in folder.glob(".walker*"):
        shutil.rmtree(path, ignore_errors=True)


def _has_moved(folder: Path) -> bool:
    """Tell whether the first force evaluation went well: errors after it are blow-ups, not mistakes."""
    trace = folder / TRACE
    return trace.exists() and any(
        line[:1] not in ("#", "") for line in trace.read_text().splitlines()
    )


def repeatable(folder: Path, settings: Settings) -> str:
    """Say why a walker that is over is to run again, or nothing.

    Its files are not whole; or LAMMPS refused to run at all, which ended the last call: whatever was amended since then
    may have cured it.
    """
    try:
        check_files(folder, settings)
    except (ValueError, OSError) as error:
        return str(error)
    if error_of(folder) and not _has_moved(folder) and not _given_up(folder):
        return f"LAMMPS had refused to run ({error_of(folder)})"
    return ""


def _given_up(folder: Path) -> bool:
    """Tell whether somebody wrote that a walker is not worth another attempt."""
    return error_of(folder).startswith(GIVEN_UP)


def outcome(folder: Path, settings: Settings, c: Conditions) -> Outcome:
    """Read what came of a walker.

    Raises
    ------
    RuntimeError
        LAMMPS refused to run; the message says where and why.
    """
    if (folder / ERROR).exists():
        if not (_has_moved(folder) or _given_up(folder)):
            raise RunError(f"LAMMPS failed in {folder}: {error_of(folder)}")
        return Outcome("discarded", error_of(folder), None, {})
    values = read_values(folder / OUTCOME)
    if wild := [name for name, value in values.items() if not isfinite(value)]:
        return Outcome("discarded", f"{', '.join(wild)} is not a finite number", None, {})
    stop = settings.stop
    limit = stop.max_temperature * max(c.temperature)
    guards = (
        (values["min_distance"] < c.min_distance, f"atoms {values['min_distance']:.2f} Å apart"),
        (values["max_force"] > stop.max_force, f"force of {values['max_force']:.3g} eV/Å"),
        (values["temperature"] > limit, f"temperature of {values['temperature']:.0f} K"),
    )
    for broken, message in guards:
        if broken:
            return Outcome("discarded", message, None, values)
    uncertain = (
        values["max_relative"] > stop.threshold
        or values["sigma"] > c.largest_sigma
        or values.get("grade", 0.0) > (stop.grade or inf)
        or any(values.get(f"gradient_{e}", 0.0) > limit for e, limit in c.largest_gradient.items())
    )
    reason = "uncertain" if uncertain else "end"
    return Outcome(reason, "", read_data(folder / FINAL, settings.elements), values)
