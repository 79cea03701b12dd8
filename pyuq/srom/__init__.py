# SPDX-License-Identifier: GPL-2.0-or-later
"""Stochastic reduced-order models: what the disagreement of potentials means for macroscopic quantities."""
