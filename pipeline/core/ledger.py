"""The books of captured frames: what is spooled, what was sent, what was dropped and why. Captured is always the sum.

Captured speech waits here while there is no line, at most `keep_s` by age: the speech of an outage is worth sending
for a while and then only confuses. A frame leaves the spool when it was sent whole; one whose send failed stays.
"""

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
        self.speech_frames = 0

    def add(self, frame: EncodedFrame, now: float) -> None:
        """Take a frame in. A jump in its number: link `mic` dropped those between, or a process took them with it."""
        if self._next_seq is not None and frame.seq > self._next_seq:
            reason = "mic_full" if frame.epoch == self._epoch else "audio_died"
            self._dropped[reason] += frame.seq - self._next_seq
        self._epoch = frame.epoch
        self._next_seq = frame.seq + 1  # a lower number is a restarted capture: it counts from zero again
        self.speech_frames += frame.speech
        self._spool.append(frame)
        self.expire(now)

    def expire(self, now: float) -> None:
        """Drop what has waited longer than `keep_s`."""
        while self._spool and now - self._spool[0].captured_s > self._keep_s:
            self._spool.popleft()
            self._dropped["too_old"] += 1

    def peek(self) -> EncodedFrame | None:
        """The next frame to send; it stays in the spool until `sent`."""
        return self._spool[0] if self._spool else None

    def sent(self, frame: EncodedFrame) -> None:
        """The frame was sent whole. It may have aged out of the spool meanwhile; then it was sent, not dropped."""
        if self._spool and self._spool[0] is frame:
            self._spool.popleft()
        else:
            self._dropped["too_old"] -= 1
        self._sent += 1

    def books(self) -> dict[str, int]:
        """Frames by fate; `captured` is the sum of the others."""
        fates = {"sent": self._sent, "spooled": len(self._spool)}
        fates |= {f"dropped_{reason}": count for reason, count in sorted(self._dropped.items()) if count}
        return {"captured": sum(fates.values()), **fates}
