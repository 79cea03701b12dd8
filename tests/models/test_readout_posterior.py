# SPDX-License-Identifier: GPL-2.0-or-later
"""Posteriors of existing potentials of every family, on labels whose truth is a readout nearby."""

import gc
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from pyuq import lmp
from pyuq.cli import main
from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference import readout_sums
from pyuq.inference.fit_settings import Weights
from pyuq.inference.posterior import PosteriorFile
from pyuq.inference.readout_posterior import (
    PosteriorSettings,
    find_noise,
    held_out,
    readout_posterior,
)
from pyuq.inference.readout_sums import Components, blocks
from pyuq.inference.regression import condition
from pyuq.io import extxyz
from pyuq.io.structures import StructureFiles
from pyuq.verbs.run_posterior import run_posterior

DATA = Path(__file__).parents[1] / "data"
NOISE = {"energy": 0.003, "force": 0.02, "virial": 0.03}  # eV/√atom, eV/Å, eV/√atom
MODELS = {
    "ace": (DATA / "yace_export/agi_zbl.yace", ("Ag", "I")),
    "nep": (DATA / "nep/agi.txt", ("Ag", "I")),
    "mtp": (DATA / "mtp/random.mtp", ()),
    "network": (DATA / "network/agi-1.safetensors", ("Ag", "I")),
}


def species_count(path: Path) -> int:
    """Of an .mtp."""
    return int(path.read_text().split("species_count")[1].split("=")[1].split()[0])


def crystals(elements, n, rng):
    """Rattled and strained rocksalt cells of the first and the last element."""
    found = []
    for _ in range(n):
        atoms = bulk(elements[0] + elements[-1], "rocksalt", a=5.6, cubic=True)
        strain = rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        found.append(atoms)
    return found


def labelled(model, structures, weights, rng):
    """Labels of the model with other readout weights, and noise."""
    found = []
    for atoms in structures:
        truth = model.compute(atoms, weights=weights)
        root = np.sqrt(len(atoms))
        energy = truth["energy"] + NOISE["energy"] * root * rng.normal()
        forces = truth["forces"] + NOISE["force"] * rng.normal(size=truth["forces"].shape)
        virial = truth["virial"] + NOISE["virial"] * root * rng.normal(size=6)
        found.append(extxyz.labelled(atoms, energy, forces, -virial / atoms.get_volume()))
    return found


@pytest.fixture(params=MODELS)
def case(request, tmp_path):
    """A model, structures labelled with readout weights near its own, and those weights."""
    source, elements = MODELS[request.param]
    path = tmp_path / source.name
    shutil.copy(source, path)
    if not elements:
        elements = ("Ag", "I", "Br", "Cl")[: species_count(path)]
    model = Evaluator(path, elements=elements)
    rng = np.random.default_rng(7)
    structures = crystals(elements, 24, rng)
    found = [
        blocks(model, a, np.inf) for a in labelled(model, structures[:4], model.model.weights, rng)
    ]
    scale = np.sqrt(np.mean([np.mean(b["force"].rows ** 2, axis=0) for b in found], axis=0))
    truth = model.model.weights + 0.05 * rng.normal(size=model.nreadout) / np.maximum(
        scale, 0.1 * scale.max()
    )
    return path, elements, labelled(model, structures, truth, rng), truth


def test_noise_of_each_kind_is_found_and_held_out_errors_are_covered(case):
    path, elements, structures, _ = case
    found = readout_posterior(path, structures, PosteriorSettings(mean="refit"), elements)
    assert found.noise["force"] == pytest.approx(NOISE["force"], rel=0.1)
    assert found.noise["virial"] == pytest.approx(NOISE["virial"], rel=0.35)
    force = found.calibration["force"]["total"]
    assert force["n"] == 5 * 24
    assert force["within_1"] == pytest.approx(0.683, abs=0.12)
    assert force["within_2"] == pytest.approx(0.954, abs=0.06)
    assert found.calibration["force"]["factor"] == pytest.approx(1.0, abs=0.25)
    assert "force, eV/Å" in found.table()
    known = found.conditioning
    assert 0 < known.effective <= len(found.mean)
    assert known.condition > 1
    # The fixed ACE has no features of iodine alone; NEP and MTP have all species or say which are missing.
    assert known.absent == tuple(e for e in elements if e not in ("Ag", elements[-1]))


def test_posterior_is_that_of_the_dense_regression(case):
    """The streamed result solves the whole weighted system at its own hyperparameters."""
    path, elements, structures, _ = case
    settings = PosteriorSettings(mean="refit", holdout=0.0, uncertainty="bayes")
    found = readout_posterior(path, structures, settings, elements)
    model = Evaluator(path, elements=elements)
    rows, targets = [], []
    for atoms in structures:
        for kind, block in blocks(model, atoms).items():
            rows.append(block.rows / found.noise[kind])
            targets.append(block.residuals / found.noise[kind])
    rows, targets = np.vstack(rows), np.concatenate(targets)
    precision = rows.T @ rows
    shift = found.mean - model.model.weights
    # Σ⁻¹ = XᵀX + D⁻¹ and Σ⁻¹ δ = Xᵀy, with a diagonal D that is the same in both.
    inverse = np.linalg.inv(found.covariance)
    scale = np.sqrt(np.diag(inverse))
    excess = (inverse - precision) / np.outer(scale, scale)
    off = excess - np.diag(np.diag(excess))
    assert np.abs(off).max() < 1e-5
    assert np.diag(excess).min() > -1e-5
    np.testing.assert_allclose(
        (inverse @ shift) / scale,
        rows.T @ targets / scale,
        rtol=1e-4,
        atol=1e-4 * np.abs(scale @ shift),
    )


def test_predictions_of_the_model_do_not_change(case):
    path, elements, structures, _ = case
    atoms = structures[0]
    before = Evaluator(path, elements=elements).compute(atoms)
    result = readout_posterior(path, structures, elements=elements)
    result.write(path.with_suffix(".uq"))
    after = Evaluator(path, elements=elements)
    np.testing.assert_allclose(after.compute(atoms)["forces"], before["forces"], atol=1e-12)
    assert after.model.has_posterior
    sigma = Committee([after]).uncertainty(atoms).sigma
    phi = after.model.sums(after.neighbors(atoms)[0])
    assert sigma == pytest.approx(np.sqrt(phi @ result.covariance @ phi), rel=1e-9)
    assert after.elements == list(elements)
    # A refit of the same files is not misled by the posterior that now lies beside the model.
    again = readout_posterior(path, structures, elements=elements)
    np.testing.assert_array_equal(again.covariance, result.covariance)


def test_what_the_file_has_learnt_does_not_narrow_the_prior(case):
    """Of a file that is the truth, the data still determine the weights, and σ grows away from them."""
    path, elements, structures, _ = case
    model, rng = Evaluator(path, elements=elements), np.random.default_rng(1)
    structures = labelled(model, structures, model.model.weights, rng)
    found = readout_posterior(path, structures, elements=elements)
    rows = np.vstack(
        [b.rows / found.noise[k] for a in structures for k, b in blocks(model, a).items()]
    )
    rank = np.linalg.matrix_rank(rows / np.maximum(np.linalg.norm(rows, axis=0), 1e-300), tol=1e-6)
    assert found.conditioning.effective > 0.3 * rank

    def sigma(atoms):
        phi = model.model.sums(model.neighbors(atoms)[0])
        return np.sqrt(phi @ found.covariance @ phi) / len(atoms)

    squeezed = structures[0].copy()
    squeezed.set_cell(0.85 * squeezed.cell, scale_atoms=True)
    assert sigma(squeezed) > 3 * np.mean([sigma(a) for a in structures])


def test_refit_comes_nearer_to_the_truth(case):
    path, elements, structures, truth = case
    result = readout_posterior(path, structures, PosteriorSettings(mean="refit"), elements)
    model = Evaluator(path, elements=elements)
    fresh = crystals(elements, 4, np.random.default_rng(3))

    def error(weights):
        return np.sqrt(
            np.mean(
                [
                    (model.compute(a, weights)["forces"] - model.compute(a, truth)["forces"]) ** 2
                    for a in fresh
                ]
            )
        )

    assert error(result.mean) < 0.5 * error(model.model.weights)


def test_misfit_is_part_of_the_noise_of_a_model_that_stays(case):
    path, elements, structures, _ = case
    stays = readout_posterior(path, structures, PosteriorSettings(mean="model"), elements)
    refit = readout_posterior(path, structures, PosteriorSettings(mean="refit"), elements)
    assert stays.noise["force"] > 1.5 * refit.noise["force"]
    assert stays.calibration["force"]["total"]["within_2"] > 0.8


def test_command_writes_a_posterior_that_lammps_takes(tmp_path, capsys):
    """Of a file that numbers its species: names come from the data, or from pair_coeff."""
    path = tmp_path / "a.mtp"
    shutil.copy(MODELS["mtp"][0], path)
    count = species_count(path)
    elements = ("Ag", "I", "Br", "Cl")[:count]
    model = Evaluator(path, elements=elements)
    rng = np.random.default_rng(0)
    structures = labelled(model, crystals(elements, 6, rng), model.model.weights, rng)
    extxyz.write(tmp_path / "train.xyz", structures)
    names = ",".join(elements)
    command = ["posterior", str(path), "--data", str(tmp_path / "train.xyz"), "--elements", names]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "held-out structures (20%)" in out
    assert "written:" in out
    assert "| structure | energy | calibrated |" in out and "these errors are too small" in out
    file = PosteriorFile.read(tmp_path / "a.uq")
    assert file.uncertainty == "pops"
    assert file.leave_one_out["energy"]["structures"] == 6
    masses = "\n".join(f"mass {k + 1} 100" for k in range(count))
    instance = lmp.lammps()
    instance.commands_string(
        f"units metal\nlattice fcc 5.6\nregion b block 0 2 0 2 0 2\ncreate_box {count} b\n"
        f"create_atoms 1 box\n{masses}\npair_style uq\n"
        f"pair_coeff * * {tmp_path}/a.uq {' '.join(elements)}\ncompute u all uq\n"
        "thermo_style custom step pe c_u[1]\nrun 0"
    )
    assert instance.last_thermo()["c_u[1]"] > 0


def test_names_that_a_posterior_stores(tmp_path, capsys):
    """In an order that is not alphabetical: they serve the next posterior, and calibration."""
    path = tmp_path / "a.mtp"
    shutil.copy(MODELS["mtp"][0], path)
    elements = ("I", "Ag", "Br", "Cl")[: species_count(path)]
    model, rng = Evaluator(path, elements=elements), np.random.default_rng(0)
    structures = labelled(model, crystals(elements, 8, rng), model.model.weights, rng)
    extxyz.write(tmp_path / "train.xyz", structures)
    data = ["--data", str(tmp_path / "train.xyz")]
    assert main(["posterior", str(path), *data, "--elements", ",".join(elements)]) == 0
    first = PosteriorFile.read(tmp_path / "a.uq")
    assert main(["posterior", str(path), *data]) == 0
    second = PosteriorFile.read(tmp_path / "a.uq")
    assert second.elements == elements
    np.testing.assert_array_equal(second.covariance, first.covariance)
    new = labelled(model, crystals(elements, 8, rng), model.model.weights, rng)
    extxyz.write(tmp_path / "new.xyz", new)
    assert main(["calibrate", str(path), "--data", str(tmp_path / "new.xyz")]) == 0
    path.write_text(path.read_text() + "\n")
    assert main(["posterior", str(path), *data]) == 2
    assert "as in --elements" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["nep", "mtp"])
def test_ranks_agree(tmp_path, family):
    """One, two and three ranks: another order of summation, no more."""
    source, elements = MODELS[family]
    path = tmp_path / source.name
    shutil.copy(source, path)
    elements = elements or ("Ag", "I", "Br", "Cl")[: species_count(path)]
    model, rng = Evaluator(path, elements=elements), np.random.default_rng(0)
    structures = labelled(model, crystals(elements, 7, rng), model.model.weights, rng)
    extxyz.write(tmp_path / "train.xyz", structures)
    results = []
    for ranks in (1, 2, 3):
        out = tmp_path / f"{ranks}.uq"
        command = [lmp.mpirun(), "-np", str(ranks), sys.executable, "-m", "pyuq", "posterior"]
        command += [str(path), "--data", str(tmp_path / "train.xyz"), "--out", str(out)]
        command += ["--elements", ",".join(elements)]
        env = lmp.environment() | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("written:") == 1
        results.append(PosteriorFile.read(out))
    assert not list(tmp_path.glob(".*.partial"))
    one = np.sqrt(np.diag(results[0].covariance))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].mean, other.mean)
        assert results[0].training_sha256 == other.training_sha256
        np.testing.assert_allclose(np.sqrt(np.diag(other.covariance)), one, rtol=1e-5)


def test_error_on_one_rank_ends_all(tmp_path):
    """The structure that cannot be used lies on the second rank; nobody waits for it."""
    path = tmp_path / "agi.txt"
    shutil.copy(MODELS["nep"][0], path)
    model, rng = Evaluator(path), np.random.default_rng(0)
    structures = labelled(model, crystals(("Ag", "I"), 4, rng), model.model.weights, rng)
    structures[3].symbols[0] = "Cu"
    extxyz.write(tmp_path / "a.xyz", structures[:2])
    extxyz.write(tmp_path / "b.xyz", structures[2:])
    command = [lmp.mpirun(), "-np", "2", sys.executable, "-m", "pyuq", "posterior", str(path)]
    command += ["--data", str(tmp_path / "a.xyz"), str(tmp_path / "b.xyz")]
    env = lmp.environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "b.xyz: structure 1 (" in done.stderr
    assert "element Cu is not one of the potential's: Ag I" in done.stderr


@pytest.fixture
def on_disk(tmp_path):
    """A NEP and two files of structures of different formats."""
    path = tmp_path / "agi.txt"
    shutil.copy(MODELS["nep"][0], path)
    model, rng = Evaluator(path), np.random.default_rng(0)
    structures = labelled(model, crystals(("Ag", "I"), 9, rng), model.model.weights, rng)
    extxyz.write(tmp_path / "a.xyz", structures[:5])
    extxyz.write(tmp_path / "b.extxyz", structures[5:])
    return path, [tmp_path / "a.xyz", tmp_path / "b.extxyz"], structures


def test_files_equal_memory(on_disk):
    """Reading as needed gives the digits of a list of structures."""
    path, data, structures = on_disk
    files = StructureFiles(data)
    assert len(files) == 9
    again = [a.positions for a in files.take([8, 0, 4])]
    for found, k in zip(again, (0, 4, 8), strict=True):
        np.testing.assert_array_equal(found, structures[k].positions)
    assert len(files.take([1, 5, 6]).take([2])) == 1
    one, two = readout_posterior(path, structures), readout_posterior(path, files)
    np.testing.assert_array_equal(one.covariance, two.covariance)
    assert one.training_sha256 == two.training_sha256
    assert one.table() == two.table()


def test_structures_are_read_one_at_a_time(on_disk, monkeypatch):
    """Of a file never more than one frame is alive: memory does not grow with the data."""
    path, data, _ = on_disk
    references, most = [], 0
    read = ase.io.read

    def watched(*arguments, **options):
        nonlocal most
        atoms = read(*arguments, **options)
        references.append(weakref.ref(atoms))
        gc.collect()
        most = max(most, sum(reference() is not None for reference in references))
        return atoms

    monkeypatch.setattr(ase.io, "read", watched)
    readout_posterior(path, StructureFiles(data))
    assert most <= 3  # the new one, the one before, and its labels


def test_interrupted_sums_go_on(on_disk, monkeypatch):
    """A run that ends in the middle is continued by the same command, to the last digit."""
    path, data, _ = on_disk
    whole = run_posterior(path, data, out=path.with_name("whole.uq"))
    calls, partial = [], path.with_name(".agi.uq.0of1.partial")

    def interrupted(*arguments):
        if len(calls) == 5:
            raise KeyboardInterrupt
        return counted(*arguments)

    def counted(*arguments):
        calls.append(arguments)
        return blocks(*arguments)

    monkeypatch.setattr(readout_sums, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(readout_sums, "blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_posterior(path, data)
    kept = partial.read_bytes()
    calls.clear()
    monkeypatch.setattr(readout_sums, "blocks", counted)
    run_posterior(path, data, mean="refit", out=path.with_suffix(".uq"))  # another task
    assert len(calls) == 9 + 9  # the sums, and the rows that the box looks at
    partial.write_bytes(kept)
    calls.clear()
    found = run_posterior(path, data)
    assert len(calls) == 9 - 5 + 9
    np.testing.assert_array_equal(found.covariance, whole.covariance)
    assert found.training_sha256 == whole.training_sha256
    assert not partial.exists()


def test_labels_without_stress(on_disk, tmp_path, capsys):
    """Virials are then neither learnt from nor spoken of."""
    path, _, structures = on_disk
    for atoms in structures:
        del atoms.calc.results["stress"]
    extxyz.write(tmp_path / "bare.xyz", structures)
    found = run_posterior(path, [tmp_path / "bare.xyz"])
    assert found.noise.keys() == found.calibration.keys() == {"energy", "force"}
    assert "virial" not in capsys.readouterr().out


def test_posterior_of_another_model_of_the_name_is_kept(on_disk, tmp_path, capsys):
    """NAME.uq of NAME.mtp would be lost to NAME.txt; one whose model has changed is written anew."""
    path, data, _ = on_disk
    run_posterior(path, data)
    other = path.with_suffix(".mtp")
    shutil.copy(MODELS["mtp"][0], other)
    kept = path.with_suffix(".uq").read_bytes()
    command = ["posterior", str(other), "--elements", "Ag,I", "--data", *map(str, data)]
    assert main(command) == 2
    assert "agi.uq is the posterior of agi.txt: give one" in capsys.readouterr().err
    assert path.with_suffix(".uq").read_bytes() == kept
    path.write_text(path.read_text() + "\n")
    run_posterior(path, data)
    path.write_text(path.read_text() + "\n")
    assert main(command) == 0


def test_another_zero_of_energy_is_told(on_disk, tmp_path, capsys):
    path, data, structures = on_disk
    run_posterior(path, data)
    assert "another zero of energy" not in capsys.readouterr().out
    for atoms in structures:
        atoms.calc.results["energy"] += 1.5 * len(atoms)
    extxyz.write(tmp_path / "shifted.xyz", structures)
    run_posterior(path, [tmp_path / "shifted.xyz"])
    assert "labels lie +1.5 eV/atom from the model's energies" in capsys.readouterr().out


def test_copies_of_structures_are_told(on_disk, tmp_path, capsys):
    path, data, structures = on_disk
    run_posterior(path, data)
    assert "exact copies" not in capsys.readouterr().out
    extxyz.write(tmp_path / "copies.xyz", [*structures, structures[0], structures[1]])
    run_posterior(path, [tmp_path / "copies.xyz"])
    assert "2 of 11 training structures are exact copies" in capsys.readouterr().out


def test_read_only_folder_of_a_model(on_disk, tmp_path, monkeypatch):
    """The posterior then comes to lie here."""
    path, data, _ = on_disk
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(os, "access", lambda folder, mode: Path(folder) != path.parent)
    run_posterior(path, data)
    assert PosteriorFile.read(here / "agi.uq").family == "nep"
    assert not path.with_suffix(".uq").exists()


def test_held_out_structures():
    assert held_out(10, 0.2, 0).sum() == 2
    assert held_out(3, 0.01, 0).sum() == 1
    assert held_out(1, 0.5, 0).sum() == 0
    assert held_out(10, 0.0, 0).sum() == 0
    assert held_out(4, 0.99, 0).sum() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.yace", "--data", "a.xyz"], "no file no.yace"),
        (["{ace}", "--data", "no.xyz"], "no file"),
        (["{ace}", "--data", "bare.xyz"], "has no label"),
        (["{ace}", "--data", "cu.xyz"], "element Cu is not one of the"),
        (["{ace}", "--data", "cu.xyz", "--holdout", "1.0"], "holdout = 1.0"),
        (["a.uq", "--data", "cu.xyz"], "name the native model file"),
        (["{ace}", "--data", "one.xyz"], "found 1 structures; expected at least 1, and 2 with"),
        (["{ace}", "--data", "two.xyz", "--max-force", "0.5"], "leaves no whole structure"),
        (["{ace}", "--data", "cut.xyz"], "frame 1 cannot be read: the file ends before it"),
        (["{ace}", "--data", "empty.xyz"], "holds no structure"),
        (["{mtp}", "--data", "two.xyz", "--elements", "Ag"], "species"),
        (["{mtp}", "--data", "two.xyz"], "say which is which, in the order of the file"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    copper = bulk("Cu", cubic=True)
    extxyz.write(Path("bare.xyz"), [copper, copper])
    extxyz.write(Path("cu.xyz"), [extxyz.labelled(copper, 0.0, np.zeros((4, 3)))] * 2)
    silver = crystals(("Ag", "I"), 2, np.random.default_rng(0))
    far = [extxyz.labelled(a, 0.0, np.ones((8, 3))) for a in silver]
    extxyz.write(Path("one.xyz"), far[:1])
    extxyz.write(Path("two.xyz"), far)
    Path("cut.xyz").write_text("\n".join(Path("two.xyz").read_text().splitlines()[:-3]))
    Path("empty.xyz").write_text("")
    Path("a.uq").write_bytes(b"x")
    arguments = [a.format(ace=MODELS["ace"][0], mtp=MODELS["mtp"][0]) for a in arguments]
    assert main(["posterior", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.uq.tmp"))


def test_left_out_structures_are_judged_as_by_a_posterior_without_them(case):
    """Of a refit: errors and σ of one structure by the dense solution of the others."""
    path, elements, structures, _ = case
    model, settings = Evaluator(path, elements=elements), PosteriorSettings("refit", 0.0)
    found = readout_posterior(path, structures[:8], settings, elements)
    sums = Components(model.nreadout, Weights())
    for atoms in structures[:8]:
        sums.add(blocks(model, atoms))
    prior, _ = find_noise(sums, model.model.weights, "refit")
    one = blocks(model, structures[3])
    rest = Components(model.nreadout, Weights())
    rest.variances = sums.variances
    for k, atoms in enumerate(structures[:8]):
        if k != 3:
            rest.add(blocks(model, atoms))
    mean = condition(rest.joined(), prior, 1.0).mean
    left = found.leave_one_out.structures
    mine = (left.structures == 3) & np.char.startswith(left.columns, "force")
    wanted = one["force"].residuals - one["force"].rows @ mean
    scale = np.abs(one["force"].residuals).max()
    np.testing.assert_allclose(left.errors[mine], wanted, rtol=0, atol=1e-6 * scale)
