# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a run stands. The state file is the only authority: a stage that it does not call done is redone."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pyuq import log
from pyuq.brief import brief
from pyuq.errors import InputError
from pyuq.hal.settings import FREE
from pyuq.io.files import atomic_write, read_json, write_json
from pyuq.provenance import require_same

STAGES = ("start", "fit", "walk", "select", "label", "done")


REMEDY = (
    "put back a copy of it, or choose another `folder` and begin anew: the structures in database.extxyz are labelled "
    "and can be [start] structures there"
)


@brief()
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
    fruitless : int
        Iterations in a row whose walkers gave no label though one of them was uncertain or discarded.
    files : dict
        What the run has left for later stages, by name in the run folder: see :mod:`pyuq.hal.provenance`.
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
    fruitless: int = 0
    files: dict[str, dict] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write atomically, with a checksum; the state before is kept beside it."""
        if path.is_file():
            with suppress(ValueError):  # a damaged one must not take the place of a whole one
                read_json(path)
                with atomic_write(previous(path), "wb") as file:
                    file.write(path.read_bytes())
        write_json(path, asdict(self), sealed=True)


def previous(path: Path) -> Path:
    """Where the state before the present one is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_state(path: Path) -> State | None:
    """Read a state file; None if there is none.

    Raises
    ------
    InputError
        The file is not one of ours.
    """
    if not path.is_file():
        return None
    try:
        state = State(**read_json(path, REMEDY))
    except TypeError as error:
        raise InputError(f"{path} is not the state of a run: {error}") from error
    if state.stage not in STAGES:
        raise InputError(f"{path}: stage '{state.stage}'; expected one of {', '.join(STAGES)}")
    return state


def resume(path: Path, settings: dict) -> State:
    """Continue a run, or begin one.

    Raises
    ------
    InputError
        The run was begun with other settings.
    """
    try:
        state = load_state(path)
    except ValueError as error:
        # Every stage may be done again: the state before is as good as that of a run that was killed in its last stage.
        try:
            state = load_state(previous(path))
        except ValueError:
            state = None
        if state is None:
            raise
        log.say(f"{error}\n{previous(path).name} is whole: the last stage is done again")
    if state is None:
        return State(settings)
    state.settings.setdefault("uncertainty", "bayes")  # of runs from before there was a choice
    require_same(
        f"the run in {path.parent}",
        state.settings,
        settings,
        "put them back, or choose another `folder`",
        FREE,
    )
    state.settings = settings
    return state
