# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are missing, damaged or of another kind end in a message that names them."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pyuq.bnn.architecture import read_network
from pyuq.cli import main
from pyuq.hal.state import load_state
from pyuq.io import extxyz
from pyuq.io.files import check_folder, read_tensors, write_tensors, write_text
from pyuq.io.structures import read_pymatgen
from pyuq.io.trajectory import read_trajectory
from pyuq.verbs.run_quickstart import check_begun


def test_tensors_come_back(tmp_path):
    write_tensors(tmp_path / "a", {"x": np.arange(6.0).reshape(2, 3)}, {"format": "none"})
    tensors, metadata = read_tensors(tmp_path / "a")
    np.testing.assert_array_equal(tensors["x"], np.arange(6.0).reshape(2, 3))
    assert metadata == {"format": "none"}


@pytest.mark.parametrize("read", [read_tensors, read_network])
@pytest.mark.parametrize("content", [b"", b"elements: [Ag, I]\n", "cut"])
def test_damaged_tensors_are_named(tmp_path, read, content):
    path = tmp_path / "net.safetensors"
    if content == "cut":
        write_tensors(path, {"x": np.ones(100)}, {})
        content = path.read_bytes()[:-8]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.safetensors: not a safetensors file"):
        read(path)


@pytest.mark.parametrize("read", [read_tensors, read_network, extxyz.read, read_trajectory])
def test_a_folder_is_no_file(tmp_path, read):
    with pytest.raises(ValueError, match=f"no file {tmp_path}"):
        read(tmp_path)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path / 'new'} to write a.uq into"):
        write_text(tmp_path / "new" / "a.uq", "")


def test_no_input_is_written_over(tmp_path, capsys, monkeypatch):
    """Whatever the path is written like; the input is as it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agi.yace").write_text("a model")
    (tmp_path / "train.xyz").write_text("labels")
    (tmp_path / "link").symlink_to("agi.yace")
    (tmp_path / "a.png").write_text("# step x\n0 1\n1 2\n")
    for command, out in (
        ("posterior agi.yace --data train.xyz --out", "agi.yace"),
        ("posterior agi.yace --data train.xyz --out", str(tmp_path / "train.xyz")),
        ("posterior agi.yace --data train.xyz --out", "link"),
        ("plot a.png --out", "a.png"),
    ):
        before = Path(out).read_text()
        assert main([*command.split(), out]) == 2
        assert f"{out} is an input: writing there would destroy it" in capsys.readouterr().err
        assert Path(out).read_text() == before


def test_missing_folders_are_named_before_the_work(tmp_path, capsys):
    out = tmp_path / "new" / "a.uq"
    for verb in ("posterior", "calibrate"):
        assert main([verb, "no.yace", "--data", "no.xyz", "--out", str(out)]) == 2
        assert f"no folder {tmp_path / 'new'} to write a.uq into" in capsys.readouterr().err
        assert main([verb, "no.yace", "--data", "no.xyz", "--out", str(tmp_path)]) == 2
        assert f"{tmp_path} is a folder: name a file in it" in capsys.readouterr().err


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.uq"
    write_text(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.uq"]
    assert path.read_text() == "old"


def test_folders_that_cannot_be_are_named_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for path in ("file", "file/inside/it"):
        with pytest.raises(NotADirectoryError, match=f"{tmp_path / 'file'} is a file"):
            check_folder(tmp_path / path)
    assert check_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(PermissionError, match=f"{tmp_path} is read-only"):
        check_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize("verb", ["fit", "hal", "bnn", "srom"])
def test_a_folder_is_no_settings(tmp_path, capsys, verb):
    if verb == "bnn":
        pytest.importorskip("torch")
    action = {"fit": [], "hal": ["run"], "bnn": ["train"], "srom": ["all"]}[verb]
    assert main([verb, *action, str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: expected a file" in capsys.readouterr().err


def test_a_quickstart_without_ranks_is_refused_before_the_work(tmp_path, capsys):
    assert main(["quickstart", "--ranks", "0", "--out", str(tmp_path / "q")]) == 2
    assert "ranks = 0; expected 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_a_quickstart_of_other_settings_is_not_taken_for_this_one(tmp_path):
    check_begun(tmp_path, {"fast": True, "seed": 1})
    check_begun(tmp_path, {"fast": True, "seed": 1})
    with pytest.raises(
        ValueError, match=r"other settings: fast = true \(now false\): name another folder"
    ):
        check_begun(tmp_path, {"fast": False, "seed": 1})


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("state.json", load_state),
        ("structures.json", read_pymatgen),
        ("quickstart.json", lambda path: check_begun(path.parent, {})),
    ],
)
def test_damaged_json_is_named(tmp_path, name, read):
    """As an editor or a full disk leave it."""
    (tmp_path / name).write_text('{"stage": "fi')
    with pytest.raises(ValueError, match=rf"{name}: damaged, .*line 1 column"):
        read(tmp_path / name)


def test_other_files_are_no_structures(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xa2 hello\n")
    with pytest.raises(
        ValueError, match=r"labels.txt cannot be read as structures \(.*; expected extended XYZ"
    ):
        extxyz.read(tmp_path / "labels.txt")


def test_binary_data_in_a_stream_are_named(tmp_path):
    (tmp_path / "labels.xyz").write_bytes(b"\xa2 hello\n")
    for read in (extxyz.count, extxyz.read):
        with pytest.raises(ValueError, match=r"labels\.xyz: frame 0 cannot be read"):
            read(tmp_path / "labels.xyz")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("\n1\n\nSi 0 0 0\n", "frame 1 cannot be read: expected the number of its atoms"),
        ("2\n\nSi 0 0 0\n", "frame 1 cannot be read: the file ends before it"),
        ("\n\n", ""),
    ],
)
def test_no_frame_is_dropped_without_a_word(tmp_path, end, message):
    path = tmp_path / "labels.xyz"
    path.write_text("1\n\nSi 0 0 0\n" + end)
    if not message:
        assert len(extxyz.read(path)) == 1
        return
    with pytest.raises(ValueError, match=message):
        extxyz.read(path)


def test_an_empty_file_is_no_trajectory(tmp_path):
    (tmp_path / "run.xyz").write_text("")
    with pytest.raises(ValueError, match=r"run\.xyz cannot be read as a trajectory"):
        read_trajectory(tmp_path / "run.xyz")
