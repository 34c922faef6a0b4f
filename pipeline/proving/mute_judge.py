"""The judge of privacy: when the microphone is open, and what becomes of what it gave before it was muted."""

import math
from typing import Final

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict

MUTED: Final = '"state":"muted"'
"""In the words with which the daemon shows that it is muted."""


MUTES: Final = {"mute", "mute-hammered"}
"""Nemeses that do no more than mute."""
UNPLUGS: Final = "microphone-stop"


class MuteJudge(Judge):
    """While it is muted, the device is closed and nothing is sent (11); what waited is forgotten (11-spool).

    What was being said is taken back (11-clear). Else the device is open, with a line or without (10-open).
    """

    CLOSED_S = 0.1
    SEND_S = 2.0  # a message that the wire does not take is given up after this
    CLEAR_S = 0.5  # on a line that is well
    OPEN_S = 3.0  # it is tried again now and then, and a daemon that closes it for good may take so long to end

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._muted = False
        self._shown = False  # as muted
        self._muted_s = -math.inf  # the last time
        self._open = False
        self._newest = 0  # frame captured
        self._newest_before = 0  # frame captured before the microphone was muted
        self._ready_s: dict[int, float] = {}
        self._listens: set[int] = set()  # wires that said when speech began and not yet when it ended
        self._troubles: list[str] = []

    def _on_daemonstarted(self, _event: hp.DaemonStarted, _now: float) -> None:
        self._muted = self._shown = False
        self._newest_before = 0  # a new process has no speech of the one before
        self._ready_s.clear()

    def _on_muted(self, _event: hp.Muted, now: float) -> None:
        self._muted, self._muted_s, self._newest_before = True, now, self._newest
        self.verdict.tried["11-spool"] += 1  # whether anything waits or not
        self.owed.waive("10-open")
        self.expect("11", now + self.CLOSED_S, "closed", "the microphone is muted and stays open")
        if not self._open:
            self.owed.pay("11", "closed")
        for wire in self._listens if set(self._troubles) <= MUTES else ():
            text = f"wire {wire} keeps what was being said when the microphone was muted"
            self.expect("11-clear", now + self.CLEAR_S, wire, text)

    def _on_unmuted(self, _event: hp.Unmuted, _now: float) -> None:
        self._muted = False
        self.owed.pay("11", "closed")

    def _on_troubled(self, event: hp.Troubled, _now: float) -> None:
        self._troubles.append(event.nemesis)
        if event.nemesis not in MUTES:
            self.owed.waive("11-clear")
        if event.nemesis == UNPLUGS:
            self.owed.waive("10-open")

    def _on_calmed(self, event: hp.Calmed, _now: float) -> None:
        self._troubles.remove(event.nemesis)

    def _on_daemonended(self, _event: hp.DaemonEnded, _now: float) -> None:
        self._ready_s.clear()
        self.owed.waive("10-open")

    def _on_stopasked(self, _event: hp.StopAsked, _now: float) -> None:
        self._ready_s.clear()
        self.owed.waive("10-open", "11-clear")

    def _on_left(self, event: hp.Left, _now: float) -> None:
        self._lose(event.wire)

    def _on_broken(self, event: hp.Broken, _now: float) -> None:
        self._lose(event.wire)

    def _on_hungup(self, event: hp.HungUp, _now: float) -> None:
        self._lose(event.wire)

    def _on_asked(self, event: hp.Asked, _now: float) -> None:
        if event.kind == "input_audio_buffer.clear":
            self._listens.discard(event.wire)
            self.owed.pay("11-clear", event.wire)

    def _on_utterancebegan(self, _event: hp.UtteranceBegan, now: float) -> None:
        if self._ready_s and not self._muted and UNPLUGS not in self._troubles:
            self.expect("10-open", now + self.OPEN_S, "open", "somebody speaks, and the microphone stays closed")
            if self._open:
                self.owed.pay("10-open", "open")

    def _lose(self, wire: int) -> None:
        self._listens.discard(wire)
        self.owed.pay("11-clear", wire)

    def _on_noticed(self, event: hp.Noticed, _now: float) -> None:
        if event.kind == "StateNotice":
            self._shown = MUTED in event.line

    def _on_microphoneopened(self, _event: hp.MicrophoneOpened, now: float) -> None:
        self._open = True
        self.owed.pay("10-open", "open")
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
        match event.kind:
            case "session.updated":
                self._ready_s.setdefault(event.wire, now)
            case "input_audio_buffer.speech_started":
                self._listens.add(event.wire)
            case "input_audio_buffer.speech_stopped" | "response.created":
                self._lose(event.wire)

    def _on_sent(self, event: hp.Sent, now: float) -> None:
        frame = event.first  # the oldest of them
        if frame > self._newest_before:
            return
        waited = self._ready_s.get(event.wire, now) > self._muted_s
        text = "frame {} waited when the microphone was muted at {:.3f} s, and was sent"
        self.demand("11-spool", not waited, now, text, frame, self._muted_s)
        late = self._muted and now > self._muted_s + self.SEND_S
        self.demand("11", waited or not late, now, "frame {} was sent while the microphone is muted", frame)
