# SPDX-License-Identifier: GPL-2.0-or-later
"""The command ``pyuq``: each verb is a few lines over a public function."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, MutableMapping, Sequence

import pyuq
from pyuq import errors, log


class Verb(argparse.ArgumentParser):
    """Parser of a verb, with the options that all verbs share."""

    def __init__(self, *args, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)
        if self.add_help:
            _add_common(self, argparse.SUPPRESS)


def _add_common(parser: argparse.ArgumentParser, default) -> None:
    """Add what may stand before or after the verb; after it, `default` leaves what stood before."""
    group = parser.add_argument_group("messages")
    quiet = group.add_mutually_exclusive_group()
    quiet.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=default,
        help="say where each line comes from",
    )
    quiet.add_argument(
        "-q", "--quiet", action="store_true", default=default, help="print warnings and errors only"
    )
    group.add_argument(
        "--traceback",
        action="store_true",
        default=default,
        help="print the whole path to an error, for a report of a bug",
    )


def _about(text: str, example: str = "", page: str = "") -> dict[str, str]:
    """Words of a help page: what the verb does, an example, and where to read on."""
    ends = [f"example: {example}"] if example else []
    ends += [f"guide: {page}"] if page else []
    return {"help": text, "description": f"{text[0].upper()}{text[1:]}.", "epilog": "\n".join(ends)}


def add_doctor(verbs) -> None:
    """Diagnose the installation."""
    parser = verbs.add_parser(
        "doctor",
        **_about("check plugin, LAMMPS, MPI and versions", "pyuq doctor", "docs/install.md"),
    )

    def run(args) -> int:
        from pyuq.doctor import diagnose

        return diagnose()

    parser.set_defaults(run=run)


def add_plugin_path(verbs) -> None:
    """Print where the plugin lies."""
    parser = verbs.add_parser(
        "plugin-path",
        **_about(
            "print the file to give to LAMMPS's `plugin load`",
            "plugin load $(pyuq plugin-path)",
            "docs/install.md",
        ),
    )

    def run(args) -> int:
        from pyuq.lmp import plugin_path

        print(plugin_path())
        return 0

    parser.set_defaults(run=run)


def add_lmp(verbs) -> None:
    """Run a LAMMPS executable with the plugin on its path."""
    parser = verbs.add_parser(
        "lmp",
        **_about(
            "run LAMMPS with the plugin; all arguments go to LAMMPS",
            "mpirun -np 2 pyuq lmp -in in.agi",
            "docs/styles/pair_uq.md",
        ),
        add_help=False,
        prefix_chars="\0",  # no argument is an option of ours
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="of LAMMPS, as in `lmp`")

    def run(args) -> int:
        from pyuq.lmp import exec_lmp

        if args.arguments == ["--help"]:  # LAMMPS's own are -h and -help
            print(parser.format_help(), end="")
            return 0
        return exec_lmp(args.arguments)

    parser.set_defaults(run=run)


def add_build_plugin(verbs) -> None:
    """Rebuild the plugin for another LAMMPS."""
    parser = verbs.add_parser(
        "build-plugin",
        **_about(
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
        from pyuq.build import build_plugin

        print(
            build_plugin(
                args.lammps_headers, args.mpi_include, args.output, definitions=args.definitions
            )
        )
        return 0

    parser.set_defaults(run=run)


def add_fit(verbs) -> None:
    """Fit a potential and its posterior."""
    parser = verbs.add_parser(
        "fit",
        **_about(
            "fit a potential with error bars to labelled structures",
            "pyuq fit fit.toml --set solver.kind=ard",
            "docs/guide/fitting.md",
        ),
    )
    parser.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/fitting.md")
    parser.add_argument("--out", help="folder to write instead of the file's `output`")
    _add_set(parser, "solver.kind=ard")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="add new structures of the training files to the last fit in the output folder, exactly",
    )

    def run(args) -> int:
        from pyuq.lmp import world
        from pyuq.verbs.fit import run_fit

        run_fit(args.settings, args.out, world(), args.set, resume=args.resume)
        return 0

    parser.set_defaults(run=run)


def add_posterior(verbs) -> None:
    """Give a potential that exists the posterior of its readout."""
    parser = verbs.add_parser(
        "posterior",
        **_about(
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
    _add_elements(parser, "names of the species of a file that stores none")
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
        "--seed", type=_seed, default=0, help="of the choice of those that judge (%(default)s)"
    )
    parser.add_argument(
        "--active-set", action="store_true", help="also the active set of the extrapolation grade"
    )

    def run(args) -> int:
        from pyuq.inference.readout_posterior import run_posterior
        from pyuq.lmp import world

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


def add_calibrate(verbs) -> None:
    """Judge and recalibrate error bars."""
    parser = verbs.add_parser(
        "calibrate",
        **_about(
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
    _add_elements(parser, "names of the species of files that store none")
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
        "--seed", type=_seed, default=0, help="of the choice of those that judge (%(default)s)"
    )

    def run(args) -> int:
        from pyuq.lmp import world
        from pyuq.verbs.calibrate import run_calibrate

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


def add_quickstart(verbs) -> None:
    """Run the main job on the embedded reference."""
    parser = verbs.add_parser(
        "quickstart",
        **_about(
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
    parser.add_argument("--seed", type=_seed, default=1, help="of all random numbers (%(default)s)")

    def run(args) -> int:
        from pyuq.quickstart import quickstart

        quickstart(args.out, fast=args.fast, ranks=args.ranks, seed=args.seed)
        return 0

    parser.set_defaults(run=run)


def add_hal(verbs) -> None:
    """Run the active-learning loop."""
    parser = verbs.add_parser(
        "hal",
        **_about(
            "active learning with uncertainty-biased dynamics",
            "pyuq hal run hal.toml",
            "docs/guide/hal.md",
        ),
    )
    parser.add_argument(
        "action", choices=("run", "status"), help="begin or go on; or say how far it is"
    )
    parser.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/hal.md")
    _add_set(parser, "loop.labels=80")
    _add_trust(parser)

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


def add_bnn(verbs) -> None:
    """Train, sample and judge Bayesian neural networks."""
    parser = verbs.add_parser(
        "bnn",
        **_about(
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
        action = actions.add_parser(name, **_about(text, f"pyuq bnn {name} bnn.toml", page))
        action.add_argument("settings", metavar="FILE", help="TOML file, see docs/guide/bnn.md")
        _add_set(action, "seed=2")
    action = actions.add_parser(
        "evaluate",
        **_about(
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
        **_about(
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
        **_about(
            "turn a model of nequip into a network file",
            "pyuq bnn import-nequip best.ckpt --out si.safetensors --elements Si",
            page,
        ),
    )
    action.add_argument(
        "model", help=".ckpt or .nequip.zip (loading it runs code that it contains)"
    )
    action.add_argument("--out", required=True, help="file to write")
    _add_elements(action, "symbols of its types, in order")

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


def add_srom(verbs) -> None:
    """From disagreeing potentials to error bars: stochastic reduced-order models."""
    parser = verbs.add_parser(
        "srom",
        **_about(
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

    _add_set(parser, "basis.modes=40")
    _add_trust(parser)

    def run(args) -> int:
        from pyuq.lmp import ends_together, world
        from pyuq.srom.pipeline import run_stages

        with ends_together(comm := world()):
            run_stages(args.settings, args.action, comm, args.write, args.set, args.trust)
        return 0

    parser.set_defaults(run=run)


def add_diffusion(verbs) -> None:
    """Diffusivities and conductivities of trajectories."""
    parser = verbs.add_parser(
        "diffusion",
        **_about(
            "diffusivities and conductivities of trajectories, with error bars",
            "pyuq diffusion dump.lammpstrj --timestep 0.002 --elements Ag,I",
            "docs/guide/diffusion.md",
        ),
    )
    add = parser.add_argument
    add("trajectories", nargs="+", metavar="TRAJ", help="LAMMPS dump (or .gz), extended XYZ, ...")
    add(
        "--timestep",
        type=float,
        help="of the simulation, ps (fs with --units real); for files without step numbers, between frames; needed "
        "unless the dump has times",
    )
    add("--units", choices=("metal", "real"), default="metal", help="LAMMPS's (%(default)s)")
    _add_elements(parser, "names of the atom types 1, 2, ... of a dump", default=None)
    add(
        "--species",
        type=_names,
        default=(),
        metavar="A,B",
        help="what to analyse: Ag or Ag,I (all)",
    )
    add(
        "--group",
        action="append",
        default=[],
        metavar="NAME=IDS",
        help="further atoms to analyse, e.g. grain=1-32,40; may be repeated",
    )
    add(
        "--framework",
        type=_names,
        metavar="A,B",
        default=(),
        help="species whose centre is the frame of reference, or `all`, or `none` (as the data tell)",
    )
    add(
        "--temperature",
        type=_numbers,
        metavar="T,...",
        help="K; one for all trajectories, or one for each",
    )
    add(
        "--charges", type=_assignments, metavar="A=Q,...", help="e, for the conductivity: Ag=1,I=-1"
    )
    add("--collective", action="store_true", help="jump diffusivity and Haven ratio")
    add("--green-kubo", action="store_true", help="integrate velocities as a cross-check")
    add(
        "--blocks",
        type=int,
        default=0,
        metavar="N",
        help="analyse so many parts, to see a drift (%(default)s)",
    )
    add("--tensor", action="store_true", help="all components of D")
    add(
        "--first",
        type=float,
        metavar="T",
        help="first lag of the regression, ps (as the data tell)",
    )
    add("--last", type=float, metavar="T", help="last lag, ps (a quarter of the trajectory)")
    add(
        "--skip",
        type=int,
        default=0,
        metavar="N",
        help="frames left out at the beginning (%(default)s)",
    )
    add("--stride", type=int, default=1, metavar="N", help="use every so many frames (%(default)s)")
    add("--partial", action="store_true", help="accept a last frame that is cut short")
    add("--stream", action="store_true", help="do not keep the trajectory in memory")
    add(
        "--predict",
        type=_numbers,
        default=(),
        metavar="T,...",
        help="temperatures to extrapolate to, K",
    )
    add("--out", default="pyuq-diffusion", help="folder to write (%(default)s)")

    def run(args) -> int:
        from pyuq.diffusion.run import parse_ids, run_diffusion

        settings = dict(vars(args), groups=dict(parse_ids(text) for text in args.group))
        for name in ("verb", "run", "group", *COMMON):
            del settings[name]
        settings["temperatures"] = settings.pop("temperature")
        run_diffusion(settings.pop("trajectories"), **settings)
        return 0

    parser.set_defaults(run=run)


def _add_set(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change a setting, e.g. {example}; may be repeated",
    )


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code that the settings name: a calculator, LAMMPS commands such as shell or python",
    )


def _add_elements(parser: argparse.ArgumentParser, text: str, **options) -> None:
    """Add ``--elements``, written the same way in all verbs."""
    options = {"type": _names, "default": (), "metavar": "A,B"} | options
    parser.add_argument("--elements", help=f"{text}: Mg,Sb,Bi", **options)


def join_names(arguments: Sequence[str]) -> list[str]:
    """Join names that a blank separates, ``--elements Mg Sb``, as a comma does.

    A word counts as a name as long as it is written like a chemical symbol.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line, without the program.
    """
    if "lmp" in arguments[:4]:  # all further arguments are LAMMPS's
        return list(arguments)
    joined: list[str] = []
    inside = False
    for word in arguments:
        if inside and SYMBOLS.fullmatch(word.strip(",")):
            joined[-1] = f"{joined[-1].rstrip(',')},{word.strip(',')}"
            continue
        # What follows the option's first value; an option without value is argparse's to refuse.
        inside = bool(joined) and joined[-1] in NAME_OPTIONS and not word.startswith("-")
        inside = inside or (word.partition("=")[0] in NAME_OPTIONS and "=" in word)
        joined.append(word)
    return joined


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected names as Ag,I")
    return names


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers as 500,600") from None


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of 0 or more")
    return int(text)


def _assignments(text: str) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (p.split("=") for p in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected as in Ag=1,I=-1") from None


def add_plot(verbs) -> None:
    """Draw tables that LAMMPS wrote."""
    parser = verbs.add_parser(
        "plot",
        **_about(
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


VERBS: tuple[Callable, ...] = (
    add_doctor,
    add_plugin_path,
    add_lmp,
    add_build_plugin,
    add_fit,
    add_posterior,
    add_calibrate,
    add_quickstart,
    add_hal,
    add_bnn,
    add_srom,
    add_diffusion,
    add_plot,
)


COMMON = ("verbose", "quiet", "traceback")
NAME_OPTIONS = ("--elements", "--species", "--framework")
SYMBOLS = re.compile(r"[A-Z][a-z]?(,[A-Z][a-z]?)*")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    parser = argparse.ArgumentParser(prog="pyuq", description=pyuq.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"pyuq {pyuq.__version__}")
    _add_common(parser, False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Verb)
    for add in VERBS:
        add(verbs)
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
