# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars of linear fits that know what the model cannot describe: pointwise fits, and structures left out."""
