"""The judge of privacy: what a muted microphone gives, and what becomes of what it gave before."""

import math
from typing import Final

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict

MUTED: Final = '"state":"muted"'
"""In the words with which the daemon shows that it is muted."""


class MuteJudge(Judge):
    """While it is muted, the device is closed and nothing is sent (11); what waited is forgotten (11-spool)."""

    CLOSED_S = 0.1
    SEND_S = 2.0  # a message that the wire does not take is given up after this

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._muted = False
        self._shown = False  # as muted
        self._muted_s = -math.inf  # the last time
        self._open = False
        self._newest = 0  # frame captured
        self._newest_before = 0  # frame captured before the microphone was muted
        self._ready_s: dict[int, float] = {}

    def _on_daemonstarted(self, _event: hp.DaemonStarted, _now: float) -> None:
        self._muted = self._shown = False
        self._newest_before = 0  # a new process has no speech of the one before
        self._ready_s.clear()

    def _on_muted(self, _event: hp.Muted, now: float) -> None:
        self._muted, self._muted_s, self._newest_before = True, now, self._newest
        self.verdict.tried["11-spool"] += 1  # whether anything waits or not
        self.expect("11", now + self.CLOSED_S, "closed", "the microphone is muted and stays open")
        if not self._open:
            self.owed.pay("11", "closed")

    def _on_unmuted(self, _event: hp.Unmuted, _now: float) -> None:
        self._muted = False
        self.owed.pay("11", "closed")

    def _on_noticed(self, event: hp.Noticed, _now: float) -> None:
        if event.kind == "StateNotice":
            self._shown = MUTED in event.line

    def _on_microphoneopened(self, _event: hp.MicrophoneOpened, now: float) -> None:
        self._open = True
        self.demand("11", not self._muted, now, "the microphone was opened while it is muted")

    def _on_microphoneclosed(self, _event: hp.MicrophoneClosed, _now: float) -> None:
        self._open = False
        self.owed.pay("11", "closed")

    def _on_captured(self, event: hp.Captured, now: float) -> None:
        self._newest = event.frame
        self.demand("11", not self._shown, now, "frame {} was captured while `muted` is shown", event.frame)
        if self._muted and now == self._muted_s:
            self._newest_before = event.frame  # in the same moment

    def _on_told(self, event: hp.Told, now: float) -> None:
        if event.kind == "session.updated":
            self._ready_s.setdefault(event.wire, now)

    def _on_sent(self, event: hp.Sent, now: float) -> None:
        frame = event.first  # the oldest of them
        if frame > self._newest_before:
            return
        waited = self._ready_s.get(event.wire, now) > self._muted_s
        text = "frame {} waited when the microphone was muted at {:.3f} s, and was sent"
        self.demand("11-spool", not waited, now, text, frame, self._muted_s)
        late = self._muted and now > self._muted_s + self.SEND_S
        self.demand("11", waited or not late, now, "frame {} was sent while the microphone is muted", frame)
