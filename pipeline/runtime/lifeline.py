"""The lifeline from a process to the one that started it. Imports nothing heavy: commands hold it before they load."""

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def hold_lifeline(parent: int) -> None:
    """End with the process `parent`, which started this one: not even its SIGKILL leaves an orphan.

    Set by the child itself, because code between fork and exec is not safe in a parent with threads.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)
