"""The judge of sound: what the loudspeaker plays, and what the service is told about it."""

from collections import deque

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict
from pipeline.vocabulary.frames import BYTES_PER_MS


class SoundJudge(Judge):
    """What the loudspeaker plays (2 to 5)."""

    def __init__(self, verdict: Verdict, frame_ms: int, fade_ms: float) -> None:
        super().__init__(verdict)
        self._frame_ms = frame_ms
        self._fade_ms = fade_ms
        self._arrived: dict[int, _Arrived] = {}  # of each reply, while it was under way
        self._over: set[int] = set()
        self._item: dict[str, int] = {}
        self._born = 0  # newest reply announced to the daemon
        self._stale_below = 0
        self._stale_since_s = 0.0
        self._reply = 0
        self._played_ms: dict[int, float] = {}
        self._cut: deque[int] = deque(maxlen=8)  # what sounded when speech began or the loudspeaker came back

    def _on_replied(self, event: hp.Replied, _now: float) -> None:
        self._item[event.item] = event.reply

    def _on_told(self, event: hp.Told, now: float) -> None:
        match event.kind:
            case "response.created":
                self._born = max(self._born, event.reply)
            case "response.output_audio.delta" if event.reply not in self._over and not event.again:
                self._arrival(event.reply).add(event.first, event.sound_bytes)
            case "response.done":
                self._over.add(event.reply)
            case "input_audio_buffer.speech_started":
                self._stale_below, self._stale_since_s = self._born + 1, now
                self._cut.append(self._reply)

    def _on_loudspeakeropened(self, _event: hp.LoudspeakerOpened, _now: float) -> None:
        self._cut.append(self._reply)

    def _on_played(self, event: hp.Played, now: float) -> None:
        reply, block, whole = event
        if reply == 0:
            self.demand("3", self._arrival(self._reply).blur(), now, "noise in reply {}", self._reply)
            return
        arrived = self._arrival(reply)
        self.demand("3", reply >= self._reply, now, "reply {} after reply {}", reply, self._reply)
        if not arrived.is_blurred and (whole or not arrived.blur()):
            expected = arrived.next()
            has_arrived = block == expected or block in arrived.blocks
            self.demand("2", has_arrived, now, "block {} of reply {} played, which did not arrive", block, reply)
            self.demand("3", block == expected, now, "reply {}: block {}, expected {}", reply, block, expected)
        stale = reply < self._stale_below and now > self._stale_since_s
        fade = not whole and now <= self._stale_since_s + 0.1
        self.demand("4", not stale or fade, now, "reply {} plays on after speech at {:.3f}", reply, self._stale_since_s)
        self._reply = reply
        self._played_ms[reply] = self._played_ms.get(reply, 0.0) + (self._frame_ms if whole else self._fade_ms)

    def _on_asked(self, event: hp.Asked, now: float) -> None:
        if event.kind != "conversation.item.truncate":
            return
        reply = self._item.get(event.item, 0)
        self.demand("5", reply in self._cut, now, "truncated reply {}, what was cut is {}", reply, [*self._cut])
        arrived_ms = len(self._arrival(reply).blocks) * self._frame_ms
        off_ms = abs(event.end_ms - self._played_ms.get(reply, 0.0))
        self.demand("5", event.end_ms <= arrived_ms, now, "truncated at {} of {} ms", event.end_ms, arrived_ms)
        self.demand("5", off_ms <= 2 * self._frame_ms, now, "truncated {:.0f} ms beside what was played", off_ms)

    def _arrival(self, reply: int) -> "_Arrived":
        return self._arrived.setdefault(reply, _Arrived(self._frame_ms * BYTES_PER_MS))


class _Arrived:
    """The blocks of one reply, in the order in which they arrived, and how many of them were played.

    Attributes:
        blocks: their numbers.
        is_blurred: a gap in playing has shifted what follows, so that blocks can no longer be told.
    """

    def __init__(self, block_bytes: int) -> None:
        self.blocks: list[int] = []
        self.is_blurred = False
        self._bytes = 0
        self._block_bytes = block_bytes
        self._rest = 0
        self._next = 0
        self._played = 0

    def add(self, first: int, sound_bytes: int) -> None:
        """More sound, beginning with block `first`, or in the middle of one (-1)."""
        if first >= 0 and not self._rest:
            self._next = first
        self._bytes += sound_bytes
        whole, self._rest = divmod(self._rest + sound_bytes, self._block_bytes)
        self.blocks += range(self._next, self._next + whole)
        self._next += whole

    def blur(self) -> bool:
        """A block was not played whole; tell whether that is because the rest of it had not arrived, and note it."""
        self.is_blurred = self.is_blurred or self._bytes < (self._played + 1) * self._block_bytes
        return self.is_blurred

    def next(self) -> int | None:
        """The block that has to be played now."""
        self._played += 1
        return self.blocks[self._played - 1] if self._played <= len(self.blocks) else None
