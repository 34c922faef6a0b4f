"""The ring against a plain list, against a writer that interrupts a read, and against a real second thread."""

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.ring_buffer import RingBuffer


def count_up(start: int, samples: int) -> bytes:
    """Samples that are their own number (modulo 2^16), beginning with `start`."""
    return (np.arange(start, start + samples) % 65_536).astype("<u2").tobytes()


STEPS = st.lists(st.tuples(st.sampled_from(["write", "read"]), st.integers(0, 30)), max_size=60)


@given(capacity=st.integers(1, 20), steps=STEPS)
def test_the_ring_is_a_queue_that_forgets_its_oldest(capacity: int, steps: list[tuple[str, int]]) -> None:
    ring = RingBuffer(capacity)
    held: list[int] = []
    written = read = overwritten = underrun_samples = 0
    for step, samples in steps:
        if step == "write":
            ring.write(count_up(written, samples))
            held += range(written, written + samples)
            written += samples
            overwritten += max(0, len(held) - capacity)
            held = held[-capacity:]
        else:
            expected, held = held[:samples], held[samples:]
            read += len(expected)
            underrun_samples += samples - len(expected)
            silence = bytes(2 * (samples - len(expected)))
            assert ring.read(samples) == np.array(expected, "<u2").tobytes() + silence
        assert ring.held == len(held)
    statistics = ring.statistics()
    assert (statistics.written, statistics.read, statistics.overwritten) == (written, read, overwritten)
    assert (statistics.held, statistics.underrun_samples) == (len(held), underrun_samples)


class InterruptedRing(RingBuffer):
    """A ring whose writer strikes in the middle of a read, as the callback's thread may."""

    def __init__(self, capacity: int, blocks: Iterator[bytes]) -> None:
        super().__init__(capacity)
        self.blocks = blocks

    def _load(self, position: int, samples: int) -> bytes:
        half = samples // 2
        first = super()._load(position, half)
        self.write(next(self.blocks, b""))
        return first + super()._load(position + half, samples - half)


@given(
    capacity=st.integers(4, 16),
    strikes=st.lists(st.integers(0, 20), max_size=6),
    samples=st.integers(1, 16),
)
def test_a_writer_that_overtakes_a_read_never_tears_it(capacity: int, strikes: list[int], samples: int) -> None:
    written = 1000 + capacity
    blocks = []
    for strike in strikes:
        blocks.append(count_up(written, strike))
        written += strike
    ring = InterruptedRing(capacity, iter(blocks))
    ring.write(count_up(1000, capacity))
    before = ring.statistics()
    heard = np.frombuffer(ring.read(samples), "<u2")
    after = ring.statistics()
    got = after.read - before.read
    assert np.array_equal(np.diff(heard[:got]), np.ones(max(0, got - 1)))
    assert heard[got:].max(initial=0) == 0
    assert after.written == after.read + after.overwritten + after.held


def test_nothing_is_torn_lost_or_doubled_between_two_threads() -> None:
    ring = RingBuffer(256)
    total = 120_000
    done = threading.Event()

    def produce() -> None:
        for start in range(0, total, 48):
            ring.write(count_up(start, 48))
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    producer = threading.Thread(target=produce)
    producer.start()
    position = 0
    try:
        while not (done.is_set() and ring.held == 0):
            before = ring.statistics().read
            heard = np.frombuffer(ring.read(64), "<u2")
            got = ring.statistics().read - before
            if got:
                step = (int(heard[0]) - position) % 65_536  # what was overwritten in between
                expected = (position + step + np.arange(got)) % 65_536
                assert np.array_equal(heard[:got], expected)
                position = int(expected[-1]) + 1
    finally:
        producer.join()
        sys.setswitchinterval(interval)
    statistics = ring.statistics()
    assert statistics.written == total == statistics.read + statistics.overwritten
    assert position % 65_536 == total % 65_536


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        RingBuffer(0)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AssertionError, match="whole samples"):
        RingBuffer(8).write(b"\0\0\0")


def test_samples_have_numbers_that_reading_skipping_and_overwriting_respect() -> None:
    ring = RingBuffer(10)
    ring.write(count_up(0, 8))
    assert (ring.position, ring.due) == (0, 8)
    ring.skip(3)
    assert ring.read(1) == count_up(3, 1)
    ring.skip(2)  # past
    assert ring.position == 4
    ring.write(count_up(8, 8))
    assert ring.position == 6, "the oldest two are overwritten"
    ring.skip(100)
    assert (ring.position, ring.held) == (16, 0), "what is not there yet cannot be left out"
    ring.read(5)
    assert ring.due == 21, "the reader has had five zeros in between"
    ring.write(count_up(16, 1))
    assert ring.read(1) == count_up(16, 1)
    statistics = ring.statistics()
    assert statistics.written == statistics.read + statistics.overwritten + statistics.held


def test_what_is_taken_back_was_never_written_and_its_numbers_are_given_again() -> None:
    ring = RingBuffer(10)
    ring.write(count_up(0, 9))
    ring.read(2)
    assert ring.take_back(3) == count_up(5, 4)
    assert (ring.held, ring.due) == (3, 5)
    assert ring.take_back(3) == b"", "there is no more than that"
    ring.write(count_up(100, 2))
    assert ring.read(6) == count_up(2, 3) + count_up(100, 2) + bytes(2)
    statistics = ring.statistics()
    assert (statistics.written, statistics.read, statistics.overwritten) == (7, 7, 0)


def test_what_a_reader_has_read_meanwhile_cannot_be_taken_back() -> None:
    class LateRing(RingBuffer):
        """Its reader comes between the two halves of `take_back`."""

        taking = False

        def _load(self, position: int, samples: int) -> bytes:
            if self.taking:
                self.taking = False
                self.read(6)
            return super()._load(position, samples)

    ring = LateRing(10)
    ring.write(count_up(0, 9))
    ring.taking = True
    ring.take_back(2)
    assert (ring.position, ring.held, ring.due) == (6, 0, 6)
    ring.write(count_up(50, 3))
    assert ring.read(3) == count_up(50, 3), "what follows is not taken for read"
    assert ring.due == 9
