"""The engines off the event loop: loaded once in a thread, shared by all sessions, a few calls at a time."""

import os
from collections.abc import Callable
from typing import Final

import trio

from pipeline.server.engines.interfaces import Engines, VoiceActivity

CONCURRENT_CALLS: Final = max(2, os.cpu_count() or 1)
"""The engines are bound by the processor: more calls at once would only slow each other down."""


class EnginePool:
    """Waits for the engines where they are needed, so that the server listens while they load."""

    def __init__(self) -> None:
        self._engines: Engines | None = None
        self._loaded = trio.Event()
        self._limiter = trio.CapacityLimiter(CONCURRENT_CALLS)

    async def load(self, engines: Engines | Callable[[], Engines]) -> None:
        """Take the engines, or load them in a worker thread; errors of the loader pass through."""
        if not isinstance(engines, Engines):
            engines = await trio.to_thread.run_sync(engines, abandon_on_cancel=True)
        self._engines = engines
        self._loaded.set()

    async def voice_activity(self) -> VoiceActivity:
        """A fresh detector for one stream of sound."""
        return (await self._ready()).voice_activity()

    async def transcribe(self, pcm: bytes) -> str:
        """The words in this sound. Raises TalkwireError if the recogniser fails."""
        engines = await self._ready()
        return await trio.to_thread.run_sync(
            engines.recogniser.transcribe, pcm, limiter=self._limiter, abandon_on_cancel=True
        )

    async def generate(
        self, question: str, on_text: Callable[[str], None], on_audio: Callable[[bytes], None] | None
    ) -> None:
        """Answer a question in one worker thread; the callbacks run on the event loop, sound as it becomes ready.

        Cancelling stops the thread at the end of the chunk it is making.
        Raises TalkwireError if brain or voice fails.
        """
        engines = await self._ready()

        def work() -> None:
            text = engines.brain.answer(question)
            trio.from_thread.run_sync(on_text, text)
            if on_audio is not None:
                for pcm in engines.voice.speak(text):
                    trio.from_thread.check_cancelled()
                    trio.from_thread.run_sync(on_audio, pcm)

        await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def _ready(self) -> Engines:
        await self._loaded.wait()
        assert self._engines is not None, "set before the event"
        return self._engines
