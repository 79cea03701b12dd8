# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap moves and barostats act on the biased energy and stress."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from crystal import atoms, held, run

BOLTZMANN = 8.617333262e-5  # eV/K


def configurations(potential) -> tuple[list[tuple], np.ndarray, np.ndarray]:
    """Placements of two Al and two Si on the four sites of one cell, their mean energies and σ (eV)."""
    lmp = run(atoms(potential, size=(1, 1, 1), rattle=0.3) + "fix h all uq/hal tau 0\n")
    states, energies, sigmas = [], [], []
    for aluminium in combinations(range(1, 5), 2):
        states.append(tuple(1 if site in aluminium else 2 for site in range(1, 5)))
        for site, kind in enumerate(states[-1], start=1):
            lmp.command(f"set atom {site} type {kind}")
        lmp.command("run 0 post no")
        energies.append(lmp.get_thermo("pe"))
        sigmas.append(lmp.extract_fix("h", 0, 1, 1))
    return states, np.array(energies), np.array(sigmas)


def boltzmann(energies: np.ndarray, temperature: float) -> np.ndarray:
    """Weights of the configurations."""
    weights = np.exp(-(energies - energies.min()) / (BOLTZMANN * temperature))
    return weights / weights.sum()


def visited(potential, bias: str, states, temperature: float, steps: int) -> np.ndarray:
    """Frequencies of the configurations in a swap run with still atoms."""
    run(
        atoms(potential, size=(1, 1, 1), rattle=0.3)
        + "set group all type 1\nset atom 1*2 type 2\n"
        + bias
        + f"fix s all atom/swap 1 4 9871 {temperature} ke no types 1 2\n"
        + "dump d all custom 1 types type\ndump_modify d sort id\n"
        + f"thermo 100000\nrun {steps} post no"
    )
    frames = Path("types").read_text().split("ITEM: ATOMS type")[2:]  # the first frame is the start
    counts = Counter(tuple(int(x) for x in frame.split("ITEM")[0].split()) for frame in frames)
    assert sum(counts.values()) == steps
    return np.array([counts[s] for s in states]) / steps


@pytest.mark.parametrize(
    ("steps", "tolerance"),
    [(4000, 0.04), pytest.param(200_000, 0.006, marks=pytest.mark.validate)],
    ids=["short", "long"],
)
def test_swaps_sample_the_biased_distribution(potential, steps, tolerance):
    states, plain, sigmas = configurations(potential)
    tau = round(2 * np.std(plain) / np.std(sigmas), 3)
    biased = plain - tau * sigmas
    temperature = np.std(biased) / BOLTZMANN
    expected = boltzmann(biased, temperature)
    assert (
        np.abs(expected - boltzmann(plain, temperature)).max() > 3 * tolerance
    )  # the bias matters
    found = visited(potential, f"fix h all uq/hal tau {tau}\n", states, temperature, steps)
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_rejected_swaps_leave_tau_alone(potential):
    """At T → 0 every swap from the lowest configuration is rejected: the run equals one without swaps."""
    states, energies, _ = configurations(potential)
    lowest = states[energies.argmin()]
    script = atoms(potential, size=(1, 1, 1), rattle=0.3)
    script += "".join(f"set atom {n} type {t}\n" for n, t in enumerate(lowest, start=1))
    script += "fix h all uq/hal tau_rel 0.01 window 4 every 1\n"
    script += "thermo_style custom step pe f_h[*]\nthermo_modify format float %.16g\n"
    still = run(script + "run 12 post no").last_thermo()
    swaps = run(script + "fix s all atom/swap 1 3 9871 1e-3 ke no types 1 2\nrun 12 post no")
    attempted = swaps.extract_fix("s", 0, 1, 0)
    assert attempted >= 36
    assert swaps.extract_fix("s", 0, 1, 1) == 0  # none accepted
    for key, value in swaps.last_thermo().items():
        assert value == pytest.approx(still[key], rel=1e-10)


@pytest.mark.parametrize("mode", ["global", "local"])
def test_barostat_conserves(potential, mode):
    """Energy + reservoirs of `fix npt` are conserved only if the barostat feels the bias's virial."""
    drifts = []
    for dt, steps in ((0.001, 100), (0.0005, 200)):
        lmp = run(
            held(potential, rattle=0.05)
            + f"""fix h all uq/hal tau 2.0 mode {mode}
fix n all npt temp 600 600 0.1 aniso 0 0 0.3
timestep {dt}
thermo_style custom step econserve f_h vol
thermo_modify format float %.16g
thermo 10
run 0 post no"""
        )
        start, volume = lmp.get_thermo("econserve"), lmp.get_thermo("vol")
        worst = 0.0
        for _ in range(steps // 10):
            lmp.command("run 10 pre no post no")
            worst = max(worst, abs(lmp.get_thermo("econserve") - start))
        assert abs(lmp.get_thermo("vol") / volume - 1) > 1e-3  # the cell moves
        drifts.append(worst)
    assert drifts[1] < 0.35 * drifts[0]  # second order in the time step, nothing constant


def test_box_relaxation_finds_stationary_volume(potential):
    """`fix box/relax` ends where dE_HAL/dV + P = 0, by finite differences of the printed energy."""
    lmp = run(
        held(potential, rattle=0.0)
        + "fix h all uq/hal tau 2.0\nfix b all box/relax iso 5000 vmax 0.002\n"
        + "thermo_style custom step pe press vol f_h\nthermo_modify format float %.16g\n"
        + "minimize 0 1e-10 2000 8000\nunfix b"
    )
    lmp.command("run 0 post no")
    energies, volumes = [], []
    for scale in (0.999, 1.001):
        lmp.command(f"change_box all x scale {scale} y scale {scale} z scale {scale} remap")
        lmp.command("run 0 post no")
        energies.append(lmp.get_thermo("pe"))
        volumes.append(lmp.get_thermo("vol"))
        lmp.command(
            f"change_box all x scale {1 / scale:.16g} y scale {1 / scale:.16g} z scale {1 / scale:.16g} remap"
        )
    pressure = -np.diff(energies)[0] / np.diff(volumes)[0] * 1.6021765e6  # bar
    assert pressure == pytest.approx(5000, abs=100)


def test_bound_limits_the_virial_of_the_bias(potential):
    """In a cell that moves, τ max_ab |W_σ,ab| / (|W̄_ab| + N ε Å) stays below `bound`, too."""
    tensor = "compute w all pressure NULL virial\nthermo_style custom step vol c_w[*]\n"
    base = atoms(potential, tilt=(0.5, 0.3, -0.4), rattle=0.05) + "fix n all npt temp 600 600 0.1 "
    base += f"tri 0 0 1.0\n{tensor}"

    def virial(lmp) -> np.ndarray:
        values = [lmp.extract_compute("w", 0, 1)[n] for n in range(6)]
        return np.array(values) * lmp.get_thermo("vol") / 1.6021765e6

    mean = virial(run(base + "fix h all uq/hal tau 0\nrun 0"))
    sigma = virial(run(base + "fix h all uq/hal tau 1\nrun 0")) - mean
    relative = np.max(np.abs(sigma) / (np.abs(mean) + 32 * 0.2))
    lmp = run(base + "fix h all uq/hal tau 1e4 every 1 bound 0.01\nrun 0 post no")
    assert lmp.extract_fix("h", 0, 1, 7) == pytest.approx(relative, rel=1e-6)
    for _ in range(5):  # from the first forces on
        seen = max(lmp.extract_fix("h", 0, 1, n) for n in (4, 7))
        lmp.command("run 1 pre no post no")
        assert lmp.extract_fix("h", 0, 1, 0) * seen == pytest.approx(0.01, rel=1e-6)
    fixed = run(held(potential) + "fix h all uq/hal tau 1 bound 0.01\nfix n all nve\nrun 1")
    assert fixed.extract_fix("h", 0, 1, 7) == 0.0  # the cell cannot follow


@pytest.mark.parametrize("ensemble", ["npt temp 600 600 0.1 iso 0 0 0.1", "box/relax iso 0"])
def test_cell_that_runs_away_ends_the_run(potential, ensemble):
    """A bias without bound tears the cell open; the message says by how much, the frame is on disk."""
    script = held(potential, rattle=0.05) + f"fix n all {ensemble}\n"
    steps = "minimize 0 0 3000 9000" if "relax" in ensemble else "run 3000 post no"
    with pytest.raises(
        Exception, match=r"the cell has run away: its volume is .* a factor of 1\.2"
    ):
        run(script + f"fix h all uq/hal tau 300 volume 1.2\n{steps}")
    (frame,) = Path.cwd().glob("uq_volume.*.dump")
    edges = np.array([line.split() for line in frame.read_text().splitlines()[5:8]], dtype=float)
    volume = np.prod(np.diff(edges[:, :2], axis=1))
    assert volume > 1.2 * 8.1**3 or volume < 8.1**3 / 1.2


def test_volume_counts_from_the_first_run(potential, tmp_path):
    """Neither further runs nor a restart forget the volume of the start; walls that follow the atoms do not count."""
    script = held(potential) + "fix h all uq/hal tau 0 volume 1.5\nfix n all nve\nrun 1 post no\n"
    grow = "change_box all x scale 1.3 remap\nrun 1 post no\n"
    lmp = run(script + grow + f"write_restart {tmp_path}/r\n")
    with pytest.raises(Exception, match="the cell has run away"):
        lmp.commands_string(grow)
    again = held(potential)
    again = again[again.index("pair_style") : again.index("thermo_modify")]
    with pytest.raises(Exception, match="the cell has run away"):
        run(f"read_restart {tmp_path}/r\n{again}fix h all uq/hal tau 0 volume 1.5\n{grow}")
    cluster = (
        "change_box all boundary s s s\nfix h all uq/hal tau 0\nfix n all nve\nrun 1 post no\n"
    )
    run(held(potential) + cluster + "displace_atoms all ramp x 0 30 x 0 8.1\nrun 1 post no")


@pytest.mark.validate
def test_barostat_mean_pressure(potential):
    """The mean pressure of a long biased NPT run is the one asked for."""
    lmp = run(
        held(potential, rattle=0.05)
        + "fix h all uq/hal tau 1.0\nfix n all npt temp 300 300 0.05 iso 3000 3000 0.2\nrun 5000 post no\n"
        + "variable p equal press\nfix a all ave/time 5 1000 5000 v_p ave running\nrun 50000 post no"
    )
    assert lmp.extract_fix("a", 0, 0) == pytest.approx(3000, abs=500)
