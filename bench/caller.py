"""A cheap client: hundreds of them fit beside a server that is to be measured. It shares no code with the server.

Its frames are built once and masked with zeros, which RFC 6455 allows; of an event it reads no more than it needs.
"""

import base64
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec
import trio

from bench.report import BenchError

KEY: Final = "sk-bench"
FRAME_BYTES: Final = 960
"""20 ms of s16le mono at 24 kHz."""
FRAME_S: Final = 0.020
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_UPGRADE: Final = (
    "GET /v1/realtime?model=bench HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    f"Authorization: Bearer {KEY}\r\n\r\n"
).encode()


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A client's frame around at most 64 KiB (RFC 6455 §5.2)."""
    if len(payload) < 126:
        return struct.pack("!BBI", 0x80 | opcode, 0x80 | len(payload), 0) + payload
    return struct.pack("!BBHI", 0x80 | opcode, 0x80 | 126, len(payload), 0) + payload


def message(kind: str, **fields: object) -> bytes:
    """A frame with one event."""
    return frame(msgspec.json.encode({"type": kind, **fields}))


def appends(pcm: bytes) -> list[bytes]:
    """The sound as frames that append 20 ms each; what is left of a frame at the end is filled with silence."""
    padded = pcm + bytes(-len(pcm) % FRAME_BYTES)
    blocks = (padded[start : start + FRAME_BYTES] for start in range(0, len(padded), FRAME_BYTES))
    return [message("input_audio_buffer.append", audio=base64.b64encode(block).decode()) for block in blocks]


class Arrived(NamedTuple):
    """One event of the server: its type, its whole text, and when it was read (`time.monotonic`)."""

    kind: str
    text: bytes
    at_s: float


class Caller:
    """One connection. Whoever holds it has to read `event` after `event`, or the server's pings go unanswered."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._held = bytearray()
        self._sending = trio.Lock()
        self._ponged = trio.Event()

    async def send(self, data: bytes) -> None:
        """Send frames."""
        async with self._sending:
            await self._stream.send_all(data)

    async def event(self) -> Arrived:
        """The next thing the server says; pings are answered on the way. Raises BenchError if it hangs up."""
        while True:
            opcode, payload = await self._frame()
            if opcode == _PING:
                await self.send(frame(payload, _PONG))
            elif opcode == _TEXT:
                return Arrived(payload[9 : payload.index(b'"', 9)].decode(), payload, time.monotonic())
            elif opcode == _PONG:
                self._ponged.set()
            elif opcode == _CLOSE:
                raise BenchError(f"the server hung up: {payload[2:].decode(errors='replace')}")

    async def ping(self) -> float:
        """Ping; s until the pong is there, how late the server's event loop was. Somebody else reads `event`."""
        self._ponged = trio.Event()
        sent_s = time.monotonic()
        await self.send(frame(b"", _PING))
        await self._ponged.wait()
        return time.monotonic() - sent_s

    async def upgrade(self) -> None:
        """Become a WebSocket. Raises BenchError if the server does not want it."""
        await self.send(_UPGRADE)
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            self._held += await self._more()
        if not self._held.startswith(b"HTTP/1.1 101"):
            raise BenchError(f"the server refused a connection: {bytes(self._held[:40])!r}")
        del self._held[: end + 4]

    async def _frame(self) -> tuple[int, bytes]:
        head = await self._peek(2)
        opcode, length, start = head[0] & 0x0F, head[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes((await self._peek(start))[2:], "big")
        payload = (await self._peek(start + length))[start:]
        del self._held[: start + length]
        return opcode, payload

    async def _peek(self, size: int) -> bytes:
        while len(self._held) < size:
            self._held += await self._more()
        return bytes(self._held[:size])

    async def _more(self) -> bytes:
        data = bytes(await self._stream.receive_some())
        if not data:
            raise BenchError("the server ended a connection")
        return data


@asynccontextmanager
async def calling(port: int) -> AsyncGenerator[Caller, None]:
    """A session with the server on this machine's `port`."""
    with trio.socket.socket() as line:
        await line.connect(("127.0.0.1", port))
        caller = Caller(trio.SocketStream(line))
        await caller.upgrade()
        yield caller
