# SPDX-License-Identifier: GPL-2.0-or-later
"""The production runs of the quickstart are jobs as all others: whole, or made again."""

from dataclasses import replace

import pytest

from pyuq.io.files import Lock
from pyuq.jobs import NotRunError
from pyuq.verbs import run_quickstart as quickstart

SIZE = replace(quickstart.FAST, equilibration=20, production=800, starts=1, tests=1)


def test_production_that_was_cut_short_is_made_again(tmp_path, monkeypatch, capsys):
    quickstart.prepare(tmp_path, SIZE, 1, 1)
    fake = tmp_path / "lmp"
    fake.write_text("#!/bin/sh\nkill -SEGV $$\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PYUQ_LMP", str(fake))
    with pytest.raises(NotRunError, match="SIGSEGV"):
        quickstart.produce(tmp_path, "reference", SIZE, 1)
    assert not (tmp_path / "log.reference").exists()
    monkeypatch.delenv("PYUQ_LMP")
    quickstart.produce(tmp_path, "reference", SIZE, 1)
    dump = tmp_path / "reference.dump"
    whole = dump.read_bytes()
    frames = whole.split(b"ITEM: TIMESTEP")
    assert len(frames) == 1 + 800 // quickstart.DUMP_EVERY + 1
    dump.write_bytes(
        b"ITEM: TIMESTEP".join(frames[:-5])
    )  # whole frames, too few: what nobody noticed
    quickstart.produce(tmp_path, "reference", SIZE, 1)
    assert "reference runs again: " in capsys.readouterr().out
    assert dump.read_bytes() == whole


def test_two_quickstarts_do_not_share_a_folder(tmp_path):
    with Lock(tmp_path), pytest.raises(RuntimeError, match="another process"):
        quickstart.quickstart(tmp_path, fast=True)
