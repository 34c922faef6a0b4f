"""What the endpoint adds to a socket: the real actors on real loopback TCP, beside a bare loop that only codes.

Both talk to the same peer in another process, in turns, and get the same microphone and the same loudspeaker. The bare
loop has no queues, no supervisor, no recovery and no interruption: it is the least that could work. Measured are

- block to append read: from the microphone's block to the moment the service's socket has read its append;
- delta to loudspeaker: from the moment the service sends an answer's first delta to its block in the loudspeaker;
- CPU a frame: of the whole process, for 20 ms of both directions.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from itertools import repeat
from typing import Final

import msgspec
import trio
import trio_websocket

from bench.peer import CYCLE, FRAME_MS, Account, Peer, number_of, numbered, open_peer
from bench.report import BenchError, Report, Row, row
from pipeline.app import Edges, run
from pipeline.dsp.voice_activity import best_detector
from pipeline.edges.interfaces import Connection, Connector, InputBlock, Minted, OutputRequest, OutputStream
from pipeline.edges.pacing import Sound, hear, silence
from pipeline.edges.simulated_tokens import ScriptedMint, ScriptedTokenSource
from pipeline.edges.websocket import WebSocketConnector
from pipeline.runtime.clock import HostClock
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import TalkwireError
from pipeline.vocabulary.frames import RATE_HZ
from pipeline.vocabulary.signals import Command, Notice, Secret

FRAMES: Final = 100
"""Frames of one turn of either contestant: 2 s."""
WARM_UP_FRAMES: Final = CYCLE
"""The first frames and the first answer of each turn do not count: they pay for the connection."""
PATIENCE_S: Final = 10.0
"""s beyond its sound until a conversation must be over."""


TAIL_FRAMES: Final = 10
"""Frames of silence at the end of each turn: whoever hangs up then has heard the last answer."""

LAST_WORDS_S: Final = 1.0
"""s to hang up in order when the peer has given the line up."""


class NumberedMicrophone:
    """An InputDevice that gives numbered blocks in real time, then a tail of silence, then ends.

    Attributes:
        frames: how many numbered blocks.
        arrived_s: when each block was there.
        cpu_s: what CPU time this process had used by then.
    """

    name = "numbered:"

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.arrived_s: list[float] = []
        self.cpu_s: list[float] = []

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """Yield every block once."""
        async with aclosing(self._hear(frame_ms)) as blocks:
            yield blocks

    async def _hear(self, frame_ms: int) -> AsyncGenerator[InputBlock, None]:
        sounds = [*(Sound(numbered(number)) for number in range(self.frames)), silence(TAIL_FRAMES * frame_ms / 1000)]
        async with aclosing(hear(sounds, frame_ms)) as blocks:
            async for block in blocks:
                self.cpu_s.append(time.process_time())
                self.arrived_s.append(time.monotonic())
                yield block


class EagerLoudspeaker:
    """An OutputDevice that asks every 20 ms, and at once when `ring` says that sound has arrived, until it gets it.

    A sound card asks on its own grid, so up to a block passes whatever the endpoint does, and that would hide what the
    endpoint costs. Asking in vain costs the endpoint a little more than its due, never less.
    """

    name = "eager:"

    def __init__(self) -> None:
        self.handed_s: dict[int, float] = {}
        self.garbage = 0
        self._frame_ms = FRAME_MS
        self._rung = trio.Event()

    def ring(self) -> None:
        """Sound has arrived."""
        self._rung.set()

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """Ask from now on; a block of another length than FRAME_MS would count as garbage."""
        self._frame_ms = frame_ms
        yield self

    async def wait_request(self) -> OutputRequest:
        """Wait for the ring or the next 20 ms."""
        with trio.move_on_after(self._frame_ms / 1000):
            await self._rung.wait()
        return OutputRequest(samples=self._frame_ms * RATE_HZ // 1000, leaves_s=trio.current_time())

    def cut(self, fade_ms: float) -> float | None:  # noqa: ARG002  one block at a time lies here
        """Nothing lies ready."""
        return None

    async def rest(self, until: Callable[[], Awaitable[None]]) -> None:
        """It rests as a sound card does; playback begins as soon as sound has come."""
        await until()

    async def write(self, pcm: bytes | None) -> None:
        """Note when a numbered block was handed over."""
        if pcm is not None:
            self.take(pcm)

    def take(self, pcm: bytes) -> None:
        """As `write`, for the bare loop. Counts sound that nobody sent; an error would only restart the actor."""
        handed_s = time.monotonic()
        try:
            number = number_of(pcm)
        except ValueError:
            self.garbage += 1
            return
        if number is not None:
            self.handed_s[number] = handed_s
            self._rung = trio.Event()


Contestant = Callable[[Peer, NumberedMicrophone, EagerLoudspeaker], Awaitable[None]]


class Figures(msgspec.Struct):
    """What one contestant has shown so far, in µs; lost frames and answers are counted, never averaged."""

    uplink_us: list[float] = msgspec.field(default_factory=list)
    downlink_us: list[float] = msgspec.field(default_factory=list)
    cpu_us: list[float] = msgspec.field(default_factory=list)
    frames: int = 0
    frames_lost: int = 0
    answers: int = 0
    answers_lost: int = 0

    def add(self, microphone: NumberedMicrophone, loudspeaker: EagerLoudspeaker, account: Account) -> None:
        """Compare the stamps of both ends of one conversation."""
        frames = microphone.frames
        received_s, sent_s, handed_s = account.received_s, account.sent_s, loudspeaker.handed_s
        if loudspeaker.garbage or received_s.keys() - range(frames) or handed_s.keys() - sent_s.keys():
            raise BenchError("sound arrived that was never sent")
        self.frames += frames + TAIL_FRAMES
        self.frames_lost += frames - len(received_s) + TAIL_FRAMES - account.silent
        self.answers += len(sent_s)
        self.answers_lost += len(sent_s) - len(handed_s)
        counted = [number for number in received_s if number >= WARM_UP_FRAMES]
        self.uplink_us += [(received_s[number] - microphone.arrived_s[number]) * 1e6 for number in counted]
        answers = [number for number in handed_s if number * CYCLE >= WARM_UP_FRAMES]
        self.downlink_us += [(handed_s[number] - sent_s[number]) * 1e6 for number in answers]
        cpu_s = microphone.cpu_s[WARM_UP_FRAMES:frames]
        self.cpu_us.append((cpu_s[-1] - cpu_s[0]) / (len(cpu_s) - 1) * 1e6)


def measure(runs: int, *, frames: int = FRAMES) -> Report:
    """Let endpoint and bare loop hold `runs` conversations of `frames` frames each, in turns.

    Raises:
        BenchError: a conversation failed, or something arrived that was not sent.
    """
    if frames < 2 * CYCLE:
        raise BenchError(f"{frames} frames are too few: one cycle of {CYCLE} warms up, the next counts")
    endpoint, bare = trio.run(_compare, runs, frames, clock=HostClock())
    return Report(
        part="endpoint_overhead",
        title=f"{runs} x {frames} frames of {FRAME_MS} ms up, an answer down every {CYCLE * FRAME_MS} ms",
        rows=list(_rows(endpoint, bare)),
        counts={
            "frames": endpoint.frames,
            "frames lost": endpoint.frames_lost,
            "answers": endpoint.answers,
            "answers lost": endpoint.answers_lost,
            "frames lost, bare": bare.frames_lost,
            "answers lost, bare": bare.answers_lost,
        },
    )


async def converse(peer: Peer, contestant: Contestant, frames: int, figures: Figures) -> None:
    """One conversation. Raises BenchError if it does not come to an orderly end."""
    microphone, loudspeaker = NumberedMicrophone(frames), EagerLoudspeaker()
    faults: list[str] = []

    async def hold() -> None:
        try:
            await contestant(peer, microphone, loudspeaker)
        except* (TalkwireError, trio_websocket.ConnectionClosed) as errors:
            faults.append(repr(errors))  # told after the peer's own words, which say more

    account = Account(fault="no end in sight")
    with trio.move_on_after(frames * FRAME_MS / 1000 + PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            account = await peer.account()
            if account.fault:
                nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S
    if account.fault or faults:
        raise BenchError("; ".join(filter(None, ["a conversation failed", account.fault, *faults])))
    figures.add(microphone, loudspeaker, account)


# the contestants


async def converse_by_endpoint(peer: Peer, microphone: NumberedMicrophone, loudspeaker: EagerLoudspeaker) -> None:
    """The endpoint as it is, but for its devices."""
    settings = load([], [f"service.url={peer.url}", f"audio.frame_ms={FRAME_MS}"])
    connector = WebSocketConnector(settings.service, model=settings.conversation.model)
    secrets = ScriptedTokenSource(repeat(ScriptedMint(Minted(Secret("ek_bench"), 600.0))))
    await run(
        settings,
        Edges(microphone, loudspeaker, best_detector(), _Doorbell(connector, loudspeaker), secrets, _Nobody()),
        _ignore,
    )


async def converse_by_hand(peer: Peer, microphone: NumberedMicrophone, loudspeaker: EagerLoudspeaker) -> None:
    """The bare loop: trio-websocket and msgspec, straight from block to message and from message to block."""
    async with trio_websocket.open_websocket_url(peer.url) as socket, trio.open_nursery() as nursery:
        nursery.start_soon(_listen, socket, loudspeaker)
        async with microphone.open(FRAME_MS) as blocks:
            async for block in blocks:
                await socket.send_message(_ENCODER.encode(_Append(block.pcm)).decode())
        nursery.cancel_scope.cancel()


class _Append(msgspec.Struct, tag_field="type", tag="input_audio_buffer.append"):
    audio: bytes


class _AnyEvent(msgspec.Struct):
    type: str
    delta: bytes = b""


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_AnyEvent)


async def _listen(socket: trio_websocket.WebSocketConnection, loudspeaker: EagerLoudspeaker) -> None:
    while True:
        event = _DECODER.decode(await socket.get_message())
        if event.delta:
            loudspeaker.take(event.delta)


class _Doorbell:
    """A Connector that rings the loudspeaker's bell for every message with sound in it, and else is the real one."""

    def __init__(self, connector: Connector, loudspeaker: EagerLoudspeaker) -> None:
        self._connector = connector
        self._loudspeaker = loudspeaker

    @asynccontextmanager
    async def connect(self, secret: Secret) -> AsyncGenerator[Connection, None]:
        """As the real one."""
        async with self._connector.connect(secret) as connection:
            yield _RungConnection(connection, self._loudspeaker)


class _RungConnection:
    def __init__(self, connection: Connection, loudspeaker: EagerLoudspeaker) -> None:
        self.send = connection.send
        self.ping = connection.ping
        self._receive = connection.receive
        self._loudspeaker = loudspeaker

    async def receive(self) -> str:
        text = await self._receive()
        if "output_audio.delta" in text:
            self._loudspeaker.ring()
        return text


class _Nobody:
    """A CommandSource: nobody steers the call."""

    async def commands(self) -> AsyncGenerator[Command, None]:
        none: tuple[Command, ...] = ()
        for command in none:
            yield command


def _ignore(_: Notice) -> None:
    """Notices cost the same whoever reads them."""


async def _compare(runs: int, frames: int) -> tuple[Figures, Figures]:
    endpoint, bare = Figures(), Figures()
    async with open_peer() as peer:
        for _ in range(runs):
            await converse(peer, converse_by_endpoint, frames, endpoint)
            await converse(peer, converse_by_hand, frames, bare)
    return endpoint, bare


def _rows(endpoint: Figures, bare: Figures) -> Iterator[Row]:
    pairs = {
        "block to append read": (endpoint.uplink_us, bare.uplink_us),
        "delta to loudspeaker": (endpoint.downlink_us, bare.downlink_us),
        "CPU a frame": (endpoint.cpu_us, bare.cpu_us),
    }
    for what, (endpoint_us, bare_us) in pairs.items():
        yardstick = row(f"bare: {what}", "us", bare_us)
        yield row(what, "us", endpoint_us, beside=yardstick)
        yield yardstick
