# SPDX-License-Identifier: GPL-2.0-or-later
"""A file whose content is not what its checksum says is refused by name, by Python and by the C++ reader."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from random_network import random_tensors
from safetensors.numpy import load, save

from pyuq import _core
from pyuq.bnn.architecture import Architecture, read_network, write_network
from pyuq.inference.fit_state import FitState
from pyuq.inference.posterior import PosteriorFile
from pyuq.inference.regression import NormalEquations
from pyuq.io.files import read_json, read_tensors, write_json, write_tensors
from pyuq.io.identity import CHECKSUM, CHECKSUM_OF, RULE, hash_bytes
from pyuq.srom.basis import Basis
from pyuq.srom.ensemble import Ensemble
from pyuq.srom.sampling import SubspaceSampler
from pyuq.srom.snapshots import Snapshots
from pyuq.srom.system import System

FLIPS = int(os.environ.get("PYUQ_FLIPS", "60"))  # bits flipped in a file of each kind
DATA = Path(__file__).resolve().parents[1] / "data"


def posterior(path):
    """Posterior of a small MTP."""
    native = (DATA / "mtp/random.mtp").read_bytes()
    (path.parent / "model.mtp").write_bytes(native)
    m = _core.Model(path.parent / "model.mtp", elements=("Ag", "I"), posterior=False).nreadout
    root = np.random.default_rng(0).normal(size=(m, m))
    PosteriorFile(native, np.zeros(m), ("Ag", "I"), root @ root.T, family="mtp").write(path)


def network(path):
    shape = Architecture(("Al", "Si"), 4.0, channels=2, hidden=3, bessels=2, noise_hidden=0)
    write_network(path, shape, random_tensors(shape, 2, np.random.default_rng(1)), {"seed": 1})


def fit_state(path):
    rng = np.random.default_rng(2)
    normal = NormalEquations(4).add(rng.normal(size=(9, 4)), rng.normal(size=9))
    FitState({"seed": 1}, {"Al": -1.5}, None, ("ab", "cd"), normal).save(path)


def system():
    x = np.random.default_rng(3).normal(size=(4, 3))
    return System(np.arange(1, 5), np.full(4, 26.98), x, 9.0 * np.eye(3), ("Al",) * 4)


def random_basis(n=3):
    vectors = np.linalg.qr(np.random.default_rng(4).normal(size=(12, n)))[0]
    return Basis(system(), vectors, model_sha256=("ab",), provenance={"energy": [1.0] * n})


def basis(path):
    random_basis().write(path)


def ensemble(path):
    nominal = random_basis()
    sampler = SubspaceSampler(nominal.vectors, np.array([3.0, 2.0, 1.0]), 2, 4.0, 1)
    Ensemble(nominal, sampler, ("a",), ("ab",), np.ones((2, 1)), np.zeros(2, int)).write(path)


def snapshots(path):
    Snapshots.create(path.parent, system(), 0.01, "soft", "ab", {"seed": 1})


KINDS = {
    "a.uq": (posterior, PosteriorFile.read),
    "a.safetensors": (network, read_network),
    "a.fit": (fit_state, FitState.load),
    "a.rom": (basis, Basis.read),
    "a.srom": (ensemble, Ensemble.read),
    "system.safetensors": (snapshots, lambda path: Snapshots(path.parent)),
}
IN_CORE = ("a.uq", "a.safetensors")  # tests/lammps/test_rom.py does the same to a .rom


def flipped(data: bytes, count: int, seed: int = 1):
    """Copies of a file with one bit flipped: half of them anywhere, half in its header."""
    rng = np.random.default_rng(seed)
    header = min(8 + int.from_bytes(data[:8], "little"), len(data))
    for k in range(count):
        at = int(rng.integers(header if k % 2 else len(data)))
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        yield at, bytes(damaged)


def accepted(path, read, count):
    """Damaged files that `read` took, and messages that do not name the file."""
    data, found = path.read_bytes(), []
    read(path)
    for at, damaged in flipped(data, count):
        path.write_bytes(damaged)
        try:
            read(path)
            found.append(f"byte {at}: accepted")
        except (ValueError, RuntimeError) as error:
            if path.name not in str(error):
                found.append(f"byte {at}: {error}")
    path.write_bytes(data)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_flipped_bit_is_refused_by_name(tmp_path, name):
    write, read = KINDS[name]
    write(tmp_path / name)
    assert not accepted(tmp_path / name, read, FLIPS)


@pytest.mark.parametrize("name", IN_CORE)
def test_every_flipped_bit_is_refused_by_the_core(tmp_path, name):
    KINDS[name][0](tmp_path / name)
    assert not accepted(tmp_path / name, _core.Model, FLIPS)


@pytest.mark.parametrize("name", KINDS)
def test_every_byte_of_the_header_counts(tmp_path, name):
    """Also of the names of the two entries, whose loss must not make the file one of an older version."""
    write, read = KINDS[name]
    write(path := tmp_path / name)
    data = path.read_bytes()
    for word in (
        CHECKSUM_OF.encode() + b'"',
        CHECKSUM.encode() + b'"',
        b"__metadata__",
        b"SHA-256",
    ):
        for at in range(start := data.index(word), start + len(word)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            with pytest.raises(ValueError, match=name):
                read(path)
            if name in IN_CORE:
                with pytest.raises(RuntimeError, match=name):
                    _core.Model(path)


def without_sum(data: bytes) -> bytes:
    """The same file as an older version wrote it."""
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    return save(load(data), {k: v for k, v in metadata.items() if k not in (CHECKSUM, CHECKSUM_OF)})


@pytest.mark.parametrize("name", KINDS)
def test_files_of_older_versions_load(tmp_path, name):
    write, read = KINDS[name]
    write(path := tmp_path / name)
    new = path.read_bytes()
    path.write_bytes(without_sum(new))
    assert CHECKSUM.encode() not in path.read_bytes()
    read(path)
    if name in IN_CORE:
        _core.Model(path)


def test_the_rule_can_be_followed_by_hand(tmp_path):
    """The sentence in the file says how its sum is made."""
    write_tensors(tmp_path / "a", {"x": np.arange(3.0)}, {"format": "none"})
    data = (tmp_path / "a").read_bytes()
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    assert metadata[CHECKSUM_OF] == RULE
    digits = metadata[CHECKSUM].encode()
    assert data.count(digits) == 1
    assert hash_bytes(data.replace(digits, b"0" * 64)) == metadata[CHECKSUM]


def test_what_was_read_can_be_written_again(tmp_path):
    """The sum is the writer's affair: metadata come without it and may be handed on."""
    write_tensors(tmp_path / "a", {"x": np.arange(3.0)}, {"format": "none"})
    tensors, metadata = read_tensors(tmp_path / "a")
    write_tensors(tmp_path / "b", {"x": 2.0 * tensors["x"]}, metadata)
    np.testing.assert_array_equal(read_tensors(tmp_path / "b")[0]["x"], [0.0, 2.0, 4.0])


def test_json_with_a_checksum(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"iteration": 3, "rows": [1.5, None]}, sealed=True)
    assert read_json(path) == {"iteration": 3, "rows": [1.5, None]}
    assert not accepted(path, read_json, FLIPS)
    path.write_text(path.read_text().replace('"iteration": 3', '"iteration": 2'))
    with pytest.raises(
        ValueError, match=r"a\.json: damaged, or changed since it was written: .*; go home"
    ):
        read_json(path, remedy="go home")


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda s: -s, r"variance \[\d+,\d+\] = -.*expected none below 0"),
        (lambda s: np.triu(s), "is not symmetric|not symmetric"),
        (lambda s: s + 40.0 * (np.ones_like(s) - np.eye(len(s))), "correlation|semidefinite"),
        (
            lambda s: s - 1.01 * np.linalg.eigvalsh(s)[1] * np.eye(len(s)),
            "semidefinite|below 0|corr",
        ),
    ],
    ids=["negative", "asymmetric", "correlation", "indefinite"],
)
def test_what_is_no_covariance_is_refused(tmp_path, wrong, message):
    """It came out as σ = 0, total certainty."""
    posterior(path := tmp_path / "a.uq")
    good = PosteriorFile.read(path)
    bad = wrong(good.covariance)
    with pytest.raises(ValueError, match=message):
        PosteriorFile(good.model, good.mean, good.elements, bad)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    tensors = read_tensors(path)[0] | {"covariance": bad}
    path.write_bytes(save(tensors, {k: v for k, v in metadata.items() if k[:4] != "pyuq"}))
    with pytest.raises(ValueError, match=rf"a\.uq.*({message})"):
        PosteriorFile.read(path)
    with pytest.raises(RuntimeError, match=rf"a\.uq.*({message})"):
        _core.Model(path)


def test_covariances_of_little_rank_pass(tmp_path):
    """Rounding leaves eigenvalues a little below 0, and scales differ by orders of magnitude."""
    posterior(path := tmp_path / "a.uq")
    good = PosteriorFile.read(path)
    m = len(good.mean)
    rng = np.random.default_rng(5)
    thin = rng.normal(size=(m, 2)) * np.logspace(0, -5, m)[:, None]
    for covariance in (thin @ thin.T, np.zeros((m, m)), np.diag(np.logspace(0, -30, m))):
        PosteriorFile(good.model, good.mean, good.elements, covariance, family="mtp").write(path)
        path.write_bytes(without_sum(path.read_bytes()))  # the core checks such files whole
        PosteriorFile.read(path)
        _core.Model(path)
