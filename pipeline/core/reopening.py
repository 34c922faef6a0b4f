"""When a device that failed is tried again: soon and for ever, but one that opens only to fail ever less often."""

from typing import Final

REOPEN_S: Final = 0.25
"""A device outage is a state, not a crash: the device is tried again this often, for ever (design §5)."""
BRIEF_S: Final = 1.0
"""Open for less, it did not work."""
REOPEN_MAX_S: Final = 5.0
"""Each opening and each failure is told, and a log is to outlast a defective device that nobody replaces for weeks."""


class Reopening:
    """Of one device. Times are the host clock's, in s."""

    def __init__(self) -> None:
        self._pause_s = REOPEN_S
        self._opened_s: float | None = None

    def opened(self, now: float) -> None:
        """It has opened."""
        self._opened_s = now

    def failed(self, now: float) -> float:
        """It has failed, or did not open; how long to wait before it is tried again."""
        opened_s, self._opened_s = self._opened_s, None
        if opened_s is None:
            return REOPEN_S
        if now - opened_s >= BRIEF_S:
            self._pause_s = REOPEN_S
            return REOPEN_S
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, REOPEN_MAX_S)
        return pause_s
