# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq doctor``: check the installation."""

from pyuq.verbs.options import about


def add(verbs) -> None:
    """Diagnose the installation."""
    parser = verbs.add_parser(
        "doctor",
        **about("check plugin, LAMMPS, MPI and versions", "pyuq doctor", "docs/install.md"),
    )

    def run(args) -> int:
        from pyuq.verbs.run_doctor import diagnose

        return diagnose()

    parser.set_defaults(run=run)
