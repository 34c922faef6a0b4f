"""The other end of the line: a service in a process of its own that speaks just enough protocol and takes stamps.

`python -m bench.peer` is that process; `open_peer` starts it. It lives until its stdin closes. Its stamps are the
host's monotonic clock, so they can be compared with ours. Sound is made of numbered blocks: what arrives is either
exactly what was sent, or silence, or garbage, and garbage ends the line with a fault.
"""

import os
import struct
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
import trio
import trio_websocket

from bench.processes import started
from bench.report import BenchError
from pipeline.realtime.client_secrets import ClientSecret, encode_backend_answer
from pipeline.vocabulary.frames import BYTES_PER_MS
from pipeline.vocabulary.signals import Secret

FRAME_MS: Final = 20
CYCLE: Final = 4
"""Frames from one answer to the next: each is heard to its end before the next begins."""
HALF_FRAME_S: Final = FRAME_MS / 2000
"""An answer is sent half way between two microphone blocks, so neither direction meets the other's work."""

_NUMBER: Final = struct.Struct("<I")
_LOUD: Final = 1 << 24  # the upper sample of each pair is at least 256: -42 dBFS, which is audible
_REPEATS: Final = FRAME_MS * BYTES_PER_MS // _NUMBER.size


def numbered(number: int) -> bytes:
    """A block of sound that carries its number (below 2^24) in every pair of samples."""
    return _NUMBER.pack(_LOUD | number) * _REPEATS


def number_of(pcm: bytes) -> int | None:
    """The number of a block, None for silence. Raises ValueError if it is neither."""
    if pcm == bytes(FRAME_MS * BYTES_PER_MS):
        return None
    number = _NUMBER.unpack_from(pcm)[0] ^ _LOUD if len(pcm) >= _NUMBER.size else -1
    if not 0 <= number < _LOUD or pcm != numbered(number):
        raise ValueError("sound that nobody sent")
    return int(number)


class Account(msgspec.Struct, kw_only=True):
    """What the peer saw on one line.

    Attributes:
        received_s: number of a frame → when the socket had read it.
        silent: frames of silence; they carry no number.
        sent_s: number of an answer → when its first delta was given to the socket.
        fault: why the peer ended the line; empty if the endpoint did.
    """

    received_s: dict[int, float] = msgspec.field(default_factory=dict)
    silent: int = 0
    sent_s: dict[int, float] = msgspec.field(default_factory=dict)
    fault: str = ""


class Peer:
    """The peer as its parent sees it.

    Attributes:
        url: of the Realtime service.
        token_url: of the token backend.
    """

    def __init__(self, output: trio.abc.ReceiveStream) -> None:
        self._output = output
        self._held = b""
        self.url = self.token_url = ""

    async def ready(self) -> None:
        """Wait until it listens."""
        ports = msgspec.json.decode(await self._line(), type=_Ports)
        self.url, self.token_url = f"ws://127.0.0.1:{ports.service}/", f"http://127.0.0.1:{ports.tokens}/"

    async def account(self) -> Account:
        """Wait for the end of the next line; what was seen on it."""
        return msgspec.json.decode(await self._line(), type=Account)

    async def _line(self) -> bytes:
        while b"\n" not in self._held:
            some = bytes(await self._output.receive_some())
            if not some:
                raise BenchError("the peer ended although it was still needed")
            self._held += some
        line, _, self._held = self._held.partition(b"\n")
        return line


@asynccontextmanager
async def open_peer() -> AsyncGenerator[Peer, None]:
    """Start a peer; it ends with the context."""
    async with started([sys.executable, "-m", "bench.peer"]) as process:
        peer = Peer(process.output)
        await peer.ready()
        yield peer


# the process


class _Ports(msgspec.Struct):
    service: int
    tokens: int


class _Update(msgspec.Struct, tag_field="type", tag="session.update"):
    session: msgspec.Raw


class _Append(msgspec.Struct, tag_field="type", tag="input_audio_buffer.append"):
    audio: bytes


_DECODER: msgspec.json.Decoder[_Update | _Append] = msgspec.json.Decoder(_Update | _Append)


class _StampedStream(trio.abc.Stream):
    """Notes when the socket was read, which is before the WebSocket library has understood anything."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.read_s = 0.0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        self.read_s = time.monotonic()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _serve() -> None:
    async with trio.open_nursery() as nursery:
        services = await trio.open_tcp_listeners(0, host="127.0.0.1")
        backends = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, _hold_line, services))
        nursery.start_soon(partial(trio.serve_listeners, hand_out_secret, backends))
        _tell(_Ports(services[0].socket.getsockname()[1], backends[0].socket.getsockname()[1]))
        await trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())).receive_some()  # nothing comes: it closes
        nursery.cancel_scope.cancel()


async def _hold_line(stream: trio.abc.Stream) -> None:
    account = Account()
    stamped = _StampedStream(stream)
    try:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stamped)
            socket = await request.accept()
            await _talk(socket, stamped, account, nursery)
    except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
        pass  # the endpoint hung up
    await stream.aclose()
    _tell(account)


async def _talk(
    socket: trio_websocket.WebSocketConnection, stamped: _StampedStream, account: Account, nursery: trio.Nursery
) -> None:
    """Take frames in until there are no more. One of each CYCLE begins an answer, the next gets its sound."""
    await socket.send_message('{"type":"session.created","event_id":"e","session":{}}')
    while True:
        text = await socket.get_message()
        read_s = stamped.read_s
        try:
            event = _DECODER.decode(text)
            number = number_of(event.audio) if isinstance(event, _Append) else None
        except (msgspec.DecodeError, ValueError):
            account.fault = "garbage on the line"
            await socket.aclose()
            return
        if isinstance(event, _Update):
            await socket.send_message('{"type":"session.updated","event_id":"e","session":{}}')
        elif number is None:
            account.silent += 1
        else:
            account.received_s[number] = read_s
            nursery.start_soon(_answer, socket, number, account)  # who reads must be back before the next frame


async def _answer(socket: trio_websocket.WebSocketConnection, number: int, account: Account) -> None:
    answer, step = divmod(number, CYCLE)
    response = {"id": f"r{answer}"}
    if step == 0:
        await socket.send_message(event_text("response.created", response=response))
    elif step == 1:
        place = {"response_id": f"r{answer}", "item_id": f"i{answer}", "output_index": 0, "content_index": 0}
        delta = event_text("response.output_audio.delta", **place, delta=numbered(answer))
        await trio.sleep(HALF_FRAME_S)
        account.sent_s[answer] = time.monotonic()
        await socket.send_message(delta)
        await socket.send_message(event_text("response.done", response=response))


async def hand_out_secret(stream: trio.abc.Stream) -> None:
    """Answer any HTTP request as the token backend would."""
    await stream.receive_some()
    body = encode_backend_answer(ClientSecret(Secret("ek_bench"), datetime.now(UTC).timestamp() + 600))
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    await stream.send_all(head.encode() + body)
    await stream.aclose()


def event_text(kind: str, **fields: object) -> str:
    """An event of a service; those in which it does not matter have the same event_id."""
    return msgspec.json.encode({"type": kind, "event_id": "e", **fields}).decode()


def _tell(what: msgspec.Struct) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


if __name__ == "__main__":
    trio.run(_serve)
