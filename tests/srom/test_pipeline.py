# SPDX-License-Identifier: GPL-2.0-or-later
"""The stages of pyuq srom on a small Lennard-Jones mixture."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase.build import bulk
from test_processes import alive

from pyuq import lmp
from pyuq.cli import main
from pyuq.io import extxyz
from pyuq.io.files import Lock
from pyuq.srom import propagate
from pyuq.srom.basis import Basis
from pyuq.srom.ensemble import Ensemble
from pyuq.srom.pipeline import STAGES
from pyuq.srom.propagate import analyse, groups
from pyuq.srom.settings import Model, load_study
from pyuq.srom.simulate import DUMP, THERMO, Simulation, run_all
from pyuq.srom.snapshots import Snapshots
from pyuq.srom.trajectories import read_dump

SETTINGS = """
name = "mix"

[start]
structure = "mix.extxyz"
elements = ["Ar", "Kr"]

[[models]]
label = "soft"
commands = ["pair_style lj/cut 7.0", "pair_coeff * * 0.008 3.4"]

[[models]]
label = "stiff"
commands = ["include ${here}/stiff.in"]
files = ["stiff.in"]

[md]
temperatures = [300.0]
timestep = 0.004
equilibration = 200
steps = 600
every = 10

[basis]
modes = 6
free = ["Kr"]

[sampler]
samples = 3

[propagate]
repeats = 2
convergence = [2]

[diffusion]
species = "Kr"

[runs]
parallel = 2
"""


def write_study(folder):
    atoms = bulk("Ar", "fcc", a=5.6, cubic=True) * (2, 2, 2)
    atoms.symbols[::4] = "Kr"
    extxyz.write(folder / "mix.extxyz", [atoms])
    (folder / "stiff.in").write_text("pair_style lj/cut 7.0\npair_coeff * * 0.012 3.4\n")
    (folder / "srom.toml").write_text(SETTINGS)
    return folder / "srom.toml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that went through all stages."""
    path = write_study(tmp_path_factory.mktemp("study"))
    assert main(["srom", "all", str(path)]) == 0
    return path


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it to be damaged, at the same place (paths are part of the scripts)."""
    shutil.copytree(finished.parent, tmp_path / "backup")
    yield finished
    shutil.rmtree(finished.parent)
    shutil.copytree(tmp_path / "backup", finished.parent)


def case(path):
    return load_study(path).cases[0]


def test_models_share_start_and_velocities(finished):
    c = case(finished)
    soft, stiff = (Snapshots(c.snapshots(label, 0)) for label in ("soft", "stiff"))
    again = Snapshots(c.snapshots("soft", 1))
    assert soft.nframes == stiff.nframes == 61
    assert soft.timestep == pytest.approx(0.04)
    soft.system.require_same(stiff.system, "a", "b")
    assert not soft.displacements[0].any()
    np.testing.assert_array_equal(soft.velocities[0], stiff.velocities[0])
    assert np.abs(soft.velocities[0] - again.velocities[0]).max() > 0.1
    centre = np.einsum("tnd,n->td", soft.displacements, soft.system.masses)
    assert np.abs(centre).max() < 1e-9
    assert np.abs(soft.displacements[-1] - stiff.displacements[-1]).max() > 0.1
    assert not list(c.folder.glob("**/*.dump"))


def test_results(finished):
    c = case(finished)
    report = (c.study.folder / "report.md").read_text()
    assert "| soft |" in report
    assert "two models: all samples lie on one curve" in report
    found = json.loads((c.study.folder / "results.json").read_text())[0]
    assert found["samples"] == 3
    assert found["failed"] == []
    assert all(
        (c.folder / name).stat().st_size > 5000 for name in ("msd.png", "angles.png", "modes.png")
    )
    runs = sorted(p.name for p in c.run("").iterdir())
    assert runs == [
        "modes-2",
        *(f"nominal-{label}-{k}" for label in ("soft", "stiff") for k in range(2)),
        *(f"sample{k:04d}" for k in range(3)),
    ]
    for name in runs:
        result = json.loads((c.run(name) / "result.json").read_text())
        assert abs(result["drift"]) < 1e-3
        assert 30 < result["temperature"] < 3000  # a few modes fluctuate
        assert 0 < result["residual"] < 1


def test_samples_on_disk_are_those_of_the_ensemble(finished):
    c = case(finished)
    ensemble = Ensemble.read(c.ensemble)
    for k in range(3):
        on_disk = Basis.read(c.run(f"sample{k:04d}") / "basis.rom")
        np.testing.assert_array_equal(on_disk.vectors, ensemble.sample(k).vectors)
        assert (on_disk.vectors.reshape(32, 3, -1)[on_disk.free] == 0).all()
        assert on_disk.provenance["driver"] == ("soft", "stiff")[ensemble.weights[k].argmax()]


def test_only_what_is_missing_is_run_again(copy, capsys):
    c = case(copy)
    before = {p: p.read_bytes() for p in c.run("").glob("*/result.json")}
    shutil.rmtree(c.run("sample0001"))
    c.run(".sample0001.running").mkdir()  # left by a killed process
    assert main(["srom", "propagate", str(copy)]) == 0
    assert capsys.readouterr().out.count("sample") == 1
    after = {p: p.read_bytes() for p in c.run("").glob("*/result.json")}
    assert before == after


def test_further_points_leave_samples_alone(copy):
    c = case(copy)
    before = {p: p.read_bytes() for p in c.run("").glob("*/result.json")}
    assert main(["srom", "propagate", str(copy), "--set", "propagate.convergence=[2, 4]"]) == 0
    after = {p: p.read_bytes() for p in c.run("").glob("*/result.json")}
    assert {p.parent.name for p in after.keys() - before.keys()} == {"modes-4"}
    assert before.items() <= after.items()


def test_killed_study_goes_on_to_the_same_result(finished, tmp_path):
    path = write_study(tmp_path)
    for stage in ("snapshots/*.snap", "runs/*/result.json"):
        process = subprocess.Popen(
            [sys.executable, "-m", "pyuq", "srom", "all", str(path)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not list(case(path).folder.glob(stage)):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert main(["srom", "all", str(path)]) == 0

    def results(study):
        return {p.parent.name: p.read_bytes() for p in case(study).run("").glob("*/result.json")}

    assert results(path) == results(finished)


def test_blown_up_samples_are_recorded_and_reported(copy, monkeypatch):
    shutil.rmtree(case(copy).run(""))
    monkeypatch.setattr(propagate, "BLOWN_UP", 0.1)  # of the target: every run is hotter
    assert main(["srom", "propagate", str(copy)]) == 0
    assert main(["srom", "report", str(copy)]) == 0
    text = (copy.parent / "srom" / "report.md").read_text()
    assert "3 of 3 samples failed: the dynamics blew up: mean temperature" in text
    assert "no interval is given" in text
    found = json.loads((copy.parent / "srom" / "results.json").read_text())[0]
    assert len(found["failed"]) == 8


DUMPED = """ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
{n}
ITEM: BOX BOUNDS pp pp pp
0 {length}
0 5
0 5
ITEM: ATOMS id type {columns}
{rows}
"""


def dumped(path, columns="xu yu zu vx vy vz", lengths=(5.0, 5.0), atoms=(2, 2)):
    values = {"x": 1.0, "y": 2.0, "z": 3.0, "xu": 6.0, "yu": 2.0, "zu": 3.0, "ix": 1}
    numbers = " ".join(str(values.get(c, 0)) for c in columns.split())
    frames = (
        DUMPED.format(
            step=k,
            n=n,
            length=length,
            columns=columns,
            rows="\n".join(f"{i + 1} {i + 1} {numbers}" for i in range(n)),
        )
        for k, (length, n) in enumerate(zip(lengths, atoms, strict=True))
    )
    path.write_text("".join(frames))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": "x y z vx vy vz"}, "wrapped positions without image flags"),
        ({"columns": "xu yu zu"}, "no velocities"),
        ({"lengths": (5.0, 5.1)}, "the cell changes: by 0.1 Å until step 1"),
        ({"atoms": (2, 1)}, "1 atoms, 2 in the first frame; were atoms lost"),
    ],
)
def test_bad_trajectories_are_refused(finished, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_dump(
            dumped(tmp_path / "a.dump", **change), tmp_path / "a", case(finished).settings, "a"
        )


def test_image_flags_are_as_good_as_unwrapped_positions(finished, tmp_path):
    settings, references = case(finished).settings, []
    for columns in ("xu yu zu vx vy vz", "x y z ix iy iz vx vy vz"):
        dump = dumped(tmp_path / "a.dump", columns)
        references.append(read_dump(dump, tmp_path / "a", settings, "a").system.reference)
    np.testing.assert_array_equal(*references)
    np.testing.assert_array_equal(references[0][0], [6.0, 2.0, 3.0])


def test_too_few_snapshots(copy, capsys):
    copy.write_text(SETTINGS.replace("modes = 6", "modes = 70"))
    assert main(["srom", "build", str(copy)]) == 2
    assert "70 modes of 61 snapshots" in capsys.readouterr().err


def test_snapshots_of_another_system_are_refused(copy, capsys):
    c = case(copy)
    path = c.snapshots("stiff", 0)
    mine = Snapshots(path)
    u, v, system = mine.displacements.copy(), mine.velocities.copy(), mine.system
    heavy = replace(system, masses=1.1 * system.masses)
    Snapshots.create(path, heavy, mine.timestep, mine.label, mine.model_sha256, mine.origin).append(
        u, v
    )
    assert main(["srom", "build", str(copy)]) == 2
    assert "masses[0]" in capsys.readouterr().err


def test_changed_model_is_refused_by_name(copy, capsys):
    (copy.parent / "stiff.in").write_text("pair_style lj/cut 7.0\npair_coeff * * 0.013 3.4\n")
    for action in STAGES:
        assert main(["srom", action, str(copy)]) == 2
        error = capsys.readouterr().err
        assert "was made with other settings: models.stiff = " in error
        assert "models.soft" not in error


def refusal(capsys, path, action, *changes) -> str:
    """What a stage says of files that other settings made."""
    arguments = [word for change in changes for word in ("--set", change)]
    assert main(["srom", action, str(path), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


@pytest.mark.parametrize(
    ("change", "told", "refused"),
    [
        ("md.steps=700", "md.steps = 600 (now 700)", "snapshots build sample propagate report"),
        ("start.model=stiff", "start.model = soft (now stiff)", "snapshots build sample"),
        ("start.masses.Ar=40.0", "start.masses.Ar = unset (now 40.0)", "snapshots build propagate"),
        ("basis.modes=5", "basis.modes = 6 (now 5)", "sample propagate report"),
        ("basis.momenta=0.0", "basis.momenta = unset (now 0.0)", "sample propagate"),
        ("sampler.concentration=2.0", "sampler.concentration = 1.0 (now 2.0)", "propagate report"),
        ("sampler.samples=4", "sampler.samples = 3 (now 4)", "propagate report"),
        ("diffusion.last=1.5", "diffusion.last = unset (now 1.5)", "propagate report"),
    ],
)
def test_stages_refuse_files_that_other_settings_made(finished, capsys, change, told, refused):
    before = {"snapshots": "snapshots", "build": "snapshots", "sample": "build"}
    before |= {"propagate": "sample", "report": "sample"}
    for action in refused.split():
        error = refusal(capsys, finished, action, change)
        made_by = "propagate" if change.startswith("diffusion") else before[action]
        assert told in error
        assert f"`pyuq srom {made_by}` again" in error


def test_changed_structure_is_refused(copy, capsys):
    atoms = extxyz.read(copy.parent / "mix.extxyz")[0]
    atoms.positions[0] += 0.1
    extxyz.write(copy.parent / "mix.extxyz", [atoms])
    assert "was made with other settings: start.structure = " in refusal(capsys, copy, "snapshots")


def test_models_that_come_and_go_are_named(copy, capsys):
    text = SETTINGS.replace('label = "stiff"', 'label = "hard"')
    copy.write_text(text)
    error = refusal(capsys, copy, "sample")
    assert "models.hard = unset (now " in error
    assert "models.stiff = " in error


def test_the_remedy_helps(copy, capsys):
    change = "sampler.concentration=2.0"
    assert "`pyuq srom sample` again" in refusal(capsys, copy, "propagate", change)
    assert main(["srom", "sample", str(copy), "--set", change]) == 0
    error = refusal(capsys, copy, "propagate", change)
    runs = case(copy).run("")
    assert f"sampler.concentration = 1.0 (now 2.0): remove {runs} and" in error
    shutil.rmtree(runs)
    for action in ("propagate", "report"):
        assert main(["srom", action, str(copy), "--set", change]) == 0


def test_nominal_runs_do_not_depend_on_the_sampler(copy):
    change = ["--set", "sampler.seed=2"]
    assert main(["srom", "sample", str(copy), *change]) == 0
    for path in case(copy).run("").glob("sample*"):
        shutil.rmtree(path)
    before = {p: p.read_bytes() for p in case(copy).run("").glob("*/result.json")}
    assert main(["srom", "propagate", str(copy), *change]) == 0
    assert all(path.read_bytes() == content for path, content in before.items())


def test_kept_trajectories_are_analysed_again(copy):
    shutil.rmtree(case(copy).run(""))
    keep, change = ["--set", "runs.keep=true"], ["--set", "diffusion.last=1.0"]
    path = case(copy).run("sample0000") / "result.json"
    assert main(["srom", "propagate", str(copy), *keep]) == 0
    before = json.loads(path.read_text())
    assert main(["srom", "propagate", str(copy), *keep, *change]) == 0
    after = json.loads(path.read_text())
    assert after["diffusion"]["window"] != before["diffusion"]["window"]
    assert after["temperature"] == before["temperature"]


def test_fewer_samples_leave_the_others_out(copy):
    change = ["--set", "sampler.samples=2", "--set", "propagate.repeats=1"]
    for action in ("sample", "propagate", "report"):
        assert main(["srom", action, str(copy), *change]) == 0
    found = json.loads((copy.parent / "srom" / "results.json").read_text())[0]
    assert found["samples"] == 2


def test_more_modes_than_were_built(copy, capsys):
    error = refusal(capsys, copy, "propagate", "propagate.convergence=[2, 9]")
    assert "has 6 modes, [propagate] convergence asks for 9" in error


def test_an_interrupted_build_leaves_no_summary(copy, monkeypatch):
    monkeypatch.setattr(Basis, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    assert main(["srom", "build", str(copy)]) == 2
    assert not case(copy).summary.exists()


def test_studies_share_trajectories(copy, capsys):
    changes = ["folder=other", "trajectories=srom", "basis.momenta=0.0", "sampler.split=low"]
    arguments = [str(copy), *(word for change in changes for word in ("--set", change))]
    for action in ("snapshots", "build", "sample"):
        assert main(["srom", action, *arguments]) == 0
    assert "soft-0" not in capsys.readouterr().out
    other = case(copy).folder.parents[1] / "other" / "300K"
    assert not (other / "snapshots").exists()
    assert json.loads((other / "build.json").read_text())["gamma"] > 0


def test_moved_study_stays_valid(copy, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(copy.parent, moved)
    before = {p.name for p in (moved / "srom" / "300K" / "runs").iterdir()}
    shutil.rmtree(moved / "srom" / "300K" / "runs" / "sample0001")
    assert main(["srom", "all", str(moved / "srom.toml")]) == 0
    assert {p.name for p in (moved / "srom" / "300K" / "runs").iterdir()} == before


def test_one_sample_on_demand(finished):
    assert main(["srom", "sample", str(finished), "--write", "2"]) == 0
    c = case(finished)
    expected = Ensemble.read(c.ensemble).sample(2).vectors
    np.testing.assert_array_equal(Basis.read(c.folder / "mix-2.rom").vectors, expected)


@pytest.mark.parametrize(
    "change",
    [
        {"[sampler]\n": '[sampler]\nkind = "ppca"\n'},
        {"[sampler]\n": '[sampler]\nkind = "npm"\nlength = 4.0\nspread = 0.2\n'},
        {"[sampler]\n": '[sampler]\nbase = "karcher"\nconcentration = "fit"\n'},
        {"[sampler]\n": '[sampler]\nsplit = "low"\nforce_model = "drawn"\n'},
        {"[sampler]\n": '[sampler]\nsplit = "high"\nforce_model = "stiff"\n'},
    ],
)
def test_other_samplers(copy, change):
    text = SETTINGS
    for old, new in change.items():
        text = text.replace(old, new)
    copy.write_text(text)
    assert main(["srom", "sample", str(copy)]) == 0
    ensemble = Ensemble.read(case(copy).ensemble)
    nominal = ensemble.nominal.vectors
    for k in range(3):
        w = ensemble.sample(k).vectors
        assert w.shape == nominal.shape
        assert np.abs(w.T @ w - np.eye(6)).max() < 1e-12
        assert (
            np.abs(w - nominal).max() > 1e-5
        )  # these models differ by noise alone: a fitted a₀ is large
    if "split" in text:
        kept = ensemble.sampler.fixed
        assert 0 < kept.shape[1] < 6
        np.testing.assert_array_equal(ensemble.sample(0).vectors[:, : kept.shape[1]], kept)


def test_error_of_lammps_is_recorded(finished, tmp_path):
    c = case(finished)
    simulation = Simulation(tmp_path / "bad", "units metal\nno_such_command\n", str)
    run_all([simulation], c.settings.runs, over=str)
    found = analyse(c, simulation)
    assert not found["ok"]
    assert "no_such_command" in found["error"]


def fake_lammps(tmp_path, monkeypatch, command):
    script = tmp_path / "lmp"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PYUQ_LMP", str(script))


def test_killed_simulations_are_not_failures(copy, tmp_path, monkeypatch, capsys):
    folder = case(copy).run("sample0001")
    before = (folder / "result.json").read_bytes()
    shutil.rmtree(folder)
    fake_lammps(tmp_path, monkeypatch, "kill -TERM $$")
    assert "was killed (" in refusal(capsys, copy, "propagate")
    assert not folder.exists()
    monkeypatch.delenv("PYUQ_LMP")
    assert main(["srom", "propagate", str(copy)]) == 0
    assert (folder / "result.json").read_bytes() == before


def test_interruption_ends_simulations(tmp_path, monkeypatch):
    fake_lammps(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    process = subprocess.Popen(
        [sys.executable, "-m", "pyuq", "srom", "snapshots", str(write_study(tmp_path))],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(
            signal.signal, signal.SIGINT, signal.SIG_DFL
        ),  # jobs in the background ignore it
    )
    pid = tmp_path / "pid"
    while process.poll() is None and not (pid.exists() and pid.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == "pyuq srom: interrupted\n"
    assert not alive(int(pid.read_text()))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["SEGV", "KILL"])
def test_crashed_simulations_are_not_failures(copy, tmp_path, monkeypatch, capsys, name, ranks):
    """A sample is not recorded as failed for good because a rank of it died of a reason unknown."""
    folder = case(copy).run("sample0001")
    shutil.rmtree(folder)
    fake_lammps(
        tmp_path, monkeypatch, f"[ ${{PMI_RANK:-0}} = {ranks - 1} ] && kill -{name} $$; sleep 1"
    )
    error = refusal(capsys, copy, "propagate", f"runs.ranks={ranks}")
    assert "LAMMPS named no error of the script" in error
    assert not folder.exists()


def test_a_simulation_can_be_given_up(copy, capsys):
    """Where LAMMPS dies again and again without a word, by a line of text in its folder."""
    folder = case(copy).run("sample0001")
    for name in ("result.json", THERMO):
        (folder / name).unlink()
    (folder / "error.txt").write_text("given up: the kernel kills it\n")
    assert main(["srom", "propagate", str(copy)]) == 0
    result = json.loads((folder / "result.json").read_text())
    assert (result["ok"], result["error"]) == (False, "given up: the kernel kills it")


@pytest.mark.parametrize("file", [DUMP, THERMO, "in.lmp"])
def test_files_that_a_full_disk_cut_short_are_made_again(copy, capsys, file):
    """Before, an empty trajectory made a failed sample, and one without its last frames a diffusivity of fewer."""
    folder = case(copy).run("sample0001")
    before = (folder / "result.json").read_bytes()
    shutil.rmtree(folder)
    assert main(["srom", "propagate", str(copy), "--set", "runs.keep=true"]) == 0
    whole = (folder / file).read_bytes()
    frames = whole.split(b"ITEM: TIMESTEP")
    short = [b"", whole[: len(whole) // 2], b"ITEM: TIMESTEP".join(frames[:-1])]
    for content in short[: 3 if file == DUMP else 2]:
        (folder / "result.json").unlink()
        (folder / file).write_bytes(content)
        if file == "in.lmp":
            (folder / file).unlink()
        assert main(["srom", "propagate", str(copy), "--set", "runs.keep=true"]) == 0
        assert "sample0001 runs again: " in capsys.readouterr().out
        assert (folder / "result.json").read_bytes() == before


def test_lost_snapshots_and_results_are_made_again(copy, capsys):
    c = case(copy)
    path, result = c.snapshots("soft", 0), c.run("sample0001") / "result.json"
    before = (path / "u.f64").read_bytes(), result.read_bytes()
    shutil.rmtree(path)
    result.write_text('{"kind": "sam')
    assert main(["srom", "snapshots", str(copy)]) == 0
    assert main(["srom", "propagate", str(copy)]) == 0
    assert ((path / "u.f64").read_bytes(), result.read_bytes()) == before


def test_two_commands_in_one_folder(copy, capsys):
    """Two runs took each other's half-written folders for finished ones."""
    folder = copy.parent / "srom"
    with Lock(folder):
        for action in (*STAGES, "all"):
            assert f"another process is running in {folder}" in refusal(capsys, copy, action)
        # A study that makes snapshots there, too; one that only reads them may.
        other = ["folder=other", "trajectories=srom"]
        assert f"running in {folder}" in refusal(capsys, copy, "snapshots", *other)
        arguments = [word for change in other for word in ("--set", change)]
        assert main(["srom", "build", str(copy), *arguments]) == 0
    assert main(["srom", "report", str(copy)]) == 0


@pytest.mark.parametrize("name", ["my run#2", "a$b", "new\nline", "it's"])
def test_studies_in_folders_of_any_name(tmp_path, name):
    """File names in scripts are relative, so that a folder's own name never stands in them."""
    (tmp_path / name).mkdir()
    path = write_study(tmp_path / name)
    assert (
        main(["srom", "snapshots", str(path), "--set", "md.steps=100", "--set", "basis.replicas=1"])
        == 0
    )


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            '[{label="a", potential="it\'s.uq"}, {label="b", potential="b.uq"}]',
            "cannot read a file whose name",
        ),
        (
            '[{label="a", potential="a.uq"}, {label="b", commands=["include ${here}/x"]}]',
            "may not read as one name",
        ),
    ],
)
def test_names_that_lammps_would_change_are_refused(tmp_path, models, message):
    study = load_study(write_study(tmp_path), [f"models={models}", "folder=../run"])
    with pytest.raises(ValueError, match=message):
        for model in study.settings.models:
            model.pair_commands("../../a b#c", ("Ar", "Kr"))


@pytest.mark.parametrize(
    ("action", "needed"),
    [("build", "snapshots"), ("sample", "build"), ("propagate", "sample"), ("report", "sample")],
)
def test_missing_stage_is_named(tmp_path, capsys, action, needed):
    assert main(["srom", action, str(write_study(tmp_path))]) == 2
    assert f"`pyuq srom {needed}`" in capsys.readouterr().err


def test_report_needs_runs(copy, capsys):
    shutil.rmtree(case(copy).run(""))
    assert main(["srom", "report", str(copy)]) == 2
    assert "run `pyuq srom propagate` first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("md.timestep=inf", "timestep = inf; expected a finite number above 0"),
        ("md.temperatures=[nan]", "temperatures[0] = nan"),
        ("md.temperatures=[300.0, 300.0000001]", "expected different ones"),
        ("md.equilibration=-1", "equilibration = -1"),
        ("basis.momenta=-1.0", "momenta = -1.0"),
        ("sampler.seed=-1", "seed = -1"),
        ("sampler.length=-1.0", "length = -1.0"),
        ("propagate.convergence=[0]", "convergence[0] = 0"),
        ("propagate.repeats=-1", "repeats = -1"),
        ("diffusion.last=3.0", "diffusion.last = 3.0 ps, but the runs last 2.4 ps"),
        ("diffusion={species='Kr', first=2.0, last=1.0}", "expected first < last"),
        ("start.masses.Xe=1.0", "'Xe'; expected one of Ar, Kr"),
        ("start.masses.Ar=-1.0", "masses.Ar = -1.0"),
        ("start.charges.Ar=inf", "charges.Ar = inf"),
        ('start.elements=["Ar", "Ar"]', "expected one or more, each once"),
        ('start.elements=["Ar", "Kr", "Zz"]', "expected chemical elements, found Zz"),
        ("start.structure=none.xyz", "none.xyz, which [start] structure names"),
        ("runs.timeout=0", "timeout = 0"),
    ],
)
def test_mistakes_in_the_settings_are_named(finished, capsys, change, message):
    assert message in refusal(capsys, finished, "snapshots", change)


@pytest.mark.parametrize(
    ("file", "action", "message"),
    [
        ("build.json", "sample", "build.json: damaged"),
        ("runs/sample0001/result.json", "report", "result.json: damaged"),
        ("snapshots/soft-1.snap/u.f64", "build", "holds 30 frames, expected 61: "),
        ("global.rom", "sample", "not the basis that was built with the others, or damaged; run"),
        ("mix.srom", "propagate", "mix.srom: not an ensemble"),
    ],
)
def test_damaged_files_are_named(copy, capsys, file, action, message):
    path = case(copy).folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert message in refusal(capsys, copy, action)


def test_missing_potential_is_named(copy, capsys):
    (copy.parent / "stiff.in").unlink()
    assert "stiff.in, which model stiff names" in refusal(capsys, copy, "report")


@pytest.mark.parametrize("k", ["3", "-1"])
def test_samples_that_are_not_there(finished, capsys, k):
    assert main(["srom", "sample", str(finished), "--write", k]) == 2
    assert f"sample {k} of " in capsys.readouterr().err


def test_names_of_species_go_with_a_potential(tmp_path):
    (tmp_path / "a.mtp").write_text("content")
    models = [Model("a", "a.mtp:Mg,Sb"), Model("a", "a.mtp:Sb,Mg"), Model("a", "a.mtp")]
    assert len({m.sha256(tmp_path) for m in models}) == 3
    command = models[0].pair_commands("..", ("Sb", "Mg"))[1]
    assert command.split(maxsplit=3)[3] == '"../a.mtp:Mg,Sb" Sb Mg'


def test_framework_is_everything_else(finished):
    c = case(finished)
    mobile, framework = groups(c, ["Ar", "Kr", "Ar"])
    assert mobile.tolist() == [False, True, False]
    assert framework.tolist() == [True, False, True]


def on_two_ranks(action, path):
    return subprocess.run(
        [lmp.mpirun(), "-np", "2", sys.executable, "-m", "pyuq", "srom", action, str(path)],
        env=lmp.environment(launched=False),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_ranks_share_the_work(tmp_path):
    done = on_two_ranks("all", write_study(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "srom" / "results.json").read_text())[0]
    assert found["samples"] == 3
    assert found["failed"] == []


def test_error_of_one_rank_ends_the_job(tmp_path):
    done = on_two_ranks("report", write_study(tmp_path))  # rank 0 reports, the other waits
    assert done.returncode != 0
    assert "rank 0" in done.stderr
    assert "`pyuq srom sample`" in done.stderr


DAMAGED = [
    ("soft.rom", "sample", "soft.rom: damaged|soft.rom: not"),
    ("build.json", "sample", "build.json: damaged"),
    ("s.srom", "propagate", "damaged"),
    ("u.f64", "build", "u.f64: damaged, its frames are not those that were written"),
    ("v.f64", "report", "v.f64: damaged, its frames are not those that were written"),
    ("frames.json", "build", "frames.json: damaged"),
    ("result.json", "report", "result.json: damaged"),
]


@pytest.mark.parametrize(("name", "action", "message"), DAMAGED)
def test_a_flipped_bit_in_the_work_folder_is_named(copy, capsys, name, action, message):
    """Each file that a later stage relies on."""
    c = case(copy)
    snap = c.snapshots("soft", 0)
    path = {
        "s.srom": c.ensemble,
        "build.json": c.summary,
        "soft.rom": c.basis("soft"),
        "result.json": c.run("sample0001") / "result.json",
    }.get(name, snap / name)
    data = bytearray(path.read_bytes())
    data[3 * len(data) // 4] ^= 1
    path.write_bytes(data)
    assert main(["srom", action, str(copy)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "again" in error


def test_a_basis_of_another_build_is_named(copy, capsys):
    c = case(copy)
    Basis.read(c.basis("stiff")).first(5).write(c.basis("soft"))
    assert main(["srom", "sample", str(copy)]) == 2
    assert "soft.rom: not the basis that was built with the others" in capsys.readouterr().err
