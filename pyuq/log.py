# SPDX-License-Identifier: GPL-2.0-or-later
"""What the library says while it works: records of the logger ``pyuq``, which the command line prints.

In a script nothing is printed below warnings unless asked for: ``pyuq.log.show()``, or any configuration of
:mod:`logging`.
"""

import logging
import sys

LOGGER = logging.getLogger("pyuq")


class _Console(logging.StreamHandler):
    """Handler of ``sys.stdout``, or from warnings on of ``sys.stderr``, whatever these are at that time."""

    def __init__(self, errors: bool):
        logging.Handler.__init__(self)
        self.errors = errors
        self.addFilter(lambda record: (record.levelno >= logging.WARNING) == errors)

    @property
    def stream(self):
        return sys.stderr if self.errors else sys.stdout

    def handleError(self, record):  # noqa: N802 (logging's name)
        """A reader that went away, or a full disk, ends the program as it does after a `print`."""
        raise


def show(level: int = logging.INFO) -> None:
    """Print what pyuq says: results and progress on standard output, warnings on standard error.

    A second call changes the level only.

    Parameters
    ----------
    level : int
        Of :mod:`logging`: ``WARNING`` leaves progress and reports out, ``DEBUG`` adds where each line comes from.
    """
    handlers = [h for h in LOGGER.handlers if isinstance(h, _Console)]
    if not handlers:
        handlers = [_Console(errors=False), _Console(errors=True)]
        for handler in handlers:
            LOGGER.addHandler(handler)
    pattern = "%(asctime)s %(name)s: %(message)s" if level <= logging.DEBUG else "%(message)s"
    for handler in handlers:
        handler.setFormatter(logging.Formatter(pattern))
    LOGGER.setLevel(level)


def say(text: str) -> None:
    """Say a line of progress or a result; see :func:`show` for who hears it."""
    LOGGER.info(text)
