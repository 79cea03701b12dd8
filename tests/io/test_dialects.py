# SPDX-License-Identifier: GPL-2.0-or-later
"""The same structure in every dialect of every format gives the same arrays, or is refused by name."""

import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from pyuq.io import extxyz
from pyuq.io.lammps_data import read_data, write_data
from pyuq.io.structures import StructureFiles, known_to_ase, read_structures

ELEMENTS = ("O", "Si", "Al")
KBAR = 1602.1766208


def structure(seed, n):
    """Labelled atoms in a skewed cell, of a volume that is no round number."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * rng.uniform(6, 9) + np.tril(rng.uniform(-1, 1, size=(3, 3)), -1)
    scaled = rng.permuted(np.arange(27))[:n]
    places = np.column_stack([scaled // 9, scaled // 3 % 3, scaled % 3]) + rng.uniform(
        0.3, 0.7, size=(n, 3)
    )
    atoms = Atoms(rng.choice(ELEMENTS, n), positions=places / 3 @ cell, cell=cell, pbc=True)
    forces, stress = rng.normal(size=(n, 3)), rng.normal(size=6) * 0.01
    return extxyz.labelled(atoms, float(rng.normal()) * 10, forces, stress)


def tensor(values):
    return np.asarray(values)[[0, 5, 4, 5, 1, 3, 4, 3, 2]]


def numbers(values):
    return " ".join(f"{float(x)!r}" for x in np.ravel(values))


def same(found, expected, tolerance=1e-12):
    np.testing.assert_array_equal(found.numbers, expected.numbers)
    np.testing.assert_array_equal(found.pbc, expected.pbc)
    for name in ("positions", "cell"):
        a, b = (np.asarray(getattr(x, name)) for x in (found, expected))
        np.testing.assert_allclose(a, b, rtol=0, atol=10 * tolerance)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(
            found.calc.results[name],
            expected.calc.results[name],
            rtol=0,
            atol=10 * tolerance,
            err_msg=name,
        )


CAPITALS = {"as is": str, "upper": str.upper, "lower": str.lower, "title": str.title}

dialect = st.fixed_dictionaries(
    {
        "forces": st.sampled_from(["forces", "force"]),
        "stress": st.sampled_from(["stress", "virial", "both"]),
        "capitals": st.sampled_from(list(CAPITALS)),
        "column_capitals": st.sampled_from(list(CAPITALS)),
        "order": st.permutations(["species", "pos", "forces", "id", "extra"]),
        "columns": st.sets(st.sampled_from(["id", "extra"])),
        "shuffle": st.booleans(),
        "keys": st.permutations(range(6)),
        "quotes": st.sampled_from(['"', "'"]),
        "bom": st.booleans(),
        "newline": st.sampled_from(["\n", "\r\n"]),
        "gz": st.booleans(),
        "suffix": st.sampled_from([".xyz", ".extxyz", ".XYZ"]),
        "blank": st.booleans(),
    }
)


def spell(d, atoms, seed):
    """Text of a frame in a dialect."""
    case, column_case = CAPITALS[d["capitals"]], CAPITALS[d["column_capitals"]]
    n, q, results = len(atoms), d["quotes"], atoms.calc.results
    table = {
        "species": ("S:1", [[s] for s in atoms.get_chemical_symbols()]),
        "pos": ("R:3", [[repr(float(x)) for x in row] for row in atoms.positions]),
        "forces": ("R:3", [[repr(float(x)) for x in row] for row in results["forces"]]),
        "id": ("I:1", [[str(10 + 3 * i)] for i in range(n)]),
        "extra": ("R:2", [["1.5", "-2"] for _ in range(n)]),
    }
    used = [c for c in d["order"] if c in ("species", "pos", "forces") or c in d["columns"]]
    names = {c: column_case(d["forces"] if c == "forces" else c) for c in used}
    properties = ":".join(f"{names[c]}:{table[c][0]}" for c in used)
    virial = tensor(-results["stress"] * atoms.get_volume())
    keys = [
        f"{case('Lattice')}={q}{numbers(atoms.cell.array)}{q}",
        f"{case('Properties')}={properties}",
        f"{case('energy')}={results['energy']!r}",
        f"{case('pbc')}={q}T T T{q}",
        f"{case('virial')}={q}{numbers(virial)}{q}" if d["stress"] in ("virial", "both") else "",
        f"{case('stress')}={q}{numbers(tensor(results['stress']))}{q}"
        if d["stress"] != "virial"
        else "config_type=x",
    ]
    rows = [" ".join(word for c in used for word in table[c][1][i]) for i in range(n)]
    if d["shuffle"] and "id" in used:
        rows = [rows[i] for i in np.random.default_rng(seed).permutation(n)]
    lines = [str(n), " ".join(keys[k] for k in d["keys"] if keys[k]), *rows]
    if d["blank"]:
        lines.append("")
    return ("\ufeff" if d["bom"] else "") + d["newline"].join(lines) + d["newline"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(d=dialect, seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_extended_xyz(tmp_path_factory, d, seed, n):
    folder, atoms = tmp_path_factory.mktemp("dialect"), structure(seed, n)
    path = folder / f"a{d['suffix']}{'.gz' if d['gz'] else ''}"
    data = spell(d, atoms, seed).encode()
    path.write_bytes(gzip.compress(data) if d["gz"] else data)
    (found,) = read_structures([path])
    same(found, atoms, 1e-9 if d["stress"] == "virial" else 1e-12)
    (streamed,) = StructureFiles([path])
    same(streamed, found)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    direct=st.booleans(),
    supercell=st.sampled_from(["Supercell", "SuperCell", "SUPERCELL"]),
    inline=st.sets(st.sampled_from(["Size", "Energy", "Supercell", "PlusStress"])),
    virial=st.sampled_from(["PlusStress:", "Virial:"]),
    order=st.permutations(["xx", "yy", "zz", "yz", "xz", "xy"]),
    shuffle=st.booleans(),
    bom=st.booleans(),
)
def test_cfg(tmp_path_factory, seed, n, direct, supercell, inline, virial, order, shuffle, bom):
    atoms = structure(seed, n)
    names = ("xx", "yy", "zz", "yz", "xz", "xy")
    w = dict(zip(names, -atoms.get_stress() * atoms.get_volume(), strict=True))
    places = atoms.get_scaled_positions(wrap=False) if direct else atoms.positions
    rows = [
        f"{i + 1} {ELEMENTS.index(s)} {numbers(x)} {numbers(f)}"
        for i, (s, x, f) in enumerate(zip(atoms.symbols, places, atoms.get_forces(), strict=True))
    ]
    if shuffle:
        rows = [rows[i] for i in np.random.default_rng(seed).permutation(n)]
    kind = "direct" if direct else "cartes"
    between = {
        key: " " if key in inline else "\n "
        for key in ("Size", "Energy", "Supercell", "PlusStress")
    }
    lines = [
        "BEGIN_CFG",
        f"Size{between['Size']}{n}",
        f"{supercell}{between['Supercell']}" + "\n ".join(map(numbers, atoms.cell.array)),
        f"AtomData: id type {kind}_x {kind}_y {kind}_z fx fy fz",
        *rows,
        f"Energy{between['Energy']}{atoms.get_potential_energy()!r}",
        f"{virial} {' '.join(order)}{between['PlusStress']}{numbers([w[c] for c in order])}",
        "END_CFG",
    ]
    path = tmp_path_factory.mktemp("cfg") / "a.cfg"
    path.write_text(("\ufeff" if bom else "") + "\n".join(lines) + "\n", encoding="utf-8")
    (found,) = read_structures([path], ELEMENTS)
    same(found, atoms, 1e-10)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    style=st.sampled_from(["atomic", "charge"]),
    shuffle=st.booleans(),
    images=st.booleans(),
)
def test_lammps_data(tmp_path_factory, seed, n, style, shuffle, images):
    """Written by us or, with another order and image flags, by LAMMPS."""
    atoms, path = structure(seed, n), tmp_path_factory.mktemp("data") / "a.data"
    write_data(path, atoms, ELEMENTS, atom_style=style)
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Atoms #")) + 2
    rows = lines[start : start + n]
    if images:
        rows = [f"{row} 0 0 0" for row in rows]
    if shuffle:
        rows = [rows[i] for i in np.random.default_rng(seed).permutation(n)]
    path.write_text("\n".join([*lines[:start], *rows]) + "\n")
    found = read_data(path, ELEMENTS)
    np.testing.assert_array_equal(found.numbers, atoms.numbers)
    np.testing.assert_allclose(
        found.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-10
    )


@pytest.mark.parametrize("name", ["a.traj", "a.json", "a.db", "a.xyz"])
def test_what_ase_writes(tmp_path, name):
    atoms = structure(5, 6)
    ase.io.write(tmp_path / name, atoms)
    (found,) = read_structures([tmp_path / name])
    same(found, atoms, 1e-8)


LATTICE = 'Lattice="5 0 0 0 5 0 0 0 6"'
PLAIN = f"2\n{LATTICE} Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\nSi 0 0 0 1 2 3\nGe 2 2 3 -1 -2 -3\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("energy=-1.5", "energy=T", "energy=T is no number"),
        ("energy=-1.5", 'energy="-1.5 2"', "energy has 2 numbers, expected 1"),
        ("energy=-1.5", "energy=-1.5 energy=-1.6", "energy= is there twice"),
        ("energy=-1.5", "energy=-1.5 ENERGY=-1.6", "energy= is there twice"),
        ("energy=-1.5", "energy=-1.5 a=1 a=2", "a= is there twice"),
        ("energy=-1.5", 'energy=-1.5 virial="1 2 3 4 5 6"', "virial has 6 numbers, expected 9"),
        ("energy=-1.5", 'energy=-1.5 stress="1 2 3"', "stress has 3 numbers, expected 9"),
        ("5 0 0 0 5", "5 0 0 T 5", "is no number"),
        ("pos:R:3", "pos:R:3:pos:R:3", "the column pos twice"),
        ("pos:R:3", "pos:R:3:POS:R:3", "the column pos twice"),
        ("forces:R:3", "forces:R:3:force:R:3", "two columns of forces"),
        ("pos:R:3", "pos:R", "expected NAME:TYPE:COUNT"),
        ("species:S:1:", "", "expected columns species and pos"),
        ("Si 0 0 0 1 2 3", "Si 0 0 0 1 2", "atom 1 has 6 columns, Properties says 7"),
        ("Si 0 0 0 1 2 3", "Si 0 0 0 1 2 3 4", "atom 1 has 8 columns, Properties says 7"),
        ("Si 0", "Si1 0", "atom 1: 'Si1' is no chemical symbol; write Si"),
        ("Si 0", "SI 0", "atom 1: 'SI' is no chemical symbol; write Si"),
        ("Si 0", "Q 0", "atom 1: 'Q' is no chemical symbol$"),
        ("Si 0 0 0", "Si 0 0 x", "could not convert string to float: 'x'"),
        ("species", "id:I:1:species", "atom 1 has 7 columns, Properties says 8"),
        ("2\n", "600000000000\n", "the file ends before it: 2 of 600000000000 atoms are there"),
        ("2\n", "two\n", "expected the number of its atoms, found 'two"),
        ("2\n", "-2\n", "expected the number of its atoms, found '-2"),
    ],
)
def test_what_is_wrong_in_a_frame_is_named_with_its_file(tmp_path, old, new, message):
    path = tmp_path / "a.xyz"
    path.write_text(PLAIN)
    assert len(read_structures([path])) == 1
    path.write_text(PLAIN.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"a\.xyz: frame 0 cannot be read: .*{message}"):
        read_structures([path])


def test_ids_twice(tmp_path):
    path = tmp_path / "a.xyz"
    text = PLAIN.replace("species", "id:I:1:species")
    for ids, right in ((("7", "3"), True), (("3", "3"), False)):
        path.write_text(text.replace("Si 0", f"{ids[0]} Si 0").replace("Ge 2", f"{ids[1]} Ge 2"))
        if right:
            assert str(read_structures([path])[0].symbols) == "GeSi"
        else:
            with pytest.raises(ValueError, match=r"a\.xyz: .*id 3 is there twice"):
                read_structures([path])


def test_isotopes_are_hydrogen_and_keep_their_masses(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(PLAIN.replace("Si 0", "D 0").replace("Ge 2", "T 2"))
    (atoms,) = read_structures([path], ["H"])
    assert str(atoms.symbols) == "H2"
    np.testing.assert_allclose(atoms.get_masses(), [2.014, 3.016], atol=1e-3)
    extxyz.write(path, [atoms])
    (again,) = read_structures([path])
    np.testing.assert_array_equal(again.get_masses(), atoms.get_masses())
    np.testing.assert_array_equal(again.get_forces(), atoms.get_forces())


@pytest.mark.parametrize(
    ("factor", "meaning"),
    [
        (lambda v: 2.0, r"virial = 2 times -volume \* stress\."),
        (lambda v: -1.0, "one has the opposite sign"),
        (lambda v: 1 / v, "virial has been divided by the volume"),
        (lambda v: -1 / v, "divided by the volume; one has the opposite sign"),
        (lambda v: 1 / KBAR, "the stress is in kbar"),
        (lambda v: -10 / KBAR, "the stress is in GPa; one has the opposite sign"),
        (lambda v: KBAR / v, "the virial is a stress in kbar"),
        (lambda v: 1.0005, ""),
    ],
)
def test_virial_and_stress_that_disagree(tmp_path, factor, meaning):
    """Both are named, with the factor and what it means; a difference of rounding is none."""
    path, volume = tmp_path / "a.xyz", 150.0
    stress = np.array([0.011, 0.022, 0.033, 0.004, 0.003, 0.002])
    virial = tensor(-volume * stress * factor(volume))
    keys = f'energy=-1.5 virial="{numbers(virial)}" stress="{numbers(tensor(stress))}"'
    path.write_text(PLAIN.replace("energy=-1.5", keys))
    if not meaning:
        np.testing.assert_allclose(read_structures([path])[0].get_stress(), stress)
        return
    with pytest.raises(ValueError, match=rf"a\.xyz: .*virial and stress disagree: .*{meaning}"):
        read_structures([path])


def test_virial_and_stress_that_are_no_multiples_of_one_another(tmp_path):
    path = tmp_path / "a.xyz"
    keys = 'energy=-1.5 virial="1 0 0 0 1 0 0 0 1" stress="1 0 0 0 2 0 0 0 3"'
    path.write_text(PLAIN.replace("energy=-1.5", keys))
    with pytest.raises(ValueError, match=r"disagree: .*-volume \* stress is -150 -300 -450 0? ?"):
        read_structures([path])


@pytest.mark.parametrize(
    ("lattice", "message"),
    [
        ("5 0 0 0 5 0 5 5 1e-9", "Å thin"),
        ("5 0 0 5 1e-6 0 0 0 6", "Å thin"),
        ("1e-7 0 0 0 5 0 0 0 6", "Å thin"),
        ("5 0 0 0 4e10 0 0 0 6", "it is 4e\\+10 Å long"),
        ("5 0 0 5 0 0 0 0 6", "periodic, but its cell is"),
        ("5 0 0 0 5 0 0 0 nan", "periodic, but its cell is"),
    ],
)
def test_cells_without_thickness_are_refused(tmp_path, lattice, message):
    path = tmp_path / "a.xyz"
    path.write_text(PLAIN.replace("5 0 0 0 5 0 0 0 6", lattice))
    with pytest.raises(ValueError, match=rf"a\.xyz: structure 0 .*{message}"):
        read_structures([path])
    atoms = extxyz.read(path)[0]
    with pytest.raises(ValueError, match=message):
        write_data(tmp_path / "a.data", atoms, ("Si", "Ge"))
    assert not (tmp_path / "a.data").exists()


def test_a_cluster_that_has_flown_apart_is_named(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(PLAIN.replace(LATTICE, 'pbc="F F F"').replace("Ge 2 2", "Ge 2 2e7"))
    with pytest.raises(ValueError, match=r"a\.xyz: structure 0 .* it is 2e\+07 Å long"):
        read_structures([path])


def test_periodic_without_a_lattice_is_named(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(PLAIN.replace(LATTICE, 'pbc="T T T"'))
    with pytest.raises(ValueError, match=r"a\.xyz: structure 0 .*periodic, but its cell is"):
        read_structures([path])


@pytest.mark.parametrize(
    "name", ["XDATCAR", "a.xyz", "a.traj", "a.xyz.gz", "vasprun.traj", "run.db"]
)
def test_ase_decides_what_a_trajectory_is(tmp_path, name):
    """And what neither it nor we know is named; a dump stays a dump under any name."""
    frames = [
        Atoms("Ar4", positions=np.eye(4, 3) * 3 + 0.01 * k, cell=[9.0] * 3, pbc=True)
        for k in range(4)
    ]
    for atoms in frames if name.endswith(".db") else [frames]:
        ase.io.write(tmp_path / name, atoms, append=name.endswith(".db"))
    assert known_to_ase(tmp_path / name)
    assert len(extxyz.read(tmp_path / name)) == 4
    for other, text in (("b.xyz", "ITEM: TIMESTEP\n0\n"), ("b.dump", "# nothing\n"), ("b", "")):
        (tmp_path / other).write_text(text)
        assert not known_to_ase(tmp_path / other)
