"""Simulated twins of the edges, all on trio's clock: a loudspeaker and a service in memory.

Nothing here is a mock: they keep the promises of `interfaces` (one conformance suite runs over both kinds), so the
simulation and the stress tests run the real actors on them.
"""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import trio

from pipeline.edges.interfaces import Connection, OutputStream
from pipeline.edges.pacing import PacedOutput
from pipeline.edges.websocket import PING_DEADLINE_S, QUEUE, SEND_DEADLINE_S
from pipeline.vocabulary.errors import ConnectionLostError, WireError
from pipeline.vocabulary.signals import Secret

MAX_HEARD_BLOCKS: Final = 180_000  # blocks: an hour of 20 ms, 173 MB
MAX_ARRIVALS: Final = 16  # lines nobody has taken yet


class HeardBlock(NamedTuple):
    """What left a simulated loudspeaker, and when (host clock)."""

    leaves_s: float
    pcm: bytes


class SimulatedLoudspeaker:
    """Keeps what was played, silence included, in `heard`: an hour at most, the oldest first."""

    name = "simulated:"

    def __init__(self) -> None:
        self.heard: list[HeardBlock] = []

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """Ask for blocks, paced by the clock."""

        def keep(leaves_s: float, pcm: bytes) -> None:
            if len(self.heard) < MAX_HEARD_BLOCKS:
                self.heard.append(HeardBlock(leaves_s, pcm))

        yield PacedOutput(frame_ms, keep)


class SimulatedConnector:
    """A Connector to a service that a test or the simulation plays.

    Whoever plays it takes a SimulatedPeer from `arrivals` for every line that was opened. An error in `refusals` is
    raised by the next attempt instead, first come, first served.
    """

    def __init__(self) -> None:
        self._announce, self.arrivals = trio.open_memory_channel["SimulatedPeer"](MAX_ARRIVALS)
        self.refusals: deque[WireError] = deque()

    @asynccontextmanager
    async def connect(self, secret: Secret) -> AsyncGenerator[Connection, None]:
        """Open a line, or raise the next refusal."""
        await trio.lowlevel.checkpoint()
        if self.refusals:
            raise self.refusals.popleft()
        peer = SimulatedPeer(secret)
        await self._announce.send(peer)
        try:
            yield peer.line
        finally:
            peer.line.leave()


class SimulatedPeer:
    """The service's end of one line.

    Attributes:
        secret: what the endpoint came with.
        line: the endpoint's end.
        answers_pings: False plays a half-open network, together with a peer that reads nothing.
    """

    def __init__(self, secret: Secret) -> None:
        self.secret = secret
        self.answers_pings = True
        to_service, self._received = trio.open_memory_channel[str](QUEUE)
        self._send, to_endpoint = trio.open_memory_channel[str](QUEUE)
        self.line = _SimulatedLine(self, to_service, to_endpoint)

    async def receive(self) -> str:
        """What the endpoint sent next. Raises trio.EndOfChannel when it left."""
        return await self._received.receive()

    async def send(self, text: str) -> None:
        """Send to the endpoint. Raises trio.BrokenResourceError when it left."""
        await self._send.send(text)

    def drop(self, error: WireError) -> None:
        """Cut the line. The endpoint gets `error`, after what was sent before."""
        self.line.loss = error
        self.line.lost.set()
        self._send.close()
        self._received.close()


class _SimulatedLine:
    """The endpoint's end (Connection)."""

    def __init__(
        self, peer: SimulatedPeer, to_service: trio.MemorySendChannel[str], to_endpoint: trio.MemoryReceiveChannel[str]
    ) -> None:
        self.loss: WireError = ConnectionLostError("the simulated line was cut", cause="close_1006")
        self.lost = trio.Event()
        self._peer = peer
        self._send = to_service
        self._received = to_endpoint

    async def send(self, text: str) -> None:
        """Send one message, whole or with an error."""
        with trio.move_on_after(SEND_DEADLINE_S, shield=True) as patience:
            try:
                await self._send.send(text)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise self.loss from None
        if patience.cancelled_caught:
            raise self._give_up("takes no data", "send_timeout")
        await trio.lowlevel.checkpoint_if_cancelled()

    async def receive(self) -> str:
        """The next message; raises at once when the line is cut."""
        try:
            return await self._received.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self.loss from None

    async def ping(self) -> None:
        """Returns if the peer answers pings, else raises after PING_DEADLINE_S."""
        await trio.lowlevel.checkpoint()
        if not self._peer.answers_pings:
            with trio.move_on_after(PING_DEADLINE_S):
                await self.lost.wait()
            if not self.lost.is_set():
                raise self._give_up("does not answer pings", "ping_timeout")
        if self.lost.is_set():
            raise self.loss

    def leave(self) -> None:
        """Hang up."""
        self._send.close()
        self._received.close()

    def _give_up(self, what: str, cause: str) -> WireError:
        self._peer.drop(ConnectionLostError(f"the simulated service {what}", cause=cause))
        return self.loss
