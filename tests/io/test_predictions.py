# SPDX-License-Identifier: GPL-2.0-or-later
"""What a model has predicted is never taken for a label, whoever wrote it."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from pyuq.io import extxyz
from pyuq.io.structures import StructureFiles, check_structures, read_structures

ROWS = "Cu 0 0 0 0.1 0.2 0.3\nCu 1.8 1.8 1.8 -0.1 -0.2 -0.3\n"
LATTICE = 'Lattice="3.6 0 0 0 3.6 0 0 0 3.6"'
PROPERTIES = "Properties=species:S:1:pos:R:3:forces:R:3"
ENERGY = 'energy=-7.5 virial="1 0 0 0 1 0 0 0 1"'


def frame(comment, rows=ROWS):
    return f"2\n{comment}\n{rows}"


DEVIATION = (
    f'Time=0.0 pbc="T T T" uncertainty=1.6 {LATTICE} Origin="0 0 0" {ENERGY} '
    "Properties=species:S:1:pos:R:3:vel:R:3:forces:R:3:uncertainty:R:1"
)
PREDICTED = {
    "earlier frames of ours, and GPUMD's": (
        frame(
            DEVIATION,
            "Cu 0 0 0 0 0 0 0.1 0.2 0.3 1.6\nCu 1.8 1.8 1.8 0 0 0 -0.1 -0.2 -0.3 1\n",
        ),
        "uncertainty=",
    ),
    "frames of GPUMD's dynamics": (
        frame(f'Time=0.5 pbc="T T T" {LATTICE} {ENERGY} {PROPERTIES}'),
        "Time=, GPUMD's first word",
    ),
    "written again by ASE": (
        frame(f'{LATTICE} {PROPERTIES} uncertainty=1.6 {ENERGY} pbc="T T T"'),
        "uncertainty=",
    ),
    "any capitals": (
        frame(f"{LATTICE} {PROPERTIES} Uncertainty=1.6 {ENERGY}"),
        "Uncertainty=",
    ),
    "a column of UQCalculator": (
        frame(
            f"{LATTICE} energy=-7.5 Properties=species:S:1:pos:R:3:force:R:3:forces_uncertainty:R:3",
            "Cu 0 0 0 1 2 3 1 1 1\nCu 1.8 1.8 1.8 -1 -2 -3 1 1 1\n",
        ),
        "forces_uncertainty=",
    ),
    "frames of fix uq/deviation": (
        frame(
            f'Time=0 pbc="T T T" uq_uncertainty=1.6 {LATTICE} uq_energy=-7.5 uq_virial="1 0 0 0 1 0 0 0 1" '
            "Properties=species:S:1:pos:R:3:uq_forces:R:3"
        ),
        "uq_energy",
    ),
}


@pytest.mark.parametrize(("text", "mark"), PREDICTED.values(), ids=PREDICTED)
def test_predictions_are_set_apart_and_refused_where_labels_are_needed(tmp_path, text, mark):
    path = tmp_path / "active.xyz"
    path.write_text(text)
    (atoms,) = extxyz.read(path)
    assert not extxyz.is_labelled(atoms)
    assert atoms.info["uq_energy"] == -7.5
    assert atoms.arrays["uq_forces"].shape == (2, 3)
    for read in (read_structures, lambda paths: list(StructureFiles(paths))):
        with pytest.raises(ValueError, match=rf"active\.xyz: structure 0 .*as {mark}.* tells"):
            read([path])
    # Once it has been labelled it is a label like any other, and stays one when it is written and read.
    label = extxyz.labelled(atoms, -1.0, np.zeros((2, 3)), np.zeros(6))
    extxyz.write(path, [label])
    (again,) = read_structures([path])
    assert again.get_potential_energy() == -1.0


def test_an_output_of_mlip_that_a_potential_computed_is_refused(tmp_path):
    text = (
        "BEGIN_CFG\n Size\n 1\n AtomData: id type cartes_x cartes_y cartes_z fx fy fz\n 1 0 0 0 0 0 0 0\n"
        " Energy\n -1\n Feature EFS_by {}\nEND_CFG\n"
    )
    path = tmp_path / "a.cfg"
    path.write_text(text.format("VASP"))
    assert read_structures([path], ["Cu"])[0].get_potential_energy() == -1.0
    path.write_text(text.format("MultiMTP4"))
    with pytest.raises(ValueError, match=r"a\.cfg: structure 0 .*EFS_by=MultiMTP4 tells"):
        read_structures([path], ["Cu"])


@pytest.mark.parametrize(
    ("name", "right"),
    [("mace", False), ("uqcalculator", False), ("emt", True), ("vasp", True), ("gpaw", True)],
)
def test_ase_files_that_name_a_model_as_their_calculator(tmp_path, name, right):
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((1, 3)))
    atoms.calc.name = name
    ase.io.write(tmp_path / "a.traj", atoms)
    if right:
        assert read_structures([tmp_path / "a.traj"])[0].get_potential_energy() == -1.0
    else:
        with pytest.raises(ValueError, match=f"as calculator {name} tells.*extended XYZ"):
            read_structures([tmp_path / "a.traj"])


def test_structures_in_memory(tmp_path):
    """Frames that ASE itself has read, and results of a calculator that gives uncertainties."""
    path = tmp_path / "active.xyz"
    path.write_text(PREDICTED["earlier frames of ours, and GPUMD's"][0])
    with pytest.raises(ValueError, match=r"structure 0 .*uncertainty= tells"):
        check_structures([ase.io.read(path)])
    atoms = bulk("Cu")
    atoms.calc = EMT()
    atoms.get_forces()
    check_structures([atoms])
    atoms.calc.results["energy_uncertainty"] = 0.1
    with pytest.raises(ValueError, match="energy_uncertainty= tells"):
        check_structures([atoms])


def test_names_that_only_resemble_labels_are_told(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(
        f"1\n{LATTICE} REF_energy=-1 Properties=species:S:1:pos:R:3:REF_forces:R:3\nCu 0 0 0 0 0 0\n"
    )
    with pytest.raises(ValueError, match=r"no label; expected .* found REF_energy, REF_forces"):
        read_structures([path])
    with pytest.raises(ValueError, match=r"no label; expected energy and forces$"):
        check_structures([Atoms("Cu")])
