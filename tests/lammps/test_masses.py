# SPDX-License-Identifier: GPL-2.0-or-later
"""Masses that contradict the elements: a warning of LAMMPS, a refusal in Python."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from crystal import ELEMENTS, atoms, run
from pyuq._core import check_masses

from pyuq.evaluate.calculator import UQCalculator
from pyuq.hal.settings import Labels
from pyuq.io.lammps_data import read_data, write_data


def warnings_of(commands: str) -> str:
    """Lines of the log that warn of masses."""
    lmp = run("log run.log\n" + commands)
    lmp.close()
    lines = Path("run.log").read_text().splitlines()
    return "\n".join(line for line in lines if "masses" in line)


def test_lammps_warns_of_exchanged_elements_once(potential):
    script = atoms(potential) + "run 0 post no\nrun 0 post no\n"
    assert warnings_of(script) == ""
    found = warnings_of(script.replace("Al Si\n", "Si Al\n"))
    assert found.count("WARNING") == 1
    assert "Si has mass 26.98, which is that of Al, expected about 28.085" in found
    assert "Al has mass 28.09, which is that of Si" in found
    assert warnings_of(script.replace("mass 2 28.09", "mass 2 29.97")) == ""  # an isotope


@pytest.mark.parametrize(
    ("elements", "masses", "found"),
    [
        ("Pb Te", (207.2, 127.6), None),
        ("Pb Te", (127.6, 207.2), "wrong"),
        ("Cu", (1.0,), "wrong"),
        ("Li H O", (6.015, 2.014, 17.999), None),
        ("H", (3.016,), None),
        ("H C O", (1.0, 12.0, 16.0), None),
        ("H O", (3.024, 11.967), "unusual"),  # repartitioned: H₂O
        ("H C", (3.024, 5.963), "unusual"),  # CH₃
        ("H O", (1.008, 11.967), "wrong"),
        ("H C", (12.011, 1.008), "wrong"),
        ("Ni Co", (58.6934, 58.933194), None),
    ],
)
def test_kinds_of_masses(elements, masses, found):
    message, wrong = check_masses(elements.split(), masses)
    assert (found is not None) == bool(message)
    assert wrong == (found == "wrong")


def test_every_pair_of_elements_exchanged():
    """Refused wherever masses differ by more than one part in a hundred; never in the right order."""
    from ase.data import atomic_masses, chemical_symbols

    elements = range(1, 95)
    for a in elements:
        for b in range(a + 1, 95):
            names = [chemical_symbols[a], chemical_symbols[b]]
            masses = atomic_masses[[a, b]]
            assert check_masses(names, masses) == ("", False)
            if abs(np.log(masses[1] / masses[0])) > 0.011:
                assert check_masses(names, masses[::-1])[1], names


def test_python_refuses(potential, tmp_path):
    crystal = bulk("Al", cubic=True)
    crystal.symbols[0] = "Si"
    crystal.calc = UQCalculator(potential, forces_uncertainty=False)
    crystal.get_potential_energy()
    crystal.rattle(0.01, seed=1)
    crystal.set_masses([26.98, 28.085, 28.085, 28.085])
    with pytest.raises(ValueError, match=r"which is that of Si.*Elements were exchanged"):
        crystal.get_potential_energy()
    crystal.set_masses(None)
    with pytest.raises(ValueError, match="masses: Al has mass 28"):
        Labels(kind="files", masses={"Al": 28.085, "Si": 26.98})
    path = tmp_path / "crystal.data"
    with pytest.raises(ValueError, match=r"crystal\.data: Al has mass 28"):
        write_data(path, crystal, ELEMENTS, masses={"Al": 28.085, "Si": 26.98})
    assert not path.exists()
    write_data(path, crystal, ELEMENTS)
    assert read_data(path, ELEMENTS) == crystal
    with pytest.raises(ValueError, match=r"crystal\.data: Si has mass 26"):
        read_data(path, ELEMENTS[::-1])
    water = molecule("H2O")
    water.set_masses([11.967, 3.024, 3.024])
    from pyuq.io.masses import refuse_wrong_masses

    with pytest.warns(UserWarning, match="repartitioned"):
        refuse_wrong_masses(list(water.symbols), water.get_masses(), "water")
