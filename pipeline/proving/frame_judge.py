"""The judge of frames: what becomes of everything the microphone gave."""

import math

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict


class FrameJudge(Judge):
    """What becomes of captured frames (6 to 10, 16, 18), all of them (10-kept).

    Each frame is followed by its number from the microphone onto the wire and into the service, so the daemon's counts
    are compared with how many frames each fate has really befallen.
    """

    SLACK = 2  # frames that may be between two actors when the daemon ends
    KEEP = 20_000  # frames: more than may still be sent, or are heard while four utterances are spoken
    FORGET = 5_000  # so many together
    KEPT_S = 14.5  # a frame leaves the spool with those that share its message

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._captured_s: dict[int, float] = {}
        self._utterance: dict[int, set[int]] = {}  # frames of speech
        self._heard: dict[int, set[int]] = {}  # frames by wire
        self._last: dict[int, int] = {}  # newest frame by wire
        self._sent: set[int] = set()
        self._received: set[int] = set()
        self._ready_s: dict[int, float] = {}
        self._left: set[int] = set()
        self._quiet_since_s = 0.0
        self._troubles = 0
        self._daemons = 0
        self._mutes = 0
        self._newest_sent = 0
        self._excused = 0  # nothing up to this frame has to be sent: a mute came between, or another daemon
        self.captured = 0
        self.sent = 0
        self.received = 0

    def _on_daemonstarted(self, _event: hp.DaemonStarted, _now: float) -> None:
        self._daemons += 1
        self._excused = self.captured

    def _on_captured(self, event: hp.Captured, now: float) -> None:
        self.captured += 1
        self._captured_s[event.frame] = now
        if event.speech:
            self._utterance.setdefault(event.utterance, set()).add(event.frame)
        if not event.frame % self.FORGET:
            self._forget(event.frame - self.KEEP, now)

    def _on_utterancebegan(self, event: hp.UtteranceBegan, now: float) -> None:
        """Judge those before the last one."""
        for utterance in [each for each in self._utterance if each < event.utterance - 3]:
            self._judge(utterance, now)

    def _on_muted(self, _event: hp.Muted, _now: float) -> None:
        self._mutes += 1
        self._utterance.clear()  # what was being said is not to be heard

    def _on_unmuted(self, _event: hp.Unmuted, _now: float) -> None:
        self._excused = self.captured + 5  # a message that begins in this very moment, or a hair before it

    def _on_sent(self, event: hp.Sent, now: float) -> None:
        first, frames = event.first, range(event.first, event.first + event.frames)
        for frame in frames:
            self.demand("6", frame in self._captured_s, now, "frame {} was sent and never captured", frame)
        self.sent += _take_in(self._sent, frames)
        left_out = range(max(self._newest_sent, self._excused) + 1, first)
        young = [frame for frame in left_out if now - self._captured_s.get(frame, -math.inf) < self.KEPT_S]
        self.demand("10-kept", not young, now, "frames {} were left out", young)
        self._newest_sent = max(self._newest_sent, frames[-1])
        age_s = now - self._captured_s.get(first, now)
        self.demand("10", age_s <= 20.0, now, "frame {} was sent {:.1f} s after it was heard", first, age_s)

    def _on_heard(self, event: hp.Heard, now: float) -> None:
        wire, frame, count = event
        frames = range(frame, frame + count)
        self.received += _take_in(self._received, frames)
        fresh = _take_in(self._heard.setdefault(wire, set()), frames)
        self.demand("8", fresh == count, now, "frame {}, of {}, twice in the session of wire {}", frame, count, wire)
        last = self._last.get(wire, 0)
        self.demand("9", frame > last, now, "frame {} after frame {} on wire {}", frame, last, wire)
        self._last[wire] = frames[-1]
        self.demand("18", wire in self._ready_s, now, "frame {} before the settings of wire {}", frame, wire)
        if wire in self._left:
            return  # it was under way when the daemon left
        age_s = now - self._captured_s.get(frame, now)  # of the oldest of them
        if not self._troubles and now - max(self._quiet_since_s, self._ready_s.get(wire, now)) > 20.0:
            self.demand("16", age_s <= 2.0, now, "frame {} took {:.1f} s over a line that is well", frame, age_s)

    def _on_told(self, event: hp.Told, now: float) -> None:
        if event.kind == "session.updated":
            self._ready_s.setdefault(event.wire, now)

    def _on_left(self, event: hp.Left, _now: float) -> None:
        self._left.add(event.wire)

    def _on_troubled(self, _event: hp.Troubled, _now: float) -> None:
        self._troubles += 1

    def _on_calmed(self, _event: hp.Calmed, now: float) -> None:
        self._troubles -= 1
        self._quiet_since_s = now

    def close(self, books: dict[str, int], now: float) -> None:
        """The run is over; `books` are the daemon's."""
        captured = books.get("captured", 0)
        slack = self.SLACK * self._daemons + self._mutes  # a mute cuts capture off, perhaps with a frame in its hand
        off = self.captured - captured
        counts = self.captured, captured
        self.demand("6", 0 <= off <= slack, now, "{} frames at the microphone, {} in the books", *counts)
        fates = sum(frames for fate, frames in books.items() if fate != "captured")
        self.demand("6", captured == fates, now, "{} captured are {} by fate", captured, fates)
        sent = books.get("sent", 0)
        self.demand("6", sent == self.sent, now, "{} frames in the books as sent, {} were", sent, self.sent)
        full = books.get("dropped_mic_full", 0)
        self.demand("6", not full, now, "{} frames dropped for a full link, and no link was ever full", full)
        received = sent == self.received
        self.demand("7", received, now, "{} frames count as received, the service has {}", sent, self.received)

    def _judge(self, utterance: int, now: float) -> None:
        """Whatever is still to come of it would be too old."""
        frames = self._utterance.pop(utterance)
        parts = [frames & heard for heard in self._heard.values()]
        self.demand("8-whole", frames in parts or not any(parts), now, "utterance {} was heard in part", utterance)

    def _forget(self, before: int, now: float) -> None:
        """Frames older than anything that may still be sent."""
        for utterance in [each for each, frames in self._utterance.items() if min(frames) < before]:
            self._judge(utterance, now)
        for frame in [each for each in self._captured_s if each < before]:
            del self._captured_s[frame]
        for known in (self._sent, self._received, *self._heard.values()):
            known.difference_update([frame for frame in known if frame < before])
        self._heard = {wire: frames for wire, frames in self._heard.items() if frames}


def _take_in(known: set[int], frames: range) -> int:
    """Add these frames; how many of them are new."""
    before = len(known)
    known.update(frames)
    return len(known) - before
