"""Who stands in the server's place when the answer to a client's request is itself the fault."""

from typing import Final

import trio
from trio.abc import HalfCloseableStream

MAX_REQUEST_BYTES: Final = 65_536
"""A request that is longer is answered before its end."""


class Impostor(HalfCloseableStream):
    """Reads one request, or one TLS hello, gives the answer, and has finished; what comes later is lost."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._request = bytearray()
        self._over = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hear more of the request."""
        await trio.lowlevel.checkpoint()
        if not self._over.is_set():
            self._request += data
            if is_whole(self._request):
                self._over.set()

    async def wait_send_all_might_not_block(self) -> None:
        """It never does."""
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """The client has finished; half a request gets no answer."""
        await trio.lowlevel.checkpoint()
        if not self._over.is_set():
            self._answer = b""
            self._over.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The answer, once the request is whole, and then its end."""
        await self._over.wait()
        size_bytes = len(self._answer) if max_bytes is None else max_bytes
        said, self._answer = self._answer[:size_bytes], self._answer[size_bytes:]
        return said

    async def aclose(self) -> None:
        """Nothing is held."""
        await trio.lowlevel.checkpoint()


def is_whole(request: bytes | bytearray) -> bool:
    """Whether an HTTP request's head has ended, or a TLS record (the client's hello; RFC 8446, 5.1) is there."""
    if request[:1] == b"\x16":
        return len(request) >= 5 and len(request) >= 5 + int.from_bytes(request[3:5])
    return b"\r\n\r\n" in request or len(request) >= MAX_REQUEST_BYTES
