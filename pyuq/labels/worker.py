# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that computes labels, one JSON line in, one JSON line out, and that can be killed.

``python -m pyuq.labels.worker`` reads the reference's description on the first line of standard input, answers ``{}``
when it is loaded, and reads a structure on each further line. What a reference method prints goes to standard error.
"""

import json
import os
import sys

from ase import Atoms
from ase.io.jsonio import decode, encode

from pyuq.labels.reference import make_reference


def main() -> None:
    """Serve until standard input ends."""
    # Keep the pipe to the parent for results alone: reference programs print to file descriptor 1.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(answer: dict) -> None:
        replies.write(encode(answer) + "\n")
        replies.flush()

    broken = {}
    try:
        reference = make_reference(json.loads(sys.stdin.readline()))
        reference.load()
    except Exception as error:
        broken = _error(error)
    reply({})
    for line in sys.stdin:
        try:
            reply(broken or reference(Atoms.fromdict(decode(line))))
        except Exception as error:
            reply(_error(error))


def _error(error: Exception) -> dict:
    return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
