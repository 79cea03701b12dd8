# SPDX-License-Identifier: GPL-2.0-or-later
"""Adaptive τ, conservation, continuation and restart."""

import numpy as np
import pytest
from crystal import atoms, forces, held, positions, run, set_positions

THERMO = (
    "thermo 1\nthermo_style custom step etotal pe f_h f_h[*]\nthermo_modify format float %.16g\n"
)


def assert_same_positions(a, b, edge: float = 8.1) -> None:
    """Positions of two instances agree, up to periodic images."""
    shift = positions(a) - positions(b)
    np.testing.assert_allclose(shift - edge * np.round(shift / edge), 0.0, atol=1e-9)


def history(lmp, steps: int) -> dict[str, np.ndarray]:
    """Thermo values of `steps` single steps."""
    rows = []
    for _ in range(steps):
        lmp.command("run 1 pre no post no")
        rows.append(lmp.last_thermo())
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.parametrize("mode", ["global", "local"])
def test_energy_conservation(model, mode):
    """At fixed τ the biased Hamiltonian is conserved; the error falls as the square of the time step."""
    errors = []
    for dt, steps in ((0.001, 100), (0.0005, 200)):
        lmp = run(
            held(model, rattle=0.05)
            + f"fix h all uq/hal tau 2.0 mode {mode}\nfix n all nve\ntimestep {dt}\n{THERMO}run 0 post no"
        )
        series = history(lmp, steps)
        assert np.ptp(series["f_h"]) > 1e-3  # the bias energy moves
        errors.append(np.abs(series["TotEng"] - series["TotEng"][0]).max())
    assert errors[0] < 0.06
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize(("every", "mode"), [(1, "global"), (5, "global"), (4, "local")])
def test_tau_series(potential, every, mode):
    """τ from an independent replica: exponential averages of the unbiased mean force norms, zero burn-in."""
    window, tau_rel, steps = 20, 0.4, 45
    lmp = run(
        atoms(potential)
        + f"fix h all uq/hal tau_rel {tau_rel} window {window} every {every} mode {mode}\nfix n all nve\n"
        + f"compute u all uq\n{THERMO}thermo_style custom step f_h[*] c_u[*]\nrun 0 post no"
    )
    series = history(lmp, steps)
    mean, sigma = series["c_u[4]"], series["c_u[5]"]
    average = None
    expected, mean_average, sigma_average = [], [], []
    for n in range(steps):
        step = n + 1
        before = average
        if step % every == 0:
            sample = np.array([mean[n], sigma[n]])
            average = sample if average is None else average + (every / window) * (sample - average)
        expected.append(
            0.0 if step <= window or before is None else tau_rel * before[0] / before[1]
        )
        mean_average.append(0.0 if average is None else average[0])
        sigma_average.append(0.0 if average is None else average[1])
    np.testing.assert_allclose(
        series["f_h[3]"], mean_average if mode == "global" else series["f_h[3]"], rtol=1e-10
    )
    if mode == "global":  # compute uq speaks of σ_E, the local mode of Σσ_i
        np.testing.assert_allclose(series["f_h[4]"], sigma_average, rtol=1e-10)
        np.testing.assert_allclose(series["f_h[1]"], expected, rtol=1e-10)
    assert np.all(series["f_h[1]"][:window] == 0.0)
    assert np.all(series["f_h[1]"][window:] > 0.0)


def test_cap_and_bound(potential):
    """τ never passes `cap`; `bound` limits max_i |τ F_σ,i| / (|F̄_i| + ε)."""
    base = atoms(potential) + "fix n all nve\n"
    capped = run(base + "fix h all uq/hal tau_rel 5 window 5 every 1 cap 0.7\nrun 20 post no")
    assert capped.extract_fix("h", 0, 1, 0) == 0.7
    lmp = run(base + "fix h all uq/hal tau 50 every 1 bound 0.3\n" + THERMO + "run 0 post no")
    series = history(lmp, 10)
    used, seen = series["f_h[1]"][1:], series["f_h[5]"][:-1]
    np.testing.assert_allclose(used * seen, 0.3, rtol=1e-10)


@pytest.mark.parametrize("mode", ["global", "local"])
@pytest.mark.parametrize("setup", ["run 0", "minimize 0 0 0 0"])
def test_bound_holds_from_the_first_forces_on(potential, mode, setup):
    """A fixed τ that is bound at set-up is that τ: the same energy, forces and virial."""
    base = held(potential, tilt=(0.5, 0.3, -0.4)) + "thermo_style custom pe press\n"
    lmp = run(f"{base}fix h all uq/hal tau 50 mode {mode} bound 0.3\n{setup}")
    tau, relative = (lmp.extract_fix("h", 0, 1, n) for n in (0, 4))
    assert tau * relative == pytest.approx(0.3, rel=1e-10)
    same = run(f"{base}fix h all uq/hal tau {tau:.17g} mode {mode}\n{setup}")
    np.testing.assert_allclose(forces(lmp), forces(same), rtol=0, atol=1e-10)
    for key in ("pe", "press"):
        assert lmp.get_thermo(key) == pytest.approx(same.get_thermo(key), rel=1e-10)


@pytest.mark.parametrize("mode", ["global", "local"])
def test_floor_lowers(model, mode):
    """S = √(σ² + f²) - f of σ_E, or of each σ_i: bias energy, its share of the energy, and the energy of atoms."""
    sigma = run(
        atoms(model, tilt=(0.5, 0.3, -0.4))
        + f"fix h all uq/hal tau 0 mode {mode}\ncompute s all uq/atom energy\nrun 0"
    )
    values = sigma.extract_fix("h", 0, 1, 1)
    if mode == "local":
        values = np.array(sigma.gather("c_s", 1, 1))
    floor = np.mean(values)
    lowered = np.sum(np.sqrt(values**2 + floor**2) - floor)
    script = atoms(model, tilt=(0.5, 0.3, -0.4)) + "compute e all pe/atom\n"
    script += f"fix h all uq/hal tau 2 mode {mode} floor {floor:.17g}\n"
    script += "compute total all reduce sum c_e\nthermo_style custom step pe c_total f_h\n"
    lmp = run(script + "run 0")
    assert lmp.extract_fix("h", 0, 0) == pytest.approx(-2 * lowered, rel=1e-10)
    expected = sigma.get_thermo("pe") - 2 * lowered
    thermo = lmp.last_thermo()
    assert thermo["PotEng"] == pytest.approx(expected, rel=1e-10)
    assert thermo["c_total"] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("mode", ["global", "local"])
@pytest.mark.parametrize(("every", "go"), [(1, "run 0"), (1000, "run 1")], ids=["apart", "merged"])
def test_force_is_smooth_at_the_floor(potential, mode, every, go):
    """On a line through σ = floor the force is the gradient of the energy printed, and jumps nowhere."""
    script = held(potential, rattle=0.1) + "thermo_style custom step pe\n"
    script += "compute s all uq/atom energy\n"
    start = run(script + f"fix h all uq/hal tau 0 mode {mode}\nrun 0")
    sigma = start.extract_fix("h", 0, 1, 1)
    if mode == "local":
        sigma = np.array(start.gather("c_s", 1, 1))[0]
    lmp = run(
        script + f"fix h all uq/hal tau 5 mode {mode} every {every} floor {sigma:.17g}\nrun 0"
    )
    x, h = positions(lmp), 1e-4
    direction = np.random.default_rng(3).normal(size=x.shape)
    direction /= np.linalg.norm(direction)
    energies, along = [], []
    for n in range(-4, 5):  # σ passes the floor at n = 0
        set_positions(lmp, x + n * h * direction)
        lmp.command(f"{go} post no")
        energies.append(lmp.get_thermo("pe"))
        along.append(np.sum(forces(lmp) * direction))
    along = np.array(along)
    energies = np.array(energies)
    slopes = -(energies[2:] - energies[:-2]) / (2 * h)
    np.testing.assert_allclose(along[1:-1], slopes, atol=2e-6)
    steps = np.diff(along)
    assert np.ptp(steps) < 0.1 * np.abs(steps).max() + 1e-6


@pytest.mark.parametrize("mode", ["global", "local"])
def test_perfect_lattice_has_no_tau(model, mode):
    """Mean forces of a perfect lattice are rounding, and so would be their ratio."""
    still = (
        atoms(model, rattle=0.0) + "set group all type 1\nvelocity all set 0 0 0\nfix n all nve\n"
    )
    lmp = run(still + f"fix h all uq/hal tau_rel 0.5 window 2 every 1 mode {mode}\nrun 8 post no")
    assert np.abs(forces(lmp)).max() < 1e-10
    assert lmp.extract_fix("h", 0, 1, 0) == 0.0
    lmp.command("displace_atoms all random 0.05 0.05 0.05 3")
    lmp.command("run 8 post no")
    assert lmp.extract_fix("h", 0, 1, 0) > 0.0


def test_runs_continue(potential):
    """`run` after `run` equals one run, with τ's averages carried over."""
    script = (
        atoms(potential)
        + "fix h all uq/hal tau_rel 0.5 window 10 every 3\nfix n all nve\n"
        + THERMO
    )
    whole = run(script + "run 40 post no")
    parts = run(script + "run 13 post no\nrun 14 post no\nrun 13 post no")
    assert parts.extract_fix("h", 0, 1, 0) == pytest.approx(
        whole.extract_fix("h", 0, 1, 0), rel=1e-9
    )
    assert_same_positions(parts, whole)


@pytest.mark.parametrize(
    "bias",
    ["tau_rel 0.5 window 10 every 3", "tau 2.0 every 1 bound 0.4", "tau 1.0 mode local every 1"],
)
def test_restart(model, bias, tmp_path):
    """A run continued from a restart file follows the uninterrupted one."""
    fixes = f"fix h all uq/hal {bias}\nfix n all nve\n{THERMO}"
    whole = run(
        atoms(model) + fixes + f"run 20 post no\nwrite_restart {tmp_path}/r\nrun 20 post no"
    )
    again = run(
        f"read_restart {tmp_path}/r\npair_style uq\npair_coeff * * {model} Al Si\n{fixes}run 20 post no"
    )
    for n in range(7):
        assert again.extract_fix("h", 0, 1, n) == pytest.approx(
            whole.extract_fix("h", 0, 1, n), rel=1e-8
        )
    assert_same_positions(again, whole)


def test_minimize(potential):
    """A minimisation goes down on E - τσ and leaves τ and its averages alone."""
    script = (
        atoms(potential)
        + "fix h all uq/hal tau_rel 0.5 window 10 every 1\nfix n all nve\n"
        + THERMO
    )
    lmp = run(script + "run 30 post no")
    before = [lmp.extract_fix("h", 0, 1, n) for n in (0, 2, 3)]
    start = lmp.get_thermo("pe")
    lmp.command("minimize 0 1e-4 50 200")
    assert [lmp.extract_fix("h", 0, 1, n) for n in (0, 2, 3)] == before
    assert lmp.get_thermo("pe") < start - 1e-3
