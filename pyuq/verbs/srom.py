# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq srom``: from disagreeing potentials to error bars."""

from pyuq.verbs.options import about, add_set, add_trust


def add(verbs) -> None:
    """From disagreeing potentials to error bars: stochastic reduced-order models."""
    parser = verbs.add_parser(
        "srom",
        **about(
            "what the disagreement of potentials means for a diffusivity",
            "pyuq srom all srom.toml",
            "docs/guide/srom.md",
        ),
    )
    actions = ("snapshots", "build", "sample", "propagate", "report", "all")
    parser.add_argument("action", choices=actions, help="a stage, or all of them in this order")
    parser.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/srom.md")
    parser.add_argument(
        "--write", type=int, metavar="K", help="with sample: write the basis of sample K, too"
    )

    add_set(parser, "basis.modes=40")
    add_trust(parser)

    def run(args) -> int:
        from pyuq.lmp import ends_together, world
        from pyuq.srom.pipeline import run_stages

        with ends_together(comm := world()):
            run_stages(args.settings, args.action, comm, args.write, args.set, args.trust)
        return 0

    parser.set_defaults(run=run)
