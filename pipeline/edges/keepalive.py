"""Keeps watch over one line: is the far end still there? TCP by itself does not say so for a quarter of an hour.

While something was sent that nothing has confirmed yet, it is asked soon and has to answer soon; else now and then.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pipeline.vocabulary.errors import WireError

UNCONFIRMED_S: Final = 1.0
"""So long may what was sent stay unconfirmed before the far end is asked (design §6) ..."""
ANSWER_S: Final = 1.5
"""... and so long may its answer take: a half-open line is noticed within 3 s of the first frame it swallows."""
IDLE_S: Final = 4.0
"""An idle line is asked this long after the last sign of life ..."""
IDLE_ANSWER_S: Final = 4.0
"""... and has so long to answer."""

RestUntil = Callable[[float], Awaitable[None]]
"""Sleeps until a moment (host clock, s), or longer where it is certain that the far end would answer until then."""


class Keepalive:
    """Pings when it is time.

    Args:
        ping: asks the far end and waits so long (s) for its answer; raises WireError when the line is over.
        alive_s: when anything last came from there (host clock).
        rest_until: for an idle line.
    """

    def __init__(
        self, ping: Callable[[float], Awaitable[None]], alive_s: Callable[[], float], rest_until: RestUntil
    ) -> None:
        self._ping = ping
        self._alive_s = alive_s
        self._rest_until = rest_until
        self._unconfirmed_s: float | None = None
        self._idle = trio.CancelScope()

    def sent(self) -> None:
        """Something was sent."""
        if self._unconfirmed_s is None:
            self._unconfirmed_s = trio.current_time()
            self._idle.cancel()

    async def run(self) -> None:
        """Watch until the line is over."""
        try:
            while True:
                while self._unconfirmed_s is not None:
                    await trio.sleep_until(self._unconfirmed_s + UNCONFIRMED_S)
                    self._unconfirmed_s = None  # the answer confirms everything sent until now, and nothing sent later
                    await self._ping(ANSWER_S)
                with trio.CancelScope() as self._idle:
                    await self._rest()
        except WireError:
            pass  # whoever uses the line is told

    async def _rest(self) -> None:
        while True:
            due_s = self._alive_s() + IDLE_S
            if due_s > trio.current_time():
                await self._rest_until(due_s)
            else:
                await self._ping(IDLE_ANSWER_S)
