"""What a session still has to tell its client: bounded in bytes, drained by one writer."""

from collections import deque
from typing import Final

import trio

MAX_UNSENT_BYTES: Final = 24 * 1024 * 1024
"""Six minutes of sound in base64 ahead of a reader."""
BUSY_BYTES: Final = 8 * 1024 * 1024
"""From here on a client is not listened to until it has read some: it may ask for more than it takes."""


class Outbox:
    """Messages in order. `put` never waits, so that nothing in a session ever waits for a slow reader."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque()
        self._unsent_bytes = 0
        self._changed = trio.Event()
        self._taken = trio.Event()
        self._closed = False

    def put(self, message: str) -> bool:
        """Queue a message; False if the reader is too far behind."""
        if self._unsent_bytes + len(message) > MAX_UNSENT_BYTES:
            return False
        self._messages.append(message)
        self._unsent_bytes += len(message)
        self._changed.set()
        return True

    def discard(self) -> None:
        """Forget what was not taken yet."""
        self._messages.clear()
        self._unsent_bytes = 0
        self._taken.set()

    def close(self) -> None:
        """Nothing follows."""
        self._closed = True
        self._changed.set()

    async def not_busy(self) -> None:
        """Wait while there is more than BUSY_BYTES to be taken."""
        while self._unsent_bytes > BUSY_BYTES:
            self._taken = trio.Event()
            await self._taken.wait()

    async def take(self) -> str | None:
        """The next message, None after the last one."""
        while not self._messages:
            if self._closed:
                return None
            self._changed = trio.Event()
            await self._changed.wait()
        message = self._messages.popleft()
        self._unsent_bytes -= len(message)
        self._taken.set()
        return message
