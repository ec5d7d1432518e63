"""Become another program, which the system ends as soon as the process that asked for it is gone.

    python -m keras_actrec.cluster.bound PARENT COMMAND...

A process that is stopped, or busy in native code, does not notice by itself that nobody looks after it any more. The
request to Linux outlives the change of program; on other systems the program has to look for its parent itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
ORPHANED = 1


def command(parent: int, program: Sequence[str]) -> list[str]:
    """Return the command of a program that is bound to a process."""
    return [sys.executable, "-m", __name__, str(parent), *program]


def main(arguments: Sequence[str]) -> int:
    """Become the program; return only when the parent is gone already."""
    parent, *program = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has ended before the request
        return ORPHANED
    return os.execvp(program[0], program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
