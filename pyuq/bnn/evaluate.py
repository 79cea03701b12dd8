# SPDX-License-Identifier: GPL-2.0-or-later
"""What the samples of a network predict for labelled structures, and how good their error bars are."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from scipy.special import logsumexp

from pyuq.bnn.architecture import NetworkFile
from pyuq.bnn.network import Batch, label_noise, predict, sample_weights
from pyuq.brief import brief
from pyuq.calibration import scores

FloatArray = NDArray[np.float64]


@brief()
@dataclass(frozen=True)
class SamplePredictions:
    """Predictions of K samples for one structure of N atoms.

    Attributes
    ----------
    energies : (K,)
        eV.
    forces : (K, N, 3)
        eV/Å.
    energy_noise : (K,)
        Standard deviation of an energy label, eV; 0 without a noise head.
    force_noise : (K, N)
        Of a force component, eV/Å; 0 without a noise head.
    """

    energies: FloatArray
    forces: FloatArray
    energy_noise: FloatArray
    force_noise: FloatArray

    def energy(self) -> tuple[float, float, float]:
        """Mean, epistemic and aleatoric variance of the energy."""
        return (
            float(self.energies.mean()),
            float(self.energies.var()),
            float((self.energy_noise**2).mean()),
        )

    def force(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean (N, 3), epistemic (N, 3) and aleatoric (N, 3) variance of the forces."""
        noise = np.repeat((self.force_noise**2).mean(axis=0)[:, None], 3, axis=1)
        return self.forces.mean(axis=0), self.forces.var(axis=0), noise


def predict_all(file: NetworkFile, structures: Sequence[Atoms]) -> list[SamplePredictions]:
    """Evaluate every sample of a file on every structure."""
    architecture = file.architecture
    weights = [sample_weights(file, k) for k in range(file.samples)]
    found = []
    for atoms in structures:
        batch, n = Batch.of([atoms], architecture), len(atoms)
        energies, forces = np.empty(len(weights)), np.empty((len(weights), n, 3))
        noise_e, noise_f = np.zeros(len(weights)), np.zeros((len(weights), n))
        for k, w in enumerate(weights):
            p = predict(architecture, w, batch)
            energies[k], forces[k] = p.energies.item(), p.forces.numpy()
            if architecture.noise_hidden:
                noise_e[k] = math.exp(w["energy_noise"].item()) * math.sqrt(n)
                with torch.no_grad():
                    noise_f[k] = label_noise(w, p.features).numpy()
        found.append(SamplePredictions(energies, forces, noise_e, noise_f))
    return found


def judge(predictions: Sequence[SamplePredictions], structures: Sequence[Atoms]) -> dict[str, dict]:
    """Scores of energies (eV/atom) and force components (eV/Å).

    Returns
    -------
    dict
        ``energy`` and ``force``: the fields of :class:`pyuq.calibration.Scores` for the moment-matched Gaussian
        (epistemic and aleatoric variance), ``mixture_nll`` for the mixture of samples, ``epistemic``: scores of the
        epistemic part alone (None with a single sample).
    """
    rows: dict[str, list] = {"energy": [], "force": []}
    for p, atoms in zip(predictions, structures, strict=True):
        label, n = atoms.calc.results, len(atoms)
        mean, spread, noise = p.energy()
        error = np.array([(label["energy"] - mean) / n])
        each = (label["energy"] - p.energies)[:, None] / n
        widths = np.maximum(p.energy_noise, 1e-12)[:, None] / n
        rows["energy"].append(
            (error, np.array([spread]) / n**2, np.array([noise]) / n**2, each, widths)
        )
        mean, spread, noise = (x.reshape(-1) for x in p.force())
        truth = np.asarray(label["forces"]).reshape(-1)
        each = truth - p.forces.reshape(len(p.energies), -1)
        widths = np.repeat(np.maximum(p.force_noise, 1e-12), 3, axis=1)
        rows["force"].append((truth - mean, spread, noise, each, widths))
    return {kind: _scores(parts) for kind, parts in rows.items()}


def _scores(parts: list) -> dict:
    error, spread, noise = (np.concatenate([p[k] for p in parts]) for k in range(3))
    each, widths = (np.concatenate([p[k] for p in parts], axis=1) for k in (3, 4))
    total = np.sqrt(np.maximum(spread + noise, 1e-30))
    found = asdict(scores(error, total))
    with np.errstate(over="ignore"):
        log_density = -0.5 * (each / widths) ** 2 - np.log(widths) - 0.5 * math.log(2 * math.pi)
    mixture = logsumexp(log_density, axis=0) - math.log(len(each))
    found["mixture_nll"] = float(-mixture.mean()) if noise.any() else float("nan")
    alone = np.sqrt(spread)
    found["epistemic"] = asdict(scores(error, alone)) if (alone > 0).all() else None
    return found


HEAD = "| quantity | n | MAE | RMSE | mean σ | in 1σ | in 2σ | NLL | mixture NLL | Spearman |"
UNITS = {"energy": "eV/atom", "force": "eV/Å"}


def table(results: dict[str, dict]) -> str:
    """Markdown table of :func:`judge`'s results."""
    lines = [HEAD, "|" + "---|" * 10]
    for kind, s in results.items():
        lines.append(
            f"| {kind}, {UNITS[kind]} | {s['n']} | {s['mae']:.4g} | {s['rmse']:.4g} | {s['sharpness']:.4g} | "
            f"{s['within_1']:.3f} | {s['within_2']:.3f} | {s['nll']:.3f} | {s['mixture_nll']:.3f} | "
            f"{s['spearman']:.2f} |"
        )
    return "\n".join(lines)
