# SPDX-License-Identifier: GPL-2.0-or-later
"""``pyuq diffusion``: diffusivities of trajectories."""

from pyuq.verbs.options import COMMON, about, add_elements, assignments, names, numbers


def add(verbs) -> None:
    """Diffusivities and conductivities of trajectories."""
    parser = verbs.add_parser(
        "diffusion",
        **about(
            "diffusivities and conductivities of trajectories, with error bars",
            "pyuq diffusion dump.lammpstrj --timestep 0.002 --elements Ag,I",
            "docs/guide/diffusion.md",
        ),
    )
    option = parser.add_argument
    option(
        "trajectories", nargs="+", metavar="TRAJ", help="LAMMPS dump (or .gz), extended XYZ, ..."
    )
    option(
        "--timestep",
        type=float,
        help="of the simulation, ps (fs with --units real); for files without step numbers, between frames; needed "
        "unless the dump has times",
    )
    option("--units", choices=("metal", "real"), default="metal", help="LAMMPS's (%(default)s)")
    add_elements(parser, "names of the atom types 1, 2, ... of a dump", default=None)
    option(
        "--species",
        type=names,
        default=(),
        metavar="A,B",
        help="what to analyse: Ag or Ag,I (all)",
    )
    option(
        "--group",
        action="append",
        default=[],
        metavar="NAME=IDS",
        help="further atoms to analyse, e.g. grain=1-32,40; may be repeated",
    )
    option(
        "--framework",
        type=names,
        metavar="A,B",
        default=(),
        help="species whose centre is the frame of reference, or `all`, or `none` (as the data tell)",
    )
    option(
        "--temperature",
        type=numbers,
        metavar="T,...",
        help="K; one for all trajectories, or one for each",
    )
    option(
        "--charges", type=assignments, metavar="A=Q,...", help="e, for the conductivity: Ag=1,I=-1"
    )
    option("--collective", action="store_true", help="jump diffusivity and Haven ratio")
    option("--green-kubo", action="store_true", help="integrate velocities as a cross-check")
    option(
        "--blocks",
        type=int,
        default=0,
        metavar="N",
        help="analyse so many parts, to see a drift (%(default)s)",
    )
    option("--tensor", action="store_true", help="all components of D")
    option(
        "--first",
        type=float,
        metavar="T",
        help="first lag of the regression, ps (as the data tell)",
    )
    option("--last", type=float, metavar="T", help="last lag, ps (a quarter of the trajectory)")
    option(
        "--skip",
        type=int,
        default=0,
        metavar="N",
        help="frames left out at the beginning (%(default)s)",
    )
    option(
        "--stride", type=int, default=1, metavar="N", help="use every so many frames (%(default)s)"
    )
    option("--partial", action="store_true", help="accept a last frame that is cut short")
    option("--stream", action="store_true", help="do not keep the trajectory in memory")
    option(
        "--predict",
        type=numbers,
        default=(),
        metavar="T,...",
        help="temperatures to extrapolate to, K",
    )
    option("--out", default="pyuq-diffusion", help="folder to write (%(default)s)")

    def run(args) -> int:
        from pyuq.diffusion.run import parse_ids, run_diffusion

        settings = dict(vars(args), groups=dict(parse_ids(text) for text in args.group))
        for name in ("verb", "run", "group", *COMMON):
            del settings[name]
        settings["temperatures"] = settings.pop("temperature")
        run_diffusion(settings.pop("trajectories"), **settings)
        return 0

    parser.set_defaults(run=run)
