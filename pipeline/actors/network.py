"""Network: the one owner of the socket. One task writes, one reads, and the reader never waits on audio."""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pipeline.core.ledger import Ledger
from pipeline.core.turn import GAP_S
from pipeline.edges.interfaces import Connection, Connector
from pipeline.realtime import codec
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.runtime.bell import Bell
from pipeline.runtime.ports import FloorView, Receiver, Sender
from pipeline.vocabulary.errors import Fault, LinkFullError, ProtocolError, Verdict, WireError
from pipeline.vocabulary.frames import BYTES_PER_MS, EncodedFrame, ReplyPacket
from pipeline.vocabulary.signals import Secret

COMMIT_MS_MIN: Final = 100.0
"""Services refuse to commit less sound than this (protocol.md §1.7)."""
GARBAGE_MAX: Final = 10
"""So many unreadable messages in `GARBAGE_WINDOW_S` mean that the session is broken."""
GARBAGE_WINDOW_S: Final = 60.0
RESPONSES_MAX: Final = 32
"""Responses whose turn is remembered; one is active at a time, the rest is margin for late deltas."""


async def network(
    uplink: Receiver[EncodedFrame],
    intents: Receiver[ex.Intent],
    reply: Sender[ReplyPacket],
    service: Sender[ex.ServiceSignal],
    *,
    connector: Connector,
    floor: FloorView,
    ledger: Ledger,
) -> None:
    """Open, feed and close sockets as `intents` say; take in `uplink` all the time, so that it never backs up.

    The `ledger` outlives this actor: its restart loses no captured frame, nor the count of one.
    """
    turns = Turns(floor)
    line: _Line | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_spool, uplink, ledger, lambda: line)
        async for intent in intents:
            match intent:
                case ex.Open(generation, secret):
                    if line is not None:
                        await line.close()
                    line = _Line(generation, ledger, turns, reply, service)
                    nursery.start_soon(line.run, connector, secret)
                case ex.Send(generation, event) if line is not None and line.generation == generation:
                    line.say(event)
                case ex.Flow(generation) if line is not None and line.generation == generation:
                    line.flow()
                case ex.Discard(before_s):
                    ledger.discard(before_s)
                case ex.Close(generation):
                    if line is not None:
                        await line.close()
                        line = None
                    await service.send(ex.Closed(generation, ledger.books()))
                case _:
                    pass  # meant for a socket that is gone; its loss is already under way to the session
        nursery.cancel_scope.cancel()


async def _spool(uplink: Receiver[EncodedFrame], ledger: Ledger, line: Callable[[], "_Line | None"]) -> None:
    async for frame in uplink:
        ledger.add(frame, trio.current_time())
        current = line()
        if current is not None:
            current.wake()


class Turns:
    """Numbers the replies in the order the service began them."""

    def __init__(self, floor: FloorView) -> None:
        self._floor = floor
        self._of: dict[str, int] = {}

    def begin(self, response_id: str) -> int:
        """The number of this response, a new one unless it has been announced before."""
        if response_id not in self._of:
            self._of[response_id] = self._floor.number_turn()
            if len(self._of) > RESPONSES_MAX:
                del self._of[next(iter(self._of))]
        return self._of[response_id]

    def find(self, response_id: str) -> int:
        """The number of a response; 0 if it is unknown or over."""
        return self._of.get(response_id, 0)

    def end(self, response_id: str) -> int:
        """Forget a response: what still comes of it is late. Returns its number, 0 if it was unknown."""
        return self._of.pop(response_id, 0)

    def end_all(self) -> list[int]:
        """Forget all responses; returns their numbers."""
        numbers = list(self._of.values())
        self._of.clear()
        return numbers


class _Line:
    """One socket from its opening to its end."""

    def __init__(
        self,
        generation: int,
        ledger: Ledger,
        turns: Turns,
        reply: Sender[ReplyPacket],
        service: Sender[ex.ServiceSignal],
    ) -> None:
        self.generation = generation
        self._ledger = ledger
        self._turns = turns
        self._reply = reply
        self._service = service
        self._outbox: deque[ev.ClientEvent] = deque()  # a writer that stalls loses the line within 2 s, which bounds it
        self._flowing = False
        self._asked = Bell()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._closing = False
        self._uncommitted_ms = 0.0
        self._garbage: deque[float] = deque(maxlen=GARBAGE_MAX)
        self._begun: int = 0
        self._last_delta: ev.ResponseOutputAudioDelta | None = None
        self._sounding = 0
        self._sound_due_s = math.inf
        self._sounds = trio.Event()

    # what intents ask

    def say(self, event: ev.ClientEvent) -> None:
        """Queue a control event; it goes before sound."""
        self._outbox.append(event)
        self.wake()

    def flow(self) -> None:
        """Let captured sound through."""
        self._flowing = True
        self.wake()

    def wake(self) -> None:
        """There is something to write."""
        self._asked.ring()

    async def close(self) -> None:
        """End the socket and wait until it is closed."""
        self._closing = True
        self._scope.cancel()
        await self._ended.wait()

    # its life

    async def run(self, connector: Connector, secret: Secret) -> None:
        """Connect, then read and write until the line is lost or closed; report a loss."""
        fault = Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="restart", message="the network actor ended")
        try:
            with self._scope:
                try:
                    async with connector.connect(secret) as connection:
                        await self._service.send(ex.Opened(self.generation))
                        fault = await self._talk(connection)
                except WireError as error:
                    fault = error.fault()
        finally:
            self._ended.set()
            for turn in self._turns.end_all():  # whoever ended the line, what has arrived plays out and is then over
                self._end_turn(turn)
            if not self._closing:
                self._service.send_nowait(ex.Lost(self.generation, fault))

    async def _talk(self, connection: Connection) -> Fault:
        """Both directions until one fails; returns why."""
        faults: list[Fault] = []

        async def until_lost(work: Callable[[Connection], Awaitable[None]]) -> None:
            try:
                await work(connection)
            except WireError as error:
                faults.append(error.fault())
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_lost, self._write)
            nursery.start_soon(until_lost, self._read)
            nursery.start_soon(self._watch_sound)
        return faults[0]

    async def _write(self, connection: Connection) -> None:
        while True:
            while self._outbox:
                event = self._outbox.popleft()
                if isinstance(event, ev.InputAudioBufferClear):
                    self._uncommitted_ms = 0.0
                await connection.send(codec.encode(event))
            self._ledger.expire(trio.current_time())
            frame = self._ledger.peek() if self._flowing else None
            if frame is None:
                await self._asked.wait()
                continue
            try:
                await connection.send(frame.message)
            except trio.Cancelled:  # it was sent whole nevertheless, as Connection says
                self._ledger.sent(frame)
                raise
            self._ledger.sent(frame)
            self._uncommitted_ms += frame.duration_ms
            if frame.ends_turn:
                await connection.send(codec.encode(self._end_of_talk()))

    def _end_of_talk(self) -> ev.ClientEvent:
        enough = self._uncommitted_ms >= COMMIT_MS_MIN
        self._uncommitted_ms = 0.0
        return ev.InputAudioBufferCommit() if enough else ev.InputAudioBufferClear()

    async def _read(self, connection: Connection) -> None:
        while True:
            text = await connection.receive()
            try:
                event = codec.decode_server(text)
            except ProtocolError as error:
                self._count_garbage(error)
                continue
            if isinstance(event, ev.ResponseOutputAudioDelta):
                self._take_sound(event)
            elif not isinstance(event, ev.UnknownEvent):  # new kinds of event come without notice and mean nothing yet
                self._take_event(event)

    def _count_garbage(self, error: ProtocolError) -> None:
        """One unreadable message is left out; a stream of them ends the session."""
        now = trio.current_time()
        self._garbage.append(now)
        if len(self._garbage) == GARBAGE_MAX and now - self._garbage[0] < GARBAGE_WINDOW_S:
            raise error

    def _take_event(self, event: ev.ServerEvent) -> None:
        turn = 0
        match event:
            case ev.ResponseCreated():
                turn = self._turns.begin(event.response.id)
            case ev.ResponseOutputAudioDone():
                self._sound_due_s = math.inf
            case ev.ResponseDone():
                self._sound_due_s = math.inf
                turn = self._turns.end(event.response.id)
                if turn:
                    self._end_turn(turn)
        self._service.send_nowait(ex.Received(self.generation, turn, trio.current_time(), event))

    def _take_sound(self, event: ev.ResponseOutputAudioDelta) -> None:
        turn = self._turns.find(event.response_id)
        if not turn or event == self._last_delta:
            return  # late: its response is over; or the very same event, said twice
        self._last_delta = event
        now = trio.current_time()
        self._sounding, self._sound_due_s = turn, now + GAP_S
        self._sounds.set()
        if turn > self._begun:
            self._begun = turn
            self._service.send_nowait(ex.ReplyBegan(self.generation, turn, now))
        duration_ms = len(event.delta) * 3 / 4 / BYTES_PER_MS
        packet = ReplyPacket(turn, event.item_id, event.content_index, event.delta, duration_ms, now)
        try:
            self._reply.send_nowait(packet)
        except LinkFullError:
            self._sound_due_s = math.inf
            self._turns.end(event.response_id)
            self._service.send_nowait(ex.ReplyOverflow(self.generation, turn))

    async def _watch_sound(self) -> None:
        """Report a reply whose sound breaks off. Sleeps through what comes in time, so a delta costs no switch."""
        while True:
            await self._sounds.wait()
            self._sounds = trio.Event()
            while self._sound_due_s < math.inf:
                await trio.sleep_until(self._sound_due_s)
                if self._sound_due_s <= trio.current_time():
                    self._sound_due_s = math.inf
                    self._service.send_nowait(ex.ReplyStalled(self.generation, self._sounding))

    def _end_turn(self, turn: int) -> None:
        try:
            self._reply.send_nowait(ReplyPacket(turn, "", 0, "", 0.0, trio.current_time(), ends_turn=True))
        except LinkFullError:
            self._service.send_nowait(ex.ReplyOverflow(self.generation, turn))
