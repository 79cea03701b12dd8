# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq lmp``: LAMMPS with the plugin."""

from pyuq.verbs.options import about


def add(verbs) -> None:
    """Run a LAMMPS executable with the plugin on its path."""
    parser = verbs.add_parser(
        "lmp",
        **about(
            "run LAMMPS with the plugin; all arguments go to LAMMPS",
            "mpirun -np 2 pyuq lmp -in in.agi",
            "docs/styles/pair_uq.md",
        ),
        add_help=False,
        prefix_chars="\0",  # no argument is an option of ours
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="of LAMMPS, as in `lmp`")

    def run(args) -> int:
        from pyuq.lmp import exec_lmp

        if args.arguments == ["--help"]:  # LAMMPS's own are -h and -help
            print(parser.format_help(), end="")
            return 0
        return exec_lmp(args.arguments)

    parser.set_defaults(run=run)
