"""Progress: whether an actor whose work never pauses gets on with it."""

import trio


class Progress:
    """Said by the one actor of a process that has always something to do while its device is open."""

    def __init__(self) -> None:
        self._last_s: float | None = None

    def made(self) -> None:
        """One more piece of work is done, and the next is due soon."""
        self._last_s = trio.current_time()

    def paused(self) -> None:
        """No work is due."""
        self._last_s = None

    def idle_s(self, now_s: float) -> float:
        """How long ago work was last done; 0 while none is due."""
        return 0.0 if self._last_s is None else now_s - self._last_s
