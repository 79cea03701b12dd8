# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of per-atom quantities: its rows are what the documentation names and what LAMMPS gives."""

import re
from pathlib import Path

import numpy as np
import pytest
from crystal import atoms, posterior_file, run

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r'^    \{"(\w+)", "(\w+)", "(\w*)", (\d+), ', re.M)
ROWS = ROW.findall((ROOT / "lammps_plugin/styles/peratom_table.cpp").read_text())


@pytest.fixture(scope="module")
def potential(tmp_path_factory):
    return posterior_file(tmp_path_factory.mktemp("peratom"), "alsi")


def test_rows_are_documented():
    pair = (ROOT / "docs/styles/pair_uq.md").read_text().split("### Per-atom quantities")[1]
    compute = (ROOT / "docs/styles/compute_uq_atom.md").read_text()
    listed = re.search(r"^- one or more of (.*)$", compute, re.M).group(1)
    assert len(ROWS) >= 5
    assert re.findall(r"`(\w+)`", listed) == [keyword for _, keyword, _, _ in ROWS]
    for name, _, units, _ in ROWS:
        said = re.search(rf"`{name}` \((.*?)[,)]", pair.replace("\n", " "))
        assert said, name
        if units:
            assert f"{units} units" in pair[pair.index(f"`{name}`") :][:120], name


@pytest.mark.parametrize(
    "name, keyword", [row[:2] for row in ROWS if row[0] not in ("grade", "noise")]
)
def test_fix_pair_and_compute_agree(potential, name, keyword):
    script = f"fix s all pair 1 uq {name} 1\ncompute a all uq/atom {keyword}\ncompute m all reduce max c_a f_s\n"
    lmp = run(atoms(potential) + script + "thermo_style custom step c_m[1] c_m[2]\nrun 1")
    found = lmp.last_thermo()
    assert found["c_m[1]"] == found["c_m[2]"] > 0.0


@pytest.mark.parametrize("name, keyword", [row[:2] for row in ROWS if row[0] in ("grade", "noise")])
def test_quantities_that_no_model_has(potential, name, keyword):
    compute = (
        f"compute a all uq/atom {keyword}\ncompute m all reduce max c_a\nthermo_style custom c_m"
    )
    for script in (f"fix s all pair 1 uq {name} 1\nrun 0", f"{compute}\nrun 0"):
        with pytest.raises(Exception, match="pair_style uq: no model has"):
            run(atoms(potential) + script)


def test_columns(potential):
    """Several quantities are the columns of one array, atoms outside the group have 0."""
    lmp = run(
        atoms(potential)
        + "group g id 1:5\ncompute a g uq/atom relative energy\ncompute b all uq/atom energy\n"
        + "compute s all reduce sum c_a[1] c_a[2] c_b\nthermo_style custom c_s[*]\nrun 0"
    )
    table = lmp.numpy.extract_compute("a", 1, 2)
    alone = lmp.numpy.extract_compute("b", 1, 1)
    order = lmp.numpy.extract_atom("id")
    inside = order[: len(table)] <= 5
    np.testing.assert_array_equal(table[inside, 1], alone[: len(table)][inside])
    assert (table[~inside] == 0).all() and (table[inside] > 0).all()
