# SPDX-License-Identifier: GPL-2.0-or-later
"""Time step, times in the file and velocities: three sources of one fact."""

import re

import dumps
import numpy as np
import pytest

from pyuq.diffusion import GreenKubo, SelfDiffusion, TrajectoryAnalysis

DT = 0.002  # ps
SPACING = 25 * DT


def times_of(n_frames, kind):
    """Times between frames 25 steps apart."""
    if kind == "even":
        gaps = np.full(n_frames - 1, SPACING)
    elif kind == "fix dt/reset":  # the step shrinks from 2.1 to 0.8 fs, as atoms get faster
        gaps = SPACING * np.linspace(1.05, 0.4, n_frames - 1)
    else:
        gaps = SPACING * np.where(np.arange(n_frames - 1) < n_frames // 2, 1.0, 0.25)
    return 48.0 + np.concatenate([[0.0], np.cumsum(gaps)])


@pytest.fixture
def timed(tmp_path):
    """Function kind → dump of D = 1.1 Å²/ps, 24 atoms, with ITEM: TIME."""

    def make(kind, n_frames=600, **options):
        times = times_of(n_frames, kind)
        positions = dumps.walk(1, n_frames, 24, 1.1, np.diff(times))
        steps = 12000 + 25 * np.arange(n_frames)
        return dumps.write(tmp_path / "t.dump", positions, steps=steps, times=times, **options)

    return make


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["fix dt/reset", "two stages"])
def test_times_of_the_file_are_used_where_the_step_changes(timed, kind, stream):
    """25 steps of 2 fs in place of the times made 0.50 out of 1.10."""
    path = timed(kind)
    found = TrajectoryAnalysis(DT, stream=stream, framework=["none"]).compute(path)
    d = found.diffusivities["1"]
    assert abs(d.value - 1.1) < 3 * d.error and d.error < 0.06
    assert any("the time step changes during the run" in r for r in found.remarks)
    assert found.n_frames * found.spacing == pytest.approx(np.ptp(times_of(600, kind)), rel=0.01)


@pytest.mark.parametrize("stride", [1, 300])
def test_even_times_leave_frames_as_they_are(timed, stride):
    path = timed("even", 600 if stride == 1 else 2400 * 3)
    with_times = TrajectoryAnalysis(stride=stride).compute(path)
    text = path.read_text()
    path.write_text(re.sub(r"ITEM: TIME\n.*\n", "", text))
    without = TrajectoryAnalysis(DT, stride=stride).compute(path)
    assert with_times.diffusivities["1"].value == pytest.approx(without.diffusivities["1"].value)
    assert with_times.n_frames == without.n_frames and not with_times.remarks


@pytest.mark.parametrize(
    ("kind", "timestep", "units"),
    [
        ("even", 0.001, "metal"),
        ("even", 0.0021, "metal"),
        ("even", 2.0, "real"),
        ("fix dt/reset", 2.0, "real"),
        ("fix dt/reset", 0.05, "metal"),
    ],
)
def test_a_time_step_that_contradicts_the_times_is_refused(timed, kind, timestep, units):
    with pytest.raises(
        ValueError, match=rf"t\.dump: timestep {timestep:g}, but the times in the file"
    ):
        TrajectoryAnalysis(timestep, units).compute(timed(kind))


def test_without_times_a_time_step_is_asked_for(tmp_path):
    path = dumps.write(tmp_path / "t.dump", dumps.walk(0, 60, 8, 1.0, 0.1))
    with pytest.raises(ValueError, match="the file has no times: give the time step"):
        TrajectoryAnalysis().compute(path)


def oscillators(every, dt=0.001, n_frames=300):
    """Positions and velocities of vibrating atoms that drift apart, frames `every` steps apart."""
    rng = np.random.default_rng(0)
    t = (every * dt * np.arange(n_frames))[:, None, None]
    phase, speed = rng.uniform(0, 2 * np.pi, (1, 10, 3)), rng.normal(0, 0.5, (1, 10, 3))
    omega = rng.uniform(20, 40, (1, 10, 3))  # 1/ps
    x = 0.2 * np.sin(omega * t + phase) + speed * t
    v = 0.2 * omega * np.cos(omega * t + phase) + speed
    return x + 6.0, v


@pytest.mark.parametrize("columns", ["vx vy vz", "vx vy vz with times"])
@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_velocities_tell_the_time_step(tmp_path, factor, columns):
    """A step ten times too large passed, and D ten times too small with it."""
    positions, velocities = oscillators(10)
    options = {"steps": range(0, 3000, 10)}
    if "times" in columns:
        options["times"] = factor * 0.001 * np.arange(0, 3000, 10)
    path = dumps.write(
        tmp_path / "t.dump", positions, None, "xu yu zu vx vy vz", velocities, edge=40, **options
    )
    analysis = TrajectoryAnalysis(None if "times" in columns else factor * 0.001)
    if factor == 1.0:
        assert analysis.compute(path).spacing == pytest.approx(0.01)
        return
    with pytest.raises(ValueError, match="as far as their velocities") as error:
        analysis.compute(path)
    told = float(re.search(r"fit together with (\d[\d.e-]*\d)", str(error.value))[1])
    assert told == pytest.approx(0.001, rel=0.1)


def test_velocities_in_another_unit_are_told(tmp_path):
    """Å/fs of units real, read as metal."""
    positions, velocities = oscillators(10)
    path = dumps.write(
        tmp_path / "t.dump", positions, None, "xu yu zu vx vy vz", velocities / 1000, edge=40
    )
    with pytest.raises(ValueError, match="of one run in the same units"):
        TrajectoryAnalysis(0.001).compute(path)
    assert TrajectoryAnalysis(1.0, "real").compute(path).spacing == pytest.approx(0.01)


def test_frames_too_far_apart_for_velocities_are_believed(tmp_path):
    positions, velocities = oscillators(200)
    path = dumps.write(
        tmp_path / "t.dump",
        positions,
        None,
        "xu yu zu vx vy vz",
        velocities,
        edge=40,
        steps=range(0, 60000, 200),
    )
    assert TrajectoryAnalysis(0.001).compute(path).spacing == pytest.approx(0.2)
    # but a step that is too short for the speeds is not
    with pytest.raises(ValueError, match="a step of at least"):
        TrajectoryAnalysis(1e-4).compute(path)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_times_must_be_positive(value):
    for settings in (SelfDiffusion, GreenKubo, TrajectoryAnalysis):
        with pytest.raises(ValueError, match=r"timestep .*: expected a positive time"):
            analysis = settings(value)
            analysis.compute("none.dump")
    with pytest.raises(ValueError, match=r"last .*: expected a positive time"):
        SelfDiffusion(1.0, last=value)
