# SPDX-License-Identifier: GPL-2.0-or-later
"""Readers of .yace, .ace and posteriors: what they accept, what they refuse and how; no bytes crash them."""

import hashlib
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from synthetic import CASES, yace

from pyuq import _core
from pyuq.evaluate.evaluator import Evaluator

SMALL = {"elements": ("Cu",), "functions_per_rank": (2, 2, 1)}


def load(tmp_path, text, name="model.yace"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _core.Model(path)


def posterior(native: bytes, m: int, exported: bytes = b"", seed=0, samples=0, **changes) -> bytes:
    """Bytes of a .uq file."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(m, m))
    tensors = {"model": np.frombuffer(native, np.uint8), "mean": rng.normal(size=m)}
    if samples:
        tensors["samples"] = rng.normal(size=(samples, m))
    else:
        tensors["covariance"] = factor @ factor.T
    metadata = {
        "format": "pyuq-posterior",
        "format_version": "1",
        "family": "ace",
        "elements": "Cu",
        "units": "metal",
        "model_sha256": hashlib.sha256(exported).hexdigest(),
        "training_sha256": "",
        "provenance": "{}",
    }
    return save(tensors, metadata=metadata | changes)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("radbasename: ChebExpCos", "radbasename: ACE.jl", r":7: the key 'nradial' is missing"),
        (
            "radbasename: ChebExpCos",
            "radbasename: TEST_1",
            r":7: radbasename 'TEST_1' is not supported",
        ),
        ("npoti: FinnisSinclairShiftedScaled", "npoti: tanh", r":5: embedding 'tanh'"),
        ("inner_cutoff_type: density", "inner_cutoff_type: hard", r"inner_cutoff_type 'hard'"),
        ("rcut: 4.5", "rcut: -4.5", r"rcut = -4\.5"),
        ("rcut: 4.5", "rcut: nan", r":7: found 'nan', expected a finite number"),
        ("rcut: 4.5", "rcut: 1e999", r":7: found '1e999', expected a finite number"),
        ("radparameters: [2.5]", "radparameters: [0.0]", r"radparameter 0\.0+, expected one other"),
        ("radparameters: [2.5]", "radparameters: [-1e4]", r"of magnitude up to 600"),
        ("nradmax: 3", "nradmax: 4", r"radcoefficients has 3 entries, expected nradmax = 4"),
        ("nradmax: 3", "nradmax: 4000000000", r"expected an integer between 0 and 256"),
        ("nradbasemax: 5", "nradbasemax: 6", r"has 5 numbers, expected nradbasemax = 6"),
        ("lmax: 3", "lmax: 2", r"expected lmax \+ 1 = 3"),
        ("ndensity: 1, FS", "ndensity: 2, FS", r"FS_parameters|expected two for each"),
        ("rank: 1", "rank: 2", r"expected rank = 2"),
        ("rank: 1", "rank: 0", r"expected an integer between 1 and"),
        ("ns: [", "ns: [0, ", r"expected an integer between 1 and"),
        ("mus: [0]", "mus: [1]", r"expected an integer between 0 and 0"),
        ("elements: [Cu]", "elements: []", r"elements"),
        ("bonds:", "bands:", r"the key 'bonds' is missing"),
        ("[0, 0]:", "[0, 1]:", r"expected an integer between 0 and 0"),
        ("functions:", "functions: &anchor", r"not used in potential files"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, old, new, message):
    text = yace(**SMALL)
    assert old in text
    with pytest.raises(RuntimeError, match=message) as error:
        load(tmp_path, text.replace(old, new))
    assert re.match(rf"{re.escape(str(tmp_path))}/model\.yace:\d+: ", str(error.value))


def test_mixed_inner_cutoffs_are_refused(tmp_path):
    text = yace().replace("inner_cutoff_type: density", "inner_cutoff_type: distance", 1)
    with pytest.raises(RuntimeError, match="different inner_cutoff_type"):
        load(tmp_path, text)


def test_inner_cutoffs_without_meaning_are_refused(tmp_path):
    repulsive = {"inner": "zbl", "core": (1.0, 1.0), "rcut_in": 2.6, "dcut_in": 0.8}
    with pytest.raises(RuntimeError, match=r"model.yace:1: .*needs chemical elements; found 'Xx'"):
        load(tmp_path, yace(elements=("Cu", "Xx"), **repulsive))
    with pytest.raises(RuntimeError, match=r"bond Al-Al: .* rcut_in = 2\.6\d* needs dcut_in > 0"):
        load(tmp_path, yace(**repulsive | {"inner": "distance", "dcut_in": 0.0}))


def test_missing_bond_is_refused(tmp_path):
    text = "\n".join(line for line in yace().splitlines() if "[1, 0]:" not in line)
    with pytest.raises(RuntimeError, match=r"the bond \[1, 0\] is missing"):
        load(tmp_path, text)


def test_block_style_reads_like_flow_style(tmp_path):
    """The same file as another YAML writer would lay it out."""
    text = yace(**SMALL)
    block = re.sub(r"\{(ndensity|nradmax)", r"\n      \1", text)
    block = re.sub(
        r", (FS_parameters|npoti|rho_core|drho|lmax|nradb|radb|radp|radc|prehc|lambdahc|rcut|dcut|inner)",
        r"\n      \1",
        block,
    )
    block = re.sub(
        r"^(      (?:drho_core_cutoff|inner_cutoff_type): \S+)\}$", r"\1  # end", block, flags=re.M
    )
    assert block.count("\n") > text.count("\n") + 10
    weights = np.arange(5.0)
    atoms = bulk("Cu", a=3.8)
    (tmp_path / "a.yace").write_text(text)
    (tmp_path / "b.yace").write_text(block.replace("\n", "\r\n"))
    a, b = (Evaluator(tmp_path / name).compute(atoms, weights) for name in ("a.yace", "b.yace"))
    assert a["energy"] == b["energy"]


@pytest.mark.parametrize("before", ["---\n", "# a comment\n\n--- # begin\n", "\n"])
@pytest.mark.parametrize("behind", ["", "...\n", "... # end\n\n"])
def test_marks_of_documents(tmp_path, before, behind):
    text = yace(**SMALL)
    model = load(tmp_path, before + text.rstrip("\n") + "\n" + behind)
    assert model.nreadout == load(tmp_path, text).nreadout
    with pytest.raises(RuntimeError, match="a second document"):
        load(tmp_path, before + text + "---\n" + text)
    with pytest.raises(RuntimeError, match="text behind the end of the document"):
        load(tmp_path, before + text + "...\nelements: [Al]\n")


@pytest.mark.parametrize(
    "name, content",
    [("a.yace", ""), ("b.yace", "hello\n"), ("c.yace", "\0\0\0\0"), ("d", "net 1 Si")],
)
def test_other_content_is_refused(tmp_path, name, content):
    with pytest.raises(RuntimeError, match="not a potential of a known format"):
        load(tmp_path, content, name)


def test_missing_file():
    with pytest.raises(RuntimeError, match="no such file"):
        _core.Model("/nowhere/model.yace")


def test_deep_nesting_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="nested more deeply"):
        load(tmp_path, "elements: " + "[" * 100000)
    with pytest.raises(RuntimeError, match="nested more deeply"):
        load(tmp_path, "elements:\n" + "".join(" " * n + "-\n" for n in range(1, 200)))


# ---------------------------------------------------------------------- posteriors


@pytest.mark.parametrize("extra", [0, 1, 55, 56, 57, 63, 64, 65, 1000])
def test_posterior_beside_its_model_is_used(tmp_path, extra):
    """Right hashes are accepted for every length of the last block of SHA-256."""
    text = yace(**SMALL).encode()
    text += b"#" * (-len(text) % 64 + extra)
    (tmp_path / "model.uq").write_bytes(posterior(text, 5, exported=text))
    model = load(tmp_path, text)
    assert model.has_posterior
    assert not np.array_equal(model.weights, np.ones(5))


def test_posterior_of_another_model_is_refused(tmp_path):
    text = yace(**SMALL).encode()
    (tmp_path / "model.uq").write_bytes(posterior(text, 5, exported=text + b"\n"))
    with pytest.raises(RuntimeError, match="posterior of another model"):
        load(tmp_path, text)


def test_posterior_alone_is_a_model(tmp_path):
    text = yace(**SMALL).encode()
    model = load(tmp_path, posterior(text, 5), "other.uq")
    assert model.has_posterior and model.nreadout == 5


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format": "pickle"}, "expected pyuq-posterior version 1"),
        ({"format_version": "2"}, "expected pyuq-posterior version 1"),
        ({"units": "real"}, "expected metal"),
        ({"elements": "Ag"}, "the model is ace of Cu"),
        ({"family": "nep"}, "the model is ace of Cu"),
    ],
)
def test_posterior_metadata_are_checked(tmp_path, changes, message):
    with pytest.raises(RuntimeError, match=message):
        load(tmp_path, posterior(yace(**SMALL).encode(), 5, **changes), "model.uq")


def test_posterior_of_wrong_size_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"'mean' has shape \[ 6 \], expected \[ 5 \]"):
        load(tmp_path, posterior(yace(**SMALL).encode(), 6), "model.uq")


def test_infinite_covariance_is_refused(tmp_path):
    blob = bytearray(posterior(yace(**SMALL).encode(), 5))
    header = json.loads(blob[8 : 8 + struct.unpack("<Q", blob[:8])[0]])
    start = len(blob) - max(t["data_offsets"][1] for n, t in header.items() if n != "__metadata__")
    at = start + header["covariance"]["data_offsets"][0]
    blob[at : at + 8] = struct.pack("<d", np.inf)
    with pytest.raises(RuntimeError, match="not finite"):
        load(tmp_path, bytes(blob), "model.uq")


@pytest.mark.parametrize(
    "header, size, message",
    [
        ('{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}', 8, "larger than the file"),
        ('{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,16]}}', 16, "do not fit"),
        ('{"a":{"dtype":"F64","shape":[1],"data_offsets":[8,16]}}', 16, "leave a gap"),
        ('{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}', 16, "the tensors end at byte 8"),
        ('{"a":{"dtype":"F64","shape":[-1],"data_offsets":[0,8]}}', 8, "not a whole number"),
        ('{"a":{"dtype":"F9","shape":[1],"data_offsets":[0,8]}}', 8, "unknown dtype"),
        (
            '{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}',
            0,
            "larger than the file",
        ),
        ('{"a":' + "[" * 5000 + "]" * 5000 + "}", 0, "nested more deeply"),
        ('{"a"', 0, "unreadable safetensors header"),
    ],
)
def test_hostile_safetensors(tmp_path, header, size, message):
    blob = struct.pack("<Q", len(header)) + header.encode() + bytes(size)
    with pytest.raises(RuntimeError, match=message):
        load(tmp_path, blob, "model.uq")


# ---------------------------------------------------------------------- any bytes

NASTY = [bytes([c]) for c in b"[]{}:-#'\"\n\r\t\0\xff"]
NASTY += [
    b"",
    b"[[[[",
    b"- - - -",
    b" ,",
    b"nan",
    b"-1",
    b"0",
    b"8",
    b"24",
    b"256",
    b"1e400",
    b"1e-400",
]
NASTY += [b"99999999999999999999"]


@st.composite
def damage(draw, original: bytes):
    """The original truncated, with pieces replaced by nasty ones, repeated or with flipped bits."""
    data = original
    for _ in range(draw(st.integers(1, 4))):
        a, b = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        kind = draw(st.sampled_from(["cut", "replace", "repeat", "token", "bits"]))
        if kind == "cut":
            data = data[:a]
        elif kind == "replace":
            data = data[:a] + draw(st.sampled_from(NASTY)) + data[a + draw(st.integers(0, 8)) :]
        elif kind == "repeat":
            data = data[:b] + data[a : min(b, a + 4096)] + data[b:]
        elif kind == "token" and (words := list(re.finditer(rb"[\w.+-]+", data))):
            word = words[draw(st.integers(0, len(words) - 1))]
            data = data[: word.start()] + draw(st.sampled_from(NASTY)) + data[word.end() :]
        elif a < len(data):
            data = data[:a] + bytes([data[a] ^ (1 << draw(st.integers(0, 7)))]) + data[a + 1 :]
    return data


def check_survival(path, data):
    path.write_bytes(data)
    try:
        model = _core.Model(path)
    except RuntimeError as error:
        assert str(path) in str(error)
    else:
        assert model.nreadout >= 0 and np.isfinite(model.weights).all()


FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
YACE = yace(**SMALL).encode()


@FUZZ
@given(data=damage(YACE))
def test_damaged_yace(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged_yace.yace", data)


@FUZZ
@given(data=damage(posterior(YACE, 5)))
def test_damaged_posterior(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged_posterior.uq", data)


# ---------------------------------------------------------------------- one potential in many dialects


def dialect(draw, text):
    """The same .yace otherwise: order of its entries, line ends, comments, quotes, a mark of its beginning."""
    entries = re.findall(r"^\S.*\n(?:[ \t].*\n)*", text, re.M)
    text = "".join(draw(st.permutations(entries)))
    if draw(st.booleans()):
        text = re.sub(r"(FinnisSinclair\w*|Cheb\w+|SBessel)", r"'\1'", text)
    if draw(st.booleans()):
        text = re.sub(r"(?m)^(\S+:)$", r"\1   # a comment", text)
    if draw(st.booleans()):
        text = re.sub(r", (?=[a-z]\w+:)", ",\n      ", text)
    if draw(st.booleans()):
        text = "---\n" + text
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@FUZZ
@given(data=st.data(), case=st.sampled_from(sorted(CASES)))
def test_same_potential_in_every_dialect(tmp_path_factory, data, case):
    folder, view = tmp_path_factory.getbasetemp(), None
    text = yace(**CASES[case])
    models = []
    for name, content in (("plain", text), ("dialect", dialect(data.draw, text))):
        path = folder / f"{name}.yace"
        path.write_bytes(content.encode())
        models.append(_core.Model(path))
        view = _core.NeighborView([[0, 0, 0], [1, 1.5, 2]], [0, 0], [0, 1], [0, 1, 2], [1, 0])
    a, b = (model.evaluate(view)["energies"] for model in models)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("old", ["embeddings:", "deltaSplineBins:", "  0:", "ndensity: 1"])
def test_keys_that_stand_twice(tmp_path, old):
    """Readers take one or the other: neither is right."""
    text = yace(**SMALL)
    assert old in text
    key = old.split(":")[0].strip()
    twice = {
        "ndensity: 1": ("ndensity: 1", "ndensity: 1, ndensity: 1"),
        "  0:": ("functions:\n", "functions:\n  0:\n    - {}\n"),
    }.get(old, (old, f"{old} 1\n{old}"))
    with pytest.raises(
        RuntimeError, match=rf":\d+: the key '{key}' appears twice, here and on line \d+"
    ):
        load(tmp_path, text.replace(*twice, 1))


@pytest.mark.parametrize("exponent", ["0", "-0.5", "1e3"])
def test_exponents_of_the_embedding(tmp_path, exponent):
    text = yace(**(SMALL | {"fs": (1.0, 0.5)}))
    changed = re.sub(r"(FS_parameters: \[[^,]*, )[^\],]*", rf"\g<1>{exponent}", text)
    assert changed != text
    with pytest.raises(
        RuntimeError, match=r"the embedding of .* has the exponent .*, expected one above 0"
    ):
        load(tmp_path, changed)


NETWORK = (Path(__file__).parents[1] / "data" / "network" / "agi.safetensors").read_bytes()


@FUZZ
@given(data=damage(NETWORK))
def test_damaged_network(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged_network.safetensors", data)


LEGACY = b"""# a comment
nelements=1
elements: Cu
lmax=1
embedding-function: FinnisSinclairShiftedScaled
2 FS parameters:  1.0 0.5
core energy-cutoff parameters: 100000.0 250.0
E0: -0.5
radbasename=ChebExpCos
nradbase=2
nradmax=1
cutoffmax=4.5
deltaSplineBins=0.001
core repulsion parameters: 10.0 2.0
radparameter= 3.0
cutoff= 4.5
dcut= 0.01
crad= 1.0 0.3 -0.2 0.7
rankmax=2
ndensitymax=1
num_c_tilde_max=2
num_ms_combinations_max=2
total_basis_size_rank1: 1
ctilde_basis_func: rank=1 ndens=1 mu0=0 mu=( 0 )
n=( 2 )
l=( 0 )
num_ms=1
< 0 >:  1.5
total_basis_size: 1
ctilde_basis_func: rank=2 ndens=1 mu0=0 mu=( 0  0 )
n=( 1  1 )
l=( 1  1 )
num_ms=2
< 0  0 >:  0.3
< 1  -1 >:  -0.6
"""


def test_legacy_format_equals_yace(tmp_path):
    (tmp_path / "a.ace").write_bytes(LEGACY)
    (tmp_path / "b.yace").write_text(
        """
elements: [Cu]
E0: [-0.5]
deltaSplineBins: 0.001
embeddings:
  0: {ndensity: 1, FS_parameters: [1.0, 0.5], npoti: FinnisSinclairShiftedScaled,
      rho_core_cutoff: 100000.0, drho_core_cutoff: 250.0}
bonds:
  [0, 0]: {nradmax: 1, lmax: 1, nradbasemax: 2, radbasename: ChebExpCos, radparameters: [3.0],
           radcoefficients: [[[1.0, -0.2], [0.3, 0.7]]], prehc: 10.0, lambdahc: 2.0, rcut: 4.5, dcut: 0.01}
functions:
  0:
    - {mu0: 0, rank: 1, ndensity: 1, num_ms_combs: 1, mus: [0], ns: [2], ls: [0], ms_combs: [0], ctildes: [1.5]}
    - {mu0: 0, rank: 2, ndensity: 1, num_ms_combs: 2, mus: [0, 0], ns: [1, 1], ls: [1, 1],
       ms_combs: [0, 0, 1, -1], ctildes: [0.3, -0.6]}
"""
    )
    atoms = bulk("Cu", a=3.8, cubic=True)
    atoms.rattle(0.2, seed=1)
    a, b = (Evaluator(tmp_path / name).compute(atoms) for name in ("a.ace", "b.yace"))
    assert a["energy"] == b["energy"] != 0.0
    np.testing.assert_array_equal(a["forces"], b["forces"])


def test_legacy_files_without_what_is_zero(tmp_path):
    """Without E0, which is zero then, and without the name of an embedding that is linear."""
    text = LEGACY.decode().replace("1.0 0.5", "1.0 1.0")
    view = _core.NeighborView([[0, 0, 0], [1, 1.5, 2]], [0, 0], [0, 1], [0, 1, 2], [1, 0])
    energies = load(tmp_path, text, "full.ace").evaluate(view)["energies"]
    for line, shift in (
        ("E0: -0.5\n", -0.5),
        ("embedding-function: FinnisSinclairShiftedScaled\n", 0.0),
    ):
        assert line in text
        found = load(tmp_path, text.replace(line, ""), "short.ace").evaluate(view)["energies"]
        np.testing.assert_allclose(found, energies - shift, rtol=1e-13)
    bent = LEGACY.decode().replace("embedding-function: FinnisSinclairShiftedScaled\n", "")
    with pytest.raises(
        RuntimeError, match=r"bent.ace:5: the embedding is not linear, but no line 'embedding-f"
    ):
        load(tmp_path, bent, "bent.ace")


@FUZZ
@given(data=damage(LEGACY))
def test_damaged_ace(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged_ace.ace", data)
