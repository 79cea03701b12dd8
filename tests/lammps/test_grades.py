# SPDX-License-Identifier: GPL-2.0-or-later
"""Extrapolation grades in LAMMPS against the definition."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from crystal import (
    ELEMENTS,
    atoms,
    family_files,
    forces,
    mpirun,
    positions,
    posterior_file,
    run,
)
from safetensors import safe_open
from safetensors.numpy import save_file
from test_parallel import frame, from_file

from pyuq.evaluate.evaluator import Evaluator


def with_active_set(path: Path, seed: int) -> list[np.ndarray]:
    """Add a random active set to a posterior; returns the inverse of each species."""
    with safe_open(path, "np") as archive:
        tensors = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
        metadata = archive.metadata()
    rng = np.random.default_rng(seed)
    counts = [count for _, count in Evaluator(path).model.blocks]
    inverses = [rng.normal(size=(n, n)) for n in counts]
    flat = np.concatenate([inverse.ravel() for inverse in inverses])
    save_file(tensors | {"active_inverse": flat}, path, metadata=metadata)
    return inverses


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> dict:
    """A posterior with an active set of each family, and the inverses."""
    folder = tmp_path_factory.mktemp("graded")
    files = family_files(folder)
    return {
        family: (Path(files[family]), with_active_set(Path(files[family]), seed))
        for seed, family in enumerate(("ace", "nep", "mtp"))
    }


def structure(lmp) -> Atoms:
    """The crystal as ASE has it, in the order of the atom ids."""
    types = np.array(lmp.gather_atoms("type", 0, 1))
    lo, hi, xy, yz, xz, _, _ = lmp.extract_box()
    lx, ly, lz = np.subtract(hi, lo)
    cell = [[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]
    return Atoms([ELEMENTS[t - 1] for t in types], positions(lmp) - lo, cell=cell, pbc=True)


def expected(path: Path, inverses, system: Atoms) -> np.ndarray:
    """max_j |φ A⁻¹|_j of each atom."""
    phi = Evaluator(path).features(system)
    grades = np.empty(len(system))
    for n, symbol in enumerate(system.get_chemical_symbols()):
        inverse = inverses[ELEMENTS.index(symbol)]
        grades[n] = np.abs(phi[n, : len(inverse)] @ inverse).max()
    return grades


SCRIPT = """
compute a all uq/atom grade
compute u all uq grade
fix s all pair 1 uq grade 1
thermo_style custom pe c_u[*]
fix n all nve
run 3
"""


@pytest.mark.parametrize("family", ["ace", "nep", "mtp"])
@pytest.mark.parametrize("threads", [1, 3])
def test_definition(graded, family, threads):
    path, inverses = graded[family]
    omp = f"package omp {threads}\n"
    lmp = run(omp + atoms(path, size=(3, 2, 2), tilt=(1.3, -0.8, 0.9)) + SCRIPT)
    wanted = expected(path, inverses, structure(lmp))
    tags = lmp.numpy.extract_atom("id")[: len(wanted)]
    found = lmp.numpy.extract_compute("a", 1, 1)[: len(wanted)]
    np.testing.assert_allclose(found, wanted[tags - 1], rtol=1e-8)
    np.testing.assert_array_equal(lmp.numpy.extract_fix("s", 1, 1)[: len(wanted)].ravel(), found)
    thermo = lmp.last_thermo()
    assert thermo["c_u[7]"] == found.max()
    assert thermo["c_u[8]"] == tags[found.argmax()]
    assert thermo["c_u[1]"] > 0.0


def test_committee_takes_the_largest(graded):
    files = " ".join(str(graded[family][0]) for family in ("ace", "mtp"))
    lmp = run(atoms(files) + SCRIPT)
    system = structure(lmp)
    wanted = np.maximum(*(expected(*graded[family], system) for family in ("ace", "mtp")))
    tags = lmp.numpy.extract_atom("id")[: len(wanted)]
    found = lmp.numpy.extract_compute("a", 1, 1)[: len(wanted)]
    np.testing.assert_allclose(found, wanted[tags - 1], rtol=1e-8)


@pytest.mark.parametrize("family", ["ace", "nep", "mtp", "samples"])
def test_single_precision(graded, family, tmp_path):
    """`precision mixed` changes grades and σ_i by rounding, and nothing else."""
    if family == "samples":
        path = posterior_file(tmp_path, "few", samples=5)
        with_active_set(path, 9)
    else:
        path = graded[family][0]
    ask = "fix s all pair 1 uq sigma 1 grade 1\nfix n all nve\nrun 3\n"
    found = []
    for precision in ("double", "mixed"):
        lmp = run(atoms(path, size=(3, 2, 2), pair=f"uq precision {precision}") + ask)
        n = lmp.get_natoms()
        found.append((forces(lmp), lmp.numpy.extract_fix("s", 1, 2)[:n].copy()))
    (f, exact), (same, single) = found
    np.testing.assert_array_equal(same, f)
    np.testing.assert_allclose(single, exact, rtol=1e-4)
    assert not np.array_equal(single[:, 0], exact[:, 0])
    assert not np.array_equal(single[:, 1], exact[:, 1])


def test_precision_does_not_touch_the_bias(graded):
    """The local bias is the derivative of its energy: in double precision always."""
    energies = []
    for precision in ("double", "mixed"):
        script = atoms(graded["ace"][0], pair=f"uq precision {precision}")
        lmp = run(script + "fix h all uq/hal tau 0.5 mode local\nfix n all nve\nrun 3\n")
        energies.append((lmp.get_thermo("pe"), lmp.extract_fix("h", 0, 0)))
    assert energies[0] == energies[1]


def test_ranks_agree(graded, tmp_path):
    path, _ = graded["ace"]
    cell = dict(size=(2, 2, 2), extra="change_box all x delta 0 30 units box")
    script = from_file(path, tmp_path, **cell) + SCRIPT
    script += "write_dump all custom frame id c_a f_s modify sort id format float %.17g\n"
    for ranks in (1, 4):
        (tmp_path / str(ranks)).mkdir()
        mpirun(ranks, script, tmp_path / str(ranks))
    one, four = (frame(tmp_path / str(ranks)) for ranks in (1, 4))
    np.testing.assert_allclose(four, one, rtol=1e-9)
    np.testing.assert_array_equal(one[:, 1], one[:, 2])


@pytest.mark.parametrize(
    "command",
    [
        "compute a all uq/atom grade\ncompute m all reduce max c_a\nthermo_style custom c_m\n",
        "compute u all uq grade\nthermo_style custom c_u[7]\n",
        "fix s all pair 1 uq grade 1\n",
    ],
)
def test_no_active_set(potential, command):
    with pytest.raises(Exception, match="no model has an active set"):
        run(atoms(potential) + command + "run 0")


def test_wrong_size(graded, tmp_path):
    path, _ = graded["ace"]
    with safe_open(path, "np") as archive:
        tensors = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
        metadata = archive.metadata()
    tensors["active_inverse"] = tensors["active_inverse"][:-1]
    save_file(tensors, tmp_path / "cut.uq", metadata=metadata)
    with pytest.raises(Exception, match=r"active_inverse.* has shape"):
        run(atoms(tmp_path / "cut.uq"))
