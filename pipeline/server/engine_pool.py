"""The engines off the event loop: each loaded once in a thread, shared by all sessions, a few calls at a time."""

import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import trio

from pipeline.realtime.events import AudioFormat
from pipeline.server.audio_codec import Encoder, decoded
from pipeline.server.engines.interfaces import Brain, Engines, Recogniser, Voice, VoiceActivity

T = TypeVar("T")

CONCURRENT_CALLS: Final = max(2, os.cpu_count() or 1)
"""The engines are bound by the processor: more calls at once would only slow each other down."""


class EnginePool:
    """Waits for each engine where it is needed, so that the server listens, and hears, while the others load."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._voice_activity: _Loaded[VoiceActivity] = _Loaded()
        self._recogniser: _Loaded[Recogniser] = _Loaded()
        self._brain: _Loaded[Brain] = _Loaded()
        self._voice: _Loaded[Voice] = _Loaded()
        self._limiter = trio.CapacityLimiter(CONCURRENT_CALLS)

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

    async def transcribe(self, sound: bytes, audio_format: AudioFormat) -> str:
        """The words in this sound. Raises TalkwireError if the recogniser fails."""
        recogniser = await self._recogniser.get()

        def work() -> str:
            return recogniser.transcribe(decoded(sound, audio_format))

        return await trio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)

    async def generate(
        self,
        question: str,
        spoken_as: AudioFormat | None,
        on_text: Callable[[str], None],
        on_audio: Callable[[bytes], None],
    ) -> None:
        """Answer a question in one worker thread; the callbacks run on the event loop, sound as it becomes ready.

        Without a format to speak in there is no sound.
        Cancelling stops the thread at the end of the chunk it is making.
        Raises TalkwireError if brain or voice fails.
        """
        brain, voice = await self._brain.get(), await self._voice.get()

        def work() -> None:
            text = brain.answer(question)
            trio.from_thread.run_sync(on_text, text)
            if spoken_as is None:
                return
            encoder = Encoder(spoken_as)
            for pcm in voice.speak(text):
                trio.from_thread.check_cancelled()
                trio.from_thread.run_sync(on_audio, encoder.encode(pcm))
            if rest := encoder.flush():
                trio.from_thread.run_sync(on_audio, rest)

        await trio.to_thread.run_sync(work, limiter=self._limiter)


class _Loaded(Generic[T]):
    """One engine, as soon as there is one."""

    def __init__(self) -> None:
        self._engine: T | None = None
        self._there = trio.Event()

    async def load(self, make: Callable[[], T]) -> None:
        self._engine = await trio.to_thread.run_sync(make, abandon_on_cancel=True)
        self._there.set()

    async def get(self) -> T:
        await self._there.wait()
        assert self._engine is not None, "set before the event"
        return self._engine
