# SPDX-License-Identifier: GPL-2.0-or-later
"""fix uq/rom: the dynamics stays in the span, conserves energy, and does not know about ranks."""

import os

import numpy as np
import pytest
from crystal import forces, mpirun, run, set_positions
from rom import crystal, random_basis, start, system, write_basis
from test_parallel import thermo

from pyuq.srom.basis import Basis
from pyuq.srom.system import System

NVE = "fix n all nve\n"


def trajectory(commands: str, steps: int, every: int = 10) -> np.ndarray:
    """Unwrapped positions every few steps, (frames, N, 3)."""
    instance = start(commands)
    frames = []
    for _ in range(steps // every):
        instance.command(f"run {every} pre no post no")
        frames.append(system(instance)[2])
    return np.array(frames)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def reference():
    """An instance of the crystal at rest in x⁰."""
    return start(crystal())


def test_full_rank_is_full_dynamics(reference, rng, tmp_path):
    masses = system(reference)[1]
    w = random_basis(masses, 3 * len(masses), rng, zero_momentum=False)
    fix = f"fix r all uq/rom file {write_basis(tmp_path / 'full.rom', reference, w)}\n"
    full = trajectory(crystal() + NVE, 300)
    reduced = trajectory(crystal() + NVE + fix, 300)
    np.testing.assert_allclose(reduced, full, atol=1e-9)


def test_full_rank_keeps_the_temperature(reference, rng, tmp_path):
    """All 3 N columns, or the 3 N - 3 of zero momentum: the degrees of freedom are LAMMPS's own."""
    masses = system(reference)[1]
    for n, zero in ((3 * len(masses), False), (3 * len(masses) - 3, True)):
        w = random_basis(masses, n, rng, zero_momentum=zero)
        path = write_basis(tmp_path / "full.rom", reference, w)
        instance = start(crystal() + f"fix r all uq/rom file {path}\n")
        assert instance.last_thermo()["Temp"] == pytest.approx(600, rel=1e-9)


@pytest.mark.parametrize("n", [1, 7, 40])
def test_stays_in_span_and_conserves_energy(reference, rng, tmp_path, n):
    _, masses, x0, _ = system(reference)
    w = random_basis(masses, n, rng)
    path = write_basis(tmp_path / "a.rom", reference, w)
    errors = []
    for dt in (0.002, 0.001):
        commands = f"timestep {dt}\nfix r all uq/rom file {path}\n"
        instance = start(crystal() + NVE + commands)
        energies = [instance.get_thermo("etotal")]
        for _ in range(round(1.0 / dt) // 10):
            instance.command("run 10 pre no post no")
            energies.append(instance.get_thermo("etotal"))
        errors.append(np.abs(np.array(energies) - energies[0]).max())
    assert errors[1] < 0.35 * errors[0]
    root = np.repeat(np.sqrt(masses), 3)
    u = root * (system(instance)[2] - x0).ravel()
    assert np.abs(u - w @ (w.T @ u)).max() < 1e-11 * np.abs(u).max() + 1e-12
    kinetic = instance.get_thermo("ke")
    assert instance.extract_fix("r", 0, 0) < 1e-11
    y = [instance.extract_fix("r", 0, 1, 3 + k) for k in range(n)]
    np.testing.assert_allclose(y, w.T @ u, atol=1e-10)
    assert instance.extract_fix("r", 0, 1, 2) == pytest.approx(kinetic, rel=1e-10)
    assert instance.extract_fix("r", 0, 1, 0) == pytest.approx(
        instance.get_thermo("temp"), rel=1e-9
    )


def test_force_is_the_galerkin_force(reference, rng, tmp_path):
    """-∂V/∂y by finite differences, and the residual fraction by its definition."""
    _, masses, x0, _ = system(reference)
    w = random_basis(masses, 5, rng)
    path = write_basis(tmp_path / "a.rom", reference, w)
    root = np.repeat(np.sqrt(masses), 3)
    y = rng.normal(size=5)
    bare = start(crystal())

    def place(instance, y):
        set_positions(instance, x0 + (w @ y / root).reshape(-1, 3))
        instance.command("run 0 post no")

    def energy(y):
        place(bare, y)
        return bare.get_thermo("pe")

    reduced = start(crystal() + f"fix r all uq/rom file {path}\n")
    place(reduced, y)
    modal = w.T @ (forces(reduced).ravel() / root)
    h = 1e-4
    expected = [-(energy(y + h * e) - energy(y - h * e)) / (2 * h) for e in np.eye(5)]
    np.testing.assert_allclose(modal, expected, atol=1e-7)

    place(bare, y)
    weighted = forces(bare).ravel() / root
    residual = np.linalg.norm(weighted - w @ (w.T @ weighted)) / np.linalg.norm(weighted)
    assert reduced.extract_fix("r", 0, 1, 1) == pytest.approx(residual, rel=1e-10)


def test_harmonic_modes(tmp_path):
    """Exact modes of a crystal oscillate as a cos ωt with Verlet's ω."""
    cold = start(crystal(extra="velocity all set 0 0 0").replace("create 600 4", "set 0 0 0"))
    _, masses, x0, _ = system(cold)
    root = np.repeat(np.sqrt(masses), 3)
    size, h = len(root), 1e-4
    hessian = np.empty((size, size))
    for k in range(size):
        sides = []
        for sign in (1, -1):
            x = x0.copy()
            x.flat[k] += sign * h
            set_positions(cold, x)
            cold.command("run 0 post no")
            sides.append(forces(cold).ravel())
        hessian[k] = (sides[1] - sides[0]) / (2 * h)
    set_positions(cold, x0)
    dynamical = hessian / np.outer(root, root)
    squares, modes = np.linalg.eigh(0.5 * (dynamical + dynamical.T))
    w = modes[:, [3, 40, size - 1]]
    omega = np.sqrt(squares[[3, 40, size - 1]] * 9648.533)  # eV/(Å² g/mol) in 1/ps²

    path = write_basis(tmp_path / "modes.rom", cold, w)
    dt, amplitude, steps = 0.002, 1e-3, 400
    instance = start(crystal().replace("create 600 4", "set 0 0 0") + f"timestep {dt}\n")
    set_positions(instance, x0 + (w @ np.full(3, amplitude) / root).reshape(-1, 3))
    instance.commands_string(NVE + f"fix r all uq/rom file {path}\nrun {steps}")
    y = [instance.extract_fix("r", 0, 1, 3 + k) for k in range(3)]
    verlet = 2 / dt * np.arcsin(omega * dt / 2)
    np.testing.assert_allclose(y, amplitude * np.cos(verlet * dt * steps), atol=2e-3 * amplitude)


def test_rotated_basis_gives_the_same_trajectory(reference, rng, tmp_path):
    masses = system(reference)[1]
    w = random_basis(masses, 8, rng)
    r = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    runs = [
        trajectory(crystal() + NVE + f"fix r all uq/rom file {path}\n", 200)
        for path in (
            write_basis(tmp_path / "a.rom", reference, w),
            write_basis(tmp_path / "b.rom", reference, w @ r),
        )
    ]
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-9)


def test_plain_displacements_give_the_same_span(reference, rng, tmp_path):
    """Unweighted columns M^(-1/2) W, orthonormalised, span the same displacements."""
    masses = system(reference)[1]
    w = random_basis(masses, 6, rng)
    plain = np.linalg.qr(w / np.repeat(np.sqrt(masses), 3)[:, None])[0]
    runs = [
        trajectory(crystal() + NVE + f"fix r all uq/rom file {path}\n", 200)
        for path in (
            write_basis(tmp_path / "a.rom", reference, w),
            write_basis(tmp_path / "b.rom", reference, plain, weighting="none"),
        )
    ]
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-9)


def test_first_modes(reference, rng, tmp_path):
    masses = system(reference)[1]
    w = random_basis(masses, 9, rng)
    all_nine = write_basis(tmp_path / "a.rom", reference, w)
    four = write_basis(tmp_path / "b.rom", reference, np.ascontiguousarray(w[:, :4]))
    a = trajectory(crystal() + NVE + f"fix r all uq/rom file {all_nine} modes 4\n", 100)
    b = trajectory(crystal() + NVE + f"fix r all uq/rom file {four}\n", 100)
    np.testing.assert_array_equal(a, b)


def test_free_atoms_move_freely(reference, rng, tmp_path):
    """Atoms marked free follow their own forces; the others have no modes here and stand still."""
    _, masses, x0, _ = system(reference)
    free = np.arange(len(masses)) % 3 == 0
    w = random_basis(masses, 2, rng, zero_momentum=False, free=free)
    path = write_basis(tmp_path / "a.rom", reference, w, free=free)
    instance = start(crystal() + NVE + f"fix r all uq/rom file {path}\n")
    n_free = 3 * free.sum()
    dof = 2 * instance.get_thermo("ke") / (8.617343e-5 * instance.get_thermo("temp"))
    assert dof == pytest.approx(n_free + 2, rel=1e-6)
    v = np.array(instance.gather_atoms("v", 1, 3)).reshape(-1, 3)
    bare = start(crystal())
    everywhere = np.array(bare.gather_atoms("v", 1, 3)).reshape(-1, 3)
    np.testing.assert_array_equal(v[free], everywhere[free])
    np.testing.assert_array_equal(forces(instance)[free], forces(bare)[free])
    instance.command("run 200 post no")
    root = np.sqrt(masses)[:, None]
    u = (root * (system(instance)[2] - x0))[~free].ravel()
    inside = w.reshape(-1, 3, 2)[~free].reshape(-1, 2)
    np.testing.assert_allclose(u, inside @ (inside.T @ u), atol=1e-11)


@pytest.mark.parametrize("thermostat", ["langevin", "nvt"])
def test_thermostats_reach_their_temperature(reference, rng, tmp_path, thermostat):
    """Mean kinetic energy n kT / 2, within five standard errors."""
    masses = system(reference)[1]
    path = write_basis(tmp_path / "a.rom", reference, random_basis(masses, 24, rng))
    fixes = {
        "langevin": NVE + "fix t all langevin 400 400 0.05 71\n",
        "nvt": "fix t all nvt temp 400 400 0.1\n",
    }[thermostat]
    instance = start(crystal() + fixes + f"fix r all uq/rom file {path}\n")
    instance.command("run 2000 post no")
    series = []
    for _ in range(400):
        instance.command("run 20 pre no post no")
        series.append(instance.extract_fix("r", 0, 1, 0))
    blocks = np.array(series).reshape(20, 20).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert abs(blocks.mean() - 400) < 5 * error + 1.0
    assert error < 25


CELLS = {
    "crystal": dict(size=(3, 2, 2)),
    "triclinic": dict(size=(3, 3, 2), extra="change_box all triclinic xy final 1.3 remap"),
    "empty subdomains": dict(size=(2, 2, 2), extra="change_box all x delta 0 30 units box"),
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_ranks_agree(rng, tmp_path, cell):
    """The same modal coordinates on 1, 2 and 4 ranks, while atoms change ranks."""
    instance = start(crystal(**cell) + "displace_atoms all random 0.1 0.1 0.1 7\n")
    instance.command(f"write_data {tmp_path}/crystal.data nocoeff")
    path = write_basis(tmp_path / "a.rom", instance, random_basis(system(instance)[1], 6, rng))
    commands = (
        crystal(data=tmp_path / "crystal.data")
        + "velocity all create 600 4 loop geom\nfix shift all nve\n"
        + f"fix r all uq/rom file {path}\nthermo 20\n"
        + "thermo_style custom step temp etotal f_r[*]\nthermo_modify format float %.16g\n"
        + "neigh_modify every 1 delay 0\nrun 100\n"
    )
    results = []
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        results.append(thermo(mpirun(ranks, commands, folder)))
    for values in results[1:]:
        np.testing.assert_allclose(values, results[0], rtol=1e-8, atol=1e-9)


def test_rows_migrate_with_atoms(rng, tmp_path):
    """A rigid drift of two cell lengths carries every atom through every rank."""
    instance = start(crystal())
    instance.command(f"write_data {tmp_path}/crystal.data nocoeff")
    _, masses, _, _ = system(instance)
    root = np.sqrt(masses)
    drift = np.zeros((3 * len(masses), 1))
    drift[::3, 0] = root / np.linalg.norm(root)
    path = write_basis(tmp_path / "drift.rom", instance, drift)
    commands = (
        crystal(data=tmp_path / "crystal.data")
        + f"velocity all set 24.3 5 0\n{NVE}fix r all uq/rom file {path}\n"
        + "compute d all displace/atom\ncompute m all reduce max c_d[1]\n"
        + "compute w all reduce min c_d[1]\ncompute y all reduce max c_d[2]\n"
        + "thermo_style custom step c_m c_w c_y f_r f_r[4]\nthermo 1000\n"
        + "thermo_modify format float %.16g\nrun 1000\n"
    )
    folder = tmp_path / "4"
    folder.mkdir()
    largest, smallest, sideways, off, y = thermo(mpirun(4, commands, folder))[-1]
    assert largest == pytest.approx(24.3, abs=1e-8)
    assert smallest == pytest.approx(24.3, abs=1e-8)
    assert sideways == pytest.approx(0, abs=1e-8)
    assert off < 1e-8
    assert y == pytest.approx(24.3 * np.sqrt(masses.sum()), rel=1e-9)


def test_restart_continues(reference, rng, tmp_path):
    masses = system(reference)[1]
    path = write_basis(tmp_path / "a.rom", reference, random_basis(masses, 6, rng))
    fixes = NVE + f"fix r all uq/rom file {path}\n"
    first = start(crystal() + fixes)
    first.commands_string("run 60 post no\nwrite_restart half\nrun 60 post no")
    second = run(
        "units metal\natom_modify map yes\nread_restart half\n"
        + "pair_style lj/gromacs 3.0 3.9\npair_coeff * * 0.25 2.55\n"
        + "neighbor 0.5 bin\n"
        + fixes
        + "run 60 post no"
    )
    np.testing.assert_allclose(system(second)[2], system(first)[2], atol=1e-9)
    for k in range(15):
        a, b = (i.extract_fix("r", 0, 1, k) for i in (first, second))
        assert a == pytest.approx(b, rel=1e-8, abs=1e-9)

    other = write_basis(tmp_path / "b.rom", reference, random_basis(masses, 6, rng))
    with pytest.raises(Exception, match="another basis"):
        run(
            "units metal\natom_modify map yes\nread_restart half\n"
            + f"fix r all uq/rom file {other}\n"
        )


def test_reference_in_another_image(reference, rng, tmp_path):
    """x⁰ written with other periodic images is the same x⁰."""
    _, masses, x0, cell = system(reference)
    w = random_basis(masses, 4, rng)
    shifted = x0 + rng.integers(-2, 3, size=x0.shape) @ cell
    path = write_basis(tmp_path / "a.rom", reference, w, reference=shifted)
    instance = start(crystal() + NVE + f"fix r all uq/rom file {path}\n")
    instance.command("run 20 post no")
    assert instance.extract_fix("r", 0, 0) < 1e-10


REFUSED = {
    "fewer atoms": (dict(extra="delete_atoms random count 1 yes all NULL 5"), "", "48 atoms"),
    "other mass": (dict(extra="mass 2 64"), "", "has mass 64"),
    "other cell": (dict(extra="change_box all x scale 1.01 remap"), "", "one cell"),
    "npt": ({}, "fix n all npt temp 300 300 0.1 iso 0 0 1", "one cell"),
    "order": ({}, "fix a all setforce 0 0 0", "last fix"),
    "minimize": ({}, "minimize 0 0 1 1", "minimize"),
    "respa": ({}, "run_style respa 2 2 pair 1", "respa"),
    "modes": ({}, "MODES 7", "holds 6 modes"),
    "unknown keyword": ({}, "MODES 2 rank 3", "unknown keyword rank"),
    "later atoms": ({}, "create_atoms 1 single 0.3 0.4 0.5", "created or lost"),
}


@pytest.mark.parametrize(("changed", "after", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(reference, rng, tmp_path, changed, after, message):
    path = write_basis(tmp_path / "a.rom", reference, random_basis(system(reference)[1], 6, rng))
    modes = ""
    if after.startswith("MODES"):
        modes, after = "modes" + after[5:], ""
    commands = crystal(**changed) + f"fix r all uq/rom file {path} {modes}\n{after}\nrun 0\n"
    with pytest.raises(Exception, match=message):
        run(commands)


BROKEN = {
    "not orthonormal": (dict(basis=np.ones((48, 3, 2))), "not orthonormal"),
    "other ids": (dict(ids=np.arange(2, 50)), "atom ids"),
    "twice": (dict(ids=np.ones(48, dtype=np.int64)), "occurs twice"),
    "other format": (dict(format="pyuq-srom"), "expected pyuq-basis"),
    "other units": (dict(units="real"), "expected metal"),
    "nan": (dict(masses=np.full(48, np.nan)), "masses"),
    "weighting": (dict(weighting="some"), "expected `mass` or `none`"),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files(reference, rng, tmp_path, changes, message):
    w = random_basis(system(reference)[1], 2, rng)
    path = write_basis(tmp_path / "a.rom", reference, w, **changes)
    with pytest.raises(Exception, match=message):
        run(crystal() + f"fix r all uq/rom file {path}\n")


def test_truncated_files(reference, rng, tmp_path):
    w = random_basis(system(reference)[1], 2, rng)
    content = write_basis(tmp_path / "a.rom", reference, w).read_bytes()
    broken = tmp_path / "broken.rom"
    for length in (0, 7, 100, len(content) - 1):
        broken.write_bytes(content[:length])
        with pytest.raises(Exception, match=r"broken\.rom"):
            run(crystal() + f"fix r all uq/rom file {broken}\n")


def test_a_folder_is_no_basis(tmp_path):
    with pytest.raises(Exception, match=rf"{tmp_path}: no such file"):
        run(crystal() + f"fix r all uq/rom file {tmp_path}\n")


def test_every_flipped_bit_is_refused_by_name(reference, rng, tmp_path):
    """In files of pyuq, which carry a checksum; what tests/io/test_checksums.py does to the others."""
    ids, masses, x, cell = system(reference)
    w = random_basis(masses, 2, rng)
    kept = System(ids, masses, x, cell, ("Al",) * len(ids))
    path = tmp_path / "sum.rom"
    Basis(kept, w).write(path)
    instance = run(crystal())
    instance.command(f"fix r all uq/rom file {path}")
    instance.command("unfix r")
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    accepted = []
    for k in range(int(os.environ.get("PYUQ_FLIPS", "60"))):
        at = int(rng.integers(header if k % 2 else len(content)))
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            instance.command(f"fix r all uq/rom file {path}")
            accepted.append(at)
            instance.command("unfix r")
        except Exception as error:
            assert path.name in str(error)
    assert not accepted
