# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of a run folder that were damaged are named; what can be made again is, and the run ends as it would have."""

import json
import shutil

import numpy as np
import pytest
from fakes import TOML, make_inputs, make_loop
from fakes import EMTLabeller as Labels

from pyuq.hal.report import status
from pyuq.hal.state import load_state
from pyuq.io import extxyz
from pyuq.io.identity import hash_file

SHORT = TOML.replace("iterations = 4", "iterations = 2").replace(
    "refit_every = 3", "refit_every = 1"
)


class Stop(Exception):
    """Ends a run where a test wants it."""


def run_until(path, stage=None, iteration=1):
    """Run to the end, or until a stage of an iteration begins."""
    loop = make_loop(path)
    if stage:
        perform = getattr(loop, stage)

        def stop():
            if loop.state.iteration >= iteration:
                raise Stop
            perform()

        setattr(loop, stage, stop)
    try:
        loop.run()
    except Stop:
        pass
    finally:
        loop.close()
    return path.parent / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Hash of the database of an undamaged run."""
    path = make_inputs(tmp_path_factory.mktemp("whole"), SHORT)
    return hash_file(run_until(path) / "database.extxyz")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Folders of runs that were stopped before each stage of iteration 1."""
    found = {}
    for stage in ("fit", "walk", "select", "label"):
        path = make_inputs(tmp_path_factory.mktemp(stage), SHORT)
        test = [Labels().one(atoms) for atoms in extxyz.read(path.parent / "test.extxyz")]
        extxyz.write(path.parent / "test.extxyz", test)
        run_until(path, stage)
        found[stage] = path.parent
    return found


@pytest.fixture
def at(stopped, tmp_path):
    """Function: stage → TOML file of a copy of the run that was stopped before it."""

    def copy(stage):
        shutil.copytree(stopped[stage], tmp_path / stage)
        return tmp_path / stage / "hal.toml"

    return copy


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


def shorten(path):
    extxyz.write(path, extxyz.read(path)[:-1])


def other_species(path):
    path.write_text(path.read_text().replace("Cu ", "Ag ", 1))


def other_digit(path):
    frames = extxyz.read(path)
    frames[0].calc.results["energy"] += 1e-3
    extxyz.write(path, frames)


AGAIN = [  # one of each kind of file in the default suite
    ("walk", "start.extxyz", remove, "missing, expected 3 structures; made again from database"),
    pytest.param(
        "walk",
        "start.extxyz",
        shorten,
        "found other content (2 structures)",
        marks=pytest.mark.validate,
    ),
    pytest.param(
        "label", "start.extxyz", flip, "made again from database.extxyz", marks=pytest.mark.validate
    ),
    ("walk", "test.extxyz", remove, "made again from [test] structures"),
    pytest.param(
        "fit",
        "test.extxyz",
        other_digit,
        "made again from [test] structures",
        marks=pytest.mark.validate,
    ),
    ("walk", "potential/cu.uq", flip, "the potential was fitted again to database.extxyz"),
    pytest.param(
        "select",
        "potential/cu.yace",
        remove,
        "the potential was fitted again",
        marks=pytest.mark.validate,
    ),
    ("select", "iterations/0001/frames.extxyz", flip, "collected again from the walkers"),
    pytest.param(
        "select",
        "iterations/0001/frames.extxyz",
        remove,
        "collected again from the walkers",
        marks=pytest.mark.validate,
    ),
    ("label", "iterations/0001/selected.extxyz", other_species, "selected again"),
    ("walk", "state.json", flip, "state.previous.json is whole: the last stage is done again"),
    pytest.param(
        "fit",
        "state.json",
        flip,
        "state.previous.json is whole: the last stage is done again",
        marks=pytest.mark.validate,
    ),
    pytest.param(
        "select",
        "state.json",
        flip,
        "state.previous.json is whole: the last stage is done again",
        marks=pytest.mark.validate,
    ),
    pytest.param(
        "label",
        "state.json",
        flip,
        "state.previous.json is whole: the last stage is done again",
        marks=pytest.mark.validate,
    ),
]


@pytest.mark.parametrize(("stage", "name", "harm", "said"), AGAIN)
def test_what_can_be_made_again_is(at, whole, capsys, stage, name, harm, said):
    path = at(stage)
    folder = path.parent / "run"
    harm(folder / name)
    if name == "state.json":
        with pytest.raises(ValueError, match=r"state\.json: damaged"):
            status(path)
    else:
        assert f"damaged: {folder / name}: " in status(path)
    quiet = load_state(next(folder.glob("state.previous.json"))).quiet
    run_until(path)
    told = capsys.readouterr().out
    assert said in told
    assert str(folder / name) in told
    assert hash_file(folder / "database.extxyz") == whole
    assert load_state(folder / "state.json").quiet <= quiet + 2


@pytest.mark.parametrize("harm", [remove, flip, shorten, other_species, other_digit])
@pytest.mark.parametrize("stage", ["fit", "label"])
def test_lost_labels_are_refused(at, stage, harm):
    """They were paid for: nothing is written over what is left of them."""
    path = at(stage)
    database = path.parent / "run/database.extxyz"
    harm(database)
    left = database.read_bytes() if database.is_file() else None
    match = r"database\.extxyz: (missing|found other content).*expected .*\d structures.*put back|Put back"
    with pytest.raises(ValueError, match=match):
        run_until(path)
    assert "damaged" in status(path)
    assert (database.read_bytes() if database.is_file() else None) == left


def test_the_first_labels_are_twice_there(tmp_path, whole, capsys):
    path = make_inputs(tmp_path, SHORT)
    database = run_until(path, "walk", 0) / "database.extxyz"
    database.unlink()
    run_until(path)
    assert "made again from start.extxyz" in capsys.readouterr().out
    assert hash_file(database) == whole


def test_a_test_set_that_was_labelled_by_the_run_is_refused(tmp_path):
    path = make_inputs(tmp_path, SHORT)
    (run_until(path, "walk") / "test.extxyz").unlink()
    with pytest.raises(
        ValueError, match=r"test\.extxyz: missing, expected 2 structures; .*ut back a copy"
    ):
        run_until(path)


def test_an_edited_state_is_refused(at, capsys):
    path = at("walk")
    state = path.parent / "run/state.json"
    state.write_text(state.read_text().replace('"iteration": 1,', '"iteration": 0,'))
    (state.parent / "state.previous.json").unlink()
    match = r"state\.json: damaged, or changed since it was written: .*; put back a copy of it, or choose"
    with pytest.raises(ValueError, match=match):
        run_until(path)


def test_random_bits(at, whole):
    """Of every file that the run relies on: each is named by the check of its content."""
    path = at("label")
    folder = path.parent / "run"
    rng = np.random.default_rng(7)
    names = [*load_state(folder / "state.json").files, "state.json"]
    assert len(names) >= 7
    for name in names:
        good = (folder / name).read_bytes()
        for _ in range(5):
            flip(folder / name, int(rng.integers(len(good))))
            try:
                said = status(path)
            except ValueError as error:
                said = str(error)
            needed = not name.endswith("frames.extxyz")  # they have been chosen from
            assert (f"{folder / name}: " in said) == needed, name
            (folder / name).write_bytes(good)


def test_runs_of_older_versions_go_on(at, whole):
    """Their state has no checksum, and knows nothing of files; from now on it does."""
    path = at("select")
    state = path.parent / "run/state.json"
    content = json.loads(state.read_text())
    for key in ("pyuq_checksum", "pyuq_checksum_of", "files"):
        del content[key]
    state.write_text(json.dumps(content))
    (state.parent / "state.previous.json").unlink()
    assert "damaged" not in status(path)
    run_until(path)
    assert hash_file(path.parent / "run/database.extxyz") == whole
    assert len(load_state(state).files) == 5
