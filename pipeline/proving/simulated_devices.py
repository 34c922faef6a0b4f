"""The simulated room: who speaks when, a microphone that hears it and a loudspeaker that knows what it was given.

Both devices rest while nothing happens, so that a week of silence costs nothing: the microphone is voice-gated (unless
it is told to be continuous), and the loudspeaker is left alone by playback. It keeps its grid of block times meanwhile.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Final, NamedTuple

import trio

from pipeline.dsp.fade import ramp
from pipeline.edges.interfaces import InputBlock, OutputRequest, OutputStream
from pipeline.edges.resting import serve_until
from pipeline.proving import determinism
from pipeline.proving import happenings as hp
from pipeline.proving.marks import Mark, read
from pipeline.proving.microphone_frames import frame_sound, read_sound
from pipeline.proving.trace import Trace
from pipeline.runtime.bell import Bell
from pipeline.vocabulary.errors import DeviceError
from pipeline.vocabulary.frames import BYTES_PER_MS, TOGETHER_MS

LEAD_S: Final = 0.2
"""Heard before speech by a voice-gated microphone."""
TAIL_S: Final = 0.9
"""Heard after speech: longer than the silence that ends a turn at the service."""


TOGETHER: Final = TOGETHER_MS // 20
"""Blocks that a microphone gives, and a loudspeaker takes, at once where there is no hurry."""


class Utterance(NamedTuple):
    """Somebody speaks from `start_s` to `end_s` (s since the run began)."""

    number: int
    start_s: float
    end_s: float


class SimulatedMicrophone:
    """Hears the utterances of a script, block by block, each block numbered.

    Attributes:
        captured: frames given so far.
    """

    name = "simulated microphone"

    def __init__(self, trace: Trace, script: Sequence[Utterance], *, continuous: bool) -> None:
        self.captured = 0
        self._trace = trace
        self._script = script
        self._continuous = continuous
        self._unplugged = 0
        self._changed = Bell()
        self._together = 1  # so many blocks come at once
        self._at = 0  # utterances before this one are over

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """The device is gone meanwhile."""
        self._unplugged += 1
        self._changed.ring()
        try:
            yield
        finally:
            self._unplugged -= 1

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """As InputDevice."""
        await trio.lowlevel.checkpoint()
        if self._unplugged:
            raise DeviceError("the simulated microphone is gone")
        self._trace.add(hp.MicrophoneOpened())
        try:
            async with aclosing(self._blocks(frame_ms)) as blocks:
                yield blocks
        finally:
            self._trace.add(hp.MicrophoneClosed())

    async def _blocks(self, frame_ms: int) -> AsyncGenerator[InputBlock, None]:
        frame_s = frame_ms / 1000
        origin_s = trio.current_time()
        index = 0
        while True:
            index = self._next_index(index, origin_s, frame_s)
            behind = min(index + self._together, self._next_onset(origin_s, frame_s) + 1)
            behind, self._together = max(behind, index + 1), 1
            await self._hear_until(round(origin_s + behind * frame_s, 6))
            for each in range(index, behind):
                yield self._block(round(origin_s + each * frame_s, 6), frame_ms)
            index = behind

    async def _hear_until(self, end_s: float) -> None:
        determinism.at(end_s, self._changed.ring)
        while trio.current_time() < end_s:
            await self._changed.wait()
            if self._unplugged:
                raise DeviceError("the simulated microphone was unplugged")

    def _next_index(self, index: int, origin_s: float, frame_s: float) -> int:
        """The next block in which a voice-gated microphone hears something; after the last utterance none ever."""
        if self._continuous:
            return index
        while self._at < len(self._script) and self._script[self._at].end_s + TAIL_S < origin_s + index * frame_s:
            self._at += 1
        if self._at == len(self._script):
            return 1 << 40
        begin_s = self._script[self._at].start_s - LEAD_S
        return max(index, math.ceil((begin_s - origin_s) / frame_s))

    def _next_onset(self, origin_s: float, frame_s: float) -> int:
        """The block in which the next utterance begins: a sound card would not keep it back."""
        if self._at + 1 >= len(self._script):
            return 1 << 40
        return math.ceil(round((self._script[self._at + 1].start_s - origin_s) / frame_s, 6))

    def _block(self, start_s: float, frame_ms: int) -> InputBlock:
        while self._at + 1 < len(self._script) and self._script[self._at + 1].start_s <= start_s:
            self._at += 1
        heard = self._script[self._at] if self._script else Utterance(0, math.inf, math.inf)
        speech = heard.start_s <= start_s < heard.end_s
        self.captured += 1
        pcm = frame_sound(self.captured, frame_ms, speech=speech)
        self._trace.add(hp.Captured(self.captured, heard.number, speech))
        return InputBlock(pcm, start_s, no_hurry=self._take_time if self._continuous else None)

    def _take_time(self) -> int:
        """As a sound card (`edges/sound_card`)."""
        self._together = TOGETHER
        return self._together


class MarkedVoiceActivity:
    """The daemon's own detector (VoiceActivity): it knows as little as the service's, and as much, by the marks."""

    def __init__(self, frame_ms: int) -> None:
        self.hop_ms: float = frame_ms

    def process(self, pcm: bytes) -> list[float]:
        """Take a block; whether somebody speaks in it."""
        frame = read_sound(pcm)
        return [1.0 if frame is not None and frame.speech else 0.0]


class SimulatedLoudspeaker:
    """Asks for blocks on a grid of its own and traces which block of which reply it was given."""

    name = "simulated loudspeaker"

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._unplugged = 0
        self._changed = Bell()

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """The device is gone meanwhile."""
        self._unplugged += 1
        self._changed.ring()
        try:
            yield
        finally:
            self._unplugged -= 1

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """As OutputDevice."""
        await trio.lowlevel.checkpoint()
        self.demand()
        self._trace.add(hp.LoudspeakerOpened())
        opened = _OpenLoudspeaker(self, frame_ms)
        try:
            yield opened
        finally:
            opened.close()
            self._trace.add(hp.LoudspeakerClosed())

    async def stay(self) -> None:
        """Wait for the device to go; raises DeviceError then."""
        while True:
            self.demand()
            await self._changed.wait()

    async def wait_until(self, when_s: float) -> None:
        """Wait for a moment to come; raises DeviceError as soon as the device is gone."""
        determinism.at(when_s, self._changed.ring)
        self.demand()
        while trio.current_time() < when_s:
            await self._changed.wait()
            self.demand()

    def demand(self) -> None:
        """Raise DeviceError if the device is gone."""
        if self._unplugged:
            raise DeviceError("the simulated loudspeaker is gone")

    @property
    def is_plugged(self) -> bool:
        """The device is there."""
        return not self._unplugged

    def play(self, pcm: bytes) -> None:
        """Trace a block that sounds."""
        try:
            mark = read(pcm)
        except ValueError:
            mark = Mark(0, 0, speech=True, whole=False)
        if mark is not None:
            self._trace.add(hp.Played(mark.group, mark.number, mark.whole))


class _OpenLoudspeaker:
    """As OutputStream: takes some blocks at once, as a sound card does; each sounds when its moment has come."""

    def __init__(self, device: SimulatedLoudspeaker, frame_ms: int) -> None:
        self._device = device
        self._frame_s = frame_ms / 1000
        self._samples = frame_ms * BYTES_PER_MS // 2
        self._start_s = trio.current_time()
        self._index = 0  # of the newest block asked for
        self._ready: dict[int, bytes] = {}  # by index

    async def wait_request(self) -> OutputRequest:
        """The next block on the grid; those that fell into a rest were silence."""
        now = trio.current_time()
        self._index = max(self._index + 1, math.ceil((now - self._start_s) / self._frame_s))
        leaves_s = self._leaves_s(self._index)
        await self._device.wait_until(leaves_s)
        return OutputRequest(self._samples, leaves_s, TOGETHER)

    def cut(self, fade_ms: float) -> float | None:
        """The block that is to sound next fades; the others are dropped."""
        fade_bytes = round(fade_ms * BYTES_PER_MS / 2) * 2
        if not self._ready:
            return None
        index = min(self._ready)
        block = self._ready[index]
        self._ready.clear()
        self._ready[index] = ramp(block[:fade_bytes], 1.0, 0.0).ljust(len(block), b"\0")
        return self._leaves_s(index) + fade_ms / 1000

    async def rest(self, until: Callable[[], Awaitable[None]]) -> None:
        """Let time pass."""
        await serve_until(until, self._device.stay)

    async def write(self, pcm: bytes | None) -> None:
        """Take the answer."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if pcm is None:
            return
        size = 2 * self._samples
        assert size <= len(pcm) <= TOGETHER * size, "as many samples as were asked for"
        assert len(pcm) % size == 0, "whole blocks"
        self._device.play(pcm[:size])
        for at in range(size, len(pcm), size):
            self._index += 1
            self._ready[self._index] = pcm[at : at + size]
            determinism.at(self._leaves_s(self._index), partial(self._sound, self._index))

    def close(self) -> None:
        """What lies ready never sounds."""
        self._ready.clear()

    def _sound(self, index: int) -> None:
        pcm = self._ready.pop(index, None)
        if pcm is not None and self._device.is_plugged:
            self._device.play(pcm)

    def _leaves_s(self, index: int) -> float:
        return round(self._start_s + index * self._frame_s, 6)
