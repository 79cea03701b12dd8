# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq quickstart``: everything on a small example."""

from pyuq.verbs.options import about, seed


def add(verbs) -> None:
    """Run the main job on the embedded reference."""
    parser = verbs.add_parser(
        "quickstart",
        **about(
            "learn α-AgI from scratch and report, in minutes",
            "pyuq quickstart --fast",
            "docs/first-run.md",
        ),
    )
    parser.add_argument("--out", default="pyuq-quickstart", help="folder to write (%(default)s)")
    parser.add_argument("--fast", action="store_true", help="a minute's worth")
    parser.add_argument(
        "--ranks", type=int, default=2, help="MPI ranks of the production runs (%(default)s)"
    )
    parser.add_argument("--seed", type=seed, default=1, help="of all random numbers (%(default)s)")

    def run(args) -> int:
        from pyuq.verbs.run_quickstart import quickstart

        quickstart(args.out, fast=args.fast, ranks=args.ranks, seed=args.seed)
        return 0

    parser.set_defaults(run=run)
