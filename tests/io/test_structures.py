# SPDX-License-Identifier: GPL-2.0-or-later
"""Labelled structures from JSON and extended XYZ, and their signs and units."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from pyuq.io import extxyz
from pyuq.io.structures import (
    StructureFiles,
    check_structures,
    expand,
    read_pymatgen,
    read_structures,
)


def entry(**outputs):
    """One structure as pymatgen writes it."""
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    sites = [
        {"species": [{"element": s, "occu": 1}], "xyz": list(x)}
        for s, x in zip(atoms.symbols, atoms.positions.tolist(), strict=True)
    ]
    return {
        "structure": {"lattice": {"matrix": atoms.cell.tolist()}, "sites": sites},
        "group": "Elastic",
        "outputs": {"energy": -7.5, "forces": [[0.1, 0, 0], [-0.1, 0, 0]]} | outputs,
    }


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_pymatgen_labels_signs_and_units(write):
    path = write([entry(virial_stress=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])])
    (atoms,) = read_pymatgen(path)
    assert str(atoms.symbols) == "NaCl"
    assert atoms.pbc.all()
    assert atoms.info["config_type"] == "Elastic"
    assert atoms.get_potential_energy() == -7.5
    np.testing.assert_array_equal(atoms.get_forces()[0], [0.1, 0.0, 0.0])
    # kbar, xx yy zz xy yz xz, pressure-like -> eV/Å³, xx yy zz yz xz xy, tension-like; 1 kbar = 0.1 GPa
    expected = -np.array([1.0, 2.0, 3.0, 5.0, 6.0, 4.0]) * 0.1 / 160.2176634
    np.testing.assert_allclose(atoms.get_stress(), expected, rtol=1e-6)


def test_stress_is_optional(write):
    (atoms,) = read_pymatgen(write([entry()]))
    assert "stress" not in atoms.calc.results


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "damaged"),
        ({"structure": 1}, "not a list of structures"),
        ([{"structure": {"sites": []}}], "KeyError"),
    ],
)
def test_other_json_is_refused_by_name(write, content, message):
    with pytest.raises(ValueError, match=rf"data\.json: .*{message}"):
        read_pymatgen(write(content))


def test_a_file_counts_once(tmp_path):
    extxyz.write(tmp_path / "a.xyz", [extxyz.labelled(bulk("Si"), -1.0, np.zeros((2, 3)))])
    for read in (read_structures, StructureFiles):
        with pytest.raises(ValueError, match=r"a\.xyz is named twice"):
            read([tmp_path / "a.xyz", tmp_path / "." / "a.xyz"])


def test_missing_file_is_named(tmp_path):
    for name in ("gone.json", "gone.xyz"):
        with pytest.raises(ValueError, match=f"no file .*{name}"):
            read_structures([tmp_path / name])


def test_structure_without_label_is_named(tmp_path):
    good = extxyz.labelled(bulk("Si"), -1.0, np.zeros((2, 3)))
    extxyz.write(tmp_path / "a.xyz", [good, bulk("Si")])
    with pytest.raises(ValueError, match=r"a\.xyz: structure 1 \(Si2\) has no label"):
        read_structures([tmp_path / "a.xyz"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.calc.results.update(energy=np.nan), "energy must be finite"),
        (lambda a: a.calc.results["forces"].__setitem__((1, 2), np.inf), "forces must be finite"),
        (lambda a: a.positions.__setitem__((1, 2), np.nan), "positions are not finite"),
        (lambda a: a.positions.__setitem__(1, a.positions[0]), "0 and 1 .* 0 Å apart"),
        (lambda a: a.set_cell(np.zeros((3, 3))), "periodic, but its cell is"),
        (lambda a: a.symbols.__setitem__(0, "Ge"), "element Ge is not one of the potential's: Si"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_named_with_its_file(tmp_path, spoil, message):
    frames = [extxyz.labelled(bulk("Si"), -1.0, np.zeros((2, 3))) for _ in range(2)]
    spoil(frames[1])
    extxyz.write(tmp_path / "a.xyz", frames)
    with pytest.raises(ValueError, match=rf"a\.xyz: structure 1 \(.*{message}"):
        read_structures([tmp_path / "a.xyz"], ["Si"])
    with pytest.raises(ValueError, match=r"structure 7 .* has no atoms"):
        check_structures([extxyz.labelled(Atoms(), 0.0, np.zeros((0, 3)))], first=7)


def test_extxyz_keeps_every_digit(tmp_path):
    rng = np.random.default_rng(0)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    label = extxyz.labelled(atoms, rng.normal(), rng.normal(size=(8, 3)), rng.normal(size=6))
    label.info["config_type"] = "liquid"
    extxyz.write(tmp_path / "a.xyz", [label])
    (read,) = read_structures([tmp_path / "a.xyz"])
    assert read.get_potential_energy() == label.get_potential_energy()
    np.testing.assert_array_equal(read.positions, label.positions)
    np.testing.assert_array_equal(read.get_forces(), label.get_forces())
    np.testing.assert_array_equal(read.get_stress(), label.get_stress())
    assert read.info["config_type"] == "liquid"


def test_variables_in_paths(monkeypatch, tmp_path):
    (tmp_path / "a.json").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("OTHER_DIR", raising=False)
    assert expand("${DATA_DIR:-x}/a.json", tmp_path / "elsewhere") == tmp_path / "a.json"
    assert expand("${OTHER_DIR:-.}/a.json", tmp_path) == tmp_path / "a.json"
    with pytest.raises(ValueError, match="OTHER_DIR is not set"):
        expand("${OTHER_DIR}/a.json", tmp_path)
    with pytest.raises(ValueError, match=r"no file .*b\.json: set .* OTHER_DIR"):
        expand("${OTHER_DIR:-x}/b.json", tmp_path)


def test_mlearn_stress_is_the_strain_derivative_of_the_energy(shared_data):
    """Uniaxial strains of the set: -dE/dε / V against the virial label fixes sign and unit."""
    path = shared_data / "train/mlearn/Si_training.json"
    entries = json.loads(path.read_text())
    structures = read_pymatgen(path)
    chosen = [
        atoms
        for atoms, e in zip(structures, entries, strict=True)
        if "mode 0, strain" in e["description"]
    ]
    chosen.sort(key=lambda atoms: atoms.get_volume())
    volumes = np.array([atoms.get_volume() for atoms in chosen])
    energies = np.array([atoms.get_potential_energy() for atoms in chosen])
    stresses = np.array([atoms.get_stress() for atoms in chosen])
    axis = np.argmax(np.ptp(stresses[:, :3], axis=0))
    # dE = V σ_xx dε_xx and dV = V dε_xx at one strained axis: dE/dV is that axis's stress.
    slope = np.polynomial.Polynomial.fit(volumes, energies, 3).deriv()(volumes)
    assert np.corrcoef(slope, stresses[:, axis])[0, 1] > 0.99
    ratio = np.ptp(stresses[:, axis]) / np.ptp(slope)
    assert ratio == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("old", "new"),
    [("", ""), ("force:", "forces:"), ("Lattice", "lattice"), ("Prop", "prop"), ("ener", "Ener")],
)
def test_labels_in_the_names_of_gpumd(tmp_path, old, new):
    """A column `force` and a `virial` of nine numbers are labels: stress = -virial / volume; capitals do not matter."""
    path = tmp_path / "train.xyz"
    comment = (
        'energy=-3.5 virial="1 2 3 2 4 5 3 5 6" Lattice="4 0 0 0 4 0 0 0 4" my_energy=2 '
        "Properties=species:S:1:pos:R:3:force:R:3"
    )
    path.write_text(f"2\n{comment.replace(old, new, 1)}\nAg 0 0 0 0.1 0 0\nI 2 2 2 -0.1 0 0\n")
    (atoms,) = read_structures([path])
    assert atoms.get_potential_energy() == -3.5
    np.testing.assert_allclose(atoms.get_forces()[:, 0], [0.1, -0.1])
    np.testing.assert_allclose(atoms.get_stress(), -np.array([1, 4, 6, 5, 3, 2]) / 64)
    assert "force" not in atoms.arrays
    assert atoms.info == {"my_energy": 2}
    extxyz.write(tmp_path / "again.xyz", [atoms])
    np.testing.assert_allclose(
        read_structures([tmp_path / "again.xyz"])[0].get_stress(), atoms.get_stress()
    )
