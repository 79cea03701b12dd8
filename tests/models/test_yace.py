# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing potentials: coefficients, repulsion drawn from data, bad input."""

import io

import numpy as np
import pytest
from ase import Atoms

from pyuq.models.basis import ACEBasis
from pyuq.models.yace import (
    Repulsion,
    format_yace,
    repulsion_inside,
    shortest_distances,
    write_yace,
)

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
    # I-I never meets: covalent radii 1.45 (Ag) and 1.39 (I), smallest ratio that of Ag-Ag
    assert repulsion.distance("I", "I") == pytest.approx(2.7 * 1.39 / 1.45 - 0.1)
    assert repulsion.width == 0.3
    text = format_yace(BASIS, repulsion=repulsion)
    assert text.count("inner_cutoff_type: zbl") == 4
    assert text.count("dcut_in: 0.3") == 4


def test_repulsion_narrows_for_short_bonds():
    assert repulsion_inside([line_of("HH", 0.0, 0.5)], ("H",), 3.0).width == pytest.approx(0.25)
