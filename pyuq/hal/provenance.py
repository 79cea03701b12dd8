# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run relies on between its stages: files, with hash and number of structures as the state has them.

The stage that writes a file notes it; every later stage that needs it compares first, and so does ``pyuq hal status``.
What can be made again from the rest of the run folder is made again, with a word; the rest is refused, with a word on
what to do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyuq.brief import brief
from pyuq.hal.settings import Settings
from pyuq.hal.state import State
from pyuq.io import extxyz
from pyuq.io.files import atomic_write
from pyuq.io.identity import hash_bytes

STATE, START, TEST, DATABASE = "state.json", "start.extxyz", "test.extxyz", "database.extxyz"
FRAMES, SELECTED = "frames.extxyz", "selected.extxyz"


@brief()
@dataclass(frozen=True)
class Damage:
    """A file that is not as the run left it.

    Attributes
    ----------
    path : Path
    text : str
        What was found, and what was expected.
    """

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def iteration_file(state: State, name: str) -> str:
    """Name in the run folder of a file of the present iteration."""
    return f"iterations/{state.iteration:04d}/{name}"


def potential_files(settings: Settings) -> tuple[str, ...]:
    """Files that a fit leaves, as named in the run folder."""
    suffixes = (".uq",) if settings.basis is None else (".uq", settings.fit.basis.suffix)
    return tuple(f"potential/{settings.name}{suffix}" for suffix in suffixes)


def fixed_model(settings: Settings) -> tuple[str, ...]:
    """The model whose readout is learnt, if there is one, as named in the run folder."""
    return (f"model{Path(settings.model.file).suffix}",) if settings.model else ()


def written(state: State, settings: Settings) -> tuple[str, ...]:
    """Files that the present stage writes for later ones."""
    return {
        "start": (START, TEST, DATABASE, *fixed_model(settings)),
        "fit": potential_files(settings),
        "walk": (iteration_file(state, FRAMES),),
        "select": (iteration_file(state, SELECTED),),
        "label": (DATABASE,),
        "done": (),
    }[state.stage]


def needed(state: State, settings: Settings) -> tuple[str, ...]:
    """Files that the present stage relies on, those first that others can be made from."""
    always = (DATABASE, START, TEST, *fixed_model(settings))
    return {
        "start": (),
        "fit": always,
        "walk": (*always, *potential_files(settings)),
        "select": (*always, *potential_files(settings), iteration_file(state, FRAMES)),
        "label": (*always, *potential_files(settings), iteration_file(state, SELECTED)),
        "done": (*always, *potential_files(settings)),
    }[state.stage]


def note(folder: Path, state: State, names: Iterable[str]) -> None:
    """Keep in the state what the files of a run hold now; forget those of past iterations."""
    for name in names:
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            entry = {"bytes": len(content), "sha256": hash_bytes(content)}
            if name.endswith(".extxyz"):
                entry["structures"] = extxyz.count(folder / name)
            state.files[name] = entry
        else:
            state.files.pop(name, None)
    here = iteration_file(state, "")
    for name in [n for n in state.files if n.startswith("iterations/") and not n.startswith(here)]:
        del state.files[name]


def damages(folder: Path, state: State, settings: Settings) -> Iterator[Damage]:
    """Files that the present stage relies on and that are not as the run left them.

    A run of an older version has noted nothing, and nothing is found.
    """
    for name in needed(state, settings):
        if (entry := state.files.get(name)) is None:
            continue
        path, structures = folder / name, entry.get("structures")
        wanted = f"{entry['bytes']} bytes" if structures is None else f"{structures} structures"
        if not path.is_file():
            yield Damage(path, f"missing, expected {wanted}")
            continue
        with open(path, "rb") as file:
            # What a stage that was cut short has appended does not count.
            content = file.read(entry["bytes"] if name == DATABASE else -1)
        if hash_bytes(content) != entry["sha256"]:
            yield Damage(
                path, f"found {_content(path)}, expected the {wanted} that the run left there"
            )


def _content(path: Path) -> str:
    if path.suffix != ".extxyz":
        return f"other content ({path.stat().st_size} bytes)"
    try:
        return f"other content ({extxyz.count(path)} structures)"
    except ValueError as error:
        return f"other content ({error})"


def restore(folder: Path, state: State, name: str, frames) -> bool:
    """Write structures to a file of a run if they are exactly those that it held; tell whether they are."""
    text = extxyz.as_text(frames).encode()
    if hash_bytes(text) != state.files[name]["sha256"]:
        return False
    with atomic_write(folder / name, "wb") as file:
        file.write(text)
    return True


REMEDY = "put back a copy of it, or choose another `folder` and begin anew: "
REMEDIES = {
    DATABASE: "the labels in it cannot be made again. P"
    + REMEDY[1:]
    + "structures that are still labelled in it can "
    "be [start] structures there",
    TEST: "labels cannot be made again. P"
    + REMEDY[1:]
    + "errors on another test set would not compare",
}


def remedy(name: str) -> str:
    """What a person can do where a file is lost that cannot be made again."""
    return REMEDIES.get(name, REMEDY + "this file is not made by the run")
