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
        ("   -7.25", "   seven", r":12: could not convert"),
        ("Energy", "Enthalpy", r":11: unknown entry 'Enthalpy'"),
        ("    1.0  3.0  0.0\n", "", "Supercell has 2 rows, expected 3"),
        ("END_CFG", "", "unknown entry 'BEGIN_CFG'"),
        ("    2\n Super", "    3\n Super", "inhomogeneous|could not convert"),
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
