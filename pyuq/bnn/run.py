# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq bnn``: a network trained or sampled as a TOML file says, with diagnostics and a table of its error bars."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from pyuq import log
from pyuq.bnn.architecture import Architecture, NetworkFile, read_network, write_network
from pyuq.bnn.diagnostics import diagnose
from pyuq.bnn.evaluate import judge, predict_all, table
from pyuq.bnn.samplers import SGHMC, Draws, Dropout, Ensemble, LastLayer, ShallowEnsemble
from pyuq.bnn.target import Likelihood, NetworkTarget
from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.inference.fit_settings import RepulsionSettings
from pyuq.io.files import check_folder, read_json, write_text
from pyuq.io.identity import repetition_note, structure_hash, training_hash, training_record
from pyuq.io.structures import check_structures, expand, read_structures
from pyuq.potentials.repulsion import repulsion_inside
from pyuq.provenance import record, require_same
from pyuq.settings import assign, check_name, choose, from_table, load_toml, positive

SAMPLERS = {
    "sghmc": SGHMC,
    "ensemble": Ensemble,
    "dropout": Dropout,
    "last-layer": LastLayer,
    "shallow-ensemble": ShallowEnsemble,
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
PROBES = 16  # structures whose predictions the diagnostics look at


@brief()
@dataclass(frozen=True)
class Settings:
    """Content of ``bnn.toml``; file names are relative to it.

    Parameters
    ----------
    train, test : tuple of str
        Files of labelled structures; ``${NAME:-default}`` is expanded.
    network : Architecture
    likelihood : Likelihood
    repulsion : RepulsionSettings
        ZBL below the shortest distance of each pair in the training set, as `pyuq fit` adds it.
    method : {"sghmc", "ensemble", "dropout", "last-layer", "shallow-ensemble"}
        How `pyuq bnn sample` draws.
    sampler : dict
        Parameters of the method's class in :mod:`pyuq.bnn.samplers`.
    train_steps, learning_rate, batch
        Of `pyuq bnn train`: one network at the maximum of the posterior.
    name, folder : str
        Of the network files, and of the run.
    dtype, device, threads, seed
        ``float32`` or ``float64``; a torch device; threads of torch, 0: its own choice.
    checkpoint : int
        Steps from one checkpoint to the next.
    """

    train: tuple[str, ...]
    network: Architecture
    test: tuple[str, ...] = ()
    likelihood: Likelihood = field(default_factory=Likelihood)
    repulsion: RepulsionSettings = field(default_factory=RepulsionSettings)
    method: str = "sghmc"
    sampler: dict = field(default_factory=dict)
    train_steps: int = 4000
    learning_rate: float = 1e-2
    batch: int = 5
    name: str = "network"
    folder: str = "run"
    dtype: str = "float64"
    device: str = "cpu"
    threads: int = 0
    seed: int = 1
    checkpoint: int = 200

    def __post_init__(self):
        choose("method", self.method, SAMPLERS)
        choose("dtype", self.dtype, DTYPES)
        positive(checkpoint=self.checkpoint)
        if self.threads < 0:
            raise InputError(f"threads = {self.threads}; expected 0 (torch's own choice) or more")
        if not self.train:
            raise InputError("train names no file")
        check_name(self.name)


@brief("folder", "sampler", "settings")
class Run:
    """Settings with the structures that they name.

    Raises
    ------
    InputError
        A mistake in the file, in the data, or a device that is not there; the message names it.
    """

    def __init__(self, path, assignments: Iterable[str] = ()):
        path = Path(path)
        content = load_toml(path)
        assign(content, assignments)
        self.settings = from_table(Settings, content, str(path))
        kind = SAMPLERS[self.settings.method]
        self.sampler = from_table(kind, self.settings.sampler, f"{path} [sampler]")
        self.folder = check_folder(path.parent / self.settings.folder)
        self.training = read_structures(expand(p, path.parent) for p in self.settings.train)
        self.test = read_structures(expand(p, path.parent) for p in self.settings.test)
        check_structures(self.test, self.settings.network.elements)
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self.target = NetworkTarget(
            self.settings.network,
            self.training,
            self.settings.likelihood,
            DTYPES[self.settings.dtype],
            self.settings.device,
            repulsion=repulsion_ranges(self.settings, self.training),
        )

    def write(self, draws: Draws, name: str, verdict: str = "") -> Path:
        """Write the network file of some draws, and a report with what the test set says of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = self.target.tensors(draws.flat())
        provenance = {
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "training_sha256": training_hash(self.training),
            "training": training_record(map(structure_hash, self.training)),
            "gradients": draws.gradients,
            "chains": draws.theta.shape[0],
        }
        path = self.folder / f"{name}.safetensors"
        write_network(path, self.settings.network, tensors, provenance)
        lines = [f"# {name}", "", f"{len(draws.flat())} sample(s), {draws.gradients} gradients."]
        if verdict:
            lines += ["", f"Convergence: {verdict}."]
        copies = repetition_note(map(structure_hash, self.training), map(structure_hash, self.test))
        if copies:
            lines += ["", copies]
        for title, structures in (("train", self.training), ("test", self.test)):
            if structures:
                file = read_network(path)
                lines += [
                    "",
                    f"{title} set",
                    "",
                    table(judge(predict_all(file, structures), structures)),
                ]
        text = "\n".join(lines) + "\n"
        write_text(self.folder / f"{name}.md", text)
        log.say(text)
        log.say(f"written: {path}, {name}.md")
        return path


def repulsion_ranges(settings: Settings, training: Sequence[Atoms]) -> np.ndarray | None:
    """Ranges of the repulsion of each pair, (species, species, 2), Å; None: there is none."""
    if not settings.repulsion.zbl:
        return None
    shape = settings.network
    found = repulsion_inside(training, shape.elements, shape.cutoff, settings.repulsion.margin)
    end = [
        [min(found.distance(a, b), shape.cutoff) for b in shape.elements] for a in shape.elements
    ]
    return np.stack([np.array(end) - found.width, end], axis=-1)


def train(path, assignments: Iterable[str] = ()) -> Path:
    """Train one network to the maximum of its posterior.

    Returns
    -------
    Path
        ``NAME.safetensors``.
    """
    run = Run(path, assignments)
    s = run.settings
    one = Ensemble(s.train_steps, s.learning_rate, s.batch, members=1)
    folder = checkpoints(run, "train")
    return run.write(one.run(run.target, s.seed, folder, s.checkpoint), s.name)


def sample(path, assignments: Iterable[str] = ()) -> Path:
    """Draw networks from the posterior, and say whether the chains have mixed.

    Returns
    -------
    Path
        ``NAME-samples.safetensors``.
    """
    run = Run(path, assignments)
    s = run.settings
    draws = run.sampler.run(run.target, s.seed, checkpoints(run, s.method), s.checkpoint)
    verdict = "no Markov chain: nothing is claimed about convergence"
    if s.method == "sghmc":
        verdict = convergence(run.target, draws, run.test or run.training)
    return run.write(draws, f"{s.name}-samples", verdict)


def convergence(target: NetworkTarget, draws: Draws, structures: Sequence[Atoms]) -> str:
    """What may be said of the chains behind some draws, judged by their predictions."""
    chains, count = draws.theta.shape[:2]
    if count < 4:
        return (
            f"{chains} chain(s) of {count} draws: too few to say whether they have mixed "
            "(at least 4 draws in a chain)"
        )
    text = diagnose(probe(target, draws, structures)).verdict()
    if chains == 1:
        text += "; a single chain cannot know of modes that it has not seen: compare with a second"
    return text


def checkpoints(run: Run, name: str) -> Path:
    """Folder of the checkpoints of a method, which belong to one set of structures and one network.

    Raises
    ------
    InputError
        The folder holds checkpoints of a run with other structures or another network.
    """
    folder = run.folder / f"{name}.checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    s = run.settings
    about = {
        "training": training_hash(run.training),
        "network": asdict(s.network),
        "likelihood": asdict(s.likelihood),
        "repulsion": asdict(s.repulsion),
        "dtype": s.dtype,
    }
    mine, file = json.loads(json.dumps(about)), folder / "about.json"
    if file.exists():
        remedy = "remove it, or choose another `folder`"
        require_same(folder, record(read_json(file)), record(mine), remedy)
    write_text(file, json.dumps(mine, indent=1) + "\n")
    return folder


def probe(target: NetworkTarget, draws: Draws, structures: Sequence[Atoms]) -> np.ndarray:
    """Predictions that the diagnostics judge: energies per atom and some forces, (chains, draws, Q)."""
    chains, count = draws.theta.shape[:2]
    chosen = list(structures)[:PROBES]
    file = NetworkFile(target.architecture, target.tensors(draws.flat()))
    found = predict_all(file, chosen)
    energies = np.array([p.energies / len(a) for p, a in zip(found, chosen, strict=True)]).T
    forces = np.concatenate([p.forces[:, :2].reshape(chains * count, -1) for p in found], axis=1)
    return np.concatenate([energies, forces], axis=1).reshape(chains, count, -1)


def evaluate(path, data: Sequence) -> dict[str, dict]:
    """Print the table of a network file's errors and error bars on labelled structures."""
    structures = read_structures(map(Path, data))
    results = judge(predict_all(read_network(path), structures), structures)
    log.say(table(results))
    return results
