# SPDX-License-Identifier: GPL-2.0-or-later
"""Fit a linear potential to labelled structures, with the uncertainty of its weights."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms

import pyuq
from pyuq.brief import brief, html_table
from pyuq.errors import InputError
from pyuq.evaluate.committee import Committee, prediction
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.fit_state import FitState
from pyuq.inference.leave_one_out import LeaveOneOut, leave_groups_out, leave_out
from pyuq.inference.mtp_radial import refine
from pyuq.inference.pops import UNCERTAINTIES, Pops, Spread, pops, whitening
from pyuq.inference.posterior import Posterior, PosteriorFile
from pyuq.inference.regression import ARDRegression, BayesianRidge, Conditioning, NormalEquations
from pyuq.inference.rows import BUDGET, Reducer, RowBlock, RowStream
from pyuq.io.files import write_text
from pyuq.io.identity import hash_bytes
from pyuq.io.structures import check_structures, group_of
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.mtp import MTPBasis
from pyuq.potentials.yace import Repulsion, repulsion_inside, shortest_distances
from pyuq.settings import choose, limits, not_negative

SOLVERS = ("ridge", "ard")
STEEPEST = 20.0  # smoothness; beyond, prior variances leave double precision
Basis = ACEBasis | MTPBasis


HASH_DIGITS = 16  # of the hash of a structure that a posterior keeps
FEW = 10  # structures from which nothing general can be said
SPENT = (
    0.3  # of the rows, that weights have used up: residuals then show the weights, not the model
)


@brief()
@dataclass(frozen=True)
class Weights:
    """Standard deviation at which each kind of label is to be met, up to the noise that the fit finds.

    Parameters
    ----------
    energy : float
        eV/atom; the deviation of a structure of N atoms is energy · √N.
    force : float
        eV/Å.
    virial : float
        eV/atom; of a structure: virial · √N. Zero or negative: virials are left out.
    """

    energy: float = 0.005
    force: float = 0.05
    virial: float = 0.05

    def __post_init__(self):
        if not (self.energy > 0 and self.force > 0):
            raise InputError(
                f"energy and force deviations must be positive, found {self.energy}, {self.force}"
            )
        if np.isnan(self.virial):
            raise InputError(
                "the virial deviation is nan; expected a number, 0: virials are left out"
            )


@brief()
@dataclass(frozen=True)
class Solver:
    """How the weights are found.

    Parameters
    ----------
    kind : str
        ``ridge`` or ``ard``.
    smoothness : float
        Prior standard deviation falls as (1 + degree)^-smoothness, of MTP as level^-smoothness.
    """

    kind: str = "ridge"
    smoothness: float = 1.0

    def __post_init__(self):
        if self.kind not in SOLVERS:
            raise InputError(f"kind must be one of {', '.join(SOLVERS)}, found {self.kind!r}")
        if not 0 <= self.smoothness <= STEEPEST:
            raise InputError(
                f"smoothness = {self.smoothness}; expected a number from 0 to {STEEPEST}"
            )

    def estimator(self, basis: Basis, normal: NormalEquations) -> BayesianRidge | ARDRegression:
        """Return the regression for a basis and data."""
        shape = basis.prior_shape(self.smoothness, normal.gram)
        return (BayesianRidge if self.kind == "ridge" else ARDRegression)(prior_shape=shape)


@brief()
@dataclass(frozen=True)
class RepulsionSettings:
    """Short-range repulsion inside the data, see :class:`pyuq.potentials.yace.Repulsion`; not of MTP."""

    zbl: bool = True
    margin: float = 0.1

    def __post_init__(self):
        not_negative(margin=self.margin)

    def choose(self, structures: Sequence[Atoms], basis: Basis) -> Repulsion | None:
        """Return the repulsion for a training set."""
        if not self.zbl or basis.family == "mtp":  # whose format has none
            return None
        return repulsion_inside(structures, basis.elements, basis.largest_cutoff, self.margin)


@brief()
@dataclass(frozen=True)
class FitSettings:
    """Everything that defines a fit, apart from the data.

    Parameters
    ----------
    basis : ACEBasis or MTPBasis
    weights : Weights
    groups : dict
        {config_type: weights}: structures of a group are weighted by these instead.
    solver : Solver
    repulsion : RepulsionSettings
    one_body : dict, optional
        {element: energy in eV}; default: isolated atoms of the training set, or, without them, least
        squares of the energies on the composition.
    max_force : float
        A structure with a larger force component keeps only its smaller ones, eV/Å.
    uncertainty : {"pops", "bayes"}
        The covariance of the weights: the box of pointwise fits, which knows what the basis cannot describe
        (:mod:`pyuq.inference.pops`), or the exact posterior, which does not.
    """

    basis: Basis
    weights: Weights = field(default_factory=Weights)
    groups: dict[str, Weights] = field(default_factory=dict)
    solver: Solver = field(default_factory=Solver)
    repulsion: RepulsionSettings = field(default_factory=RepulsionSettings)
    one_body: dict[str, float] | None = None
    max_force: float = np.inf
    uncertainty: str = "pops"

    def __post_init__(self):
        limits(max_force=self.max_force)
        choose("uncertainty", self.uncertainty, UNCERTAINTIES)
        for element, energy in (self.one_body or {}).items():
            if element not in self.basis.elements or not np.isfinite(energy):
                raise InputError(
                    f"one_body: {element} = {energy}; expected finite energies (eV) of "
                    f"{', '.join(self.basis.elements)}"
                )

    def table(self) -> dict:
        """Settings as a JSON table."""
        table = {f.name: getattr(self, f.name) for f in fields(self)} | {
            "basis": self.basis.table()
        }
        return json.loads(
            json.dumps(table, default=lambda x: asdict(x) if is_dataclass(x) else str(x))
        )


def fit_one_body(structures: Sequence[Atoms], elements: Sequence[str]) -> dict[str, float]:
    """One-body energies (eV) that explain the energies best; of minimal norm where undetermined."""
    counts = np.array([[a.symbols.count(e) for e in elements] for a in structures], dtype=float)
    size = counts.sum(axis=1)
    energies = np.array([a.calc.results["energy"] for a in structures])
    e0 = np.linalg.lstsq(counts / size[:, None], energies / size, rcond=1e-8)[0]
    return dict(zip(elements, map(float, e0), strict=True))


def isolated_atoms(
    structures: Sequence[Atoms], elements: Sequence[str], cutoff: float
) -> dict[str, float] | None:
    """Energies (eV) of atoms without neighbours; None unless there is one of every element."""
    energies = {
        atoms.get_chemical_symbols()[0]: float(atoms.calc.results["energy"])
        for atoms in structures
        if len(atoms) == 1 and not shortest_distances([atoms], elements, cutoff)
    }
    return energies if energies.keys() >= set(elements) else None


def training_hash(structures: Iterable[Atoms]) -> str:
    """Hash of positions, cells, species and labels, independent of their order."""
    return joined_hash(map(structure_hash, structures))


def structure_hash(atoms: Atoms) -> str:
    """Hash of positions, cell, species and label of one structure."""
    h = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
        h.update(np.ascontiguousarray(array).tobytes())
    for name in ("energy", "forces", "stress"):
        if name in atoms.calc.results:
            h.update(np.asarray(atoms.calc.results[name], dtype=float).tobytes())
    return h.hexdigest()


def joined_hash(hashes: Iterable[str]) -> str:
    """Hash of a set of structures from theirs."""
    return hash_bytes("".join(sorted(hashes)).encode())


def training_record(hashes: Iterable[str]) -> list[str]:
    """Beginnings of the hashes of structures, which a posterior keeps so that none of them is taken for a judge."""
    return sorted(h[:HASH_DIGITS] for h in hashes)


def repetition_note(hashes: Iterable[str], test: Iterable[str] = ()) -> str:
    """Say how many structures are there more than once; empty if none.

    Copies are not taken out: data sets give structures weight in this way. Their labels count as so many
    independent ones, which they are not, and a copy that judges has been learnt.

    Parameters
    ----------
    hashes, test : iterable of str
        :func:`structure_hash` of the structures that teach, and of those that judge.
    """
    counts, test, notes = Counter(hashes), list(test), []
    if copies := counts.total() - len(counts):
        notes.append(
            f"{copies} of {counts.total()} training structures are exact copies of others and count again: unless "
            "this weight is meant, leave them out, or error bars come out too small"
        )
    if known := sum(h in counts for h in test):
        notes.append(
            f"{known} of {len(test)} test structures are training structures too: their errors say nothing of new ones"
        )
    return "; ".join(notes)


def few_data_note(structures: int, rows: int, effective: float) -> str:
    """Say where a fit rests on so little that its errors and its noise mean nothing beyond it; empty if it does not.

    Parameters
    ----------
    structures, rows : int
        That taught.
    effective : float
        Number of weights that they determine, see :class:`pyuq.inference.regression.Conditioning`.
    """
    found = []
    if structures < FEW:
        found.append(f"only {structures} structure{'s' if structures > 1 else ''} taught")
    if effective > SPENT * rows:
        found.append(f"{rows} rows determine {effective:.0f} weights")
    if not found:
        return ""
    return (
        f"{' and '.join(found)}: errors on the training set, the noise and the error bars say how well these "
        "structures can be reproduced, not how wrong the potential is on others; give more structures, and judge by "
        "a test set"
    )


@brief()
@dataclass
class FitResult:
    """A fitted potential.

    Attributes
    ----------
    settings : FitSettings
    one_body : dict
        One-body energies, eV.
    repulsion : Repulsion or None
    normal : NormalEquations
        Of all structures taken in.
        Their targets are what the prior mean leaves.
    regression : BayesianRidge or ARDRegression
        Fitted; knows the hyperparameters.
    posterior : Posterior
        With the covariance that the settings ask for.
    structures : list of Atoms
        The training set.
    pops : Pops or None
        The box of pointwise fits, where that is the covariance.
    leave_one_out : LeaveOneOut or None
        Errors of structures left out, where :func:`fit` was asked for them; of the fit, not of later updates.
    """

    settings: FitSettings
    one_body: dict[str, float]
    repulsion: Repulsion | None
    normal: NormalEquations
    regression: BayesianRidge | ARDRegression
    posterior: Posterior
    structures: list[Atoms]
    pops: Pops | None = None
    leave_one_out: LeaveOneOut | None = None

    def _repr_html_(self) -> str:
        """Table of a notebook: what was fitted, to what, and the noise that is left."""
        noise = self.noise
        rows = [
            ("family", self.basis.family.upper()),
            ("elements", ", ".join(self.basis.elements)),
            ("functions", self.basis.nfunctions),
            ("training structures", len(self.structures)),
            ("rows of the regression", self.normal.nrows),
            ("noise of energies, eV/√atom", noise["energy"]),
            ("noise of force components, eV/Å", noise["force"]),
            ("log evidence", self.posterior.log_evidence),
        ]
        return html_table("Fitted potential", ("", ""), rows)

    @property
    def basis(self) -> Basis:
        """The functions."""
        return self.settings.basis

    @cached_property
    def features(self) -> Evaluator:
        """Evaluator of the features: all weights are one."""
        return feature_evaluator(self.basis, self.one_body, self.repulsion)

    @cached_property
    def committee(self) -> Committee:
        """The fitted model, a committee of one."""
        weights = self.posterior
        return Committee([self.features.with_readout(weights.mean, weights.covariance)])

    @property
    def noise(self) -> dict[str, float]:
        """Standard deviation of the noise, misfit included: of energies (eV/√atom) and force components (eV/Å)."""
        root, weights = np.sqrt(self.posterior.noise_variance), self.settings.weights
        return {"energy": root * weights.energy, "force": root * weights.force}

    def update(self, structures: Sequence[Atoms]) -> "FitResult":
        """Take in further structures at fixed hyperparameters, without the old rows.

        Returns
        -------
        FitResult
            A new one; mean and exact posterior equal those of the fit of all structures with the same
            hyperparameters. Of a box of pointwise fits the metric is exact; it grows where the new rows ask for it, see
            :meth:`pyuq.inference.pops.Pops.updated`, and is found anew by the next fit.
        """
        check_structures(structures, self.basis.elements)
        normal = self.normal.copy()
        found = []
        for atoms in structures:
            rows, targets, weights = centered_rows(
                self.features, atoms, self.settings, self.one_body
            )
            normal.add(rows, targets, weights)
            found.append((rows * weights[:, None], targets * weights))
        # From the updated normal equations and not Posterior.update: as exact, and a subtraction of
        # covariances would lose digits where the prior is wide and the data are sharp.
        posterior, box = self.regression.condition(normal), self.pops
        if box is not None and found:
            X, y = (np.concatenate([part[i] for part in found]) for i in (0, 1))
            box = box.updated(X, y - X @ posterior.mean)
        if box is not None:
            posterior = replace(posterior, covariance=box.covariance())
        result = replace(
            self,
            normal=normal,
            posterior=shift(posterior, self.basis, self.one_body),
            structures=[*self.structures, *structures],
            pops=box,
            leave_one_out=None,
        )
        result.__dict__["features"] = self.features
        return result

    def state(self, asked: FitSettings) -> FitState:
        """Return what `fit` needs to go on with further structures; `asked`: the settings that it was given."""
        mtp = self.basis.family == "mtp"
        return FitState(
            settings=asked.table(),
            one_body=self.one_body,
            repulsion=self.repulsion,
            hashes=tuple(map(structure_hash, self.structures)),
            normal=self.normal,
            radial=self.basis.radial if mtp else None,
            min_dist=self.basis.min_dist if mtp else None,
        )

    def conditioning(self) -> Conditioning:
        """How well the data determine the weights."""
        normal = self.normal.scaled(1.0 / self.posterior.noise_variance)
        seen = {symbol for atoms in self.structures for symbol in set(atoms.symbols)}
        absent = [element for element in self.basis.elements if element not in seen]
        return Conditioning.of(normal, self.posterior.prior_variance, absent)

    def predict(self, atoms: Atoms) -> dict:
        """Energy, forces (N, 3), virial (6,) and the standard deviation of the energy, eV and eV/Å.

        ``sigma`` is that of the weights' covariance, ``noise`` that of the regression's noise, ``total`` that of the
        error: calibrated where structures were left out, else both together.
        """
        found = prediction(self.committee, atoms)
        noise = float(np.sqrt(self.posterior.noise_variance)) * self._energy_deviation(atoms)
        total = float(np.hypot(found["sigma"], noise))
        if self.leave_one_out is not None and "energy" in self.leave_one_out.scales:
            scale = self.leave_one_out.scales["energy"]
            total = len(atoms) * float(scale.deviation(found["sigma"] / len(atoms)))
        return found | {"noise": noise, "total": total}

    def _energy_deviation(self, atoms: Atoms) -> float:
        return weights_of(atoms, self.settings).energy * np.sqrt(len(atoms))

    def export(self) -> str:
        """Text of the native file: mean weights folded in."""
        return self.basis.text(self.posterior.mean, self.one_body, self.repulsion)

    def save(self, folder, name: str, active_inverse: np.ndarray | None = None) -> Path:
        """Write ``name.yace`` (or ``name.mtp``) and ``name.uq`` into a folder.

        Parameters
        ----------
        folder : str or Path
        name : str
        active_inverse : ndarray, optional
            See :func:`pyuq.inference.maxvol.flat_inverses`.

        Returns
        -------
        Path
            Of the posterior, which is all that ``pair_coeff`` needs.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        native = self.export()
        posterior = PosteriorFile(
            model=self.basis.text(None, self.one_body, self.repulsion).encode(),
            mean=self.posterior.mean,
            covariance=self.posterior.covariance,
            elements=self.basis.elements,
            family=self.basis.family,
            model_sha256=hash_bytes(native.encode()),
            training_sha256=training_hash(self.structures),
            provenance={
                "pyuq": pyuq.__version__,
                "settings": self.settings.table(),
                "structures": len(self.structures),
                "rows": self.normal.nrows,
                "noise_variance": self.posterior.noise_variance,
                "log_evidence": self.posterior.log_evidence,
                "training": training_record(map(structure_hash, self.structures)),
            },
            active_inverse=active_inverse,
            uncertainty=self.settings.uncertainty,
            leave_one_out=self.leave_one_out.table() if self.leave_one_out is not None else {},
        )
        # A crash between the two leaves a pair whose hashes differ, which every reader refuses.
        posterior.write(folder / f"{name}.uq")
        write_text(folder / f"{name}{self.basis.suffix}", native)
        return folder / f"{name}.uq"


def feature_evaluator(
    basis: Basis, one_body: Mapping[str, float], repulsion: Repulsion | None
) -> Evaluator:
    """Evaluator of a basis with unit weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"basis{basis.suffix}"
        path.write_text(basis.text(None, one_body, repulsion))
        return Evaluator(path, elements=basis.elements)


def weights_of(atoms: Atoms, settings: FitSettings) -> Weights:
    """Weights that apply to a structure."""
    return settings.groups.get(group_of(atoms), settings.weights)


def row_weights(atoms: Atoms, settings: FitSettings) -> tuple[float, np.ndarray, float]:
    """Weights of the rows of a labelled structure: energy, forces (N, 3), virial; zero: left out."""
    weights, label = weights_of(atoms, settings), atoms.calc.results
    kept = np.abs(label["forces"]) <= settings.max_force
    forces = kept / weights.force
    if not kept.all():
        return 0.0, forces, 0.0
    extensive = np.sqrt(len(atoms))
    virial = "stress" in label and weights.virial > 0 and all(atoms.pbc)
    return (
        1.0 / (weights.energy * extensive),
        forces,
        1.0 / (weights.virial * extensive) if virial else 0.0,
    )


def weighted_rows(
    features: Evaluator, atoms: Atoms, settings: FitSettings, neighbors=None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, M), targets (n,) and weights (n,) of one labelled structure.

    neighbors: :meth:`Evaluator.neighbors` of the structure, if already known.
    """
    rows, label = features.rows(atoms, neighbors), atoms.calc.results
    energy_weight, force_weights, virial_weight = row_weights(atoms, settings)
    force_weights = force_weights.reshape(-1)
    kept = force_weights > 0
    blocks = [rows.forces[kept]]
    targets = [(np.asarray(label["forces"]).reshape(-1) - rows.baseline_forces)[kept]]
    scale = [force_weights[kept]]
    if energy_weight:
        blocks.append(rows.energy[None, :])
        targets.append([label["energy"] - rows.baseline_energy])
        scale.append([energy_weight])
    if virial_weight:
        blocks.append(rows.virial)
        targets.append(-np.asarray(label["stress"]) * atoms.get_volume() - rows.baseline_virial)
        scale.append(np.full(6, virial_weight))
    return np.vstack(blocks), np.concatenate(targets), np.concatenate(scale)


def centered_rows(
    features: Evaluator, atoms: Atoms, settings: FitSettings, one_body: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`weighted_rows` with targets from which the prior mean is taken."""
    rows, targets, weights = weighted_rows(features, atoms, settings)
    return rows, targets - rows @ settings.basis.prior_mean(one_body), weights


def row_columns(atoms: Atoms, kept: np.ndarray, energy: bool, virial: bool) -> np.ndarray:
    """What the rows of a structure are reported under, in the order forces, energy, virial; kept: of forces (3 N,)."""
    species = np.repeat([f"force {s}" for s in atoms.symbols], 3)[kept]
    return np.concatenate([species, ["energy"] * energy, ["virial"] * 6 * virial])


def row_blocks(
    features: Evaluator,
    structures: Sequence[Atoms],
    settings: FitSettings,
    one_body: Mapping[str, float],
    indices: Sequence[int],
) -> Iterator[RowBlock]:
    """Weighted rows of the structures of these indices, with what reports need."""
    hashes = [structure_hash(atoms) for atoms in structures]
    copies = Counter(hashes)
    for k in indices:
        atoms = structures[k]
        rows, targets, weights = centered_rows(features, atoms, settings, one_body)
        energy, forces, virial = row_weights(atoms, settings)
        columns = row_columns(atoms, forces.reshape(-1) > 0, bool(energy), bool(virial))
        units = np.where(np.char.startswith(columns, "force"), 1.0, 1.0 / len(atoms))
        yield RowBlock(
            k, group_of(atoms), copies[hashes[k]], rows, targets, units, columns
        ).weighted(weights)


def shift(posterior: Posterior, basis: Basis, one_body: Mapping[str, float]) -> Posterior:
    """Posterior of the weights from that of their deviations from the prior mean."""
    return replace(posterior, mean=posterior.mean + basis.prior_mean(one_body))


def fit(
    structures: Sequence[Atoms],
    settings: FitSettings,
    comm=None,
    earlier: FitState | None = None,
    leave: bool = False,
) -> FitResult:
    """Fit a potential, with the uncertainty of its weights.

    Parameters
    ----------
    structures : sequence of Atoms
        Labelled; the same on all ranks.
    settings : FitSettings
    comm : mpi4py.MPI.Comm, optional
        Ranks that share the assembly of the rows; all return the same result.
    earlier : FitState, optional
        Of a fit with the same settings to a part of the structures: only the rows of the others are made. Its
        one-body energies, repulsion and radial coefficients are kept. The box of pointwise fits, and leaving
        structures out, look at the rows of all again.
    leave : bool
        Also leave each structure, and each group of them, out: :attr:`FitResult.leave_one_out`.

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        No structures, one that `check_structures` refuses, or an earlier fit that does not match.
    """
    structures = list(structures)
    basis = settings.basis
    if not structures:
        raise InputError("no training structures")
    if not basis.nfunctions:
        raise InputError("the basis holds no function: raise its degree, nmax or lmax")
    check_structures(structures, basis.elements)
    new = structures
    if earlier is not None:
        hashes = [structure_hash(atoms) for atoms in structures]
        new = earlier.further(structures, hashes, settings.table())
    one_body = (
        (earlier.one_body if earlier is not None else settings.one_body)
        or isolated_atoms(structures, basis.elements, basis.largest_cutoff)
        or fit_one_body(structures, basis.elements)
    )
    if basis.family == "mtp":
        basis = (
            earlier.basis(basis)
            if earlier is not None
            else refine(basis, structures, settings, comm)
        )
        settings = replace(settings, basis=basis)
    repulsion = (
        earlier.repulsion if earlier is not None else settings.repulsion.choose(structures, basis)
    )
    features = feature_evaluator(basis, one_body, repulsion)
    normal = NormalEquations(basis.nfunctions)
    rank, size = (comm.rank, comm.size) if comm is not None else (0, 1)
    if earlier is not None and rank == 0:
        normal.merge(earlier.normal)
    again = settings.uncertainty == "pops" or leave
    stream = RowStream(
        range(rank, len(structures), size),
        lambda indices: row_blocks(features, structures, settings, one_body, indices),
        BUDGET if again else 0,
    )
    if earlier is None:
        for block in stream:
            normal.add(block.rows, block.targets)
    else:
        for atoms in new[rank::size]:
            normal.add(*centered_rows(features, atoms, settings, one_body))
    if comm is not None:
        normal.allreduce(comm)
    if not normal.nrows:
        raise InputError(f"max_force = {settings.max_force:g} eV/Å leaves no row to fit")
    regression = settings.solver.estimator(basis, normal).fit_statistics(normal)
    posterior, box, left = uncertainty(settings, regression, normal, stream, comm, leave)
    result = FitResult(
        settings,
        one_body,
        repulsion,
        normal,
        regression,
        shift(posterior, basis, one_body),
        structures,
        box,
        left,
    )
    result.__dict__["features"] = features
    return result


def uncertainty(
    settings: FitSettings,
    regression: BayesianRidge | ARDRegression,
    normal: NormalEquations,
    stream: RowStream,
    comm=None,
    leave: bool = False,
) -> tuple[Posterior, Pops | None, LeaveOneOut | None]:
    """Return the posterior with the covariance asked for, the box that it comes from, and errors left out."""
    posterior, box, left = regression.posterior_, None, None
    if settings.uncertainty == "bayes" and not leave:
        return posterior, box, left
    noise, reducer = posterior.noise_variance, Reducer(comm)
    # After relevance determination the covariance has the priors of pruned functions again, the mean has not.
    white = whitening(normal, posterior.prior_variance, noise)
    spread = Spread(white, np.full(normal.nfeatures, noise))
    if settings.uncertainty == "pops":
        spread = box = pops(stream, posterior.mean, white, noise, reducer)
        posterior = replace(posterior, covariance=box.covariance())
    if leave:
        apart = np.any(regression.prior_variance_ != posterior.prior_variance)
        of_mean = whitening(normal, regression.prior_variance_, noise) if apart else None
        asked = (stream, posterior.mean, spread, noise, of_mean, reducer)
        left = LeaveOneOut.of(leave_out(*asked), leave_groups_out(*asked))
    return posterior, box, left
