# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m pyuq`` is the command ``pyuq``."""

import sys

from pyuq.cli import main

sys.exit(main())
