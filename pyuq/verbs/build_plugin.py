# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq build-plugin``: the plugin for another LAMMPS."""

from pyuq.verbs.options import about


def add(verbs) -> None:
    """Rebuild the plugin for another LAMMPS."""
    parser = verbs.add_parser(
        "build-plugin",
        **about(
            "compile the plugin against a site LAMMPS",
            "pyuq build-plugin --lammps-headers lammps/src --mpi-include /usr/include/mpi",
            "docs/install.md",
        ),
    )
    parser.add_argument("--lammps-headers", required=True, help="folder of that LAMMPS's pair.h")
    parser.add_argument(
        "--mpi-include", required=True, help="folder of the mpi.h it was built with"
    )
    parser.add_argument(
        "--output", default="uqplugin.so", help="file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--definitions",
        default="LAMMPS_SMALLBIG",
        help="its compile definitions, e.g. LAMMPS_BIGBIG (default: %(default)s)",
    )

    def run(args) -> int:
        from pyuq.verbs.run_build import build_plugin

        print(
            build_plugin(
                args.lammps_headers, args.mpi_include, args.output, definitions=args.definitions
            )
        )
        return 0

    parser.set_defaults(run=run)
