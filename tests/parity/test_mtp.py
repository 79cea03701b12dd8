# SPDX-License-Identifier: GPL-2.0-or-later
"""MTP against 17-digit values of the field's LAMMPS pair style, and against output of the MLIP-2 program."""

import ase.io
import numpy as np
import pytest

from pyuq.evaluate.evaluator import Evaluator
from pyuq.io.mlip import read_cfg

SPECIES = {
    "multi": ("Au", "Ag", "Cu"),
    "291": ("C", "H"),
    "14214": ("F", "H"),
    "23208": ("O",),
    "cubic": ("Cu",),
    "noncubic": ("Cu",),
    "MgSbBi": ("Mg", "Bi", "Sb"),
}
REFERENCES = {
    "14214_L10": 2, "23208_L10": 2, "291_L06": 2, "291_L10": 2, "MgSbBi_L20": 2,
    "cubic_L06": 3, "cubic_L08": 3, "cubic_L10": 3, "cubic_L12": 3, "cubic_L14": 3,
    "cubic_L16": 3, "cubic_L20": 3, "multi_L06": 2, "multi_L10": 2, "noncubic_L06": 2,
}  # fmt: skip
OUTPUTS = [
    "14214_L10", "23208_L10", "291_L06", "291_L10", "cubic_L02", "cubic_L04", "cubic_L06", "cubic_L08",
    "cubic_L10", "cubic_L12", "cubic_L14", "cubic_L16", "cubic_L20", "multi_L02", "multi_L04",
    "multi_L06", "multi_L10", "noncubic_L06",
]  # fmt: skip
VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]


def evaluator(shared_data, name):
    return Evaluator(shared_data / f"mtp/pot/{name}.mtp", elements=SPECIES[name.partition("_")[0]])


def deviation(found, wanted):
    """Largest error relative to the largest value, or to 1 where that is less."""
    wanted = np.asarray(wanted)
    return np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_values(shared_data, name):
    model = evaluator(shared_data, name)
    frames = ase.io.read(shared_data / f"mtp/ref/{name}.xyz", ":")
    assert len(frames) == REFERENCES[name]
    for atoms in frames:
        reference, result = atoms.calc.results, model.compute(atoms)
        where = atoms.info.get("name")
        assert deviation(result["energy"], reference["energy"]) < 1e-10, where
        assert deviation(result["energies"], atoms.arrays["atomic_energy"]) < 1e-10, where
        assert deviation(result["forces"], reference["forces"]) < 1e-10, where
        virial = np.reshape(atoms.info["virial"], (3, 3))[VOIGT]
        assert deviation(result["virial"], virial) < 1e-10, where


@pytest.mark.parametrize("name", OUTPUTS)
def test_program_output(shared_data, name):
    """MLIP-2 prints 12 decimals of the energy, 6 of positions and forces, 5 of the virial."""
    model = evaluator(shared_data, name)
    frames = read_cfg(shared_data / f"mtp/cfg/{name}.out.cfg", model.elements)
    assert len(frames) >= 20
    for atoms in frames:
        reference, result = atoms.calc.results, model.compute(atoms)
        slope = np.abs(result["forces"]).sum()  # positions are rounded at 5e-7 Å
        assert abs(result["energy"] - reference["energy"]) < 1e-9 + 5e-7 * slope
        np.testing.assert_allclose(result["forces"], reference["forces"], atol=3e-4, rtol=1e-4)
        if "stress" in reference:
            virial = -reference["stress"] * atoms.get_volume()
            np.testing.assert_allclose(result["virial"], virial, atol=2e-3, rtol=1e-4)


def test_magnetic_potentials_are_refused(shared_data):
    with pytest.raises(RuntimeError, match=r":8: magnetic moment tensor potentials \(min_mag\)"):
        Evaluator(shared_data / "mtp/pot/unsupported_magnetic_L10.mmtp", elements=["Fe"])


def test_largest_file_is_read(shared_data):
    model = evaluator(shared_data, "cubic_L22_size_only")
    assert model.nreadout == 501


def test_untrained_potential_is_refused(shared_data):
    """Also with Windows line ends."""
    with pytest.raises(RuntimeError, match="the potential is untrained: it has no radial_coeffs"):
        Evaluator(shared_data / "mtp/train/motep_example_initial.mtp", elements=["Al", "Ni"])
