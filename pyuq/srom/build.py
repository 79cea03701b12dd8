# SPDX-License-Identifier: GPL-2.0-or-later
"""From snapshots to bases, and from bases to an ensemble of random ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyuq.errors import InputError
from pyuq.io.files import read_json, write_json
from pyuq.io.identity import hash_file
from pyuq.srom.basis import Basis, build_basis
from pyuq.srom.ensemble import Ensemble
from pyuq.srom.geometry import grassmann_distance, karcher_mean, principal_angles
from pyuq.srom.origin import origin, remedy, require_origin
from pyuq.srom.sampling import (
    Frame,
    PolarSampler,
    RiemannianSampler,
    Sampler,
    SubspaceSampler,
    convex_weights,
    fit_beta,
    fit_concentration,
    spectral_centroids,
    split_bases,
)
from pyuq.srom.settings import Case, Study
from pyuq.srom.snapshots import Snapshots
from pyuq.srom.trajectories import trajectory

FloatArray = NDArray[np.float64]

WIDE_ANGLE = np.radians(80.0)  # beyond it a mode of one model is nearly absent in the other
PPCA_DIRECTIONS = 10  # snapshot directions kept for each mode of SS-PPCA


def build(study: Study, comm=None, say=print) -> None:
    """Bases of all models, of all snapshots together, and of the replicas; angles between them.

    Writes ``LABEL.rom`` for each model, ``global.rom``, and ``build.json``. Call on all ranks.
    """
    for case in study.cases:
        table = case.settings.basis
        runs = [
            [trajectory(case, label, r) for label in case.settings.labels]
            for r in range(table.replicas)
        ]
        nmax = max(table.modes, *case.settings.propagate.convergence, 0)
        first = case.settings.labels[0]
        found = [
            [
                _build(case, [s], nmax if (r, s.label) == (0, first) else table.modes, comm)
                for s in row
            ]
            for r, row in enumerate(runs)
        ]
        joint = _build(case, runs[0], table.modes, comm)
        if comm is not None and comm.rank > 0:
            continue
        case.folder.mkdir(parents=True, exist_ok=True)
        case.summary.unlink(
            missing_ok=True
        )  # what it tells of the bases is not true of half of them
        for label, basis in zip(case.settings.labels, found[0], strict=True):
            basis.write(case.basis(label))
        joint.write(case.basis("global"))
        replicas = [[b.first(table.modes) for b in row] for row in found]
        summary = summarise(case, joint, replicas, runs[0]) | {"origin": origin(case, "build")}
        summary["bases"] = {label: hash_file(case.basis(label)) for label in _labels(case)}
        write_json(case.summary, summary, sealed=True)
        for line in warnings(summary):
            say(f"{case.temperature:g} K: {line}")


def read_summary(case: Case) -> dict:
    """What :func:`build` found with the settings in force.

    Raises
    ------
    InputError
        Nothing yet, other settings made it, or a file is damaged.
    """
    if not case.summary.exists():
        raise InputError(f"no bases in {case.folder}: run `pyuq srom build` first")
    summary = read_json(case.summary, remedy(case, "build"))
    require_origin(case, "build", case.summary, summary.get("origin"), origin(case, "build"))
    for label, wanted in summary.get("bases", {}).items():  # older versions do not say
        path = case.basis(label)
        found = hash_file(path) if path.is_file() else None
        if found != wanted:
            state = (
                "missing"
                if found is None
                else "not the basis that was built with the others, or damaged"
            )
            raise InputError(f"{path}: {state}; {remedy(case, 'build')}")
    return summary


def _labels(case: Case) -> list[str]:
    """Names of all bases of a case."""
    return [*case.settings.labels, "global"]


def _build(case: Case, snapshots: Sequence[Snapshots], n: int, comm) -> Basis:
    table = case.settings.basis
    symbols = np.array(snapshots[0].system.symbols)
    free = np.isin(symbols, table.free) if table.free else None
    options = {"method": table.method}
    return build_basis(snapshots, n, table.weighting, table.momenta, free, comm, **options)[0]


def summarise(
    case: Case, joint: Basis, replicas: list[list[Basis]], snapshots: list[Snapshots]
) -> dict:
    """Singular values, angles, distances between models and between replicas, frequencies."""
    labels, bases = case.settings.labels, replicas[0]
    between = [
        grassmann_distance(a.vectors, b.vectors) for k, a in enumerate(bases) for b in bases[:k]
    ]
    within = [
        grassmann_distance(a.vectors, b.vectors)
        for row in replicas[1:]
        for a, b in zip(bases, row, strict=True)
    ]
    return {
        "labels": labels,
        "modes": joint.nmodes,
        "coordinates": 3 * joint.system.natoms,
        "singular_values": {
            label: b.provenance["singular_values"]
            for label, b in zip([*labels, "global"], [*bases, joint], strict=True)
        },
        "energy": {
            label: b.provenance["energy"][b.nmodes - 1]
            for label, b in zip([*labels, "global"], [*bases, joint], strict=True)
        },
        "angles": {
            label: np.degrees(principal_angles(joint.vectors, b.vectors)).tolist()
            for label, b in zip(labels, bases, strict=True)
        },
        "model_distance": float(np.mean(between)) if between else None,
        "noise_floor": float(np.mean(within)) if within else None,
        "centroids": {
            label: centroids(b, s).tolist()
            for label, b, s in zip(labels, bases, snapshots, strict=True)
        },
        "gamma": joint.provenance["gamma"],
    }


def centroids(basis: Basis, snapshots: Snapshots) -> FloatArray:
    """Spectral centroid of each mode in a trajectory, THz, (n,)."""
    coordinates = np.concatenate(
        [basis.coordinates(snapshots.displacements[k : k + 64]) for k in _starts(snapshots, 64)]
    )
    return spectral_centroids(coordinates, snapshots.timestep)


def _starts(snapshots: Snapshots, chunk: int) -> range:
    return range(0, snapshots.nframes, chunk)


def warnings(summary: dict) -> list[str]:
    """What a user must know before believing the ensemble."""
    lines = []
    for label, angles in summary["angles"].items():
        wide = sum(a > np.degrees(WIDE_ANGLE) for a in angles)
        if wide:
            lines.append(
                f"{label}: {wide} of {len(angles)} modes lie more than 80° away from the global basis: "
                "use fewer modes or longer trajectories"
            )
    floor, distance = summary["noise_floor"], summary["model_distance"]
    if floor is not None and distance is not None and distance < 1.5 * floor:
        lines.append(
            f"the models' bases are {distance:.2f} apart (root of the sum of squared angles, radian), two "
            f"trajectories of one model {floor:.2f}: most of the spread is noise of finite trajectories"
        )
    if floor is None:
        lines.append("one trajectory of each model: the noise floor of their distances is unknown")
    if len(summary["labels"]) == 2:
        lines.append("two models: all samples lie on one curve between them")
    return lines


def make_ensemble(study: Study, say=print) -> None:
    """Draw the samples of every temperature: their weights, and the models that drive them."""
    for case in study.cases:
        ensemble = sample(case)
        ensemble.write(case.ensemble)
        say(f"{case.temperature:g} K: {len(ensemble)} samples in {case.ensemble}")
        for name in ("concentration", "residual", "cutoff", "beta"):
            if name in ensemble.provenance:
                say(f"  {name} = {ensemble.provenance[name]:.4g}")


def sample(case: Case) -> Ensemble:
    """The ensemble that the settings ask for, from the bases that :func:`build` has written."""
    table, labels = case.settings.sampler, case.settings.labels
    n = case.settings.basis.modes
    summary = read_summary(case)
    bases = [Basis.read(case.basis(label)).first(n) for label in labels]
    if table.kind == "riemannian":
        nominal, sampler, notes = _between_models(case, bases, summary)
        weights = np.array([sampler.weights(k) for k in range(table.samples)])
    else:
        nominal, sampler, notes = _around_one(case, bases)
        weights = np.zeros((table.samples, len(labels)))
        weights[:, case.settings.index(table.model)] = 1.0
    hashes = tuple(m.sha256(case.study.here) for m in case.settings.models)
    notes |= {"origin": origin(case, "sample")}
    return Ensemble(nominal, sampler, tuple(labels), hashes, weights, drivers(case, weights), notes)


def read_ensemble(case: Case) -> Ensemble:
    """The ensemble that :func:`make_ensemble` drew with the settings in force.

    Raises
    ------
    InputError
        There is none, or other settings made it.
    """
    ensemble = Ensemble.read(case.ensemble)
    found = ensemble.provenance.get("origin")
    require_origin(case, "sample", case.ensemble, found, origin(case, "sample"))
    return ensemble


def drivers(case: Case, weights: FloatArray) -> NDArray[np.int64]:
    """Index of the model whose forces drive each sample, by the declared rule."""
    table = case.settings.sampler
    if table.force_model == "largest":
        return weights.argmax(axis=1)
    if table.force_model == "drawn":
        rng = np.random.default_rng([table.seed, 1])
        steps = np.cumsum(weights, axis=1)
        return (rng.random(len(weights))[:, None] > steps[:, :-1]).sum(axis=1)
    return np.full(len(weights), case.settings.index(table.force_model))


def _between_models(case: Case, bases: list[Basis], summary: dict) -> tuple[Basis, Sampler, dict]:
    table = case.settings.sampler
    vectors = [b.vectors for b in bases]
    nominal = Basis.read(case.basis("global"))
    if table.base == "karcher":
        nominal = nominal.with_vectors(karcher_mean(vectors, start=nominal.vectors))
    base, fixed, notes = nominal.vectors, None, {"base": table.base}
    if table.split != "none":
        base_centroids, model_centroids = _centroids(case, nominal, bases)
        cutoff = table.cutoff or float(np.median(base_centroids))
        fixed, base, vectors = split_bases(
            base, vectors, base_centroids, model_centroids, table.split, cutoff
        )
        nominal = nominal.with_vectors(np.hstack([fixed, base]))
        notes |= {"cutoff": cutoff, "split": table.split, "randomised": base.shape[1]}
    frame = Frame.at(base, vectors, table.align)
    p = convex_weights(frame.gram)
    concentration = table.concentration
    if concentration == "fit":
        noise = (summary["noise_floor"] or 0.0) / max(summary["model_distance"], 1e-12)
        concentration = fit_concentration(frame.gram, p, noise)
        notes["noise"] = noise
    sampler = RiemannianSampler(frame, p, concentration, table.seed, fixed)
    notes |= {
        "concentration": concentration,
        "residual": sampler.residual,
        "mean_weights": p.tolist(),
        "tangent_lengths": np.sqrt(np.diag(frame.gram)).tolist(),
        "dispersion": sampler.dispersion,
    }
    return nominal, sampler, notes


def _centroids(case: Case, nominal: Basis, bases: list[Basis]) -> tuple[FloatArray, list]:
    """Centroids of the base's modes (mean over the models' trajectories) and of each model's."""
    trajectories = [trajectory(case, label, 0) for label in case.settings.labels]
    mine = np.mean([centroids(nominal, s) for s in trajectories], axis=0)
    return mine, [centroids(b, s) for b, s in zip(bases, trajectories, strict=True)]


def _around_one(case: Case, bases: list[Basis]) -> tuple[Basis, Sampler, dict]:
    table = case.settings.sampler
    k = case.settings.index(table.model)
    nominal, label = bases[k], case.settings.labels[k]
    if table.kind == "npm":
        allowed = None if nominal.free is None else ~np.repeat(nominal.free, 3)
        sampler = PolarSampler(
            nominal.vectors,
            nominal.system.reference,
            table.spread,
            table.length,
            allowed,
            seed=table.seed,
        )
        return nominal, sampler, {"spread": table.spread, "length": table.length}
    snapshots = trajectory(case, label, 0)
    n = nominal.nmodes
    reduced = nominal.system.natoms if nominal.free is None else int((~nominal.free).sum())
    count = min(PPCA_DIRECTIONS * n, snapshots.nframes - 1, 3 * reduced - 3)
    wide = _build(case, [snapshots], count, None)
    values = np.array(wide.provenance["singular_values"])
    beta = table.beta
    if beta == "fit":
        targets = [b.vectors for j, b in enumerate(bases) if j != k]
        if not targets:
            targets = [
                _build(case, [trajectory(case, label, r)], n, None).vectors
                for r in range(1, case.settings.basis.replicas)
            ]
        if not targets:
            raise InputError("beta = 'fit' needs further models or replicas to be matched")
        beta = fit_beta(wide.vectors, values, n, targets)
    sampler = SubspaceSampler(wide.vectors, values, n, beta, table.seed)
    return nominal, sampler, {"beta": beta, "directions": count}
