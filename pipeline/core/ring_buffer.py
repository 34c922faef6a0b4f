"""The sample ring between a device callback and the loop: one writer, one reader, two threads, no lock.

A callback may neither wait nor allocate much, so a full ring overwrites its oldest samples and counts them. Each side
changes only its own counters. The writer announces what it is about to overwrite before it does; the reader copies
first and checks afterwards, so a copy the writer ran into is thrown away (a sequence lock). This relies on attributes
being stored and seen in program order, which CPython gives.
"""

from typing import Final

import msgspec

SAMPLE_BYTES: Final = 2


class RingStatistics(msgspec.Struct, frozen=True):
    """What the ring has done so far, in samples; written = read + overwritten + held.

    Attributes:
        underruns: reads that found too little.
        underrun_samples: zeros handed out in place of what was missing.
        overwritten: samples nobody read, in time or at all.
    """

    capacity: int
    held: int
    written: int
    read: int
    overwritten: int
    underruns: int
    underrun_samples: int


class RingBuffer:
    """A ring of 16-bit samples. Interleaved channels stay together if all lengths and the capacity are multiples.

    Args:
        capacity: samples; the bound of what it holds.

    Raises:
        ValueError: no capacity.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least one sample, not {capacity}")
        self._capacity = capacity
        self._ring = memoryview(bytearray(capacity * SAMPLE_BYTES))
        self._claimed = 0  # writer's: samples written or just being written
        self._written = 0  # writer's: samples complete
        self._position = 0  # reader's: the next sample to read
        self._read = self._underruns = self._underrun_samples = 0  # reader's

    @property
    def held(self) -> int:
        """Samples ready to be read."""
        return max(0, min(self._written - self._position, self._capacity))

    @property
    def position(self) -> int:
        """Number of the oldest sample that can still be read; the first ever written is number 0."""
        return max(self._position, self._claimed - self._capacity)

    @property
    def due(self) -> int:
        """How many samples, zeros included, reads hand out before the next one written: its number to the reader."""
        return max(self._written, self._position) + self._underrun_samples

    def skip(self, position: int) -> None:
        """Leave out what comes before sample number `position`. The reader's thread only; what is past stays past."""
        skipped = min(max(0, position - self.position), self.held)
        self._position = self.position + skipped

    def write(self, pcm: bytes | bytearray | memoryview) -> None:
        """Append samples; what does not fit overwrites the oldest. The writer's thread only; never waits."""
        view = memoryview(pcm).cast("B")
        samples, odd = divmod(len(view), SAMPLE_BYTES)
        assert not odd, "a block holds whole samples"
        self._claimed = end = max(self._written, self._position) + samples
        kept = min(samples, self._capacity)
        self._store(end - kept, view[(samples - kept) * SAMPLE_BYTES :])
        self._written = end

    def take_back(self, keep: int) -> bytes:
        """Take out again what was written beyond the next `keep` samples. The writer's thread only; never waits.

        What is kept has to last the reader while this runs; what it reads beyond that nevertheless counts as read.
        """
        end = min(self._written, self._position + keep)
        pcm = self._load(end, self._written - end)
        self._claimed = self._written = end
        return pcm

    def read(self, samples: int) -> bytes:
        """Take exactly `samples`; zeros, counted, stand for what is missing. The reader's thread only; never waits."""
        while True:
            start = max(self._position, self._claimed - self._capacity)
            count = max(0, min(samples, self._written - start))
            pcm = self._load(start, count)
            if count == 0 or self._claimed - start <= self._capacity:
                break  # else the writer came round while we copied
        self._position = start + count
        self._read += count
        if count < samples:
            self._underruns += 1
            self._underrun_samples += samples - count
        return pcm.ljust(samples * SAMPLE_BYTES, b"\0")

    def statistics(self) -> RingStatistics:
        """Counters so far; exact while the other side rests."""
        held = self.held
        return RingStatistics(
            capacity=self._capacity,
            held=held,
            written=self._written,
            read=self._read,
            overwritten=self._written - self._read - held,
            underruns=self._underruns,
            underrun_samples=self._underrun_samples,
        )

    def _store(self, position: int, view: memoryview) -> None:
        begin = position % self._capacity * SAMPLE_BYTES
        split = min(len(view), len(self._ring) - begin)
        self._ring[begin : begin + split] = view[:split]
        self._ring[: len(view) - split] = view[split:]

    def _load(self, position: int, samples: int) -> bytes:
        begin = position % self._capacity * SAMPLE_BYTES
        end = begin + samples * SAMPLE_BYTES
        return bytes(self._ring[begin:end]) + bytes(self._ring[: max(0, end - len(self._ring))])
