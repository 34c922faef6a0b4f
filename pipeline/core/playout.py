"""The playhead: what has left the loudspeaker, not what was handed over to it, and whose words those were."""

from collections import deque
from typing import Final, NamedTuple

from pipeline.core.jitter_buffer import Block, Segment
from pipeline.vocabulary.frames import RATE_HZ

RUNS_MAX: Final = 512
"""Runs of samples remembered: 10 s of 20 ms blocks, longer than any device keeps sound before it leaves."""
TURNS_MAX: Final = 8
"""Turns whose end and first audible sample are remembered: more than can be on their way through a device."""


class Position(NamedTuple):
    """How far the listener is: `heard_ms` of this content part have left the loudspeaker."""

    turn: int
    item_id: str
    content_index: int
    heard_ms: float


class _Run(NamedTuple):
    """Samples of one part that leave from `leaves_s` on; `before` of that part were handed over earlier."""

    turn: int
    item_id: str
    content_index: int
    before: int
    samples: int
    leaves_s: float


class Playhead:
    """Maps the host clock to a place in the reply.

    Each block handed to the device comes with the moment its first sample leaves. Between two such moments the position
    follows the clock, but never beyond the samples handed over: neither an underrun nor a late block is played time.
    Each block's moment is taken as the device gives it, so its drift against the host clock cannot add up; where the
    moments wobble, the block handed over last is believed, so the position never goes back.
    The parts of a turn sound one after the other.
    """

    def __init__(self) -> None:
        self._runs: deque[_Run] = deque(maxlen=RUNS_MAX)
        self._ended: deque[tuple[int, float]] = deque(maxlen=TURNS_MAX)
        self._audible: deque[tuple[int, float]] = deque(maxlen=TURNS_MAX)

    def played(self, block: Block, leaves_s: float, first_audible: int | None = None) -> None:
        """Note a block that was handed to the device.

        Args:
            block: what was handed over.
            leaves_s: host clock when its first sample leaves the loudspeaker.
            first_audible: index of the block's first sample above the audible level, as it was really sent (volume
                applied); only the first of a turn counts.
        """
        assert not self._runs or block.turn >= self._runs[-1].turn, "one reply at a time, in order"
        offset = 0
        for segment in block.segments:
            self._append(block.turn, segment, leaves_s + offset / RATE_HZ)
            offset += segment.samples
        if block.ends_turn:
            self._ended.append((block.turn, leaves_s + offset / RATE_HZ))
        if first_audible is not None and self.audible_s(block.turn) is None:
            self._audible.append((block.turn, leaves_s + first_audible / RATE_HZ))

    def heard(self, now: float) -> Position | None:
        """Where the listener is at `now`; None before the first sample has left. Keeps the last place after a turn."""
        run = next((run for run in reversed(self._runs) if run.leaves_s <= now), None)
        if run is None:
            return None
        samples = run.before + min(run.samples, (now - run.leaves_s) * RATE_HZ)
        return Position(run.turn, run.item_id, run.content_index, samples * 1000 / RATE_HZ)

    def finished(self, turn: int, now: float) -> bool:
        """Whether everything of `turn` has left the loudspeaker. A turn that was cut off never finishes."""
        ended_s = dict(self._ended).get(turn)
        return ended_s is not None and now >= ended_s

    def audible_s(self, turn: int) -> float | None:
        """Host clock when the first audible sample of `turn` leaves; None while there was none."""
        return dict(self._audible).get(turn)

    def _append(self, turn: int, segment: Segment, leaves_s: float) -> None:
        part = (turn, segment.item_id, segment.content_index)
        last = self._runs[-1] if self._runs else None
        before = last.before + last.samples if last is not None and last[:3] == part else 0
        self._runs.append(_Run(*part, before, segment.samples, leaves_s))
