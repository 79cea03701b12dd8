# SPDX-License-Identifier: GPL-2.0-or-later
r"""Error bars for a potential that exists: the posterior of its readout, from its training data.

Every model is linear in its readout weights, :math:`E = w\cdot\Phi + E^0`. Given labelled structures, the features stay
as they are and the deviation :math:`\delta` from the file's weights is the unknown of a Bayesian linear regression,
:math:`y - \Phi w_\mathrm{file} = \Phi\,\delta + \epsilon`, with a Gaussian prior about zero. The rows of energies,
forces and virials stream by; what is kept grows with the number of weights, not of structures.

The noise :math:`\epsilon` has one variance for energies, one for forces and one for virials, estimated as variance
components (Helmert): the squared residuals of a kind, divided by the rows that the weights have not used up. It
holds all that the features cannot describe, the misfit of the model included.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from tqdm import tqdm

import pyuq
from pyuq.calibration import StudentScale, scores
from pyuq.io.structures import read_structures
from pyuq.models.evaluator import Evaluator
from pyuq.models.fit import Weights, check_structures, training_hash
from pyuq.models.maxvol import describe, flat_inverses, select_active_sets
from pyuq.models.posterior import Posterior, PosteriorFile, sha256
from pyuq.models.regression import BayesianRidge, NormalEquations, condition

FloatArray = NDArray[np.float64]

KINDS = {"energy": "eV/atom", "force": "eV/Å", "virial": "eV/atom"}
NOISE_UNITS = {"energy": "eV/√atom", "force": "eV/Å", "virial": "eV/√atom"}
MEANS = ("model", "refit")


@dataclass(frozen=True)
class PosteriorSettings:
    """How the posterior of a readout is found.

    Parameters
    ----------
    mean : {"model", "refit"}
        Keep the file's weights as mean, so that predictions do not change; or the mean of the regression.
    holdout : float
        Part of the structures that only judge the error bars; at least one.
    weights : Weights
        Starting values of the noise; the estimate does not depend on them.
    max_force : float
        Force components above are left out, eV/Å.
    seed : int
        Of the choice of held-out structures.
    """

    mean: str = "model"
    holdout: float = 0.2
    weights: Weights = field(default_factory=Weights)
    max_force: float = np.inf
    seed: int = 0

    def __post_init__(self):
        if self.mean not in MEANS:
            raise ValueError(f"mean = {self.mean!r}; expected one of {', '.join(MEANS)}")
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout = {self.holdout}; expected a part of 0 or more, below 1")


@dataclass(frozen=True)
class Block:
    """Rows of one kind of one structure, scaled to intensive units.

    Attributes
    ----------
    rows : (n, M)
    residuals : (n,)
        Label less the prediction of the file's weights.
    """

    rows: FloatArray
    residuals: FloatArray


def blocks(model: Evaluator, atoms: Atoms, max_force: float = np.inf) -> dict[str, Block]:
    """Rows of a structure by kind: energy and virial over √N (eV/√atom), forces (eV/Å)."""
    rows, label, w = model.rows(atoms), atoms.calc.results, model.model.weights
    forces = np.asarray(label["forces"]).reshape(-1)
    kept = np.abs(forces) <= max_force
    root = np.sqrt(len(atoms))
    found = {
        "force": Block(rows.forces[kept], (forces - rows.fixed_forces - rows.forces @ w)[kept])
    }
    if kept.all():
        energy = label["energy"] - rows.fixed_energy - rows.energy @ w
        found["energy"] = Block(rows.energy[None] / root, np.array([energy]) / root)
        if "stress" in label and all(atoms.pbc):
            virial = -np.asarray(label["stress"]) * atoms.get_volume()
            residual = virial - rows.fixed_virial - rows.virial @ w
            found["virial"] = Block(rows.virial / root, residual / root)
    return found


class Components:
    """Normal equations of each kind, and the variances of their noise."""

    def __init__(self, nreadout: int, weights: Weights):
        self.parts = {kind: NormalEquations(nreadout) for kind in KINDS}
        start = {"energy": weights.energy, "force": weights.force, "virial": weights.virial}
        self.variances = {kind: max(value, 1e-6) ** 2 for kind, value in start.items()}

    def add(self, found: dict[str, Block]) -> None:
        """Take in the rows of a structure."""
        for kind, block in found.items():
            self.parts[kind].add(block.rows, block.residuals)

    def allreduce(self, comm) -> None:
        """Sum over ranks."""
        for part in self.parts.values():
            part.allreduce(comm)

    def deviations(self) -> dict[str, float]:
        """Standard deviations of the noise by kind."""
        return {kind: float(np.sqrt(v)) for kind, v in self.variances.items()}

    def copy(self) -> "Components":
        """Return an independent copy."""
        other = Components.__new__(Components)
        other.parts = {kind: part.copy() for kind, part in self.parts.items()}
        other.variances = dict(self.variances)
        return other

    def joined(self) -> NormalEquations:
        """All rows, each over the standard deviation of its noise."""
        total = NormalEquations(next(iter(self.parts.values())).nfeatures)
        for kind, part in self.parts.items():
            total.merge(part.scaled(1.0 / self.variances[kind]))
        return total

    def update(self, posterior: Posterior, mean: str) -> float:
        """Estimate the variances anew; returns the largest relative change of a standard deviation."""
        change = 0.0
        for kind, part in self.parts.items():
            if not part.nrows:
                continue
            gram = part.gram
            if mean == "refit":
                w = posterior.mean
                misfit = part.yty - 2 * (w @ part.rhs) + w @ gram @ w
                used = float(np.sum(posterior.covariance * gram)) / self.variances[kind]
            else:  # the weights did not see these rows
                misfit, used = part.yty, 0.0
            variance = max(misfit, 0.0) / max(part.nrows - used, 0.5 * part.nrows)
            variance = max(variance, 1e-16)
            change = max(change, abs(np.sqrt(variance / self.variances[kind]) - 1.0))
            self.variances[kind] = variance
        return change


@dataclass(frozen=True)
class ReadoutPosterior:
    """The posterior of a model's readout, and what held-out structures say of it.

    Attributes
    ----------
    path : Path
        Native model file.
    elements, family
        Of the model.
    mean : (M,)
        Readout weights.
    covariance : (M, M)
    noise : dict
        {kind: standard deviation}: energy and virial in eV/√atom, force in eV/Å.
    calibration : dict
        {kind: table row}, empty without held-out structures.
    active_inverse : (Σ_z F_z²,) or None
        See :func:`pyuq.models.maxvol.flat_inverses`.
    """

    path: Path
    elements: tuple[str, ...]
    family: str
    mean: FloatArray
    covariance: FloatArray
    noise: dict[str, float]
    calibration: dict[str, dict]
    training_sha256: str
    settings: PosteriorSettings
    active_inverse: FloatArray | None = None

    def write(self, path) -> Path:
        """Write ``NAME.uq``."""
        path = Path(path)
        native = self.path.read_bytes()
        settings = json.loads(json.dumps(asdict(self.settings), default=str))
        PosteriorFile(
            model=native,
            mean=self.mean,
            covariance=self.covariance,
            elements=self.elements,
            family=self.family,
            model_sha256=sha256(native),
            training_sha256=self.training_sha256,
            provenance={
                "pyuq": pyuq.__version__,
                "settings": settings,
                "noise": self.noise,
                "calibration": self.calibration,
            },
            active_inverse=self.active_inverse,
        ).write(path)
        return path

    def table(self) -> str:
        """Markdown table of the held-out structures."""
        head = (
            "| quantity | n | RMSE | mean σ | in 1σ | in 2σ | NLL | Spearman | "
            "posterior alone: in 1σ | in 2σ | factor |"
        )
        lines = [head, "|" + "---|" * 11]
        for kind, row in self.calibration.items():
            s, alone = row["total"], row["posterior"]
            lines.append(
                f"| {kind}, {KINDS[kind]} | {s['n']} | {s['rmse']:.4g} | {s['sharpness']:.4g} | "
                f"{s['within_1']:.3f} | {s['within_2']:.3f} | {s['nll']:.3f} | {s['spearman']:.2f} | "
                f"{alone['within_1']:.3f} | {alone['within_2']:.3f} | {row['factor']:.3g} |"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class ReadoutFitSettings:
    """A fit of the readout of a model whose features stay as they are.

    Parameters
    ----------
    path : Path
        Native model file.
    elements : sequence of str
        Names of the species of a file that stores none (MTP).
    weights : Weights
        Starting values of the noise.
    max_force : float
        Force components above are left out, eV/Å.
    """

    path: Path
    elements: Sequence[str] = ()
    weights: Weights = field(default_factory=Weights)
    max_force: float = np.inf


@dataclass(frozen=True)
class ReadoutFit:
    """Mean and covariance of a refitted readout, with what exact updates need.

    It has the methods of :class:`pyuq.models.fit.FitResult`, so that either can drive active learning.

    Attributes
    ----------
    settings : ReadoutFitSettings
    features : Evaluator
        The model with the weights of its file.
    sums : Components
        Normal equations for the deviation from these weights, and the noise.
    prior : (M,)
        Prior variances.
    posterior : Posterior
        Of the weights.
    structures : list of Atoms
        The training set.
    """

    settings: ReadoutFitSettings
    features: Evaluator
    sums: Components
    prior: FloatArray
    posterior: Posterior
    structures: list[Atoms]

    def update(self, structures: Sequence[Atoms]) -> "ReadoutFit":
        """Take in further structures at the same noise and prior: exact, and without the old rows."""
        check_structures(structures, self.features.elements)
        sums = self.sums.copy()
        for atoms in structures:
            sums.add(blocks(self.features, atoms, self.settings.max_force))
        posterior = about_file(self.features, condition(sums.joined(), self.prior, 1.0))
        return replace(
            self, sums=sums, posterior=posterior, structures=[*self.structures, *structures]
        )

    def predict(self, atoms: Atoms) -> dict:
        """Energy, forces (N, 3), virial (6,) and standard deviation and noise of the energy, eV and eV/Å."""
        phi = self.features.model.sums(self.features.neighbors(atoms)[0])
        variance = float(phi @ self.posterior.covariance @ phi)
        return self.features.compute(atoms, weights=self.posterior.mean) | {
            "sigma": np.sqrt(max(variance, 0.0)),
            "noise": np.sqrt(self.sums.variances["energy"] * len(atoms)),
        }

    def save(self, folder, name: str, active_inverse: FloatArray | None = None) -> Path:
        """Write ``name.uq`` into a folder; returns its path. For `active_inverse` see :class:`ReadoutPosterior`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return ReadoutPosterior(
            path=self.settings.path,
            elements=tuple(self.features.elements),
            family=self.features.model.family,
            mean=self.posterior.mean,
            covariance=self.posterior.covariance,
            noise=self.sums.deviations(),
            calibration={},
            training_sha256=training_hash(self.structures),
            settings=PosteriorSettings(
                mean="refit",
                holdout=0.0,
                weights=self.settings.weights,
                max_force=self.settings.max_force,
            ),
            active_inverse=active_inverse,
        ).write(folder / f"{name}.uq")


def fit_readout(structures: Sequence[Atoms], settings: ReadoutFitSettings) -> ReadoutFit:
    """Fit the readout of a model anew, with noise and prior by the evidence.

    Parameters
    ----------
    structures : sequence of Atoms
        Labelled.
    settings : ReadoutFitSettings

    Raises
    ------
    ValueError
        See :func:`readout_posterior`.
    """
    structures = list(structures)
    features = native_evaluator(settings.path, settings.elements)
    check_structures(structures, features.elements)
    sums = Components(features.nreadout, settings.weights)
    for atoms in structures:
        sums.add(blocks(features, atoms, settings.max_force))
    prior, _ = find_noise(sums, "refit")
    posterior = about_file(features, condition(sums.joined(), prior, 1.0))
    return ReadoutFit(settings, features, sums, prior, posterior, structures)


def about_file(model: Evaluator, deviation: Posterior) -> Posterior:
    """Posterior of the weights from that of their deviation from the file's."""
    return replace(deviation, mean=deviation.mean + model.model.weights)


def held_out(n: int, part: float, seed: int) -> NDArray[np.bool_]:
    """Structures that only judge, (n,)."""
    chosen = np.zeros(n, dtype=bool)
    if part > 0 and n > 1:
        count = min(max(1, round(part * n)), n - 1)
        chosen[np.random.default_rng(seed).choice(n, count, replace=False)] = True
    return chosen


def readout_posterior(
    path,
    structures: Sequence[Atoms],
    settings: PosteriorSettings | None = None,
    elements: Sequence[str] = (),
    comm=None,
) -> ReadoutPosterior:
    """Give a model of any family the exact Gaussian posterior of its readout.

    Parameters
    ----------
    path : str or Path
        Native model file.
    structures : sequence of Atoms
        Labelled with energy and forces, and stress where there is one; the same on all ranks.
    settings : PosteriorSettings, optional
    elements : sequence of str
        Names of the species of a file that stores none (MTP).
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the rows; all return the same.

    Returns
    -------
    ReadoutPosterior

    Raises
    ------
    ValueError
        No structures, one without labels, or an element that the model does not know.
    """
    settings = settings or PosteriorSettings()
    path, structures = Path(path), list(structures)
    if not structures:
        raise ValueError("no structures")
    model = native_evaluator(path, elements)
    check_structures(structures, model.elements)
    judged = held_out(len(structures), settings.holdout, settings.seed)
    train, held = (
        Components(model.nreadout, settings.weights),
        Components(model.nreadout, settings.weights),
    )
    for k in tqdm(my_share(len(structures), comm), desc="rows", disable=None):
        (held if judged[k] else train).add(blocks(model, structures[k], settings.max_force))
    if comm is not None:
        train.allreduce(comm)
        held.allreduce(comm)

    prior, posterior = find_noise(train, settings.mean)
    shift = posterior.mean if settings.mean == "refit" else np.zeros(model.nreadout)
    calibration = {}
    if judged.any():
        chosen = [a for a, j in zip(structures, judged, strict=True) if j]
        calibration = judge(model, chosen, posterior, shift, train.variances, settings, comm)
    # The hyperparameters come from the training part; in the end every structure counts.
    for kind, part in train.parts.items():
        part.merge(held.parts[kind])
    final = condition(train.joined(), prior, 1.0)
    return ReadoutPosterior(
        path=path,
        elements=tuple(model.elements),
        family=model.model.family,
        mean=model.model.weights + (final.mean if settings.mean == "refit" else 0.0),
        covariance=final.covariance,
        noise=train.deviations(),
        calibration=calibration,
        training_sha256=training_hash(structures),
        settings=settings,
    )


def run_posterior(
    path,
    data: Sequence,
    elements: Sequence[str] = (),
    out=None,
    comm=None,
    active_set: bool = False,
    **settings,
) -> ReadoutPosterior:
    """Find the posterior of a model's readout from files of structures, write it, and print what it is worth.

    Parameters
    ----------
    path : str or Path
        Native model file.
    data : sequence of str or Path
        Files of labelled structures: extended XYZ, ``.cfg``, JSON.
    elements : sequence of str
        Names of the species of a file that stores none. Where the data number their species too they may stay
        unnamed; ``pair_coeff`` then names them.
    out : str or Path, optional
        Default: beside the model; of a refit ``NAME-refit.uq``, since ``NAME.uq`` speaks for the native file.
    active_set : bool
        Also choose the active set of the extrapolation grade, from all structures.
    settings
        Of :class:`PosteriorSettings`.

    Raises
    ------
    ValueError, RuntimeError
        A file is missing or wrong; the message names it.
    """
    path = Path(path)
    choice = PosteriorSettings(**settings)
    names, meant = (tuple(elements), True) if elements else species_names(path, data)
    structures = read_structures((Path(p) for p in data), names)
    result = readout_posterior(path, structures, choice, names, comm)
    sets = []
    if active_set:
        sets = select_active_sets(native_evaluator(path, names), structures, comm=comm)
        result = replace(result, active_inverse=flat_inverses(sets))
    if not meant:
        result = replace(result, elements=())
    if comm is None or comm.rank == 0:
        stem = (
            path.with_suffix("") if choice.mean == "model" else path.with_name(f"{path.stem}-refit")
        )
        written = result.write(out or stem.with_suffix(".uq"))
        species = " ".join(result.elements) or "numbered species"
        print(
            f"{path.name}: {result.family} of {species}, {len(result.mean)} readout weights, "
            f"{len(structures)} structures, mean: {choice.mean}"
        )
        print(
            "noise, misfit included: "
            + ", ".join(f"{k} {v:.3g} {NOISE_UNITS[k]}" for k, v in result.noise.items())
        )
        if sets:
            print(describe(sets, result.elements or [str(z) for z in range(len(sets))]))
        if result.calibration:
            print(f"\nheld-out structures ({choice.holdout:.0%}):\n\n{result.table()}\n")
        print(f"written: {written}")
    return result


def species_names(path: Path, data: Sequence) -> tuple[tuple[str, ...], bool]:
    """Names of the species of a file that stores none, and whether they mean anything.

    Those of the data in alphabetical order; where the data number their species too, placeholders.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    text = path.read_text(errors="replace") if path.suffix != ".uq" else ""
    if not text.startswith("MTP"):
        return (), True
    if not any(Path(p).suffix == ".cfg" for p in data):
        frames = read_structures(map(Path, data))
        return tuple(sorted({s for atoms in frames for s in atoms.get_chemical_symbols()})), True
    count = re.search(r"species_count\s*=\s*(\d+)", text)
    return tuple(chemical_symbols[1 : int(count[1]) + 1]) if count else (), False


def native_evaluator(path: Path, elements: Sequence[str]) -> Evaluator:
    """Load a native model file without the posterior that may lie beside it.

    Raises
    ------
    ValueError
        It is a posterior itself.
    """
    if path.suffix == ".uq":
        raise ValueError(f"{path} is a posterior; name the native model file")
    return Evaluator(path, elements=elements, posterior=False)


def my_share(n: int, comm) -> range:
    """Structures of this rank."""
    return range(n) if comm is None else range(comm.rank, n, comm.size)


def find_noise(train: Components, mean: str, limit: int = 30) -> tuple[FloatArray, Posterior]:
    """Prior variances and posterior at the variance components of the noise."""
    for _ in range(limit):
        normal = train.joined()
        # One prior for weights in units in which each feature matters alike.
        diagonal = np.diag(normal.gram)
        shape = 1.0 / np.maximum(diagonal, 1e-12 * max(diagonal.max(), 1e-300))
        ridge = BayesianRidge(prior_shape=shape, noise_variance=1.0).fit_statistics(normal)
        if train.update(ridge.posterior_, mean) < 1e-4:
            break
    return ridge.prior_variance_, ridge.posterior_


def judge(
    model: Evaluator,
    structures: Sequence[Atoms],
    posterior: Posterior,
    shift: FloatArray,
    variances: dict[str, float],
    settings: PosteriorSettings,
    comm,
) -> dict[str, dict]:
    """Scores of the error bars on held-out structures, by kind."""
    collected = {kind: [] for kind in KINDS}
    for k in my_share(len(structures), comm):
        found = blocks(model, structures[k], settings.max_force)
        for kind, block in found.items():
            error = block.residuals - block.rows @ shift
            _, sigma = posterior.predict(block.rows)
            total = np.sqrt(sigma**2 + variances[kind])
            # Intensive: √N of the rows once more.
            unit = 1.0 if kind == "force" else 1.0 / np.sqrt(len(structures[k]))
            collected[kind].append(unit * np.array([error, sigma, total]))
    if comm is not None:
        parts = comm.allgather(collected)
        collected = {kind: [b for part in parts for b in part[kind]] for kind in KINDS}
    result = {}
    for kind, values in collected.items():
        if not values:
            continue
        error, sigma, total = np.concatenate(values, axis=1)
        floor = 1e-12 * max(total.max(), 1e-300)
        result[kind] = {
            "total": asdict(scores(error, np.maximum(total, floor))),
            "posterior": asdict(scores(error, np.maximum(sigma, floor))),
            "factor": StudentScale().update(error, np.maximum(total, floor)).scale,
        }
    return result
