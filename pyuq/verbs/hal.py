# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq hal``: the learning loop."""

import os

from pyuq.verbs.options import about, add_set, add_trust


def add(verbs) -> None:
    """Run the active-learning loop."""
    parser = verbs.add_parser(
        "hal",
        **about(
            "active learning with uncertainty-biased dynamics",
            "pyuq hal run hal.toml",
            "docs/guide/hal.md",
        ),
    )
    parser.add_argument(
        "action", choices=("run", "status"), help="begin or go on; or say how far it is"
    )
    parser.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/hal.md")
    add_set(parser, "loop.labels=80")
    add_trust(parser)

    def run(args) -> int:
        from pyuq.hal.loop import run_hal
        from pyuq.hal.report import status
        from pyuq.labels import Waiting
        from pyuq.lmp import world

        if args.action == "status":
            print(status(args.settings, args.set))
            return 0
        try:
            run_hal(args.settings, comm=world(), assignments=args.set, trust=args.trust)
        except Waiting as waiting:
            print(f"waiting: {waiting}")
            return os.EX_TEMPFAIL
        return 0

    parser.set_defaults(run=run)
