"""One session of the simulated service: the shell around a conversation, the faults between it and its client, engines.

The engines read the marks of simulated sound and take virtual time; beside that this is what `server.session` is.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio
import trio_websocket

from pipeline.proving import happenings as hp
from pipeline.proving.marks import SHORTEST_BYTES, marked, read
from pipeline.proving.microphone_frames import read_message, read_sound
from pipeline.proving.network import End
from pipeline.proving.trace import Trace
from pipeline.realtime import events as ev
from pipeline.realtime.codec import ClientEventError, audio_bytes, decode_client, decode_server, encode
from pipeline.server import work
from pipeline.server.conversation import Conversation
from pipeline.server.desk import Output
from pipeline.server.faults.catalogue import Fault
from pipeline.server.faults.line import FaultLine
from pipeline.server.faults.schema import Close, Drop
from pipeline.server.faults.wire import DuplicateEvent
from pipeline.vocabulary.errors import ProtocolError
from pipeline.vocabulary.frames import BYTES_PER_MS

if TYPE_CHECKING:
    from pipeline.proving.simulated_service import SimulatedService

GOODBYE_S: Final = 1.0
OUTBOX: Final = 4_096
"""Messages a client may be behind; then it is cut."""
RECOGNISING_S: Final = 0.08
THINKING_S: Final = 0.12
PIECE_S: Final = 0.4
"""Sound comes in pieces of this length, the last of them shorter, ..."""
PIECE_TAKES_S: Final = 0.05
"""... each made in this time: eight times faster than it is spoken."""
SHORTEST_S: Final = 0.8
LONGEST_S: Final = 3.6

Outgoing = str | bytes | hp.Told | work.Hangup
"""What waits to be sent; a `Told` marks the message that follows it."""


class Session:
    """One client that was taken in: the shell around its conversation and the faults between the two.

    Attributes:
        ended: is set once it has.
    """

    def __init__(self, service: "SimulatedService", conversation: Conversation, end: End, line: FaultLine) -> None:
        self.conversation = conversation
        self.ended = trio.Event()
        self.line = line
        self.wire = end.wire.number
        self._service = service
        self._trace = service.trace
        self._end = end
        self._outbox, self._unsent = trio.open_memory_channel[Outgoing](OUTBOX)
        self._recognitions: dict[int, trio.CancelScope] = {}
        self._generations: dict[str, trio.CancelScope] = {}
        self._common_faults: tuple[Fault, ...] = line.faults
        self._own_faults: tuple[Fault, ...] = ()
        self._told = Telling(service.trace, self.wire, service.number_reply)
        self._workers: trio.Nursery | None = None
        self._todo: deque[Output] = deque()
        self._hung_up = False
        self._armed_for_s = math.inf
        self._rearm = trio.Event()

    async def run(self, socket: trio_websocket.WebSocketConnection) -> None:
        """Until the client leaves or is hung up on."""
        async with trio.open_nursery() as self._workers:
            self._workers.start_soon(self._write, socket)
            self._workers.start_soon(self._keep_time)
            self._perform(self.conversation.open(trio.current_time()))
            try:
                while True:
                    self._take(await socket.get_message())
            except trio_websocket.ConnectionClosed:
                self._workers.cancel_scope.cancel()

    def hang_up(self, code: int, cause: str) -> None:
        """Close the socket."""
        self._hang_up(work.Hangup(code, cause))

    def ask(self, event: ev.ClientEvent) -> None:
        """Do as if somebody else had asked for it."""
        with suppress(ClientEventError):  # it is not the moment for it
            self._perform(self.conversation.receive(event, trio.current_time()))

    def flood(self, messages: int) -> None:
        """Say so many things at once."""
        for _ in range(messages):
            self._tell(ev.RateLimitsUpdated(event_id=self._service.new_id("event"), rate_limits=[]))

    def use(self, faults: Sequence[Fault]) -> None:
        """These faults are at work from now on, beside those of its own."""
        self._common_faults = tuple(faults)
        self.line.use(in_order([*self._common_faults, *self._own_faults]), trio.current_time())
        self._move()

    @contextmanager
    def spoilt(self, fault: Fault) -> Iterator[None]:
        """This fault is at work meanwhile, on this session only."""
        self._own_faults += (fault,)
        self.use(self._common_faults)
        try:
            yield
        finally:
            self._own_faults = tuple(kept for kept in self._own_faults if kept is not fault)
            if not self.ended.is_set():
                self.use(self._common_faults)

    # what comes

    def _take(self, message: str | bytes) -> None:
        """Faults are the service's own: what they take has arrived all the same."""
        try:
            event = decode_client(message)
        except ClientEventError as refused:
            self._perform(self.conversation.refuse(refused))
            return
        self._trace_arrival(event)
        if not self.line.at_work:
            self._obey(event)
            return
        self.line.client_said(message, trio.current_time())
        self._move()

    def _obey(self, event: ev.ClientEvent) -> None:
        try:
            outputs = self.conversation.receive(event, trio.current_time())
        except ClientEventError as refused:
            outputs = self.conversation.refuse(refused)
        self._perform(outputs)

    def _trace_arrival(self, event: ev.ClientEvent) -> None:
        match event:
            case ev.InputAudioBufferAppend(audio=audio):
                for run in read_message(audio, self._service.frame_ms):
                    self._trace.add(hp.Heard(self.wire, *run))
            case ev.ConversationItemTruncate(item_id=item, audio_end_ms=end_ms):
                self._trace.add(hp.Asked(self.wire, kind_of(event), item, end_ms, event.event_id or ""))
            case _:
                item = getattr(event, "item_id", "")
                self._trace.add(hp.Asked(self.wire, kind_of(event), item or "", 0, event.event_id or ""))

    # what goes

    async def _write(self, socket: trio_websocket.WebSocketConnection) -> None:
        async for message in self._unsent:
            match message:
                case hp.Told():
                    self._end.mark(message)
                case work.Hangup(code, reason):
                    with trio.move_on_after(GOODBYE_S):
                        await socket.aclose(code, reason)
                    await trio.aclose_forcefully(self._end)
                case text:
                    await socket.send_message(text)

    def _perform(self, outputs: list[Output]) -> None:
        """Do what the conversation wants, in its order; what that leads to comes after it."""
        self._todo.extend(outputs)
        if len(self._todo) > len(outputs):
            return  # this is what something led to
        while self._todo:
            self._do(self._todo[0])
            self._todo.popleft()
        if self._due_s() != self._armed_for_s:
            self._rearm.set()

    def _do(self, output: Output) -> None:
        assert self._workers is not None, "the session runs"
        match output:
            case work.Detect(sound):
                self._detect(sound)
            case work.RestartDetection():
                pass  # a mark needs no memory
            case work.Recognise(utterance):
                scope = self._recognitions[utterance] = trio.CancelScope()
                self._workers.start_soon(self._recognise, output, scope)
            case work.Generate(response_id):
                scope = self._generations[response_id] = trio.CancelScope()
                self._workers.start_soon(self._generate, output, scope)
            case work.StopRecognising(utterance):
                self._recognitions.pop(utterance).cancel()
            case work.StopGenerating(response_id):
                self._generations.pop(response_id).cancel()
            case work.Hangup():
                self._hang_up(output)
            case work.ListTools() | work.CallTool() | work.StopCalling():
                raise AssertionError("the daemon names no tool servers")
            case _:
                self._tell(output)

    def _tell(self, event: ev.ServerEvent) -> None:
        if not self.line.at_work:
            self._put(self._told.event(event))
            self._put(encode(event))
            return
        self.line.server_said(encode(event), trio.current_time())
        self._move()

    def _move(self) -> None:
        """Do what the faults have decided."""
        for message in self.line.take_for_server():
            self._obey(decode_client(message))
        for frame in self.line.take_for_client(trio.current_time()):
            match frame:
                case Close(code, reason):
                    self._hang_up(work.Hangup(code, reason))
                case Drop():
                    self._end.wire.reset()
                case text:
                    self._put(self._told.text(text))
                    self._put(text)
        self._end.gate(hears=self.line.hears, speaks=self.line.speaks)
        self._rearm.set()

    def _hang_up(self, hangup: work.Hangup) -> None:
        if not self._hung_up:
            self._hung_up = True
            self._trace.add(hp.HungUp(self.wire, hangup.code, hangup.reason))
            self._put(hangup)

    def _put(self, message: "Outgoing | None") -> None:
        try:
            if message is not None:
                self._outbox.send_nowait(message)
        except trio.WouldBlock:
            self._end.wire.reset()

    # time and engines

    def _due_s(self) -> float:
        return math.inf if self._hung_up else min(self.conversation.next_deadline_s(), self.line.next_due_s())

    async def _keep_time(self) -> None:
        while True:
            self._armed_for_s = self._due_s()
            self._rearm = trio.Event()
            with trio.move_on_at(self._armed_for_s):
                await self._rearm.wait()
                continue
            now = trio.current_time()
            if now >= self.conversation.next_deadline_s():
                self._report(work.Tick())
            if self.line.at_work:
                self.line.tick(now)
                self._move()

    def _report(self, result: work.Result) -> None:
        self._perform(self.conversation.work_done(result, trio.current_time()))

    def _detect(self, sound: bytes) -> None:
        size = self._service.frame_ms * BYTES_PER_MS
        speech = []
        for start in range(0, len(sound), size):
            frame = read_sound(sound[start : start + size])
            speech.append(1.0 if frame is not None and frame.speech else 0.0)
        self._report(work.Heard(speech, self._service.frame_ms))

    async def _recognise(self, wanted: work.Recognise, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(RECOGNISING_S)
            del self._recognitions[wanted.utterance]
            self._report(work.Recognised(wanted.utterance, "what somebody asked"))

    async def _generate(self, wanted: work.Generate, scope: trio.CancelScope) -> None:
        reply = self._service.number_reply(wanted.response_id)
        frame_ms = self._service.frame_ms
        blocks = round(self._service.dice.uniform(SHORTEST_S, LONGEST_S) * 1000) // frame_ms
        size = round(PIECE_S * 1000) // frame_ms
        with scope:
            await trio.sleep(THINKING_S)
            self._report(work.GeneratedText(wanted.response_id, f"This is answer {reply}."))
            for first in range(0, blocks, size):
                await trio.sleep(PIECE_TAKES_S)
                numbers = range(first, min(first + size, blocks))
                piece = b"".join([marked(reply, number, frame_ms, speech=True) for number in numbers])
                self._report(work.GeneratedAudio(wanted.response_id, piece))
            if not scope.cancel_called:  # by what the last piece led to
                del self._generations[wanted.response_id]
                self._report(work.GenerationEnded(wanted.response_id))


class Telling:
    """What the trace is to say when an event has reached the client."""

    REMEMBERED = 256  # ids of events, to know one that comes again

    def __init__(self, trace: Trace, wire: int, number_reply: Callable[[str], int]) -> None:
        self._trace = trace
        self._wire = wire
        self._number_reply = number_reply
        self._ids: deque[str] = deque(maxlen=self.REMEMBERED)

    def text(self, text: str | bytes) -> hp.Told | None:
        """Of an event as faults have left it; None if nobody could read it."""
        try:
            event = decode_server(text if isinstance(text, str) else "")
        except ProtocolError:
            return None
        if isinstance(event, ev.UnknownEvent):
            return None
        again = event.event_id is not None and event.event_id in self._ids
        if event.event_id is not None:
            self._ids.append(event.event_id)
        told = self.event(event)
        return None if told is None else told._replace(again=again)

    def event(self, event: ev.ServerEvent) -> hp.Told | None:
        """Of an event; None if nobody wants to know."""
        match event:
            case ev.ResponseCreated(response=response):
                return hp.Told(self._wire, kind_of(event), self._number_reply(response.id))
            case ev.ResponseDone(response=response):
                reply = self._number_reply(response.id)
                return hp.Told(self._wire, kind_of(event), reply, status=response.status or "")
            case ev.ResponseOutputAudioDone(response_id=response_id):
                return hp.Told(self._wire, kind_of(event), self._number_reply(response_id))
            case ev.ResponseOutputAudioDelta(response_id=response_id, delta=delta):
                sound_bytes, first = _measure(delta)
                return hp.Told(self._wire, kind_of(event), self._number_reply(response_id), sound_bytes, first)
            case ev.ResponseOutputItemAdded(response_id=response_id, item=item):
                self._trace.add(hp.Replied(self._wire, self._number_reply(response_id), item.id or ""))
            case (
                ev.SessionCreated()
                | ev.SessionUpdated()
                | ev.InputAudioBufferSpeechStarted()
                | ev.InputAudioBufferSpeechStopped()
            ):
                return hp.Told(self._wire, kind_of(event))
            case ev.ErrorEvent(error=error):
                return hp.Told(self._wire, kind_of(event), about=error.event_id or "")
        return None


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """As they came, but for those that say an event twice: what others changed in only one of two would be no echo."""
    return sorted(faults, key=lambda fault: isinstance(fault, DuplicateEvent))


def kind_of(event: ev.ClientEvent | ev.ServerEvent) -> str:
    """The event's `type`."""
    return str(event.__struct_config__.tag)


def _measure(delta: str) -> tuple[int, int]:
    """How much sound a delta carries, and the number of the block it begins with (-1 in the middle of one)."""
    try:
        sound = audio_bytes(delta)
    except ProtocolError:
        return 0, -1
    try:
        mark = read(sound) if len(sound) > SHORTEST_BYTES else None
    except ValueError:
        mark = None
    return len(sound), -1 if mark is None else mark.number
