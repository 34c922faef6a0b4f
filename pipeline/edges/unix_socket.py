"""`unix:` devices (design §9): a robot, a test rig or a browser bridge is microphone or loudspeaker over a socket.

AF_UNIX, SOCK_SEQPACKET; the other side listens, talkwire connects, once for each device. Sound is s16le mono at RATE_HZ
and passes bit by bit.

Microphone: packets of sound, 20 ms each as a rule; any other size is cut anew.
Loudspeaker: each byte 0x01 received asks for the next 20 ms and is answered by one packet of 960 bytes, or by one zero
byte for silence.
"""

import errno
import math
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from pipeline.edges.interfaces import InputBlock, OutputRequest, OutputStream
from pipeline.edges.pacing import STALL_S
from pipeline.edges.resting import answer_with_silence
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import DeviceError
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

REQUEST: Final = 1  # the byte that asks for sound
SILENCE: Final = b"\0"  # the packet that stands for 20 ms of it
REQUEST_MS: Final = 20  # what one request asks for, whatever audio.frame_ms is
MAX_PACKET: Final = 65_536  # bytes: 1.4 s of sound; a peer that sends more at once is no microphone
MAX_REQUESTS: Final = 64  # requests in one packet: 1.3 s; a peer that asks for more at once is no loudspeaker
MAX_PATH: Final = 107  # bytes: sun_path has 108 with the closing zero, unix(7)
WRITE_DEADLINE_S: Final = 1.0  # s: a loudspeaker that takes nothing for so long has hung

_REASONS = {
    errno.ENOENT: "there is no such socket",
    errno.ECONNREFUSED: "nobody listens there",
    errno.EACCES: "permission denied",
    errno.EPROTOTYPE: "it is a socket of another type, SOCK_SEQPACKET is needed",
    errno.EAGAIN: "its owner accepts no more connections",
    errno.ECONNRESET: "the other side is gone",
    errno.EPIPE: "the other side is gone",
}


class UnixMicrophone:
    """Hears what a socket sends."""

    def __init__(self, path: Path) -> None:
        self.name = f"unix:{path}"
        self._path = path

    async def is_back(self) -> bool:
        """Whether somebody holds the socket; disturbs nothing."""
        return await _is_held(self._path)

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """Connect and yield blocks as their sound arrives. Raises DeviceError."""
        async with _connected(self._path) as line, aclosing(self._blocks(line, frame_ms)) as blocks:
            yield blocks

    async def _blocks(self, line: trio.socket.SocketType, frame_ms: int) -> AsyncGenerator[InputBlock, None]:
        size = frame_ms * BYTES_PER_MS
        sound = bytearray()  # less than a block and a packet: whole blocks leave before the next packet is read
        captured_s = -math.inf
        while True:
            sound += await _receive(line, self._path)
            heard_s = trio.current_time()
            while len(sound) >= size:
                captured_s = _date(captured_s + frame_ms / 1000, heard_s - len(sound) / (2 * RATE_HZ))
                yield InputBlock(bytes(sound[:size]), captured_s)
                del sound[:size]


def _date(follows_s: float, latest_s: float) -> float:
    """When a block was captured: right after the one before it, as long as its arrival agrees.

    Arrival alone would jump with every stall of either side. It is the latest possible moment, for nothing arrives
    before it was heard; and a block that comes STALL_S behind the time line shows that the other side had paused.
    """
    return follows_s if latest_s - STALL_S <= follows_s <= latest_s else latest_s


class UnixLoudspeaker:
    """Plays into a socket, at the pace of the other side."""

    def __init__(self, path: Path) -> None:
        self.name = f"unix:{path}"
        self._path = path

    async def is_back(self) -> bool:
        """Whether somebody holds the socket; disturbs nothing."""
        return await _is_held(self._path)

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:  # noqa: ARG002 the protocol fixes 20 ms
        """Connect; the other side asks. Raises DeviceError."""
        async with _connected(self._path) as line:
            yield _Requests(line, self._path)


class _Requests:
    """The other side's requests, one at a time (OutputStream)."""

    def __init__(self, line: trio.socket.SocketType, path: Path) -> None:
        self._line = line
        self._path = path
        self._waiting = 0  # requests received and not handed out
        self._leaves_s = 0.0

    async def wait_request(self) -> OutputRequest:
        """The next request; sound asked for now is taken to leave now, what was asked with it follows on."""
        if self._waiting:
            await trio.lowlevel.checkpoint()
            self._leaves_s += REQUEST_MS / 1000
        else:
            packet = await _receive(self._line, self._path)
            if len(packet) > MAX_REQUESTS or any(byte != REQUEST for byte in packet):
                raise _failed(self._path, "the other side asked for sound with something else than bytes 0x01")
            self._waiting = len(packet)
            self._leaves_s = trio.current_time()
        self._waiting -= 1
        return OutputRequest(REQUEST_MS * RATE_HZ // 1000, self._leaves_s)

    def cut(self, fade_ms: float) -> float | None:  # noqa: ARG002  one block at a time lies here
        """Nothing lies ready."""
        return None

    async def rest(self, until: Callable[[], Awaitable[None]]) -> None:
        """The other side goes on asking."""
        await answer_with_silence(self, until)

    async def write(self, pcm: bytes | None) -> None:
        """Answer with sound, or with the sign for silence."""
        assert pcm is None or len(pcm) == REQUEST_MS * BYTES_PER_MS, "a block has as many samples as were asked for"
        with _translated(self._path), trio.move_on_after(WRITE_DEADLINE_S) as scope:
            await self._line.send(SILENCE if pcm is None else pcm)  # a packet goes whole or not at all
        if scope.cancelled_caught:
            raise _failed(self._path, "the other side takes no sound")


@asynccontextmanager
async def _connected(path: Path) -> AsyncGenerator[trio.socket.SocketType, None]:
    if len(bytes(path)) > MAX_PATH:
        raise _failed(path, f"the path is longer than {MAX_PATH} bytes")
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        with _translated(path):
            await line.connect(str(path))
        yield line


async def _is_held(path: Path) -> bool:
    """Whether a living process has bound this socket, found out without connecting to it.

    A connection would be seen by the other side, which accepts one for each device. So a datagram socket asks: the
    kernel finds the owner first and only then refuses the type. Unlike a look into /proc/net/unix it finds the socket
    by whatever path, and through a mount from another network namespace.
    """
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as question:
        try:
            await question.connect(str(path))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return False  # its owner takes datagrams


async def _receive(line: trio.socket.SocketType, path: Path) -> bytes:
    with _translated(path):
        packet = await line.recv(MAX_PACKET + 1)
    if not packet:
        raise _failed(path, "the other side is gone")
    if len(packet) > MAX_PACKET:
        raise _failed(path, f"the other side sent a packet of more than {MAX_PACKET} bytes")
    return packet


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what the operating system complains about into one line."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or "the socket failed")
        raise _failed(path, reason) from None


def _failed(path: Path, reason: str) -> DeviceError:
    return DeviceError(f"unix:{printable(str(path))}: {reason}")
