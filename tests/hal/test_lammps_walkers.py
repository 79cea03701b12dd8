# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop with real walkers: LAMMPS, the plugin, MPI."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fakes import EMTLabeller, make_inputs
from test_loop import SpringLabeller, database, fixed_inputs

from pyuq.evaluate.calculator import UQCalculator
from pyuq.evaluate.evaluator import Evaluator
from pyuq.hal import walker
from pyuq.hal.loop import Loop
from pyuq.hal.settings import load_settings
from pyuq.inference.fit import fit
from pyuq.inference.maxvol import add_active_set
from pyuq.io import extxyz
from pyuq.io.identity import hash_file
from pyuq.lmp import mpirun

TOML = """
name = "cu"
folder = "run"
[start]
structures = ["start.extxyz"]
[labels]
kind = "ase"
calculator = "ase.calculators.emt:EMT"
[basis]
elements = ["Cu"]
cutoff = 4.0
order = 2
degree = 4
[md]
temperature = 600
pressure = 0.5
barostat = "aniso"
steps = 120
[bias]
window = 20
[stop]
threshold = 0.3
[loop]
iterations = 2
walkers = 2
"""


@pytest.fixture
def toml(tmp_path):
    path = make_inputs(tmp_path, TOML)
    for name in ("start", "test"):
        frames = [a * 2 for a in extxyz.read(tmp_path / f"{name}.extxyz")]
        extxyz.write(tmp_path / f"{name}.extxyz", frames)
    return path


@pytest.fixture
def potential(toml):
    """Folder with a fitted potential, its settings and a start structure."""
    settings = load_settings(toml)
    structures = extxyz.read(toml.parent / "start.extxyz")
    fit([EMTLabeller().one(a) for a in structures], settings.fit).save(toml.parent, "cu")
    return toml.parent, settings, structures[0]


def run_one(potential, name="walker", **changes):
    folder, settings, atoms = potential
    c = walker.conditions(settings, 0, 0, 0, min_distance=1.0)
    walker.prepare(folder / f".{name}", settings, atoms, c, "../cu.uq")
    script = folder / f".{name}" / walker.SCRIPT
    text = script.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    script.write_text(text)
    walker.run_walkers([(folder / f".{name}", folder / name)], settings)
    return walker.outcome(folder / name, settings, c)


def test_walker_stops_at_the_threshold_and_not_before(potential):
    found = run_one(potential)
    trace = np.loadtxt(potential[0] / "walker/trace.txt")
    if found.reason == "uncertain":
        assert found.values["max_relative"] > 0.3
        assert np.all(trace[trace[:, 0] < found.values["step"], 6] <= 0.3)
    else:
        assert found.values["step"] == 120
        assert np.all(trace[1:, 6] <= 0.3)
    assert len(found.atoms) == 32


def test_trigger_names_the_frame_that_it_was_seen_in(potential):
    folder, settings, _ = potential
    never = run_one(potential, "never", **{"> 0.3)": "> 1e9)"})
    always = run_one(potential, "always", **{"> 0.3)": "> -1)"})
    assert never.values["step"] == 120
    assert always.values["step"] == 1
    # The uncertainty in the outcome is that of the frame beside it.
    script = (folder / "always" / walker.SCRIPT).read_text()
    again = folder / "again"
    shutil.copytree(folder / "always", again)
    shutil.move(again / walker.FINAL, again / walker.DATA)
    text = script.replace("> -1)", "> 1e9)").replace("run             120", "run             0")
    (again / walker.SCRIPT).write_text(text)
    walker.run_walkers([(again, folder / "final")], settings)
    repeated = walker.outcome(folder / "final", settings, walker.conditions(settings, 0, 0, 0, 1.0))
    assert repeated.values["max_relative"] == pytest.approx(always.values["max_relative"], rel=1e-9)


def test_walker_stops_where_the_energy_is_uncertain(potential):
    """With `energy_error`, the first frame whose σ_E is above the recalibrated limit ends the run."""
    folder, settings, atoms = potential
    stop = dataclasses.replace(settings.stop, threshold=float("inf"), energy_error=1.0)
    settings = dataclasses.replace(settings, stop=stop)

    def walk(name, limit):
        c = walker.conditions(settings, 0, 0, 0, 1.0, largest_sigma=limit)
        walker.prepare(folder / f".{name}", settings, atoms, c, "../cu.uq")
        walker.run_walkers([(folder / f".{name}", folder / name)], settings)
        return walker.outcome(folder / name, settings, c)

    free = walk("free", 1e9)
    assert free.reason == "end"
    every_sigma = walk("start", 0.0)
    assert (every_sigma.reason, every_sigma.values["step"]) == ("uncertain", 1)
    limit = 0.5 * (every_sigma.values["sigma"] + free.values["sigma"])
    found = walk("half", limit)
    if free.values["sigma"] > every_sigma.values["sigma"]:
        assert found.reason == "uncertain"
        assert 1 < found.values["step"] <= 120
    assert (found.values["sigma"] > limit) == (found.reason == "uncertain")


def test_walker_stops_where_a_force_is_uncertain(potential):
    """With `force_error`, at the first frame where ∇σ_E of a species is too long; the number is that of Python."""
    folder, settings, atoms = potential
    stop = dataclasses.replace(settings.stop, threshold=float("inf"), force_error=0.1)
    settings = dataclasses.replace(settings, stop=stop)

    def walk(name, limit):
        c = walker.conditions(settings, 0, 0, 0, 1.0, largest_gradient={"Cu": limit})
        walker.prepare(folder / f".{name}", settings, atoms, c, "../cu.uq")
        walker.run_walkers([(folder / f".{name}", folder / name)], settings)
        return walker.outcome(folder / name, settings, c)

    free, first = walk("free", 1e9), walk("first", 0.0)
    assert free.reason == "end"
    assert (first.reason, first.values["step"]) == ("uncertain", 1)
    calc = UQCalculator(folder / "cu.uq")
    length = np.linalg.norm(calc.get_property("bias_forces", first.atoms), axis=1).max()
    assert first.values["gradient_Cu"] == pytest.approx(length, rel=1e-4)  # weights from four cells
    limit = 0.5 * (first.values["gradient_Cu"] + free.values["gradient_Cu"])
    found = walk("half", limit)
    assert (found.values["gradient_Cu"] > limit) == (found.reason == "uncertain")


def test_walker_stops_where_it_extrapolates(potential):
    """With `grade`, at the first frame in which γ of an atom is above; the number is that of Python."""
    folder, settings, atoms = potential
    sets = add_active_set(folder / "cu.uq", extxyz.read(folder / "start.extxyz"))
    features = Evaluator(folder / "cu.uq")

    def walk(name, grade):
        stop = dataclasses.replace(settings.stop, threshold=float("inf"), grade=grade)
        changed = dataclasses.replace(settings, stop=stop)
        c = walker.conditions(changed, 0, 0, 0, 1.0)
        walker.prepare(folder / f".{name}", changed, atoms, c, "../cu.uq")
        walker.run_walkers([(folder / f".{name}", folder / name)], changed)
        return walker.outcome(folder / name, changed, c)

    free, first = walk("free", 1e99), walk("first", 1e-9)
    assert free.reason == "end"
    assert (first.reason, first.values["step"]) == ("uncertain", 1)
    for found in (free, first):
        largest = sets[0].grades(features.features(found.atoms)).max()
        assert found.values["grade"] == pytest.approx(largest, rel=1e-3)  # the file has ten digits
    limit = 0.5 * (first.values["grade"] + free.values["grade"])
    found = walk("half", limit)
    assert (found.values["grade"] > limit) == (found.reason == "uncertain")


@pytest.mark.parametrize("family", ["nep", "mtp", "network"])
def test_loop_with_a_model_whose_readout_is_learnt(tmp_path, family):
    """LAMMPS runs on the posterior of the fixed features; new labels narrow it."""
    stop = "[stop]\nforce_error = 0.2\nmin_distance = 0.3\nmax_force = 1e3\nmax_temperature = 1e3\n"
    path = fixed_inputs(tmp_path, family, stop)
    loop = Loop(load_settings(path), path, labeller=SpringLabeller())
    assert loop.run() == "4 iterations"
    assert len(database(tmp_path / "run")) > 3
    assert loop.state.beliefs["Ag"]["a"] > 1.5
    script = (tmp_path / "run/iterations/0001/walker0/in.hal").read_text()
    assert "../potential/cu.uq Ag I" in script


def test_lost_atoms_are_a_blow_up_and_a_wrong_command_is_not(potential):
    found = run_one(potential, "lost", **{"timestep        0.001": "timestep        1.0"})
    assert found.reason == "discarded"
    with pytest.raises(RuntimeError, match="no/such"):
        run_one(potential, "wrong", **{"thermo_style": "fix x all no/such\nthermo_style"})


def test_walker_whose_cell_runs_away_is_discarded(potential):
    found = run_one(potential, "away", **{"window": "volume 1.0001 window"})
    assert found.reason == "discarded"
    assert "the cell has run away: its volume is" in found.message


def run_command(toml, *launcher):
    command = [*launcher, sys.executable, "-m", "pyuq", "hal", "run", str(toml)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_jobs_and_sub_communicators_give_the_same_database(toml, tmp_path):
    done = run_command(toml)
    assert done.returncode == 0, done.stderr
    spawned = hash_file(tmp_path / "run/database.extxyz")
    assert len(database(tmp_path / "run")) > 3
    shutil.rmtree(tmp_path / "run")
    done = run_command(toml, mpirun(), "-np", "2")
    assert done.returncode == 0, done.stderr
    assert hash_file(tmp_path / "run/database.extxyz") == spawned


def test_kill_minus_nine_and_the_same_command_again(toml, tmp_path):
    assert run_command(toml).returncode == 0
    reference = hash_file(tmp_path / "run/database.extxyz")
    shutil.rmtree(tmp_path / "run")
    rng, killed = np.random.default_rng(1), 0
    for _ in range(3):
        victim = subprocess.Popen(
            [sys.executable, "-m", "pyuq", "hal", "run", str(toml)], stdout=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(1.5, 3.5))
        os.kill(victim.pid, signal.SIGKILL)
        killed += victim.wait() == -signal.SIGKILL
    assert killed > 0
    assert run_command(toml).returncode == 0
    assert hash_file(tmp_path / "run/database.extxyz") == reference


def test_two_ranks_for_a_walker(toml, tmp_path):
    toml.write_text(TOML.replace("walkers = 2", "walkers = 1\nranks = 2"))
    loop = Loop(load_settings(toml), toml, labeller=EMTLabeller())
    loop.run()
    assert len(database(tmp_path / "run")) == 5
    log = (tmp_path / "run/iterations/0000/walker0/log.lammps").read_text()
    assert "MPI processor grid" in log
    assert "1 by 1 by 1 MPI" not in log


def test_moment_tensor_potential(toml, tmp_path):
    """`family = "mtp"`: new radial coefficients at each evidence fit, exact updates between; all runs in LAMMPS."""
    basis = "cutoff = 4.0\norder = 2\ndegree = 4"
    assert basis in TOML
    text = TOML.replace(basis, "cutoff = 4.0\nlevel = 6\nradial_size = 4\nrefine = 5")
    toml.write_text('family = "mtp"\n' + text + "refit_every = 2\n")
    loop = Loop(load_settings(toml), toml, labeller=EMTLabeller())
    assert loop.run() == "2 iterations"
    first, last = loop.state.history[0], loop.model()
    assert len(database(tmp_path / "run")) > 4
    assert last.basis.family == "mtp"
    assert 0 < first["new_force"] < 1.0
    saved = Evaluator(tmp_path / "run/potential/cu.mtp", elements=["Cu"])
    atoms = database(tmp_path / "run")[-1]
    assert saved.compute(atoms)["energy"] == pytest.approx(last.predict(atoms)["energy"], rel=1e-12)
    assert "potential/cu.mtp" in (tmp_path / "run/report.md").read_text()
    script = (tmp_path / "run/iterations/0001/walker0/in.hal").read_text()
    assert "potential/cu.uq Cu" in script
