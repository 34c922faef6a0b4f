"""The judge of sound: what the loudspeaker plays, and what the service is told about it."""

import math
from collections import deque

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict
from pipeline.vocabulary.frames import BYTES_PER_MS


class SoundJudge(Judge):
    """What the loudspeaker plays (2 to 5)."""

    TOLD_S = 1.0  # of a cut, on a line that is well
    UNREAD_S = 1.5  # a close frame may take its second, while nobody reads
    ENDS_S = 2.0  # waits for a loudspeaker's block, and for more sound after an underrun

    def __init__(self, verdict: Verdict, frame_ms: int, fade_ms: float) -> None:
        super().__init__(verdict)
        self._frame_ms = frame_ms
        self._fade_ms = fade_ms
        self._arrived: dict[int, _Arrived] = {}  # of each reply, while it was under way
        self._over: set[int] = set()
        self._item: dict[str, tuple[int, int]] = {}  # wire and reply of each item of an answer
        self._wire_of: dict[int, int] = {}
        self._troubles = 0
        self._unplayable = math.inf  # replies up to this one began before there was this loudspeaker
        self._newest = 0, 0.0  # reply that was told last, and when
        self._sounds_until_s = 0.0  # if all that has arrived is played
        self._born = 0  # newest reply announced to the daemon
        self._stale_below = 0
        self._stale_since_s = 0.0
        self._reply = 0
        self._played_ms: dict[int, float] = {}
        self._cut: deque[int] = deque(maxlen=8)  # what sounded when speech began or the loudspeaker came back

    def _on_replied(self, event: hp.Replied, _now: float) -> None:
        self._item[event.item] = event.wire, event.reply
        self._wire_of[event.reply] = event.wire

    def _on_told(self, event: hp.Told, now: float) -> None:
        match event.kind:
            case "response.created":
                self._born = max(self._born, event.reply)
            case "response.output_audio.delta" if event.reply not in self._over and not event.again:
                self._arrival(event.reply).add(event.first, event.sound_bytes)
                self._expect_sound(event, now)
            case "response.done":
                self._over.add(event.reply)
            case "input_audio_buffer.speech_started":
                self._expect_word(event.wire, now)
                self._stale_below, self._stale_since_s = self._born + 1, now
                self._cut.append(self._reply)
                self._hush(now)

    def _on_loudspeakeropened(self, _event: hp.LoudspeakerOpened, now: float) -> None:
        self._unplayable = self._born
        self._cut.append(self._reply)
        self._hush(now)

    def _on_loudspeakerclosed(self, _event: hp.LoudspeakerClosed, now: float) -> None:
        self._unplayable = math.inf
        self._hush(now)

    def _on_stopasked(self, _event: hp.StopAsked, now: float) -> None:
        self._hush(now)
        self.owed.waive("5-told")

    def _on_left(self, _event: hp.Left, now: float) -> None:
        self._lose(now)

    def _on_broken(self, _event: hp.Broken, now: float) -> None:
        self._lose(now)

    def _on_hungup(self, _event: hp.HungUp, _now: float) -> None:
        self.owed.waive("5-told")

    def _on_troubled(self, _event: hp.Troubled, _now: float) -> None:
        self._troubles += 1
        self.owed.waive("5-told")

    def _on_calmed(self, _event: hp.Calmed, _now: float) -> None:
        self._troubles -= 1

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
        if arrived.is_blurred or not arrived.unheard:
            self.owed.pay("3-whole", reply)
        stale = reply < self._stale_below and now > self._stale_since_s
        fade = not whole and now <= self._stale_since_s + 0.1
        self.demand("4", not stale or fade, now, "reply {} plays on after speech at {:.3f}", reply, self._stale_since_s)
        if reply != self._reply and now <= self._stale_since_s:
            self._cut.append(reply)  # it began in the very moment in which somebody did
        self._reply = reply
        self._played_ms[reply] = self._played_ms.get(reply, 0.0) + (self._frame_ms if whole else self._fade_ms)

    def _on_asked(self, event: hp.Asked, now: float) -> None:
        if event.kind not in {"conversation.item.truncate", "conversation.item.delete"}:
            return
        wire, reply = self._item.get(event.item, (0, 0))
        self.owed.pay("5-told", reply)
        self.demand("5", wire == event.wire, now, "wire {} is told of an item of wire {}", event.wire, wire)
        if event.kind == "conversation.item.delete":
            return
        self.demand("5", reply in self._cut, now, "truncated reply {}, what was cut is {}", reply, [*self._cut])
        arrived_ms = len(self._arrival(reply).blocks) * self._frame_ms
        off_ms = abs(event.end_ms - self._played_ms.get(reply, 0.0))
        self.demand("5", event.end_ms <= arrived_ms, now, "truncated at {} of {} ms", event.end_ms, arrived_ms)
        self.demand("5", off_ms <= 2 * self._frame_ms, now, "truncated {:.0f} ms beside what was played", off_ms)

    def _expect_sound(self, event: hp.Told, now: float) -> None:
        """All that has arrived will be heard, one answer after the other."""
        if event.reply < self._stale_below or event.reply <= self._unplayable or not event.sound_bytes:
            return
        self._newest = event.reply, now
        self._sounds_until_s = max(self._sounds_until_s, now) + event.sound_bytes / BYTES_PER_MS / 1000
        text = f"reply {event.reply} was not heard to its end"
        self.expect("3-whole", self._sounds_until_s + self.ENDS_S, event.reply, text)

    def _expect_word(self, wire: int, now: float) -> None:
        """Somebody talks over what sounds: the service has to be told where it stopped."""
        is_sounding = self._reply >= self._stale_below and self._reply > self._unplayable
        is_cut = is_sounding and self._arrival(self._reply).unheard > 2
        if is_cut and not self._troubles and self._wire_of.get(self._reply) == wire:
            text = f"nobody told the service where reply {self._reply} was cut"
            self.expect("5-told", now + self.TOLD_S, self._reply, text)

    def _lose(self, now: float) -> None:
        """A line is gone, and with it what had come over it and was not yet read."""
        self.owed.waive("5-told")
        reply, told_s = self._newest
        if now - told_s < self.UNREAD_S:
            self.owed.pay("3-whole", reply)

    def _hush(self, now: float) -> None:
        self._sounds_until_s = now
        self.owed.waive("3-whole")

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

    @property
    def unheard(self) -> int:
        """How many blocks have arrived and were not played."""
        return len(self.blocks) - self._played

    def next(self) -> int | None:
        """The block that has to be played now."""
        self._played += 1
        return self.blocks[self._played - 1] if self._played <= len(self.blocks) else None
