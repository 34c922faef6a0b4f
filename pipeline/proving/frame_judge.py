"""The judge of frames: what becomes of everything the microphone gave."""

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict


class FrameJudge(Judge):
    """What becomes of captured frames (6 to 10, 16, 18).

    Each frame is followed by its number from the microphone onto the wire and into the service, so the daemon's counts
    are compared with how many frames each fate has really befallen.
    """

    SLACK = 2  # frames that may be between two actors when the daemon ends

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._captured_s: dict[int, float] = {}
        self._utterance: dict[int, list[int]] = {}  # frames of speech
        self._heard: dict[int, list[int]] = {}  # wires by frame
        self._last: dict[int, int] = {}  # newest frame by wire
        self._sent: set[int] = set()
        self._ready_s: dict[int, float] = {}
        self._left: set[int] = set()
        self._quiet_since_s = 0.0
        self._troubles = 0
        self._daemons = 0
        self._mutes = 0
        self.captured = 0
        self.sent = 0
        self.received = 0

    def _on_daemonstarted(self, _event: hp.DaemonStarted, _now: float) -> None:
        self._daemons += 1

    def _on_captured(self, event: hp.Captured, now: float) -> None:
        self.captured += 1
        self._captured_s[event.frame] = now
        if event.speech:
            self._utterance.setdefault(event.utterance, []).append(event.frame)
        self._forget(event.frame)

    def _on_utterancebegan(self, event: hp.UtteranceBegan, now: float) -> None:
        """Judge those before the last one: whatever is still to come of them would be too old."""
        for utterance in [each for each in self._utterance if each < event.utterance - 3]:
            frames = self._utterance.pop(utterance)
            wires = [set(self._heard.get(frame, ())) for frame in frames]
            whole = bool(set.intersection(*wires)) or not any(wires)
            self.demand("8-whole", whole, now, f"utterance {utterance} was heard in part")

    def _on_muted(self, _event: hp.Muted, _now: float) -> None:
        self._mutes += 1
        self._utterance.clear()  # what was being said is not to be heard

    def _on_sent(self, event: hp.Sent, now: float) -> None:
        frame = event.frame
        self.demand("6", frame in self._captured_s, now, f"frame {frame} was sent and never captured")
        self.sent += frame not in self._sent
        self._sent.add(frame)
        age_s = now - self._captured_s.get(frame, now)
        self.demand("10", age_s <= 20.0, now, f"frame {frame} was sent {age_s:.1f} s after it was heard")

    def _on_heard(self, event: hp.Heard, now: float) -> None:
        wire, frame = event
        wires = self._heard.setdefault(frame, [])
        self.received += not wires
        self.demand("8", wire not in wires, now, f"frame {frame} twice in the session of wire {wire}")
        wires.append(wire)
        last = self._last.get(wire, 0)
        self.demand("9", frame > last, now, f"frame {frame} after frame {last} on wire {wire}")
        self._last[wire] = frame
        self.demand("18", wire in self._ready_s, now, f"frame {frame} before the settings of wire {wire}")
        if wire in self._left:
            return  # it was under way when the daemon left
        age_s = now - self._captured_s.get(frame, now)
        if not self._troubles and now - max(self._quiet_since_s, self._ready_s.get(wire, now)) > 20.0:
            self.demand("16", age_s <= 2.0, now, f"frame {frame} took {age_s:.1f} s over a line that is well")

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
        self.demand("6", 0 <= off <= slack, now, f"{self.captured} frames at the microphone, {captured} in the books")
        fates = sum(frames for fate, frames in books.items() if fate != "captured")
        self.demand("6", captured == fates, now, f"{captured} captured are {fates} by fate")
        sent = books.get("sent", 0)
        self.demand("6", sent == self.sent, now, f"{sent} frames in the books as sent, {self.sent} were")
        full = books.get("dropped_mic_full", 0)
        self.demand("6", not full, now, f"{full} frames dropped for a full link, and no link was ever full")
        self.demand(
            "7", sent == self.received, now, f"{sent} frames count as received, the service has {self.received}"
        )

    def _forget(self, frame: int) -> None:
        """Frames older than anything that may still be sent; utterances keep theirs."""
        old = frame - 20_000
        self._captured_s.pop(old, None)
        self._heard.pop(old, None)
        self._sent.discard(old)
