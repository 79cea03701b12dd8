# SPDX-License-Identifier: GPL-2.0-or-later
"""Models applied to structures: evaluation, committees, the ASE calculator."""
