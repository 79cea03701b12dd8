# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq plot``: tables that LAMMPS wrote, drawn."""

from pyuq.verbs.options import about


def add(verbs) -> None:
    """Draw tables that LAMMPS wrote."""
    parser = verbs.add_parser(
        "plot",
        **about(
            "draw thermo output, model_devi.out, files of fixes",
            "pyuq plot log.lammps model_devi.out --columns Temp,max_devi_f",
            "docs/cli.md",
        ),
    )
    parser.add_argument("files", nargs="+", help="log.lammps, model_devi.out, file of fix ave/time")
    parser.add_argument("--columns", help="comma-separated names (default: all that change)")
    parser.add_argument("--out", default="plot.png", help="PNG file to write (%(default)s)")

    def run(args) -> int:
        from pyuq.plotting import plot_tables

        print(plot_tables(args.files, args.out, args.columns.split(",") if args.columns else ()))
        return 0

    parser.set_defaults(run=run)
