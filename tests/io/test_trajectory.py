# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps and their unwrapping: against LAMMPS's own unwrapped positions, and damaged in every usual way."""

import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms

from pyuq.io.dump import LammpsDump
from pyuq.io.trajectory import iterate_trajectory, read_trajectory

CELL = np.diag([4.0, 5.0, 6.0])


def dump_text(steps, table, columns="id type xu yu zu", box="pp pp pp\n0 4\n0 5\n0 6"):
    """Dump of the rows table[t][k]."""
    return "".join(
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\nITEM: BOX BOUNDS {box}\n"
        f"ITEM: ATOMS {columns}\n" + "".join(" ".join(map(str, row)) + " \n" for row in rows)
        for step, rows in zip(steps, table)
    )


@pytest.fixture
def walk():
    """Positions (T, N, 3) of a walk that leaves the cell."""
    return np.cumsum(np.random.default_rng(0).normal(0, 0.4, (40, 7, 3)), axis=0)


@pytest.fixture
def dump(walk, tmp_path):
    """Function (positions, columns, ...) → path of a dump with ids 1 to N and types 1 and 2."""

    def write(positions=walk, columns="id type xu yu zu", steps=None, extra=None, **options):
        steps = range(0, 10 * len(positions), 10) if steps is None else steps
        table = [
            [
                [k + 1, 1 + k % 2, *map(repr, x.tolist()), *([] if extra is None else extra[t, k])]
                for k, x in enumerate(frame)
            ]
            for t, frame in enumerate(positions)
        ]
        path = tmp_path / "t.dump"
        path.write_text(dump_text(steps, table, columns, **options))
        return path

    return write


def test_unwrapped_positions_are_read_as_written(dump, walk):
    found = read_trajectory(dump())
    np.testing.assert_array_equal(found.positions, walk)
    np.testing.assert_array_equal(found.steps, np.arange(0, 400, 10))
    np.testing.assert_array_equal(found.cells[3], CELL)
    assert found.spacing == 10 and found.volume == pytest.approx(120)
    assert list(found.species[:3]) == ["1", "2", "1"]


@pytest.mark.parametrize(
    "number",
    [
        "1",
        "-0.5",
        "+2.5e3",
        "1e-300",
        "0.1",
        "9007199254740993",
        "1E5",
        ".5",
        "5.",
        "123456789.123456789012",
        "4.9406564584124654e-324",
        "1.7976931348623157e308",
    ],
)
def test_numbers_are_correctly_rounded(number, tmp_path):
    path = tmp_path / "n.dump"
    path.write_text(dump_text([0], [[[1, 1, number, 0, 0]]]))
    assert next(iter(LammpsDump(path))).positions[0, 0] == float(number)


@pytest.mark.parametrize("word", ["1.2.3", "abc", "1e", "--1", "1,5"])
def test_what_is_no_number_is_named(word, tmp_path):
    path = tmp_path / "n.dump"
    path.write_text(dump_text([0], [[[1, 1, word, 0, 0]]]))
    with pytest.raises(ValueError, match="row 1"):
        next(iter(LammpsDump(path)))


def test_gzip(dump, walk, tmp_path):
    packed = tmp_path / "t.dump.gz"
    packed.write_bytes(gzip.compress(dump().read_bytes()))
    np.testing.assert_array_equal(read_trajectory(packed).positions, walk)
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-200])
    with pytest.raises(ValueError, match="cut short"):
        read_trajectory(packed)
    for damaged in (b"no gzip", whole[:200] + b"\0" * 200 + whole[400:]):
        packed.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"t\.dump\.gz: the compressed file is damaged"):
            read_trajectory(packed)


def test_wrapped_positions_with_and_without_images(dump, walk):
    images = np.floor(walk @ np.linalg.inv(CELL)).astype(int)
    wrapped = walk - images @ CELL
    moved = walk - walk[0]
    with_images = read_trajectory(dump(wrapped, "id type x y z ix iy iz", extra=images))
    np.testing.assert_allclose(with_images.positions, walk, atol=1e-12)
    for columns, positions in (("x y z", wrapped), ("xs ys zs", wrapped @ np.linalg.inv(CELL))):
        found = read_trajectory(dump(positions, f"id type {columns}")).positions
        np.testing.assert_allclose(found - found[0], moved, atol=1e-12)


def test_unsorted_atoms_and_surplus_columns(walk, tmp_path):
    rng = np.random.default_rng(1)
    table = [
        [["Xx", *x.tolist(), 0.5, k + 1, 1 + k % 2] for k, x in enumerate(frame)] for frame in walk
    ]
    table = [[rows[k] for k in rng.permutation(len(rows))] for rows in table]
    path = tmp_path / "t.dump"
    path.write_text(dump_text(range(40), table, "element xu yu zu q id type"))
    with pytest.warns(UserWarning, match="types 1, 2 are all Xx"):
        found = read_trajectory(path)
    np.testing.assert_array_equal(found.positions, walk)
    assert set(found.species) == {"Xx1", "Xx2"}


def test_pieces_continue_each_other(dump, walk):
    images = np.floor(walk @ np.linalg.inv(CELL)).astype(int)
    path = dump(walk - images @ CELL, "id type x y z")
    pieces = list(iterate_trajectory(path, chunk=7))
    whole = read_trajectory(path)
    assert len(pieces) == 6
    np.testing.assert_allclose(
        np.concatenate([p.positions for p in pieces]), whole.positions, atol=1e-12
    )
    some = read_trajectory(path, skip=5, stride=3)
    np.testing.assert_allclose(some.positions, whole.positions[5::3], atol=1e-12)
    np.testing.assert_array_equal(some.steps, whole.steps[5::3])


def test_changing_cell_adds_no_motion(tmp_path):
    """Atoms fixed in the lab, many images away, in a breathing cell: w + n h would make them jump."""
    rng = np.random.default_rng(2)
    start = np.array([[0.3, 0.4, 0.5], [1.0, 2.0, 3.0]])
    lengths = 10 + rng.normal(0, 0.1, 50)
    frames = []
    for t, length in enumerate(lengths):
        rows = [
            [k + 1, 1, *(x + 100 * length)] for k, x in enumerate(start)
        ]  # 100 images away, as xu
        frames.append(dump_text([t], [rows], box=f"pp pp pp\n0 {length}\n0 {length}\n0 {length}"))
    path = tmp_path / "t.dump"
    path.write_text("".join(frames))
    found = read_trajectory(path).positions
    np.testing.assert_allclose(found - found[0], 0, atol=1e-9)


def test_npt_of_lammps_in_every_kind_of_column(tmp_path):
    from pyuq import lmp

    kinds = {"u": "xu yu zu", "su": "xsu ysu zsu", "i": "x y z ix iy iz", "si": "xs ys zs ix iy iz"}
    kinds["w"] = "x y z"
    engine = lmp.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    try:
        engine.commands_string(
            "units lj\nlattice fcc 0.6\nregion b prism 0 3 0 3 0 3 0.5 -0.3 0.4\ncreate_box 1 b\n"
            "create_atoms 1 box\nmass 1 1\npair_style lj/cut 2.0\npair_coeff 1 1 1 1\n"
            "velocity all create 3.0 1\nneigh_modify delay 0 every 1\n"
            "fix 1 all npt temp 3 3 0.5 tri 3 3 1.0 flip no\nrun 100\n"
            + "".join(
                f"dump {k} all custom 5 {tmp_path}/{k}.dump id type {c}\n"
                f"dump_modify {k} format float %.15g\n"
                for k, c in kinds.items()
            )
            + "run 300\n"
        )
        bounds = engine.extract_box()
    finally:
        engine.close()
    found = {k: read_trajectory(tmp_path / f"{k}.dump") for k in kinds}
    (lo, hi, xy, yz, xz, *_) = bounds
    cell = [[hi[0] - lo[0], 0, 0], [xy, hi[1] - lo[1], 0], [xz, yz, hi[2] - lo[2]]]
    np.testing.assert_allclose(found["u"].cells[-1], cell, rtol=1e-10)
    moved = {k: t.positions - t.positions[0] for k, t in found.items()}
    assert np.ptp(found["u"].volume) == 0 and np.abs(moved["u"]).max() > 1.0
    for kind in ("su", "i", "si", "w"):
        np.testing.assert_allclose(moved[kind], moved["u"], atol=1e-8, err_msg=kind)


def test_extended_xyz(walk, tmp_path):
    frames = [Atoms("AgIAgIAgIAg", positions=x, cell=CELL, pbc=True) for x in walk]
    for frame in frames:
        frame.wrap()
    path = tmp_path / "t.extxyz"
    ase.io.write(path, frames)
    found = read_trajectory(path)
    np.testing.assert_allclose(found.positions - found.positions[0], walk - walk[0], atol=1e-6)
    assert found.group("Ag").sum() == 4
    ase.io.write(path, [*frames, frames[0][:3]])
    with pytest.raises(ValueError, match="same atoms"):
        read_trajectory(path)


def test_mdanalysis(walk):
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe.empty(7, trajectory=True)
    universe.add_TopologyAttr("names", ["Ag"] * 7)
    universe.load_new(walk.astype(np.float32), order="fac", dimensions=[4, 5, 6, 90, 90, 90])
    found = read_trajectory(universe)
    np.testing.assert_allclose(found.positions - found.positions[0], walk - walk[0], atol=1e-5)


def test_groups(dump):
    run = read_trajectory(dump(), elements=("Ag", "I"))
    assert run.group("Ag").tolist() == [True, False] * 3 + [True]
    assert run.atoms([1, 7]).nonzero()[0].tolist() == [0, 6]
    with pytest.raises(ValueError, match="no atom of species Li"):
        run.group(["Ag", "Li"])
    with pytest.raises(ValueError, match="no atom with id"):
        run.atoms([8])
    with pytest.raises(ValueError, match="one for each type"):
        read_trajectory(dump(), elements=("Ag",))


def test_partial_frames(dump, walk):
    path = dump()
    text = path.read_text()
    for cut in (3, 60, 150, len(text.split("ITEM: TIMESTEP")[-1]) - 3):
        path.write_text(text[:-cut])
        with pytest.raises(ValueError, match="cut short"):
            read_trajectory(path)
        np.testing.assert_array_equal(read_trajectory(path, partial=True).positions, walk[:-1])


def test_a_step_written_twice_is_read_once(dump, walk):
    doubled = np.concatenate([walk[:5], walk[4:]])
    steps = [*range(0, 50, 10), *range(40, 400, 10)]
    np.testing.assert_array_equal(read_trajectory(dump(doubled, steps=steps)).positions, walk)


def damaged(name):
    """(columns of) a dump of two frames with one fault."""
    good = [[1, 1, 0, 0, 0], [2, 2, 1, 1, 1]]
    bad = {
        "lost": [good, good[:1]],
        "ids": [good, [[1, 1, 0, 0, 0], [3, 2, 1, 1, 1]]],
        "types": [good, [[1, 1, 0, 0, 0], [2, 1, 1, 1, 1]]],
        "twice": [[good[0], good[0]], good],
        "nan": [good, [[1, 1, 0, 0, 0], [2, 2, "nan", 1, 1]]],
        "surplus": [good, [[1, 1, 0, 0, 0, 0], [2, 2, 1, 1, 1]]],
        "one": [good],
    }[name]
    return dump_text(range(0, 10 * len(bad), 10), bad)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "were atoms lost"),
        ("ids", r"gone: \[2\], new: \[3\]"),
        ("types", "atom 2 has type 1, it had 2"),
        ("twice", "appears twice"),
        ("nan", "step 10: atom 2 .*blow up"),
        ("surplus", "row 1"),
        ("one", "at least two"),
    ],
)
def test_damage_is_named(name, message, tmp_path):
    path = tmp_path / "t.dump"
    path.write_text(damaged(name))
    with pytest.raises(ValueError, match=message):
        read_trajectory(path)


def test_wrapped_hops_beyond_recognition(dump, walk):
    fast = np.cumsum(np.random.default_rng(3).normal(0, 2.0, (40, 7, 3)), axis=0)
    images = np.floor(fast @ np.linalg.inv(CELL)).astype(int)
    with pytest.raises(ValueError, match="write xu yu zu"):
        read_trajectory(dump(fast - images @ CELL, "id type x y z"))


def test_uneven_steps(dump):
    with pytest.raises(ValueError, match="evenly spaced"):
        read_trajectory(dump(steps=[*range(0, 200, 10), *range(250, 450, 10)]))


@pytest.mark.parametrize("length", [40, 10, 4])
@pytest.mark.parametrize("columns", ["xu yu zu", "x y z ix iy iz", "x y z"])
def test_a_cell_that_flips(length, columns, tmp_path):
    """An atom at rest, 3 images away; LAMMPS keeps ``xu`` and turns the flags (b becomes b - a)."""
    path = tmp_path / "t.dump"
    frames = []
    for t, xy in enumerate((5, 5, -5, -5)):
        box = f"xy xz yz pp pp pp\n{min(0, xy)} {10 + max(0, xy)} {xy}\n0 {length} 0\n0 10 0"
        # In the file: u = w + n h, w inside the cell before and after.
        u = np.array([7 + 15, 1 + 3 * length, 1.0])
        flags = [3, 3, 0] if xy < 0 else [0, 3, 0]
        w = u - np.array(flags) @ [[10, 0, 0], [xy, length, 0], [0, 0, 10]]
        row = {"xu yu zu": [*u], "x y z ix iy iz": [*w, *flags], "x y z": [*w]}[columns]
        frames.append(dump_text([t], [[[1, 1, *row]]], f"id type {columns}", box))
    path.write_text("".join(frames))
    with pytest.warns(UserWarning, match="step 2: the cell flipped"):
        found = read_trajectory(path).positions
    np.testing.assert_allclose(found - found[0], 0, atol=1e-9)


def test_a_cell_that_jumps_is_refused(tmp_path):
    boxes = ["pp pp pp\n0 4\n0 4\n0 4", "pp pp pp\n0 6\n0 4\n0 4"]
    rows = [[[1, 1, 0.1, 0.1, 0.1]]]
    path = tmp_path / "t.dump"
    path.write_text("".join(dump_text([k], rows, box=b) for k, b in enumerate(boxes)))
    with pytest.raises(ValueError, match=r"step 1: cell vector a changed from .* runs joined"):
        read_trajectory(path)


BIG = "pp pp pp\n0 12\n0 12\n0 12"


@pytest.fixture
def wander():
    """Positions (T, N, 3) of a slow walk over several cells of 12 Å."""
    rng = np.random.default_rng(5)
    return rng.uniform(0, 12, (1, 20, 3)) + np.cumsum(rng.normal(0, 0.7, (300, 20, 3)), axis=0)


@pytest.mark.parametrize("columns", ["xu yu zu", "x y z ix iy iz"])
@pytest.mark.parametrize("fault", ["lost", "overflow"])
def test_lost_and_overflowed_image_counters_are_mended(dump, wander, columns, fault):
    images = np.floor(wander / 12).astype(int)
    flags = images.copy()
    if fault == "lost":
        flags[150:] -= flags[150]  # begin again at zero
    else:
        flags[150:, 3, 1] -= 1024
    assert (flags != images).any()
    wrapped = wander - 12 * images
    if columns == "xu yu zu":
        path = dump(wrapped + 12 * flags, box=BIG)
    else:
        path = dump(wrapped, f"id type {columns}", extra=flags, box=BIG)
    with pytest.warns(UserWarning, match=r"step 1500: .* jumped by whole cells"):
        found = read_trajectory(path).positions
    np.testing.assert_allclose(found - found[0], wander - wander[0], atol=1e-9)
    pieces = iterate_trajectory(path, chunk=7)
    pieces = np.concatenate([p.positions for p in pieces])
    np.testing.assert_allclose(pieces, found, atol=1e-9)


def test_atoms_that_are_fast_all_the_time_are_believed(dump):
    """Moves beyond half a cell between frames; only unwrapped positions know of them."""
    fast = np.cumsum(np.random.default_rng(3).normal(0, 3.0, (100, 20, 3)), axis=0)
    found = read_trajectory(dump(fast, box=BIG))
    np.testing.assert_array_equal(found.positions, fast)
    assert found.remarks == ()


def test_lost_counters_of_fast_atoms_are_refused(dump):
    fast = np.cumsum(np.random.default_rng(3).normal(0, 3.0, (100, 20, 3)), axis=0)
    fast[50:] -= 12 * np.floor(fast[50] / 12)
    with pytest.raises(
        ValueError, match=r"step 500: .*image counters lost, or different runs joined"
    ):
        read_trajectory(dump(fast, box=BIG))


@pytest.mark.parametrize("columns", ["xu yu zu", "x y z"])
def test_runs_that_were_joined_are_refused(dump, wander, columns):
    quiet = 0.05 * wander + np.random.default_rng(0).uniform(0, 12, (20, 3))
    joined = np.concatenate(
        [quiet, quiet[-1] + np.random.default_rng(1).normal(0, 1, (20, 3)) + quiet - quiet[0]]
    )
    joined = joined if columns == "xu yu zu" else np.mod(joined, 12)
    with pytest.raises(ValueError, match=r"step 3000: half of the atoms moved by .* joined"):
        read_trajectory(dump(joined, f"id type {columns}", box=BIG))


def test_a_first_frame_of_another_run_can_be_left_out(dump, wander):
    quiet = 0.05 * wander
    quiet[0] += np.random.default_rng(1).normal(0, 2, (20, 3))
    path = dump(quiet, box=BIG)
    with pytest.raises(ValueError, match=r"step 10: half of the atoms .*\(--skip\)"):
        read_trajectory(path)
    found = read_trajectory(path, skip=1, chunk=5).positions
    np.testing.assert_array_equal(found, quiet[1:])


def test_a_last_frame_of_another_run_is_refused(dump, wander):
    quiet = 0.05 * wander
    quiet[-1] += np.random.default_rng(1).normal(0, 2, (20, 3))
    for chunk in (299, 256):
        with pytest.raises(ValueError, match=r"step 2990: half of the atoms"):
            list(iterate_trajectory(dump(quiet, box=BIG), chunk=chunk))


def test_default_element_column_does_not_mix_types(tmp_path, dump, walk):
    rows = [[[k + 1, 1 + k % 2, "C", *x.tolist()] for k, x in enumerate(f)] for f in walk]
    path = tmp_path / "e.dump"
    path.write_text(dump_text(range(len(walk)), rows, "id type element xu yu zu"))
    with pytest.warns(UserWarning, match="which LAMMPS writes where no elements were named"):
        found = read_trajectory(path)
    assert found.species[:2].tolist() == ["1", "2"]
    named = read_trajectory(path, elements=("Ar", "Kr"))
    assert named.species[:2].tolist() == ["Ar", "Kr"]
    with pytest.warns(UserWarning, match="1, 2 are all named O and analysed together"):
        read_trajectory(path, elements=("O", "O"))
    path.write_text(path.read_text().replace(" C ", " O "))
    with pytest.warns(UserWarning, match=r"types 1, 2 are all O .* apart, as O1, O2"):
        found = read_trajectory(path)
    assert found.group("O").all() and found.group("O2").tolist() == [False, True] * 3 + [False]
    assert set(found.elements) == {"O"}
    path.write_text(
        path.read_text().replace("\n2 2 O", "\n2 2 N", 1).replace("\n4 2 O", "\n4 2 F", 1)
    )
    with pytest.raises(ValueError, match="type 2 are F and N and O"):
        read_trajectory(path)


def frames_of(positions, cell, pbc):
    return [Atoms(f"Ag{len(x)}", positions=x, cell=cell, pbc=pbc) for x in positions]


@pytest.mark.parametrize("kind", ["xyz", "pbc F F F", "slab"])
def test_wrapped_positions_without_a_periodic_cell_are_refused(wander, tmp_path, kind):
    path = tmp_path / "t.xyz"
    wrapped = np.mod(wander, 12)
    if kind == "xyz":
        ase.io.write(path, frames_of(wrapped, None, False), format="xyz")
    else:
        pbc = [True, True, False] if kind == "slab" else False
        ase.io.write(path, frames_of(wrapped, [12] * 3, pbc), format="extxyz")
    with pytest.raises(ValueError, match=r"the positions look wrapped.*say what the cell is"):
        read_trajectory(path)
    # The same atoms not wrapped, as they are in a cluster
    ase.io.write(path, frames_of(wander, None, False), format="xyz")
    np.testing.assert_allclose(read_trajectory(path).positions, wander, atol=1e-6)


@pytest.mark.parametrize("cell", [[12, 12, 0], [12, 12, 30], [[12, 0, 0], [4, 12, 0], [5, 5, 9]]])
def test_slabs(wander, tmp_path, cell):
    slab = wander * [1, 1, 0.1]
    frames = frames_of(slab, cell, [True, True, False])
    for frame in frames:
        frame.wrap(pbc=[True, True, False]) if np.shape(cell) == (3,) else None
    path = tmp_path / "t.extxyz"
    ase.io.write(path, frames)
    found = read_trajectory(path).positions
    np.testing.assert_allclose(found - found[0], slab - slab[0], atol=1e-6)


@pytest.mark.parametrize("columns", ["xu yu zu", "x y z"])
def test_shrink_wrapped_cells(wander, tmp_path, columns):
    """Bounds along z follow the atoms, by any amount; x and y are periodic."""
    heights = np.random.default_rng(0).uniform(20, 60, 300)
    frames = []
    for t, x in enumerate(wander * [1, 1, 0.2]):
        x = x if columns == "xu yu zu" else np.concatenate([np.mod(x[:, :2], 12), x[:, 2:]], axis=1)
        rows = [[k + 1, 1, *v.tolist()] for k, v in enumerate(x)]
        box = f"pp pp ss\n0 12\n0 12\n-40 {heights[t]}"
        frames.append(dump_text([t], [rows], f"id type {columns}", box))
    path = tmp_path / "t.dump"
    path.write_text("".join(frames))
    found = read_trajectory(path)
    moved = (wander - wander[0]) * [1, 1, 0.2]
    np.testing.assert_allclose(found.positions - found.positions[0], moved, atol=1e-9)
    assert found.remarks == ()


def test_few_atoms_without_a_cell_are_warned_of(wander, tmp_path):
    path = tmp_path / "t.xyz"
    ase.io.write(path, frames_of(np.mod(wander, 12)[:, :4], None, False), format="xyz")
    with pytest.warns(UserWarning, match="if the positions are wrapped, D is wrong"):
        read_trajectory(path)


def test_a_sheet_without_a_cell_is_as_thick_as_it_vibrates(tmp_path):
    rng = np.random.default_rng(0)
    flat = rng.uniform(0, 30, (1, 20, 3)) * [1, 1, 0] + rng.normal(0, 0.2, (50, 20, 3))
    flat[0, :, 2] = 0
    ase.io.write(tmp_path / "t.xyz", frames_of(flat, None, False), format="xyz")
    np.testing.assert_allclose(read_trajectory(tmp_path / "t.xyz").positions, flat, atol=1e-6)


def test_periodic_without_a_cell_is_named(wander, tmp_path):
    path = tmp_path / "t.extxyz"
    path.write_text(
        "".join(
            '20\nProperties=species:S:1:pos:R:3 pbc="T T T"\n'
            + "".join(f"Ag {a} {b} {c}\n" for a, b, c in x)
            for x in wander[:3]
        )
    )
    with pytest.raises(ValueError, match="step 0: periodic along a b c, but the cell vectors are"):
        read_trajectory(path)


@pytest.mark.parametrize("flag", ["nan", "1.9", "inf", "1e300"])
def test_image_flags_that_are_no_whole_numbers(flag, tmp_path):
    path = tmp_path / "t.dump"
    path.write_text(
        dump_text([0, 1], [[[7, 1, 0, 0, 0, 0, flag, 0]]] * 2, "id type x y z ix iy iz")
    )
    with pytest.raises(
        ValueError, match=r"step 0: atom 7 has image flags .*expected whole numbers"
    ):
        read_trajectory(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ITEM: BOX BOUNDS pp pp pp\n", "", "no ITEM: BOX BOUNDS"),
        ("0 5\n", "", "line 17: .*expected a number, found 'ITEM:'"),
        ("0 5\n", "0\n", "expected three lines of 2 or 3 numbers"),
        ("0 5\n", "0 nan\n", "expected a number, found 'nan'"),
        ("ITEM: NUMBER OF ATOMS\n", "", "no ITEM: NUMBER OF ATOMS"),
        ("TIMESTEP\n10\n", "TIMESTEP\nx\n", "header of a frame"),
        ("ATOMS\n7\n", "ATOMS\n-1\n", "-1 atoms"),
        ("ATOMS\n7\n", "ATOMS\n600000000000\n", "600000000000 atoms, 7 in the first"),
    ],
)
def test_damaged_headers_are_named(dump, old, new, message):
    path = dump()
    head, _, tail = path.read_text().partition("ITEM: TIMESTEP\n10\n")
    path.write_text(head + ("ITEM: TIMESTEP\n10\n" + tail).replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_trajectory(path)


def test_a_first_frame_of_more_atoms_than_the_file_holds(dump):
    path = dump()
    path.write_text(path.read_text().replace("ATOMS\n7\n", "ATOMS\n600000000000\n", 1))
    with pytest.raises(ValueError, match=r"cut short after .* of 600000000000 atoms"):
        read_trajectory(path)


def test_times_may_be_even_where_steps_are_not(dump, walk):
    """``dump_modify every/time`` writes the first step behind every multiple of a time."""
    path = dump(steps=[int(10 * t + t % 2) for t in range(40)])
    with pytest.raises(ValueError, match="evenly spaced"):
        read_trajectory(path)
    text = path.read_text()
    for t in range(40):
        step = int(10 * t + t % 2)
        text = text.replace(
            f"TIMESTEP\n{step}\n", f"TIMESTEP\n{step}\nITEM: TIME\n{0.1 * t + 1e-3 * (t % 3):g}\n"
        )
    path.write_text(text)
    found = read_trajectory(path)
    np.testing.assert_allclose(found.times[:4], [0, 0.101, 0.202, 0.3])
    with pytest.raises(ValueError, match="use the times"):
        found.spacing  # noqa: B018
    path.write_text(text.replace("TIME\n0.3", "TIME\n0.1", 1))
    with pytest.raises(ValueError, match="expected ascending"):
        read_trajectory(path)
    path.write_text(text.replace("ITEM: TIME\n0.3\n", "", 1))
    with pytest.raises(ValueError, match="expected all or none"):
        list(iterate_trajectory(path, chunk=1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "no LAMMPS text dump"),
        ("", "no LAMMPS text dump"),
        (dump_text([0], [[[1, 1, 0]]], "id type q"), "expected id, type and"),
        ("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n", "cut short"),
    ],
)
def test_other_files_are_refused(text, message, tmp_path):
    path = tmp_path / "t.dump"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trajectory(path)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read_trajectory(tmp_path / "none.dump")
    (tmp_path / "t.dump.zst").write_bytes(b"x")
    with pytest.raises(ValueError, match="expected a text dump"):
        read_trajectory(tmp_path / "t.dump.zst")
