# SPDX-License-Identifier: GPL-2.0-or-later
"""Error bars for machine-learned molecular dynamics, inside LAMMPS.

Importing this package is cheap and cannot fail: LAMMPS imports it at start-up to find the plugin.
"""

import sys
from contextlib import suppress
from pathlib import Path

__version__ = "0.1.0"


def _find_compiled_parts() -> None:
    """Extend ``__path__`` by the installed copy when this one is a bare checkout.

    Python started in a checkout finds these sources before the installed package, but the plugin and the
    bindings were compiled into the latter.
    """
    if any(Path(__file__).parent.glob("_core.*.so")):
        return
    for folder in sys.path:
        package = Path(folder or ".") / __name__
        if any(package.glob("_core.*.so")):
            __path__.append(str(package))
            return


with suppress(OSError):  # an unreadable entry of sys.path must not break `import lammps`
    _find_compiled_parts()
