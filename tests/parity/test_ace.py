# SPDX-License-Identifier: GPL-2.0-or-later
"""ACE against 17-digit reference values of the field's own evaluator, whose radial functions are splines."""

import re

import ase.io
import numpy as np
import pytest

from pyuq.evaluate.evaluator import Evaluator

POTENTIALS = {
    "Cu-PBE-core-rep.ace": 6,
    "YBCO.yace": 6,
    "YBCO.yaml": 6,
    "syn_AlSi_cheblinear.yace": 3,
    "syn_AlSi_cheblinear.yaml": 3,
    "syn_NaPS_sbessel_zbl.yace": 4,
    "syn_NaPS_sbessel_zbl.yaml": 4,
    "syn_Si_acejl.yace": 3,
    "syn_Si_chebpow.yace": 4,
    "syn_Si_chebpow.yaml": 4,
}
VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]

# The envelope of ChebExpCos ends in a step of its second derivative 0.01 Å wide, which the reference's splines
# of 0.001 Å follow only to 1e-6; elsewhere its splines are good to 3e-9.
DIRECT_TOLERANCE = {name: 1e-6 if "AlSi_cheblinear" in name else 1e-8 for name in POTENTIALS}


def deviations(evaluator, atoms):
    """Largest errors of energy, atomic energies, forces and virial, relative to the largest reference value."""
    reference, result = atoms.calc.results, evaluator.compute(atoms)
    pairs = [
        (result["energy"], reference["energy"]),
        (result["energies"], atoms.arrays["atomic_energy"]),
        (result["forces"], reference["forces"]),
    ]
    if "virial" in atoms.info:
        pairs.append((result["virial"], np.reshape(atoms.info["virial"], (3, 3))[VOIGT]))
    return [np.abs(a - b).max() / max(1.0, np.abs(b).max()) for a, b in pairs]


@pytest.mark.parametrize("spline", [True, False], ids=["spline", "direct"])
@pytest.mark.parametrize("name", POTENTIALS)
def test_reference_values(shared_data, name, spline):
    evaluator = Evaluator(shared_data / "ace/pot" / name, radial_spline=spline)
    frames = ase.io.read(shared_data / "ace/ref" / f"{name.rsplit('.', 1)[0]}.xyz", ":")
    assert len(frames) == POTENTIALS[name]
    tolerance = 1e-10 if spline else DIRECT_TOLERANCE[name]
    for atoms in frames:
        assert max(deviations(evaluator, atoms)) < tolerance, atoms.info.get("name")


@pytest.mark.parametrize(
    "name", ["syn_AlSi_cheblinear.yace", "syn_NaPS_sbessel_zbl.yace", "syn_Si_chebpow.yace"]
)
def test_direct_mode_is_the_limit_of_the_reference(shared_data, tmp_path, name):
    """What separates the default mode from the reference values are the reference's splines: narrower bins remove it.

    Slopes of cubic Hermite splines are good to the third power of the bin width, thus forces by 2⁶ over two halvings.
    """
    text = (shared_data / "ace/pot" / name).read_text()
    width = float(re.search(r"deltaSplineBins: (\S+)", text)[1])
    path = tmp_path / "model.yace"
    evaluators = []
    for bins in (width, width / 4):
        path.write_text(text.replace(f"deltaSplineBins: {width}", f"deltaSplineBins: {bins}"))
        evaluators.append(Evaluator(path, radial_spline=True))
    direct = Evaluator(path)
    for atoms in ase.io.read(shared_data / "ace/ref" / f"{name[:-5]}.xyz", ":"):
        forces = direct.compute(atoms)["forces"]
        wide, narrow = (np.abs(e.compute(atoms)["forces"] - forces).max() for e in evaluators)
        to_reference = np.abs(atoms.calc.results["forces"] - forces).max()
        assert abs(to_reference - wide) < 0.02 * wide, atoms.info.get("name")
        assert narrow < wide / 2**3, atoms.info.get("name")


@pytest.mark.parametrize("name", [name for name in POTENTIALS if name.endswith(".yaml")])
def test_bbasis_equals_its_yace(shared_data, name):
    """Functions are coupled as by the writer of the .yace, which sums those that differ in `lint` alone."""
    pot = shared_data / "ace/pot"
    bbasis, yace = Evaluator(pot / name), Evaluator(pot / name.replace(".yaml", ".yace"))
    for atoms in ase.io.read(shared_data / "ace/ref" / name.replace(".yaml", ".xyz"), ":"):
        found, wanted = bbasis.compute(atoms), yace.compute(atoms)
        for key in ("energy", "energies", "forces", "virial"):
            assert np.abs(found[key] - wanted[key]).max() < 1e-12 * max(
                1, np.abs(wanted[key]).max()
            )
