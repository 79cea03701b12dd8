# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables that LAMMPS writes while it runs: thermo output of a log file, files of fixes."""

from pathlib import Path

import numpy as np


def read_table(path) -> dict[str, np.ndarray]:
    """Read the columns of a table.

    Parameters
    ----------
    path : path
        A log file (all its runs, also one that broke off; one-line thermo output), or a file of numbers whose last
        comment line names the columns: ``model_devi.out``, ``fix ave/time``, ``fix print`` with a title.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        In the order of the columns. A column that not all runs of a log have is NaN where it is missing.

    Raises
    ------
    ValueError
        There is no such file, or it holds no table.
    """
    if not Path(path).is_file():
        raise ValueError(f"no file {path}")
    lines = Path(path).read_text(errors="replace").splitlines()
    table = _thermo(lines) or _commented(lines)
    if not table:
        raise ValueError(
            f"{path} holds no table: expected a LAMMPS log with one-line thermo output, or rows of numbers below "
            "a comment line that names their columns"
        )
    return table


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def _thermo(lines: list[str]) -> dict[str, np.ndarray]:
    """All runs of a log; a step that two runs share (the last and the first) is taken once."""
    names: list[str] = []
    columns: list[str] = []
    rows: list[dict[str, float]] = []
    for line in lines:
        if line.lstrip().startswith("Step "):
            columns = line.split()
            names += [name for name in columns if name not in names]
        elif line.startswith("Loop time"):
            columns = []
        elif columns and (values := _numbers(line)) and len(values) == len(columns):
            row = dict(zip(columns, values, strict=True))
            if rows and rows[-1]["Step"] == row["Step"]:
                row = rows.pop() | row
            rows.append(row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names if rows}


def _commented(lines: list[str]) -> dict[str, np.ndarray]:
    """Rows under the last comment line that has as many words as they have numbers."""
    rows = [v for line in lines if not line.startswith("#") and (v := _numbers(line))]
    width = max((len(row) for row in rows), default=0)
    titles = [line.lstrip("# ").split() for line in lines if line.startswith("#")]
    fitting = [words for words in titles if len(words) == width]
    if not fitting:
        return {}
    values = np.array([row for row in rows if len(row) == width])
    return dict(zip(fitting[-1], values.T, strict=True))
