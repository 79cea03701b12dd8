# SPDX-License-Identifier: GPL-2.0-or-later
"""What the options of verbs have in common: words of help, types of values, names that a blank separates."""

import argparse
import re
from collections.abc import Sequence

COMMON = ("verbose", "quiet", "traceback")
NAME_OPTIONS = ("--elements", "--species", "--framework")
SYMBOLS = re.compile(r"[A-Z][a-z]?(,[A-Z][a-z]?)*")


class Verb(argparse.ArgumentParser):
    """Parser of a verb, with the options that all verbs share."""

    def __init__(self, *args, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)
        if self.add_help:
            add_common(self, argparse.SUPPRESS)


def add_common(parser: argparse.ArgumentParser, default) -> None:
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


def about(text: str, example: str = "", page: str = "") -> dict[str, str]:
    """Words of a help page: what the verb does, an example, and where to read on."""
    ends = [f"example: {example}"] if example else []
    ends += [f"guide: {page}"] if page else []
    return {"help": text, "description": f"{text[0].upper()}{text[1:]}.", "epilog": "\n".join(ends)}


def add_set(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--set``, which changes a setting of the TOML file."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change a setting, e.g. {example}; may be repeated",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``, without which settings run no code."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code that the settings name: a calculator, LAMMPS commands such as shell or python",
    )


def add_elements(parser: argparse.ArgumentParser, text: str, **options) -> None:
    """Add ``--elements``, written the same way in all verbs."""
    options = {"type": names, "default": (), "metavar": "A,B"} | options
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


def names(text: str) -> tuple[str, ...]:
    """Names of an option: ``Ag,I``."""
    found = tuple(name.strip() for name in text.split(","))
    if "" in found:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected names as Ag,I")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Numbers of an option: ``500,600``."""
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers as 500,600") from None


def seed(text: str) -> int:
    """Seed of random numbers: a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of 0 or more")
    return int(text)


def assignments(text: str) -> dict[str, float]:
    """Numbers by name: ``Ag=1,I=-1``."""
    try:
        return {name: float(value) for name, value in (p.split("=") for p in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected as in Ag=1,I=-1") from None
