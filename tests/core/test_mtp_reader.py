# SPDX-License-Identifier: GPL-2.0-or-later
"""Reader of .mtp and .almtp: what it accepts, what it refuses and how; no bytes crash it."""

import re

import naive_mtp as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_readers import FUZZ, damage

from pyuq import _core

SMALL = naive.mtp_text(degrees=(2, 1), nbasis=2, nproducts=6)
NAMES = ("Al", "Si")


def load(tmp_path, text, name="a.mtp", elements=NAMES):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _core.Model(path, elements=elements)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("version = 1.1.0", "version = 1.0.0", r":2: version '1\.0\.0', expected 1\.1\.0"),
        (
            "species_count = 2",
            "species_count = 3",
            r":5: the file has 3 species .* but 2 were given",
        ),
        ("= RBChebyshev", "= RBShapeev", r":7: radial_basis_type 'RBShapeev' is not supported"),
        ("min_dist = 1.5", "min_dist = 5.5", "expected min_dist < max_dist"),
        ("max_dist = 4.5", "max_dist = 1e4", "max_dist <= 1000"),
        ("max_dist = 4.5", "max_dist = nan", r":9: found 'nan', expected a finite number"),
        (
            "radial_basis_size = 2",
            "radial_basis_size = 3",
            "of '0-0' has 2 entries, expected radial_basis_size = 3",
        ),
        ("radial_basis_size = 2", "radial_basis_size = 99999", "an integer between 1 and 64"),
        (
            "radial_funcs_count = 2",
            "radial_funcs_count = 1",
            "radial_coeffs of '0-0' has 2 entries, expected radial_funcs_count = 1",
        ),
        ("\t\t0-1\n", "\t\t1-0\n", r"found '1-0', expected 0- and another species"),
        ("\t\t0-1\n", "\t\t2-1\n", r"found '2-1', expected 0-1"),
        ("\t\t1-0\n", "\t\t1-1\n", r"found '1-1', expected 1-0"),
        ("\t\t0-0\n", "\t\tAl-Al\n", r"found 'Al-Al', expected 0-0"),
        ("radial_coeffs", "radial_coefs", "unknown entry 'radial_coefs'"),
        ("alpha_moments_count", "alpha_moments_number", "unknown entry"),
        (
            "alpha_index_basic_count = 14",
            "alpha_index_basic_count = 15",
            "has 14 entries, expected",
        ),
        ("{{0, 0, 0, 0}", "{{2, 0, 0, 0}", "an integer between 0 and radial_funcs_count - 1 = 1"),
        ("{{0, 0, 0, 0}", "{{0, 9, 9, 0}", "degree 18, expected at most 16"),
        (
            "alpha_index_times_count = ",
            "alpha_index_times_count = 9",
            "entries, expected alpha_index",
        ),
        ("alpha_scalar_moments = ", "alpha_scalar_moments = 1", "alpha_moment_mapping has"),
        ("moment_coeffs = {", "moment_coeffs = {1.0, ", "moment_coeffs has"),
        (
            "species_coeffs = {",
            "species_coeffs = {1.0, ",
            "species_coeffs has 3 entries, expected species_count = 2",
        ),
        (
            "scaling = 0.3",
            "scaling = 0.3\nscaling = 0.3",
            r":5: the entry 'scaling' appears twice, here and on line 4",
        ),
        (
            "\tmin_dist = 1.5",
            "\tscaling = 1\n\tscaling = 1\n\tmin_dist = 1.5",
            "'scaling of the radial basis' appears twice",
        ),
        ("\tmin_dist = 1.5\n", "", "the entry min_dist is missing"),
        ("\tmin_dist = 1.5\n", "\tmin_dist = 1.5\n\tmin_val = 1.2\n", "'min_dist' appears twice"),
        ("\tmax_dist = 4.5\n", "\tmax_dist = 4.5\n\tmax = 4.6\n", "'max_dist' appears twice"),
        (
            "alpha_moments_count",
            "size = 8\nalpha_moments_count",
            "'radial_basis_size' appears twice",
        ),
        ("potential_tag =", "species_coeffs = {}", "'species_coeffs' appears twice"),
        ("potential_tag =", "species_count = 2", "'species_count' appears twice"),
        ("species_count = 2\n", "", "the entry species_count is missing"),
        (
            "potential_tag =",
            "magnetic_basis_type = BChebyshev",
            "magnetic moment tensor potentials",
        ),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, old, new, message):
    assert old in SMALL
    with pytest.raises(RuntimeError, match=message) as error:
        load(tmp_path, SMALL.replace(old, new, 1))
    assert re.match(rf"{re.escape(str(tmp_path))}/a\.mtp:\d+: ", str(error.value))


def blocks(text):
    """The entries behind the first two lines, each with the lines that belong to it."""
    return re.findall(r"^[ \t]*[a-z]\w*.*\n(?:\t\t.*\n)*", text.split("\n", 2)[2], re.M)


@FUZZ
@given(order=st.permutations(range(len(blocks(SMALL)))))
def test_entries_in_any_order(tmp_path_factory, order):
    """Sizes are compared when all is read, so that no order is wrong, and none writes beyond a list."""
    folder = tmp_path_factory.getbasetemp()
    entries = [e for e in blocks(SMALL) if not e.startswith("scaling")]
    order = [k for k in order if k < len(entries)]
    shuffled = "MTP\nversion = 1.1.0\nscaling = 0.3\n" + "".join(entries[k] for k in order)
    view = _core.NeighborView([[0, 0, 0], [1, 1.5, 2]], [0, 1], [0, 1], [0, 1, 2], [1, 0])
    a, b = load(folder, SMALL, "a.mtp"), load(folder, shuffled, "b.mtp")
    np.testing.assert_array_equal(a.evaluate(view)["energies"], b.evaluate(view)["energies"])


@pytest.mark.parametrize("key", ["radial_coeffs", "species_coeffs", "moment_coeffs"])
def test_untrained_potentials_are_refused(tmp_path, key):
    values = r"(\n\t\t+.*)*" if key == "radial_coeffs" else r" = .*"
    with pytest.raises(RuntimeError, match=f"untrained: it has no {key}; train it first"):
        load(tmp_path, re.sub(rf"\t?{key}{values}\n", "", SMALL))


def test_products_of_incomplete_moments_are_refused(tmp_path):
    count = int(re.search(r"alpha_moments_count = (\d+)", SMALL)[1])
    changed = re.sub(r"index_times = \{\{\d+,", f"index_times = {{{{{count - 1},", SMALL)
    with pytest.raises(RuntimeError, match="before it is complete"):
        load(tmp_path, changed)


@pytest.mark.parametrize("elements", [(), ("Al",), ("Al", "Si", "Cu")])
def test_as_many_names_as_species(tmp_path, elements):
    message = f"2 species without names, but {len(elements)} were given"
    with pytest.raises(RuntimeError, match=message):
        load(tmp_path, SMALL, elements=elements)


@pytest.mark.parametrize("elements", [("Al", "Al"), ("Al", "")])
def test_a_name_of_its_own_for_each_species(tmp_path, elements):
    with pytest.raises(RuntimeError, match=f"found '{elements[1]}' among the names of the species"):
        load(tmp_path, SMALL, elements=elements)


@pytest.mark.parametrize("labels", [("1", "2"), ("13", "29"), ("1", "0")])
def test_labels_of_species(tmp_path, labels):
    """MLIP-3 labels species as its training set did; their order in the file counts."""
    view = _core.NeighborView([[0, 0, 0], [1, 1.5, 2]], [0, 1], [0, 1], [0, 1, 2], [1, 0])
    changed = re.sub(
        r"\t\t([01])-([01])\n", lambda m: f"\t\t{labels[int(m[1])]}-{labels[int(m[2])]}\n", SMALL
    )
    assert changed != SMALL
    a, b = load(tmp_path, SMALL, "a.mtp"), load(tmp_path, changed, "b.mtp")
    np.testing.assert_array_equal(a.evaluate(view)["energies"], b.evaluate(view)["energies"])


@pytest.mark.parametrize(
    "old, new",
    [
        ("\n", "\r\n"),
        ("min_dist = 1.5\n\tmax_dist = 4.5", "min_val = 1.5\n\tmax_val = 4.5"),
        ("radial_basis_size", "size"),
        ("scaling = 0.3", "scaling = 0.15"),  # with 2 of the radial basis
        (", ", ","),
        ("{{", "{\n {"),
    ],
)
def test_equal_layouts(tmp_path, old, new):
    view = _core.NeighborView([[0, 0, 0], [1, 1.5, 2]], [0, 1], [0, 1], [0, 1, 2], [1, 0])
    changed = SMALL.replace(old, new)
    if "scaling" in old:
        changed = changed.replace("\tmin_dist", "\tscaling = 2\n\tmin_dist")
    a, b = load(tmp_path, SMALL, "a.mtp"), load(tmp_path, changed, "b.mtp")
    assert changed != SMALL
    np.testing.assert_allclose(
        a.evaluate(view)["energies"], b.evaluate(view)["energies"], rtol=1e-14
    )


def test_readout_is_that_of_the_file(tmp_path):
    potential, model = naive.parse(SMALL), load(tmp_path, SMALL)
    np.testing.assert_array_equal(model.weights, [*potential["species"], *potential["moments"]])
    assert (model.family, model.elements, model.cutoff) == ("mtp", ["Al", "Si"], 4.5)


def test_a_line_of_a_megabyte(tmp_path):
    text = naive.mtp_text(species=1, degrees=(2,), nproducts=60000)
    assert max(map(len, text.splitlines())) > 1_000_000
    assert load(tmp_path, text, elements=["Al"]).nreadout == 21


# ---------------------------------------------------------------------- active sets

NCOEFFICIENTS = 4 * 2 * 2 + 2 + len(naive.parse(SMALL)["scalars"])
ALMTP = f"{SMALL}#MVS_v1.1\n{naive.WEIGHTS}".encode() + np.eye(NCOEFFICIENTS).tobytes() * 2


def test_active_set_is_read(tmp_path):
    assert load(tmp_path, ALMTP).has_grades
    assert load(tmp_path, ALMTP.replace(b"\n", b"\r\n", SMALL.count("\n"))).has_grades


def test_grades_of_whole_configurations_are_not_grades_of_atoms(tmp_path):
    assert not load(tmp_path, ALMTP.replace(b"site_en_weight 1", b"site_en_weight 0")).has_grades


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda b: b[:-1], "the active set ends after .* bytes, expected 2 matrices of"),
        (lambda b: b[:-8] + np.array([np.inf]).tobytes(), "not finite"),
        (lambda b: b.replace(b"#MVS_v1.1", b"#MVS_v1.0"), "found '#MVS_v1.0', expected #MVS_v1.1"),
        (lambda b: b.replace(b"force_weight", b"force"), "expected force_weight"),
        (lambda b: b.replace(b"2\n#", b"2\n"), "expected a line that starts with #"),
    ],
)
def test_faults_of_active_sets(tmp_path, change, message):
    with pytest.raises(RuntimeError, match=message) as error:
        load(tmp_path, change(ALMTP))
    assert len(str(error.value)) < 300


@FUZZ
@given(data=damage(ALMTP))
def test_damaged_mtp(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.mtp"
    path.write_bytes(data)
    try:
        model = _core.Model(path, elements=NAMES)
    except RuntimeError as error:
        assert str(path) in str(error)
    else:
        view = _core.NeighborView([[0, 0, 0], [1, 1.5, 2]], [0, 1], [0, 1], [0, 1, 2], [1, 0])
        model.evaluate(view)
        if model.has_grades:
            model.grades(view)
