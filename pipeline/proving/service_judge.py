"""The judge of a service that fails to answer: how long the daemon may bear with it."""

from collections import deque
from typing import Final

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict

OWED: Final = ("25-stall", "25-gap", "25-failed")


class ServiceJudge(Judge):
    """A session that does not answer is replaced (25-stall, 25-gap, 25-failed)."""

    STALL_S = 8.0
    GAP_S = 3.0
    FAILED_MAX = 2
    FAILED_S = 60.0
    CLOSE_S = 1.5  # a close frame may take its second

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._ready: set[int] = set()
        self._started: set[int] = set()  # wires that said when speech began and not yet when it ended
        self._running: dict[int, int] = {}  # reply by wire that was announced, is not over and was not talked over
        self._failed_s: dict[int, deque[float]] = {}

    def _on_told(self, event: hp.Told, now: float) -> None:
        wire = event.wire
        match event.kind:
            case "session.updated":
                self._ready.add(wire)
            case "input_audio_buffer.speech_started":
                self._started.add(wire)
                self._running.pop(wire, None)
                self._pay(wire, "25-stall", "25-gap")
            case "input_audio_buffer.speech_stopped" if wire in self._started:
                self._started.remove(wire)
                if wire in self._ready:
                    self._owe("25-stall", self.STALL_S, wire, now, "owes an answer")
            case _ if event.kind.startswith("response."):
                self._follow(event, now)

    def _follow(self, event: hp.Told, now: float) -> None:
        """What becomes of an answer."""
        wire = event.wire
        match event.kind:
            case "response.created" if not event.again:
                self._running[wire] = event.reply
            case "response.output_audio.delta":
                self._pay(wire, "25-stall", "25-gap")
                if event.reply == self._running.get(wire) and not event.again:
                    self._owe("25-gap", self.GAP_S, wire, now, f"owes the rest of reply {event.reply}")
            case "response.output_audio.done":
                self._pay(wire, "25-gap")
            case "response.done":
                self._pay(wire, "25-stall", "25-gap")
                if event.reply == self._running.get(wire):
                    del self._running[wire]
                    if event.status == "failed" and wire in self._ready:
                        self._count_failure(wire, now)

    def _count_failure(self, wire: int, now: float) -> None:
        failed_s = self._failed_s.setdefault(wire, deque(maxlen=self.FAILED_MAX))
        failed_s.append(now)
        if len(failed_s) == self.FAILED_MAX and now - failed_s[0] <= self.FAILED_S:
            self._owe("25-failed", 0.0, wire, now, "fails again and again")

    def _on_utterancebegan(self, _event: hp.UtteranceBegan, _now: float) -> None:
        self.owed.waive("25-stall")  # whoever speaks on gives up the answer to what was said before

    def _on_asked(self, event: hp.Asked, _now: float) -> None:
        if event.kind == "input_audio_buffer.clear":  # what was being said is not to be answered
            self._started.discard(event.wire)
            self._pay(event.wire, "25-stall")

    def _on_left(self, event: hp.Left, _now: float) -> None:
        self._forget(event.wire)

    def _on_broken(self, event: hp.Broken, _now: float) -> None:
        self._forget(event.wire)

    def _on_hungup(self, event: hp.HungUp, _now: float) -> None:
        self._pay(event.wire, *OWED)

    def _on_stopasked(self, _event: hp.StopAsked, _now: float) -> None:
        self.owed.waive(*OWED)

    def _owe(self, invariant: str, within_s: float, wire: int, now: float, text: str) -> None:
        self.expect(invariant, now + within_s + self.CLOSE_S, wire, f"wire {wire} {text} and was kept")

    def _pay(self, wire: int, *invariants: str) -> None:
        for invariant in invariants:
            self.owed.pay(invariant, wire)

    def _forget(self, wire: int) -> None:
        self._ready.discard(wire)
        self._started.discard(wire)
        self._running.pop(wire, None)
        self._failed_s.pop(wire, None)
        self._pay(wire, *OWED)
