"""`none:` devices: a microphone in a silent room and a loudspeaker in an empty one, both in real time."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import repeat

from pipeline.edges.interfaces import InputBlock, OutputStream
from pipeline.edges.pacing import PacedOutput, hear, silence

NAME = "none:"


class SilentMicrophone:
    """Hears nothing, for ever."""

    name = NAME

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """Yield silence, paced by the clock."""
        async with aclosing(hear(repeat(silence(frame_ms / 1000)), frame_ms)) as blocks:
            yield blocks


class SilentLoudspeaker:
    """Takes what it is given at the pace of a sound card and lets nobody hear it."""

    name = NAME

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """Ask for blocks, paced by the clock."""
        yield PacedOutput(frame_ms, lambda _leaves_s, _pcm: None)
