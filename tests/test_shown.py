# SPDX-License-Identifier: GPL-2.0-or-later
"""No object floods a terminal or shows its address, whatever it holds."""

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
import typing
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import pyuq
from pyuq import brief
from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator

LONGEST = 600
SKIPPED = {"torch", "nequip", "mpi4py"}


def public_classes() -> list[type]:
    """All public classes of the package, where their modules can be imported."""
    found = {}
    for info in pkgutil.walk_packages(pyuq.__path__, "pyuq."):
        if info.name.rpartition(".")[2].startswith(("_", "uqplugin")):
            continue
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name not in SKIPPED:
                raise
            continue
        for name, cls in vars(module).items():
            if inspect.isclass(cls) and cls.__module__ == info.name and name[0] != "_":
                found[f"{info.name}.{name}"] = cls
    return [
        cls
        for cls in found.values()
        if not issubclass(cls, (BaseException, argparse.ArgumentParser))
        and not getattr(cls, "_is_protocol", False)
    ]


CLASSES = public_classes()


def large(hint, depth: int = 0):
    """Something large for an annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and depth < 3:
        return filled(hint, depth + 1)
    if origin in (list, tuple) or hint in (list, tuple):
        inner = arguments[0] if arguments else np.ndarray
        return (origin or hint)([large(inner, depth + 1)] * 40)
    if origin is dict or hint is dict:
        inner = arguments[1] if arguments else np.ndarray
        return {f"a long key {k}": large(inner, depth + 1) for k in range(40)}
    if (
        arguments
        and origin is not np.ndarray
        and (kinds := [a for a in arguments if a is not type(None)])
    ):
        return large(kinds[0], depth)
    if hint is float:
        return -1.2345678901234567e-101
    if hint is bool:
        return False
    if hint is int:
        return 2**60
    if hint is str:
        return "a long name " * 20
    if hint is bytes:
        return b"x" * 100_000
    if hint is Path:
        return Path("/a/long/folder" * 30)
    return np.full((300, 7), 1 / 3)


def filled(cls, depth: int = 0):
    """Object of a dataclass with something large in every field, not checked by its class."""
    thing = object.__new__(cls)
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # imported for type checkers only
        hints = {}
    for field in dataclasses.fields(cls):
        object.__setattr__(thing, field.name, large(hints.get(field.name), depth))
    return thing


def large_models(calculator) -> None:
    """Give a calculator many models with long names."""
    calculator.committee = object.__new__(Committee)
    calculator.committee.members = [object.__new__(Evaluator) for _ in range(40)]
    for k, member in enumerate(calculator.committee.members):
        member.path = Path(f"/a/long/folder{k}" * 30)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_repr_is_short_and_without_address(cls):
    assert cls.__repr__ is not object.__repr__, "shows its address: decorate it with @brief(...)"
    if dataclasses.is_dataclass(cls):
        thing = filled(cls)
    else:
        thing = object.__new__(cls)
        for name in getattr(cls, "__brief__", ()):
            if isinstance(getattr(cls, name, None), property):
                large_models(thing)
            else:
                setattr(thing, name, np.zeros((300, 300)))
    text = repr(thing)
    assert len(text) < LONGEST and " at 0x" not in text and "\n" not in text


def test_there_are_classes():
    assert len(CLASSES) > 60


def test_what_is_short_is_shown_in_full():
    from pyuq.inference.fit_settings import Solver, Weights

    assert repr(Solver("ard")) == "Solver(kind='ard', smoothness=1.0)"
    assert eval(repr(Weights(force=0.1))) == Weights(force=0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4)), "<array 3×4>"),
        (np.array([1.0, 2.5]), "array([1, 2.5])"),
        (np.array([]), "<array 0>"),
        (np.float64(2.5), "2.5"),
        (b"abc", "<3 bytes>"),
        (bulk("Si", cubic=True), "Atoms('Si8')"),
        ([bulk("Si")] * 9, "[Atoms('Si2'), … 9 items]"),
        ((1,), "(1,)"),
        ([], "[]"),
        ({}, "{}"),
        ({"a": 1}, "{'a': 1}"),
        ({k: k for k in range(9)}, "{0, 1, … 9 entries}"),
        (object(), "<object>"),
        (None, "None"),
        (Path("a/b"), "'a/b'"),
    ],
)
def test_values(value, text):
    assert brief.shorten(value) == text


def test_tables_of_notebooks_escape_what_they_show():
    text = brief.html_table("a < b", ["x"], [["<script>"], [0.123456]], "c & d")
    assert (
        "a &lt; b" in text and "&lt;script&gt;" in text and "0.1235" in text and "c &amp; d" in text
    )
