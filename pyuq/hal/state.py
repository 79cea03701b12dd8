# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a run stands. The state file is the only authority: a stage that it does not call done is redone."""

import fcntl
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pyuq.hal.settings import changed_keys
from pyuq.io.files import read_json, write_text

STAGES = ("start", "fit", "walk", "select", "label", "done")


@dataclass
class State:
    """Progress of a run.

    Attributes
    ----------
    settings : dict
        Flat settings that the run was begun with.
    stage : str
        The next stage to do, of STAGES.
    iteration : int
    batches : list of int
        Size of the database at each fit, the last one included.
    quiet : int
        Iterations in a row in which no walker was stopped by its uncertainty.
    history : list of dict
        One row for each finished iteration.
    row : dict
        The row of the iteration that is under way.
    beliefs : dict
        About the factors on σ_E and, species by species, ∇σ_E: see :mod:`pyuq.hal.triggers`.
    failures : list of dict
        Structures that got no label: iteration and reason.
    finished : str
        Why the run ended.
    """

    settings: dict
    stage: str = "start"
    iteration: int = 0
    batches: list[int] = field(default_factory=list)
    quiet: int = 0
    history: list[dict] = field(default_factory=list)
    row: dict = field(default_factory=dict)
    beliefs: dict = field(default_factory=dict)
    failures: list[dict] = field(default_factory=list)
    finished: str = ""

    def save(self, path: Path) -> None:
        """Write atomically."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def load_state(path: Path) -> State | None:
    """Read a state file; None if there is none.

    Raises
    ------
    ValueError
        The file is not one of ours.
    """
    if not path.is_file():
        return None
    try:
        state = State(**read_json(path))
    except TypeError as error:
        raise ValueError(f"{path} is not the state of a run: {error}") from error
    if state.stage not in STAGES:
        raise ValueError(f"{path}: stage '{state.stage}'; expected one of {', '.join(STAGES)}")
    return state


def resume(path: Path, settings: dict) -> State:
    """Continue a run, or begin one.

    Raises
    ------
    ValueError
        The run was begun with other settings.
    """
    state = load_state(path)
    if state is None:
        return State(settings)
    state.settings.setdefault("uncertainty", "bayes")  # of runs from before there was a choice
    if changed := changed_keys(state.settings, settings):
        raise ValueError(
            f"the run in {path.parent} was begun with other settings: "
            + ", ".join(f"{k} ({state.settings.get(k)} -> {settings.get(k)})" for k in changed)
            + "; put them back, or choose another `folder`"
        )
    state.settings = settings
    return state


class Lock:
    """Keeps a second process out of a run folder; gone with the process, however it ends."""

    def __init__(self, folder: Path):
        self._file = open(folder / ".lock", "w")  # noqa: SIM115 (held as long as the run)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is running in {folder}") from None

    def release(self) -> None:
        """Let others in."""
        self._file.close()
