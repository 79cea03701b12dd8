# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq calibrate``: are the error bars right?."""

from pyuq.verbs.options import about, add_elements, seed


def add(verbs) -> None:
    """Judge and recalibrate error bars."""
    parser = verbs.add_parser(
        "calibrate",
        **about(
            "judge the error bars of a model or a committee, and recalibrate them",
            "pyuq calibrate nep.txt --data test.xyz",
            "docs/guide/calibration.md",
        ),
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="several are a committee")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="FILE",
        help="labelled structures that no model was trained on",
    )
    add_elements(parser, "names of the species of files that store none")
    parser.add_argument("--out", help="beginning of the files to write (default: the first model)")
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.1,
        help="miss rate of the conformal intervals (%(default)s)",
    )
    parser.add_argument(
        "--split",
        type=float,
        default=0.5,
        help="part that recalibrates; the rest judges (%(default)s)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of the choice of those that judge (%(default)s)"
    )

    def run(args) -> int:
        from pyuq.lmp import world
        from pyuq.verbs.run_calibrate import run_calibrate

        run_calibrate(
            args.models,
            args.data,
            elements=args.elements,
            out=args.out,
            alpha=args.alpha,
            split=args.split,
            seed=args.seed,
            comm=world(),
        )
        return 0

    parser.set_defaults(run=run)
