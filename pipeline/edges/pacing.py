"""Time for devices that have no clock of their own: trio's clock and an absolute schedule stand in for a sound card's.

Block k belongs to `start + k * frame` whatever its neighbours do, so a late consumer never shifts the time line.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Final, NamedTuple

import trio

from pipeline.edges.interfaces import InputBlock, OutputRequest
from pipeline.edges.resting import answer_with_silence
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

STALL_S: Final = 0.1  # s: as much as a sound card holds ready; a stall that outlasts it is heard as silence


class Sound(NamedTuple):
    """One stretch of what a scripted microphone hears.

    Attributes:
        pcm: s16le mono at RATE_HZ, at least one sample.
        speech_end: samples from its start to the end of its last speech sample; None if nobody speaks in it.
    """

    pcm: bytes
    speech_end: int | None = None


def silence(duration_s: float) -> Sound:
    """Nobody speaks for `duration_s` (at least one sample)."""
    return Sound(bytes(2 * max(1, round(duration_s * RATE_HZ))))


def hear(sounds: Iterable[Sound], frame_ms: int) -> AsyncGenerator[InputBlock, None]:
    """The sounds, one after the other from this moment on, as blocks of `frame_ms`, until there are no more.

    As with a real microphone a block is there once its last sample was heard, so `captured_s` lies one frame back.
    """
    return _hear(sounds, frame_ms, trio.current_time())


async def _hear(sounds: Iterable[Sound], frame_ms: int, start_s: float) -> AsyncGenerator[InputBlock, None]:
    frame_s = frame_ms / 1000
    for index, (pcm, speech_end) in enumerate(_blocks(sounds, frame_ms * BYTES_PER_MS)):
        await trio.sleep_until(start_s + (index + 1) * frame_s)
        speech_end_s = None if speech_end is None else start_s + speech_end / RATE_HZ
        yield InputBlock(pcm, start_s + index * frame_s, speech_end_s)


def _blocks(sounds: Iterable[Sound], size: int) -> Iterator[tuple[bytes, int | None]]:
    """Cut the sounds into blocks of `size` bytes, the last padded with silence; with each the end of speech in it.

    The end of speech is counted in samples from the very start.
    """
    block = bytearray()
    cut = 0  # samples in the blocks yielded so far
    ends: deque[int] = deque()  # at most one for each sound that lies in the block being filled
    for sound in sounds:
        assert sound.pcm, "an empty sound would never fill a block"
        if sound.speech_end is not None:
            ends.append(cut + len(block) // 2 + sound.speech_end)
        rest = memoryview(sound.pcm)
        while rest:
            room = size - len(block)
            block += rest[:room]
            rest = rest[room:]
            if len(block) == size:
                cut += size // 2
                yield bytes(block), _passed(ends, cut)
                block.clear()
    if block:
        yield bytes(block.ljust(size, b"\0")), _passed(ends, cut + size // 2)


def _passed(ends: deque[int], cut: int) -> int | None:
    """Take the ends of speech that lie before sample `cut`; the last of them counts."""
    passed = None
    while ends and ends[0] <= cut:
        passed = ends.popleft()
    return passed


class PacedOutput:
    """An open loudspeaker (OutputStream) that asks on the schedule and hands every block to `play(leaves_s, pcm)`.

    `play` gets the silence too: blocks answered with None, requests left unanswered, and what a consumer missed that
    stalled for longer than STALL_S. So the blocks it gets are the time line, without a hole.
    """

    def __init__(self, frame_ms: int, play: Callable[[float, bytes], None]) -> None:
        self._play = play
        self._frame_s = frame_ms / 1000
        self._silence = bytes(frame_ms * BYTES_PER_MS)
        self._start_s = trio.current_time()
        self._index = 0
        self._asked = False

    async def wait_request(self) -> OutputRequest:
        """Wait until the next block is due."""
        if self._asked:
            self._answer(self._silence)
        while self._leaves_s() + STALL_S < trio.current_time():
            self._answer(self._silence)
        leaves_s = self._leaves_s()
        await trio.sleep_until(leaves_s)
        self._asked = True
        return OutputRequest(samples=len(self._silence) // 2, leaves_s=leaves_s)

    def cut(self, fade_ms: float) -> float | None:  # noqa: ARG002  one block at a time lies here
        """Nothing lies ready."""
        return None

    async def rest(self, until: Callable[[], Awaitable[None]]) -> None:
        """The time line goes on."""
        await answer_with_silence(self, until)

    async def write(self, pcm: bytes | None) -> None:
        """Answer the request. Raises what `play` raises."""
        assert self._asked, "a block answers a request"
        block = self._silence if pcm is None else pcm
        assert len(block) == len(self._silence), "a block has as many samples as were asked for"
        self._answer(block)
        await trio.lowlevel.checkpoint()

    def _leaves_s(self) -> float:
        return self._start_s + self._index * self._frame_s

    def _answer(self, block: bytes) -> None:
        leaves_s = self._leaves_s()
        self._asked = False
        self._index += 1
        self._play(leaves_s, block)
