# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``pyuq``: a table of verbs, and exit codes."""

import argparse
import logging
import os
import sys
from collections.abc import MutableMapping

import pyuq
from pyuq import errors, log
from pyuq.verbs import (
    bnn,
    build_plugin,
    calibrate,
    diffusion,
    doctor,
    fit,
    hal,
    lmp,
    plot,
    plugin_path,
    posterior,
    quickstart,
    srom,
)
from pyuq.verbs.options import Verb, add_common, join_names

# In the order of the help page. What a verb needs is imported when it runs.
VERBS = (
    doctor,
    plugin_path,
    lmp,
    build_plugin,
    fit,
    posterior,
    calibrate,
    quickstart,
    hal,
    bnn,
    srom,
    diffusion,
    plot,
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    parser = argparse.ArgumentParser(prog="pyuq", description=pyuq.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"pyuq {pyuq.__version__}")
    add_common(parser, False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Verb)
    for verb in VERBS:
        verb.add(verbs)
    return parser


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Give the linear algebra of each rank on a node its share of the cores, unless the user says how many.

    To be called before numpy is imported. Otherwise every rank starts as many threads as there are cores, and they
    take turns.
    """
    ranks = environment.get("MPI_LOCALNRANKS") or environment.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    if ranks is None or int(ranks) < 2:
        return
    share = max(1, len(os.sched_getaffinity(0)) // int(ranks))
    if "OMP_NUM_THREADS" not in environment:
        environment.setdefault("OPENBLAS_NUM_THREADS", str(share))
        environment.setdefault("MKL_NUM_THREADS", str(share))


def main(argv: list[str] | None = None) -> int:
    """Entry point.

    Parameters
    ----------
    argv : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code. 0: done. 1: a bug in pyuq, whose traceback is kept in a file (and ``pyuq doctor`` that found
        something). 2: something that the user can mend, told in one line on stderr; mistakes in options are argparse's,
        with the same code. 75: ``pyuq hal run`` waits for labels. 130: interrupted. 141: nobody reads the output any
        more.
    """
    share_cores(os.environ)
    args = build_parser().parse_args(join_names(sys.argv[1:] if argv is None else argv))
    if args.quiet:
        os.environ["TQDM_DISABLE"] = (
            "1"  # progress bars are no warnings; read when tqdm is imported
        )
    log.show(logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print(f"pyuq {args.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), 1
        )  # else Python complains when it flushes at exit
        return 141
    except Exception as error:
        return errors.report(error, f"pyuq {args.verb}", pyuq.__version__, args.traceback)


if __name__ == "__main__":
    sys.exit(main())
