"""Stands between trio-websocket 0.12.2 and the network: says at once what the library would wait out, hide or collect.

An end of the stream during the opening handshake, an answer other than 101, endless fragments: each ends the library's
reader with the error a person can use. Everything here was reproduced against that release; see the tests by hazard.
"""

from collections.abc import Callable, Mapping
from typing import Final

import trio

from pipeline.vocabulary.errors import ConnectionLostError, WireError

MAX_HEAD: Final = 16_384  # bytes of head in the answer to the handshake; the body of a refusal is never read
MAX_FRAGMENTS: Final = 4_096  # fragments of one message; the library counts characters only, so empty ones are free

_HEADER_SIZES: Final = bytes(2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + 4 * (second >> 7) for second in range(256))
"""Bytes of a frame's header by its second byte, which holds length and mask bit."""

StatusError = Callable[[int, Mapping[str, str]], WireError]


class FragmentCounter:
    """Counts the fragments of each message in a stream of WebSocket frames (RFC 6455 §5.2), looking at headers only."""

    def __init__(self) -> None:
        self.fragments = 0
        self._header = bytearray()
        self._skip = 0  # bytes of the current payload still to come

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the stream; the most fragments any message had so far, at that point or before."""
        most, at = self.fragments, 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            size = _HEADER_SIZES[self._header[1]] if len(self._header) > 1 else 2
            piece = data[at : at + size - len(self._header)]
            self._header += piece
            at += len(piece)
            if len(self._header) > 1 and len(self._header) == _HEADER_SIZES[self._header[1]]:
                self._take_header()
                most = max(most, self.fragments)
        return most

    def _take_header(self) -> None:
        final, opcode = self._header[0] >> 7, self._header[0] & 0x0F
        length = self._header[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self._header[2 : 4 if length == 126 else 10])
        self._skip = length
        self._header.clear()
        if opcode < 8:  # control frames may stand between fragments
            self.fragments = 0 if final else self.fragments + 1


class GuardedStream(trio.abc.Stream):
    """A stream for the library to run on, and for others that send whole frames beside it.

    Args:
        stream: TCP, TLS or memory.
        shown: the service in words for people.
        status_error: what an answer other than 101 means.

    Attributes:
        loss: what ended the stream, as soon as it is known; also raised out of `receive_some`.
        alive_s: when anything last came (host clock).
    """

    def __init__(self, stream: trio.abc.Stream, shown: str, status_error: StatusError) -> None:
        self.loss: WireError | None = None
        self.alive_s = trio.current_time()
        self._stream = stream
        self._shown = shown
        self._status_error = status_error
        self._head: bytearray | None = bytearray()  # None: the handshake is over
        self._frames = FragmentCounter()
        self._sending = trio.StrictFIFOLock()

    def lose(self, error: WireError) -> WireError:
        """Remember what ended the stream; the first cause counts."""
        self.loss = self.loss or error
        return self.loss

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes of a healthy stream. Raises WireError for everything else, ClosedResourceError after `aclose`."""
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError:
            raise self.lose(self._cut("reset")) from None
        if not data:
            raise self.lose(self._cut("close_1006" if self._head is None else "eof"))
        self.alive_s = trio.current_time()
        if self._head is not None:
            self._inspect_head(data)
        elif self._frames.feed(data) > MAX_FRAGMENTS:
            message = f"{self._shown} cut one message into more than {MAX_FRAGMENTS} pieces"
            raise self.lose(ConnectionLostError(message, cause="fragments"))
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream below, but one caller after the other: a handshake, or one whole frame."""
        try:
            self._sending.acquire_nowait()  # `acquire` would cost a turn of the loop although nobody else sends
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self.lose(self._cut("reset"))
            raise
        finally:
            self._sending.release()

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """As the stream below."""
        await self._stream.aclose()

    def _inspect_head(self, data: bytes) -> None:
        """Let the head of a 101 pass; the library checks the rest of it."""
        assert self._head is not None, "the head comes before the frames"
        self._head += data
        head, end, frames = self._head.partition(b"\r\n\r\n")
        if not b"HTTP/1.".startswith(head[:7]) or (not end and len(head) > MAX_HEAD):
            message = f"{self._shown} does not speak HTTP; check the address"
            raise self.lose(ConnectionLostError(message, cause="handshake"))
        if not end:
            return
        status, headers = _parse_head(bytes(head))
        if status != 101:
            raise self.lose(self._status_error(status, headers))
        self._head = None
        self._frames.feed(bytes(frames))

    def _cut(self, cause: str) -> ConnectionLostError:
        when = "" if self._head is None else " during the WebSocket handshake"
        return ConnectionLostError(f"{self._shown} cut the connection{when}", cause=cause)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status (0 if there is none) and headers, names in lower case, of an HTTP/1.1 answer (RFC 9112 §4, §5)."""
    line, *fields = head.decode("latin-1").split("\r\n")
    status = line.partition(" ")[2].partition(" ")[0]
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0, headers
