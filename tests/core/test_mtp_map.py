# SPDX-License-Identifier: GPL-2.0-or-later
"""The MTP feature map: the definition, derivatives, its passes, dispatch levels, grades, extreme inputs."""

import os
import subprocess
import sys
from pathlib import Path

import naive_mtp as naive
import numpy as np
import pytest
from ase import Atoms
from scipy.linalg import qr

from pyuq import _core
from pyuq.models.evaluator import Evaluator

DATA = Path(__file__).resolve().parents[1] / "data/mtp"
NINE = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]
NAMES = ("Al", "Si", "Cu")


@pytest.fixture(scope="module")
def write_mtp(tmp_path_factory):
    """Function: case name → path of a potential and the names of its species."""
    folder = tmp_path_factory.mktemp("mtp")

    def write(case):
        path = folder / f"{case}.mtp"
        path.write_text(naive.mtp_text(**naive.CASES[case]))
        return path, NAMES[: naive.CASES[case].get("species", 2)]

    return write


@pytest.fixture(scope="module", params=list(naive.CASES))
def mtp(request, write_mtp):
    """One potential of every kind."""
    path, elements = write_mtp(request.param)
    return Evaluator(path, elements=elements)


@pytest.fixture
def weights(mtp):
    return np.random.default_rng(3).normal(size=mtp.nreadout)


def surroundings(view, row):
    """Species of a centre and (species, vector) of its neighbours."""
    i = view.centers[row]
    found = view.indices[view.first[row] : view.first[row + 1]]
    return view.species[i], [(view.species[j], view.x[j] - view.x[i]) for j in found]


def slope(function, h):
    """Derivative at 0 by five points."""
    a, b, c, d = (function(step * h) for step in (-2, -1, 1, 2))
    return (a - 8 * b + 8 * c - d) / (12 * h)


def close(found, wanted, tolerance, message=""):
    """Agreement relative to the largest value."""
    scale = max(1.0, np.abs(wanted).max(initial=0.0))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale, err_msg=message)


# ---------------------------------------------------------------------- the definition


@pytest.mark.parametrize("case", naive.CASES)
def test_energies_from_the_definition(write_mtp, crystal, case):
    path, elements = write_mtp(case)
    evaluator, potential = Evaluator(path, elements=elements), naive.parse(path.read_text())
    atoms = crystal(evaluator.elements, n=1)
    view, _ = evaluator.neighbors(atoms)
    energies, features = evaluator.model.evaluate(view)["energies"], evaluator.features(atoms)
    for row in range(view.ncenters):
        z, neighbors = surroundings(view, row)
        wanted = naive.atomic_energy(potential, z, neighbors)
        assert energies[row] == pytest.approx(wanted, rel=1e-11, abs=1e-11)
        scalars = naive.moments(potential, z, neighbors)[potential["scalars"]]
        close(features[row], [*np.eye(len(elements))[z], *scalars], 1e-11)


def test_shipped_file(crystal):
    """A file of our own."""
    evaluator = Evaluator(DATA / "random.mtp", elements=["Ag", "I"])
    assert (evaluator.model.family, evaluator.elements) == ("mtp", ["Ag", "I"])
    potential = naive.parse((DATA / "random.mtp").read_text())
    view, _ = evaluator.neighbors(crystal(["Ag", "I"], n=1))
    energies = evaluator.model.evaluate(view)["energies"]
    for row in range(view.ncenters):
        wanted = naive.atomic_energy(potential, *surroundings(view, row))
        assert energies[row] == pytest.approx(wanted, rel=1e-11)


def test_energy_is_weights_times_features(mtp, crystal, weights):
    view, _ = mtp.neighbors(crystal(mtp.elements))
    per_atom, summed = mtp.model.features(view)
    assert mtp.model.blocks == [(0, mtp.nreadout)] * len(mtp.elements)
    close(summed, per_atom.sum(axis=0), 1e-12)
    close(mtp.model.sums(view), summed, 1e-13)
    result = mtp.model.evaluate(view, weights)
    assert result["energy"] == pytest.approx(weights @ summed + mtp.model.fixed_energy, rel=1e-11)
    assert result["energies"].sum() == pytest.approx(result["energy"], rel=1e-11)


# ---------------------------------------------------------------------- derivatives


def test_forces_are_the_gradient(mtp, crystal, weights):
    atoms = crystal(mtp.elements, n=1)
    forces = mtp.compute(atoms, weights)["forces"]
    for i, c in [(0, 0), (1, 2), (3, 1)]:

        def energy(x, i=i, c=c):
            moved = atoms.copy()
            moved.positions[i, c] += x
            return mtp.compute(moved, weights)["energy"]

        scale = np.abs(forces).max()
        assert forces[i, c] == pytest.approx(-slope(energy, 1e-4), rel=1e-6, abs=1e-7 * scale)


def test_virial_is_the_strain_derivative(mtp, crystal, weights):
    atoms = crystal(mtp.elements, n=1)
    view, _ = mtp.neighbors(atoms)
    virial = mtp.model.evaluate(view, weights)["virial"]
    for (a, b), found in zip(NINE, virial, strict=True):

        def energy(x, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += x
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return mtp.compute(moved, weights)["energy"]

        scale = np.abs(virial).max()
        assert found == pytest.approx(-slope(energy, 2e-5), rel=1e-6, abs=1e-6 * scale)


def test_atomic_virials_carry_the_heat_flux(mtp, crystal):
    """Minus the atomic virials times velocities is Σ_i Σ_j (r_j - r_i) (∂e_i/∂r_j · v_j)."""
    atoms = crystal(mtp.elements, n=1)
    view, owner = mtp.neighbors(atoms)
    result = mtp.model.evaluate(view)
    close(result["virials"].sum(axis=0), result["virial"], 1e-11)
    velocities = np.random.default_rng(6).normal(size=(len(atoms), 3))[owner]
    flux = np.zeros(3)
    for row in range(view.ncenters):
        a, b = view.first[row], view.first[row + 1]
        alone = _core.NeighborView(
            view.x, view.species, view.centers[row : row + 1], [0, b - a], view.indices[a:b]
        )
        forces = mtp.model.evaluate(alone)["forces"]  # -∂e_i/∂r_j
        flux += (view.x - view.x[view.centers[row]]).T @ (forces * velocities).sum(axis=1)
    tensors = np.zeros((len(view.x), 3, 3))
    for (a, b), column in zip(NINE, result["virials"].T, strict=True):
        tensors[:, a, b] = column
    close(np.einsum("jab,jb->a", tensors, velocities), flux, 1e-10)


@pytest.mark.parametrize("n", [1, 2])
def test_jacobian_equals_backward_passes(mtp, crystal, n):
    atoms = crystal(mtp.elements, n=n)
    view, owner = mtp.neighbors(atoms)
    rows = mtp.model.jacobian(view, owner, len(atoms))
    generic = mtp.model.jacobian(view, owner, len(atoms), generic=True)
    close(rows, generic, 1e-11)
    assert not rows[:, : len(mtp.elements)].any()


# ---------------------------------------------------------------------- passes


def check_two_passes(evaluator, atoms, weights=None):
    view, _ = evaluator.neighbors(atoms)
    fused = evaluator.model.evaluate(view, weights, fixed=0.7)
    split = evaluator.model.evaluate(view, weights, fixed=0.7, two_pass=True)
    for key, value in fused.items():
        close(split[key], value, 1e-12, key)


def test_two_passes_equal_the_fused_one(mtp, crystal, weights):
    check_two_passes(mtp, crystal(mtp.elements), weights)


def test_two_passes_with_more_moments_than_are_kept(tmp_path, crystal):
    path = tmp_path / "large.mtp"
    path.write_text(naive.mtp_text(species=1, degrees=(8, 6, 4, 2), nproducts=300, rmax=3.5))
    check_two_passes(Evaluator(path, elements=["Al"]), crystal(["Al"], n=8))


def test_atomic_weights_equal_shared_ones(mtp, crystal, weights):
    view, _ = mtp.neighbors(crystal(mtp.elements))
    shared = mtp.model.evaluate(view, weights)
    atomic = mtp.model.evaluate(view, per_atom_weights=np.tile(weights, (view.ncenters, 1)))
    for key, value in shared.items():
        close(atomic[key], value, 1e-12, key)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_several_seeds_share_one_pass(mtp, crystal, k):
    view, _ = mtp.neighbors(crystal(mtp.elements))
    rng = np.random.default_rng(4)
    weights, fixed = rng.normal(size=(k, mtp.nreadout)), rng.normal(size=k)
    energies, forces = mtp.model.backward(view, weights, fixed)
    for s in range(k):
        single = mtp.model.evaluate(view, weights[s], fixed[s])
        assert energies[s] == pytest.approx(single["energy"], rel=1e-12)
        close(forces[s], single["forces"], 1e-12)


def test_order_and_translation_do_not_matter(mtp, crystal, weights):
    atoms = crystal(mtp.elements)
    reference = mtp.compute(atoms, weights)
    order = np.random.default_rng(5).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [0.3, -1.1, 2.7]
    moved.wrap()
    result = mtp.compute(moved, weights)
    assert result["energy"] == pytest.approx(reference["energy"], rel=1e-11)
    close(result["forces"], reference["forces"][order], 1e-10)


SCRIPT = """
import sys, numpy as np
from ase.io import read
from pyuq.models.evaluator import Evaluator
e, atoms = Evaluator(sys.argv[1], elements=["Al", "Si"]), read(sys.argv[2])
r = e.compute(atoms)
view, owner = e.neighbors(atoms)
np.savez(sys.argv[3], energies=r["energies"], forces=r["forces"], virial=r["virial"],
         rows=e.model.jacobian(view, owner, len(atoms)))
"""


@pytest.mark.parametrize("case", ["plain", "many_radial", "sparse", "repulsive"])
def test_instruction_sets_agree(write_mtp, crystal, tmp_path, case):
    path, elements = write_mtp(case)
    crystal(elements).write(tmp_path / "atoms.xyz")
    results = {}
    for level in ("baseline", "avx2", "avx512"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, path, tmp_path / "atoms.xyz", tmp_path / f"{level}.npz"],
            env=os.environ | {"PYUQ_SIMD": level},
            capture_output=True,
            text=True,
        )
        if "this processor offers" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        results[level] = np.load(tmp_path / f"{level}.npz")
    if len(results) < 2:
        pytest.skip("this processor has no vector extensions beyond the baseline")
    for level, result in results.items():
        for key in result:
            close(result[key], results["baseline"][key], 1e-12, f"{level} {key}")


# ---------------------------------------------------------------------- extrapolation grades


def almtp(text, active):
    """Bytes of an .almtp with an active set [n][n]."""
    matrices = active.tobytes() + np.linalg.inv(active.T).tobytes()
    return f"{text}#MVS_v1.1\n{naive.WEIGHTS}".encode() + matrices + b"\n#\n0 1\n#\nBEGIN_CFG\n"


@pytest.fixture(scope="module")
def active_potential(tmp_path_factory, crystal):
    """Path of an .almtp whose active set are atoms of a crystal, and rows of those and further atoms."""
    text = naive.mtp_text(degrees=(2, 1), nbasis=3, nproducts=8)
    folder = tmp_path_factory.mktemp("almtp")
    (folder / "a.mtp").write_text(text)
    evaluator, potential = Evaluator(folder / "a.mtp", elements=NAMES[:2]), naive.parse(text)
    view, _ = evaluator.neighbors(crystal(NAMES[:2]))
    rows = np.array(
        [
            naive.coefficient_gradient(potential, *surroundings(view, k))
            for k in range(view.ncenters)
        ]
    )
    # The crystal's own neighbourhoods do not span all coefficients: random directions fill up.
    rows = np.vstack(
        [rows, 0.1 * np.random.default_rng(0).normal(size=(rows.shape[1], rows.shape[1]))]
    )
    chosen = qr(rows.T, pivoting=True, mode="economic")[2][: rows.shape[1]]
    (folder / "a.almtp").write_bytes(almtp(text, rows[chosen]))
    return folder / "a.almtp", view, rows, chosen


def test_grades_from_the_definition(active_potential):
    path, view, rows, chosen = active_potential
    model = _core.Model(path, elements=NAMES[:2])
    assert model.has_grades
    grades = model.grades(view)
    wanted = np.abs(rows[: view.ncenters] @ np.linalg.inv(rows[chosen])).max(axis=1)
    np.testing.assert_allclose(grades, wanted, rtol=1e-7)
    inside = chosen[chosen < view.ncenters]
    assert len(inside) > 5
    np.testing.assert_allclose(grades[inside], 1.0, rtol=1e-9)


def test_grades_beyond_one_batch(active_potential, crystal):
    path, *_ = active_potential
    evaluator = Evaluator(path, elements=NAMES[:2])
    small = crystal(NAMES[:2])
    large = small * (2, 2, 2)
    a, b = (evaluator.model.grades(evaluator.neighbors(atoms)[0]) for atoms in (small, large))
    np.testing.assert_allclose(b, np.tile(a, 8), rtol=1e-9)


def test_most_files_have_no_grades(write_mtp, crystal):
    path, elements = write_mtp("plain")
    evaluator = Evaluator(path, elements=elements)
    assert not evaluator.model.has_grades
    with pytest.raises(RuntimeError, match="active set"):
        evaluator.model.grades(evaluator.neighbors(crystal(elements))[0])


# ---------------------------------------------------------------------- extreme inputs


def test_single_atoms_have_their_species_constant(mtp):
    for z, symbol in enumerate(mtp.elements):
        result = mtp.compute(Atoms(symbol, positions=[[0, 0, 0]]))
        assert result["energy"] == pytest.approx(mtp.model.weights[z], rel=1e-14)
        assert not result["forces"].any()
    assert mtp.model.min_distance == np.inf


def test_thousands_of_neighbours(write_mtp):
    """A cluster squeezed into the cutoff."""
    path, elements = write_mtp("plain")
    model, potential = _core.Model(path, elements=elements), naive.parse(path.read_text())
    n = 2501
    x = np.random.default_rng(8).uniform(-1.5, 1.5, size=(n, 3))
    view = _core.NeighborView(x, np.arange(n) % 2, [0], [0, n - 1], np.arange(1, n))
    result = model.evaluate(view)
    wanted = naive.atomic_energy(potential, *surroundings(view, 0))
    assert result["energy"] == pytest.approx(wanted, rel=1e-9)
    close(result["forces"].sum(axis=0), np.zeros(3), 1e-9 * np.abs(result["forces"]).max())


@pytest.mark.parametrize("distance", [0.5, 1e-3, 1e-12, 0.0])
def test_close_contacts_stay_finite(mtp, distance):
    view = _core.NeighborView([[0, 0, 0], [0, 0, distance]], [0, 0], [0, 1], [0, 1, 2], [1, 0])
    result = mtp.model.evaluate(view)
    assert mtp.model.min_distance == pytest.approx(distance)
    assert np.isfinite(result["energy"])
    assert np.isfinite(result["forces"]).all()


@pytest.mark.parametrize("two_pass", [True, False])
def test_nan_is_not_hidden(mtp, crystal, two_pass):
    view, _ = mtp.neighbors(crystal(mtp.elements, n=1))
    x = view.x.copy()
    x[1, 2] = np.nan
    broken = _core.NeighborView(x, view.species, view.centers, view.first, view.indices)
    result = mtp.model.evaluate(broken, two_pass=two_pass)
    assert np.isnan(result["energy"])
    assert np.isnan(result["forces"][1]).any()


def test_no_centres(mtp):
    view = _core.NeighborView(np.zeros((0, 3)), [], [], [0], [])
    assert mtp.model.evaluate(view)["energy"] == 0.0
    assert not mtp.model.sums(view).any()


def test_atoms_of_no_species_are_skipped(mtp, crystal):
    atoms = crystal(mtp.elements, n=1)
    view, _ = mtp.neighbors(atoms)
    species = view.species.copy()
    species[len(atoms) :] = -1  # the ghosts are strangers: as in vacuum
    masked = _core.NeighborView(view.x, species, view.centers, view.first, view.indices)
    atoms.pbc = False
    vacuum = mtp.compute(atoms)
    assert mtp.model.evaluate(masked)["energy"] == pytest.approx(vacuum["energy"], rel=1e-12)


def test_cutoff_longer_than_the_cell(mtp, crystal):
    atoms = crystal(mtp.elements, n=1)
    single, double = mtp.compute(atoms), mtp.compute(atoms * (2, 1, 2))
    assert double["energy"] == pytest.approx(4 * single["energy"], rel=1e-11)
    close(double["virial"], 4 * single["virial"], 1e-11)
