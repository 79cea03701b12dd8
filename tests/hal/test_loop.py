# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop with walkers that need no LAMMPS: resume, failures, budgets, messages."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic
from fakes import TOML, EMTLabeller, make_inputs, make_loop, walk

from pyuq.calibration import ErrorScale, Recalibration, StudentScale
from pyuq.cli import main
from pyuq.evaluate.calculator import UQCalculator
from pyuq.hal import walker
from pyuq.hal.report import status
from pyuq.hal.selection import diverse
from pyuq.hal.settings import Settings, load_settings
from pyuq.hal.state import STAGES
from pyuq.inference.fit_settings import FitSettings
from pyuq.inference.posterior import PosteriorFile
from pyuq.io import extxyz, files
from pyuq.io.identity import hash_file
from pyuq.jobs import NotRunError
from pyuq.labels import FileLabeller, Waiting

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of an uninterrupted run, and its reason to end."""
    path = make_inputs(tmp_path_factory.mktemp("finished"))
    loop = make_loop(path)
    reason = loop.run()
    loop.close()
    return path.parent / "run", reason


def database(folder: Path):
    return extxyz.read(folder / "database.extxyz")


def test_copies_among_the_start_structures_are_told(tmp_path, capsys):
    path = make_inputs(tmp_path)
    start, test = (extxyz.read(tmp_path / f"{name}.extxyz") for name in ("start", "test"))
    extxyz.write(tmp_path / "start.extxyz", [*start, start[0], test[0]])
    loop = make_loop(path)
    loop.start()
    loop.close()
    said = capsys.readouterr().out
    assert "1 of 5 training structures are exact copies" in said
    assert "1 of 2 test structures are training structures too" in said


def test_predictions_among_the_start_structures_are_labelled_anew(tmp_path, capsys):
    """Frames above a threshold, of an earlier version or of GPUMD, are structures; their energies are no labels."""
    path = make_inputs(tmp_path)
    start = extxyz.read(tmp_path / "start.extxyz")
    wrong = extxyz.labelled(start[0], 123.0, np.ones((len(start[0]), 3)))
    wrong.info["uncertainty"] = 0.5
    extxyz.write(tmp_path / "start.extxyz", [wrong, *start[1:]])
    loop = make_loop(path)
    loop.start()
    loop.close()
    said = capsys.readouterr().out
    assert (
        "1 of 3 structures carry energies and forces that are a model's own, as uncertainty="
        in said
    )
    energies = [a.get_potential_energy() for a in database(tmp_path / "run")]
    assert energies[0] == EMTLabeller().one(start[0]).get_potential_energy()


def test_run_folder_is_complete_and_labels_carry_their_provenance(finished):
    folder, reason = finished
    assert reason == "4 iterations"
    for name in (
        "history.csv",
        "history.png",
        "report.md",
        "potential/cu.yace",
        "potential/cu.uq",
        "iterations/0003/walker1/in.hal",
    ):
        assert (folder / name).stat().st_size > 0
    frames = database(folder)
    assert [a.info["source"] for a in frames] == ["start"] * 3 + ["hal"] * 8
    assert [a.info["iteration"] for a in frames[3:]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [a.info["start"] for a in frames[3:]] == [0, 1, 2, 0, 1, 2, 0, 1]
    copy = frames[-1].copy()
    expected = EMTLabeller().one(copy)
    np.testing.assert_array_equal(frames[-1].get_forces(), expected.get_forces())
    history = (folder / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 5  # four iterations and the last fit
    assert "iteration 4, 11 labelled structures" in status(folder.parent / "hal.toml")


def test_killed_in_every_stage_and_run_again_gives_the_same_database(finished, tmp_path_factory):
    reference, _ = finished
    folder = tmp_path_factory.mktemp("killed")
    path = make_inputs(folder)
    script = str(Path(__file__).with_name("fakes.py"))
    for stage in STAGES[:-1]:
        for moment in ("inside", "outside"):
            command = [sys.executable, script, str(path), stage, moment]
            code = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=120).returncode
            assert code == -signal.SIGKILL, (stage, moment)
    loop = make_loop(path)
    loop.run()
    loop.close()
    for name in ("database.extxyz", "potential/cu.yace", "history.csv"):
        assert hash_file(folder / "run" / name) == hash_file(reference / name), name
    a, b = (PosteriorFile.read(f / "potential/cu.uq") for f in (folder / "run", reference))
    np.testing.assert_array_equal(a.covariance, b.covariance)


def test_energy_trigger_follows_the_errors_of_new_labels(tmp_path):
    """σ* of each iteration comes from the errors, before they were learnt, of all labels so far."""
    path = make_inputs(
        tmp_path, TOML + "[stop]\nthreshold = inf\nenergy_error = 0.5\nmemory = 10\n"
    )
    loop = make_loop(path)
    replay = StudentScale()
    limits = []
    label, walk_stage = loop.label, loop.walk

    def watched_walk():
        noise = loop.model().predict(database(tmp_path / "run")[0])["noise"] / 4
        total = replay.largest_sigma(0.5)
        limits.append(np.sqrt(max(total**2 - noise**2, 0.0)))
        walk_stage()

    def watched_label():
        nonlocal replay
        model, before = loop.model(), loop.state.batches[-1]
        label()
        for atoms in database(tmp_path / "run")[before:]:
            found = model.predict(atoms)
            total = np.hypot(found["sigma"], found["noise"])
            error = found["energy"] - atoms.get_potential_energy()
            replay = replay.discounted(0.9).update([error], [total])

    loop.walk, loop.label = watched_walk, watched_label
    loop.run()
    loop.close()
    assert replay.a == pytest.approx(5 - 3.5 * 0.9**8)  # on the way from 1.5 to 10 / 2
    assert loop.state.beliefs == {"energy": pytest.approx({"a": replay.a, "b": replay.b}, rel=1e-9)}
    assert max(limits) > 0
    for iteration, limit in enumerate(limits):
        script = (tmp_path / f"run/iterations/{iteration:04d}/walker0/in.hal").read_text()
        assert "f_watch[3] >" not in script
        found = float(script.split("(f_watch[5] > ")[1].split(")")[0])
        assert found == pytest.approx(4 * limit, rel=1e-9)  # four atoms
    assert "wrong by more than 500 meV/atom" in (tmp_path / "run/report.md").read_text()


def test_no_trigger_at_all_is_refused(tmp_path):
    path = make_inputs(tmp_path, TOML + "[stop]\nthreshold = inf\n")
    with pytest.raises(ValueError, match="leaves no trigger"):
        make_loop(path)


def test_a_goal_below_the_misfit_is_told(tmp_path, capsys):
    """Where the noise alone is too much every frame is uncertain; the run says so."""
    toml = TOML.replace("iterations = 4", "iterations = 1") + "[stop]\nenergy_error = 1e-9\n"
    make_loop(make_inputs(tmp_path, toml)).run()
    assert "misses `energy_error` or `force_error` everywhere" in capsys.readouterr().out
    script = (tmp_path / "run/iterations/0000/walker0/in.hal").read_text()
    assert "(f_watch[5] > 0)" in script


# The readout of a model whose features stay, of each family; the species of an MTP get names.
FIXED = {
    "nep": ('file = "m.txt"', "nep/agi.txt"),
    "ace": ('file = "m.yace"', "yace_export/agi_zbl.yace"),
    "mtp": ('file = "m.mtp"', "mtp/random.mtp"),
    "network": ('file = "m.safetensors"', "network/agi-1.safetensors"),
}


def fixed_inputs(folder: Path, family: str, stop: str) -> Path:
    """hal.toml of a small model of silver and iodine, labels by a rocksalt of springs."""
    key, source = FIXED[family]
    name = key.split('"')[1]
    shutil.copy(ROOT / "tests/data" / source, folder / name)
    elements = ["Ag", "I"]
    if family == "mtp":
        count = int((folder / name).read_text().split("species_count")[1].split("=")[1].split()[0])
        elements = ["Ag", "I", "Br", "Cl"][:count]
    head, _, tail = TOML.partition("[basis]")
    tail = tail[tail.index("[md]") :]
    model = f"[model]\n{key}\nelements = {json.dumps(elements)}\n"
    path = folder / "hal.toml"
    path.write_text(head + model + tail + stop)
    rng = np.random.default_rng(2)
    for name, n in (("start", 3), ("test", 2)):
        frames = [bulk("AgI", "rocksalt", a=5.8, cubic=True) for _ in range(n)]
        for atoms in frames:
            atoms.positions += 0.15 * rng.normal(size=(8, 3))
        extxyz.write(folder / f"{name}.extxyz", frames)
    return path


class SpringLabeller(EMTLabeller):
    """Each atom on a spring to its place in the perfect crystal."""

    def one(self, atoms):
        place = bulk("AgI", "rocksalt", a=5.8, cubic=True).positions
        pull = find_mic(atoms.positions - place, atoms.cell, True)[0]
        return extxyz.labelled(atoms, float((pull**2).sum()), -2.0 * pull)


@pytest.mark.parametrize("family", ["ace", "nep", "mtp", "network"])
def test_force_trigger_follows_the_errors_species_by_species(tmp_path, family):
    """Of every family: the limits of each iteration come from the force errors of the labels so far."""
    stop = "[stop]\nthreshold = inf\nforce_error = { Ag = 1.0, I = 3.0 }\nmin_distance = 0.1\n"
    path = fixed_inputs(tmp_path, family, stop)
    loop = make_loop(path, labeller=SpringLabeller())
    replay = {"Ag": StudentScale(), "I": StudentScale()}
    limits, label, walk_stage = [], loop.label, loop.walk

    def watched_walk():
        noise = loop.model().noise["force"]
        total = {e: replay[e].largest_sigma(x) for e, x in (("Ag", 1.0), ("I", 3.0))}
        limits.append({e: np.sqrt(max(x**2 - noise**2, 0.0)) for e, x in total.items()})
        walk_stage()

    def watched_label():
        before, noise = loop.state.batches[-1], loop.model().noise["force"]
        calc = UQCalculator(tmp_path / "run/potential/cu.uq")
        label()
        for atoms in database(tmp_path / "run")[before:]:
            errors = calc.get_property("forces", atoms) - atoms.get_forces()
            sigmas = np.linalg.norm(calc.results["bias_forces"], axis=1)
            for species in replay:
                mine = atoms.symbols == species
                z2 = np.mean((errors[mine] / np.hypot(sigmas[mine, None], noise)) ** 2)
                a, b = 0.95 * replay[species].a, 0.95 * replay[species].b
                replay[species] = StudentScale(a + 0.5, b + 0.5 * z2)

    loop.walk, loop.label = watched_walk, watched_label
    assert loop.run() == "4 iterations"
    loop.close()
    assert set(loop.state.beliefs) == {"energy", "Ag", "I"}
    for species, expected in replay.items():
        found = loop.state.beliefs[species]
        assert found == pytest.approx({"a": expected.a, "b": expected.b}, rel=1e-6)
    assert any(limit["I"] > 0 for limit in limits)
    for iteration, limit in enumerate(limits):
        script = (tmp_path / f"run/iterations/{iteration:04d}/walker0/in.hal").read_text()
        assert "c_gradient_Ag c_gradient_I\n" in script
        for column, species in ((6, "Ag"), (7, "I")):
            found = float(script.split(f"(f_watch[{column}] > ")[1].split(")")[0])
            assert found == pytest.approx(limit[species], rel=1e-6)
    report = (tmp_path / "run/report.md").read_text()
    assert "a force wrong by more than Ag 1, I 3 eV/Å" in report
    assert "force_scale" in report
    assert loop.state.history[-1]["new_force"] < 10 * loop.state.history[0]["new_force"]


@pytest.mark.parametrize("kind", ["bayes", "pops"])
def test_fixed_model_killed_and_continued(tmp_path, kind):
    """The readout fit is updates too: an interrupted run ends with the same bytes, with either kind of error bar."""
    stop = "[stop]\nforce_error = 0.1\nenergy_error = 0.01\nmin_distance = 0.1\n"
    bytes_of = []
    for name, interrupted in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        path = fixed_inputs(tmp_path / name, "nep", stop)
        path.write_text(f'uncertainty = "{kind}"\n' + path.read_text())
        if interrupted:
            loop = make_loop(path, labeller=SpringLabeller())
            for _ in range(8):
                getattr(loop, loop.state.stage)()
                loop.state.save(loop.folder / "state.json")
            loop.close()
            (tmp_path / name / "m.txt").write_text("gone")  # the run folder keeps its own
        make_loop(path, labeller=SpringLabeller()).run()
        folder = tmp_path / name / "run"
        bytes_of.append([(folder / f).read_bytes() for f in ("database.extxyz", "history.csv")])
        assert PosteriorFile.read(folder / "potential/cu.uq").uncertainty == kind
    assert bytes_of[0] == bytes_of[1]


def test_loop_of_the_box_goes_on_only_with_the_box(tmp_path):
    path = make_inputs(tmp_path)
    before = path.read_text()
    path.write_text('uncertainty = "pops"\n' + before)
    loop = make_loop(path)
    assert loop.run() == "4 iterations"
    loop.close()
    assert PosteriorFile.read(tmp_path / "run/potential/cu.uq").uncertainty == "pops"
    path.write_text(before)
    with pytest.raises(ValueError, match=r"other settings: uncertainty = pops \(now bayes\)"):
        make_loop(path)


def test_beliefs_can_start_from_a_calibration(tmp_path):
    """Ten labels' worth of it, for the energy and each species of the loop."""
    scale = ErrorScale(StudentScale(40.0, 10.0, 0.002), 2.0, 78, 78)
    found = Recalibration(0.1, {"energy": {"all": scale}, "gradient": {"Cu": scale, "O": scale}})
    found.write(tmp_path / "x.calibration.json")
    stop = '[stop]\nmemory = inf\nenergy_error = 0.02\nforce_error = 0.3\ncalibration = "x.calibration.json"\n'
    loop = make_loop(make_inputs(tmp_path, TOML.replace("iterations = 4", "iterations = 1") + stop))
    loop.run()
    energy = loop.state.beliefs["energy"]
    assert set(loop.state.beliefs) == {"energy", "Cu"}
    assert energy["floor"] == 0.002
    assert energy["a"] == 5.0 + 2 / 2  # two new labels
    script = (tmp_path / "run/iterations/0000/walker0/in.hal").read_text()
    expected = scale.student.tempered(10).largest_sigma(0.3)
    assert f"(f_watch[6] > {expected:.17g})" in script


@pytest.mark.parametrize("family", ["ace", "nep"])
def test_grade_trigger_has_the_active_set_of_the_database(tmp_path, family):
    """Each fit writes the active set of all labels so far; the walkers stop above the grade."""
    stop = "[stop]\nthreshold = inf\ngrade = 2.5\nmin_distance = 0.1\n"
    path = fixed_inputs(tmp_path, family, stop)
    loop = make_loop(path, labeller=SpringLabeller())
    loop.run()
    model, frames = loop.model(), database(tmp_path / "run")
    file = PosteriorFile.read(tmp_path / "run/potential/cu.uq")
    sizes = [count for _, count in model.features.model.blocks]
    ends = np.cumsum([0, *(n * n for n in sizes)])
    for z, element in enumerate(model.features.elements):
        inverse = file.active_inverse[ends[z] : ends[z + 1]].reshape(sizes[z], sizes[z])
        rows = np.vstack([model.features.features(a)[a.symbols == element] for a in frames])
        assert np.abs(rows[:, : sizes[z]] @ inverse).max() <= 1.001 + 1e-6
    script = (tmp_path / "run/iterations/0001/walker0/in.hal").read_text()
    assert "c_largest_grade" in script
    assert "(f_watch[6] > 2.5)" in script
    assert "f_watch[3] >" not in script
    assert "extrapolation grade above 2.5" in (tmp_path / "run/report.md").read_text()
    assert loop.state.history[-1]["grade"] == 1.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[stop]\ngrade = 0.0\n", "grade = 0.0; expected a number above 0"),
        ("[stop]\nforce_error = { Ag = 0.1 }\n", "force_error: element Ag; expected of Cu"),
        ("[stop]\nforce_error = -1.0\n", "force_error = -1.0; expected a number above 0"),
        ('[model]\nfile = "x"\nelements = ["Cu"]\n', r"one of the tables \[basis\] and \[model\]"),
    ],
)
def test_contradictions_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_settings(make_inputs(tmp_path, TOML + change))


def test_missing_model_and_calibration_cost_no_label(tmp_path):
    path = fixed_inputs(tmp_path, "nep", "")
    (tmp_path / "m.txt").unlink()
    with pytest.raises(RuntimeError, match="no such file"):
        make_loop(path, labeller=None).run()
    path = make_inputs(tmp_path, TOML + '[stop]\ncalibration = "no.json"\n')
    path.write_text(path.read_text().replace('"run"', '"other"'))
    with pytest.raises(ValueError, match="pyuq calibrate"):
        make_loop(path, labeller=None).run()


def test_a_larger_budget_goes_on_as_if_it_had_been_there(finished, tmp_path_factory):
    reference, _ = finished
    folder = tmp_path_factory.mktemp("extended")
    path = make_inputs(folder, TOML.replace("iterations = 4", "iterations = 2"))
    for n in (2, 4):
        path.write_text(TOML.replace("iterations = 4", f"iterations = {n}"))
        loop = make_loop(path)
        assert loop.run() == f"{n} iterations"
        loop.close()
    assert hash_file(folder / "run/database.extxyz") == hash_file(reference / "database.extxyz")


def test_changed_settings_are_refused_by_name(finished):
    folder, _ = finished
    path = folder.parent / "changed.toml"
    path.write_text(
        TOML.replace("cutoff = 4.0", "cutoff = 4.5").replace("steps = 20", "steps = 30")
    )
    told = r"basis.cutoff = 4.0 \(now 4.5\), md.steps = 20 \(now 30\)"
    with pytest.raises(ValueError, match=told):
        make_loop(path)


def test_two_processes_do_not_share_a_folder(tmp_path):
    path = make_inputs(tmp_path)
    loop = make_loop(path)
    with pytest.raises(RuntimeError, match="another process"):
        make_loop(path)
    loop.close()
    make_loop(path).close()


def test_a_failed_label_costs_only_itself(tmp_path):
    path = make_inputs(tmp_path)

    class Moody(EMTLabeller):
        @staticmethod
        def refuse(atoms):
            return atoms.info.get("walker") == 1 and atoms.info["iteration"] == 1

    loop = make_loop(path, labeller=Moody())
    loop.run()
    assert loop.state.failures == [{"iteration": 1, "reason": "SCF did not converge"}]
    assert len(database(tmp_path / "run")) == 10
    assert "SCF did not converge" in (tmp_path / "run/report.md").read_text()


def test_a_blown_up_walker_is_not_labelled_and_a_mistake_ends_the_run(tmp_path):
    path = make_inputs(tmp_path)

    def exploding(jobs, settings, comm=None):
        walk(jobs[1:], settings, comm)
        running, final = jobs[0]
        (running / walker.TRACE).write_text("# Time-averaged data\n0 300.0\n")
        (running / walker.ERROR).write_text("ERROR: Lost atoms: original 4 current 3\n")
        os.replace(running, final)

    loop = make_loop(path, walk=exploding)
    loop.run()
    assert {a.info["walker"] for a in database(tmp_path / "run")[3:]} == {1}
    assert loop.state.history[0]["discarded"] == 1
    loop.close()

    def mistaken(jobs, settings, comm=None):
        for running, final in jobs:
            (running / walker.ERROR).write_text("ERROR: Unknown fix style no/such\n")
            os.replace(running, final)

    path.write_text(TOML.replace('"run"', '"other"'))
    with pytest.raises(RuntimeError, match=r"walker0: ERROR: Unknown fix style no/such"):
        make_loop(path, walk=mistaken).run()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_distance": 0.5}, "0.50 Å apart"),
        ({"max_force": 80.0}, "force of 80"),
        ({"temperature": 9e3}, "temperature of 9000"),
    ],
)
def test_guards_throw_a_frame_away(tmp_path, values, message):
    settings = load_settings(make_inputs(tmp_path))
    c = walker.conditions(settings, 0, 0, 0, min_distance=1.5)
    running, final = tmp_path / ".walker", tmp_path / "walker"
    walker.prepare(running, settings, extxyz.read(tmp_path / "start.extxyz")[0], c, "cu.uq")
    walk([(running, final)], settings)
    good = walker.outcome(final, settings, c)
    assert good.reason in ("uncertain", "end")
    text = json.loads((final / walker.OUTCOME).read_text())
    (final / walker.OUTCOME).write_text(json.dumps(text | values))
    found = walker.outcome(final, settings, c)
    assert (found.reason, found.atoms) == ("discarded", None)
    assert message in found.message


def test_full_disk_loses_nothing(finished, tmp_path_factory, monkeypatch):
    reference, _ = finished
    folder = tmp_path_factory.mktemp("full")
    path = make_inputs(folder)
    synced, count = os.fsync, 0

    def fsync(descriptor):
        nonlocal count
        count += loop.state.iteration > 0
        if count > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    loop = make_loop(path)
    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        loop.run()
    loop.close()
    monkeypatch.undo()
    assert loop.state.iteration > 0
    assert not list((folder / "run").glob("*.tmp"))
    loop = make_loop(path)
    loop.run()
    assert hash_file(folder / "run/database.extxyz") == hash_file(reference / "database.extxyz")


def test_files_for_batch_dft_stop_the_run_and_go_on(finished, tmp_path_factory):
    reference, _ = finished
    folder = tmp_path_factory.mktemp("batch")
    path = make_inputs(folder)
    rounds = 0
    while True:
        loop = make_loop(path, labeller=FileLabeller(folder / "dft"))
        try:
            loop.run()
            break
        except Waiting:
            rounds += 1
            for request in (folder / "dft/requests").iterdir():
                (atoms,) = extxyz.read(request)
                extxyz.write(folder / "dft/results" / request.name, [EMTLabeller().one(atoms)])
        finally:
            loop.close()
    assert rounds == 2 + 4  # start, test set, four iterations
    assert hash_file(folder / "run/database.extxyz") == hash_file(reference / "database.extxyz")


def exploding(jobs, settings, comm=None):
    """Walkers whose LAMMPS loses its atoms at once."""
    for running, final in jobs:
        (running / walker.TRACE).write_text("# Time-averaged data\n0 300.0\n")
        (running / walker.ERROR).write_text("ERROR: Lost atoms: original 4 current 3\n")
        os.replace(running, final)


def test_a_loop_without_fruit_ends_and_says_why(tmp_path):
    """As with a time step in fs: before, a hundred iterations of discarded walkers, exit code 0."""
    path = make_inputs(tmp_path, TOML.replace("iterations = 4", "iterations = 100\nfruitless = 3"))
    for calls in (1, 2):
        loop = make_loop(path, walk=exploding)
        with pytest.raises(RuntimeError) as caught:
            loop.run()
        loop.close()
        assert loop.state.iteration == 3 * calls
    said = str(caught.value)
    assert "3 iterations in a row gave no new label: 6 of 6 walkers were discarded" in said
    assert "6 × ERROR: Lost atoms: original 4 current 3" in said
    assert "timestep (0.001 ps)" in said
    loop = make_loop(path)  # what was wrong is mended: the run goes on
    while loop.state.iteration < 8:
        getattr(loop, loop.state.stage)()
    assert loop.state.fruitless == 0
    assert len(database(tmp_path / "run")) > 3


def test_labels_that_all_fail_end_the_loop(tmp_path):
    path = make_inputs(tmp_path, TOML.replace("iterations = 4", "iterations = 100\nfruitless = 2"))

    class Broken(EMTLabeller):
        @staticmethod
        def refuse(atoms):
            return "walker" in atoms.info

    loop = make_loop(path, labeller=Broken())
    with pytest.raises(
        RuntimeError, match=r"2 iterations in a row gave no new label.* 4 structures got no label"
    ):
        loop.run()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (walker.OUTCOME, ""),
        (walker.OUTCOME, '{"step": 10, "temp'),
        (walker.OUTCOME, None),
        (walker.FINAL, ""),
        (walker.FINAL, None),
        (walker.ERROR, ""),
        (walker.ERROR, "ERROR: Cannot open potential file (src/x.cpp:1)\n"),
    ],
)
def test_a_walker_that_a_full_disk_left_is_run_again(
    finished, tmp_path_factory, capsys, name, content
):
    """Before, every later call said that its file is damaged, with room on the disk, too."""
    reference, _ = finished
    toml = TOML.replace("iterations = 4", "iterations = 1")
    path = make_inputs(tmp_path_factory.mktemp("empty"), toml)

    def full(jobs, settings, comm=None):
        walk(jobs, settings, comm)
        file = jobs[1][1] / name
        if content is None:
            file.unlink()
        else:
            file.write_text(content)

    loop = make_loop(path, walk=full)
    with pytest.raises((RuntimeError, ValueError, OSError)):
        loop.run()
    loop.close()
    loop = make_loop(path)
    loop.run()
    loop.close()
    assert "walker 1 runs again: " in capsys.readouterr().out
    expected = (reference / "database.extxyz").read_text()
    found = (path.parent / "run/database.extxyz").read_text()
    assert expected.startswith(found)
    assert len(database(path.parent / "run")) == 5


def test_a_walker_can_be_given_up(tmp_path):
    """Where LAMMPS dies again and again without a word of its own."""
    path = make_inputs(tmp_path, TOML.replace("iterations = 4", "iterations = 1"))

    def dead(jobs, settings, comm=None):
        raise NotRunError("killed")

    loop = make_loop(path, walk=dead)
    with pytest.raises(NotRunError):
        loop.run()
    loop.close()
    (running,) = (tmp_path / "run/iterations/0000").glob(".walker1.*")
    running.rename(running.with_name("walker1"))
    (running.with_name("walker1") / walker.ERROR).write_text("given up: out of memory\n")
    loop = make_loop(path)
    loop.run()
    assert loop.state.history[0]["discarded"] == 1
    assert [a.info["walker"] for a in database(tmp_path / "run")[3:]] == [0]


def test_numbers_that_are_none_throw_a_frame_away(tmp_path):
    """LAMMPS writes nan into the outcome of a walker that blew up: physics, not damage."""
    settings = load_settings(make_inputs(tmp_path))
    c = walker.conditions(settings, 0, 0, 0, min_distance=1.5)
    (tmp_path / walker.OUTCOME).write_text('{"step": 3, "temperature": -nan, "max_force": inf}')
    found = walker.outcome(tmp_path, settings, c)
    assert (found.reason, found.message) == (
        "discarded",
        "temperature, max_force is not a finite number",
    )


def test_lost_start_structures_are_made_again_and_lost_labels_are_named(
    finished, tmp_path_factory, capsys
):
    """Before: "min() arg is an empty sequence", and a run without a test set that it was begun with."""
    reference, _ = finished
    folder = tmp_path_factory.mktemp("lost")
    path = make_inputs(folder, TOML.replace("iterations = 4", "iterations = 2"))
    loop = make_loop(path)
    loop.run()
    loop.close()
    start = folder / "run/start.extxyz"
    before = start.read_bytes()
    for damage in (None, b"", before[: len(before) // 2]):
        start.unlink() if damage is None else start.write_bytes(damage)
        loop = make_loop(path)
        loop._check_files()
        loop.close()
        assert start.read_bytes() == before
    for name in ("test.extxyz", "database.extxyz"):
        file = folder / "run" / name
        kept = file.read_bytes()
        file.unlink()
        loop = make_loop(path)
        with pytest.raises(
            ValueError, match=rf"{name}: missing, expected \d+ structures; .*ut back a copy"
        ):
            loop.run()
        loop.close()
        file.write_bytes(kept)
    shutil.move(folder / "run", folder / "moved")  # a folder that was moved goes on
    path.write_text(TOML.replace('"run"', '"moved"'))
    loop = make_loop(path, labeller=EMTLabeller())
    loop.run()
    assert hash_file(folder / "moved/database.extxyz") == hash_file(reference / "database.extxyz")


def test_ends_when_nothing_is_uncertain_any_more(tmp_path):
    path = make_inputs(
        tmp_path,
        TOML.replace("walkers = 2", "walkers = 2\nconverged = 2") + "[stop]\nthreshold = 1\n",
    )
    assert "converged" in make_loop(path).run()
    assert len(database(tmp_path / "run")) == 3 + 4  # final frames are labelled


def test_label_budget_is_not_exceeded(tmp_path):
    path = make_inputs(tmp_path, TOML.replace("walkers = 2", "walkers = 3\nlabels = 7"))
    assert make_loop(path).run() == "7 labels"
    assert len(database(tmp_path / "run")) == 7


def test_ramps_overrides_and_seeds(tmp_path):
    toml = TOML.replace(
        "[labels]", "overrides = [{ structure = 1, temperature = 77.0, tau_rel = 0.0 }]\n[labels]"
    )
    toml = toml.replace("steps = 20", "steps = 20\nramp_iterations = 4\npressure = [0.0, 1.0]")
    settings = load_settings(make_inputs(tmp_path, toml))
    first, last, beyond, special = (
        walker.conditions(settings, k, 0, start, 1.0)
        for k, start in ((0, 0), (3, 0), (9, 0), (0, 1))
    )
    assert first.temperature == (300.0, 300.0)
    assert last.temperature == beyond.temperature == (900.0, 900.0)
    assert last.pressure == (1.0, 1.0)
    assert special.temperature == (77.0, 77.0)
    assert special.tau_rel == 0.0
    assert first.seed != last.seed != beyond.seed
    text = walker.script(settings, extxyz.read(tmp_path / "start.extxyz")[0], special, "cu.uq")
    assert "uq/hal tau 0.0 " in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "iterations = 4",
            "iteratons = 4",
            r"\[loop\]|loop: unknown key 'iteratons'; nearest valid key: 'iterations'",
        ),
        ('kind = "ase"', 'kind = "vasp"', "expected one of lammps, ase, files"),
        ("temperature = [300, 900]", "", "key 'temperature' is missing"),
        ("cutoff = 4.0", "cutof = 4.0", "nearest valid key: 'cutoff'"),
        ("steps = 20", 'steps = "20"', "expected an integer"),
    ],
)
def test_mistakes_in_the_toml_are_named(tmp_path, old, new, message):
    path = make_inputs(tmp_path, TOML.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_settings(path)


def test_settings_of_one_call(tmp_path, capsys):
    """Several runs from one file: each has its own folder, and a slip of the pen is named."""
    path = make_inputs(tmp_path)
    changes = ["folder=second", "loop.seed=2", "md.temperature=[300.0, 900.0]"]
    settings = load_settings(path, changes)
    assert (settings.folder, settings.loop.seed) == ("second", 2)
    assert settings.md.temperature == (300.0, 900.0)
    assert load_settings(path).folder == "run"
    for action in ("run", "status"):
        assert main(["hal", action, str(path), "--set", "loop.seeds=2"]) == 2
        assert "unknown key 'seeds'; nearest valid key: 'seed'" in capsys.readouterr().err
    assert main(["hal", "status", str(path), "--set", "folder=second"]) == 2
    assert f"no run in {tmp_path / 'second'}" in capsys.readouterr().err


def test_wrong_element_in_the_start_structures(tmp_path):
    path = make_inputs(tmp_path, TOML.replace('["Cu"]', '["Al"]'))
    with pytest.raises(ValueError, match=r"\[start\].*element Cu; expected only Al"):
        make_loop(path).run()


def test_lone_atoms_are_learnt_and_do_not_walk(tmp_path):
    path = make_inputs(tmp_path, TOML)
    frames = extxyz.read(tmp_path / "start.extxyz")
    atom = extxyz.labelled(Atoms("Cu", positions=np.zeros((1, 3))), -1.5, np.zeros((1, 3)), None)
    extxyz.write(tmp_path / "start.extxyz", [atom, *frames])
    loop = make_loop(path)
    loop.run()
    starts = [a.info["start"] for a in database(path.parent / "run") if a.info["source"] == "hal"]
    assert 0 not in starts
    assert len(set(starts)) > 1
    assert loop.model().one_body["Cu"] == -1.5
    extxyz.write(tmp_path / "start.extxyz", [atom])
    path.write_text(TOML.replace('folder = "run"', 'folder = "alone"'))
    with pytest.raises(ValueError, match="a lone atom has nowhere to go"):
        make_loop(path).run()


def test_slabs_are_refused_before_any_label(tmp_path):
    path = make_inputs(tmp_path, TOML)
    frames = extxyz.read(tmp_path / "start.extxyz")
    frames[1].pbc = (True, False, True)
    extxyz.write(tmp_path / "start.extxyz", frames)
    with pytest.raises(
        ValueError, match=r"\[start\]: structure 1: structure is periodic along xz only"
    ):
        make_loop(path).run()
    assert not (tmp_path / "run" / "database.extxyz").exists()


def test_diverse_choice_avoids_repetition():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6))
    features = np.array([2 * a, 1.999 * a, b, 0.5 * b])
    covariance = features @ features.T
    first = int(np.argmax(np.diag(covariance)))
    chosen = diverse(covariance, 2)
    assert chosen[0] == first
    # The pair with the largest determinant among those with the first.
    determinants = [np.linalg.det(covariance[np.ix_([first, k], [first, k])]) for k in range(4)]
    assert chosen[1] == int(np.argmax(determinants))
    assert len(diverse(covariance, 4, redundancy=0.01)) == 2


def test_guide_explains_every_key():
    guide = (ROOT / "docs/guide/hal.md").read_text()
    shared = {f.name for f in dataclasses.fields(FitSettings)}
    for table in dataclasses.fields(Settings):
        if table.name in shared:
            continue
        assert table.name in guide
        cls = typing.get_type_hints(Settings)[table.name]
        for key in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
            assert f"`{key.name}`" in guide or f"{key.name} = " in guide, (
                f"[{table.name}] {key.name}"
            )
