# SPDX-License-Identifier: GPL-2.0-or-later
"""Several models as one map beside the same models one by one."""

import numpy as np
import pytest

from pyuq import _core
from pyuq.evaluate.evaluator import Evaluator


def check_fused(evaluators: list[Evaluator], atoms, rows: bool = True) -> None:
    """Energies, forces, features and design-matrix rows of the fused map are those of its members."""
    models = [evaluator.model for evaluator in evaluators]
    fused = _core.fuse(models)
    assert fused is not None
    view, owner = evaluators[0].neighbors(atoms)
    single = [model.evaluate(view) for model in models]
    together = fused.evaluate(view, baseline=float(len(models)))
    for key, value in together.items():
        wanted = sum(result[key] for result in single)
        np.testing.assert_allclose(
            value, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max(), err_msg=key
        )

    def blocks(species):
        """Places of the members' blocks in the fused readout."""
        at = fused.blocks[species][0]
        for model in models:
            count = model.blocks[species][1]
            yield slice(at, at + count)
            at += count

    # Each member's forces from one pass: seeds that leave the others out.
    seeds = np.zeros((len(models), fused.nreadout))
    sums = np.zeros(fused.nreadout)
    for z in range(len(fused.elements)):
        for k, place in enumerate(blocks(z)):
            seeds[k, place] = fused.weights[place]
            first, count = models[k].blocks[z]
            sums[place] = models[k].sums(view)[first : first + count]
    energies, forces = fused.backward(view, seeds, np.ones(len(models)))
    for k, result in enumerate(single):
        assert energies[k] == pytest.approx(result["energy"], rel=1e-12)
        np.testing.assert_allclose(
            forces[k], result["forces"], atol=1e-12 * np.abs(result["forces"]).max()
        )
    features, found = fused.features(view)
    np.testing.assert_allclose(found, sums, rtol=1e-12, atol=1e-12 * np.abs(sums).max())
    for row, z in enumerate(np.asarray(view.species)[np.asarray(view.centers)]):
        start = fused.blocks[z][0]
        for model, place in zip(models, blocks(z), strict=True):
            np.testing.assert_allclose(
                features[row, place.start - start : place.stop - start],
                model.features(view)[0][row, : model.blocks[z][1]],
                rtol=1e-12,
                atol=1e-13,
            )
    if not rows:
        return
    matrix = fused.jacobian(view, owner, len(atoms))
    generic = fused.jacobian(view, owner, len(atoms), generic=True)
    np.testing.assert_allclose(matrix, generic, rtol=1e-10, atol=1e-11 * np.abs(generic).max())
