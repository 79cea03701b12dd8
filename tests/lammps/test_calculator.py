# SPDX-License-Identifier: GPL-2.0-or-later
"""The ASE calculator gives the numbers of LAMMPS, and what LAMMPS does not give by definition."""

import copy
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from crystal import atoms as crystal
from crystal import forces, positions, pressure_tensor, run

from pyuq.evaluate.calculator import UQCalculator
from pyuq.inference.posterior import PosteriorFile

NKTV2P = 1.6021765e6  # LAMMPS's eV/Å³ → bar in metal units
MEASURE = """
compute p all pressure NULL virial
compute u all uq
compute a all uq/atom energy force
thermo_style custom pe c_p[*] c_u[*]
run 0 post no
"""


def structure(lmp) -> Atoms:
    """The atoms of a LAMMPS instance, in the order of their ids."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    lx, ly, lz = np.subtract(high, low)
    types = np.array(lmp.gather_atoms("type", 0, 1))
    return Atoms(
        [("Al", "Si")[t - 1] for t in types],
        positions=positions(lmp) - low,
        cell=[[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]],
        pbc=periodic,
    )


def per_atom(lmp, name: str) -> np.ndarray:
    """Columns of a compute uq/atom in the order of the ids."""
    ids = lmp.numpy.extract_atom("id")[: lmp.extract_global("nlocal")]
    return lmp.numpy.extract_compute(name, 1, 2)[np.argsort(ids)]


@pytest.fixture(scope="module")
def small(families) -> Atoms:
    """Few atoms, close together."""
    return structure(run(crystal(families["ace"], size=(1, 1, 1)) + "run 0 post no"))


@pytest.mark.parametrize("tilt", [None, (0.4, -0.3, 0.5)])
def test_equals_lammps(model, tilt):
    """Energy, forces, virial, σ_E, σ_i and |∇σ_E| of every family and of a committee."""
    lmp = run(crystal(model, tilt=tilt) + MEASURE)
    atoms = structure(lmp)
    atoms.calc = UQCalculator(model.split(), elements=("Al", "Si"), forces_uncertainty=False)
    found = atoms.calc.get_property
    assert found("energy", atoms) == pytest.approx(lmp.get_thermo("pe"), rel=1e-10)
    np.testing.assert_allclose(found("forces"), forces(lmp), rtol=1e-10, atol=1e-10)
    pressure = pressure_tensor(lmp, "p")[[0, 1, 2, 5, 4, 3]] / NKTV2P
    np.testing.assert_allclose(-found("stress"), pressure, rtol=1e-10, atol=1e-12)
    sigma = lmp.extract_compute("u", 0, 1)[0]
    assert found("energy_uncertainty") == pytest.approx(sigma, rel=1e-10)
    expected = per_atom(lmp, "a")
    np.testing.assert_allclose(found("energies_uncertainty"), expected[:, 0], rtol=1e-9)
    bias = np.linalg.norm(found("bias_forces"), axis=1)
    np.testing.assert_allclose(bias, expected[:, 1], rtol=1e-9, atol=1e-10)


def test_energies_add_up(model, small):
    """Atomic energies sum to the energy; features times weights are the energies of linear models."""
    calc = UQCalculator(model.split(), elements=("Al", "Si"))
    assert calc.get_property("energies", small).sum() == pytest.approx(calc.results["energy"])
    assert calc.features(small).shape[0] == len(small)


def test_forces_uncertainty_by_sampling(families, small):
    """Standard deviations of forces and stress are those of many draws of the weights."""
    calc = UQCalculator(families["ace"])
    file = PosteriorFile.read(families["ace"])
    draws = np.random.default_rng(3).multivariate_normal(file.mean, file.covariance, size=4000)
    member = calc.members[0]
    rows = member.rows(small)
    exact = calc.get_property("forces_uncertainty", small)
    np.testing.assert_allclose(exact.ravel(), (draws @ rows.forces.T).std(axis=0), rtol=0.06)
    stress = calc.results["stress_uncertainty"] * small.get_volume()
    np.testing.assert_allclose(stress, (draws @ rows.virial.T).std(axis=0), rtol=0.06)


def test_bias_forces_are_the_gradient(model, small):
    """−∇σ_E by central differences."""
    calc = UQCalculator(model.split(), elements=("Al", "Si"), forces_uncertainty=False)
    bias = calc.get_property("bias_forces", small)
    step = 1e-4
    for i, c in ((0, 0), (2, 1), (3, 2)):
        values = []
        for sign in (1, -1):
            moved = small.copy()
            moved.positions[i, c] += sign * step
            values.append(calc.get_property("energy_uncertainty", moved))
        slope = -(values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(bias[i, c], rel=1e-4, abs=1e-5)


def test_committee_is_its_members(families, small):
    """Means and law of total variance from calculators of the members alone."""
    files = families["committee"].split()
    names = ("energy", "forces", "stress")
    alone = [UQCalculator(f, elements=("Al", "Si")) for f in files]
    calc = UQCalculator(files, elements=("Al", "Si"))
    for name in names:
        values = np.array([a.get_property(name, small) for a in alone])
        np.testing.assert_allclose(calc.get_property(name, small), values.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(calc.results[f"members_{name}"], values, rtol=1e-12)
        own = np.array(
            [
                np.square(a.results.get(f"{name}_uncertainty", np.zeros_like(values[0])))
                for a in alone
            ]
        )
        sigma = np.sqrt(own.mean(axis=0) + values.var(axis=0))
        np.testing.assert_allclose(calc.results[f"{name}_uncertainty"], sigma, rtol=1e-9)


def test_without_posterior(families, small, tmp_path):
    """A bare model has no uncertainty, and says so as ASE does; it also works without a cell."""
    bare = tmp_path / "bare.yace"
    shutil.copy(Path(families["ace"]).with_suffix(".yace"), bare)
    calc = UQCalculator(bare)
    assert not calc.has_uncertainty
    calc.get_property("forces", small)
    assert not [name for name in calc.results if "uncertainty" in name or name == "bias_forces"]
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("energy_uncertainty", small)
    molecule = Atoms("Al2", [[0, 0, 0], [0, 0, 2.6]])
    calc.get_property("energy", molecule)
    assert "stress" not in calc.results


def test_forces_uncertainty_on_request(families, small):
    """Left out of evaluations, it still comes when asked for."""
    calc = UQCalculator(families["ace"], forces_uncertainty=False)
    calc.get_property("forces", small)
    assert "forces_uncertainty" not in calc.results
    assert calc.get_property("forces_uncertainty", small).shape == (len(small), 3)


def test_copies(families, small, tmp_path, monkeypatch):
    """Of a calculator with results, here and in another folder; a file that has changed is refused."""
    calc = UQCalculator(families["committee"].split())
    wanted = calc.get_property("forces_uncertainty", small)
    small = small.copy()
    small.calc = calc
    stored = pickle.dumps(calc)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for copied in (copy.deepcopy(small).calc, pickle.loads(stored)):
        np.testing.assert_array_equal(copied.results["forces_uncertainty"], wanted)
        assert len(copied.members) == len(calc.members)
        copied.results = {}
        np.testing.assert_array_equal(copied.get_property("forces_uncertainty", small), wanted)

    file = tmp_path / "a.txt"
    shutil.copy(Path(families["nep"]).with_suffix(".txt"), file)
    stored = pickle.dumps(UQCalculator(file))
    file.write_text(file.read_text().replace("0.8 1.8", "0.8 1.9"))
    with pytest.raises(RuntimeError, match="has changed since it was loaded"):
        pickle.loads(stored)
    monkeypatch.chdir(tmp_path)


def test_errors(families, small):
    """No file, unknown element, keyword of nobody, no structure."""
    with pytest.raises(TypeError, match="has no keyword force_uncertainty"):
        UQCalculator(families["ace"], force_uncertainty=False)
    with pytest.raises(TypeError, match="has no keyword forces_uncertainty"):
        UQCalculator(families["ace"]).set(forces_uncertainty=False)
    with pytest.raises(ValueError, match="features of which structure"):
        UQCalculator(families["ace"]).features()
    with pytest.raises(ValueError, match="at least one"):
        UQCalculator([])
    with pytest.raises(RuntimeError, match="no such file"):
        UQCalculator("missing.yace")
    small = small.copy()
    flat = small.copy()
    flat.cell[2] = 0.0
    with pytest.raises(ValueError, match="structure: periodic, but its cell is"):
        UQCalculator(families["ace"]).get_property("energy", flat)
    small.symbols[0] = "Cu"
    with pytest.raises(ValueError, match="element Cu"):
        UQCalculator(families["ace"]).get_property("energy", small)
