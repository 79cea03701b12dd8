# SPDX-License-Identifier: GPL-2.0-or-later
"""The fit pipeline on labels whose potential is known."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones

from pyuq.cli import main, share_cores
from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.design import centered_rows, weighted_rows
from pyuq.inference.fit import fit
from pyuq.inference.fit_settings import FitSettings, RepulsionSettings, Solver, Weights
from pyuq.inference.fit_state import FitState
from pyuq.inference.metrics import error_table, predict
from pyuq.inference.posterior import PosteriorFile
from pyuq.inference.regression import NormalEquations, condition
from pyuq.io import extxyz
from pyuq.io.files import read_tensors, write_tensors
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.families import basis_from_table
from pyuq.verbs.run_fit import repulsion_note, run_fit

BASIS = ACEBasis(("Ar",), 6.0, order=2, degree=(10, 4))
SETTINGS = FitSettings(BASIS)


def labelled_argon(n, seed, rattle=0.15, noise=0.002):
    """Strained and rattled argon; labels with noise: eV/Å, and eV for energies and virials."""
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(n):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 1, 1)
        strain = rng.normal(0, 0.03, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rng.normal(0, rattle, atoms.positions.shape)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0, smooth=True)
        structures.append(
            extxyz.labelled(
                atoms,
                atoms.get_potential_energy() + rng.normal(0, noise),
                atoms.get_forces() + rng.normal(0, noise, atoms.positions.shape),
                atoms.get_stress() + rng.normal(0, noise, 6) / atoms.get_volume(),
            )
        )
    return structures


@pytest.fixture(scope="module")
def trained():
    return fit(labelled_argon(12, 1), SETTINGS)


def test_known_potential_is_recovered(trained):
    row = error_table(predict(trained, labelled_argon(10, 2)))[-1]
    assert row.energy_rmse < 0.5
    assert row.force_rmse < 0.01
    assert row.stress_rmse < 0.05


def test_rows_are_derivatives(trained):
    atoms = labelled_argon(1, 3)[0]
    rng = np.random.default_rng(0)
    rows = trained.features.rows(atoms)
    direction, h = rng.normal(size=atoms.positions.shape), 1e-4
    strain = rng.normal(size=(3, 3)) * 0.1
    strain = (strain + strain.T) / 2

    def phi(t, s):
        moved = atoms.copy()
        moved.positions += t * direction
        moved.set_cell(moved.cell.array @ (np.eye(3) + s * strain), scale_atoms=True)
        return trained.features.rows(moved).energy

    along = (phi(h, 0) - phi(-h, 0)) / (2 * h)
    np.testing.assert_allclose(-direction.ravel() @ rows.forces, along, rtol=1e-6, atol=1e-6)
    under = (phi(0, h) - phi(0, -h)) / (2 * h)
    voigt = [
        strain[0, 0],
        strain[1, 1],
        strain[2, 2],
        2 * strain[1, 2],
        2 * strain[0, 2],
        2 * strain[0, 1],
    ]
    np.testing.assert_allclose(-np.array(voigt) @ rows.virial, under, rtol=1e-6, atol=1e-6)


def test_update_equals_full_fit_at_the_same_hyperparameters(trained):
    more = labelled_argon(3, 5)
    updated = trained.update(more)
    normal = NormalEquations(BASIS.nfunctions)
    for atoms in [*trained.structures, *more]:
        normal.add(*weighted_rows(trained.features, atoms, SETTINGS))
    before = trained.posterior
    full = condition(normal, before.prior_variance, before.noise_variance)
    scale = np.abs(full.mean).max()
    np.testing.assert_allclose(updated.posterior.mean, full.mean, rtol=0, atol=1e-8 * scale)
    exact = before.noise_variance * updated.pops.axes @ updated.pops.axes.T
    # Rounding of the factor, amplified by the condition number.
    np.testing.assert_allclose(
        exact, full.covariance, rtol=0, atol=1e-5 * np.abs(full.covariance).max()
    )
    inside = fit(labelled_argon(12, 1), replace(SETTINGS, uncertainty="bayes")).update(more)
    np.testing.assert_allclose(
        inside.posterior.covariance, full.covariance, rtol=0, atol=1e-8 * scale
    )
    assert not np.allclose(before.mean, full.mean, rtol=1e-6)
    assert len(updated.structures) == 15
    np.testing.assert_array_equal(trained.update([]).posterior.mean, before.mean)


def test_error_bars_say_what_they_are_and_how_right(tmp_path):
    """Of either kind: the file names it, the report judges it by structures left out, old files are posteriors."""
    structures, settings = labelled_argon(12, 1), replace(SETTINGS, solver=Solver("ard"))
    structures[0].info["config_type"] = structures[1].info["config_type"] = "hot"
    for kind in ("pops", "bayes"):
        result = fit(structures, replace(settings, uncertainty=kind), leave=True)
        file = PosteriorFile.read(result.save(tmp_path, kind))
        assert file.uncertainty == kind
        assert file.leave_one_out["energy"]["scale"] == result.leave_one_out.scales["energy"].scale
        text = result.leave_one_out.text()
        for part in (
            "| structure | energy | σ",
            "| structure | force Ar | calibrated",
            "| group |",
        ):
            assert part in text
        assert result.leave_one_out.groups is not None
    path = tmp_path / "pops.uq"
    tensors, metadata = read_tensors(path)
    del metadata["uncertainty"], metadata["leave_one_out"]
    write_tensors(path, tensors, metadata)
    assert PosteriorFile.read(path).uncertainty == "bayes"
    assert PosteriorFile.read(path).leave_one_out == {}


@pytest.mark.parametrize("kind", ["ridge", "ard"])
def test_left_out_structures_are_predicted_as_by_a_fit_without_them(kind):
    structures = labelled_argon(8, 1)
    result = fit(structures, replace(SETTINGS, solver=Solver(kind)), leave=True)
    normal = NormalEquations(BASIS.nfunctions)
    for atoms in structures[:-1]:
        normal.add(*centered_rows(result.features, atoms, SETTINGS, result.one_body))
    rows, targets, _ = centered_rows(result.features, structures[-1], SETTINGS, result.one_body)
    wanted = targets - rows @ result.regression.condition(normal).mean
    left = result.leave_one_out.structures
    found = left.errors[left.structures == 7]
    n = len(structures[-1])
    wanted[3 * n :] /= n
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * np.abs(targets).max())


def test_unknown_uncertainty_is_named():
    with pytest.raises(ValueError, match="uncertainty = 'box'; expected one of pops, bayes"):
        replace(SETTINGS, uncertainty="box")


def test_update_of_a_sparse_fit_stays_sparse():
    settings = FitSettings(BASIS, solver=Solver("ard"))
    start = fit(labelled_argon(8, 1), settings)
    pruned = start.posterior.mean == 0.0
    assert pruned.any()
    more = labelled_argon(3, 5)
    updated = start.update(more)
    normal = NormalEquations(BASIS.nfunctions)
    for atoms in [*start.structures, *more]:
        normal.add(*weighted_rows(start.features, atoms, settings))
    again = start.regression.condition(normal)
    np.testing.assert_array_equal(updated.posterior.mean == 0.0, pruned)
    np.testing.assert_allclose(updated.posterior.mean, again.mean, rtol=1e-6, atol=1e-9)
    assert (np.diag(updated.posterior.covariance)[pruned] > 0.0).all()


def test_saved_potential_is_the_fitted_one(trained, tmp_path):
    path = trained.save(tmp_path, "ar")
    atoms = labelled_argon(1, 7)[0]
    expected = trained.predict(atoms)
    for file in (path, tmp_path / "ar.yace"):
        evaluator = Evaluator(file)
        found = evaluator.compute(atoms)
        assert found["energy"] == pytest.approx(expected["energy"], rel=1e-12)
        np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-11)
        assert Committee([evaluator]).uncertainty(atoms).sigma == pytest.approx(
            expected["sigma"], rel=1e-3
        )
    PosteriorFile.read(path).check_model(tmp_path / "ar.yace")


def test_posterior_of_another_model_is_refused(trained, tmp_path):
    trained.save(tmp_path, "ar")
    yace = tmp_path / "ar.yace"
    yace.write_text(yace.read_text().replace("E0: [", "E0: [1"))
    with pytest.raises(RuntimeError, match=r"ar\.uq"):
        Evaluator(yace)


def test_energy_error_bars_widen_off_the_data(trained):
    inside, outside = labelled_argon(1, 8)[0], labelled_argon(1, 8, rattle=0.5)[0]
    assert trained.predict(outside)["sigma"] > 3 * trained.predict(inside)["sigma"]


def test_large_forces_are_dropped_with_energy_and_virial(trained):
    atoms = labelled_argon(1, 9)[0]
    limit = np.sort(np.abs(atoms.calc.results["forces"]).ravel())[-3]
    rows, targets, weights = weighted_rows(
        trained.features, atoms, FitSettings(BASIS, max_force=limit)
    )
    assert len(rows) == len(targets) == len(weights) == 3 * len(atoms) - 2


def test_group_weights(trained):
    atoms = labelled_argon(1, 9)[0]
    atoms.info["config_type"] = "liquid"
    settings = FitSettings(BASIS, groups={"liquid": Weights(force=0.5)})
    assert weighted_rows(trained.features, atoms, settings)[2][0] == pytest.approx(2.0)


def test_group_weights_that_nobody_has_are_told(tmp_path, capsys):
    """A number, which extended XYZ may make of a name, is a group as well."""
    text = TOML + "[groups.1]\nforce = 0.5\n[groups.liqiud]\nforce = 0.5\n"
    path = write_files(tmp_path, text)
    train = labelled_argon(4, 1)
    for n, atoms in enumerate(train):
        atoms.info["config_type"] = ("liquid", 1)[n % 2]
    extxyz.write(tmp_path / "train.xyz", train)
    result = run_fit(path)
    assert weighted_rows(result.features, train[1], result.settings)[2][0] == pytest.approx(2.0)
    assert "no training structure is of group liqiud" in capsys.readouterr().out


def test_nothing_to_fit_is_said_why(trained):
    train = labelled_argon(2, 1)
    for settings, message in (
        (FitSettings(BASIS, max_force=1e-9), r"max_force = 1e-09 eV/Å leaves no row"),
        (FitSettings(ACEBasis(("Ar",), 2.0, order=2, degree=4)), "a cutoff below the distances"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(train, settings)


def test_repulsion_closes_the_hole(trained):
    close = [Atoms("Ar2", [[0, 0, 0], [r, 0, 0]], cell=[30] * 3, pbc=True) for r in (1.5, 1.0, 0.5)]
    energies = [trained.predict(a)["energy"] for a in close]
    assert energies[0] < energies[1] < energies[2]
    bare = fit(labelled_argon(4, 1), FitSettings(BASIS, repulsion=RepulsionSettings(zbl=False)))
    assert bare.repulsion is None


def test_pairs_that_only_the_test_set_brings_together_are_named(trained):
    start = trained.repulsion.distance("Ar", "Ar")
    near, far = (
        Atoms("Ar2", [[0, 0, 0], [start + shift, 0, 0]], cell=[30] * 3, pbc=True)
        for shift in (-0.2, 0.2)
    )
    note = repulsion_note(trained, [near, far])
    assert (
        f"1 of 2 test structures have atoms closer than any training structure: Ar-Ar {start - 0.2:.2f} Å"
        in note
    )
    assert repulsion_note(trained, [far]) == ""


@pytest.mark.parametrize("pbc", [True, False])
def test_isolated_atoms_give_the_one_body_energies(pbc):
    atom = extxyz.labelled(Atoms("Ar", cell=[20.0] * 3, pbc=pbc), -3.25, np.zeros((1, 3)))
    result = fit([*labelled_argon(4, 1), atom], SETTINGS)
    assert result.one_body == {"Ar": -3.25}
    assert result.predict(atom)["energy"] == -3.25
    crystal = extxyz.labelled(bulk("Ar", a=5.3), -0.3, np.zeros((1, 3)))  # one atom, not alone
    assert fit([*labelled_argon(4, 1), crystal], SETTINGS).one_body["Ar"] != -0.3


def test_missing_labels_and_foreign_elements_are_named():
    with pytest.raises(ValueError, match="no label"):
        fit([bulk("Ar")], SETTINGS)
    krypton = labelled_argon(1, 1)[0]
    krypton.symbols[0] = "Kr"
    with pytest.raises(ValueError, match="element Kr"):
        fit([krypton], SETTINGS)
    with pytest.raises(ValueError, match="no training structures"):
        fit([], SETTINGS)


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_labels_that_are_not_numbers_are_named(trained, name):
    good, bad = labelled_argon(2, 1)
    bad.calc.results[name] = bad.calc.results[name] * np.nan
    with pytest.raises(ValueError, match=rf"structure 1 \(Ar8\): {name} must be finite"):
        fit([good, bad], SETTINGS)
    with pytest.raises(ValueError, match=f"structure 0 .*: {name} must be finite"):
        trained.update([bad])


TOML = """
train = ["train.xyz"]
test = ["test.xyz"]
name = "ar"
[basis]
elements = ["Ar"]
cutoff = 6.0
order = 2
degree = [8, 3]
"""


def write_files(folder, text=TOML):
    extxyz.write(folder / "train.xyz", labelled_argon(6, 1))
    extxyz.write(folder / "test.xyz", labelled_argon(3, 2))
    (folder / "fit.toml").write_text(text)
    return folder / "fit.toml"


def test_run_fit_writes_everything(tmp_path, capsys):
    run_fit(write_files(tmp_path))
    names = {p.name for p in (tmp_path / "fit").iterdir()}
    assert names == {"ar.yace", "ar.uq", "ar.fit", "report.md", "errors.csv", "parity.png"}
    out = capsys.readouterr().out
    assert "test errors" in out
    assert "condition number" in out


@pytest.mark.parametrize("family", ["ace", "mtp"])
def test_resume_equals_the_fit_of_everything(tmp_path, capsys, family):
    """New structures in the training files; without one-body energies of the data, which the first fit fixes."""
    text = TOML + "[one_body]\nAr = 0.01\n[repulsion]\nzbl = false\n"
    if family == "mtp":  # radial coefficients that do not depend on the data
        table = "cutoff = 6.0\nlevel = 6\nrefine = 0\nmin_dist = 2.5\n"
        text = 'family = "mtp"\n' + text.replace(
            "cutoff = 6.0\norder = 2\ndegree = [8, 3]\n", table
        )
    path = write_files(tmp_path, text)
    run_fit(path)
    extxyz.write(tmp_path / "train.xyz", labelled_argon(6, 1) + labelled_argon(3, 9))
    assert main(["fit", str(path), "--resume"]) == 0
    resumed = FitState.load(tmp_path / "fit/ar.fit")
    whole = run_fit(path, output=tmp_path / "whole")
    assert resumed.normal.nrows == whole.normal.nrows
    assert len(resumed.hashes) == 9
    scale = np.abs(whole.normal.gram).max()
    np.testing.assert_allclose(resumed.normal.gram, whole.normal.gram, rtol=0, atol=1e-13 * scale)
    one, other = (PosteriorFile.read(tmp_path / d / "ar.uq") for d in ("fit", "whole"))
    features = whole.features.features(labelled_argon(1, 5)[0])
    np.testing.assert_allclose(features @ one.mean, features @ other.mean, rtol=0, atol=1e-8)


def test_copies_are_counted_again_and_reported(tmp_path, capsys):
    """Also when they come with a resumed fit; and a test structure that has been learnt is named."""
    path = write_files(tmp_path, TOML + "[one_body]\nAr = 0.01\n[repulsion]\nzbl = false\n")
    train = labelled_argon(6, 1)
    once = run_fit(path).normal.nrows
    assert "copies" not in (tmp_path / "fit/report.md").read_text()
    extxyz.write(tmp_path / "train.xyz", [*train, train[2]])
    extxyz.write(tmp_path / "test.xyz", [*labelled_argon(3, 2), train[4]])
    assert main(["fit", str(path), "--resume"]) == 0
    said = "1 of 7 training structures are exact copies"
    assert said in capsys.readouterr().out
    report = (tmp_path / "fit/report.md").read_text()
    assert said in report
    assert "1 of 4 test structures are training structures too" in report
    resumed = FitState.load(tmp_path / "fit/ar.fit")
    whole = run_fit(path, output=tmp_path / "whole")
    assert resumed.normal.nrows == whole.normal.nrows == once * 7 // 6
    assert main(["fit", str(path), "--resume"]) == 0
    assert FitState.load(tmp_path / "fit/ar.fit").normal.nrows == whole.normal.nrows
    extxyz.write(tmp_path / "train.xyz", train)
    assert main(["fit", str(path), "--resume"]) == 2
    assert "1 of the 7 structures" in capsys.readouterr().err


def test_two_families_of_one_name(tmp_path, capsys):
    """The second fit would take the first one's posterior away."""
    path = write_files(tmp_path)
    run_fit(path)
    kept = (tmp_path / "fit/ar.uq").read_bytes()
    text = TOML.replace("order = 2\ndegree = [8, 3]\n", "level = 6\nrefine = 0\n")
    (tmp_path / "mtp.toml").write_text('family = "mtp"\n' + text)
    assert main(["fit", str(tmp_path / "mtp.toml")]) == 2
    assert "ar.uq is the posterior of ar.yace: give one of the two" in capsys.readouterr().err
    assert (tmp_path / "fit/ar.uq").read_bytes() == kept
    assert main(["fit", str(tmp_path / "mtp.toml"), "--set", "name=ar-mtp"]) == 0
    run_fit(path)


def test_what_cannot_be_resumed_is_refused(tmp_path, capsys):
    path = write_files(tmp_path)
    assert main(["fit", str(path), "--resume"]) == 2
    assert "fit once without resuming" in capsys.readouterr().err
    run_fit(path)
    assert main(["fit", str(path), "--resume", "--set", "weights.force=0.2"]) == 2
    assert (
        "other settings: weights.force = 0.05 (now 0.2): put them back, or fit without"
        in capsys.readouterr().err
    )
    extxyz.write(tmp_path / "train.xyz", labelled_argon(6, 3))
    assert main(["fit", str(path), "--resume"]) == 2
    assert "6 of the 6 structures" in capsys.readouterr().err
    (tmp_path / "fit/ar.fit").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"ar\.fit"):
        run_fit(path, resume=True)


def test_ranks_share_the_cores():
    """Threads of the linear algebra, unless the user asks for a number."""
    cores = len(os.sched_getaffinity(0))
    alone, two, asked = (
        {},
        {"MPI_LOCALNRANKS": "2"},
        {"MPI_LOCALNRANKS": "2", "OMP_NUM_THREADS": "3"},
    )
    for environment in (alone, two, asked):
        share_cores(environment)
    assert alone == {}
    assert two["OPENBLAS_NUM_THREADS"] == str(max(1, cores // 2))
    assert "OPENBLAS_NUM_THREADS" not in asked


def test_settings_from_the_command_line(tmp_path, capsys):
    path = write_files(tmp_path)
    given = ["--set", "solver.kind=ard", "--set", "basis.degree=[6, 2]", "--set", "name=x"]
    assert main(["fit", str(path), *given]) == 0
    record = PosteriorFile.read(tmp_path / "fit/x.uq").provenance["settings"]
    assert record["solver"]["kind"] == "ard"
    assert record["basis"]["degree"] == [6.0, 2.0]
    assert main(["fit", str(path), "--set", "solver.kid=ard"]) == 2
    assert "nearest valid key: 'kind'" in capsys.readouterr().err
    for wrong in ("solver", "name.x=1"):
        assert main(["fit", str(path), "--set", wrong]) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cutoff", "cutof", "unknown key 'cutof'; nearest valid key: 'cutoff'"),
        ("6.0", '"six"', "expected a number"),
        ("train.xyz", "nothing.xyz", "no file"),
        ("[basis]", 'family = "gap"\n[basis]', "expected one of ace"),
        (
            "[basis]",
            "max_force = -1\n[basis]",
            "max_force = -1 eV/Å; expected 1e-06 to 100000 eV/Å",
        ),
        (
            "[basis]",
            "one_body = { Ar = nan }\n[basis]",
            r"one_body.Ar = nan eV; expected -1e\+06 to 1e\+06 eV",
        ),
        ("[basis]", "solver = { smoothness = nan }\n[basis]", "smoothness = nan"),
        ("[basis]", "repulsion = { margin = -1 }\n[basis]", "margin = -1.0"),
        ('"ar"', '"a/b"', "without folder"),
        ('"ar"', '"my ar"', "name = 'my ar'; expected .* without folder, blanks"),
        ('"ar"', "'a$b'", "without folder, blanks"),
        ("[basis]", "[basis]\nnmax = 0", "the basis holds no function"),
        ('["Ar"]', '["Ar", "Xx"]', "repulsion: expected chemical elements, found Xx"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        run_fit(write_files(tmp_path, TOML.replace(old, new)))


def test_ranks_agree(tmp_path):
    import subprocess
    import sys

    from pyuq.lmp import mpirun

    settings = write_files(tmp_path)
    run_fit(settings, output=tmp_path / "one")
    command = [mpirun(), "-np", "3", sys.executable, "-m", "pyuq", "fit", str(settings)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "three")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    atoms = labelled_argon(1, 4)[0]
    one, three = (Evaluator(tmp_path / d / "ar.uq") for d in ("one", "three"))
    forces = [evaluator.compute(atoms)["forces"] for evaluator in (one, three)]
    # Rounding of the sums, amplified by the condition number (1e-10 where noise is less tiny).
    np.testing.assert_allclose(forces[1], forces[0], rtol=0, atol=1e-7)
    assert Committee([three]).uncertainty(atoms).sigma == pytest.approx(
        Committee([one]).uncertainty(atoms).sigma, rel=1e-5
    )


def test_pairs_in_the_basis_table():
    table = {
        "elements": ["Ag", "I"],
        "cutoff": {"Ag-Ag": 4.0, "Ag-I": 5.0, "I-I": 6.0},
        "n_weight": [1, 1, 2],
        "species_weights": {"Ag-I": 0.5},
    }
    basis = basis_from_table(table, "fit.toml [basis]")
    assert basis.pair_cutoff("I", "Ag") == 5.0
    assert basis.n_weight == (1.0, 1.0, 2.0)
    assert basis.species_weights == {("Ag", "I"): 0.5}
    assert basis_from_table(json.loads(json.dumps(basis.table())), "") == basis
    with pytest.raises(ValueError, match=r"fit.toml \[basis\]: cutoff names no value for Ag-Ag"):
        basis_from_table(table | {"cutoff": {"Ag-I": 5.0}}, "fit.toml [basis]")
    with pytest.raises(ValueError, match=r"\[basis\]: seed = -1; expected an integer of 0"):
        basis_from_table({"elements": ["Ag"], "cutoff": 5.0, "seed": -1}, "[basis]", "mtp")


def test_a_fit_that_rests_on_next_to_nothing_says_so(tmp_path):
    """One structure: errors of 1e-5 that mean nothing; many structures: no such sentence."""
    path = write_files(tmp_path, TOML + "[one_body]\nAr = 0.01\n[repulsion]\nzbl = false\n")
    said = "not how wrong the potential is on others"
    for n, sentence in ((1, "only 1 structure taught"), (12, "")):
        extxyz.write(tmp_path / "train.xyz", labelled_argon(n, 1))
        run_fit(path)
        report = (tmp_path / "fit/report.md").read_text()
        assert (said in report) == bool(sentence)
        assert sentence in report
