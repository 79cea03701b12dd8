# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command that ends, with everything that it started, when its parent ends, be it by SIGKILL.

``python _guard.py PARENT COMMAND ...``, in a session of its own, exits as COMMAND does; PARENT is the process id of who
starts it. Linux sends the signal, at the end of the *thread* that started this; elsewhere the command runs on.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> int:
    """Run the command; return its exit code, or end by its signal."""
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 1
    process = os.posix_spawnp(command[0], command, os.environ, setsigdef=[signal.SIGTERM])
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
