# SPDX-License-Identifier: GPL-2.0-or-later
"""What is special to the MTP feature map: its definition, readout, grades, single atoms, many neighbours."""

import re
from pathlib import Path

import naive_mtp as naive
import numpy as np
import pytest
from ase import Atoms
from fused import check_fused
from scipy.linalg import qr

from pyuq import _core
from pyuq.evaluate.evaluator import Evaluator

DATA = Path(__file__).resolve().parents[1] / "data/mtp"
NAMES = ("Al", "Si")


@pytest.fixture(scope="module", params=list(naive.CASES))
def mtp(request, write_mtp):
    """One potential of every kind."""
    path, elements = write_mtp(request.param)
    return Evaluator(path, elements=elements)


def surroundings(view, row):
    """Species of a centre and (species, vector) of its neighbours."""
    i = view.centers[row]
    found = view.indices[view.first[row] : view.first[row + 1]]
    return view.species[i], [(view.species[j], view.x[j] - view.x[i]) for j in found]


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


def test_species_share_all_weights_and_constants_exert_no_force(mtp, crystal):
    atoms = crystal(mtp.elements)
    view, owner = mtp.neighbors(atoms)
    assert mtp.model.blocks == [(0, mtp.nreadout)] * len(mtp.elements)
    assert not mtp.model.jacobian(view, owner, len(atoms))[:, : len(mtp.elements)].any()


def test_two_passes_with_more_moments_than_are_kept(tmp_path, crystal):
    path = tmp_path / "large.mtp"
    path.write_text(naive.mtp_text(species=1, degrees=(8, 6, 4, 2), nproducts=300, rmax=3.5))
    evaluator = Evaluator(path, elements=["Al"])
    view, _ = evaluator.neighbors(crystal(["Al"], n=8))
    fused = evaluator.model.evaluate(view, baseline=0.7)
    split = evaluator.model.evaluate(view, baseline=0.7, two_pass=True)
    for key, value in fused.items():
        close(split[key], value, 1e-12, key)


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
    evaluator, potential = Evaluator(folder / "a.mtp", elements=NAMES), naive.parse(text)
    view, _ = evaluator.neighbors(crystal(NAMES))
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
    model = _core.Model(path, elements=NAMES)
    assert model.has_grades
    grades = model.grades(view)
    wanted = np.abs(rows[: view.ncenters] @ np.linalg.inv(rows[chosen])).max(axis=1)
    np.testing.assert_allclose(grades, wanted, rtol=1e-7)
    inside = chosen[chosen < view.ncenters]
    assert len(inside) > 5
    np.testing.assert_allclose(grades[inside], 1.0, rtol=1e-9)


def test_grades_beyond_one_batch(active_potential, crystal):
    path, *_ = active_potential
    evaluator = Evaluator(path, elements=NAMES)
    small = crystal(NAMES)
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


# ---------------------------------------------------------------------- several members as one


def write_sibling(path: Path, seed: int) -> Path:
    """Write the same potential with other coefficients of the moments and species."""
    rng = np.random.default_rng(seed)

    def others(match):
        count = match.group(2).count(",") + 1
        return f"{match.group(1)} = {naive.braces(rng.normal(scale=0.02, size=count))}"

    sibling = path.with_name(f"{path.stem}-{seed}.mtp")
    sibling.write_text(re.sub(r"((?:species|moment)_coeffs) = \{(.*)\}", others, path.read_text()))
    return sibling


@pytest.mark.parametrize("case", naive.CASES)
def test_fused_members_equal_separate_ones(write_mtp, crystal, case):
    path, elements = write_mtp(case)
    paths = [path, write_sibling(path, 1), write_sibling(path, 2)]
    members = [Evaluator(p, elements=elements) for p in paths]
    check_fused(members, crystal(members[0].elements))


def test_other_radial_functions_are_not_fused(write_mtp):
    path, elements = write_mtp(next(iter(naive.CASES)))
    other = path.with_name("other.mtp")
    other.write_text(path.read_text().replace("scaling = 0.3", "scaling = 0.31"))
    models = [_core.Model(p, elements=elements) for p in (path, other)]
    assert _core.fuse(models) is None
