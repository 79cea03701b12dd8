# SPDX-License-Identifier: GPL-2.0-or-later
"""Hyperactive learning: fit, biased dynamics, stop, label, refit."""
