"""A visitor who talks with the server in real time: asks, listens, asks again. Many of them make a crowd."""

import time
import tomllib
import wave
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Final

import msgspec
import trio

from bench.caller import FRAME_S, Caller, appends, calling
from bench.report import BenchError
from pipeline.dsp.resample import resample
from pipeline.vocabulary import configuration
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

SILENCE: Final = appends(bytes(20 * BYTES_PER_MS))[0]
PAUSE_S: Final = 0.5
"""From the end of an answer to the next question."""
PATIENCE_S: Final = 15.0
"""A question that is not answered by then counts as unanswered."""

Question = Sequence[bytes]
"""Frames of 20 ms; the silence behind them is the talker's."""


class _Delta(msgspec.Struct):
    delta: str


class _Done(msgspec.Struct):
    class Response(msgspec.Struct):
        status: str

    response: Response


class Notes(msgspec.Struct):
    """What talkers saw.

    Attributes:
        created_ms: from `speech_stopped` to `response.created`.
        first_delta_ms: from `speech_stopped` to the first sound of the answer.
        unanswered: questions without an answer, or with a failed one.
        sent_away: talkers that the server did not let in, or hung up on.
        late_ms: how late this process sent a frame, so that its own trouble is not taken for the server's.
    """

    created_ms: list[float] = msgspec.field(default_factory=list)
    first_delta_ms: list[float] = msgspec.field(default_factory=list)
    unanswered: int = 0
    sent_away: int = 0
    late_ms: list[float] = msgspec.field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Everybody was let in and answered."""
        return not self.unanswered and not self.sent_away

    def forget(self) -> None:
        """Begin anew, on the same pages."""
        for noted in (self.created_ms, self.first_delta_ms, self.late_ms):
            noted.clear()
        self.unanswered = 0  # who was sent away stays away


class Talker:
    """One visitor on one connection.

    Args:
        caller: the connection.
        questions: asked in turns.
        notes: where to write; many may share one.
        listens: hears each answer to its end before going on, as people do; else goes on once it is complete.
    """

    def __init__(self, caller: Caller, questions: Iterable[Question], notes: Notes, *, listens: bool) -> None:
        self._caller = caller
        self._questions = cycle(questions)
        self._notes = notes
        self._listens = listens
        self._next_s = 0.0
        self._stopped_s = self._heard_until_s = 0.0
        self._answered = trio.Event()

    async def talk(self, turns: int | None = None) -> None:
        """Ask `turns` questions, or for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            self._next_s = trio.current_time()
            while turns is None or turns > 0:
                await self._ask(next(self._questions))
                turns = None if turns is None else turns - 1
            nursery.cancel_scope.cancel()

    async def _ask(self, question: Question) -> None:
        self._answered = trio.Event()
        self._stopped_s = self._heard_until_s = 0.0
        for frame in question:
            await self._send(frame)
        patience_until_s = time.monotonic() + PATIENCE_S
        while not self._answered.is_set():
            await self._send(SILENCE)
            if time.monotonic() > patience_until_s:
                self._notes.unanswered += 1
                return
        until_s = max(time.monotonic(), self._heard_until_s if self._listens else 0.0) + PAUSE_S
        while time.monotonic() < until_s:
            await self._send(SILENCE)

    async def _send(self, frame: bytes) -> None:
        await trio.sleep_until(self._next_s)
        self._notes.late_ms.append((trio.current_time() - self._next_s) * 1000)
        self._next_s += FRAME_S
        await self._caller.send(frame)

    async def _listen(self) -> None:
        notes = self._notes
        while True:
            kind, text, at_s = await self._caller.event()
            match kind:
                case "input_audio_buffer.speech_stopped":
                    self._stopped_s, self._heard_until_s = at_s, 0.0
                case "response.created" if self._stopped_s:
                    notes.created_ms.append((at_s - self._stopped_s) * 1000)
                case "response.output_audio.delta" if self._stopped_s:
                    if not self._heard_until_s:
                        notes.first_delta_ms.append((at_s - self._stopped_s) * 1000)
                        self._heard_until_s = at_s
                    self._heard_until_s += (
                        len(msgspec.json.decode(text, type=_Delta).delta) * 0.75 / 1000 / BYTES_PER_MS
                    )
                case "response.done" if self._stopped_s:
                    status = msgspec.json.decode(text, type=_Done).response.status
                    if status == "completed":
                        self._answered.set()
                    elif status == "failed":
                        notes.unanswered += 1
                        self._answered.set()


async def crowd(port: int, size: int, questions: Sequence[Question], notes: Notes, *, stagger_s: float) -> None:
    """Let `size` talkers come, one after the other within `stagger_s`, each with another first question; for ever."""

    async def come(number: int) -> None:
        await trio.sleep(number * stagger_s / size)
        first = number % len(questions)
        try:
            async with calling(port) as caller:
                await Talker(caller, [*questions[first:], *questions[:first]], notes, listens=True).talk()
        except* BenchError:
            notes.sent_away += 1

    async with trio.open_nursery() as nursery:
        for number in range(size):
            nursery.start_soon(come, number)


def shipped_questions() -> list[Question]:
    """The recorded questions that come with talkwire."""
    folder = configuration.shipped("questions")
    names = tomllib.loads((folder / "transcripts.toml").read_text(encoding="utf-8"))
    found: list[Question] = []
    for name in names:
        with wave.open(str(folder / name)) as recording:
            pcm = recording.readframes(recording.getnframes())
            found.append(appends(resample(pcm, recording.getframerate(), RATE_HZ)))
    return found
