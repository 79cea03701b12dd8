# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq diffusion``: walks of known diffusivity written as dumps, and every usual mistake."""

import fcntl
import json
import os
import re

import ase.io
import numpy as np
import pytest
from ase import Atoms

from pyuq.cli import main
from pyuq.diffusion import TrajectoryAnalysis
from pyuq.diffusion.run import parse_ids, run_diffusion

EDGE = 10.0  # Å
EVERY = 20  # steps between frames
TIMESTEP = 0.005  # ps
SPACING = EVERY * TIMESTEP


def write_dump(path, positions, types, columns="xu yu zu", extra=None, edges=None):
    """Dump of positions (T, N, 3); `extra` (T, N, k) follows them, `edges` (T,) are those of a cubic cell."""
    frames = []
    for t, frame in enumerate(positions):
        edge = EDGE if edges is None else edges[t]
        rows = frame if extra is None else np.concatenate([frame, extra[t]], axis=1)
        table = "\n".join(
            f"{k + 1} {types[k]} " + " ".join(f"{v:.10g}" for v in row)
            for k, row in enumerate(rows)
        )
        frames.append(
            f"ITEM: TIMESTEP\n{EVERY * t}\nITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp\n"
            + f"0 {edge}\n" * 3
            + f"ITEM: ATOMS id type {columns}\n{table}\n"
        )
    path.write_text("".join(frames))
    return path


def conductor(seed, n_frames=400, n_mobile=12, d=0.5):
    """Mobile ions (type 1) of diffusivity d in Å²/ps, and a rattling lattice (type 2), which drift together."""
    rng = np.random.default_rng(seed)
    mobile = rng.normal(0, np.sqrt(2 * d * SPACING), (n_frames, n_mobile, 3)).cumsum(axis=0)
    lattice = rng.normal(0, 0.1, (n_frames, 8, 3))
    drift = rng.normal(0, 0.3, (n_frames, 1, 3)).cumsum(axis=0)
    start = rng.uniform(0, EDGE, (n_mobile + 8, 3))
    return start + drift + np.concatenate([mobile, lattice], axis=1), [1] * n_mobile + [2] * 8


@pytest.fixture
def dump(tmp_path):
    return write_dump(tmp_path / "run.dump", *conductor(0))


def command(tmp_path, *arguments):
    """Run the verb; its JSON, or None if it failed."""
    out = tmp_path / "out"
    code = main(["diffusion", *map(str, arguments), "--out", str(out)])
    return json.loads((out / "diffusion.json").read_text()) if code == 0 else None


BASIC = ("--timestep", TIMESTEP, "--elements", "Ag,I")


def test_species_against_its_framework(dump, tmp_path, capsys):
    found = command(tmp_path, dump, *BASIC, "--species", "Ag")
    silver = found["conditions"][0]["diffusivities"]["Ag"]
    assert abs(silver["diffusivity"] - 0.5) < 4 * silver["error"]
    assert silver["error"] < 0.1
    run = found["trajectories"][0]
    assert run["spacing"] == pytest.approx(SPACING) and run["counts"] == {"Ag": 12}
    assert "8 atoms of I" in run["reference"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert silver["verdict"] in text and silver["verdict"] in capsys.readouterr().out
    assert (tmp_path / "out" / "diffusion.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "out" / "arrhenius.png").exists()


def test_framework_and_cage(dump, tmp_path):
    found = command(tmp_path, dump, *BASIC, "--framework", "I")
    both = found["conditions"][0]["diffusivities"]
    assert both["Ag"]["resolved"]
    assert not both["I"]["resolved"] and "stays in its cage" in both["I"]["verdict"]
    drifting = command(tmp_path, dump, *BASIC, "--species", "I", "--framework", "none")
    assert drifting["conditions"][0]["diffusivities"]["I"]["diffusivity"] > 0.2


def test_units_and_groups(dump, tmp_path):
    metal = command(tmp_path, dump, *BASIC, "--species", "Ag")
    options = ("--timestep", 1000 * TIMESTEP, "--units", "real", "--elements", "Ag,I")
    real = command(tmp_path, dump, *options, "--group", "mobile=1-6,7,8-12")
    value = metal["conditions"][0]["diffusivities"]["Ag"]["diffusivity"]
    same = real["conditions"][0]["diffusivities"]["mobile"]["diffusivity"]
    assert same == pytest.approx(value)


def test_units_that_a_dump_names(dump, tmp_path, capsys):
    """``dump_modify units yes time yes`` adds items to the header."""
    text = re.sub(
        r"TIMESTEP\n(\d+)",
        lambda m: f"TIMESTEP\n{m[1]}\nITEM: TIME\n{5 * int(m[1])}",
        dump.read_text(),
    )
    dump.write_text("ITEM: UNITS\nreal\n" + text)
    assert command(tmp_path, dump, *BASIC) is None
    assert "in units real, the analysis in units metal" in capsys.readouterr().err
    real = ("--timestep", 1000 * TIMESTEP, "--units", "real", "--elements", "Ag,I")
    assert command(tmp_path, dump, *real) is not None


@pytest.mark.parametrize(("timestep", "units"), [(2, "metal"), (0.002, "real")])
def test_a_time_step_in_another_unit_is_refused(dump, tmp_path, capsys, timestep, units):
    options = ("--timestep", timestep, "--units", units, "--elements", "Ag,I")
    text = re.sub(r"TIMESTEP\n(\d+)", lambda m: f"TIMESTEP\n{10 * int(m[1])}", dump.read_text())
    dump.write_text(text)
    assert command(tmp_path, dump, *options) is None
    assert "expected ps (0.002) in units metal, fs (2) in units real" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_lone_atom_moves_in_the_frame_of_the_file(tmp_path):
    walk = np.cumsum(np.random.default_rng(0).normal(size=(200, 1, 3)), axis=0)
    frames = [Atoms("Ag", positions=x, cell=[500.0] * 3, pbc=True) for x in walk]
    ase.io.write(tmp_path / "run.xyz", frames, format="extxyz")
    found = TrajectoryAnalysis(1.0).compute(tmp_path / "run.xyz")
    assert found.reference == "the frame of the file"
    assert found.diffusivities["Ag"].resolved


def test_formats_and_pieces_agree(dump, tmp_path):
    expected = TrajectoryAnalysis(TIMESTEP, elements=("Ag", "I"), species=["Ag"]).compute(dump)
    positions, types = conductor(0)
    names = ["Ag" if t == 1 else "I" for t in types]
    frames = [Atoms(names, positions=np.mod(x, EDGE), cell=[EDGE] * 3, pbc=True) for x in positions]
    ase.io.write(tmp_path / "run.xyz", frames, format="extxyz")
    found = TrajectoryAnalysis(SPACING, species=["Ag"]).compute(tmp_path / "run.xyz")
    assert found.diffusivities["Ag"].value == pytest.approx(expected.diffusivities["Ag"].value)
    streamed = TrajectoryAnalysis(
        TIMESTEP, elements=("Ag", "I"), species=["Ag"], stream=True
    ).compute(dump)
    difference = streamed.diffusivities["Ag"].value - expected.diffusivities["Ag"].value
    assert abs(difference) < expected.diffusivities["Ag"].error


def test_barostat_makes_no_diffusion(tmp_path):
    """Atoms far outside of a cell that breathes: u = w + n h would move them by n δh."""
    rng = np.random.default_rng(1)
    edges = EDGE + rng.normal(0, 0.05, 300)
    fractions = rng.uniform(0.2, 0.8, (10, 3))
    images = np.tile(rng.integers(-30, 30, (10, 3)), (300, 1, 1))
    wrapped = fractions * edges[:, None, None] + rng.normal(0, 0.05, (300, 10, 3))
    types = [1] * 5 + [2] * 5
    path = write_dump(tmp_path / "npt.dump", wrapped, types, "x y z ix iy iz", images, edges)
    found = command(tmp_path, path, *BASIC, "--species", "Ag")
    run, silver = found["trajectories"][0], found["conditions"][0]["diffusivities"]["Ag"]
    assert not run["fixed_cell"] and not silver["resolved"]
    assert run["diffusivities"]["Ag"]["msd"][-1][0] < 0.5
    assert "cell changes" in (tmp_path / "out" / "report.md").read_text()


def test_replicas_are_pooled(tmp_path):
    paths = [write_dump(tmp_path / f"{k}.dump", *conductor(k)) for k in range(3)]
    found = command(tmp_path, *paths, *BASIC, "--species", "Ag")
    (condition,) = found["conditions"]
    pooled = condition["diffusivities"]["Ag"]
    assert len(pooled["values"]) == 3 and pooled["agree"]
    assert pooled["error"] < 0.8 * min(pooled["errors"])
    assert abs(pooled["diffusivity"] - 0.5) < 4 * pooled["error"]
    assert "3 pooled" in (tmp_path / "out" / "report.md").read_text()


def test_conductivity_and_haven_ratio(dump, tmp_path):
    options = ("--species", "Ag", "--temperature", 600, "--charges", "Ag=0.6,I=-0.9")
    found = command(tmp_path, dump, *BASIC, *options, "--collective")
    (condition,) = found["conditions"]
    conductivity, silver = condition["conductivity"], condition["diffusivities"]["Ag"]
    factor = 1.602176634e-19**2 / (1e-27 * 1.380649e-23 * 600) * 1e-8 / 100
    expected = factor * 12 * 0.6**2 * silver["diffusivity"]
    assert conductivity["nernst_einstein"] == pytest.approx(expected, rel=1e-6)
    assert conductivity["haven_interval"][0] < 1
    assert abs(conductivity["collective"] / expected - 1) < 1.5
    # Ions that do not see each other: the charge displacement is that of silver, of charge 0.6 e.
    jump = condition["collective"]["Ag"]
    assert jump["haven"] == pytest.approx(conductivity["haven"], rel=0.05)


def test_velocities_are_a_cross_check(tmp_path):
    rng = np.random.default_rng(2)
    keep, v = np.exp(-0.4), rng.normal(0, 1, (40, 3))
    velocities = np.empty((600, 40, 3))
    for frame in velocities:
        v = keep * v + rng.normal(0, np.sqrt(1 - keep**2), v.shape)
        frame[:] = v
    positions = SPACING * velocities.cumsum(axis=0)
    path = write_dump(
        tmp_path / "v.dump", positions, [1] * 40, "xu yu zu vx vy vz", velocities, None
    )
    options = ("--timestep", TIMESTEP, "--elements", "Ag", "--green-kubo", "--framework", "none")
    found = command(tmp_path, path, *options)["trajectories"][0]["green_kubo"]["Ag"]
    # The sum of the correlation over frames, half of the first.
    exact = SPACING * (0.5 + keep / (1 - keep))
    assert abs(found["diffusivity"] - exact) < 4 * found["error"]
    assert "agrees with the displacements" in (tmp_path / "out" / "report.md").read_text()


def test_temperatures_make_an_arrhenius_line(tmp_path):
    kelvin = (500, 600, 700)
    exact = [20 * np.exp(-0.2 / (8.617333262e-5 * t)) for t in kelvin]
    paths = [write_dump(tmp_path / f"{t}.dump", *conductor(t, d=d)) for t, d in zip(kelvin, exact)]
    options = ("--species", "Ag", "--temperature", "500,600,700", "--predict", "400")
    found = command(tmp_path, *paths, *BASIC, *options, "--charges", "Ag=1")
    lines = {line["name"]: line for line in found["arrhenius"]}
    fit = lines["D of Ag"]["fit"]
    assert abs(fit["activation_energy"] - 0.2) < 4 * fit["activation_energy_error"]
    assert lines["σT, Nernst–Einstein"]["fit"]["activation_energy"] == pytest.approx(
        fit["activation_energy"], abs=1e-6
    )
    assert [c["temperature"] for c in found["conditions"]] == [500, 600, 700]
    assert (tmp_path / "out" / "arrhenius.png").read_bytes().startswith(b"\x89PNG")
    assert "400 K" in (tmp_path / "out" / "report.md").read_text()


def test_temperature_without_diffusion_is_left_out(tmp_path):
    paths = [
        write_dump(tmp_path / f"{k}.dump", *conductor(k, d=d))
        for k, d in enumerate((1e-9, 0.3, 0.9))
    ]
    found = command(tmp_path, *paths, *BASIC, "--species", "Ag", "--temperature", "300,500,600")
    (line,) = found["arrhenius"]
    assert line["left_out"] == [300] and line["fit"]["temperatures"] == [500, 600]
    assert "left out: 300 K" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--species", "Na"), "run.dump: no atom of species Na: the trajectory has Ag, I"),
        (("--framework", "Cl"), "no atom of species Cl: the trajectory has Ag, I"),
        (("--group", "odd=1,99"), r"no atom with id \[99\]: ids are 1 to 20"),
        (("--group", "odd=a-b"), "expected a name and atom ids"),
        (("--charges", "Ag=1"), "needs the temperature"),
        (("--charges", "I=1", "--temperature", 300, "--species", "Ag"), "expected a species"),
        (("--charges", "Ag=1", "--temperature", 300), "no charge for I"),
        (("--charges", "Na=1", "--temperature", 300), "no atom of species Na"),
        (("--temperature", "300,400"), "one positive number for all"),
        (("--temperature", "300", "--predict", "200"), "at least two temperatures"),
        (("--green-kubo",), "write vx vy vz"),
        (("--stream", "--tensor"), "leave one out"),
        (("--blocks", 1), "expected at least 2"),
        (("--skip", 380), "20 frames give lags up to 5: expected at least 6; run longer"),
        (("--skip", 399), "1 of 400 frames are left"),
        (("--skip", 390, "--stream"), "10 frames"),
        (("--skip", -1), "expected skip"),
        (("--last", 1000), "the last lag is"),
        (("--elements", "Ag"), "expected one for each type"),
        (("--timestep", 0), "timestep 0.0: expected a positive time"),
        (("--timestep", "inf"), "timestep inf: expected a positive time"),
        (("--first", "nan"), "first nan: expected a positive time"),
        (("--last", "inf"), "last inf: expected a positive time"),
        (("--last", -1), "last -1.0: expected a positive time"),
        (("--temperature", "nan"), "expected one positive number"),
        (("--charges", "Ag=nan,I=1", "--temperature", 300), "charge nan of Ag: expected a number"),
        (("--predict", -5), r"predict \[-5.0\]: expected positive temperatures"),
    ],
)
def test_mistakes_are_named(dump, tmp_path, capsys, options, message):
    assert command(tmp_path, dump, *BASIC, *options) is None
    error = capsys.readouterr().err
    assert error.startswith("pyuq diffusion: ") and error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()


def test_nothing_moves(tmp_path):
    positions, types = conductor(0, 60)
    path = write_dump(tmp_path / "frozen.dump", np.tile(positions[0], (60, 1, 1)), types)
    options = ("--species", "Ag", "--temperature", 300, "--charges", "Ag=1", "--collective")
    found = command(tmp_path, path, *BASIC, *options)["conditions"][0]
    assert "stays in its cage" in found["diffusivities"]["Ag"]["verdict"]
    assert not found["conductivity"]["resolved"] and found["conductivity"]["haven"] is None


def test_numbers_are_asked_for(dump, capsys):
    for option, text, message in (
        ("--charges", "Ag", "expected as in Ag=1"),
        ("--temperature", "hot", "expected numbers"),
    ):
        with pytest.raises(SystemExit):
            main(["diffusion", str(dump), "--timestep", "1", option, text])
        assert message in capsys.readouterr().err


def test_bad_files_are_named(dump, tmp_path, capsys):
    positions, types = conductor(3)
    hops = np.mod(positions + np.random.default_rng(0).uniform(0, 4, positions.shape), EDGE)
    for path, message in [
        (tmp_path / "none.dump", "no file"),
        (write_dump(tmp_path / "far.dump", hops, types, "x y z"), "without image flags"),
        (write_dump(tmp_path / "nan.dump", positions * np.nan, types), "did the run blow up"),
    ]:
        assert command(tmp_path, path, *BASIC) is None
        assert message in capsys.readouterr().err
    dump.write_text(dump.read_text()[:-100])
    assert command(tmp_path, dump, *BASIC) is None
    assert "cut short" in capsys.readouterr().err
    assert command(tmp_path, dump, *BASIC, "--partial") is not None


def test_run_that_is_not_equilibrated(tmp_path):
    positions, types = conductor(4, 800)
    slow, _ = conductor(5, 800, d=0.05)
    joined = np.concatenate([slow, slow[-1] + positions - positions[0]])
    path = write_dump(tmp_path / "drift.dump", joined, types)
    found = command(tmp_path, path, *BASIC, "--species", "Ag", "--blocks", 4)
    assert not found["trajectories"][0]["blocks"]["Ag"]["agree"]
    assert "not equilibrated" in (tmp_path / "out" / "report.md").read_text()
    steady = write_dump(tmp_path / "steady.dump", positions, types)
    found = command(tmp_path, steady, *BASIC, "--species", "Ag", "--blocks", 4)
    assert found["trajectories"][0]["blocks"]["Ag"]["agree"]


def test_replicas_of_different_cells_are_refused(tmp_path, capsys):
    paths = [write_dump(tmp_path / f"{n}.dump", *conductor(n, 100, n_mobile=n)) for n in (6, 12)]
    assert command(tmp_path, *paths, *BASIC, "--species", "Ag") is None
    assert "replicas of one cell" in capsys.readouterr().err
    assert command(tmp_path, *paths, *BASIC, "--species", "Ag", "--temperature", "300,400")


def test_ids_of_a_group():
    assert parse_ids("a=1-3,7") == ("a", [1, 2, 3, 7])
    for text in ("a", "=1", "a=", "a=3-1", "a=x"):
        with pytest.raises(ValueError, match="expected a name"):
            parse_ids(text)


def test_tensor_is_reported(dump, tmp_path):
    summary = run_diffusion(
        [dump], TIMESTEP, tmp_path / "out", elements=("Ag", "I"), species=["Ag"], tensor=True
    )
    assert summary.runs[0].diffusivities["Ag"].tensor.shape == (3, 3)
    assert "Tensors" in (tmp_path / "out" / "report.md").read_text()


def test_what_a_killed_run_left_half_written_goes(dump, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".report.md.4711.tmp").write_text("half")
    (out / ".notes.tmp").write_text("not ours")
    assert command(tmp_path, dump, *BASIC, "--species", "Ag") is not None
    assert [p.name for p in out.glob(".*")] == [".notes.tmp"]


def test_two_runs_do_not_write_into_one_folder(dump, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    held = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert command(tmp_path, dump, *BASIC, "--species", "Ag") is None
    finally:
        os.close(held)
    assert "another process writes its results into" in capsys.readouterr().err
    assert command(tmp_path, dump, *BASIC, "--species", "Ag") is not None


def test_what_was_mended_is_said(tmp_path, capsys):
    positions, types = conductor(0)
    positions = 0.3 * positions
    positions[200:] += EDGE * np.random.default_rng(0).integers(-1, 2, positions.shape[1:])
    path = write_dump(tmp_path / "run.dump", positions, types)
    found = command(tmp_path, path, *BASIC, "--species", "Ag")
    silver = found["conditions"][0]["diffusivities"]["Ag"]
    assert abs(silver["diffusivity"] - 0.09 * 0.5) < 4 * silver["error"]
    assert "step 4000: " in found["trajectories"][0]["remarks"][0]
    for text in (capsys.readouterr().out, (tmp_path / "out" / "report.md").read_text()):
        assert "note, run.dump: step 4000: 20 atoms jumped by whole cells in one frame" in text


def test_times_in_the_file_need_no_time_step(dump, tmp_path, capsys):
    given = command(tmp_path, dump, *BASIC, "--species", "Ag")
    options = ("--elements", "Ag,I", "--species", "Ag")
    assert command(tmp_path, dump, *options) is None
    assert "the file has no times: give the time step" in capsys.readouterr().err
    text = re.sub(
        r"TIMESTEP\n(\d+)",
        lambda m: f"TIMESTEP\n{m[1]}\nITEM: TIME\n{TIMESTEP * int(m[1])}",
        dump.read_text(),
    )
    dump.write_text(text)
    told = command(tmp_path, dump, *options)
    for found in (given, told):
        del found["pyuq"]
    assert told["conditions"][0]["diffusivities"]["Ag"]["diffusivity"] == pytest.approx(
        given["conditions"][0]["diffusivities"]["Ag"]["diffusivity"]
    )
