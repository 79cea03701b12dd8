#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""α-AgI at three temperatures: trajectories by LAMMPS, then D, conductivity and the Arrhenius line of silver.

``python run.py`` takes some two minutes on two cores and writes ``report/`` beside this file.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from pyuq import log
from pyuq.diffusion.run import run_diffusion
from pyuq.lmp import mpirun
from pyuq.systems import CHARGES, ELEMENTS

TEMPERATURES = (500, 600, 700)  # K
TIMESTEP = 0.002  # ps, as in in.agi

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=20000, help="of each run (%(default)s)")
parser.add_argument("--ranks", type=int, default=2, help="MPI ranks (%(default)s)")
args = parser.parse_args()

log.show()
here = Path(__file__).parent
launcher = [mpirun(), "-np", str(args.ranks)] if args.ranks > 1 else []
for temperature in TEMPERATURES:
    print(f"{temperature} K: {args.steps} steps", flush=True)
    variables = {"T": temperature, "steps": args.steps, "equilibration": args.steps // 10}
    options = [word for name, value in variables.items() for word in ("-var", name, str(value))]
    lmp = [sys.executable, "-m", "pyuq", "lmp", "-screen", "none", "-in", "in.agi"]
    subprocess.run([*launcher, *lmp, *options], cwd=here, check=True, stdin=subprocess.DEVNULL)

run_diffusion(
    [here / f"agi-{temperature}.dump" for temperature in TEMPERATURES],
    TIMESTEP,
    out=here / "report",
    temperatures=TEMPERATURES,
    elements=ELEMENTS,
    species=["Ag"],  # relative to what is left out, the iodine
    charges=CHARGES,
    green_kubo=True,
    predict=[400],
)
