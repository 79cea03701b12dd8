# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes and bugs told apart: what a user can mend is one line, everything else is reported as a bug in pyuq."""

import dis
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType

PACKAGE = Path(__file__).parent

# TEMPORARY. Rooms (folders and modules of this package, and the compiled bindings) that still raise ValueError,
# RuntimeError or FloatingPointError for what a user can mend. A room leaves the list when it raises InputError or
# RunError instead; when the list is empty, `_raised_on_purpose` goes too. The bindings stay: they translate the one
# exception of the C++ core, whose messages are all meant for users.
UNMIGRATED = ("bnn", "core.pyx", "dump.pyx")


class InputError(ValueError):
    """Something that the user gave is wrong and can be mended: an option, a setting, a file, an argument.

    The message says what was wrong, the value found, what was expected and how to mend it.
    """


class RunError(RuntimeError):
    """Something outside pyuq failed that the user can mend: a program that was started, a package that is missing."""


def no_file(path) -> str:
    """Return what to say of a path where a file was expected."""
    if Path(path).is_dir():
        return f"{path} is a folder: expected a file"
    return f"no file {path}"


def mendable(error: BaseException) -> bool:
    """Tell whether an error is one that a user can mend: everything else is a bug in pyuq.

    Parameters
    ----------
    error : exception
        As it was caught, with its traceback.

    Returns
    -------
    bool
        True for :class:`InputError`, :class:`RunError`, a failure of the operating system (a missing file, a full disk,
        too little memory), a package that is not installed, and, for a time, for errors that the rooms of
        ``UNMIGRATED`` raise on purpose.
    """
    if isinstance(error, InputError | RunError | OSError | MemoryError):
        return True
    if isinstance(error, ModuleNotFoundError):
        return not (error.name or "").startswith("pyuq")
    if isinstance(error, ValueError | RuntimeError | FloatingPointError):
        return _raised_on_purpose(error)
    return False


def _raised_on_purpose(error: BaseException) -> bool:
    """Tell whether a `raise` statement of an unmigrated room made this error, and not Python or a library."""
    if (last := error.__traceback__) is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    name = last.tb_frame.f_code.co_filename
    if name.endswith(".pyx"):
        return Path(name).name in UNMIGRATED
    path = Path(name)
    if not path.is_relative_to(PACKAGE) or path.relative_to(PACKAGE).parts[0] not in UNMIGRATED:
        return False
    return _is_raise(last)


def _is_raise(entry: TracebackType) -> bool:
    code = entry.tb_frame.f_code.co_code
    return dis.opname[code[entry.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def describe(error: BaseException) -> str:
    """Return the message of an error that a user can mend, for one line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return str(error) or type(error).__name__


def report(error: BaseException, who: str, version: str, full: bool = False) -> int:
    """Print an error on standard error.

    Parameters
    ----------
    error : exception
    who : str
        Begins the line: ``pyuq fit``.
    version : str
        Of pyuq.
    full : bool
        Print the traceback, too.

    Returns
    -------
    int
        Exit code: 2 for what a user can mend, told in one line; 1 for a bug in pyuq, whose traceback is kept in a file.
    """
    if full:
        traceback.print_exception(error)
    if mendable(error):
        print(f"{who}: {describe(error)}", file=sys.stderr, flush=True)
        return 2
    place = f" ({place})" if (place := where(error)) else ""
    path = write_bug_report(error, version)
    kept = f"the traceback is in {path}" if path else "`--traceback` shows the traceback"
    print(
        f"{who}: this is a bug in pyuq: {type(error).__name__}: {error}{place}\n"
        f"{kept}; please report it with the input that led here",
        file=sys.stderr,
        flush=True,
    )
    return 1


def where(error: BaseException) -> str:
    """Return the file and line of this package that an error comes from: ``pyuq/x.py, line 12``; empty if none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(PACKAGE):
            return f"pyuq/{Path(frame.filename).relative_to(PACKAGE)}, line {frame.lineno}"
    return ""


def write_bug_report(error: BaseException, version: str) -> Path | None:
    """Write what is needed to find a bug: the command, versions, and the traceback.

    Parameters
    ----------
    error : exception
    version : str
        Of pyuq.

    Returns
    -------
    Path or None
        ``pyuq-bug-TIME-PROCESS.log`` in the current folder, or, where that cannot be written, in the folder of
        temporary files; None if neither can.
    """
    text = "".join(
        [
            f"pyuq {version}, Python {platform.python_version()}, {platform.platform()}\n",
            f"command: {' '.join(sys.argv)}\n\n",
            *traceback.format_exception(error),
        ]
    )
    name = f"pyuq-bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (Path.cwd, lambda: Path(tempfile.gettempdir())):
        try:
            path = folder() / name
            path.write_text(text)
            return path
        except OSError:
            continue
    return None
