# SPDX-License-Identifier: GPL-2.0-or-later
"""How objects show themselves: in a few words, however large the arrays in them are."""

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

C = TypeVar("C", bound=type)

LONGEST = 500  # characters of a whole object
INNER = 120  # of an object inside another
WORD = 60  # of a string
ITEMS = 4  # of a list or table that are shown


def brief(*names: str):
    """Give a class a short ``repr``: a decorator, to stand above ``@dataclass``.

    Arrays show their shape, bytes their number, long lists and tables their length. What is short is shown in full, so
    that small settings still read as Python.

    Parameters
    ----------
    names : str
        Attributes to show; default: the fields of a dataclass.
    """

    def decorate(cls: C) -> C:
        def __repr__(self) -> str:  # noqa: N807
            return _cut(_object(self, names or _field_names(self), 2), LONGEST)

        cls.__repr__ = __repr__
        cls.__brief__ = names
        return cls

    return decorate


def _field_names(thing: object) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(thing) if f.repr)


def _object(thing: object, names: Iterable[str], depth: int) -> str:
    missing = object()
    values = ((name, getattr(thing, name, missing)) for name in names)
    inside = ", ".join(f"{n}={shorten(v, depth - 1)}" for n, v in values if v is not missing)
    return f"{type(thing).__qualname__}({inside})"


def shorten(value: object, depth: int = 2) -> str:
    """Return a value in at most some hundred characters.

    Parameters
    ----------
    value : object
    depth : int
        Of objects, lists and tables inside it that are shown with their contents.
    """
    if isinstance(value, str):
        return repr(value if len(value) <= WORD else f"{value[: WORD - 1]}…")
    if isinstance(value, bytes | bytearray):
        return f"<{len(value):,} bytes>"
    if isinstance(value, Path):
        return shorten(str(value))
    if isinstance(value, type):
        return value.__qualname__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return _collection(value, depth)
    if hasattr(value, "get_chemical_formula"):
        return f"{type(value).__name__}({shorten(value.get_chemical_formula())})"
    if dataclasses.is_dataclass(value) or hasattr(type(value), "__brief__"):
        names = getattr(value, "__brief__", ()) or _field_names(value)
        if depth <= 0:
            return f"{type(value).__qualname__}(…)"
        return _cut(_object(value, names, depth), INNER)
    text = repr(value)
    return f"<{type(value).__qualname__}>" if " at 0x" in text else _cut(text, INNER)


def _array(value) -> str:
    shape = tuple(value.shape)
    if shape == ():
        return str(value)
    if len(shape) == 1 and 0 < shape[0] <= ITEMS and getattr(value.dtype, "kind", "") in "fiub":
        return f"array([{', '.join(f'{x:.6g}' for x in value)}])"
    return f"<array {'×'.join(map(str, shape))}>"


def _mapping(value: Mapping, depth: int) -> str:
    if (depth <= 0 and value) or len(value) > ITEMS:
        some = ", ".join(shorten(key) for key in list(value)[:2])
        return f"{{{some}, … {len(value)} entries}}" if len(value) > 2 else f"{{{some}: …}}"
    return f"{{{', '.join(f'{shorten(k)}: {shorten(v, depth - 1)}' for k, v in value.items())}}}"


def _collection(value, depth: int) -> str:
    left, right = {list: "[]", tuple: "()"}.get(type(value), "{}")
    if (depth <= 0 and value) or len(value) > ITEMS:
        first = f"{shorten(next(iter(value)), 0)}, " if len(value) else ""
        return f"{left}{first}… {len(value)} items{right}"
    comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
    return f"{left}{', '.join(shorten(v, depth - 1) for v in value)}{comma}{right}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 2]}…)"


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence], note: str = "") -> str:
    """Return a small table for a notebook.

    Parameters
    ----------
    title : str
    head : sequence of str
        Of the columns.
    rows : iterable of sequences
        Numbers are shown with four digits.
    note : str
        Below the table.
    """

    def cell(value) -> str:
        return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))

    lines = "".join(
        f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in row)}</tr>" for row in rows
    )
    titles = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    below = f"<p>{html.escape(note)}</p>" if note else ""
    return (
        f"<div><b>{html.escape(title)}</b><table><thead><tr>{titles}</tr></thead>"
        f"<tbody>{lines}</tbody></table>{below}</div>"
    )
