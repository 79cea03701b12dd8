# SPDX-License-Identifier: GPL-2.0-or-later
"""Strict configuration: a TOML table becomes a dataclass, and a slip of the pen names the nearest key."""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from ase.data import atomic_numbers

from pyuq.errors import InputError, no_file
from pyuq.plausible import check_plausible

T = TypeVar("T")
PLURAL = {float: "numbers", int: "integers", str: "strings"}


def load_toml(path) -> dict:
    """Read a TOML file.

    Raises
    ------
    InputError
        No such file, or not TOML; the message has file and line.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(no_file(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no settings in TOML: {error}") from error


def assign(table: dict, assignments: Iterable[str]) -> None:
    """Change values of a TOML table in place: ``solver.kind=ard``, ``basis.degree=[12, 8]``.

    A value that is not TOML is taken as a string. Whether a key exists is for `from_table` to say.

    Raises
    ------
    InputError
        An assignment without ``=``, or into something that is not a table.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (equals and key.strip()):
            raise InputError(f"found {assignment!r}; expected key=value, e.g. solver.kind=ard")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        *tables, name = (part.strip() for part in key.split("."))
        target = table
        for part in tables:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise InputError(f"{assignment}: {part} is a value, not a table")
        target[name] = value


def from_table(cls: type[T], table: dict, where: str) -> T:
    """Make a dataclass from a table; nested dataclasses from nested tables.

    Parameters
    ----------
    cls : dataclass type
        Fields annotated with bool, int, float, str, dict, tuple[X, ...], Mapping[tuple[str, str], X], a dataclass or
        a union of these. A key of such a mapping is a pair: "Al-Si". A field with the metadata ``setting`` = False is
        no key.
    table : dict
    where : str
        Of the table, for messages: ``hal.toml [md]``.

    Raises
    ------
    InputError
        Unknown or missing key, wrong type, or the dataclass refuses a value.
    """
    hints = typing.get_type_hints(cls)
    fields = {
        f.name: f for f in dataclasses.fields(cls) if f.init and f.metadata.get("setting", True)
    }
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            nearest = f"; nearest valid key: '{near[0]}'" if near else ""
            raise InputError(f"{where}: unknown key '{key}'{nearest} (valid: {', '.join(fields)})")
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise InputError(f"{where}: key '{name}' is missing")
    values = {key: convert(hints[key], value, f"{where} {key}") for key, value in table.items()}
    if values.get("seed", 0) < 0:
        raise InputError(f"{where}: seed = {values['seed']}; expected an integer of 0 or more")
    try:
        made = cls(**values)
        check_plausible(cls, values)
        return made
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def choose(name: str, value: object, allowed: Iterable) -> None:
    """Check that a value is one of those allowed.

    Raises
    ------
    InputError
        A value breaks this rule; the message says what was found and what was expected.
    """
    if value not in (allowed := tuple(allowed)):
        raise InputError(f"{name} = {value!r}; expected one of {', '.join(allowed)}")


def positive(**values: float | str | None) -> None:
    """Check that all values that are numbers are finite and above 0.

    Raises
    ------
    InputError
        A value breaks this rule; the message says what was found and what was expected.
    """
    for name, value in values.items():
        if _is_number(value) and not 0 < value < inf:
            raise InputError(f"{name} = {value}; expected a finite number above 0")


def not_negative(**values: float | str | None) -> None:
    """Check that all values that are numbers are finite and 0 or more.

    Raises
    ------
    InputError
        A value breaks this rule; the message says what was found and what was expected.
    """
    for name, value in values.items():
        if _is_number(value) and not 0 <= value < inf:
            raise InputError(f"{name} = {value}; expected a finite number, 0 or more")


def limits(**values: float | None) -> None:
    """Check that all values that are numbers are above 0; infinite: no limit.

    Raises
    ------
    InputError
        A value breaks this rule; the message says what was found and what was expected.
    """
    for name, value in values.items():
        if _is_number(value) and not value > 0:
            raise InputError(f"{name} = {value}; expected a number above 0")


def _is_number(value: object) -> bool:
    """Neither absent nor a word such as "auto"."""
    return value is not None and not isinstance(value, str)


def check_elements(elements: Iterable[str], where: str = "elements") -> None:
    """Check that all names are symbols of chemical elements.

    Raises
    ------
    InputError
        A value breaks this rule; the message says what was found and what was expected.
    """
    if unknown := [e for e in dict.fromkeys(elements) if e not in atomic_numbers]:
        raise InputError(f"{where}: expected chemical elements, found {', '.join(unknown)}")


def check_name(name: str) -> None:
    """Check that a name can begin that of a file, and stand in a LAMMPS script as it is.

    Raises
    ------
    InputError
        A value breaks this rule; the message says what was found and what was expected.
    """
    special = [c for c in name if c.isspace() or c in "/\"'#$&:*?"]
    if name in ("", ".", "..") or special:
        raise InputError(
            f"name = {name!r}; expected the beginning of a file name, without folder, blanks and / \" ' # $ & : * ?"
        )


def convert(kind: Any, value: Any, where: str) -> Any:
    """Convert a TOML value to an annotated type.

    Raises
    ------
    InputError
        The value is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        for candidate in arguments:
            try:
                return convert(candidate, value, where)
            except _TypeMismatchError:
                continue
    elif origin is tuple and isinstance(value, list):
        if arguments[-1] is Ellipsis:
            return tuple(convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) == len(arguments):
            return tuple(convert(k, v, where) for k, v in zip(arguments, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {k: convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    elif origin is Mapping and isinstance(value, dict):
        return {
            tuple(k.split("-")): convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()
        }
    elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return from_table(kind, value, where)
    elif kind is Any:
        return value
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind in (int, str, bool, dict) and type(value) is kind:
        return value
    elif kind in (None, types.NoneType) and value is None:
        return None
    raise _TypeMismatchError(f"{where} = {value!r}; expected {_describe(kind)}")


class _TypeMismatchError(InputError):
    pass


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(a) for a in arguments if a is not types.NoneType)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list of {PLURAL.get(arguments[0], _describe(arguments[0]))}"
    if origin is tuple:
        return f"a list of {len(arguments)} values"
    names = {float: "a number", int: "an integer", str: "a string", bool: "true or false"}
    return names.get(kind, "a table")
