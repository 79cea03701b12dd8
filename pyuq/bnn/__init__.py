# SPDX-License-Identifier: GPL-2.0-or-later
"""Bayesian neural networks: training and sampling with torch (the extra ``pyuq[bnn]``)."""
