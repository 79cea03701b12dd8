# SPDX-License-Identifier: GPL-2.0-or-later
"""Potentials that can be fitted: their functions and how they are written."""
