"""The one clock of a host: `trio.run(main, clock=HostClock())`."""

import time

import trio


class HostClock(trio.abc.Clock):
    """Monotonic time in s without an offset, so that stamps of different processes of a host can be compared.

    Trio's own clock starts each run at a random offset, on purpose: its stamps mean nothing in another process.
    """

    def start_clock(self) -> None:
        """Nothing to do: the host's clock runs already."""

    def current_time(self) -> float:
        """Seconds since the host started."""
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Real seconds until `deadline`; negative when it has passed."""
        return deadline - time.monotonic()
