# SPDX-License-Identifier: GPL-2.0-or-later
"""The likelihood of a network, and `pyuq bnn` from data to samples, on a small copper."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'pyuq[bnn]'")

from pyuq.bnn.architecture import Architecture, NetworkFile, read_network, write_network  # noqa: E402
from pyuq.bnn.evaluate import judge, predict_all  # noqa: E402
from pyuq.bnn.network import Batch, label_noise, predict, predict_heads  # noqa: E402
from pyuq.bnn.target import Likelihood, NetworkTarget  # noqa: E402
from pyuq.cli import main  # noqa: E402
from pyuq.io import extxyz  # noqa: E402

SMALL = Architecture(("Cu",), 3.2, channels=4, hidden=4, bessels=4, noise_hidden=4)
TOML = """
train = ["train.xyz"]
test = ["test.xyz"]
train_steps = 40
threads = 1
[network]
elements = ["Cu"]
cutoff = 3.2
channels = 4
hidden = 4
bessels = 4
noise_hidden = 4
[sampler]
"""
SAMPLER = "draws = 4\nthinning = 5\nburn_in = 20\nquiet = 10\nbatch = 3\nchains = 2\n"


def copper(n, seed, rattle=0.1):
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += rng.normal(0, rattle, (4, 3))
        atoms.calc = EMT()
        found.append(
            extxyz.labelled(
                atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
            )
        )
    return found


@pytest.fixture
def target():
    return NetworkTarget(SMALL, copper(6, 0), Likelihood(virial=0.1))


@pytest.fixture
def theta(target):
    return target.initial(torch.Generator().manual_seed(3))


def test_activations_are_of_order_one(target):
    """At the start, forces come out at a tenth of the size of the labels, whatever the shape."""
    for lmax, channels in ((1, 4), (2, 16)):
        shape = dataclasses.replace(SMALL, lmax=lmax, channels=channels)
        wide = NetworkTarget(shape, copper(3, 0))
        sizes = []
        for seed in range(8):
            theta = wide.initial(torch.Generator().manual_seed(seed))
            p = predict(shape, wide.weights(theta), wide.batches[0])
            sizes.append(p.forces.square().mean().sqrt().item() / wide.scaling.force)
        assert 0.01 < np.median(sizes) < 1


def test_loss_is_the_written_formula(target, theta):
    """Prior and Gaussian log densities of energy, forces and virial, summed naively."""
    w = target.weights(theta)
    total = 0.0
    for k in (1, 4):
        atoms = copper(6, 0)[k]
        p = predict(SMALL, w, target.batches[k])
        sigma = label_noise(w, p.features).numpy()[:, None]
        error = p.forces.numpy() - atoms.get_forces()
        total += (-0.5 * (error / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)).sum()
        s = 2 * np.exp(w["energy_noise"].item())
        error = p.energies.item() - atoms.get_potential_energy()
        total += -0.5 * (error / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)
        xx, yy, zz, yz, xz, xy = -atoms.get_stress() * atoms.get_volume()
        v = p.virials[0].numpy()
        error = [v[0, 0] - xx, v[1, 1] - yy, v[2, 2] - zz, v[1, 2] - yz, v[0, 2] - xz, v[0, 1] - xy]
        s = 2 * 0.1
        total += sum(-0.5 * (e / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi) for e in error)
    expected = 0.5 * float((theta**2).sum()) / 6 - total / 2
    found = target.loss(theta, torch.tensor([1, 4])).item()
    assert found == pytest.approx(expected, rel=1e-10)


def test_forces_without_error_do_not_make_the_likelihood_infinite(target, theta):
    """Perfect crystals: forces vanish by symmetry, in the labels and in every network."""
    atoms = bulk("Cu", cubic=True)
    extra = extxyz.labelled(atoms, 0.1, np.zeros((4, 3)), np.zeros(6))
    perfect = NetworkTarget(SMALL, [*copper(2, 0), extra], dtype=torch.float32)
    theta = theta.float()
    names = dict(zip(perfect.names, torch.split(theta, perfect.sizes), strict=True))
    names["force_noise.1.bias"].fill_(-200.0)  # σ underflows
    heads = theta[perfect.readout].repeat(3, 1)
    leaf = theta.requires_grad_(True)
    (slope,) = torch.autograd.grad(perfect.heads_loss(leaf, heads, torch.tensor([2])), leaf)
    assert torch.isfinite(slope).all()


def test_gradient_of_the_loss(target, theta):
    leaf = theta.clone().requires_grad_(True)
    batch = torch.arange(3)
    (slope,) = torch.autograd.grad(target.loss(leaf, batch), leaf)
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = torch.tensor(rng.normal(size=len(theta)))
        h = 1e-5
        difference = target.loss(theta + h * direction, batch) - target.loss(
            theta - h * direction, batch
        )
        assert difference.item() / (2 * h) == pytest.approx((slope @ direction).item(), rel=1e-5)


def test_file_tensors_are_the_weights(target, theta):
    file = NetworkFile(SMALL, target.tensors(torch.stack([theta, 0.5 * theta])))
    (found,) = predict_all(file, copper(1, 5))
    for k, raw in enumerate((theta, 0.5 * theta)):
        p = predict(SMALL, target.weights(raw), Batch.of(copper(1, 5), SMALL))
        assert found.energies[k] == pytest.approx(p.energies.item(), rel=1e-12)
        np.testing.assert_allclose(found.forces[k], p.forces.numpy(), atol=1e-12)


def test_heads_are_networks_with_other_readouts(target, theta):
    """One pass with several readouts: energies, forces, virials, and the gradient of a loss on them."""
    heads = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    frames, w = Batch.of(copper(2, 5), SMALL), target.weights(theta)
    found = predict_heads(SMALL, w, frames, target.readouts(heads))
    for k, head in enumerate(heads):
        raw = theta.clone()
        raw[target.readout] = head
        p = predict(SMALL, target.weights(raw), frames)
        for name in ("energies", "atomic", "forces", "virials"):
            torch.testing.assert_close(getattr(found, name)[k], getattr(p, name))
    leaf = theta.clone().requires_grad_(True)
    batch = torch.arange(2)
    (slope,) = torch.autograd.grad(target.heads_loss(leaf, heads, batch), leaf)
    direction = torch.randn(len(theta), dtype=torch.float64, generator=torch.Generator())
    direction[target.readout] = 0.0
    h = 1e-5
    up, down = (target.heads_loss(theta + s * h * direction, heads, batch) for s in (1, -1))
    assert ((up - down) / (2 * h)).item() == pytest.approx((slope @ direction).item(), rel=1e-5)


def test_one_head_is_the_network(target, theta):
    batch = torch.tensor([0, 3])
    found = target.heads_loss(theta, theta[None, target.readout], batch)
    assert found.item() == pytest.approx(target.loss(theta, batch).item(), rel=1e-12)


def test_last_layer_is_the_posterior_of_the_readout(target, theta):
    """û is a quadratic form in the readout: the posterior is at its minimum and has its curvature."""
    found, everything = target.readout_posterior(theta), torch.arange(target.size)

    def loss(raw):
        moved = theta.clone()
        moved[target.readout] = raw
        return target.size * target.loss(moved, everything)

    mean = torch.from_numpy(found.mean).requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(mean), mean)
    curvature = torch.autograd.functional.hessian(loss, mean.detach())
    scale = np.sqrt(np.diag(found.covariance))
    assert np.abs(slope.numpy() * scale).max() < 1e-6
    np.testing.assert_allclose(curvature.numpy() @ found.covariance, np.eye(len(scale)), atol=1e-6)


def test_masks_drop_channels(target):
    """A dropped channel of the last layer does not reach the energy, whatever the weights before it say."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.stack([target.mask(0.4, generator) for _ in range(50)])
    values = np.unique(masks.numpy().round(12))
    np.testing.assert_allclose(values, [0.0, 1.0, 1 / 0.6])
    names = dict(zip(target.names, torch.split(masks, target.sizes, dim=1), strict=True))
    readout = names["readout"].reshape(50, 1, 5)
    assert (readout[:, :, -1] == 1).all()  # the constant stays
    assert 0.3 < (readout[:, :, :-1] == 0).double().mean() < 0.5
    assert (names["sources"] == 1).all()


def test_variances_add_up(target, theta):
    file = NetworkFile(SMALL, target.tensors(torch.stack([theta * f for f in (1.0, 0.9, 1.1)])))
    structures = copper(4, 9)
    predictions = predict_all(file, structures)
    mean, spread, noise = predictions[0].force()
    np.testing.assert_allclose(mean, predictions[0].forces.mean(axis=0))
    np.testing.assert_allclose(
        spread, ((predictions[0].forces - mean) ** 2).mean(axis=0), atol=1e-12
    )
    assert (noise[:, 0] == noise[:, 2]).all()
    found = judge(predictions, structures)
    assert found["force"]["n"] == 48
    # One sample: the mixture is the Gaussian itself.
    single = judge(
        predict_all(NetworkFile(SMALL, target.tensors(theta[None])), structures), structures
    )
    assert single["force"]["mixture_nll"] == pytest.approx(single["force"]["nll"], rel=1e-9)
    assert single["force"]["epistemic"] is None


@pytest.fixture
def folder(tmp_path):
    extxyz.write(tmp_path / "train.xyz", copper(8, 0))
    extxyz.write(tmp_path / "test.xyz", copper(4, 1))
    (tmp_path / "bnn.toml").write_text(TOML + SAMPLER)
    return tmp_path


def test_train_sample_evaluate(folder, capsys):
    assert main(["bnn", "train", str(folder / "bnn.toml")]) == 0
    assert main(["bnn", "sample", str(folder / "bnn.toml")]) == 0
    out = capsys.readouterr().out
    assert "split R̂" in out
    file = read_network(folder / "run/network-samples.safetensors")
    assert file.samples == 8
    begin, end = file.tensors["repulsion"][0, 0]
    nearest = min(a.get_all_distances(mic=True)[np.triu_indices(4, 1)].min() for a in copper(8, 0))
    assert begin < end == pytest.approx(nearest - 0.1, abs=1e-6)
    data = str(folder / "test.xyz")
    network = str(folder / "run/network-samples.safetensors")
    assert main(["bnn", "evaluate", network, "--data", data]) == 0
    row = next(r for r in capsys.readouterr().out.splitlines() if r.startswith("| force"))
    assert row in (folder / "run/network-samples.md").read_text()


@pytest.mark.parametrize("method", ["ensemble", "dropout", "last-layer", "shallow-ensemble"])
def test_other_methods(folder, method):
    count = "members" if "ensemble" in method else "draws"
    text = f'method = "{method}"\n{TOML}{count} = 3\nsteps = 10\n'
    (folder / "bnn.toml").write_text(text)
    assert main(["bnn", "sample", str(folder / "bnn.toml")]) == 0
    found = read_network(folder / "run/network-samples.safetensors").tensors
    assert len(found["readout"]) == 3
    shared = np.ptp(found["layers.0.radial1"], axis=0).max() == 0
    assert shared == (method != "ensemble")
    assert np.ptp(found["readout"], axis=0).max() > 0


def test_same_seed_same_file_and_checkpoints_of_other_data_are_refused(folder, capsys):
    contents = []
    for name in ("a", "b"):
        assert main(["bnn", "sample", str(folder / "bnn.toml"), "--set", f"folder={name}"]) == 0
        contents.append(read_network(folder / name / "network-samples.safetensors").tensors)
    for tensor, values in contents[0].items():
        np.testing.assert_array_equal(values, contents[1][tensor])
    extxyz.write(folder / "train.xyz", copper(8, 7))
    assert main(["bnn", "sample", str(folder / "bnn.toml"), "--set", "folder=a"]) == 2
    assert "other settings: training = " in capsys.readouterr().err


def test_killed_run_goes_on_to_the_same_draws(folder):
    """Killed without a warning after some checkpoint, the same command ends at the same file."""
    changes = [f"--set={c}" for c in ("checkpoint=20", "sampler.thinning=60", "threads=1")]
    command = ["bnn", "sample", str(folder / "bnn.toml"), *changes]
    process = subprocess.Popen(
        [sys.executable, "-m", "pyuq", *command, "--set=folder=killed"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = folder / "killed/sghmc.checkpoints/chain0.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert checkpoint.exists()
    assert not (folder / "killed/network-samples.safetensors").exists()
    contents = []
    for name in ("killed", "whole"):
        assert main([*command, f"--set=folder={name}"]) == 0
        contents.append(read_network(folder / name / "network-samples.safetensors").tensors)
    for tensor, values in contents[0].items():
        np.testing.assert_array_equal(values, contents[1][tensor])


def test_export_joins_and_thins(folder, capsys, target, theta):
    kept = []
    # A run in single precision may be joined with one in double.
    single = NetworkTarget(SMALL, copper(2, 0), dtype=torch.float32).tensors(theta[None])
    np.testing.assert_array_equal(single["frequencies"], target.tensors(theta[None])["frequencies"])
    for name, factor in (("a", 1.0), ("b", 0.5)):
        draws = torch.stack([theta * factor, 0.9 * theta * factor])
        write_network(folder / name, SMALL, target.tensors(draws), {})
        kept.append(read_network(folder / name).tensors["readout"])
    inputs, out = [str(folder / "a"), str(folder / "b")], str(folder / "out")
    assert main(["bnn", "export", *inputs, "--out", out]) == 0
    np.testing.assert_array_equal(read_network(out).tensors["readout"], np.concatenate(kept))
    assert main(["bnn", "export", *inputs, "--out", out, "--keep", "2"]) == 0
    found = read_network(out).tensors["readout"]
    np.testing.assert_array_equal(found, [kept[0][0], kept[1][1]])
    assert main(["bnn", "export", *inputs, "--out", out, "--keep", "2", "--apart"]) == 0
    kept = read_network(out).tensors["readout"]
    for k in (0, 1):
        alone = read_network(Path(out).with_name(f"{Path(out).stem}-{k + 1}.safetensors"))
        np.testing.assert_array_equal(alone.tensors["readout"], kept[k : k + 1])
    assert main(["bnn", "export", *inputs, "--out", out, "--keep", "9"]) == 2
    assert "expected at most 4" in capsys.readouterr().err
    assert main(["bnn", "export", *inputs, "--out", inputs[0]]) == 2
    assert "is an input" in capsys.readouterr().err
    assert main(["bnn", "export", inputs[0], *inputs, "--out", out]) == 2
    assert "are the same networks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("network.lmax=3", "expected 1 or 2"),
        ("network.noise_hidden=-4", "expected 0 (no head) or more"),
        ('network.elements=["Xx"]', "expected chemical elements, found Xx"),
        ("threads=-2", "expected 0"),
        ("method=laplace", "expected one of sghmc"),
        ("sampler.draw=3", "draw"),
        ("network.elements=['Si']", "element Cu is not one of the potential's"),
        ("dtype=half", "expected one of float32"),
        ("checkpoint=0", "above 0"),
        ("device=gpu", "device = 'gpu' is of no use here"),
        ("device=cuda:99", "expected one of cpu"),
        ("device=meta", "device = 'meta'"),
        ("name=a/b", "without folder"),
        ("network.cutoff=inf", "expected a finite number above 0"),
        ("learning_rate=1e200", "the gradient is not finite: reduce `learning_rate`"),
        ("likelihood.energy=-1", "expected 0 (automatic)"),
        ("likelihood.prior=0", "above 0"),
        ("network.noise_hidden=0", "without a noise head"),
    ],
)
def test_bad_settings_are_named(folder, capsys, change, message):
    assert main(["bnn", "train", str(folder / "bnn.toml"), "--set", change]) == 2
    assert message in capsys.readouterr().err


def test_bad_test_set_is_named_before_the_work(folder, capsys):
    silicon = bulk("Si")
    extxyz.write(folder / "test.xyz", [extxyz.labelled(silicon, 0.0, np.zeros((2, 3)))])
    assert main(["bnn", "train", str(folder / "bnn.toml")]) == 2
    assert "Si" in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.validate
def test_network_learns_copper(folder):
    """Some hundred steps on 24 structures bring the force error well below the size of the forces."""
    extxyz.write(folder / "train.xyz", copper(24, 0))
    changes = ("train_steps=600", "network.cutoff=5.0", "network.channels=8", "network.hidden=8")
    changes += ("repulsion.zbl=false",)  # one held-out contact is closer than any that is learnt
    settings = [f"--set={change}" for change in changes]
    assert main(["bnn", "train", str(folder / "bnn.toml"), *settings]) == 0
    file, test = read_network(folder / "run/network.safetensors"), copper(12, 1)
    found = judge(predict_all(file, test), test)
    size = np.sqrt(np.mean([a.get_forces() ** 2 for a in test]))
    assert found["force"]["rmse"] < 0.3 * size
