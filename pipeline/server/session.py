"""The shell around one conversation: reads its socket, performs its effects, reports the results. Decides nothing."""

from typing import Final

import trio

from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.realtime.codec import ClientEventError, decode_client, encode
from pipeline.realtime.events import Event
from pipeline.server.audio_codec import Decoder
from pipeline.server.audio_format import bytes_per_ms
from pipeline.server.conversation import Conversation
from pipeline.server.desk import Output
from pipeline.server.engine_pool import EnginePool
from pipeline.server.generation import generate
from pipeline.server.outbox import Outbox
from pipeline.server.tool_work import ToolWork
from pipeline.server.websocket import Disconnected, WebSocket
from pipeline.server.work import (
    CallTool,
    Detect,
    Generate,
    Hangup,
    Heard,
    ListTools,
    Recognise,
    Recognised,
    RecognitionFailed,
    RestartDetection,
    Result,
    StopCalling,
    StopGenerating,
    StopRecognising,
    Tick,
)
from pipeline.vocabulary.errors import TalkwireError

DETECTION_SLICE_MS: Final = 160
"""Voice activity detection costs 0.5 ms per 32 ms, decoding G.711 0.2 ms: a long append holds the loop for 4 ms."""
GOODBYE_S: Final = 1.0
"""How long a client may take to read what is still for it, close frame included, before the connection is cut."""
GOING_AWAY: Final = Hangup(1001, "The server is going away.")
TOO_SLOW: Final = Hangup(1013, "The client reads too slowly.")


class Session:
    """One client. `run` returns when the socket is closed; cancelling it says goodbye first (close 1001)."""

    def __init__(self, socket: WebSocket, conversation: Conversation, engines: EnginePool) -> None:
        self._socket = socket
        self._conversation = conversation
        self._engines = engines
        self._outbox = Outbox()
        self._hangup: Hangup | None = None
        self._hung_up = trio.Event()
        self._written = trio.Event()
        self._activity: VoiceActivity | None = None
        self._decoder: Decoder | None = None
        self._undetected: list[Detect] = []
        self._generations: dict[str, trio.CancelScope] = {}
        self._recognitions: dict[int, trio.CancelScope] = {}
        self._tool_work = ToolWork(self._report)
        self._armed_for_s = 0.0
        self._rearm = trio.Event()
        self._workers: trio.Nursery | None = None

    async def run(self) -> None:
        """Hold the session."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            try:
                async with trio.open_nursery() as self._workers:
                    self._perform(self._conversation.open(trio.current_time()))
                    self._workers.start_soon(self._keep_time)
                    self._workers.start_soon(self._read)
                    await self._hung_up.wait()
                    self._workers.cancel_scope.cancel()
            finally:
                await self._say_goodbye()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.receive()
                outputs = self._conversation.receive(decode_client(message), trio.current_time())
            except ClientEventError as refused:
                outputs = self._conversation.refuse(refused)
            except Disconnected:
                self._outbox.discard()
                self._hung_up.set()
                return
            self._perform(outputs)
            await self._detect()
            await self._outbox.not_busy()

    async def _detect(self) -> None:
        """Voice activity detection runs here and not in a thread: a hop costs less than handing it over and back."""
        undetected, self._undetected = self._undetected, []
        for sound, audio_format in undetected:
            size = DETECTION_SLICE_MS * bytes_per_ms(audio_format)
            for start in range(0, len(sound), size):
                if self._activity is None or self._decoder is None:
                    self._activity, self._decoder = await self._engines.voice_activity(), Decoder(audio_format)
                probabilities = self._activity.process(self._decoder.decode(sound[start : start + size]))
                if probabilities:
                    self._report(Heard(probabilities, self._activity.hop_ms))
                await trio.lowlevel.checkpoint()

    async def _write(self) -> None:
        with trio.CancelScope(shield=True):  # the goodbye outlives the cancellation that causes it
            while (message := await self._outbox.take()) is not None:
                await self._socket.send(message)
            hangup = self._hangup or GOING_AWAY
            await self._socket.close(hangup.code, hangup.reason)
        self._written.set()

    async def _say_goodbye(self) -> None:
        if self._hangup is None:
            self._outbox.discard()
        self._outbox.close()
        with trio.move_on_after(GOODBYE_S, shield=True):
            await self._written.wait()
        if not self._written.is_set():
            await self._socket.abort()

    async def _keep_time(self) -> None:
        while True:
            self._armed_for_s = self._conversation.next_deadline_s()
            self._rearm = trio.Event()
            with trio.move_on_at(self._armed_for_s):
                await self._rearm.wait()
                continue
            self._report(Tick())

    def _report(self, result: Result) -> None:
        self._perform(self._conversation.work_done(result, trio.current_time()))

    def _perform(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Detect():
                    self._undetected.append(output)
                case RestartDetection():
                    self._undetected.clear()
                    self._activity = self._decoder = None
                case Hangup():
                    self._hang_up(output)
                case Event():
                    self._tell(encode(output))
                case _:
                    self._begin_or_stop(output)
        if self._conversation.next_deadline_s() != self._armed_for_s:
            self._rearm.set()

    def _begin_or_stop(
        self, wanted: Recognise | StopRecognising | Generate | StopGenerating | ListTools | CallTool | StopCalling
    ) -> None:
        assert self._workers is not None
        match wanted:
            case Recognise():
                self._recognitions[wanted.utterance] = trio.CancelScope()
                self._workers.start_soon(self._recognise, wanted)
            case StopRecognising():
                self._recognitions[wanted.utterance].cancel()
            case Generate():
                scope = self._generations[wanted.response_id] = trio.CancelScope()
                self._workers.start_soon(self._generate, wanted, scope)
            case StopGenerating():
                self._generations[wanted.response_id].cancel()
            case ListTools() | CallTool() | StopCalling():
                self._tool_work.perform(wanted, self._workers)

    def _tell(self, message: str) -> None:
        if self._hangup is None and not self._outbox.put(message):
            self._outbox.discard()
            self._hang_up(TOO_SLOW)

    def _hang_up(self, hangup: Hangup) -> None:
        self._hangup = self._hangup or hangup
        self._hung_up.set()

    async def _recognise(self, wanted: Recognise) -> None:
        with self._recognitions[wanted.utterance]:
            try:
                text = await self._engines.transcribe(wanted.sound, wanted.audio_format)
            except TalkwireError as failed:
                self._report(RecognitionFailed(wanted.utterance, failed.message))
            else:
                self._report(Recognised(wanted.utterance, text))
        del self._recognitions[wanted.utterance]

    async def _generate(self, wanted: Generate, scope: trio.CancelScope) -> None:
        with scope:
            await generate(wanted, self._engines, self._report)
        if self._generations[wanted.response_id] is scope:  # else its last word has led to the next round
            del self._generations[wanted.response_id]
