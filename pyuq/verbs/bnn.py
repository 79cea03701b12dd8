# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq bnn``: Bayesian networks."""

from pyuq import errors
from pyuq.verbs.options import about, add_elements, add_set


def add(verbs) -> None:
    """Train, sample and judge Bayesian neural networks."""
    parser = verbs.add_parser(
        "bnn",
        **about(
            "Bayesian neural networks (needs torch: pyuq[bnn])",
            "pyuq bnn sample bnn.toml",
            "docs/guide/bnn.md",
        ),
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    page = "docs/guide/bnn.md"
    for name, text in (
        ("train", "train one network"),
        ("sample", "draw networks from the posterior"),
    ):
        action = actions.add_parser(name, **about(text, f"pyuq bnn {name} bnn.toml", page))
        action.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/bnn.md")
        add_set(action, "seed=2")
    action = actions.add_parser(
        "evaluate",
        **about(
            "print errors and error bars on labelled structures",
            "pyuq bnn evaluate si.safetensors --data test.xyz",
            page,
        ),
    )
    action.add_argument("network", metavar="NETWORK", help="NAME.safetensors")
    action.add_argument(
        "--data", nargs="+", required=True, metavar="FILE", help="labelled structures"
    )

    action = actions.add_parser(
        "export",
        **about(
            "join samples of several files into one for LAMMPS",
            "pyuq bnn export a.safetensors b.safetensors --out both.safetensors",
            page,
        ),
    )
    action.add_argument(
        "networks", nargs="+", metavar="NETWORK", help="NAME.safetensors of one architecture"
    )
    action.add_argument("--out", required=True, help="file to write")
    action.add_argument("--keep", type=int, default=0, help="samples to keep; 0: all")
    action.add_argument("--apart", action="store_true", help="a file for each sample: OUT-1, ...")

    action = actions.add_parser(
        "import-nequip",
        **about(
            "turn a model of nequip into a network file",
            "pyuq bnn import-nequip best.ckpt --out si.safetensors --elements Si",
            page,
        ),
    )
    action.add_argument(
        "model", help=".ckpt or .nequip.zip (loading it runs code that it contains)"
    )
    action.add_argument("--out", required=True, help="file to write")
    add_elements(action, "symbols of its types, in order")

    def run(args) -> int:
        if args.action == "export":
            from pyuq.bnn.architecture import join_networks

            files = join_networks(args.networks, args.out, args.keep, args.apart)
            print(f"written: {', '.join(map(str, files))}")
            return 0
        try:
            from pyuq.bnn import run as bnn
        except ModuleNotFoundError as error:
            raise errors.RunError(f"{error}: pip install 'pyuq[bnn]'") from error

        if args.action == "evaluate":
            bnn.evaluate(args.network, args.data)
        elif args.action == "import-nequip":
            from pyuq.bnn.nequip import import_nequip

            print(f"written: {import_nequip(args.model, args.out, args.elements)}")
        elif args.action == "train":
            bnn.train(args.settings, args.set)
        else:
            bnn.sample(args.settings, args.set)
        return 0

    parser.set_defaults(run=run)
