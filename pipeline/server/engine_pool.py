"""The engines off the event loop: each loaded once in a thread, shared by all sessions, a few calls at a time.

A call that finds the processor taken waits its turn; when too many wait, the next is refused at once, because a server
that says so is better than one that gets slower for everybody.
"""

import os
from collections.abc import AsyncGenerator, Callable
from typing import Final, Generic, TypeVar

import trio

from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.realtime.events import AudioFormat
from pipeline.server.audio_codec import decoded
from pipeline.server.engines.interfaces import Ask, Brain, Engines, Piece, Recogniser, Voice
from pipeline.vocabulary.errors import ServiceBusyError

T = TypeVar("T")

CONCURRENT_CALLS: Final = max(2, os.cpu_count() or 1)
"""The engines are bound by the processor: more calls at once would only slow each other down."""
MAX_WAITING_CALLS: Final = 32
"""Calls of 20 to 90 ms that may wait for the processor: the last of them waits a second or so."""


class EnginePool:
    """Waits for each engine where it is needed, so that the server listens, and hears, while the others load."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._voice_activity: _Loaded[VoiceActivity] = _Loaded()
        self._recogniser: _Loaded[Recogniser] = _Loaded()
        self._brain: _Loaded[Brain] = _Loaded()
        self._voice: _Loaded[Voice] = _Loaded()
        self._limiter = trio.CapacityLimiter(CONCURRENT_CALLS)

    @property
    def overloaded(self) -> bool:
        """So many calls wait for the processor that another would be refused."""
        return self._limiter.statistics().tasks_waiting >= MAX_WAITING_CALLS

    @property
    def loaded(self) -> bool:
        """Every engine is there: nothing has to wait for one."""
        return all(engine.is_there for engine in (self._voice_activity, self._recogniser, self._brain, self._voice))

    async def load(self) -> None:
        """Make the engines in the order in which a conversation needs them; errors of the makers pass through."""
        await self._voice_activity.load(self._engines.voice_activity)
        await self._recogniser.load(self._engines.recogniser)
        await self._brain.load(self._engines.brain)
        await self._voice.load(self._engines.voice)

    async def voice_activity(self) -> VoiceActivity:
        """A fresh detector for one stream of sound; after the first has loaded its library a matter of milliseconds."""
        await self._voice_activity.get()
        return self._engines.voice_activity()

    async def detect(self, activity: VoiceActivity, pcm: bytes) -> list[float]:
        """What this detector finds in the next sound; for long sound, where a thread costs less than a held-up loop.

        Raises:
            ServiceBusyError: too many calls wait for the processor.
        """
        return await self._in_thread(lambda: activity.process(pcm))

    async def transcribe(self, sound: bytes, audio_format: AudioFormat) -> str:
        """The words in this sound.

        Raises:
            ServiceBusyError: too many calls wait for the processor.
            TalkwireError: the recogniser failed.
        """
        recogniser = await self._recogniser.get()
        return await self._in_thread(lambda: recogniser.transcribe(decoded(sound, audio_format)))

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """What the brain answers, as it comes; close it when the rest is not wanted. TalkwireError if it fails."""
        brain = await self._brain.get()
        pieces = brain.answer(ask)
        try:
            async for piece in pieces:
                yield piece
        finally:
            with trio.CancelScope(shield=True):  # a cancelled brain still hangs up on whom it asked
                await pieces.aclose()

    async def speak(self, text: str, *, speed: float = 1.0) -> AsyncGenerator[bytes, None]:
        """The text as s16le mono at RATE_HZ, one clause at a time; nothing more is worked out once it is closed.

        Raises:
            ServiceBusyError: too many calls wait for the processor.
            TalkwireError: the voice failed.
        """
        voice = await self._voice.get()
        sounds = voice.speak(text, speed=speed)
        while (sound := await self._in_thread(lambda: next(sounds, None))) is not None:
            yield sound

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self.overloaded:
            raise ServiceBusyError("the server has more to do than it can; try again in a moment", cause="overloaded")
        return await trio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)


class _Loaded(Generic[T]):
    """One engine, as soon as there is one."""

    def __init__(self) -> None:
        self._engine: T | None = None
        self._there = trio.Event()

    async def load(self, make: Callable[[], T]) -> None:
        self._engine = await trio.to_thread.run_sync(make, abandon_on_cancel=True)
        self._there.set()

    @property
    def is_there(self) -> bool:
        return self._engine is not None

    async def get(self) -> T:
        await self._there.wait()
        assert self._engine is not None, "set before the event"
        return self._engine
