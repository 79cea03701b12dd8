# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

from pyuq import log

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real potentials and reference values; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("PYUQ_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"no reference data at {folder}; set PYUQ_SHARED_DATA to the folder that has them"
        )
    return folder


@pytest.fixture(autouse=True, scope="session")
def spoken() -> None:
    """Print what the library says, as the command line does."""
    log.show()
