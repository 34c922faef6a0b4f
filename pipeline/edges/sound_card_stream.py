"""One PortAudio stream as the loop sees it: a ring of samples, the moments of its blocks, and an eventfd that wakes us.

The callbacks run in PortAudio's thread. They copy a block, note when it passes and wake the loop; they never wait, and
what goes wrong in one ends the stream (`error=paAbort` of sounddevice), which the loop is told like any other end.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol

import trio

from pipeline.core.ring_buffer import RingBuffer
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError

BLOCK_MS: Final = 20
"""What a callback carries; with LATENCY_S of three blocks ran clean where larger latencies come in pairs."""
LATENCY_S: Final = 0.06
WATCHDOG_S: Final = 0.4
"""Twenty blocks without one callback: the stream is dead, whatever PortAudio says of it."""
REST_WATCHDOG_S: Final = 1.0
"""While it rests, and nobody waits for it: each look wakes the machine."""
SLICES: Final = 2
"""Of a patience, each with a deadline of its own. A stall of our own loop, or of all of this process, is no silence of
the device: it uses up one slice, however long it was, and the device has the other to be heard again."""
FIRST_CALLBACK_S: Final = 1.0
"""A sound server needs 35 to 60 ms to begin, a suspended or wireless device longer."""
GLANCE: Final = 4
"""So many samples apart is looked at how loud a block is, as Python numbers: for so few, waking numpy up takes longer
than the rest of a callback."""
MARKS_MAX: Final = 64
"""Blocks the loop may be behind: 1.3 s, three times what is discarded as stale."""


class Mark(NamedTuple):
    """A block passed: `samples` per channel from number `first` on.

    Attributes:
        at_s: host clock when its first sample was heard, or leaves.
        came_s: host clock of its callback.
        xrun: the device lost sound just before this block.
        peak: of a microphone's block, its highest sample, or one next to it.
    """

    first: int
    samples: int
    at_s: float
    came_s: float
    xrun: bool
    peak: int = 0


class Times(Protocol):
    """What PortAudio tells a callback, in s of a clock of its own; only differences mean anything."""

    currentTime: float  # noqa: N815 PortAudio's name
    inputBufferAdcTime: float  # noqa: N815
    outputBufferDacTime: float  # noqa: N815


class Flags(Protocol):
    """What PortAudio tells a callback about losses."""

    input_overflow: bool
    output_underflow: bool


class CardStream:
    """Both sides of one stream. `hear` or `play` is its callback, `finished` its finished_callback.

    Args:
        label: for messages: `device:USB`.
        rate_hz: its rate.
        channels: interleaved in every block.
        clock: the host's monotonic clock, in s; callable from any thread.
    """

    def __init__(self, label: str, rate_hz: int, channels: int, clock: Callable[[], float]) -> None:
        self.label = label
        self.rate_hz = rate_hz
        self.channels = channels
        self.block = rate_hz * BLOCK_MS // 1000  # samples per channel
        self.ring = RingBuffer(self.block * channels * (MARKS_MAX + 4))  # marks are forgotten before their samples
        self.played = RingBuffer(self.block * channels * (MARKS_MAX + 4))
        self.wake_after = 1
        """A microphone's callback wakes the loop when so many blocks wait to be taken ..."""
        self.wake_above = 0
        """... or at once when one is louder than this (`peak`)."""
        self.wake_below = math.inf
        """A loudspeaker's callback wakes the loop when the ring holds less than so many samples: by default always."""
        self.is_sick = False
        self.has_finished = False
        self._clock = clock
        self._index = 0
        self._marks: deque[Mark] = deque(maxlen=MARKS_MAX)
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    # PortAudio's thread

    def hear(self, block: Any, samples: int, times: Times, flags: Flags) -> None:
        """Callback of a microphone."""
        now = self._clock()
        self.ring.write(block)
        loudest = max(memoryview(block).cast("B").cast("h")[::GLANCE])
        at_s = now + (times.inputBufferAdcTime - times.currentTime)
        self._note(samples, at_s, now, xrun=flags.input_overflow, peak=loudest)
        if len(self._marks) >= self.wake_after or loudest > self.wake_above:
            os.eventfd_write(self._event, 1)

    def play(self, block: Any, samples: int, times: Times, flags: Flags) -> None:
        """Callback of a loudspeaker; silence stands for what the loop has not brought."""
        now = self._clock()
        pcm = self.ring.read(samples * self.channels)
        block[:] = pcm
        self.played.write(pcm)
        self._note(samples, now + (times.outputBufferDacTime - times.currentTime), now, xrun=flags.output_underflow)
        if self.ring.held < self.wake_below:
            os.eventfd_write(self._event, 1)

    def finished(self) -> None:
        """PortAudio has ended the stream: the device is gone, or a callback failed, or it was told to."""
        self.has_finished = True
        os.eventfd_write(self._event, 1)

    def _note(self, samples: int, at_s: float, came_s: float, *, xrun: bool, peak: int = 0) -> None:
        self._marks.append(Mark(self._index, samples, at_s, came_s, xrun, peak))
        self._index += samples

    # the loop

    def marks(self) -> Iterator[Mark]:
        """The blocks that have passed since the last call."""
        while self._marks:
            yield self._marks.popleft()

    async def wait_callback(self, patience_s: float = WATCHDOG_S) -> None:
        """Wait until a callback has woken us since the last call, or for as long as callbacks may be missing.

        Raises:
            DeviceError: the stream has ended.
            SoundSystemHungError: no callback came in time.
        """
        index = -1
        for _ in range(SLICES):
            index = self._index  # of the last slice counts
            with trio.move_on_after(patience_s / SLICES):
                await trio.lowlevel.wait_readable(self._event)
                break
        if self.has_finished:
            raise DeviceError(f"{self.label}: the device is gone")
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            if self._index == index:
                raise self._hung(patience_s) from None  # else callbacks come, and see no reason yet to wake us

    async def watch(self) -> None:
        """Let callbacks that do not wake us pass for a while. Raises as `wait_callback`."""
        index = self._index
        for _ in range(SLICES):
            with trio.move_on_after(REST_WATCHDOG_S / SLICES):
                while not self.has_finished:
                    await trio.lowlevel.wait_readable(self._event)
                    os.eventfd_read(self._event)  # a wake-up from before; only the end of the stream writes there now
            if self.has_finished:
                raise DeviceError(f"{self.label}: the device is gone")
            if self._index != index:
                return
        raise self._hung(REST_WATCHDOG_S)

    def _hung(self, waited_s: float) -> SoundSystemHungError:
        self.is_sick = True
        return SoundSystemHungError(f"{self.label}: no sound from or to the device for {waited_s:g} s")

    def close(self) -> None:
        """Give the eventfd back. Only when no callback can come any more: its number may soon mean another file."""
        os.close(self._event)
