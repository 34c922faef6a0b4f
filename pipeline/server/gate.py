"""A TCP connection whose ways can be shut: a peer that seems gone, or that has stopped reading. Used by faults only."""

from collections.abc import Callable, Mapping
from typing import Any

import anyio.abc
import trio


class GatedStream(anyio.abc.ByteStream):
    """A stream that hands everything on while both ways are open."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._hearing = trio.Event()
        self._hearing.set()
        self._speaks = True

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the stream behind."""
        return self._stream.extra_attributes

    def set(self, *, hears: bool, speaks: bool) -> None:
        """Open or shut each way: what comes waits in the socket, what is said is lost."""
        self._speaks = speaks
        if hears:
            self._hearing.set()
        elif self._hearing.is_set():
            self._hearing = trio.Event()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """The next bytes, once the way is open."""
        received = await self._stream.receive(max_bytes)
        if not self._hearing.is_set():  # else no extra checkpoint for every healthy read
            await self._hearing.wait()
        return received

    async def send(self, item: bytes) -> None:
        """Send, or lose, these bytes."""
        if self._speaks:
            await self._stream.send(item)

    async def send_eof(self) -> None:
        """End the way out."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the connection, whatever is shut."""
        self._hearing.set()
        await self._stream.aclose()
