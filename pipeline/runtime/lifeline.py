"""The lifeline of a child process to its parent, held before anything heavy is imported.

Whoever is killed a moment after it has started a child leaves no orphan that is still loading its libraries.
"""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def hold_lifeline(parent: int) -> None:
    """End with the process `parent`, which started this one: not even its SIGKILL leaves an orphan.

    Set by the child itself, because code between fork and exec is not safe in a parent with threads.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)
