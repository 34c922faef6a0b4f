"""One accepted connection, as anycorn reads and writes it.

It ends what anycorn would let go on. After a message that is too long anycorn sends its close frame and then keeps
every byte that still comes: here nothing is handed on once that frame has been sent. And anycorn keeps a connection
that is over until it would ping it again: here what is still done for it is cancelled.
"""

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import anyio.abc
import trio

TOO_BIG: Final = b"\x88\x02\x03\xf1"
"""The close frame with code 1009 (RFC 6455 §5.5.1), as anycorn sends it for a message that is too long."""
FAREWELL_S: Final = 1.0
"""How long the last words may take to be read: to close while the peer still sends is a reset, which loses them."""
MAX_RECEIVE_BYTES: Final = 64 * 1024


class SocketStream(anyio.abc.ByteStream):
    """A TCP connection. Reading ends by itself after a message was refused and the peer had time to read that.

    Args:
        stream: what was accepted.
        life: what is done for this connection; cancelled once it is closed, and FAREWELL_S after the peer has ended it.
    """

    def __init__(self, stream: trio.SocketStream, life: trio.CancelScope) -> None:
        self._stream = stream
        self._life = life
        self._refused = False

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The socket, for its addresses."""
        return {anyio.abc.SocketAttribute.raw_socket: lambda: self._stream.socket}

    async def receive(self, max_bytes: int = MAX_RECEIVE_BYTES) -> bytes:
        """The next bytes; raises anyio's errors: EndOfStream, ClosedResourceError, BrokenResourceError."""
        try:
            data = await (self._read_out() if self._refused else self._stream.receive_some(max_bytes))
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None
        except trio.BrokenResourceError as error:
            self._life.deadline = trio.current_time() + FAREWELL_S
            raise anyio.BrokenResourceError from error
        if not data:
            self._life.deadline = trio.current_time() + FAREWELL_S
            raise anyio.EndOfStream
        return bytes(data)

    async def send(self, item: bytes) -> None:
        """Send all of it; raises as `receive` does."""
        self._refused = self._refused or item == TOO_BIG
        try:
            await self._stream.send_all(item)
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None
        except trio.BrokenResourceError as error:
            raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Nothing more will be sent; OSError if the peer is gone."""
        self._stream.socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close; what was sent still arrives."""
        self._life.cancel()
        await self._stream.aclose()

    async def abort(self) -> None:
        """Reset the connection, also under a send that waits for the peer to read; what is unsent is dropped."""
        with trio.CancelScope(shield=True):
            try:
                self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:  # closed meanwhile
                return
            await self.aclose()

    async def _read_out(self) -> bytes:
        with trio.move_on_after(FAREWELL_S):
            while await self._stream.receive_some(MAX_RECEIVE_BYTES):
                pass
        return b""
