# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq fit``: a potential with error bars."""

from pyuq.verbs.options import about, add_set


def add(verbs) -> None:
    """Fit a potential and its posterior."""
    parser = verbs.add_parser(
        "fit",
        **about(
            "fit a potential with error bars to labelled structures",
            "pyuq fit fit.toml --set solver.kind=ard",
            "docs/guide/fitting.md",
        ),
    )
    parser.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/fitting.md")
    parser.add_argument("--out", help="folder to write instead of the file's `output`")
    add_set(parser, "solver.kind=ard")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="add new structures of the training files to the last fit in the output folder, exactly",
    )

    def run(args) -> int:
        from pyuq.lmp import world
        from pyuq.verbs.run_fit import run_fit

        run_fit(args.settings, args.out, world(), args.set, resume=args.resume)
        return 0

    parser.set_defaults(run=run)
