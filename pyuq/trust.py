# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings that run code: a TOML file from somebody else must not do so by surprise.

A calculator is a Python function of anybody's choice, and LAMMPS has commands that run programs. What is known to be
harmless goes through; for the rest somebody has to say that the file is trusted (``--trust``).
"""

import importlib.util
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyuq.errors import InputError

# Calculators of ASE that compute in the process and start nothing.
HARMLESS = {
    "ase.calculators.emt:EMT",
    "ase.calculators.lj:LennardJones",
    "ase.calculators.morse:MorsePotential",
}

# Words of LAMMPS commands that run programs, Python or other scripts, load code, or write files of any name.
RUNS_CODE = re.compile(
    r"(?<![^\s\"'])(shell|python(?:/\w+)?|plugin|jump|mliappy|unified|getenv|kim\w*|write_\w+|read_restart|restart|log|"
    r"dump|print|file|append)(?![^\s\"'])"
)
INCLUDE = re.compile(r"""\s*include\s+("([^"]+)"|'([^']+)'|(\S+))\s*(#.*)?$""")
HERE = "${here}"
INCLUDES_WITHIN = 10  # files that include one another


class UntrustedError(InputError):
    """Settings run code, and nobody said that they are trusted."""


def require_trust(where: str, reasons: Iterable[str], trusted: bool) -> None:
    """Refuse settings that run code unless they are trusted.

    Parameters
    ----------
    where : str
        File of the settings.
    reasons : iterable of str
        What runs code.
    trusted : bool

    Raises
    ------
    UntrustedError
        Names what runs code, and how to allow it.
    """
    if not trusted and (found := list(reasons)):
        raise UntrustedError(
            f"{where} runs code: {'; '.join(found)}. Read it; if you trust it, say so with --trust "
            "(trust=True in Python)"
        )


def code_in_calculator(calculator: str) -> Iterator[str]:
    """Say of an import path ``module:attribute`` that it runs code, unless it is known to be harmless."""
    if calculator not in HARMLESS:
        yield f"calculator = {calculator!r} imports and calls Python"


def code_in_commands(
    commands: Iterable[str], folder: Path | None, here: Path | None, depth: int = 0
) -> Iterator[str]:
    """Say which LAMMPS commands may run code; files that they include are read, too.

    Parameters
    ----------
    commands : iterable of str
    folder : Path or None
        Where names of files start from; None: unknown beforehand.
    here : Path or None
        What is put in place of ``${here}`` before LAMMPS reads it; None: nothing, it is a variable like all others.
    depth : int
        Of a file that is included.
    """
    for command in commands:
        text = re.sub(
            r"&[ \t]*\n", "", command
        )  # a line that goes on, perhaps in the middle of a word
        for line in text.split("\n"):
            yield from _code_in_line(line, folder, here, depth)


def _code_in_line(line: str, folder: Path | None, here: Path | None, depth: int) -> Iterator[str]:
    shown = repr(line.strip())
    unknown = line if here is None else line.replace(HERE, "")
    if line.lstrip().startswith("#"):
        return
    if not line.isascii():
        yield f"{shown} has letters beyond ASCII, which LAMMPS may read as others"
    elif found := INCLUDE.match(line):
        name = next(filter(None, found.groups()[1:4]))
        name = name if here is None else name.replace(HERE, str(here))
        path = Path(folder or "", name)
        known = "$" not in unknown and (folder is not None or path.is_absolute())
        if known and not path.exists():
            return  # LAMMPS will say that it is missing
        if known and depth < INCLUDES_WITHIN and path.is_file():
            inside = code_in_commands([path.read_text(errors="replace")], folder, here, depth + 1)
            yield from (f"{path}: {text}" for text in inside)
            return
        yield f"{shown} includes a file that cannot be read beforehand"
    elif found := RUNS_CODE.search(line):
        yield f"{shown} has the word {found[1]}"
    elif re.search(r"\$(?!\([\w\s.*/+()^-]*\))", unknown):
        yield f"{shown} puts a command together from variables"
    elif re.match(r"\s*include\b", line):
        yield f"{shown} includes a file that cannot be read beforehand"


def origin_of_module(calculator: str, folder: Path) -> str:
    """Where the module of a calculator lies, for people to see what is imported.

    Parameters
    ----------
    calculator : str
        ``module:attribute``.
    folder : Path
        Searched first.

    Raises
    ------
    InputError
        Anybody may write into the file or its folder.
    """
    top = calculator.partition(":")[0].partition(".")[0]
    beside = next((p for p in (folder / f"{top}.py", folder / top) if p.exists()), None)
    if beside is None:
        spec = importlib.util.find_spec(top)
        return "" if spec is None else str(spec.origin or "")
    for path in (beside, beside.parent):
        mode = os.stat(path).st_mode
        if mode & stat.S_IWOTH:
            raise InputError(
                f"{path}: anybody may write there, and its code would run as yours: chmod o-w, or move it elsewhere"
            )
    return str(beside)
