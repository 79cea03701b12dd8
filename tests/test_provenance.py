# SPDX-License-Identifier: GPL-2.0-or-later
"""What other settings made is refused, with the settings that differ and what to do."""

from dataclasses import dataclass, field

import pytest

from pyuq.errors import InputError
from pyuq.provenance import changed, record, require_same


@dataclass
class Dynamics:
    timestep: float = 0.002
    ramp: tuple[float, ...] = (300.0, 600.0)


@dataclass
class Settings:
    md: Dynamics = field(default_factory=Dynamics)
    groups: dict = field(default_factory=dict)
    name: str | None = None


def test_a_record_is_what_json_gives_back():
    found = record(Settings())
    assert found == {"md.timestep": 0.002, "md.ramp": [300.0, 600.0], "groups": {}, "name": None}
    assert record({"md": Dynamics(), "groups": {}, "name": None}) == found
    assert record(found) == found


def test_keys_that_differ_are_found_in_both_directions():
    one, other = record(Settings()), record(Settings(Dynamics(0.001), {"a": 1}, "x"))
    assert changed(one, other) == ["groups", "groups.a", "md.timestep", "name"]
    assert changed(other, one) == changed(one, other)
    assert changed(one, other, free=("md", "name", "groups")) == []
    assert changed({"mdx": 1}, {"mdx": 2}, free=("md",)) == ["mdx"]
    assert not changed(one, record(Settings()))


def test_the_message_names_both_values_and_the_remedy():
    require_same("run", {"a": 1}, {"a": 1}, "go")
    with pytest.raises(InputError) as caught:
        require_same("run", {"a": [1, 2], "h": "f" * 64}, {"a": "x", "h": None}, "begin anew")
    assert str(caught.value) == (
        "run was made with other settings: a = [1, 2] (now x), h = ffffffffffff… (now unset): begin anew"
    )
    with pytest.raises(InputError, match="run does not say which settings made it: begin anew"):
        require_same("run", None, {}, "begin anew")
