"""Error bars for machine-learned molecular dynamics, inside LAMMPS."""

from pathlib import Path

__version__ = (Path(__file__).parent / "VERSION").read_text().strip()
