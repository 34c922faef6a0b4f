"""Evens out the arrival of a reply: chunks of any length in, exact device blocks out, one turn at a time."""

from collections import deque
from typing import Final, NamedTuple

import msgspec

from pipeline.vocabulary.frames import BYTES_PER_MS, SpeechFrame

SAMPLE_BYTES: Final = 2
TURNS_MAX: Final = 8
"""Replies in the buffer, items: the service makes one at a time, but a turn without sound takes memory too."""


class Segment(NamedTuple):
    """`samples` successive samples of one content part."""

    item_id: str
    content_index: int
    samples: int


class Block(NamedTuple):
    """What the loudspeaker plays next.

    Attributes:
        turn: the reply it belongs to; a block never holds two.
        pcm: s16le mono at RATE_HZ; what the segments do not cover, at its end, is silence.
        segments: whose samples these are, from the first on.
        ends_turn: nothing of this turn follows.
    """

    turn: int
    pcm: bytes
    segments: tuple[Segment, ...]
    ends_turn: bool


class Cut(NamedTuple):
    """What a flush took out of the buffer.

    Attributes:
        tail: the next samples of the turn that was sounding, not padded: to be faded out and played. None if none was.
        samples: all the rest, never to be played.
    """

    tail: Block | None
    samples: int


class JitterStatistics(msgspec.Struct, frozen=True):
    """What the buffer has done so far, in samples; pushed = taken + cut + held + refused.

    Attributes:
        underruns: times the samples ran out inside a turn.
        underrun_samples: silence played in their place, which is never played time.
    """

    pushed: int
    taken: int
    cut: int
    held: int
    refused: int
    underruns: int
    underrun_samples: int


class JitterBuffer:
    """What stands between the link `speech` and the loudspeaker.

    A turn starts to sound when `prefill_ms` of it are here, or all of it; after an underrun likewise, so that a
    starving reply has few long gaps instead of many short ones. The next turn waits until the sounding one has ended.

    Args:
        prefill_ms: 0 plays whatever is here.
        hold_ms: from here on `has_room` leaves frames in the link, whose backpressure then does its work.

    Raises:
        ValueError: the hold does not exceed the prefill, so no turn could ever start.
    """

    def __init__(self, *, prefill_ms: float, hold_ms: float) -> None:
        if not 0 <= prefill_ms < hold_ms:
            raise ValueError(f"prefill_ms must be zero or more and below hold_ms, not {prefill_ms} and {hold_ms}")
        self._prefill_bytes = max(SAMPLE_BYTES, round(prefill_ms * BYTES_PER_MS))
        self._hold_bytes = round(hold_ms * BYTES_PER_MS)
        self._turns: deque[_Turn] = deque()  # only the last one may still grow
        self._floor = 0
        self._pushed = self._taken = self._cut = self._refused = self._underruns = self._underrun_samples = 0

    @property
    def has_room(self) -> bool:
        """Whether `push` may be called."""
        return self._held_bytes < self._hold_bytes and len(self._turns) < TURNS_MAX

    @property
    def ready(self) -> int:
        """Samples that `take` could give of the turn whose turn it is."""
        return self._turns[0].held_bytes // SAMPLE_BYTES if self._turns else 0

    def push(self, frame: SpeechFrame) -> bool:
        """Keep a frame; False if it is stale: below the floor, or of a turn that has already ended.

        Turns are numbered in the order of their making and one link carries them, so a frame of a later turn also ends
        the one before, should its own end have got lost.
        """
        assert self.has_room, "ask has_room before push"
        assert len(frame.pcm) % SAMPLE_BYTES == 0, "a frame holds whole samples"
        self._pushed += len(frame.pcm) // SAMPLE_BYTES
        if frame.turn < self._floor:
            self._refused += len(frame.pcm) // SAMPLE_BYTES
            return False
        if not self._turns or self._turns[-1].number < frame.turn:
            if self._turns:
                self._turns[-1].ended = True
            self._turns.append(_Turn(frame.turn))
        self._turns[-1].append(frame)
        self._floor = frame.turn + frame.ends_turn
        return True

    def take(self, samples: int) -> Block | None:
        """The next block, exactly `samples` long; None for silence: nothing here, not yet prefilled, or run dry."""
        assert samples > 0
        if not self._turns:
            return None
        turn = self._turns[0]
        if not turn.ended and turn.held_bytes < (SAMPLE_BYTES if turn.sounding else self._prefill_bytes):
            self._run_dry(turn, samples)
            return None
        turn.started = turn.sounding = True
        block = turn.pop(samples)
        taken = len(block.pcm) // SAMPLE_BYTES
        self._taken += taken
        if block.ends_turn:
            self._turns.popleft()
        elif taken < samples:
            self._run_dry(turn, samples - taken)
        return block._replace(pcm=block.pcm.ljust(samples * SAMPLE_BYTES, b"\0"))

    def flush(self, floor: int, tail_samples: int = 0) -> Cut:
        """Throw away every turn below `floor`, now and in future; return up to `tail_samples` of the sounding one."""
        self._floor = max(self._floor, floor)
        tail: Block | None = None
        samples = 0
        while self._turns and self._turns[0].number < floor:
            turn = self._turns.popleft()
            if turn.sounding and turn.held_bytes and tail_samples:
                tail = turn.pop(tail_samples)
                self._taken += len(tail.pcm) // SAMPLE_BYTES
            samples += turn.held_bytes // SAMPLE_BYTES
        self._cut += samples
        return Cut(tail, samples)

    def statistics(self) -> JitterStatistics:
        """Counters so far."""
        return JitterStatistics(
            pushed=self._pushed,
            taken=self._taken,
            cut=self._cut,
            held=self._held_bytes // SAMPLE_BYTES,
            refused=self._refused,
            underruns=self._underruns,
            underrun_samples=self._underrun_samples,
        )

    @property
    def _held_bytes(self) -> int:
        return sum(turn.held_bytes for turn in self._turns)

    def _run_dry(self, turn: "_Turn", silent_samples: int) -> None:
        """Count silence, unless the turn has not begun: waiting for the prefill is no underrun."""
        if turn.started:
            self._underruns += turn.sounding
            self._underrun_samples += silent_samples
        turn.sounding = False


class _Turn:
    """A reply in the buffer: its unplayed sound in order, and how far its life has come."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.runs: deque[tuple[str, int, memoryview]] = deque()
        self.held_bytes = 0
        self.ended = False
        self.started = False
        self.sounding = False

    def append(self, frame: SpeechFrame) -> None:
        self.ended = frame.ends_turn
        self.held_bytes += len(frame.pcm)
        if frame.pcm:
            self.runs.append((frame.item_id, frame.content_index, memoryview(frame.pcm)))

    def pop(self, samples: int) -> Block:
        """Up to `samples` of its sound, not padded."""
        wanted = samples * SAMPLE_BYTES
        views: list[memoryview] = []
        segments: list[Segment] = []
        while wanted and self.runs:
            item_id, content_index, run = self.runs.popleft()
            view, rest = run[:wanted], run[wanted:]
            if rest:
                self.runs.appendleft((item_id, content_index, rest))
            wanted -= len(view)
            self.held_bytes -= len(view)
            views.append(view)
            before = segments.pop().samples if segments and segments[-1][:2] == (item_id, content_index) else 0
            segments.append(Segment(item_id, content_index, before + len(view) // SAMPLE_BYTES))
        return Block(self.number, b"".join(views), tuple(segments), self.ended and not self.runs)
