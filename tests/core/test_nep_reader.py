# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader of nep.txt: variants of the header, faults named with their line, no bytes that crash it."""

import re
import warnings
from pathlib import Path

import naive_nep as naive
import numpy as np
import pytest
from ase.io import read
from hypothesis import given
from hypothesis import strategies as st
from synthetic import CASES, yace
from test_readers import FUZZ, check_survival, damage, load

from pyuq import _core
from pyuq.evaluate.evaluator import Evaluator

NEP_DATA = Path(__file__).resolve().parents[1] / "data/nep"
SMALL = naive.nep_text(elements=("Ag", "I"), zbl="0.9 1.9", l_max="3 1 1", neurons=2)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("nep4_zbl", "nep4_dipole", r"is a dipole model"),
        ("nep4_zbl", "nep3_polarizability", r"is a polarizability model"),
        ("nep4_zbl", "nep4_temperature", r"is a temperature model"),
        ("nep4_zbl", "nep4_zbl_charge2", r"is a charge model"),
        ("nep4_zbl", "nep2", r":1: found 'nep2', expected nep3, nep4 or nep5"),
        ("nep4_zbl", "nep4_new", r":1: found 'nep4_new', expected nep4 or nep4_zbl"),
        ("nep4_zbl", "nep4", r":2: found 'zbl', expected 'cutoff'"),
        ("nep4_zbl 2", "nep4_zbl 3", r":1: found 2 elements, expected 3"),
        ("nep4_zbl 2", "nep4_zbl 4000000000", r":1: .* expected an integer between 1 and"),
        ("Ag I", "Ag Ag", r":1: element 'Ag' appears twice"),
        ("Ag I", "Ag Q7", r":2: ZBL repulsion needs chemical elements; found 'Q7'"),
        ("zbl 0.9 1.9", "zbl 0.9", r":2: 'zbl' has 1 numbers, expected 2 to 3"),
        ("zbl 0.9 1.9", "zbl 2.9 1.9", r":2: .* expected an inner radius below the outer"),
        ("cutoff 4.5", "cutoff nan", r":3: found 'nan', expected a finite number"),
        ("cutoff 4.5", "cutoff -1", r":3: .* expected a length between 0 and 100"),
        ("cutoff 4.5 3.6", "cutoff 0 0", r":3: found a cutoff of 0"),
        ("cutoff 4.5 3.6", "cutoff 4.5", r":3: 'cutoff' has 3 numbers, expected 2, 4, 7 or 6"),
        ("n_max 3 2", "n_max 3", r":4: 'n_max' has 1 numbers, expected 2"),
        ("n_max 3 2", "n_max 3 64", r":4: found '64', expected an integer between 0 and 63"),
        ("basis_size", "base_size", r":5: found 'base_size', expected 'basis_size'"),
        ("l_max 3", "l_max 9", r":6: found '9', expected an integer between 0 and 8"),
        ("l_max 3 1", "l_max 1 1", r":6: l_max is '1', expected 2 or more"),
        ("l_max 3 1 1", "l_max 3 3 1", r":6: found '3', expected an integer between 0 and 2"),
        ("l_max 3 1 1", "l_max 3 2 1 1 1 1 1 1", r":6: 'l_max' has 8 numbers, expected 1 to 7"),
        (
            "l_max 3 1 1",
            "l_max 3 0 1 0 1",
            r":6: the fourth flag .* FILE:gpumd=5\.3 or FILE:gpumd=5\.4",
        ),
        ("ANN 2 0", "ANN 2 2", r":7: ANN has a second hidden layer of 2 neurons"),
        ("ANN 2 0", "ANN 0 0", r":7: found '0', expected an integer between 1 and"),
        ("ANN 2 0", "ANN 4096 0", r"the file ends where .* are expected"),
        ("ANN 2 0", "ANN 1 0", r"found '.*' behind the last number"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, old, new, message):
    assert old in SMALL
    with pytest.raises(RuntimeError, match=message) as error:
        load(tmp_path, SMALL.replace(old, new, 1), "nep.txt")
    assert re.match(rf"{re.escape(str(tmp_path))}/nep\.txt:\d+: ", str(error.value))


# ---------------------------------------------------------------------- dialects of GPUMD


def test_fourth_flag_of_gpumd_53(tmp_path):
    """A file of 5.3; its energy as that version's formula has it, which later ones read as another potential."""
    atoms = read(NEP_DATA / "gpumd53.xyz")
    path = NEP_DATA / "gpumd53.txt"
    with pytest.warns(UserWarning, match=r"gpumd53\.txt:5: .* read as q_1122; .* FILE:gpumd=5\.4"):
        energy = Evaluator(path).compute(atoms)["energy"]
    assert energy == pytest.approx(-25.0757, abs=5e-5)
    assert Evaluator(f"{path}:gpumd=5.3").compute(atoms)["energy"] == energy
    assert Evaluator(f"{path}:gpumd=5.6").compute(atoms)["energy"] == pytest.approx(
        -25.0629, abs=5e-5
    )


def written_by(version, lmax, flags):
    """The line `l_max` as a version of GPUMD writes it."""
    if version == "5.3":
        return [lmax, *(int(flag) for flag in flags), *[0] * (4 - len(flags))]
    numbers = [2 * flags[0], *(int(flag) for flag in flags[1:])]
    while len(numbers) > 2 and not numbers[-1]:
        numbers.pop()
    return [lmax, *numbers]


@FUZZ
@given(
    version=st.sampled_from(["5.2", "5.3", "5.4", "5.5", "5.6"]),
    lmax=st.integers(4, 5),
    flags=st.lists(st.booleans(), min_size=6, max_size=6),
    said=st.sampled_from(["", "writer", "5.3", "5.6"]),
)
def test_same_potential_in_every_dialect(tmp_path_factory, version, lmax, flags, said):
    """Energies are those of the potential that was written, or the reader asks, or it was told wrong."""
    folder = tmp_path_factory.getbasetemp()
    flags = flags[: {"5.2": 2, "5.3": 4}.get(version, 6)]
    names = (naive.FLAGS_53 if version == "5.3" else naive.FLAGS)[: len(flags)]
    wanted = [name for name, flag in zip(names, flags, strict=True) if flag]
    line = " ".join(map(str, written_by(version, lmax, flags)))
    text = naive.nep_text(elements=("Te",), l_max=line, n_max=(1, 1), basis_size=(2, 2), neurons=2)
    path = folder / "dialect.txt"
    path.write_text(text)
    potential = naive.parse(text)
    potential["flags"] = wanted
    said = version if said == "writer" else said
    name = f"{path}:gpumd={said}" if said else path
    ambiguous = not flags[0] and len(line.split()) == 5 and line.endswith("1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Evaluator(name).model
    except RuntimeError as error:
        assert "dialect.txt" in str(error)
        assert (not said and ambiguous) or said not in ("", version)
        return
    assert said or not ambiguous
    if said and (said == "5.3") != (version == "5.3"):
        return  # told wrong, which no reader can see
    view = _core.NeighborView(CLUSTER, [0] * 4, [0], [0, 3], [1, 2, 3])
    neighbors = [(0, np.array(CLUSTER[k]) - CLUSTER[0]) for k in (1, 2, 3)]
    energy = model.evaluate(view)["energies"][0]
    assert energy == pytest.approx(naive.atomic_energy(potential, 0, neighbors), rel=1e-10)


CLUSTER = [[0, 0, 0], [1.1, 1.5, 1.2], [-1.4, 1.2, 0.3], [0.2, -1.6, 1.9]]


@pytest.mark.parametrize("version", ["5", "latest", "5.x", "-5.3", "5,3"])
def test_versions_that_are_none(tmp_path, version):
    (tmp_path / "nep.txt").write_text(SMALL)
    with pytest.raises(RuntimeError, match=r"nep\.txt: gpumd = .* such as 5\.3"):
        Evaluator(f"{tmp_path}/nep.txt:gpumd={version}")


def test_version_of_another_format(tmp_path):
    path = tmp_path / "a.yace"
    path.write_text(yace(**CASES["linear"]))
    with pytest.raises(RuntimeError, match=r"gpumd=5\.3 names the version that wrote a nep\.txt"):
        Evaluator(f"{path}:gpumd=5.3")


@pytest.mark.parametrize("line, message", [("1 2", "2 words"), ("x", "a finite number")])
def test_one_number_on_each_line(tmp_path, line, message):
    lines = SMALL.splitlines()
    lines[20] = line
    with pytest.raises(RuntimeError, match=rf":21: .*{message}"):
        load(tmp_path, "\n".join(lines), "nep.txt")


def test_flexible_repulsion_is_checked(tmp_path):
    lines = naive.nep_text(elements=("Ag",), zbl="0 0").splitlines()
    lines[-9] = "0.1"
    with pytest.raises(RuntimeError, match="expected an outer radius above the inner one"):
        load(tmp_path, "\n".join(lines), "nep.txt")


def test_typewise_cutoffs_need_known_elements(tmp_path):
    text = naive.nep_text(elements=("Am",), cutoff="5 4 90 40 1.2 1.2 0")
    with pytest.raises(RuntimeError, match="element 'Am' has no radius for typewise cutoffs"):
        load(tmp_path, text, "nep.txt")


@pytest.mark.parametrize(
    "old, new",
    [
        ("cutoff 4.5 3.6 90 40", "cutoff 4.5 3.6"),  # 2022
        ("cutoff 4.5 3.6 90 40", "cutoff 4.5 3.6 4.5 3.6 90 40"),  # 2025: by element
        ("cutoff 4.5 3.6 90 40", "cutoff 4.5 3.6 90 40 0 0 0"),  # 2024: typewise factors
        ("cutoff 4.5 3.6 90 40", "cutoff 4.5 3.6 90 40 9 9 0"),  # beyond the common cutoff
        ("l_max 3 1 1", "l_max 3 2 1"),  # up to 2024
        ("l_max 3 1 1", "l_max 3 1 1 0 0 0 0"),
        ("\n", "\r\n"),
        ("\n", "  \n\n"),
    ],
)
def test_equal_headers(tmp_path, old, new):
    a = load(tmp_path, SMALL, "a.txt")
    b = load(tmp_path, SMALL.replace(old, new), "b.txt")
    assert b.elements == a.elements and b.cutoff == a.cutoff and b.nreadout == a.nreadout
    np.testing.assert_array_equal(a.weights, b.weights)


def test_readout_is_that_of_the_file(tmp_path):
    text = naive.nep_text(elements=("Na", "Cl"), version=5, neurons=3)
    potential, model = naive.parse(text), load(tmp_path, text, "nep.txt")
    assert model.blocks == [(0, 4), (4, 4)]
    for (_, _, w1, bias), (offset, count) in zip(potential["networks"], model.blocks, strict=True):
        wanted = [*w1, -potential["b1"] - bias]
        np.testing.assert_allclose(model.weights[offset : offset + count], wanted, rtol=1e-15)


def test_names_that_are_no_text(tmp_path):
    path = tmp_path / "damaged.nep"
    path.write_bytes(b"nep4 2 \xc1g I\n")
    with pytest.raises(RuntimeError, match=r":1: found the element '\?g', expected a short name"):
        _core.Model(path)


@FUZZ
@given(data=damage(SMALL.encode()))
def test_damaged_nep(tmp_path_factory, data):
    check_survival(tmp_path_factory.getbasetemp() / "damaged.nep", data)
