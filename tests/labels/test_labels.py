# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels: right numbers, right orientation, and failures that cost nobody else a label."""

import os
import re
import signal
import time

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from pyuq.io import extxyz
from pyuq.io.lammps_data import read_data, write_data
from pyuq.jobs import NotRunError
from pyuq.labels import Failure, FileLabeller, PoolLabeller, Waiting
from pyuq.labels.reference import AseReference, LammpsReference

MEAM = (
    "pair_style meam",
    "pair_coeff * * library.meam AlS SiS MgS CuS FeS AlSiMgCuFe.meam AlS SiS",
)


def skewed(seed=0):
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    atoms.symbols[3] = "Si"
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.1 * rng.normal(size=(len(atoms), 3))
    return atoms


# Calculators for the worker, which imports this file as a module.
def hanging():
    time.sleep(60)


def moody(**arguments):
    class Moody(EMT):
        def calculate(self, atoms, *args):
            if len(atoms) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if len(atoms) == 3:
                raise RuntimeError("SCF did not converge")
            if len(atoms) == 4:
                time.sleep(60)
            super().calculate(atoms, *args)

    return Moody(**arguments)


def ended():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__), prepend=os.pathsep)


def test_lammps_forces_and_stress_are_derivatives_in_the_users_orientation():
    atoms, reference, h = skewed(), LammpsReference(("Al", "Si"), MEAM), 1e-5
    label = reference(atoms)
    stress = label["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)

    def energy(changed):
        return reference(changed)["energy"]

    for i, j in [(0, 0), (0, 1), (1, 2), (2, 0)]:
        strained = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            copy = atoms.copy()
            copy.set_cell(atoms.cell @ strain, scale_atoms=True)
            strained.append(energy(copy))
        assert (strained[0] - strained[1]) / (2 * h * atoms.get_volume()) == pytest.approx(
            stress[i, j], abs=1e-7
        )
    for axis in range(3):
        moved = []
        for sign in (1, -1):
            copy = atoms.copy()
            copy.positions[1, axis] += sign * h
            moved.append(energy(copy))
        assert -(moved[0] - moved[1]) / (2 * h) == pytest.approx(label["forces"][1, axis], abs=1e-6)


def test_lammps_accepts_left_handed_cells():
    atoms = skewed()
    mirrored = atoms.copy()
    mirrored.positions[:, 0] *= -1
    mirrored.set_cell(atoms.cell.array * [-1, 1, 1])
    reference = LammpsReference(("Al", "Si"), MEAM)
    a, b = reference(atoms), reference(mirrored)
    assert a["energy"] == pytest.approx(b["energy"], abs=1e-10)
    np.testing.assert_allclose(a["forces"] * [-1, 1, 1], b["forces"], atol=1e-10)


def test_lammps_lennard_jones_agrees_with_ase_in_both_unit_styles():
    atoms = bulk("Ar", a=5.3, cubic=True) * 2
    atoms.rattle(0.2, seed=2)
    ase = LennardJones(epsilon=0.0104, sigma=3.4, rc=5.0, smooth=False)
    atoms.calc = ase
    kcal = 0.0104 * 23.060547830619
    for units, epsilon in (("metal", 0.0104), ("real", kcal)):
        reference = LammpsReference(
            ("Ar",), ("pair_style lj/cut 5.0", f"pair_coeff Ar Ar {epsilon} 3.4"), unit_style=units
        )
        label = reference(atoms)
        np.testing.assert_allclose(label["forces"], atoms.get_forces(), atol=2e-6)
        np.testing.assert_allclose(label["stress"], atoms.get_stress(), atol=1e-8)


def test_lammps_charges_by_element():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    arguments = {
        "atom_style": "charge",
        "commands": ("pair_style coul/dsf 0.2 8", "pair_coeff * *"),
    }
    one, two = (
        LammpsReference(("Na", "Cl"), charges={"Na": q, "Cl": -q}, **arguments)(atoms)["energy"]
        for q in (1.0, 2.0)
    )
    assert one < 0.0
    assert two == pytest.approx(4.0 * one, rel=1e-10)


def test_lammps_wrong_element_and_bad_command_are_failures_with_a_reason():
    description = {"kind": "lammps", "elements": ["Al", "Si"], "commands": list(MEAM)}
    good, bad = PoolLabeller(description).label([skewed(), molecule("H2O", vacuum=3, pbc=True)])
    assert extxyz.is_labelled(good)
    assert "H, O" in bad.reason
    description["commands"] = ["pair_style no/such/style"]
    (result,) = PoolLabeller(description, retries=0).label([skewed()])
    assert "no/such/style" in result.reason


def test_ase_reference_by_import_path():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    label = AseReference("ase.calculators.emt:EMT")(atoms.copy())
    atoms.calc = EMT()
    np.testing.assert_array_equal(label["forces"], atoms.get_forces())
    np.testing.assert_array_equal(label["stress"], atoms.get_stress())


@pytest.mark.usefixtures("importable")
def test_crash_error_and_hang_cost_only_their_own_label():
    structures = [molecule("H2"), bulk("Cu"), molecule("H2O"), bulk("Cu") * (2, 2, 1), bulk("Cu")]
    description = {"kind": "ase", "calculator": "test_labels:moody"}
    results = PoolLabeller(description, workers=2, timeout=4, retries=0).label(structures)
    assert [isinstance(r, Failure) for r in results] == [True, False, True, True, False]
    assert "signal 9" in results[0].reason
    assert "SCF did not converge" in results[2].reason
    assert "within 4 s" in results[3].reason


def test_the_start_of_a_worker_is_not_charged_to_its_first_structure(tmp_path):
    """Else it failed for good where a calculator takes long to import, or the machine is busy."""
    (tmp_path / "slow.py").write_text(
        "import time\ntime.sleep(3)\nfrom ase.calculators.emt import EMT\n"
    )
    description = {"kind": "ase", "calculator": "slow:EMT", "folder": str(tmp_path)}
    (result,) = PoolLabeller(description, timeout=2.0, retries=0).label([bulk("Cu")])
    assert extxyz.is_labelled(result)


def test_answers_that_are_no_labels_cost_only_their_own(monkeypatch):
    """Nor do they take the worker with them; only what failed is asked for again."""
    asked = []

    class Fake:
        def __init__(self, description, timeout, stop):
            self.alive = True

        def compute(self, atoms):
            assert self.alive
            asked.append(len(atoms))
            return {
                1: {"energy": None, "forces": [[0.0] * 3]},
                2: {"energy": 1.0},
                3: {"energy": 1.0, "forces": [[0.0] * 3]},
                4: {"error": "SCF did not converge"},
                5: {"energy": 1.0, "forces": [[0.0] * 3] * 5},
            }[len(atoms)]

        def kill(self):
            self.alive = False

    monkeypatch.setattr("pyuq.labels.pool.Worker", Fake)
    structures = [bulk("Cu") * (n, 1, 1) for n in (1, 2, 3, 4, 5)]
    results = PoolLabeller({}, retries=1).label(structures)
    reasons = ["TypeError", "KeyError: 'forces'", r"forces of shape \(1, 3\)", "SCF did not"]
    for result, reason in zip(results, reasons, strict=False):
        assert re.search(reason, result.reason)
    assert results[4].get_potential_energy() == 1.0
    assert asked == [1, 2, 3, 4, 4, 5]


def test_max_force_refuses_a_label():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.9
    (result,) = PoolLabeller(
        {"kind": "ase", "calculator": "ase.calculators.emt:EMT"}, retries=0, max_force=1.0
    ).label([atoms])
    assert "max_force" in result.reason


def test_xtb_by_import_path():
    pytest.importorskip("tblite")
    label = AseReference("tblite.ase:TBLite", {"method": "GFN1-xTB", "verbosity": 0})(
        molecule("H2O")
    )
    assert np.isfinite(label["energy"])


def test_files_wait_resume_and_refuse_foreign_results(tmp_path):
    structures = [skewed(1), skewed(2), skewed(3)]
    labeller = FileLabeller(tmp_path)
    with pytest.raises(Waiting, match="3 of 3"):
        labeller.label(structures)
    requests = {}
    for path in (tmp_path / "requests").iterdir():
        (atoms,) = extxyz.read(path)
        index = next(
            i for i, s in enumerate(structures) if np.array_equal(s.positions, atoms.positions)
        )
        requests[index] = path
    result = extxyz.labelled(structures[0], -1.0, np.zeros((8, 3)), np.arange(6) * 0.01)
    extxyz.write(tmp_path / "results" / requests[0].name, [result])
    (tmp_path / "results" / f"{requests[1].stem}.failed").write_text("no convergence\n")
    with pytest.raises(Waiting, match="1 of 3"):
        labeller.label(structures)
    extxyz.write(
        tmp_path / "results" / requests[2].name,
        [extxyz.labelled(structures[2], 3.0, np.zeros((8, 3)))],
    )
    good, failed, third = labeller.label(structures)
    np.testing.assert_array_equal(good.get_stress(), np.arange(6) * 0.01)
    assert failed.reason == "no convergence"
    assert third.get_potential_energy() == 3.0


def answered(folder, atoms, *results):
    """Put results of one request into its file; returns a labeller and the file."""
    labeller = FileLabeller(folder)
    with pytest.raises(Waiting, match="1 of 1 labels are missing"):
        labeller.label([atoms])
    (request,) = (folder / "requests").iterdir()
    extxyz.write(folder / "results" / request.name, results)
    return labeller, folder / "results" / request.name


def moved():
    atoms = skewed()
    atoms.positions[0, 0] += 0.01
    return extxyz.labelled(atoms, 0.0, np.zeros((8, 3)))


def spoilt(**results):
    label = extxyz.labelled(skewed(), 0.0, np.zeros((8, 3)))
    label.calc.results.update(results)
    return label


def predicted():
    label = spoilt()
    label.info["uncertainty"] = 0.1
    return label


def other_cell():
    atoms = skewed()
    atoms.set_cell(atoms.cell.array + np.eye(3) * 0.01)
    return extxyz.labelled(atoms, 0.0, np.zeros((8, 3)))


def other_element():
    label = spoilt()
    label.symbols[0] = "Si"
    return label


MENDABLE = {
    "moved": ([moved()], r"its positions differ from the request's by 0\.0"),
    "other cell": ([other_cell()], r"its cell differs from the request's by 0\.01"),
    "other atoms": ([other_element()], "it holds Al6Si2, its request Al7Si"),
    "two": ([moved(), moved()], "holds 2 structures, expected one"),
    "no label": ([skewed()], "has no energy and forces"),
    "not finite": ([spoilt(energy=np.nan)], "energy of the label is not finite"),
    "predicted": ([predicted()], "has no energy and forces: .*uncertainty= tells"),
}


@pytest.mark.parametrize(("results", "message"), MENDABLE.values(), ids=MENDABLE)
def test_what_a_person_can_mend_keeps_waiting_and_is_read_again(tmp_path, results, message):
    atoms = skewed()
    labeller, path = answered(tmp_path, atoms, *results)
    with pytest.raises(Waiting, match=rf"1 of 1 cannot be used and wait to be mended.*{message}"):
        labeller.label([atoms])
    extxyz.write(path, [extxyz.labelled(atoms, -2.0, np.zeros((8, 3)))])
    (label,) = labeller.label([atoms])
    assert label.get_potential_energy() == -2.0


def test_half_a_file_keeps_waiting_and_a_person_may_give_up(tmp_path):
    atoms = skewed()
    labeller, path = answered(tmp_path, atoms, extxyz.labelled(atoms, -2.0, np.zeros((8, 3))))
    whole = path.read_text()
    path.write_text(whole[:300])
    with pytest.raises(Waiting, match=r"frame 0 cannot be read: the file ends"):
        labeller.label([atoms])
    path.with_suffix(".failed").write_text("SCF\n")
    assert labeller.label([atoms])[0].reason == "SCF"
    path.write_text(whole)
    assert labeller.label([atoms])[0].get_potential_energy() == -2.0
    labeller.max_force = -1.0  # physics, which nobody mends
    assert "max_force" in labeller.label([atoms])[0].reason


def test_extxyz_keeps_every_bit(tmp_path):
    atoms = skewed()
    rng = np.random.default_rng(3)
    atoms.info = {"source": "hal", "step": 12, "tau": 0.1 + 1e-17, "reason": "max relative force"}
    atoms = extxyz.labelled(atoms, rng.normal(), rng.normal(size=(8, 3)), rng.normal(size=6))
    extxyz.write(tmp_path / "a.extxyz", [atoms])
    (copy,) = extxyz.read(tmp_path / "a.extxyz")
    np.testing.assert_array_equal(copy.positions, atoms.positions)
    np.testing.assert_array_equal(copy.cell.array, atoms.cell.array)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_array_equal(copy.calc.results[name], atoms.calc.results[name])
    assert copy.info == atoms.info
    extxyz.write(tmp_path / "b.extxyz", [copy])
    assert (tmp_path / "a.extxyz").read_bytes() == (tmp_path / "b.extxyz").read_bytes()


@pytest.mark.parametrize("style", ["atomic", "charge"])
def test_lammps_data_round_trip(tmp_path, style):
    atoms = skewed()
    write_data(tmp_path / "a.data", atoms, ("Si", "Al"), atom_style=style)
    copy = read_data(tmp_path / "a.data", ("Si", "Al"))
    assert copy.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(
        copy.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-12
    )
    (tmp_path / "a.data").write_text((tmp_path / "a.data").read_text()[:-80])
    with pytest.raises(ValueError, match=r"header says|not a complete"):
        read_data(tmp_path / "a.data", ("Si", "Al"))


@pytest.mark.parametrize(
    "name", ["run#2", "a b", "it's", 'say "so"', "$a", "${a}", "ü", "new\nprint x file y"]
)
def test_files_of_a_reference_are_those_of_its_folder(tmp_path, monkeypatch, name):
    """Before, `run#2` was labelled by the files of `run`, without a word."""
    for folder, epsilon in (("run", 0.1), (name, 0.2), ("new", 0.3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lj.in").write_text(
            f"pair_style lj/cut 6.0\npair_coeff * * {epsilon} 2.5\n"
        )
    temporary = tmp_path / f"temporary {name}"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    atoms = bulk("Cu", cubic=True)
    energies = {
        folder: LammpsReference(("Cu",), ("include lj.in",), folder=str(tmp_path / folder))(atoms)[
            "energy"
        ]
        for folder in ("run", name)
    }
    assert energies[name] == pytest.approx(2 * energies["run"], rel=1e-12)
    assert os.getcwd() == str(tmp_path)
    assert not (tmp_path / "y").exists()


def test_a_module_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    """Nor in that of the settings, where no code of theirs was trusted."""
    monkeypatch.chdir(tmp_path)
    for module in ("ase", "numpy", "scipy", "json", "evil"):
        (tmp_path / f"{module}.py").write_text("open('victim', 'w').close()\n")
    description = {"kind": "ase", "calculator": "ase.calculators.emt:EMT"}
    (result,) = PoolLabeller(description | {"folder": os.path.dirname(np.__path__[0])}).label(
        [bulk("Cu")]
    )
    assert not isinstance(result, Failure)
    assert not (tmp_path / "victim").exists()


def test_a_worker_that_is_ended_from_outside_costs_no_label(importable):
    """As at the time limit of a queue: the structures are asked for again by the next call."""
    pool = PoolLabeller({"kind": "ase", "calculator": "test_labels:ended"}, retries=0)
    with pytest.raises(NotRunError, match=r"ended from outside \(SIGTERM\)"):
        pool.label([bulk("Cu")])
