# SPDX-License-Identifier: GPL-2.0-or-later
"""Moments of a level, radial coefficients by variable projection, fits of moment tensor potentials."""

import re
import subprocess
import sys
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from scipy.spatial.transform import Rotation

from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.design import feature_evaluator
from pyuq.inference.fit import fit
from pyuq.inference.fit_settings import FitSettings, Weights
from pyuq.inference.metrics import error_table, predict
from pyuq.inference.mtp_radial import Objective, refine
from pyuq.inference.posterior import PosteriorFile
from pyuq.io import extxyz
from pyuq.potentials.families import basis_from_table
from pyuq.potentials.mtp import MTPBasis
from pyuq.potentials.mtp_moments import moments
from pyuq.verbs.run_fit import run_fit

# Of potentials that the MLIP program writes: level: (basic moments, scalar moments)
PUBLISHED = {
    2: (1, 1), 4: (1, 2), 6: (5, 5), 8: (11, 9), 10: (25, 16), 12: (46, 29), 14: (81, 52), 16: (130, 92),
}  # fmt: skip
BASIS = MTPBasis(("Ag", "I"), 4.5, level=8, radial_size=4, refine=8)
WEIGHTS = np.concatenate([[-1.0, -2.0], 1e-3 * np.random.default_rng(1).normal(size=9)])


def crystals(n, seed, size=(1, 1, 1)):
    """Distorted rock salt."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("AgI", "rocksalt", a=5.6, cubic=True) * size
        strain = np.eye(3) + 0.03 * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += 0.2 * rng.normal(size=atoms.positions.shape)
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A potential with other radial coefficients than a fit starts from."""
    basis = replace(BASIS, seed=9, min_dist=2.0).prepare([])
    path = tmp_path_factory.mktemp("truth") / "truth.mtp"
    path.write_text(basis.text(WEIGHTS))
    return Evaluator(path, elements=basis.elements)


@pytest.fixture(scope="module")
def labelled(truth):
    """Function: structures with exact labels."""

    def label(frames):
        out = []
        for atoms in frames:
            result = truth.compute(atoms)
            stress = -result["virial"] / atoms.get_volume()
            out.append(extxyz.labelled(atoms, result["energy"], result["forces"], stress))
        return out

    return label


# ---------------------------------------------------------------------- moments


@pytest.mark.parametrize("level", PUBLISHED)
def test_numbers_of_moments(level):
    found = moments(level)
    assert (len(found.basic), len(found.scalars)) == PUBLISHED[level]
    assert found.count == len(found.basic) + len({t for *_, t in found.products})
    assert max(found.levels) == level


@pytest.mark.parametrize("level", [2, 4, 6, 8, 10, 12, 14, 16, 20])
def test_moments_of_the_published_potentials(shared_data, level):
    """The same basic moments in the same order, as many scalars, not more products."""
    text = (shared_data / f"mtp/pot/cubic_L{level:02d}.mtp").read_text()
    numbers = {
        key: [int(v) for v in re.findall(r"\d+", value)]
        for key, value in re.findall(r"^(alpha\w+) = (.*)$", text, re.M)
    }
    found = moments(level)
    assert [x for m in found.basic for x in m] == numbers["alpha_index_basic"]
    assert len(found.scalars) == numbers["alpha_scalar_moments"][0]
    assert len(found.products) <= numbers["alpha_index_times_count"][0]
    assert found.count <= numbers["alpha_moments_count"][0]


@pytest.mark.parametrize("level", [6, 10, 12, 14, 16])
def test_functions_of_the_published_potentials(shared_data, tmp_path, level):
    """With their radial coefficients our scalar moments are theirs, in another order."""
    path = shared_data / f"mtp/pot/cubic_L{level:02d}.mtp"
    published = Evaluator(path, elements=["Cu"])
    text = path.read_text()
    rows = [np.array(r.split(","), dtype=float) for r in re.findall(r"^\t\t\t\{(.*)\}", text, re.M)]
    value = {k: float(v) for k, v in re.findall(r"(scaling|m\w+_dist) = (\S+)", text)}
    scale = value["scaling"] * (value["max_dist"] - value["min_dist"]) ** 2
    basis = MTPBasis(
        ("Cu",),
        value["max_dist"],
        level,
        min_dist=value["min_dist"],
        radial=scale * np.array(rows)[None, None],
    )
    atoms = ase.io.read(shared_data / f"mtp/ref/cubic_L{level:02d}.xyz", 0)
    ours, theirs = feature_evaluator(basis, {}, None).features(atoms), published.features(atoms)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.sort(a), np.sort(b), rtol=1e-9, atol=1e-9 * np.abs(b).max())


def test_scalar_moments_do_not_turn():
    basis = replace(BASIS, level=14, min_dist=2.0).prepare([])
    evaluator, (atoms,) = feature_evaluator(basis, {}, None), crystals(1, 2)
    turned = atoms.copy()
    matrix = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    a, b = evaluator.features(atoms), evaluator.features(turned)
    np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-10 * np.abs(a).max())


@pytest.mark.parametrize("level", [0, 7, -2, 30])
def test_levels_are_even(level):
    with pytest.raises(ValueError, match=f"even, from 2 to 28, found {level}"):
        MTPBasis(("Cu",), 5.0, level)


# ---------------------------------------------------------------------- radial coefficients


def test_derivative_by_radial_coefficients():
    """Of a E + Σ u · ∂E/∂x, against differences of both kinds."""
    basis = replace(BASIS, min_dist=2.4).prepare([])  # some neighbours are closer
    (atoms,) = crystals(1, 3)
    rng = np.random.default_rng(4)

    def value(radial):
        evaluator = feature_evaluator(replace(basis, radial=radial.reshape(basis.shape)), {}, None)
        view, _ = evaluator.neighbors(atoms)
        result = evaluator.model.evaluate(view, WEIGHTS)
        return 0.7 * result["energy"] - (displacement * result["forces"]).sum()

    evaluator = feature_evaluator(basis, {}, None)
    view, _ = evaluator.neighbors(atoms)
    displacement = rng.normal(size=view.x.shape)
    gradient = evaluator.model.radial_gradient(view, WEIGHTS, 0.7, displacement)
    flat = basis.radial.reshape(-1)
    assert gradient.shape == flat.shape
    for k in rng.choice(flat.size, 8, replace=False):
        step = np.zeros_like(flat)
        step[k] = 1e-4
        slope = (value(flat + step) - value(flat - step)) / 2e-4
        assert gradient[k] == pytest.approx(slope, rel=1e-6, abs=1e-6 * np.abs(gradient).max())


def test_gradient_of_the_projected_loss(labelled):
    frames = labelled(crystals(4, 5))
    basis = BASIS.prepare(frames)
    settings = FitSettings(
        basis,
        Weights(energy=0.01, force=0.03, virial=0.02),
        max_force=0.9 * max(np.abs(a.get_forces()).max() for a in frames),
    )
    objective = Objective(basis, frames, settings)
    flat = basis.radial.reshape(-1)
    _, gradient = objective(flat)
    for k in (0, 5, 9, 14, 22):
        step = np.zeros_like(flat)
        step[k] = 1e-4
        slope = (objective(flat + step)[0] - objective(flat - step)[0]) / 2e-4
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-4 * np.abs(gradient).max())


def test_refinement_lowers_the_loss(labelled):
    frames = labelled(crystals(6, 6))
    settings = FitSettings(BASIS)
    before = BASIS.prepare(frames)
    after = refine(BASIS, frames, settings)
    objective = Objective(before, frames, settings)
    losses = [objective(basis.radial.reshape(-1))[0] for basis in (before, after)]
    assert losses[1] < 0.2 * losses[0]
    np.testing.assert_array_equal(refine(BASIS, frames, settings).radial, after.radial)


def test_another_family_has_no_radial_coefficients(shared_data):
    evaluator = Evaluator(shared_data / "ace/pot/YBCO.yace")
    view, _ = evaluator.neighbors(ase.io.read(shared_data / "ace/ref/YBCO.xyz", 0))
    with pytest.raises(RuntimeError, match="of the family ace, expected mtp"):
        evaluator.model.radial_gradient(view, evaluator.model.weights, 1.0, np.zeros_like(view.x))


# ---------------------------------------------------------------------- fits


@pytest.fixture(scope="module")
def trained(labelled):
    return fit(labelled(crystals(8, 7)), FitSettings(replace(BASIS, refine=30)))


def test_known_potential_is_recovered(trained, labelled):
    row = error_table(predict(trained, labelled(crystals(5, 8))))[-1]
    assert row.energy_rmse < 1.0  # meV/atom
    assert row.force_rmse < 0.02  # eV/Å


def test_saved_files(trained, tmp_path):
    """The .mtp stands alone; the .uq beside it has the posterior of species constants and moments."""
    posterior = trained.save(tmp_path, "agi")
    (atoms,) = crystals(1, 9)
    wanted = trained.predict(atoms)
    model = Evaluator(tmp_path / "agi.uq")
    assert (model.elements, model.model.family) == (["Ag", "I"], "mtp")
    assert Committee([model]).uncertainty(atoms).sigma == pytest.approx(wanted["sigma"], rel=1e-6)
    beside = Evaluator(tmp_path / "agi.mtp", elements=["Ag", "I"])
    assert beside.model.has_posterior
    posterior.unlink()
    alone = Evaluator(tmp_path / "agi.mtp", elements=["Ag", "I"])
    for evaluator in (model, beside, alone):
        assert evaluator.compute(atoms)["energy"] == pytest.approx(wanted["energy"], rel=1e-12)


def test_header_word_by_word(trained, tmp_path):
    """MLIP reads streams of words in a fixed order: a name of two words would be the next key."""
    trained.save(tmp_path, "agi")
    text = (tmp_path / "agi.mtp").read_text()
    keys = ["potential_name", "scaling", "species_count", "potential_tag", "radial_basis_type"]
    keys += ["min_dist", "max_dist", "radial_basis_size", "radial_funcs_count"]
    assert text.startswith("MTP\nversion = 1.1.0\n")
    words = text.split()[4:]
    for key in keys:
        assert words[:2] == [key, "="]
        words = words[2 if key == "potential_tag" else 3 :]
    assert words[:2] == ["radial_coeffs", "0-0"]


def test_posterior_file_names_the_species(trained, tmp_path):
    content = PosteriorFile.read(trained.save(tmp_path, "agi"))
    assert (content.family, content.elements) == ("mtp", ("Ag", "I"))
    assert content.model.startswith(b"MTP\n")
    assert content.provenance["settings"]["basis"]["level"] == 8


def test_update_equals_a_fit_of_all(trained, labelled):
    new = labelled(crystals(3, 10))
    updated = trained.update(new)
    normal = updated.normal
    assert normal.nrows > trained.normal.nrows
    again = trained.regression.condition(normal)
    mean = again.mean + trained.basis.prior_mean(trained.one_body)
    np.testing.assert_allclose(updated.posterior.mean, mean, rtol=1e-12)
    assert updated.predict(new[0])["sigma"] < trained.predict(new[0])["sigma"]


SETTINGS = """
family = "mtp"
name = "agi"
train = ["train.cfg"]
[basis]
elements = ["Ag", "I"]
cutoff = 4.5
level = 6
radial_size = 4
refine = 3
"""


def write_cfg(path, frames, elements):
    """Structures as MLIP writes them."""
    lines = []
    for atoms in frames:
        virial = -atoms.get_stress() * atoms.get_volume()
        rows = np.hstack([atoms.positions, atoms.get_forces()])
        lines += ["BEGIN_CFG", " Size", f" {len(atoms)}", " Supercell"]
        lines += [" ".join(map(repr, map(float, row))) for row in atoms.cell.array]
        lines += [" AtomData: id type cartes_x cartes_y cartes_z fx fy fz"]
        lines += [
            f"{k + 1} {elements.index(symbol)} " + " ".join(map(repr, map(float, row)))
            for k, (symbol, row) in enumerate(zip(atoms.symbols, rows, strict=True))
        ]
        lines += [" Energy", repr(float(atoms.get_potential_energy()))]
        lines += [
            " PlusStress: xx yy zz yz xz xy",
            " ".join(map(repr, map(float, virial))),
            "END_CFG",
        ]
    path.write_text("\n".join(lines) + "\n")


def test_fit_file(labelled, tmp_path, capsys):
    write_cfg(tmp_path / "train.cfg", labelled(crystals(5, 11)), ["Ag", "I"])
    (tmp_path / "fit.toml").write_text(SETTINGS)
    result = run_fit(tmp_path / "fit.toml", assignments=["basis.level=8"])
    assert result.basis.level == 8
    assert "agi.mtp" in capsys.readouterr().out
    assert Evaluator(tmp_path / "fit/agi.mtp", elements=["Ag", "I"]).model.has_posterior


def test_ranks_share_the_work(labelled, tmp_path):
    from pyuq.lmp import mpirun

    write_cfg(tmp_path / "train.cfg", labelled(crystals(5, 11)), ["Ag", "I"])
    (tmp_path / "fit.toml").write_text(SETTINGS)
    one = run_fit(tmp_path / "fit.toml")
    command = [
        mpirun(),
        "-np",
        "2",
        sys.executable,
        "-m",
        "pyuq",
        "fit",
        str(tmp_path / "fit.toml"),
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    two = Evaluator(tmp_path / "two/agi.mtp", elements=["Ag", "I"])
    (atoms,) = crystals(1, 12)
    wanted = one.predict(atoms)
    assert two.compute(atoms)["energy"] == pytest.approx(wanted["energy"], rel=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"level": 9}, "even, from 2 to 28, found 9"),
        ({"cutoff": 1.0, "min_dist": 2.0}, "expected 0 <= min_dist < cutoff"),
        ({"radial_size": 1}, "radial_size must lie in 2..64, found 1"),
        ({"elements": ["Ag", "Ag"]}, "distinct symbols"),
        ({"refine": -1}, "must not be negative"),
        ({"order": 3}, "order"),
    ],
)
def test_mistakes_in_the_table(change, message):
    with pytest.raises(ValueError, match=message):
        basis_from_table({"elements": ["Ag", "I"], "cutoff": 5.0} | change, "here", "mtp")
