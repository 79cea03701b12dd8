# SPDX-License-Identifier: GPL-2.0-or-later
"""Committees: drivers, the spread of forces and virial, its files."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from crystal import atoms, forces, mpirun, positions, posterior_file, pressure_tensor, run
from safetensors import safe_open
from safetensors.numpy import save_file
from test_parallel import from_file

NKTV2P = 1.6021765e6  # LAMMPS's eV/Å³ → bar in metal units
PRESSURE = "compute p all pressure NULL virial\nthermo_style custom pe c_p[*]\n"


@pytest.fixture(scope="module")
def committee(tmp_path_factory) -> list[Path]:
    """Three models; the first two have a posterior."""
    folder = tmp_path_factory.mktemp("committee")
    files = [posterior_file(folder, f"m{k}", seed=k + 1, spread=0.005) for k in range(3)]
    files[2].unlink()
    return [files[0], files[1], files[2].with_suffix(".yace")]


def coeff(files) -> str:
    """The pair_coeff of a committee."""
    return "pair_coeff * * " + " ".join(map(str, files)) + " Al Si"


def member_results(files, **options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies (K,), forces (K, n, 3) and virials (K, 6) of the members alone (eV, Å)."""
    energies, all_forces, virials = [], [], []
    for file in files:
        lmp = run(atoms(file, **options) + PRESSURE + "run 0 post no")
        energies.append(lmp.get_thermo("pe"))
        all_forces.append(forces(lmp))
        virials.append(pressure_tensor(lmp, "p") * lmp.get_thermo("vol") / NKTV2P)
    return np.array(energies), np.array(all_forces), np.array(virials)


def table(path: Path) -> np.ndarray:
    """Rows of model_devi.out."""
    return np.loadtxt(path, ndmin=2)


def test_columns(committee, tmp_path):
    """The definitions of DeePMD, from the members one by one."""
    run(atoms(None, coeff=coeff(committee)) + "fix d all uq/deviation 1 atomic\nrun 0 post no")
    header = (tmp_path / "model_devi.out").read_text().splitlines()[0].split()
    assert header[:4] == ["#", "step", "max_devi_v", "min_devi_v"]
    row = table(tmp_path / "model_devi.out")[0]
    _, f, w = member_results(committee)
    atomic = np.sqrt(f.var(axis=0).sum(axis=1))
    virial = w.std(axis=0)[[0, 1, 2, 3, 3, 4, 4, 5, 5]] / len(atomic)
    expected = [virial.max(), virial.min(), np.sqrt((virial**2).mean())]
    expected += [atomic.max(), atomic.min(), atomic.mean(), *atomic]
    np.testing.assert_allclose(row[1:], expected, rtol=3e-6)


def test_relative(committee, tmp_path):
    run(
        atoms(None, coeff=coeff(committee))
        + "fix d all uq/deviation 1 relative 0.3 relative_v 0.1 file rel.out\nrun 0 post no"
    )
    _, f, w = member_results(committee)
    atomic = np.sqrt(f.var(axis=0).sum(axis=1)) / (np.linalg.norm(f.mean(axis=0), axis=1) + 0.3)
    n = len(atomic)
    virial = w.std(axis=0) / n / (np.abs(w.mean(axis=0)) / n + 0.1)
    row = table(tmp_path / "rel.out")[0]
    np.testing.assert_allclose(row[[1, 2]], [virial.max(), virial.min()], rtol=3e-6)
    np.testing.assert_allclose(row[4:7], [atomic.max(), atomic.min(), atomic.mean()], rtol=3e-6)


def test_readout_samples_add(tmp_path):
    """Readout samples of two members, in full: every sample as a model of its own."""
    files, everything = [], []
    for name, seed in (("a", 1), ("b", 7)):
        file = posterior_file(tmp_path, name, seed=seed, samples=4)
        files.append(file)
        with safe_open(file, "np") as archive:
            tensors = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
            metadata = archive.metadata()
        samples = tensors.pop("samples")
        mean = tensors["mean"]
        for n, weights in enumerate([mean, *samples]):
            one = tmp_path / f"{name}{n}.uq"
            save_file(tensors | {"mean": weights, "samples": weights[None]}, one, metadata=metadata)
            everything.append(one)
    lmp = run(atoms(None, coeff=coeff(files)) + "fix d all uq/deviation 1 draws 1 1\nrun 0 post no")
    _, f, _ = member_results(everything)
    f = f.reshape(2, 5, -1, 3)
    means = f[:, 0]
    variance = means.var(axis=0) + ((f[:, 1:] - means[:, None]) ** 2).mean(axis=(0, 1))
    expected = np.sqrt(variance.sum(axis=1))
    tags = lmp.numpy.extract_atom("id")[: lmp.get_natoms()]
    found = lmp.numpy.extract_fix("d", 1, 1)[: lmp.get_natoms()]
    np.testing.assert_allclose(found, expected[tags - 1], rtol=1e-8)


def test_draws_of_a_covariance(potential, tmp_path):
    """Random draws: the energy's deviation tends to σ_E, and so does a single model's spread."""
    lmp = run(
        atoms(potential)
        + "compute u all uq\nfix d all uq/deviation 1 draws 400 3 file none\n"
        + "thermo_style custom pe c_u[1] f_d[7]\nrun 0 post no"
    )
    thermo = lmp.last_thermo()
    assert thermo["f_d[7]"] == pytest.approx(thermo["c_u[1]"], rel=0.15)
    assert not (tmp_path / "none").exists()


def test_a_model_without_spread(potential, tmp_path):
    """A table of zeros comes with a warning, unless its posterior takes part."""
    script = atoms(potential) + "fix d all uq/deviation 1{}\nrun 0 post no\nrun 1 post no"
    out = mpirun(1, script.format(""), tmp_path)
    assert out.count("one model has no spread, all deviations are 0") == 1
    assert np.all(table(tmp_path / "model_devi.out")[:, 1:] == 0.0)
    assert "no spread" not in mpirun(1, script.format(" draws 2 1"), tmp_path)


def test_driver_every(committee):
    """Forces of the driver; with `every`, global values stand still in between."""
    lmp = run(
        atoms(None, pair="uq driver 2 every 4", coeff=coeff(committee))
        + "compute u all uq\nfix n all nve\nthermo 1\nthermo_style custom step pe c_u[1]\nrun 0 post no"
    )
    _, f, _ = member_results(committee)
    np.testing.assert_allclose(forces(lmp), f[1], rtol=1e-10, atol=1e-12)
    lmp.command("thermo_modify format float %.16g")
    lmp.command('fix record all print 1 "$(step) $(c_u[1]:%.14g)" file series screen no title ""')
    lmp.command("run 9 post no")
    step, sigma = np.loadtxt("series", unpack=True)
    for start in (0, 4):
        group = sigma[(step >= start) & (step < start + 4)]
        assert np.ptp(group) == 0.0
    assert sigma[0] != sigma[4] != sigma[8]


def test_frames(committee, tmp_path):
    """Frames above a threshold: the driver's energy, forces and virial, in the order of the IDs."""
    script = atoms(None, pair="uq driver 2", coeff=coeff(committee), tilt=(1.0, 0.5, -0.7))
    probe = run(script + "fix d all uq/deviation 1\nrun 0 post no")
    worst = probe.extract_fix("d", 0, 1, 3)
    assert worst > 0.0
    silent = f"fix d all uq/deviation 1 threshold {1.01 * worst}\nrun 0 post no"
    run(script + silent)
    assert not (tmp_path / "active.xyz").exists()
    lmp = run(script + f"fix d all uq/deviation 1 threshold {0.99 * worst}\nrun 0 post no")
    frame = read(tmp_path / "active.xyz")
    energies, f, w = member_results(committee, tilt=(1.0, 0.5, -0.7))
    np.testing.assert_allclose(frame.arrays["uq_forces"], f[1], atol=1e-7)
    assert frame.info["uq_energy"] == pytest.approx(energies[1], abs=1e-6)
    assert frame.info["uq_uncertainty"] == pytest.approx(worst, rel=1e-5)
    virial = np.asarray(frame.info["uq_virial"]).reshape(3, 3)
    np.testing.assert_allclose(virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], w[1], atol=1e-6)
    shift = (
        frame.get_scaled_positions(wrap=False)
        - np.linalg.solve(frame.cell.array.T, positions(lmp).T).T
    )
    np.testing.assert_allclose(shift - np.round(shift), 0.0, atol=1e-7)
    assert frame.get_chemical_symbols().count("Si") == (lmp.gather_atoms("type", 0, 1)[:].count(2))


@pytest.mark.parametrize("relative", ["", "relative {}"])
def test_frames_in_other_units(committee, tmp_path, relative):
    """Frames are in eV and Å whatever the units of the run; relative deviations have none."""
    for units, kcal in (("metal", 1.0), ("real", 23.060549)):
        fix = f"fix d all uq/deviation 1 {relative.format(0.2 * kcal)} threshold 1e-9 frames {units}.xyz file none\n"
        run(atoms(None, coeff=coeff(committee), units=units) + fix + "run 0 post no")
    metal, real = (read(tmp_path / f"{units}.xyz") for units in ("metal", "real"))
    np.testing.assert_allclose(
        real.arrays["uq_uncertainty"], metal.arrays["uq_uncertainty"], rtol=1e-5
    )
    np.testing.assert_allclose(real.arrays["uq_forces"], metal.arrays["uq_forces"], atol=1e-6)
    assert real.info["uq_uncertainty"] == pytest.approx(metal.info["uq_uncertainty"], rel=1e-5)


@pytest.mark.parametrize(
    "cell",
    [
        dict(size=(3, 3, 2), tilt=(1.3, -0.8, 0.9)),
        dict(size=(2, 2, 2), extra="change_box all x delta 0 30 units box"),
    ],
    ids=["triclinic", "empty subdomains"],
)
def test_ranks_agree(committee, tmp_path, cell):
    commands = from_file(committee[0], tmp_path, **cell).replace(
        f"pair_coeff * * {committee[0]} Al Si", coeff(committee)
    )
    commands += "fix n all nve\nfix d all uq/deviation 2 atomic draws 3 5 threshold 1e-9\nrun 4\n"
    for ranks in (1, 4):
        (tmp_path / str(ranks)).mkdir()
        mpirun(ranks, commands, tmp_path / str(ranks))
    one, four = (tmp_path / str(ranks) / "model_devi.out" for ranks in (1, 4))
    np.testing.assert_allclose(table(one), table(four), rtol=2e-6)
    assert len(table(one)) == 3
    a, b = (read(tmp_path / str(ranks) / "active.xyz", ":") for ranks in (1, 4))
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left.positions, right.positions, atol=1e-7)
        np.testing.assert_allclose(left.arrays["uq_forces"], right.arrays["uq_forces"], atol=1e-7)


def test_restart_goes_on(committee, tmp_path):
    """A continued run appends; no step is written twice."""
    fixes = "fix n all nve\nfix d all uq/deviation 2\n"
    start = atoms(None, coeff=coeff(committee)) + fixes
    run(start + "run 8 post no")
    whole = table(tmp_path / "model_devi.out")
    run(start + "run 4 post no\nwrite_restart r").close()
    again = (
        f"read_restart r\npair_style uq\n{coeff(committee)}\n{fixes}run 2 post no\nrun 2 post no"
    )
    run(again)
    np.testing.assert_allclose(table(tmp_path / "model_devi.out"), whole, rtol=1e-4)


def test_deviation_of_an_atom_stays_with_it(committee):
    """Atoms are sorted between due steps; before the first, as in a minimisation, there is no deviation."""
    sort = "atom_modify map yes sort 1 2.0"
    script = atoms(None, coeff=coeff(committee)).replace("atom_modify map yes", sort)
    script += "fix d all uq/deviation {} file none\nneigh_modify every 1 delay 0 check no\n"
    dump = "write_dump all custom none id f_d modify sort id\n"
    run(script.format(1) + "minimize 0 0 2 2\n" + dump)
    assert not np.loadtxt("none", skiprows=9)[:, 1].any()
    lmp = run(script.format(1000) + "run 0 post no\n")

    def by_id() -> np.ndarray:
        tags = lmp.numpy.extract_atom("id")[: lmp.get_natoms()]
        return lmp.numpy.extract_fix("d", 1, 1)[: len(tags)][np.argsort(tags)].copy()

    due, order = by_id(), lmp.numpy.extract_atom("id").copy()
    lmp.commands_string("fix n all nve\nrun 3 post no")
    assert (order != lmp.numpy.extract_atom("id")).any()
    assert due.all()
    np.testing.assert_array_equal(by_id(), due)


def test_no_bias_out_of_rounding(families):
    """In a perfect crystal all atoms of a species have their mean energy: no spread, hence no direction."""
    script = atoms(families["network"], rattle=0.0, extra="set group all type 1") + PRESSURE
    end = "run 0 post no"
    lmps = [run(script + bias + end) for bias in ("", "fix h all uq/hal mode local tau 3.0\n")]
    assert lmps[1].extract_fix("h", 0, 1, 1) == 0.0
    plain, biased = (pressure_tensor(lmp, "p") for lmp in lmps)
    np.testing.assert_allclose(biased, plain, atol=1e-9 * np.abs(plain).max())
