# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks in LAMMPS: messages between ranks, samples as members, learned noise."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from crystal import (
    ELEMENTS,
    atoms,
    forces,
    mpirun,
    native_posterior,
    network_file,
    positions,
    run,
    set_positions,
)
from test_parallel import CELLS, OUTPUT, frame, from_file, thermo

from pyuq.bnn.architecture import COMMON, join_networks, read_network, write_network
from pyuq.evaluate.calculator import UQCalculator
from pyuq.evaluate.evaluator import Evaluator
from pyuq.inference.readout_posterior import PosteriorSettings, readout_posterior
from pyuq.io.files import read_tensors, write_tensors

FLAT = dict(size=(2, 2, 2), tilt=(1.3, -0.8, 0.9))


OUTPUT_PLAIN = """
thermo_style custom step pe press
thermo_modify format float %.16g
fix n all nve
run 5
write_dump all custom frame id x y z fx fy fz modify sort id format float %.17g
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["l1", "l2"])
def network(request, tmp_path_factory):
    """Three samples of three layers."""
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    return network_file(path, lmax=request.param, layers=3)


@pytest.fixture(scope="module")
def singles(network, tmp_path_factory) -> list:
    """The same samples, a file each."""
    file = read_network(network)
    folder = tmp_path_factory.mktemp("singles")
    for k in range(file.samples):
        tensors = {n: v if n in COMMON else v[k : k + 1] for n, v in file.tensors.items()}
        write_network(folder / f"{k}.safetensors", file.architecture, tensors, {})
    return [folder / f"{k}.safetensors" for k in range(file.samples)]


def frame_of(lmp):
    """ASE structure of an instance, atoms in the order of the ids."""
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    cell = np.diag(np.subtract(high, low))
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    types = np.array(lmp.gather_atoms("type", 0, 1)[:])
    symbols = np.array(ELEMENTS)[types - 1]
    return Atoms(symbols, positions(lmp) - low, cell=cell, pbc=True)


@pytest.mark.parametrize("cell", [FLAT, CELLS["smaller than the cutoff"]], ids=["tilted", "tiny"])
def test_python_agrees(network, cell):
    """Energy and forces of LAMMPS are those of the Python evaluator."""
    lmp = run(atoms(network, **cell) + "run 0 post no")
    found = Evaluator(network).compute(frame_of(lmp))
    assert lmp.get_thermo("pe") == pytest.approx(found["energy"], rel=1e-11)
    np.testing.assert_allclose(forces(lmp), found["forces"], atol=1e-9)


@pytest.mark.parametrize(
    ("cell", "bias"),
    [
        ("triclinic", "tau 1.0 every 2"),
        ("triclinic", "tau 1.0 mode local every 2"),
        ("empty subdomains", "tau 1.0 mode local every 2"),
        ("smaller than the cutoff", "tau 1.0 every 2"),
    ],
)
def test_extended_ghosts_agree(network, tmp_path, cell, bias):
    """Ghosts that make their messages anew give what the exchange gives, on one rank and on four."""
    commands = from_file(network, tmp_path, **CELLS[cell])
    results = []
    for ghosts, ranks in (("exchange", 1), ("extended", 1), ("extended", 4)):
        folder = tmp_path / f"{ghosts}{ranks}"
        folder.mkdir()
        script = commands.replace("pair_style uq", f"pair_style uq ghosts {ghosts}")
        out = mpirun(ranks, script + f"fix h all uq/hal {bias}\n" + OUTPUT, folder)
        results.append((thermo(out), frame(folder)))
    (one, atoms_one), *others = results
    for values, atoms_n in others:
        np.testing.assert_allclose(values, one, rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(atoms_n, atoms_one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["global", "local"])
def test_samples_are_members(network, singles, mode):
    """A file of three samples is a committee of three files."""
    end = f"fix h all uq/hal tau 2.0 mode {mode}\ncompute a all uq/atom energy\n"
    end += "thermo_style custom pe f_h f_h[*]\nrun 0 post no"
    whole = run(atoms(network) + end)
    names = " ".join(map(str, singles))
    apart = run(atoms(None, coeff=f"pair_coeff * * {names} Al Si") + end)
    for key, value in whole.last_thermo().items():
        assert apart.last_thermo()[key] == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(forces(apart), forces(whole), atol=1e-10)
    energies = [run(atoms(file) + "run 0 post no").get_thermo("pe") for file in singles]
    assert whole.last_thermo()["f_h[2]"] > 0
    if mode == "global":
        assert whole.last_thermo()["f_h[2]"] == pytest.approx(np.std(energies), rel=1e-9)


def test_atomic_energies_are_centred(network, singles):
    """σ_i by its definition: each sample's energies count from their mean over the atoms of a species."""
    lmp = run(
        atoms(network)
        + "compute a all uq/atom energy\n"
        + "dump d all custom 1 sigma.dump id c_a\ndump_modify d sort id format float %.15g\nrun 0 post no"
    )
    structure = frame_of(lmp)
    energies = np.array([Evaluator(file).compute(structure)["energies"] for file in singles])
    for symbol in ELEMENTS:
        of = structure.symbols == symbol
        energies[:, of] -= energies[:, of].mean(axis=1, keepdims=True)
    found = frame(Path.cwd(), "sigma.dump")[:, 1]
    np.testing.assert_allclose(found, energies.std(axis=0), rtol=1e-8, atol=1e-10)


def test_driver_and_deviation(network, singles, tmp_path):
    """One sample drives; the spread of all forces is that of the files."""
    script = atoms(network, pair="uq driver 2 every 1") + "fix d all uq/deviation 1 atomic\nrun 0"
    lmp = run(script)
    apart = np.array([forces(run(atoms(file) + "run 0 post no")) for file in singles])
    np.testing.assert_allclose(forces(lmp), apart[1], atol=1e-10)
    spread = np.sqrt(apart.var(axis=0).sum(axis=-1))
    row = np.loadtxt(tmp_path / "model_devi.out", ndmin=2)[0]
    np.testing.assert_allclose(row[4:7], [spread.max(), spread.min(), spread.mean()], rtol=3e-6)


@pytest.mark.parametrize("mode", ["global", "local"])
def test_last_layer(tmp_path, mode):
    """A posterior of the readout: Python's uncertainty and bias, on one rank and on four."""
    native_posterior(network_file(tmp_path / "net.safetensors", samples=1))
    script = from_file(tmp_path / "net.safetensors", tmp_path, **FLAT)
    bias = f"fix h all uq/hal tau 2.0 mode {mode} every 1\ncompute u all uq\n"
    bias += "compute a all uq/atom energy\nthermo_style custom step pe c_u[1]\n"
    bias += "thermo_modify format float %.16g\nrun 0\nwrite_dump all custom frame id fx fy fz c_a "
    bias += "modify sort id format float %.17g\n"
    for ranks in (1, 4):
        values = thermo(mpirun(ranks, script + bias, tmp_path))[0]
        columns = frame(tmp_path)
        structure = frame_of(run(script + "run 0 post no"))
        structure.calc = UQCalculator(tmp_path / "net.uq", forces_uncertainty=False)
        found = structure.calc.get_property
        sigma = found("energy_uncertainty", structure)
        assert values[1] == pytest.approx(sigma, rel=1e-9)
        np.testing.assert_allclose(columns[:, 4], found("energies_uncertainty"), rtol=1e-9)
        if mode == "global":
            expected = structure.get_forces() - 2.0 * found("bias_forces")
            assert values[0] == pytest.approx(structure.get_potential_energy() - 2.0 * sigma)
            np.testing.assert_allclose(columns[:, 1:4], expected, atol=1e-9)


@pytest.mark.parametrize("mode", ["global", "local"])
def test_samples_with_posteriors(tmp_path, mode):
    """Samples apart, a last layer's posterior beside each: the law of total variance, and its gradient."""
    together = network_file(tmp_path / "net.safetensors", samples=2)
    parts = join_networks([together], together, apart=True)
    posteriors = [native_posterior(path, seed=k) for k, path in enumerate(parts)]
    coeff = f"pair_coeff * * {' '.join(map(str, parts))} Al Si"
    end = f"fix h all uq/hal tau 2.0 mode {mode} every 1\nthermo_style custom pe f_h f_h[*]\nrun 0 post no"
    lmp = run(atoms(None, coeff=coeff) + end)
    structure, energies, variances = frame_of(lmp), [], []
    for path in posteriors:
        structure.calc = UQCalculator(path, forces_uncertainty=False)
        energies.append(structure.get_potential_energy())
        variances.append(structure.calc.get_property("energy_uncertainty", structure) ** 2)
    if mode == "global":
        expected = np.sqrt(np.mean(variances) + np.var(energies))
        assert lmp.last_thermo()["f_h[2]"] == pytest.approx(expected, rel=1e-9)
    x, f, h = positions(lmp), forces(lmp), 1e-4
    found = []
    for sign in (1, -1):
        moved = x.copy()
        moved[3, 0] += sign * h
        set_positions(lmp, moved)
        lmp.command("run 0 post no")
        found.append(lmp.get_thermo("pe"))
    assert f[3, 0] == pytest.approx(-(found[0] - found[1]) / (2 * h), rel=1e-5, abs=1e-6)


def test_posterior_beside_several_samples_is_refused(tmp_path):
    """It would stand for the whole uncertainty, without the spread of the samples."""
    together = network_file(tmp_path / "net.safetensors", samples=2)
    native_posterior(together)
    with pytest.raises(Exception, match=r"network of 2 samples.*pyuq bnn export --apart"):
        run(atoms(together))
    (tmp_path / "net.uq").unlink()
    with pytest.raises(ValueError, match="holds several samples"):
        readout_posterior(together, 2 * [Atoms("Al")])


def test_posterior_from_data(tmp_path):
    """Labels of a network with another readout: the regression finds it, with small error bars."""
    path = network_file(tmp_path / "net.safetensors", samples=1)
    model, rng = Evaluator(path), np.random.default_rng(3)
    truth = model.model.weights + rng.normal(scale=0.1, size=model.nreadout)
    frames = []
    for formula in 4 * ("Al2Si2", "AlSi3"):
        atoms_ = Atoms(formula, rng.uniform(0, 4.5, (4, 3)), cell=[4.5] * 3, pbc=True)
        found = model.compute(atoms_, weights=truth)
        forces_ = found["forces"] + rng.normal(scale=1e-3, size=(4, 3))
        labels = SinglePointCalculator(atoms_, energy=found["energy"], forces=forces_)
        atoms_.calc = labels
        frames.append(atoms_)
    posterior = readout_posterior(path, frames, PosteriorSettings(mean="refit"))
    assert posterior.noise["force"] < 5e-3
    change = posterior.mean - model.model.weights
    wanted = truth - model.model.weights
    spread = np.sqrt(np.diag(posterior.covariance))
    assert (np.abs(change - wanted) < 6 * spread + 1e-3).all()
    assert np.linalg.norm(change - wanted) < 0.3 * np.linalg.norm(wanted)


def test_tiled_communication(network, tmp_path):
    """Subdomains of any shape exchange as bricks do."""
    commands = from_file(network, tmp_path, **CELLS["triclinic"])
    tiled = commands.replace("read_data", "comm_style tiled\nread_data")
    tiled += "balance 1.0 rcb\n"
    (tmp_path / "tiled").mkdir()
    one = thermo(mpirun(1, commands + OUTPUT_PLAIN, tmp_path))
    four = thermo(mpirun(4, tiled + OUTPUT_PLAIN, tmp_path / "tiled"))
    np.testing.assert_allclose(four, one, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(frame(tmp_path / "tiled"), frame(tmp_path), rtol=1e-10, atol=1e-10)


def noise_of(path, atoms_) -> np.ndarray:
    """Learned noise of each atom, by the definition."""
    file = read_network(path)
    features = Evaluator(path).features(atoms_)
    width = file.architecture.channels + 1
    variances = []
    for k in range(file.samples):
        w = file.sample(k)
        z = features[:, k * width : (k + 1) * width - 1] @ w["force_noise.0.weight"]
        z += w["force_noise.0.bias"]
        hidden = z / (1 + np.exp(-z))
        log = hidden @ w["force_noise.1.weight"] + w["force_noise.1.bias"]
        variances.append(np.exp(2 * log))
    return np.sqrt(np.mean(variances, axis=0))


def test_noise(network):
    """compute uq/atom and fix pair show the noise head; committees with other families average networks."""
    lmp = run(
        atoms(network)
        + "compute a all uq/atom noise\nfix n all pair 1 uq noise 1\n"
        + "dump d all custom 1 noise.dump id c_a f_n\n"
        + "dump_modify d sort id format float %.15g\nrun 0 post no"
    )
    expected = noise_of(network, frame_of(lmp))
    columns = frame(Path.cwd(), "noise.dump")
    np.testing.assert_allclose(columns[:, 1], expected, rtol=1e-10)
    np.testing.assert_allclose(columns[:, 2], expected, rtol=1e-10)


def test_noise_without_head(tmp_path, potential):
    bare = network_file(tmp_path / "bare.safetensors", noise_hidden=0)
    for file in (bare, potential):
        with pytest.raises(Exception, match="no model has a noise head"):
            run(atoms(file) + "compute a all uq/atom noise\ndump d all custom 1 x c_a\nrun 0")


def test_overlay(network):
    """In hybrid/overlay the buffers hold the messages; energies and forces add up."""
    lj = "lj/cut 5.0"
    coeff = f"pair_coeff * * uq {network} Al Si\npair_coeff * * lj/cut 0.01 2.4\n"
    both = run(atoms(None, pair=f"hybrid/overlay uq {lj}", coeff=coeff) + "run 0 post no")
    one = run(atoms(network) + "run 0 post no")
    other = run(atoms(None, pair=lj, coeff="pair_coeff * * 0.01 2.4") + "run 0 post no")
    total = one.get_thermo("pe") + other.get_thermo("pe")
    assert both.get_thermo("pe") == pytest.approx(total, rel=1e-11)
    np.testing.assert_allclose(forces(both), forces(one) + forces(other), atol=1e-9)


@pytest.mark.parametrize("ghosts", ["exchange", "extended"])
def test_null_type(network, ghosts):
    """Atoms of a type that the network does not know are not there for it."""
    coeff = f"pair_coeff * * uq {network} Al NULL\npair_coeff * * lj/cut 0.01 2.4\n"
    style = f"hybrid/overlay uq ghosts {ghosts} lj/cut 5.0"
    both = run(atoms(None, pair=style, coeff=coeff) + "run 0 post no")
    lj = run(atoms(None, pair="lj/cut 5.0", coeff="pair_coeff * * 0.01 2.4") + "run 0 post no")
    structure = frame_of(both)
    aluminium = structure[structure.symbols == "Al"]
    alone = Evaluator(network).compute(aluminium)
    assert both.get_thermo("pe") - lj.get_thermo("pe") == pytest.approx(alone["energy"], rel=1e-9)
    found = (forces(both) - forces(lj))[structure.symbols == "Al"]
    np.testing.assert_allclose(found, alone["forces"], atol=1e-9)


def test_vacuum(network):
    """An isolated atom has the constant of its species, and no force."""
    script = f"""
units metal
region b block 0 40 0 40 0 40
create_box 2 b
create_atoms 1 single 20 20 20
create_atoms 2 single 2 2 2
mass * 1
pair_style uq
pair_coeff * * {network} Al Si
run 0 post no"""
    lmp = run(script)
    file = read_network(network)
    assert lmp.get_thermo("pe") == pytest.approx(
        file.tensors["readout"][:, :, -1].mean(axis=0).sum(), rel=1e-12
    )
    assert (forces(lmp) == 0).all()


ERRORS = {
    "ghosts": ("uq ghosts none", "pair_coeff * * {p} Al Si", "ghosts is none, expected"),
    "driver": ("uq driver 4", "pair_coeff * * {p} Al Si", "driver is 4, .* 3 model"),
    "element": ("uq", "pair_coeff * * {p} Al Cu", "element Cu of atom type 2 is not in .*Al Si"),
    "multi": (
        "uq ghosts extended",
        "neighbor 1.0 multi\ncomm_modify mode multi\npair_coeff * * {p} Al Si\nrun 0",
        "comm_modify mode single",
    ),
    "multi lists": (
        "uq ghosts extended",
        "neighbor 1.0 multi\npair_coeff * * {p} Al Si\nrun 0",
        "ghosts extended needs `neighbor SKIN bin`",
    ),
}


@pytest.mark.parametrize(("style", "coeff", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(network, style, coeff, message):
    with pytest.raises(Exception, match=message):
        run(atoms(None, pair=style, coeff=coeff.format(p=network)))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ((1.0, 5.0), "expected 0 <= from < to <= the cutoff"),
        ((2.0, 1.0), "expected 0 <= from < to"),
    ],
)
def test_ranges_of_the_repulsion(network, tmp_path, ranges, message):
    file = read_network(network)
    tensors = file.tensors | {"repulsion": np.tile(ranges, (2, 2, 1))}
    with pytest.raises(ValueError, match=message):
        write_network(tmp_path / "bad.safetensors", file.architecture, tensors, {})
    values, metadata = read_tensors(network)
    write_tensors(
        tmp_path / "bad.safetensors", values | {"repulsion": tensors["repulsion"]}, metadata
    )
    with pytest.raises(Exception, match=f"repulsion of Al-Al from .* {message}"):
        run(atoms(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize("command", ["fix h all uq/hal tau 1.0", "compute u all uq"])
def test_one_sample_has_no_spread(singles, command):
    end = f"{command}\nthermo_style custom pe {'f_h' if 'fix' in command else 'c_u[1]'}\nrun 0"
    with pytest.raises(Exception, match=r"no uncertainty: .* a file of several samples"):
        run(atoms(singles[0]) + end)


def test_damaged_file(network, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(network.read_bytes()[:-100])
    with pytest.raises(Exception, match=r"cut\.safetensors"):
        run(atoms(cut))
