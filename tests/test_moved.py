# SPDX-License-Identifier: GPL-2.0-or-later
"""Old names of modules give the new ones, with a warning."""

import importlib
import sys

import pytest

from pyuq import _moved


@pytest.mark.parametrize("old", sorted(_moved.MOVED))
def test_old_names_lead_to_the_new_ones(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=_moved.MOVED[old]):
        module = importlib.import_module(old)
    new = importlib.import_module(_moved.MOVED[old])
    public = [name for name in vars(new) if not name.startswith("_")]
    assert public
    assert all(getattr(module, name) is getattr(new, name) for name in public)


@pytest.mark.parametrize("old", sorted(_moved.SPLIT))
def test_what_was_taken_out_of_a_module_is_found_under_its_old_name(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning):
        module = importlib.import_module(old)
    for part in map(importlib.import_module, _moved.SPLIT[old]):
        own = [x for x in vars(part).values() if getattr(x, "__module__", "") == part.__name__]
        assert own
        assert all(getattr(module, x.__name__) is x for x in own if not x.__name__.startswith("_"))


def test_other_names_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pyuq.models.nothing")
