# SPDX-License-Identifier: GPL-2.0-or-later
"""One trajectory, however it is written, gives one D, or is refused by name; never another number."""

import warnings

import ase.io
import dumps
import numpy as np
from ase import Atoms
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pyuq.diffusion import TrajectoryAnalysis

D, SPACING, FRAMES, ATOMS = 0.4, 0.1, 60, 12
NAMED = (
    "write frames more often",
    "write xu yu zu",
    "were different ones joined",
    "or different runs",
    "look wrapped",
    "evenly spaced",
)


def cells(draw) -> tuple[np.ndarray, list[str]]:
    """Cell of each frame (T, 3, 3) and the text of its bounds; triclinic ones may flip, all may breathe."""
    edges = np.array(draw(st.sampled_from([(12, 12, 12), (12, 40, 14), (11, 13, 30)])), dtype=float)
    tilt = draw(st.sampled_from([0.0, 0.3, 0.49]))
    flips = draw(st.lists(st.integers(1, FRAMES - 1), max_size=3)) if tilt else []
    breathes = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scale = 1 + breathes * rng.normal(0, 0.005, FRAMES)
    side = np.array([(-1) ** sum(f <= t for f in flips) for t in range(FRAMES)])
    # b = (xy, ly, 0) becomes b - a and back: the lattice is the same if xy goes from lx / 2 to -lx / 2.
    xy = (0.5 * edges[0] if flips else tilt * edges[0]) * side
    boxes, found = [], []
    for t in range(FRAMES):
        lx, ly, lz = (scale[t] * edges).tolist()
        x = float(scale[t] * xy[t])
        found.append([[lx, 0, 0], [x, ly, 0], [0, 0, lz]])
        words = (
            f"xy xz yz pp pp pp\n{min(0.0, x)!r} {lx + max(0.0, x)!r} {x!r}\n0 {ly!r} 0\n0 {lz!r} 0"
        )
        boxes.append(words if tilt else f"pp pp pp\n0 {lx!r}\n0 {ly!r}\n0 {lz!r}")
    return np.array(found), boxes


def inside(moves, h, lost=None) -> tuple[np.ndarray, np.ndarray]:
    """Wrapped positions and image counts that LAMMPS keeps of atoms that make these moves, counts `lost` in a frame.

    In a cell that changes displacements are those inside the cell; where it flips, the counts turn with it.
    """
    wrapped, images = np.empty_like(moves), np.empty_like(moves)
    w, n = moves[0], np.array([2.0, -3.0, 1.0])
    for t in range(len(moves)):
        if t:
            w = w + moves[t] - moves[t - 1]
            n = n @ np.round(np.linalg.inv(h[t] @ np.linalg.inv(h[t - 1])))
        hop = np.floor(w @ np.linalg.inv(h[t]))
        w, n = w - hop @ h[t], n + hop
        if t == lost:
            n = np.zeros_like(n)
        wrapped[t], images[t] = w, n
    return wrapped, images


def analyse(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TrajectoryAnalysis(0.01, framework=["none"], **options).compute(path)


@given(st.data())
@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # what fails is short enough as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_way_to_write_a_trajectory_gives_one_diffusivity(tmp_path, data):
    draw = data.draw
    h, boxes = cells(draw)
    seed = draw(st.integers(0, 99))
    # Atoms move inside the cell; where it breathes they follow it not at all: displacements are the truth.
    fast = draw(st.sampled_from([0.02, 1.0]))
    moves = dumps.walk(seed, FRAMES, ATOMS, fast * D, SPACING)
    truth = dumps.write(tmp_path / "truth.dump", moves, edge=1e4)
    expected = analyse(truth).diffusivities["1"].value

    wrapped, images = inside(moves, h)
    inverse = np.linalg.inv(h)
    kind = draw(st.sampled_from(["xu", "xsu", "x ix", "xs ix", "x", "xs", "extxyz"]))
    lost = draw(st.integers(1, FRAMES - 1)) if draw(st.booleans()) else None
    flags = images if lost is None else inside(moves, h, lost)[1]
    path = tmp_path / "t.dump"
    options = {"boxes": boxes}
    if draw(st.booleans()):
        options["order"] = [np.random.default_rng(t).permutation(ATOMS) for t in range(FRAMES)]
    if kind == "extxyz":
        path = tmp_path / "t.extxyz"
        ase.io.write(
            path,
            [Atoms(f"H{ATOMS}", positions=w, cell=c, pbc=True) for w, c in zip(wrapped, h)],
        )
        analysis = TrajectoryAnalysis(SPACING, framework=["none"])
        name = "H"
    else:
        table = {
            "xu": (wrapped + flags @ h, "xu yu zu", None),
            "xsu": ((wrapped + flags @ h) @ inverse, "xsu ysu zsu", None),
            "x ix": (wrapped, "x y z ix iy iz", flags),
            "xs ix": (wrapped @ inverse, "xs ys zs ix iy iz", flags),
            "x": (wrapped, "x y z", None),
            "xs": (wrapped @ inverse, "xs ys zs", None),
        }
        positions, columns, extra = table[kind]
        dumps.write(path, positions, None, columns, extra, **options)
        analysis = TrajectoryAnalysis(0.01, framework=["none"], stream=draw(st.booleans()))
        name = "1"
    reference = expected
    if analysis.stream:
        reference = analyse(truth, stream=True).diffusivities["1"].value
    try:
        found = analysis.compute(path)
    except ValueError as error:
        assert any(words in str(error) for words in NAMED), error
        assert fast == 1.0 or lost is not None, error  # slow walks have no excuse
        return
    value = found.diffusivities[name].value
    assert abs(value / reference - 1) < 1e-4, (kind, lost, value, reference, found.remarks)
    if lost is not None and kind in ("xu", "xsu", "x ix", "xs ix") and fast < 1.0:
        assert any("jumped by whole cells" in r for r in found.remarks), "mended without a word"


@given(cut=st.integers(2, FRAMES - 2), permute=st.booleans(), twice=st.booleans())
@settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_trajectory_split_in_two_files_and_joined(tmp_path, cut, permute, twice):
    """``cat`` of the dumps of a run and its restart, whose first frame repeats the last one of the run."""
    moves = dumps.walk(1, FRAMES, ATOMS, 0.1 * D, SPACING)
    rng = np.random.default_rng(cut)
    order = [rng.permutation(ATOMS) if permute else range(ATOMS) for _ in range(FRAMES)]
    steps = np.arange(0, 10 * FRAMES, 10)
    back = cut - twice
    later = moves - 12 * np.floor(moves[back] / 12)  # the restart forgot the images
    dumps.write(tmp_path / "1", moves[:cut], steps=steps, order=order)
    dumps.write(tmp_path / "2", later[back:], steps=steps[back:], order=order[back:])
    (tmp_path / "t.dump").write_text((tmp_path / "1").read_text() + (tmp_path / "2").read_text())
    whole = dumps.write(tmp_path / "w.dump", moves)
    found, expected = analyse(tmp_path / "t.dump"), analyse(whole)
    assert found.n_frames == FRAMES
    a, b = (r.diffusivities["1"].value for r in (found, expected))
    assert abs(a / b - 1) < 1e-6
