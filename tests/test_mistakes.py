# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes and bugs told apart, and what is said and to whom."""

import ast
import importlib
import inspect
import logging
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyuq
from pyuq import cli, errors, log
from pyuq.errors import InputError, RunError

PACKAGE = Path(pyuq.__file__).parent


def fails_with(error, tmp_path, monkeypatch, *options) -> int:
    """Exit code of a verb whose work ends with `error` (an exception, or a function that fails)."""

    def work(*args):
        if isinstance(error, BaseException):
            raise error
        error()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyuq.plotting.plot_tables", work)
    return cli.main([*options, "plot", "log"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a = 3; expected 2"), "pyuq plot: a = 3; expected 2\n"),
        (RunError("LAMMPS was killed"), "pyuq plot: LAMMPS was killed\n"),
        (FileNotFoundError("no file x"), "pyuq plot: no file x\n"),
        (OSError(28, "No space left on device", "out.png"), "pyuq plot: out.png: No space left on device\n"),
        (MemoryError("Unable to allocate 8 TiB"), "pyuq plot: not enough memory: Unable to allocate 8 TiB\n"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "pyuq plot: No module named 'torch'\n"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_user_can_mend_is_one_line(error, line, tmp_path, monkeypatch, capsys):
    assert fails_with(error, tmp_path, monkeypatch) == 2
    assert capsys.readouterr().err == line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bug",
    [
        lambda: {}["absent"],
        lambda: np.zeros(3) + np.zeros(4),  # a ValueError of numpy
        lambda: int("x"),  # of Python
        lambda: np.linalg.inv(np.zeros((2, 2))),  # a kind of ValueError
        lambda: [][1],
        lambda: None.x,
        ZeroDivisionError("by nothing"),
        ModuleNotFoundError("no pyuq.nothing", name="pyuq.nothing"),
    ],
)
def test_everything_else_is_a_bug_with_its_traceback_in_a_file(bug, tmp_path, monkeypatch, capsys):
    assert fails_with(bug, tmp_path, monkeypatch) == 1
    said = capsys.readouterr().err
    (file,) = tmp_path.glob("pyuq-bug-*.log")
    assert said.startswith("pyuq plot: this is a bug in pyuq: ")
    assert "Traceback" not in said and str(file) in said and "report" in said
    text = file.read_text()
    assert "Traceback" in text and f"pyuq {pyuq.__version__}" in text and "command: " in text


def test_traceback_on_request(tmp_path, monkeypatch, capsys):
    assert fails_with(lambda: {}["absent"], tmp_path, monkeypatch, "--traceback") == 1
    assert "Traceback" in capsys.readouterr().err
    assert fails_with(InputError("no"), tmp_path, monkeypatch, "--traceback") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_where_nothing_can_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pyuq.errors.Path.write_text", lambda *_: (_ for _ in ()).throw(OSError()))
    assert fails_with(lambda: {}["absent"], tmp_path, monkeypatch) == 1
    assert "`--traceback` shows the traceback" in capsys.readouterr().err


def raised(function, *arguments) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function(*arguments)
    return caught.value


def test_rooms_that_are_not_migrated(tmp_path):
    """Their own `raise` is for users; what Python or a library raises inside them is not."""
    from pyuq import _core
    from pyuq.io import lammps_data, structures

    assert errors.mendable(raised(structures.read_structures, [tmp_path / "none.xyz"]))
    assert errors.mendable(raised(_core.Model, str(tmp_path / "none"), ["Ag"]))
    assert not errors.mendable(raised(lammps_data.write_data, tmp_path / "x", None))
    assert not errors.mendable(ValueError("never raised"))


def test_no_room_raises_what_the_command_line_would_take_for_a_bug():
    """A room that raises ValueError for users is on the list of those that do not raise InputError yet."""
    kinds = ("ValueError", "RuntimeError", "FloatingPointError")
    rooms = {
        file.relative_to(PACKAGE).parts[0]
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in kinds
    }
    assert rooms <= {*errors.UNMIGRATED}, "raise InputError or RunError of pyuq.errors instead"


# Never reach the command line: caught where they are raised, or a state that a verb has a code of its own for.
INNER = {"WorkerError", "Problem", "Waiting"}


def test_every_error_of_the_package_is_one_that_a_user_can_mend():
    """Else the command line would call it a bug in pyuq."""
    for info in pkgutil.walk_packages(pyuq.__path__, "pyuq."):
        if info.name.rpartition(".")[2].startswith("_"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:  # of an optional package
            continue
        for name, thing in vars(module).items():
            own = inspect.isclass(thing) and thing.__module__ == info.name and name not in INNER
            if own and issubclass(thing, Exception):
                assert issubclass(thing, InputError | RunError), f"{info.name}.{name}"


def test_only_the_command_line_prints():
    """Everybody else speaks through the logger."""
    printing = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                printing.append(str(file.relative_to(PACKAGE)))
    printing = {name for name in printing if not name.startswith("verbs/")}
    assert printing <= {"cli.py", "errors.py", "_guard.py"}


def test_who_hears_what(capsys):
    try:
        log.show()
        log.say("a report")
        log.LOGGER.warning("beware")
        assert capsys.readouterr() == ("a report\n", "beware\n")
        log.show(logging.WARNING)
        log.say("a report")
        log.LOGGER.warning("beware")
        assert capsys.readouterr() == ("", "beware\n")
        log.show(logging.DEBUG)
        log.say("a report")
        assert " pyuq: a report" in capsys.readouterr().out
    finally:
        log.show()


def test_quiet_and_verbose_before_and_after_the_verb():
    parse = cli.build_parser().parse_args
    for line in (["-q", "plot", "x"], ["plot", "-q", "x"], ["plot", "x", "--quiet"]):
        assert parse(line).quiet and not parse(line).verbose
    assert parse(["bnn", "train", "x", "-v", "--traceback"]).traceback
    assert not parse(["plot", "x"]).quiet
    with pytest.raises(SystemExit):
        parse(["plot", "-q", "-v", "x"])


def test_a_reader_that_goes_away():
    """``pyuq plot ... | head`` ends without a word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "pyuq", "plugin-path"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert "Traceback" not in done.stderr and "bug" not in done.stderr


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ("calibrate m --elements Cu Au --data x", "calibrate m --elements Cu,Au --data x"),
        ("calibrate m --elements Cu,Au --data x", "calibrate m --elements Cu,Au --data x"),
        ("calibrate m --elements Cu, Au --data x", "calibrate m --elements Cu,Au --data x"),
        ("calibrate m --elements=Cu Au --data x", "calibrate m --elements=Cu,Au --data x"),
        ("diffusion --elements Ag I dump.xyz", "diffusion --elements Ag,I dump.xyz"),
        ("diffusion dump --species Ag --framework I", "diffusion dump --species Ag --framework I"),
        ("bnn import-nequip a --elements H C --out o", "bnn import-nequip a --elements H,C --out o"),
        ("lmp --elements Cu Au", "lmp --elements Cu Au"),
        ("calibrate Cu Au --data x", "calibrate Cu Au --data x"),
    ],
)  # fmt: skip
def test_elements_by_commas_or_blanks(given, joined):
    assert cli.join_names(given.split()) == joined.split()


def test_elements_mean_the_same_in_all_verbs():
    parse = cli.build_parser().parse_args
    for line in (
        "posterior m --data x --elements Cu Au",
        "calibrate m --data x --elements Cu Au",
        "bnn import-nequip m --out x --elements Cu Au",
        "diffusion --timestep 1 --elements Cu Au x",
    ):
        assert parse(cli.join_names(line.split())).elements == ("Cu", "Au")


def test_empty_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["posterior", "m", "--data", "x", "--elements", "Cu,"])
    assert "found 'Cu,', expected names as Ag,I" in capsys.readouterr().err


def test_help_of_lmp(capsys):
    assert cli.main(["lmp", "--help"]) == 0
    assert "all arguments go to LAMMPS" in " ".join(capsys.readouterr().out.split())


def test_every_verb_says_what_it_does_and_gives_an_example():
    (verbs,) = (a for a in cli.build_parser()._actions if a.dest == "verb")
    for name, parser in verbs.choices.items():
        assert parser.description and "example: " in parser.epilog, name


def test_settings_that_are_none(tmp_path, capsys):
    """A folder, a file of something else, a key that is near none."""
    (tmp_path / "train.xyz").write_text("2\nProperties=species:S:1:pos:R:3\n")
    (tmp_path / "a.toml").write_text("zzzzzz = 3\n")
    for name, said in (
        ("", f"{tmp_path} is a folder: expected a file"),
        ("train.xyz", "train.xyz: no settings in TOML: "),
        ("a.toml", "a.toml: unknown key 'zzzzzz' (valid: "),
    ):
        assert cli.main(["fit", str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err
