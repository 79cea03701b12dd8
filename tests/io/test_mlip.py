# SPDX-License-Identifier: GPL-2.0-or-later
"""MLIP's .cfg: columns, signs, molecules, and what is refused."""

import numpy as np
import pytest

from pyuq.io.mlip import read_cfg
from pyuq.io.structures import read_structures

CFG = """BEGIN_CFG
 Size
    2
 Supercell
    4.0  0.0  0.0
    1.0  3.0  0.0
    0.0  0.0  5.0
 AtomData:  id type  cartes_x cartes_y cartes_z  fx fy fz  nbh_grades
    1  0   0.1  0.2  0.3   1.0  2.0  3.0   0.5
    2  1   1.1  1.2  1.3  -1.0 -2.0 -3.0   1.5
 Energy
    -7.25
 PlusStress:  xx yy zz yz xz xy
    6.0 12.0 18.0 24.0 30.0 36.0
 Feature   EFS_by   VASP
END_CFG

BEGIN_CFG
 Size
    1
 AtomData:  id type  cartes_x cartes_y cartes_z  fx fy fz
    1  1   0.1  0.2  0.3   0.0  0.0  0.0
 Energy
    2.5
END_CFG
"""


@pytest.fixture
def write(tmp_path):
    def write(content=CFG):
        path = tmp_path / "train.cfg"
        path.write_text(content)
        return path

    return write


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_and_signs(write, end):
    crystal, molecule = read_structures([write(CFG.replace("\n", end))], ["Ag", "I"])
    assert crystal.get_chemical_symbols() == ["Ag", "I"]
    assert crystal.pbc.all() and not molecule.pbc.any()
    assert molecule.get_chemical_symbols() == ["I"]
    assert (crystal.get_potential_energy(), molecule.get_potential_energy()) == (-7.25, 2.5)
    np.testing.assert_array_equal(crystal.positions[1], [1.1, 1.2, 1.3])
    np.testing.assert_array_equal(crystal.get_forces()[1], [-1.0, -2.0, -3.0])
    np.testing.assert_array_equal(crystal.cell[1], [1.0, 3.0, 0.0])
    # PlusStress is the virial in eV, positive under compression; stress is minus that over 60 Å³.
    np.testing.assert_allclose(crystal.get_stress(), [-0.1, -0.2, -0.3, -0.4, -0.5, -0.6])
    assert "stress" not in molecule.calc.results
    np.testing.assert_array_equal(crystal.arrays["nbh_grades"], [0.5, 1.5])
    assert crystal.info["EFS_by"] == "VASP"


def test_fractional_positions(write):
    text = CFG.replace("cartes", "direct").split("END_CFG")[0] + "END_CFG\n"
    (atoms,) = read_cfg(write(text), ["Ag", "I"])
    np.testing.assert_allclose(atoms.get_scaled_positions(wrap=False)[1], [1.1, 1.2, 1.3])


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("   -7.25", "   seven", r":12: Energy: could not convert"),
        ("Energy", "Enthalpy", r":11: unknown entry 'Enthalpy'"),
        ("    1.0  3.0  0.0\n", "", "Supercell has 6 numbers, expected 9"),
        ("END_CFG", "", "unknown entry 'BEGIN_CFG'"),
        ("    2\n Super", "    3\n Super", "atom 3 of 3 has 1 columns"),
        ("BEGIN_CFG", "BEGIN", "holds no configuration|cannot be read"),
    ],
)
def test_faults_are_named(write, old, new, message):
    path = write(CFG.replace(old, new) if old == "BEGIN_CFG" else CFG.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        read_cfg(path, ["Ag", "I"])
    assert str(path) in str(error.value)


def test_species_need_names(write):
    with pytest.raises(
        ValueError, match="species 1 has no name; expected at least 2 element names"
    ):
        read_structures([write()], ["Ag"])


def test_structures_need_labels(write):
    text = CFG.replace(" Energy\n    2.5\n", "")
    with pytest.raises(ValueError, match=r"structure 1 \(.*\) has no label"):
        read_structures([write(text)], ["Ag", "I"])


@pytest.mark.parametrize(
    "old, new",
    [
        ("Supercell", "SuperCell"),
        ("Size\n    2", "Size 2"),
        ("Energy\n    -7.25", "Energy -7.25"),
        (" Supercell\n    4.0  0.0  0.0\n", " Supercell 4.0 0.0 0.0\n"),
        ("PlusStress:", "Virial:"),
        ("PlusStress:  xx yy zz yz xz xy", "Virial:  xx yy zz xy xz yz"),
        ("xz xy\n    6.0", "xz xy 6.0"),
        ("BEGIN_CFG", "\ufeffBEGIN_CFG"),
        (
            "    1  0   0.1  0.2  0.3   1.0  2.0  3.0   0.5\n    2  1   1.1  1.2  1.3  -1.0 -2.0 -3.0   1.5",
            "    2  1   1.1  1.2  1.3  -1.0 -2.0 -3.0   1.5\n    1  0   0.1  0.2  0.3   1.0  2.0  3.0   0.5",
        ),
    ],
)
def test_dialects(write, old, new):
    """MLIP reads words wherever the lines end; `Virial:` is what `PlusStress:` is."""
    expected, _ = read_cfg(write(), ["Ag", "I"])
    text = CFG.replace(old, new, 1)
    if "xy xz yz" in new:
        text = text.replace("24.0 30.0 36.0", "36.0 30.0 24.0")
    (path := write()).write_text(text, encoding="utf-8")
    found, _ = read_structures([path], ["Ag", "I"])
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_array_equal(found.cell.array, expected.cell.array)
    np.testing.assert_array_equal(found.symbols, expected.symbols)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_array_equal(found.calc.results[name], expected.calc.results[name])


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("PlusStress:", "Stress:", "opposite sign of PlusStress"),
        (" Energy\n", " Energy\n 1.0\n Energy\n", "Energy is there twice"),
        ("    2  1   1.1", "    1  1   1.1", "an id is there twice"),
        ("  fx fy fz", "  fx fy fx", "names a column twice"),
        ("yz xz xy\n", "yz xz xz\n", "PlusStress names .* expected xx yy zz yz xz xy"),
        ("cartes_x", "cart_x", "has no positions"),
        (" Size\n    2\n", "", "AtomData before Size"),
        ("    1  0   0.1", "    1  -1   0.1", "type must be a number from 0"),
        ("    1  0   0.1", "    1  0.5   0.1", "type must be a number from 0"),
        (" Size\n    2", " Size\n    600000000000", "has .* columns|file ends inside"),
        (" Feature", " Virial: xx yy zz yz xz xy 1 1 1 1 1 1\n Feature", "disagree"),
    ],
)
def test_contradictions_are_named(write, old, new, message):
    path = write(CFG.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"train\.cfg:\d+: .*({message})"):
        read_cfg(path, ["Ag", "I"])
