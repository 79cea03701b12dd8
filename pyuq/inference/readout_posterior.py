# SPDX-License-Identifier: GPL-2.0-or-later
r"""Error bars for a potential that exists: the posterior of its readout, from its training data.

Every model is linear in its readout weights, :math:`E = w\cdot\Phi + E^0`. Given labelled structures, the features stay
as they are and the deviation :math:`\delta` from the file's weights is the unknown of a Bayesian linear regression,
:math:`y - \Phi w_\mathrm{file} = \Phi\,\delta + \epsilon`, with a Gaussian prior about zero, as wide as the labels
ask for weights to be. The rows of energies, forces and virials stream by; what is kept grows with the number of
weights, not of structures.

The noise :math:`\epsilon` has one variance for energies, one for forces and one for virials, estimated as variance
components (Helmert): the squared residuals of a kind, divided by the rows that the weights have not used up. It
holds all that the features cannot describe, the misfit of the model included.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

import pyuq
from pyuq.brief import brief
from pyuq.calibration import StudentScale, scores
from pyuq.errors import InputError
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.fit_settings import Weights
from pyuq.inference.leave_one_out import LeaveOneOut, Scale, leave_out
from pyuq.inference.pops import UNCERTAINTIES, Pops, Spread, pops, whitening
from pyuq.inference.posterior import Posterior, PosteriorFile
from pyuq.inference.readout_sums import (
    KINDS,
    Components,
    Partial,
    accumulate,
    row_stream,
    weighed,
)
from pyuq.inference.regression import (
    BayesianRidge,
    Conditioning,
    NormalEquations,
    condition,
)
from pyuq.inference.rows import RowBlock, Weighted
from pyuq.io.files import read_metadata
from pyuq.io.identity import hash_bytes, hash_file, joined_hash, repetition_note, training_record
from pyuq.io.structures import StructureFiles
from pyuq.parallel import Reducer
from pyuq.settings import choose, limits

FloatArray = NDArray[np.float64]

NOISE_UNITS = {"energy": "eV/√atom", "force": "eV/Å", "virial": "eV/√atom"}
MEANS = ("model", "refit")


@brief()
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
    uncertainty : {"pops", "bayes"}
        See :class:`pyuq.inference.fit_settings.FitSettings`.
    """

    mean: str = "model"
    holdout: float = 0.2
    weights: Weights = field(default_factory=Weights)
    max_force: float = np.inf
    seed: int = 0
    uncertainty: str = "pops"

    def __post_init__(self):
        choose("mean", self.mean, MEANS)
        choose("uncertainty", self.uncertainty, UNCERTAINTIES)
        limits(max_force=self.max_force)
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout = {self.holdout}; expected a part of 0 or more, below 1")


@brief()
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
        {kind: standard deviation}: energy and virial in eV/√atom, force in eV/Å; of kinds that the data have.
    calibration : dict
        {kind: table row}, empty without held-out structures.
    conditioning : Conditioning or None
    copies : str
        What :func:`pyuq.io.identity.repetition_note` says of the structures.
    active_inverse : (Σ_z F_z²,) or None
        See :func:`pyuq.inference.maxvol.flat_inverses`.
    training : sequence of str
        What :func:`pyuq.io.identity.training_record` keeps of the structures.
    rows : int
        Of the regression.
    leave_one_out : LeaveOneOut or None
        Errors of structures left out of the regression, one by one.
    interpolated : str
        What :meth:`pyuq.inference.pops.Pops.note` says.
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
    conditioning: Conditioning | None = None
    copies: str = ""
    active_inverse: FloatArray | None = None
    training: Sequence[str] = ()
    rows: int = 0
    leave_one_out: LeaveOneOut | None = None
    interpolated: str = ""

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
            model_sha256=hash_bytes(native),
            training_sha256=self.training_sha256,
            provenance={
                "pyuq": pyuq.__version__,
                "settings": settings,
                "noise": self.noise,
                "calibration": self.calibration,
                "conditioning": asdict(self.conditioning) if self.conditioning else None,
                "training": list(self.training),
            },
            active_inverse=self.active_inverse,
            uncertainty=self.settings.uncertainty,
            leave_one_out=self.leave_one_out.table() if self.leave_one_out is not None else {},
        ).write(path)
        return path

    def table(self) -> str:
        """Markdown table of the held-out structures."""
        head = (
            "| quantity | n | RMSE | mean σ | in 1σ | in 2σ | NLL | Spearman | "
            "weights alone: in 1σ | in 2σ | factor |"
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


def other_zero(calibration: dict[str, dict]) -> str:
    """Say it where the labels' energies are as good as a constant away from the model's; else nothing."""
    row = calibration.get("energy", {"bias": 0.0})
    if abs(row["bias"]) < 0.02 or abs(row["bias"]) < 0.95 * row["total"]["rmse"]:
        return ""
    return (
        f"labels lie {row['bias']:+.3g} eV/atom from the model's energies: another zero of energy? The noise of "
        "energies now holds it, and they teach nothing; shift the labels"
    )


def held_out(n: int, part: float, seed: int) -> NDArray[np.bool_]:
    """Structures that only judge, (n,)."""
    chosen = np.zeros(n, dtype=bool)
    if part > 0 and n > 1:
        count = min(max(1, round(part * n)), n - 1)
        chosen[np.random.default_rng(seed).choice(n, count, replace=False)] = True
    return chosen


def readout_posterior(
    path,
    structures: Sequence[Atoms] | StructureFiles,
    settings: PosteriorSettings | None = None,
    elements: Sequence[str] = (),
    comm=None,
    partial: Partial | None = None,
) -> ReadoutPosterior:
    """Give a model of any family a Gaussian belief about its readout.

    Parameters
    ----------
    path : str or Path
        Native model file.
    structures : sequence of Atoms or StructureFiles
        Labelled with energy and forces, and stress where there is one; the same on all ranks.
    settings : PosteriorSettings, optional
    elements : sequence of str
        Names of the species of a file that stores none (MTP).
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the rows; all return the same.
    partial : Partial, optional
        Where this rank keeps unfinished sums.

    Returns
    -------
    ReadoutPosterior

    Raises
    ------
    InputError
        Too few structures, one without labels, an element that the model does not know, no rows because of
        `max_force`, or a network of several samples.
    """
    settings, path = settings or PosteriorSettings(), Path(path)
    model = native_evaluator(path, elements)
    if len(structures) < (2 if settings.holdout else 1):
        raise InputError(
            f"found {len(structures)} structures; expected at least 1, and 2 with holdout = {settings.holdout}: one "
            "to learn from, one to judge by"
        )
    judged = held_out(len(structures), settings.holdout, settings.seed)
    train, held, hashes = accumulate(
        model, structures, judged, settings.weights, settings.max_force, comm, partial
    )
    if not train.parts["energy"].nrows:
        raise InputError(
            f"max_force = {settings.max_force:g} eV/Å leaves no whole structure to learn from: raise it"
        )
    prior, posterior = find_noise(train, model.model.weights, settings.mean)
    shift = posterior.mean if settings.mean == "refit" else np.zeros(model.nreadout)
    stream = row_stream(model, structures, settings.max_force, comm, hashes)
    calibration = {}
    if judged.any():
        normal, seen = train.joined(), weighed(stream, train, ~judged)
        posterior, _, left = belief(seen, normal, prior, posterior, shift, settings, comm)
        calibration = judge(weighed(stream, train, judged), posterior, shift, left.scales, comm)
    # The hyperparameters come from the training part; in the end every structure counts.
    for kind, part in train.parts.items():
        part.merge(held.parts[kind])
    total = train.joined()
    final = condition(total, prior, 1.0)
    shift = final.mean if settings.mean == "refit" else np.zeros(model.nreadout)
    final, box, left = belief(weighed(stream, train), total, prior, final, shift, settings, comm)
    return ReadoutPosterior(
        path=path,
        elements=tuple(model.elements),
        family=model.model.family,
        mean=model.model.weights + shift,
        covariance=final.covariance,
        noise={k: v for k, v in train.deviations().items() if train.parts[k].nrows},
        calibration=calibration,
        training_sha256=joined_hash(hashes),
        training=training_record(hashes),
        rows=total.nrows,
        settings=settings,
        conditioning=Conditioning.of(total, prior, absent(model, total)),
        copies=repetition_note(hashes),
        leave_one_out=left,
        interpolated=box.note() if box is not None else "",
    )


def belief(
    stream: Weighted,
    normal: NormalEquations,
    prior: FloatArray,
    posterior: Posterior,
    shift: FloatArray,
    settings: PosteriorSettings,
    comm=None,
) -> tuple[Posterior, Pops | None, LeaveOneOut]:
    """Return the posterior with the covariance asked for, the box that it comes from, and errors left out.

    shift: weights (M,) that predict, as a deviation from the file's; where these are kept, nothing is learnt from the
    structures but their covariance.
    """
    reducer, box = Reducer(comm), None
    white = whitening(normal, prior, 1.0)
    spread = Spread(white, np.ones(normal.nfeatures))
    if settings.uncertainty == "pops":
        spread = box = pops(stream, shift, white, 1.0, reducer)
        posterior = replace(posterior, covariance=box.covariance())
    left = leave_out(stream, shift, spread, 1.0, reducer=reducer, fixed=settings.mean == "model")
    return posterior, box, LeaveOneOut.of(left)


def absent(model: Evaluator, normal: NormalEquations) -> list[str]:
    """Elements whose features no structure has: of species with features of their own, or constants."""
    empty = np.diag(normal.gram) == 0.0
    return [
        element
        for z, (element, (first, count)) in enumerate(
            zip(model.elements, model.model.blocks, strict=True)
        )
        if empty[first : first + count].all() or (model.model.family == "mtp" and empty[z])
    ]


def species_names(path: Path, data: Sequence) -> tuple[tuple[str, ...], bool]:
    """Names of the species of a file that stores none, and whether they mean anything.

    Those of its posterior, where it has one; of a single species that of the data; where the data number their
    species too, placeholders.

    Raises
    ------
    InputError
        No such file, or several species whose order nothing tells.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    text = path.read_text(errors="replace") if path.suffix != ".uq" else ""
    if not text.startswith("MTP"):
        return (), True
    stored = read_metadata(path.with_suffix(".uq"))
    if stored.get("elements") and stored.get("model_sha256") == hash_file(path):
        return tuple(stored["elements"].split()), True
    count = re.search(r"species_count\s*=\s*(\d+)", text)
    if not count:
        return (), True
    numbered = [Path(p).suffix == ".cfg" for p in data]
    if all(numbered):
        return tuple(chemical_symbols[1 : int(count[1]) + 1]), False
    if int(count[1]) > 1 or any(numbered):
        raise InputError(
            f"{path} numbers its {count[1]} species and the data name theirs: say which is which, in the order of "
            "the file, as in --elements Mg,Bi,Sb"
        )
    found = {s for atoms in StructureFiles(data) for s in atoms.get_chemical_symbols()}
    return tuple(sorted(found)), True


def native_evaluator(path: Path, elements: Sequence[str]) -> Evaluator:
    """Load a native model file without the posterior that may lie beside it.

    Raises
    ------
    InputError
        It is a posterior itself, or holds several samples (of a network).
    """
    require_native(path)
    model = Evaluator(path, elements=elements, posterior=False)
    if model.model.has_posterior:  # of the file itself
        raise InputError(
            f"{path} holds several samples, whose spread is its uncertainty; the posterior of a readout wants one: "
            "write them apart with `pyuq bnn export --apart`, and name all files in pair_coeff"
        )
    return model


def require_native(path: Path) -> None:
    """Refuse a posterior where the native model file is meant.

    Raises
    ------
    InputError
        The path is that of a posterior.
    """
    if path.suffix == ".uq":
        raise InputError(f"{path} is a posterior; name the native model file")


def find_noise(
    train: Components, weights: FloatArray, mean: str, limit: int = 30
) -> tuple[FloatArray, Posterior]:
    """Prior variances (M,), and posterior of the deviation from the file's weights, at the noise of the data.

    One prior for all weights, in units in which every feature matters alike, of the scale that makes the labels
    likeliest with weights about zero. About the file's weights the evidence would see data that these have already
    learnt, and shrink the prior until nothing is left for the data to determine.
    """
    for _ in range(limit):
        normal = train.joined()
        diagonal = np.diag(normal.gram)
        shape = 1.0 / np.maximum(diagonal, 1e-12 * max(diagonal.max(), 1e-300))
        ridge = BayesianRidge(prior_shape=shape, noise_variance=1.0)
        prior = ridge.fit_statistics(normal.shifted(weights)).prior_variance_
        posterior = condition(normal, prior, 1.0)
        if train.update(posterior, mean) < 1e-4:
            break
    return prior, posterior


def judge(
    stream: Iterable[RowBlock],
    posterior: Posterior,
    shift: FloatArray,
    scales: dict[str, Scale],
    comm=None,
) -> dict[str, dict]:
    """Scores of the error bars on held-out structures, by kind.

    Parameters
    ----------
    stream : iterable of RowBlock
        Of the held-out structures of this rank, weighted to a noise of 1.
    posterior : Posterior
    shift : (M,)
        Weights that predict.
    scales : dict
        {column: Scale} of structures left out of the others; without one, σ and noise together are the error bar.
    comm : mpi4py.MPI.Comm, optional
    """
    collected = []
    for block in stream:
        error = (block.targets - block.rows @ shift) * block.units
        sigma = posterior.predict(block.rows)[1] * block.units
        total = np.hypot(sigma, block.units)
        for column in np.unique(block.columns):
            if column in scales:
                mine = block.columns == column
                total[mine] = scales[column].deviation(sigma[mine])
        kinds = np.array([column.split()[0] for column in map(str, block.columns)])
        collected.append((kinds, np.array([error, sigma, total])))
    collected = Reducer(comm).gathered(collected)
    kinds = np.concatenate([k for k, _ in collected])
    values = np.concatenate([v for _, v in collected], axis=1)
    result = {}
    for kind in KINDS:
        error, sigma, total = values[:, kinds == kind]
        if not len(error):
            continue
        floor = 1e-12 * max(total.max(), 1e-300)
        result[kind] = {
            "total": asdict(scores(error, np.maximum(total, floor))),
            "posterior": asdict(scores(error, np.maximum(sigma, floor))),
            "factor": StudentScale().update(error, np.maximum(total, floor)).scale,
            "bias": float(error.mean()),
        }
    return result
