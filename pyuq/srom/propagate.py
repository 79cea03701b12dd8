# SPDX-License-Identifier: GPL-2.0-or-later
"""Reduced dynamics of all samples, and the diffusivity of each with its statistical error."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pyuq.diffusion import Diffusivity, self_diffusivity
from pyuq.errors import InputError
from pyuq.io.dump import LammpsDump
from pyuq.io.files import read_json, write_json, write_text
from pyuq.io.identity import hash_file
from pyuq.jobs import ERROR
from pyuq.srom.basis import Basis
from pyuq.srom.build import read_ensemble
from pyuq.srom.ensemble import Ensemble
from pyuq.srom.origin import origin, require_origin
from pyuq.srom.settings import Case, Model, Study
from pyuq.srom.simulate import (
    DUMP,
    THERMO,
    Simulation,
    check_recording,
    dynamics,
    header,
    recording,
    run_all,
)
from pyuq.srom.trajectories import trajectory

FloatArray = NDArray[np.float64]

RESULT, BASIS = "result.json", "basis.rom"
LARGEST_SEED = 899_999_999
BLOWN_UP = 3.0  # mean temperature over the target
NOMINAL, CONVERGENCE, SAMPLE = "nominal", "modes", "sample"


def propagate(study: Study, comm=None, say=print) -> None:
    """Run the reduced dynamics of all samples, of all models in their own bases, and of D(n).

    What is there is kept: a call goes on where the last one was stopped. A simulation that LAMMPS ends with an error is
    recorded as failed; remove its folder to have it run again.
    """
    for case in study.cases:
        plan, origins = dict(_plan(case, read_ensemble(case))), _origins(case)
        for simulation, notes in plan.items():
            _require_current(case, simulation, origins[notes["kind"]])
        done = []

        def over(simulation: Simulation, case=case, plan=plan, origins=origins, done=done) -> None:
            done.append(simulation)
            path = simulation.folder / RESULT
            if not path.exists():
                notes = plan[simulation]
                result = notes | analyse(case, simulation) | {"origin": origins[notes["kind"]]}
                write_json(path, result, sealed=True)
                say(f"{case.temperature:g} K: {len(done)}/{len(plan)} {_line(simulation, result)}")
            if not study.settings.runs.keep:
                (simulation.folder / DUMP).unlink(missing_ok=True)

        run_all(list(plan), study.settings.runs, over, comm, say)
        if comm is not None:
            comm.Barrier()


def _origins(case: Case) -> dict[str, dict]:
    """Settings that a run of each kind depends on: others of its kind may come and go."""
    apart = {SAMPLE: (), NOMINAL: ("sampler.",), CONVERGENCE: ("sampler.", "basis.modes")}
    return {
        kind: origin(case, "propagate", without=("basis.replicas", "sampler.samples", *keys))
        for kind, keys in apart.items()
    }


def _require_current(case: Case, simulation: Simulation, wanted: dict) -> None:
    """Refuse a result that other settings made; one whose trajectory was kept is analysed again."""
    path = simulation.folder / RESULT
    if not path.exists():
        return
    try:
        found = read_json(path).get("origin")
    except (
        ValueError,
        AttributeError,
    ):  # damaged: it is made again, from its trajectory or from the beginning
        path.unlink()
        return
    if found != wanted and (simulation.folder / DUMP).exists() and simulation.finished():
        path.unlink()
    else:
        require_origin(case, "propagate", path, found, wanted)


def _line(simulation: Simulation, result: dict) -> str:
    name = simulation.folder.name
    return f"{name}: {result['diffusion']['verdict'] if result['ok'] else result['error']}"


def _plan(case: Case, ensemble: Ensemble) -> Iterator[tuple[Simulation, dict]]:
    """All simulations, each with what is known before it runs."""
    settings = case.settings
    models, labels = settings.models, settings.labels
    _require_modes(case)
    jobs = [
        (f"{NOMINAL}-{model.label}-{repeat}", model, settings.basis.modes, {"kind": NOMINAL})
        for model in models
        for repeat in range(settings.propagate.repeats)
    ]
    jobs += [
        (f"{CONVERGENCE}-{n}", models[0], n, {"kind": CONVERGENCE})
        for n in settings.propagate.convergence
    ]
    for name, model, n, notes in jobs:
        path = case.basis(model.label)
        yield (
            _simulation(case, name, model, hash_file(path), partial(_first_modes, path, n)),
            notes | {"driver": model.label, "modes": n},
        )
    for k in range(len(ensemble)):
        model = models[labels.index(ensemble.labels[ensemble.drivers[k]])]
        known = {
            "kind": SAMPLE,
            "sample": k,
            "weights": ensemble.weights[k].tolist(),
            "driver": model.label,
            "modes": ensemble.nominal.nmodes,
        }
        basis = partial(ensemble.sample, k)
        yield _simulation(case, f"{SAMPLE}{k:04d}", model, ensemble.digest(k), basis), known


def _require_modes(case: Case) -> None:
    wanted = max(case.settings.propagate.convergence, default=0)
    path = case.basis(case.settings.labels[0])
    if (found := Basis.read(path).nmodes) < wanted:
        raise InputError(
            f"{path} has {found} modes, [propagate] convergence asks for {wanted}: run `pyuq srom build` again"
        )


def _first_modes(path: Path, n: int) -> Basis:
    return Basis.read(path).first(n)


def _simulation(
    case: Case, name: str, model: Model, digest: str, basis: Callable[[], Basis]
) -> Simulation:
    md = case.settings.md
    steps = case.settings.propagate.steps or md.steps
    seed = 1 + (md.seed + crc32(name.encode())) % LARGEST_SEED  # others may come and go
    lines = [
        f"# Reduced dynamics {name}; made by `pyuq srom propagate`.",
        f"# Its basis comes from {digest}.",
        *header(case, model, case.start, case.run(name)),
        *dynamics(case, seed),
        f"fix             red all uq/rom file {BASIS}",
        *recording(
            steps,
            md.every,
            "id type xu yu zu",
            "f_red[1] f_red[2]",
        ),
    ]

    def prepare(folder: Path) -> None:
        basis().write(folder / BASIS)

    def check(folder: Path) -> None:
        if not (folder / RESULT).exists():
            check_recording(folder, steps, md.every)

    return Simulation(case.run(name), "\n".join(lines) + "\n", check, prepare)


def analyse(case: Case, simulation: Simulation) -> dict:
    """What came of a reduced simulation; JSON types.

    Keys: ``ok``, ``error``; where ok: ``diffusion`` (:meth:`pyuq.diffusion.Diffusivity.to_dict`), ``drift`` (of the
    conserved energy, eV/atom/ps), ``temperature`` (of the modes, K), ``residual`` (mean residual force fraction).
    """
    folder = simulation.folder
    if error := simulation.error:
        return {"ok": False, "error": error}
    thermo = np.loadtxt(folder / THERMO, ndmin=2)
    try:
        _require_calm(thermo[:, 1], case.temperature)
        positions = tracks(case, folder / DUMP)
        found = _diffusivity(case, positions)
    except ValueError as problem:
        write_text(folder / ERROR, f"{problem}\n")
        return {"ok": False, "error": str(problem)}
    time = thermo[:, 0] * case.settings.md.timestep
    natoms = len(Basis.read(folder / BASIS).system.ids)
    return {
        "ok": True,
        "error": "",
        "diffusion": found.to_dict(),
        "drift": float(np.polyfit(time, thermo[:, 2], 1)[0] / natoms),
        "temperature": float(thermo[1:, 3].mean()),
        "residual": float(thermo[1:, 4].mean()),
    }


def _require_calm(temperatures: FloatArray, target: float) -> None:
    """Raise ValueError if the dynamics blew up: hotter on average than fluctuations can tell."""
    found = float(temperatures[1:].mean())
    if not found < BLOWN_UP * target:
        raise InputError(
            f"the dynamics blew up: mean temperature {found:.3g} K, expected about {target:g} K. A shorter "
            "timestep, a longer run (at its start what the other coordinates hold at x⁰ goes into the modes), or a "
            "potential that repels at short distances may help"
        )


def groups(case: Case, symbols) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the diffusing atoms and of those at whose centre the frame of reference lies."""
    table, symbols = case.settings.diffusion, np.asarray(symbols)
    mobile = symbols == table.species
    framework = np.isin(symbols, table.framework) if table.framework else ~mobile
    return mobile, framework if framework.any() else np.ones_like(mobile)


def tracks(case: Case, dump: Path) -> FloatArray:
    """Unwrapped positions of the diffusing atoms relative to the framework, (frames, n, 3), Å."""
    elements, found = np.array(case.settings.start.elements), []
    for frame in LammpsDump(dump):
        mobile, framework = groups(case, elements[frame.types - 1])
        found.append(frame.positions[mobile] - frame.positions[framework].mean(axis=0))
    return np.array(found)


def full_diffusivity(case: Case, label: str) -> Diffusivity:
    """Diffusivity of a model's full dynamics: its trajectories of `snapshots`, replicas pooled."""
    tracks = []
    for replica in range(case.settings.basis.replicas):
        snapshots = trajectory(case, label, replica)
        mobile, framework = groups(case, snapshots.system.symbols)
        u = snapshots.displacements
        tracks.append(u[:, mobile] - u[:, framework].mean(axis=1)[:, None])
    frames = min(len(t) for t in tracks)
    return _diffusivity(case, np.concatenate([t[:frames] for t in tracks], axis=1))


def _diffusivity(case: Case, tracks: FloatArray) -> Diffusivity:
    md, table = case.settings.md, case.settings.diffusion
    return self_diffusivity(tracks, md.timestep * md.every, first=table.first, last=table.last)


def results(case: Case, ensemble: Ensemble) -> list[dict]:
    """Results on disk of the runs that the settings in force ask for.

    Raises
    ------
    InputError
        Other settings made one of them, or it is damaged.
    """
    found, origins = [], _origins(case)
    for simulation, notes in _plan(case, ensemble):
        path = simulation.folder / RESULT
        if path.exists():
            result = read_json(path, "run `pyuq srom propagate` again")
            require_origin(case, "propagate", path, result["origin"], origins[notes["kind"]])
            found.append(result)
    return found
