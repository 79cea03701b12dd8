# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables that LAMMPS writes while it runs: thermo output of a log file, files of fixes.

A column is known by the name that stands above it. What it is and its unit come from the commands that a log echoes
(``units``, ``thermo_style``, the styles behind ``c_ID`` and ``f_ID``), see :func:`read_labels`.
"""

import re
from pathlib import Path

import numpy as np

from pyuq.errors import InputError, no_file

STEPS = ("Step", "TimeStep", "step")  # names of the number of the step
TIMES = ("Time", "time")

# Units of thermo keywords by LAMMPS's unit style; others are left without.
UNITS = {
    "metal": {
        "temperature": "K",
        "energy": "eV",
        "pressure": "bar",
        "volume": "Å³",
        "distance": "Å",
        "time": "ps",
        "density": "g/cm³",
        "force": "eV/Å",
        "cpu": "s",
    },
    "real": {
        "temperature": "K",
        "energy": "kcal/mol",
        "pressure": "atm",
        "volume": "Å³",
        "distance": "Å",
        "time": "fs",
        "density": "g/cm³",
        "force": "kcal/mol/Å",
        "cpu": "s",
    },
}
ID = "ID of an atom"

_KINDS = {
    "temperature": "temp",
    "energy": "pe ke etotal enthalpy evdwl ecoul epair ebond eangle edihed eimp emol elong etail econserve ecouple",
    "pressure": "press pxx pyy pzz pxy pxz pyz",
    "volume": "vol",
    "distance": "lx ly lz xlo xhi ylo yhi zlo zhi xy xz yz",
    "time": "time dt",
    "density": "density",
    "force": "fmax fnorm",
    "cpu": "cpu tpcpu",
}
_KIND_OF = {keyword: kind for kind, words in _KINDS.items() for keyword in words.split()}

# Keywords behind the names that LAMMPS prints, where these differ from the keyword by more than capitals.
_KEYWORDS = {
    "PotEng": "pe",
    "KinEng": "ke",
    "TotEng": "etotal",
    "Volume": "vol",
    "E_vdwl": "evdwl",
    "E_coul": "ecoul",
    "E_pair": "epair",
    "E_bond": "ebond",
    "E_angle": "eangle",
    "E_dihed": "edihed",
    "E_impro": "eimp",
    "E_mol": "emol",
    "E_long": "elong",
    "E_tail": "etail",
}

# Elements of the vectors of our styles: what, and the kind of its unit.
_LARGEST = "largest relative force uncertainty"
_STYLES = {
    "compute uq": (
        ("σ_E", "energy"),
        (_LARGEST, ""),
        (ID, ""),
        ("mean force", "force"),
        ("mean force uncertainty", "force"),
        ("shortest distance", "distance"),
        ("extrapolation grade γ", ""),
        (ID, ""),
    ),
    "fix uq/hal": (
        ("τ", ""),
        ("σ_E", "energy"),
        ("mean force, running average", "force"),
        ("mean force uncertainty, running average", "force"),
        (_LARGEST, ""),
        (ID, ""),
        ("shortest distance", "distance"),
    ),
    "fix uq/rom": (
        ("temperature of the modes", "temperature"),
        ("residual force fraction", ""),
        ("kinetic energy of the modes", "energy"),
    ),
}


def read_table(path) -> dict[str, np.ndarray]:
    """Read the columns of a table.

    Parameters
    ----------
    path : path
        A log file (all its runs, also one that broke off; one-line thermo output), or a file of numbers below a
        comment line that names the columns: ``model_devi.out``, ``fix ave/time``, ``fix print`` with a title.

    Returns
    -------
    dict of str to ndarray, shape (n,) or (n, N)
        In the order of the columns. A column that not all runs of a log have is NaN where it is missing. Several
        columns under one last title that ends in ``(N)``, as ``fix uq/deviation ... atomic`` writes them, are one
        entry of shape (n, N), under the title without ``(N)``.

    Raises
    ------
    InputError
        There is no such file, or it holds no table, or rows of different lengths.
    """
    lines = _lines(path)
    table = _thermo(lines) or _commented(lines, path)
    if not table:
        raise InputError(
            f"{path} holds no table: expected a LAMMPS log with one-line thermo output, or rows of numbers below "
            "a comment line that names their columns"
        )
    return table


def read_labels(path) -> dict[str, tuple[str, str]]:
    """Read what the columns of a log are.

    Parameters
    ----------
    path : path
        As of :func:`read_table`. Other files than logs say nothing of it.

    Returns
    -------
    dict
        {name of a column: (quantity, unit)}, either empty where it is not known. The quantity is ``ID of an atom``
        where the numbers are names and no amounts.

    Raises
    ------
    InputError
        There is no such file.
    """
    labels: dict[str, tuple[str, str]] = {}
    units: dict[str, str] = {}
    styles: dict[str, str] = {}  # c_ID or f_ID: "compute style" or "fix style"
    keywords: list[str] = []
    lines = _lines(path)
    headers = dict(_headers(lines))
    for number, line in enumerate(lines):
        if number in headers:
            columns = headers[number]
            known = keywords if len(keywords) == len(columns) else columns
            for name, keyword in zip(columns, known, strict=True):
                labels[name] = _label(keyword, styles, units)
            continue
        match line.split():
            case ["units", style]:
                units = UNITS.get(style, {})
            case ["thermo_style", "custom", *words]:
                keywords = words
            case ["thermo_style", *_]:
                keywords = []
            case ["thermo_modify", *words] if re.search(r"\bnorm yes\b", " ".join(words)):
                units = units | {"energy": ""}  # per atom or not: the log does not say of which
            case ["compute" | "fix" as kind, name, _, style, *_]:
                styles[f"{kind[0]}_{name}"] = f"{kind} {style}"
    return labels


def _label(keyword: str, styles: dict[str, str], units: dict[str, str]) -> tuple[str, str]:
    """Quantity and unit of a thermo keyword, or of the name that LAMMPS prints for it."""
    if found := re.fullmatch(r"([cf]_\w+)\[(\d+)\]", keyword):
        elements = _STYLES.get(styles.get(found[1], ""), ())
        if 0 < (k := int(found[2])) <= len(elements):
            quantity, kind = elements[k - 1]
            return quantity, units.get(kind, "")
        return "", ""
    return "", units.get(_KIND_OF.get(_KEYWORDS.get(keyword, keyword.lower()), ""), "")


def _lines(path) -> list[str]:
    if not Path(path).is_file():
        raise InputError(no_file(path))
    return Path(path).read_text(errors="replace").splitlines()


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def _headers(lines: list[str]):
    """Yield line number and names of each header of thermo output: names right above as many numbers.

    The first name is mostly Step, but need not be: then LAMMPS's line on memory stands above it.
    """
    for number, line in enumerate(lines):
        words = line.split()
        if not words or not (
            words[0] == "Step" or (number and lines[number - 1].startswith("Per MPI rank memory"))
        ):
            continue
        below = next((text for text in lines[number + 1 :] if not text.startswith("WARNING")), "")
        numbers = _numbers(below)
        if _numbers(line) is None and (not below.strip() or len(numbers or ()) == len(words)):
            yield number, words


def _thermo(lines: list[str]) -> dict[str, np.ndarray]:
    """All runs of a log; a step that two runs share (the last and the first) is taken once."""
    names: list[str] = []
    columns: list[str] = []
    rows: list[dict[str, float]] = []
    headers = dict(_headers(lines))
    for number, line in enumerate(lines):
        if number in headers:
            columns = headers[number]
            names += [name for name in columns if name not in names]
        elif line.startswith("Loop time"):
            columns = []
        elif columns and (values := _numbers(line)) and len(values) == len(columns):
            row = dict(zip(columns, values, strict=True))
            if rows and "Step" in row and rows[-1].get("Step") == row["Step"]:
                row = rows.pop() | row
            rows.append(row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names if rows}


def _without_heads(numbered: list[tuple[int, list[float]]]) -> list[tuple[int, list[float]]]:
    """Rows of vectors of ``fix ave/time mode vector``, without the row above each block: its step and its length."""
    rows, left = [], 0
    for number, row in numbered:
        if left:
            rows.append((number, row))
            left -= 1
        else:
            left = int(row[1]) if len(row) > 1 else 0
    return rows


def _commented(lines: list[str], path) -> dict[str, np.ndarray]:
    """Rows under the comment line that names their columns.

    Several such lines, as ``fix ave/time`` writes for vectors, name tables in the table: the longest rows are taken.
    """
    numbered = [(k, v) for k, x in enumerate(lines, 1) if x[:1] != "#" and (v := _numbers(x))]
    titles = [line.lstrip("# ").split() for line in lines if line.startswith("#")]
    if ["TimeStep", "Number-of-rows"] in titles:
        titles.remove(["TimeStep", "Number-of-rows"])
        numbered = _without_heads(numbered)
    width = max((len(row) for _, row in numbered), default=0)
    many = [words for words in titles if words and words[-1].endswith("(N)")]
    fitting = [words for words in titles if len(words) == width]
    if many and len(many[-1]) <= width:
        names = many[-1]
    elif fitting:
        names = fitting[-1]
    else:
        return {}
    # A last row may be cut short where the run still writes; rows of another table have another title.
    others = {len(words) for words in titles if words not in many}
    for number, row in numbered[:-1]:
        if len(row) != width and len(row) not in others:
            raise InputError(
                f"{path}, line {number}: found {len(row)} numbers, expected {width} as in the longest row: was the "
                "number of atoms changed, or two runs written into one file?"
            )
    values = np.array([row for _, row in numbered if len(row) == width])
    table = dict(zip(names, values.T, strict=False))
    if many:
        del table[names[-1]]
        table[names[-1].removesuffix("(N)")] = values[:, len(names) - 1 :]
    return table
