# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq plugin-path``: where the plugin lies."""

from pyuq.verbs.options import about


def add(verbs) -> None:
    """Print where the plugin lies."""
    parser = verbs.add_parser(
        "plugin-path",
        **about(
            "print the file to give to LAMMPS's `plugin load`",
            "plugin load $(pyuq plugin-path)",
            "docs/install.md",
        ),
    )

    def run(args) -> int:
        from pyuq.lmp import plugin_path

        print(plugin_path())
        return 0

    parser.set_defaults(run=run)
