# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference evaluator's radial splines converge to the functions that the default mode evaluates."""

import numpy as np
import pytest
from synthetic import yace

from pyuq.evaluate.evaluator import Evaluator

KINDS = {
    "ChebPow": {"radial": "ChebPow", "radparameter": 3.5},
    "SBessel": {"radial": "SBessel"},
    "core": {"radial": "SBessel", "core": (15.0, 0.4)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_forces_converge_with_the_order_of_the_splines(tmp_path, crystal, kind):
    """Cubic Hermite splines of bin width h: slopes, thus forces, are good to h³."""
    text = yace(**KINDS[kind])
    atoms = crystal(["Al", "Si"])
    path = tmp_path / "model.yace"
    path.write_text(text)
    forces = Evaluator(path).compute(atoms)["forces"]
    errors = []
    for width in (0.04, 0.02, 0.01, 0.005):
        path.write_text(text.replace("deltaSplineBins: 0.001", f"deltaSplineBins: {width}"))
        splined = Evaluator(path, radial_spline=True).compute(atoms)["forces"]
        errors.append(np.sqrt(np.mean((splined - forces) ** 2)))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all((orders > 2.5) & (orders < 4.5)), (orders, errors)
