# SPDX-License-Identifier: GPL-2.0-or-later
"""Files: structures, LAMMPS data and dumps, atomic writes."""
