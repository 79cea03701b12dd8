# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference labels: LAMMPS commands, any ASE calculator, or files for batch DFT."""

from pyuq.labels.base import Failure, Labeller, Waiting
from pyuq.labels.files import FileLabeller
from pyuq.labels.pool import PoolLabeller

__all__ = ["Failure", "FileLabeller", "Labeller", "PoolLabeller", "Waiting"]
