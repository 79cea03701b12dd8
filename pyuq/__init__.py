# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars for machine-learned molecular dynamics, inside LAMMPS.

Importing this package is cheap and cannot fail: LAMMPS imports it at start-up to find the plugin.
"""

__version__ = "0.1.0"
