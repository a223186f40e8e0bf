"""Runs a program that ends when whoever started it does, however that ended.

``python leash.py PARENT COMMAND...`` becomes COMMAND, in the same process. The kernel of Linux then sends it SIGTERM at
the end of PARENT, a kill included; on other systems the program merely runs. A file to be run, with no import of ours:
it has to cost nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; the setting outlives exec


def leashed(command: tuple[str, ...]) -> tuple[str, ...]:
    """``command`` bound to the calling process."""
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), *command)


def main(parent: int, command: list[str]) -> None:
    """Bind this process to ``parent`` and become ``command``."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # otherwise it ended before we were bound to it
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own argument list


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
