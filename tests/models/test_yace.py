# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing potentials: coefficients, repulsion drawn from data, bad input."""

import io

import numpy as np
import pytest
from ase import Atoms

from pyuq.evaluate.evaluator import Evaluator
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.repulsion import Repulsion, repulsion_inside, shortest_distances
from pyuq.potentials.yace import format_yace, write_yace

BASIS = ACEBasis(("Ag", "I"), 5.0, order=2, degree=2)


def line_of(elements, *positions):
    return Atoms(elements, positions=[(x, 0, 0) for x in positions], cell=[30] * 3, pbc=True)


def ctildes(text):
    return np.array(
        [
            float(x)
            for row in text.splitlines()
            if "ctildes" in row
            for x in row.split("ctildes: [")[1].rstrip("]}").split(",")
        ]
    )


def test_coefficients_are_folded_into_the_couplings():
    counts = [len(f.ms) for functions in BASIS.functions for f in functions]
    c = np.random.default_rng(1).normal(size=BASIS.nfunctions)
    unit = ctildes(format_yace(BASIS))
    np.testing.assert_array_equal(ctildes(format_yace(BASIS, c)), np.repeat(c, counts) * unit)


def test_one_body_energies_keep_every_digit():
    text = format_yace(BASIS, e0={"I": -1 / 3})
    assert f"E0: [0.0, {-1 / 3!r}]" in text


def test_path_and_open_file_get_the_same(tmp_path):
    write_yace(tmp_path / "a.yace", BASIS)
    write_yace(file := io.StringIO(), BASIS)
    assert (tmp_path / "a.yace").read_text() == file.getvalue() == format_yace(BASIS)
    assert [f.name for f in tmp_path.iterdir()] == ["a.yace"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coefficients": np.full(BASIS.nfunctions, np.nan)}, "finite coefficients"),
        ({"coefficients": np.ones(3)}, "finite coefficients"),
        ({"e0": {"Si": 1.0}}, "e0 names Si"),
        ({"repulsion": Repulsion({("Ag", "I"): 2.0})}, "no inner distance for Ag-Ag"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        format_yace(BASIS, **arguments)


def test_repulsion_refuses_what_is_no_element():
    with pytest.raises(ValueError, match="chemical elements"):
        Repulsion({("Q", "Q"): 1.0}).distance("Q", "Q")


@pytest.mark.parametrize("inner", [{}, {("Ag", "I"): -1.0}])
def test_repulsion_needs_distances(inner):
    with pytest.raises(ValueError, match="positive distances"):
        Repulsion(inner)


def test_wide_change_is_refused():
    with pytest.raises(ValueError, match="width must lie"):
        Repulsion({("Ag", "I"): 1.0, ("I", "I"): 3.0}, width=0.6)


def test_shortest_distances_and_repulsion_inside_them():
    data = [line_of("AgI", 0.0, 2.7), line_of("IAgAg", 0.0, 2.9, 5.6)]
    assert shortest_distances(data, ("Ag", "I"), 3.0) == pytest.approx(
        {("Ag", "I"): 2.7, ("Ag", "Ag"): 2.7}
    )
    repulsion = repulsion_inside(data, ("Ag", "I"), 3.0)
    assert repulsion.distance("I", "Ag") == pytest.approx(2.6)
    # I-I never meets, or far out only: covalent radii 1.45 (Ag) and 1.39 (I), smallest ratio that of Ag-Ag
    anions = 1.2 * 2.7 * 1.39 / 1.45 - 0.1
    assert repulsion.distance("I", "I") == pytest.approx(anions)
    far = repulsion_inside([*data, line_of("IAgI", 0.0, 2.8, 5.6)], ("Ag", "I"), 6.0)
    assert far.distance("I", "I") == pytest.approx(anions)
    near = repulsion_inside([*data, line_of("II", 0.0, 2.9)], ("Ag", "I"), 6.0)
    assert near.distance("I", "I") == pytest.approx(2.8)
    assert repulsion.width == 0.3
    text = format_yace(BASIS, repulsion=repulsion)
    assert text.count("inner_cutoff_type: zbl") == 4
    assert text.count("dcut_in: 0.3") == 4


def test_repulsion_narrows_for_short_bonds():
    assert repulsion_inside([line_of("HH", 0.0, 0.5)], ("H",), 3.0).width == pytest.approx(0.25)


def zbl(r, za, zb):
    """Energy of a pair by Ziegler, Biersack and Littmark, eV."""
    x = r * (za**0.23 + zb**0.23) / 0.4685
    terms = [(0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162)]
    return 14.399645 * za * zb / r * sum(c * np.exp(-k * x) for c, k in terms)


def test_repulsion_takes_over_at_close_approach(tmp_path):
    """A potential that would fall into a hole, with and without repulsion."""
    repulsion = Repulsion({("Ag", "Ag"): 2.2, ("Ag", "I"): 2.4, ("I", "I"): 2.6}, width=0.4)
    e0 = {"Ag": -1.0, "I": -2.0}
    attraction = np.full(BASIS.nfunctions, -3.0)
    write_yace(tmp_path / "bare.yace", BASIS, attraction, e0)
    write_yace(tmp_path / "safe.yace", BASIS, attraction, e0, repulsion)
    bare, safe = (Evaluator(tmp_path / name) for name in ("bare.yace", "safe.yace"))

    def energy(model, r):
        return model.compute(line_of("AgI", 0.0, r))["energy"]

    assert energy(safe, 2.41) == pytest.approx(energy(bare, 2.41), rel=1e-14)
    for r in (0.3, 1.0, 1.99):
        tail = energy(safe, r) - sum(e0.values()) - zbl(r, 47, 53)
        assert abs(tail) < 0.02  # eV, what makes ZBL end at the cutoff
    distances = np.linspace(0.3, 2.4, 60)
    assert (np.diff([energy(safe, r) for r in distances]) < 0).all()
    assert energy(bare, 0.3) < energy(bare, 2.4)
