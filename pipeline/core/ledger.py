"""The books of captured frames: what is spooled, what was sent, what was dropped and why. Captured is always the sum.

Captured speech waits here while there is no line, at most `keep_s` by age: the speech of an outage is worth sending
for a while and then only confuses. A frame leaves the spool when it was sent whole; one whose send failed stays, unless
it has become too old or somebody has muted meanwhile.
"""

import math
from collections import Counter, deque

from pipeline.vocabulary.frames import EncodedFrame

KEEP_S = 15.0
"""Longest age of a spooled frame: 0.7 MB at 24 kHz; older speech is dropped whole (design §6)."""


class Ledger:
    """Spool and books of the frames that network was given.

    Attributes:
        speech_frames: how many of them the local detector had marked as speech.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._spool: deque[EncodedFrame] = deque()
        self._next_seq: int | None = None
        self._epoch = 0
        self._sent = 0
        self._dropped: Counter[str] = Counter()
        self._unwanted_before_s = -math.inf
        self._sending: EncodedFrame | None = None
        self._sending_dropped = ""  # why, if it was meanwhile
        self.speech_frames = 0

    def add(self, frame: EncodedFrame, now: float) -> None:
        """Take a frame in. A jump in its number: link `mic` dropped those between, or a process took them with it."""
        if self._next_seq is not None and frame.seq > self._next_seq:
            reason = "mic_full" if frame.epoch == self._epoch else "audio_died"
            self._dropped[reason] += frame.seq - self._next_seq
        self._epoch = frame.epoch
        self._next_seq = frame.seq + 1  # a lower number is a restarted capture: it counts from zero again
        self.speech_frames += frame.speech
        if frame.captured_s < self._unwanted_before_s:
            self._dropped["muted"] += 1
        else:
            self._spool.append(frame)
        self.expire(now)

    def expire(self, now: float) -> None:
        """Drop what has waited longer than `keep_s`."""
        while self._spool and now - self._spool[0].captured_s > self._keep_s:
            self._drop("too_old")

    def discard(self, before_s: float) -> None:
        """Drop what was captured before this moment (host clock), also if it arrives only later: somebody muted."""
        self._unwanted_before_s = before_s
        while self._spool and self._spool[0].captured_s < before_s:
            self._drop("muted")

    def peek(self) -> EncodedFrame | None:
        """The next frame to send; it stays in the spool until `sent`."""
        self._sending, self._sending_dropped = self._spool[0] if self._spool else None, ""
        return self._sending

    def sent(self, frame: EncodedFrame) -> None:
        """The frame that was peeked at was sent whole. If it was dropped meanwhile, then it was sent, not dropped."""
        assert frame is self._sending, "frames are sent one at a time"
        if self._spool and self._spool[0] is frame:
            self._spool.popleft()
        else:
            self._dropped[self._sending_dropped] -= 1
        self._sent += 1

    def _drop(self, reason: str) -> None:
        if self._spool.popleft() is self._sending:
            self._sending_dropped = reason
        self._dropped[reason] += 1

    def books(self) -> dict[str, int]:
        """Frames by fate; `captured` is the sum of the others."""
        fates = {"sent": self._sent, "spooled": len(self._spool)}
        fates |= {f"dropped_{reason}": count for reason, count in sorted(self._dropped.items()) if count}
        return {"captured": sum(fates.values()), **fates}
