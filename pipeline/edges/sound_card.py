"""Sound cards (`device:NAME`): a microphone and a loudspeaker on PortAudio, whatever their rate, at 24 kHz to us.

The contract with whoever runs the process: SoundSystemHungError means that this process must end, by force. Every other
DeviceError is a state: the device may be opened again and again until it is back.
Mute is a closed device: leaving `open` stops the stream and gives the card back.
"""

import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Final

import trio

from pipeline.core.device_clock import DeviceClock
from pipeline.core.ring_buffer import SAMPLE_BYTES
from pipeline.dsp.fade import ramp
from pipeline.dsp.pcm16 import to_samples
from pipeline.dsp.resample import StreamResampler, spread, to_mono
from pipeline.edges.interfaces import InputBlock, OutputRequest, OutputStream
from pipeline.edges.resting import serve_until
from pipeline.edges.sound_card_stream import BLOCK_MS, CardStream, Mark
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ, TOGETHER_MS
from pipeline.vocabulary.signals import NO_GLITCHES, Glitches

STALE_S: Final = 0.4
"""Beyond the card's own delay: sound heard so long ago is no answer to anything, and after a stall of us, the machine
or the server, which then hands it out in one burst, the microphone goes on with the present."""
AHEAD_MAX: Final = 3
"""Blocks that lie ready for the card: one, and one more each time that was too little on this machine. 20 ms each."""
ONSET: Final = 2.0
"""So many times louder than anything in the ROOM_MS before, a block comes at once, with what waits: nobody notices how
late the first word is heard, only how late the last one is, but whoever speaks into a reply wants it to stop."""
ROOM_MS: Final = 1_000
ONSET_MIN: Final = 100
"""The least that wakes anybody: -50 dBFS."""
MARGIN_MS: Final = 2
"""Of silence before sound that follows a gap, so that a resampler's odd sample never leaves a block short."""


class CardMicrophone:
    """A sound card's microphone; its blocks carry the far end."""

    def __init__(self, system: SoundSystem, wanted: str) -> None:
        self.name = f"device:{wanted}"
        """As it was asked for; once opened, the device's whole name."""
        self._system = system
        self._wanted = wanted

    async def is_back(self) -> bool:
        """Whether it can be opened now; disturbs nothing."""
        return await self._system.is_back(self._wanted, "input")

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """Open the card. Raises DeviceError, SoundSystemHungError."""
        async with self._system.open_stream(self._wanted, "input") as (stream, device):
            self.name = f"device:{device.name}"
            async with aclosing(self._blocks(stream, frame_ms)) as blocks:
                yield blocks

    async def _blocks(self, stream: CardStream, frame_ms: int) -> AsyncGenerator[InputBlock, None]:
        ear = _Ear(stream, frame_ms)
        samples = frame_ms * RATE_HZ // 1000
        while True:
            self._system.demand_fresh()
            now = trio.current_time()
            ear.hurry()  # unless somebody says again that there is no need to
            for mark in stream.marks():
                ear.take(mark, now)
            for captured_s, pcm in ear.frames():
                far = partial(self._system.far_end.take, captured_s, samples)
                yield InputBlock(pcm, captured_s, far=far, no_hurry=ear.take_time, glitches=ear.glitches)
                ear.glitches = NO_GLITCHES
            await stream.wait_callback()


class _Ear:
    """A card's blocks become frames at RATE_HZ on an unbroken time line; nothing in here waits.

    Attributes:
        glitches: since this was last reset.
    """

    def __init__(self, stream: CardStream, frame_ms: int) -> None:
        self.glitches = NO_GLITCHES
        self._stream = stream
        self._size = frame_ms * BYTES_PER_MS
        self._clock = DeviceClock(stream.rate_hz)
        self._resampler = StreamResampler(stream.rate_hz, RATE_HZ)
        self._sound = bytearray()  # less than a frame and what came at once: MARKS_MAX blocks
        self._next = 0  # number of the sample that follows those taken
        self._delay_s = math.inf  # the card's own, the shortest so far
        self._inserted = 0  # silence in the time line that the card did not hear
        self._origin: int | None = None  # place in the time line where the resampler began
        self._given = 0  # samples cut off `_sound` since
        self._patience_s = STALE_S  # and what was waited for on purpose
        self._room: deque[int] = deque(maxlen=ROOM_MS // BLOCK_MS)  # peaks of its blocks

    def take(self, mark: Mark, now: float) -> None:
        """Take the block of this mark out of the ring, or discard it if it is stale."""
        stream = self._stream
        stream.ring.skip(mark.first * stream.channels)
        pcm = to_mono(stream.ring.read(mark.samples * stream.channels), stream.channels)
        index = mark.first + self._inserted
        lost = self._lost(mark, index)
        missing = min(lost, round(STALE_S * stream.rate_hz))
        self._room.append(mark.peak)
        stale = mark.first - self._next  # forgotten before we came
        self._next = mark.first + mark.samples
        self._inserted += missing
        self._clock.mark(index + missing, mark.at_s)
        self._delay_s = min(self._delay_s, max(0.0, mark.came_s - mark.at_s))  # nothing is heard before it sounds
        is_stale = now - mark.at_s > self._delay_s + self._patience_s
        stale += is_stale * mark.samples
        if mark.xrun or stale:
            self.glitches += Glitches(mark.xrun, lost_ms=self._ms(lost), discarded_ms=self._ms(stale))
        if is_stale:
            self._forget()
            return
        if self._origin is None:
            self._origin = index
        self._sound += self._resampler.process(bytes(2 * missing) + pcm)

    def frames(self) -> Iterator[tuple[float, bytes]]:
        """Whole frames, each with the moment its first sample was heard."""
        while len(self._sound) >= self._size:
            assert self._origin is not None, "there is sound since the origin"
            place = self._origin + self._given * self._stream.rate_hz / RATE_HZ
            frame = bytes(self._sound[: self._size])
            del self._sound[: self._size]
            self._given += self._size // 2
            yield self._clock.at(place), frame

    def hurry(self) -> None:
        """Let blocks come one by one; those that have come together are not late for that."""
        self._patience_s = STALE_S + (self._stream.wake_after - 1) * BLOCK_MS / 1000
        self._stream.wake_after = 1

    def take_time(self) -> int:
        """There is no hurry: let frames come together; returns how many, unless something is heard before."""
        frames = TOGETHER_MS * BYTES_PER_MS // self._size
        self._stream.wake_after = math.ceil(frames * self._size / (BLOCK_MS * BYTES_PER_MS))
        self._stream.wake_above = max(ONSET_MIN, round(ONSET * max(self._room)))
        return frames

    def _lost(self, mark: Mark, index: int) -> int:
        """How many samples the card lost before this block; its time alone proves nothing, servers guess it."""
        lost = round(self._clock.error_s(index, mark.at_s) * self._stream.rate_hz) if mark.xrun else 0
        return lost if lost > mark.samples // 2 else 0

    def _ms(self, samples: int) -> float:
        return samples * 1000 / self._stream.rate_hz

    def _forget(self) -> None:
        self._resampler.flush()
        self._sound.clear()
        self._origin = None
        self._given = 0


class CardLoudspeaker:
    """A sound card's loudspeaker; what it plays is the far end of the microphones on the same SoundSystem."""

    def __init__(self, system: SoundSystem, wanted: str) -> None:
        self.name = f"device:{wanted}"
        """As it was asked for; once opened, the device's whole name."""
        self._system = system
        self._wanted = wanted

    async def is_back(self) -> bool:
        """Whether it can be opened now; disturbs nothing."""
        return await self._system.is_back(self._wanted, "output")

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """Open the card. Raises DeviceError, SoundSystemHungError."""
        async with self._system.open_stream(self._wanted, "output") as (stream, device):
            self.name = f"device:{device.name}"
            mouth = _Mouth(self._system, stream, frame_ms)
            self._system.far_end.attach(stream, mouth.clock, mouth.settle)
            try:
                yield mouth
            finally:
                self._system.far_end.detach()


class _Mouth:
    """An open loudspeaker (OutputStream): keeps a block ahead of the card, more where the machine is slow."""

    def __init__(self, system: SoundSystem, stream: CardStream, frame_ms: int) -> None:
        self.clock = DeviceClock(stream.rate_hz)
        self._system = system
        self._stream = stream
        self._samples = frame_ms * RATE_HZ // 1000
        self._blocks = TOGETHER_MS // frame_ms  # a barge-in takes them back
        self._glitches = NO_GLITCHES  # since the last request
        self._resampler = StreamResampler(RATE_HZ, stream.rate_hz)
        self._ahead = 0  # blocks that are to lie ready; 0 before the first
        self._enough = 1  # samples in the ring below which the next are asked for
        self._has_rested = False

    async def wait_request(self) -> OutputRequest:
        """Wait until another block is wanted. Raises DeviceError, SoundSystemHungError."""
        stream = self._stream
        self.settle()
        while stream.ring.held >= self._enough or not (self._ahead or self.clock.has_settled):
            await stream.wait_callback()
            self.settle()
        self._system.demand_fresh()
        if stream.ring.held:
            self._has_rested = False  # too briefly for a gap: the next one is our fault
        else:
            self._begin()
        leaves = stream.ring.due / stream.channels + self._resampler.pending
        glitches, self._glitches = self._glitches, NO_GLITCHES
        return OutputRequest(self._samples, self.clock.at(leaves), self._blocks, glitches)

    async def rest(self, until: Callable[[], Awaitable[None]]) -> None:
        """Leave the card alone with its silence: a kiosk that nobody talks to hardly wakes for it."""
        self._has_rested = True
        self._stream.wake_below = 0
        try:
            await serve_until(until, self._stay)
        finally:
            self._stream.wake_below = self._enough if self._ahead else math.inf

    async def _stay(self) -> None:
        """Only the end of the stream wakes us, its watchdog, and the question whether it is still wanted."""
        while True:
            self._system.demand_fresh()
            self.settle()
            await self._stream.watch()

    async def write(self, pcm: bytes | None) -> None:
        """Lay the blocks ready."""
        blocks = 1 if pcm is None else len(pcm) / 2 / self._samples
        assert 1 <= blocks <= self._blocks, "as many samples as were asked for"
        assert blocks == int(blocks), "whole blocks"
        sound = self._resampler.process_silence(self._samples) if pcm is None else self._resampler.process(pcm)
        self._stream.ring.write(spread(sound, self._stream.channels))
        await trio.lowlevel.checkpoint()

    def cut(self, fade_ms: float) -> float | None:
        """As OutputStream: all but the block that the card may be fetching just now."""
        stream, channels = self._stream, self._stream.channels
        taken = stream.ring.take_back(stream.block * channels)
        fade_bytes = round(fade_ms * stream.rate_hz / 1000) * channels * SAMPLE_BYTES
        if not taken or len(taken) < fade_bytes:
            stream.ring.write(taken)
            return None
        one_of_them = to_samples(taken[:fade_bytes])[::channels]  # all channels play the same
        stream.ring.write(spread(ramp(one_of_them.tobytes(), 1.0, 0.0), channels))
        self._resampler.flush()  # what it remembers was never heard
        self.settle()
        return self.clock.at(stream.ring.due / channels)

    def settle(self) -> None:
        """Bring the clock up to the last callback."""
        for mark in self._stream.marks():
            if mark.xrun:
                self._glitches += Glitches(xruns=1)
                self.clock.restart()
            self.clock.mark(mark.first, mark.at_s)

    def _begin(self) -> None:
        """The card has played silence, at its start or because we were late."""
        if not self._has_rested or not self._ahead:
            if self._ahead:
                self._glitches += Glitches(starved=1)
            self._ahead = min(self._ahead + 1, AHEAD_MAX)
            self._enough = self._stream.wake_below = self._ahead * self._stream.block * self._stream.channels
        self._has_rested = False
        self._stream.ring.write(bytes(2 * self._stream.channels * (self._stream.rate_hz * MARGIN_MS // 1000)))
