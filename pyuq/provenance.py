# SPDX-License-Identifier: GPL-2.0-or-later
"""Which settings made a file: stored with it, and compared with those in force where it is used again."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pyuq.errors import InputError


def record(settings) -> dict[str, Any]:
    """Settings as a file keeps them: by dotted key, ``md.timestep``, with values as JSON has them.

    Parameters
    ----------
    settings : dataclass or mapping
        Of values that JSON knows, tables and dataclasses.
    """
    table = asdict(settings) if is_dataclass(settings) else settings
    return _flat(json.loads(json.dumps(table, default=asdict)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def changed(
    found: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """Keys that one of two records lacks, or that have other values there, in order.

    Parameters
    ----------
    found, wanted : mapping
        See :func:`record`.
    free : collection of str
        Keys, and tables, that may change.
    """
    missing = object()
    return [
        key
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key, missing) != wanted.get(key, missing)
        and not any(key == name or key.startswith(f"{name}.") for name in free)
    ]


def require_same(
    what,
    found: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    remedy: str,
    free: Collection[str] = (),
) -> None:
    """Refuse what other settings made.

    Parameters
    ----------
    what : str or Path
        What was made, for the message: a file, a folder, a run.
    found : mapping or None
        :func:`record` of the settings that made it; None: it does not say.
    wanted : mapping
        That of the settings in force.
    remedy : str
        What to do.
    free : collection of str
        Keys, and tables, that may change.

    Raises
    ------
    InputError
        Names the settings that differ, with both values, and what to do.
    """
    if found is None:
        raise InputError(f"{what} does not say which settings made it: {remedy}")
    if keys := changed(found, wanted, free):
        differ = [f"{key} = {_show(found.get(key))} (now {_show(wanted.get(key))})" for key in keys]
        raise InputError(f"{what} was made with other settings: {', '.join(differ)}: {remedy}")


def _show(value) -> str:
    if value is None:
        return "unset"
    if isinstance(value, str):
        return f"{value[:12]}…" if len(value) == 64 else value  # of a hash the beginning
    return json.dumps(value, ensure_ascii=False)
