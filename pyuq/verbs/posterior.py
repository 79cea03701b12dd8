# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq posterior``: error bars for a potential that exists."""

from pyuq.verbs.options import about, add_elements, seed


def add(verbs) -> None:
    """Give a potential that exists the posterior of its readout."""
    parser = verbs.add_parser(
        "posterior",
        **about(
            "give an existing potential error bars, from its training data",
            "pyuq posterior nep.txt --data train.xyz",
            "docs/guide/posterior.md",
        ),
    )
    parser.add_argument("model", metavar="MODEL", help="nep.txt, .mtp, .almtp, .yace, .ace, ...")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="FILE",
        help="labelled structures: extended XYZ, .cfg, ...",
    )
    add_elements(parser, "names of the species of a file that stores none")
    parser.add_argument("--out", help="file to write (default: beside the model, with suffix .uq)")
    parser.add_argument(
        "--mean",
        choices=("model", "refit"),
        default="model",
        help="keep the file's weights, or take those of the regression (%(default)s)",
    )
    parser.add_argument(
        "--uncertainty",
        choices=("pops", "bayes"),
        default="pops",
        help="box of pointwise fits, which knows of misfit, or exact posterior (%(default)s)",
    )
    parser.add_argument("--holdout", type=float, default=0.2, help="part that judges (%(default)s)")
    parser.add_argument(
        "--max-force",
        type=float,
        default=float("inf"),
        metavar="F",
        help="leave out force components above, eV/Å (none)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of the choice of those that judge (%(default)s)"
    )
    parser.add_argument(
        "--active-set", action="store_true", help="also the active set of the extrapolation grade"
    )

    def run(args) -> int:
        from pyuq.lmp import world
        from pyuq.verbs.run_posterior import run_posterior

        run_posterior(
            args.model,
            args.data,
            elements=args.elements,
            out=args.out,
            mean=args.mean,
            uncertainty=args.uncertainty,
            holdout=args.holdout,
            max_force=args.max_force,
            seed=args.seed,
            active_set=args.active_set,
            comm=world(),
        )
        return 0

    parser.set_defaults(run=run)
