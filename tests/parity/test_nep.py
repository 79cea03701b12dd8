# SPDX-License-Identifier: GPL-2.0-or-later
"""NEP against the field's own codes: NEP_CPU in double precision, GPUMD in single."""

import ase.io
import numpy as np
import pytest
from ase import Atoms

from pyuq.evaluate.evaluator import Evaluator

FRAMES = {
    "Al_NEP3": 1,
    "BaTiO3_NEP4_zbl": 3,
    "BaZrO3_NEP4": 2,
    "CH_committee_full": 2,
    "CH_committee_split1": 2,
    "CH_committee_split2": 2,
    "CH_committee_split3": 2,
    "CH_committee_split4": 2,
    "CH_committee_split5": 2,
    "C_2022_NEP4": 4,
    "MgSbBi_NEP4": 2,
    "PbTe_NEP3": 2,
    "PbTe_NEP4_gpumd_example": 2,
    "Si_2022_NEP4_3body": 3,
    "Si_2022_NEP4_4body": 3,
    "Si_2022_NEP4_5body": 3,
    "UNEP-v1": 4,
    "water_NEP4": 2,
}
VOIGT = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
NINE = [0, 3, 4, 6, 1, 5, 7, 8, 2]  # xx xy xz yx yy yz zx zy zz out of our order


def deviation(found, wanted):
    """Largest error relative to the largest reference value."""
    return np.abs(np.asarray(found) - wanted).max() / max(1.0, np.abs(wanted).max())


@pytest.fixture
def nep(shared_data):
    return shared_data / "nep"


@pytest.mark.parametrize("name", FRAMES)
def test_reference_values(nep, name):
    evaluator = Evaluator(nep / "pot" / f"{name}.txt")
    frames = ase.io.read(nep / "ref" / f"{name}.xyz", ":")
    assert len(frames) == FRAMES[name]
    for atoms in frames:
        reference, result = atoms.calc.results, evaluator.compute(atoms)
        case = atoms.info["name"]
        assert deviation(result["energy"], reference["energy"]) < 1e-11, case
        assert deviation(result["energies"], atoms.arrays["atomic_energy"]) < 1e-11, case
        assert deviation(result["forces"], reference["forces"]) < 1e-11, case
        if "virial" in atoms.info:
            virial = np.reshape(atoms.info["virial"], (3, 3))[VOIGT]
            assert deviation(result["virial"], virial) < 1e-11, case


def test_forces_and_atomic_virials_of_nep_cpu(nep):
    """15 digits. NEP_CPU books the virial on the neighbour, as the centroid form does."""
    folder = nep / "nepcpu_PbTe_test"
    lines = (folder / "xyz.in").read_text().splitlines()
    rows = [line.split() for line in lines[2:]]
    atoms = Atoms(
        [row[0] for row in rows],
        positions=[[float(v) for v in row[1:4]] for row in rows],
        cell=np.reshape(np.array(lines[1].split(), float), (3, 3)).T,
        pbc=True,
    )
    evaluator = Evaluator(nep / "pot/PbTe_NEP3.txt")
    forces = np.loadtxt(folder / "force_analytical_ref.out")
    assert deviation(evaluator.compute(atoms)["forces"], forces) < 1e-11
    view, owner = evaluator.neighbors(atoms)
    virials = np.zeros((len(atoms), 9))
    np.add.at(virials, owner, evaluator.model.evaluate(view)["virials"])
    assert deviation(virials[:, NINE], np.loadtxt(folder / "virial_ref.out")) < 1e-11


def test_header_of_2022(nep):
    """A file with two numbers behind ``cutoff``, run by LAMMPS in 2021; forces of six digits."""
    folder = nep / "nepcpu_diamond_lammps"
    columns = np.loadtxt((folder / "out.dump").read_text().splitlines()[9:1009])
    columns = columns[np.argsort(columns[:, 0])]
    atoms = ase.io.read(folder / "C.data", format="lammps-data", units="metal", sort_by_id=True)
    atoms.symbols[:] = "C"
    result = Evaluator(folder / "nep.txt").compute(atoms)
    assert result["energy"] == pytest.approx(-3011.5844, abs=1e-3)
    np.testing.assert_allclose(result["forces"], columns[:, 5:8], atol=2e-4)


def test_gpumd_prediction(nep):
    """GPUMD's own training output, single precision."""
    folder = nep / "gpumd_PbTe_prediction"
    evaluator = Evaluator(nep / "pot/PbTe_NEP4_gpumd_example.txt")
    frames = ase.io.read(folder / "train.xyz", ":3")
    energies = np.loadtxt(folder / "energy_train.out")[:, 0]
    forces = np.loadtxt(folder / "force_train.out")[:, :3].reshape(-1, 250, 3)
    virials = np.loadtxt(folder / "virial_train.out")[:, :6]
    for n, atoms in enumerate(frames):
        result = evaluator.compute(atoms)
        assert result["energy"] / 250 == pytest.approx(energies[n], abs=2e-5)
        np.testing.assert_allclose(result["forces"], forces[n], atol=2e-5)
        # xx yy zz xy yz zx
        np.testing.assert_allclose(
            result["virial"][[0, 1, 2, 5, 3, 4]] / 250, virials[n], atol=2e-5
        )


def test_gpumd_bulk(nep):
    golden = np.load(nep / "gpumd_golden/bulk_bazro3.npz")
    atoms = ase.io.read(nep / "structures/BaZrO3-nat40-rattled.xyz")
    result = Evaluator(nep / "pot/BaZrO3_NEP4.txt").compute(atoms)
    assert result["energy"] == pytest.approx(float(golden["energy"]), rel=1e-6)
    np.testing.assert_allclose(result["forces"], golden["forces"], atol=5e-5)
    stress = -result["virial"] / atoms.get_volume()
    np.testing.assert_allclose(stress, golden["stress"], atol=1e-5)


@pytest.mark.parametrize(
    "name, kind",
    [("unsupported_tnep_dipole_water", "dipole"), ("unsupported_qnep_mode1_water", "charge")],
)
def test_other_models_are_refused_by_name(nep, name, kind):
    with pytest.raises(RuntimeError, match=f":1: .* is a {kind} model"):
        Evaluator(nep / "pot" / f"{name}.txt")
