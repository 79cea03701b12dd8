# SPDX-License-Identifier: GPL-2.0-or-later
"""Recalibration on errors of known distribution, and ``pyuq calibrate`` on models whose error bars are right."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from pyuq import lmp
from pyuq.calibration import Recalibration, Sample, StudentScale
from pyuq.calibration.judge import calibrate
from pyuq.cli import main
from pyuq.evaluate.calculator import UQCalculator, force_deviations
from pyuq.evaluate.collect import collect
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.posterior import PosteriorFile
from pyuq.io import extxyz
from pyuq.io.identity import hash_file
from pyuq.verbs.run_calibrate import draw

DATA = Path(__file__).parents[1] / "data"
FACTOR, FLOOR = 3.0, {"Ag": 0.2, "I": 1.0}


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def sample(rng, structures=120, n=20) -> Sample:
    """Errors of two species, larger than stated by a factor and a floor."""
    groups = np.tile(["Ag", "I"], structures * n // 2)
    sigmas = np.exp(0.7 * rng.normal(size=len(groups)))
    floor = np.array([FLOOR[g] for g in groups])
    errors = FACTOR * np.hypot(sigmas, floor) * rng.normal(size=len(groups))
    return Sample(errors, sigmas, groups, np.repeat(np.arange(structures), n))


def test_factor_and_floor_are_found(rng):
    found = Recalibration.fit({"force": sample(rng)}, rng=rng)
    for species, floor in FLOOR.items():
        one = found.scales["force"][species]
        assert (one.structures, one.labels) == (90, 900)
        sigmas = np.array([0.3, 1.0, 3.0])
        expected = FACTOR * np.hypot(sigmas, floor)
        np.testing.assert_allclose(one.student.deviation(sigmas), expected, rtol=0.1)
        assert one.student.dof == pytest.approx(93)
        # 1.645 standard deviations hold 90 %.
        assert one.conformal == pytest.approx(1.645 * FACTOR, rel=0.1)


def test_judged_on_other_structures(rng):
    result = calibrate({"force": sample(rng)}, alpha=0.1, split=0.5, seed=3)
    assert result.recalibration.scales["force"]["Ag"].structures == 90
    assert result.trial.scales["force"]["Ag"].structures == 45
    for verdict in result.verdicts["force"].values():
        assert verdict.predicted.n == 600
        assert verdict.predicted.within_2 < 0.6
        assert verdict.recalibrated.within_1 == pytest.approx(0.683, abs=0.06)
        assert verdict.recalibrated.within_2 == pytest.approx(0.954, abs=0.03)
        assert verdict.recalibrated.nll < verdict.predicted.nll
        assert verdict.conformal_coverage == pytest.approx(0.91, abs=0.05)


def test_guarantee_holds_on_average(rng):
    """Over many sets of few structures: at least 1 - α, also with a floor that has to be chosen."""
    inside, trials = [], 250
    for _ in range(trials):
        data = sample(rng, structures=31, n=6)
        data = Sample(
            data.errors * np.exp(data.structures % 3), data.sigmas, data.groups, data.structures
        )
        shuffled = rng.permutation(31)
        data = Sample(data.errors, data.sigmas, data.groups, shuffled[data.structures])
        found = Recalibration.fit({"force": data.of_structures(np.arange(30))}, 0.2, rng)
        new = data.of_structures(np.array([30]))
        width = found.half_width("force", new.sigmas, new.groups)
        inside.append((np.abs(new.errors) <= width).mean())
    error = np.std(inside) / np.sqrt(trials)
    assert np.mean(inside) > 0.8 - 3 * error


def test_file_keeps_everything(rng, tmp_path):
    found = Recalibration.fit({"force": sample(rng, structures=8)}, models={"a.uq": "0" * 64})
    assert found.scales["force"]["Ag"].conformal == np.inf  # six structures, one in ten
    found.write(tmp_path / "a.calibration.json")
    assert Recalibration.read(tmp_path / "a.calibration.json") == found
    text = (tmp_path / "a.calibration.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # strict JSON: no Infinity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`pyuq calibrate` makes it"),
        ("{", "is not a calibration"),
        ('{"format": "pyuq-posterior", "format_version": "1"}', "version 1 of pyuq-posterior"),
        ('{"format": "pyuq-calibration", "format_version": "1"}', "'scales'"),
        ("[]", "is not a calibration"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Recalibration.read(tmp_path / "a.json")


def test_unknown_groups_and_too_few_structures(rng):
    found = Recalibration.fit({"force": sample(rng, structures=10)})
    with pytest.raises(ValueError, match="no calibration of force of Br; there is one of Ag, I"):
        found.deviation("force", [1.0], ["Br"])
    with pytest.raises(ValueError, match=r"no calibration of energy of all; .* nothing"):
        found.half_width("energy", [1.0], ["all"])
    with pytest.raises(ValueError, match="found 1 labelled structures"):
        Recalibration.fit({"force": sample(rng, structures=1)})
    with pytest.raises(ValueError, match=r"split = 0\.9 leaves 3 to recalibrate and 0 to judge"):
        calibrate({"force": sample(rng, structures=3)}, split=0.9)


# ---------------------------------------------------------------------- models


def crystals(rng, n):
    """Rattled and strained rocksalt cells."""
    found = []
    for _ in range(n):
        atoms = bulk("AgI", "rocksalt", a=5.8 * (1 + 0.02 * rng.normal()), cubic=True)
        atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
        found.append(atoms)
    return found


def drawn_labels(model: Evaluator, posterior: PosteriorFile, structures, rng):
    """Labels whose truth is a draw of the weights, anew for each structure: the error bars are right."""
    found = []
    factor = np.linalg.cholesky(posterior.covariance)
    for atoms in structures:
        weights = posterior.mean + factor @ rng.normal(size=len(factor))
        truth = model.compute(atoms, weights=weights)
        view, _ = model.neighbors(atoms)
        noise = model.model.noise(view) if model.model.has_noise else np.zeros(len(atoms))
        truth["forces"] += np.sqrt(noise)[:, None] * rng.normal(size=(len(atoms), 3))
        stress = -truth["virial"] / atoms.get_volume()
        found.append(extxyz.labelled(atoms, truth["energy"], truth["forces"], stress))
    return found


@pytest.fixture(params=["nep", "ace", "mtp", "network"])
def model(request, tmp_path, rng):
    """A small model of a family with a made-up posterior, and labels for which it is right."""
    source = (
        DATA
        / {
            "nep": "nep/agi.txt",
            "ace": "yace_export/agi_zbl.yace",
            "mtp": "mtp/random.mtp",
            "network": "network/agi-1.safetensors",
        }[request.param]
    )
    path = tmp_path / source.name
    shutil.copy(source, path)
    elements = ("Ag", "I") if request.param == "mtp" else ()
    names = elements
    if elements:
        count = int(path.read_text().split("species_count")[1].split("=")[1].split()[0])
        names = ("Ag", "I", "Br", "Cl")[:count]
    bare = Evaluator(path, elements=names)
    weights = bare.model.weights
    deviation = 0.1 * (np.abs(weights) + 0.1 * np.abs(weights).mean())
    posterior = PosteriorFile(
        model=path.read_bytes(),
        mean=weights,
        covariance=np.diag(deviation**2),
        elements=tuple(bare.elements),
        family=bare.model.family,
        model_sha256=hash_file(path),
    )
    posterior.write(path.with_suffix(".uq"))
    return path, posterior, names


def test_right_error_bars_are_found_right(model, tmp_path, rng, capsys):
    """Labels drawn from the posterior: factor 1, stated coverage, of every family."""
    path, posterior, names = model
    evaluator = Evaluator(path, elements=names)
    extxyz.write(tmp_path / "new.xyz", drawn_labels(evaluator, posterior, crystals(rng, 150), rng))
    command = ["calibrate", str(path), "--data", str(tmp_path / "new.xyz")]
    assert main([*command, *(["--elements", ",".join(names)] if names else [])]) == 0
    text = (tmp_path / f"{path.stem}.calibration.md").read_text()
    assert text in capsys.readouterr().out
    assert (tmp_path / f"{path.stem}.calibration.png").read_bytes()[:4] == b"\x89PNG"

    found = Recalibration.read(tmp_path / f"{path.stem}.calibration.json")
    judged = found.provenance["judged"]
    assert set(judged) == {"energy", "force", "virial", "gradient"}
    for species in ("Ag", "I"):
        before = judged["force"][species]["predicted"]
        assert before["n"] == 75 * 12
        assert before["within_1"] == pytest.approx(0.683, abs=0.12)
        assert before["within_2"] == pytest.approx(0.954, abs=0.07)
        one = found.scales["force"][species]
        sigma = np.median(collect_sigma(path, names, tmp_path, species))
        assert one.student.deviation(sigma) == pytest.approx(sigma, rel=0.35)
    assert judged["energy"]["all"]["predicted"]["within_2"] > 0.8

    plain = UQCalculator(path, elements=names)
    calibrated = UQCalculator(
        path, elements=names, calibration=tmp_path / f"{path.stem}.calibration.json"
    )
    check_calculator(plain, calibrated, found, crystals(rng, 1)[0])


def collect_sigma(path, names, folder, species):
    """Standard deviations of the force components of a species."""
    samples = collect(UQCalculator(path, elements=names), extxyz.read(folder / "new.xyz")[:5])
    return samples["force"].sigmas[samples["force"].groups == species]


def check_calculator(plain, calibrated, found, atoms):
    """The calculator applies the scales, per atom where a quantity is extensive."""
    n, volume = len(atoms), atoms.get_volume()
    scale = found.scales["energy"]["all"]
    sigma = plain.get_property("energy_uncertainty", atoms)
    assert calibrated.get_property("energy_uncertainty", atoms) == pytest.approx(
        n * scale.student.deviation(sigma / n)
    )
    assert calibrated.results["energy_interval"] == pytest.approx(
        n * scale.conformal * np.hypot(sigma / n, scale.student.floor)
    )
    force = calibrated.results["forces_uncertainty"]
    for k, symbol in enumerate(atoms.get_chemical_symbols()):
        student = found.scales["force"][symbol].student
        np.testing.assert_allclose(force[k], student.deviation(force_deviations(plain.results)[k]))
    virial = plain.results["stress_uncertainty"] * volume / n
    np.testing.assert_allclose(
        calibrated.results["stress_uncertainty"] * volume / n,
        found.scales["virial"]["all"].student.deviation(virial),
    )
    assert calibrated.results["forces_interval"].shape == (n, 3)
    for name in ("energy", "forces", "bias_forces", "energies_uncertainty"):
        np.testing.assert_array_equal(calibrated.results[name], plain.results[name])


def test_committee_and_ranks(tmp_path, rng):
    """Models of two families, without posterior: the spread is judged; ranks do not change a digit."""
    files = []
    for source in ("nep/agi.txt", "yace_export/agi_zbl.yace"):
        shutil.copy(DATA / source, tmp_path)
        files.append(str(tmp_path / Path(source).name))
    first = Evaluator(files[0])
    frames = []
    for atoms in crystals(rng, 9):
        truth = first.compute(atoms)
        frames.append(extxyz.labelled(atoms, truth["energy"], truth["forces"]))
    extxyz.write(tmp_path / "new.xyz", frames)
    results = []
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        command = [lmp.mpirun(), "-np", str(ranks), sys.executable, "-m", "pyuq", "calibrate"]
        command += [*files, "--data", str(tmp_path / "new.xyz"), "--out", str(out)]
        env = lmp.environment() | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("written:") == 1
        results.append(Recalibration.read(tmp_path / f"{ranks}.calibration.json"))
    assert results[0] == results[1]
    assert set(results[0].scales) == {"energy", "force", "gradient"}  # labels without stress
    assert list(results[0].models) == files
    calculator = UQCalculator(files, calibration=tmp_path / "1.calibration.json")
    assert calculator.get_property("forces_interval", frames[0]).shape == (8, 3)
    assert not [name for name in calculator.results if name.startswith("stress_")]
    assert calculator.results["stress"].shape == (6,)


def test_few_structures_of_which_one_has_a_stress(tmp_path, rng):
    """A quantity that only structures on one side have is left out of the verdicts and of the picture."""
    data = {"energy": sample(rng, structures=8), "virial": sample(rng, structures=1)}
    found = [calibrate(data, seed=seed) for seed in range(4)]
    assert any(not one.verdicts["virial"] for one in found)
    for seed, one in enumerate(found):
        assert one.verdicts["energy"]
        draw(one, tmp_path / f"{seed}.png")


def test_mistakes(tmp_path, rng, capsys):
    shutil.copy(DATA / "nep/agi.txt", tmp_path)
    path = tmp_path / "agi.txt"
    frames = [extxyz.labelled(a, 0.0, np.zeros((8, 3))) for a in crystals(rng, 4)]
    extxyz.write(tmp_path / "new.xyz", frames)
    assert main(["calibrate", str(path), "--data", str(tmp_path / "new.xyz")]) == 2
    assert "has no posterior and is alone" in capsys.readouterr().err
    assert main(["calibrate", str(path), str(path), "--data", str(tmp_path / "new.xyz")]) == 2
    assert "are the same model" in capsys.readouterr().err
    assert main(["calibrate", str(path), "--data", str(tmp_path / "no.xyz")]) == 2
    assert "no file" in capsys.readouterr().err
    found = Recalibration(0.1, {}, {"agi.uq": "0" * 64})
    found.write(tmp_path / "agi.calibration.json")
    with pytest.raises(ValueError, match=r"was made for agi.uq .* run `pyuq calibrate` again"):
        UQCalculator(path, calibration=tmp_path / "agi.calibration.json")


def test_student_scale_of_a_recalibration_is_the_closed_form(rng):
    """Errors of one structure count for one label."""
    data = sample(rng, structures=12)
    found = Recalibration.fit({"force": data}, rng=0)
    order = np.random.default_rng(0).permutation(12)
    first, rest = data.of_structures(order[:3]), data.of_structures(order[3:])
    first, rest = (s.chosen(s.groups == "Ag") for s in (first, rest))
    start = StudentScale.guess(first.errors, first.sigmas)
    expected = start.update(rest.errors, rest.sigmas, 9 / len(rest.errors))
    assert found.scales["force"]["Ag"].student == expected


@pytest.mark.parametrize("kept", ["each", "whole"])
def test_structures_that_have_taught_do_not_judge(tmp_path, rng, capsys, kept):
    """In another order, a part of them, among others; of older files, which keep one hash, all of them."""
    shutil.copy(DATA / "nep/agi.txt", tmp_path)
    path = tmp_path / "agi.txt"
    first, frames = Evaluator(path), []
    for atoms in crystals(rng, 12):
        truth = first.compute(atoms)
        forces = truth["forces"] + 0.05 * rng.normal(size=(8, 3))
        frames.append(extxyz.labelled(atoms, truth["energy"] + 0.01 * rng.normal(), forces))
    extxyz.write(tmp_path / "train.xyz", frames[:8])
    assert main(["posterior", str(path), "--data", str(tmp_path / "train.xyz")]) == 0
    assert "only 8 structures taught" in capsys.readouterr().out
    if kept == "whole":
        posterior = PosteriorFile.read(tmp_path / "agi.uq")
        del posterior.provenance["training"]
        posterior.write(tmp_path / "agi.uq")
    sets = {"again": frames[:8], "backwards": frames[7::-1]}
    if kept == "each":
        sets |= {"part": frames[2:6], "mixed": [*frames[8:], frames[3]]}
    for name, chosen in sets.items():
        extxyz.write(tmp_path / f"{name}.xyz", chosen)
        assert main(["calibrate", str(path), "--data", str(tmp_path / f"{name}.xyz")]) == 2
        taught = 1 if name == "mixed" else len(chosen)
        said = f"{taught} of {len(chosen)} structures are among those that {tmp_path}/agi.uq was"
        assert said in capsys.readouterr().err
        assert not list(tmp_path.glob("*.calibration.*"))
    with pytest.raises(
        ValueError, match=r"was trained on \(numbers 0, 1, 2, 3, 4, \.\.\., from 0\)"
    ):
        collect(UQCalculator(path), frames[:8])
    extxyz.write(tmp_path / "new.xyz", frames[8:])
    assert main(["calibrate", str(path), "--data", str(tmp_path / "new.xyz")]) == 0
