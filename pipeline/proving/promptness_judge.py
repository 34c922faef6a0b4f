"""The judge of promptness: what must come in time, whatever happened before."""

from pipeline.proving import happenings as hp
from pipeline.proving.line_judges import EXPIRED
from pipeline.proving.oracle import Judge, Verdict


class PromptnessJudge(Judge):
    """What has to happen in time whatever the service does (22, 24, 25-streaming, 25-idle).

    And what must not: a session that is well is kept (22-kept).
    """

    READY_S = 12.0
    BUSY_S = 90.0  # after 429 and 5xx the range of the pause goes up to 60 s, and Retry-After counts besides
    ANSWER_S = 10.0
    OVERLOADED = 1013
    STREAMING_S = 3.0
    IDLE_S = 10.0
    LOOK_S = 0.2  # for the wire

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._troubles: list[str] = []
        self._calm_since_s = 0.0
        self._busy_until_s = 0.0
        self._ready: set[int] = set()
        self._utterance = 0
        self._stopping = False
        self._streamed_s = 0.0
        self._swallowing: set[int] = set()  # wires that swallow sound
        self._hung_up: set[int] = set()

    # 22

    def _on_daemonstarted(self, _event: hp.DaemonStarted, now: float) -> None:
        self._want_session(now)

    def _on_troubled(self, event: hp.Troubled, _now: float) -> None:
        self._troubles.append(event.nemesis)
        self.owed.waive("22", "24")

    def _on_calmed(self, event: hp.Calmed, now: float) -> None:
        self._troubles.remove(event.nemesis)
        self._calm_since_s = now
        self._want_session(now)

    def _on_minted(self, event: hp.Minted, now: float) -> None:
        if event.status not in {0, 200}:
            self._busy_until_s = now + self.BUSY_S

    def _on_refused(self, _event: hp.Refused, now: float) -> None:
        self._busy_until_s = now + self.BUSY_S

    def _on_told(self, event: hp.Told, now: float) -> None:
        if event.kind == "session.updated":
            self._ready.add(event.wire)
            self.owed.pay("22", "ready")
        if event.wire in self._swallowing:  # only one way is dead, and what comes by the other is a sign of life
            self._doubt(event.wire, "swallows", now, streamed=True)

    def _on_left(self, event: hp.Left, now: float) -> None:
        if event.wire in self._ready and self._is_calm(now) and not self._stopping:
            self.demand("22-kept", event.wire in self._hung_up, now, "wire {} was given up and was well", event.wire)
        self._lose(event.wire, now)
        for key in ("25-streaming", "25-idle"):
            self.owed.pay(key, event.wire)

    def _on_broken(self, event: hp.Broken, now: float) -> None:
        self._lose(event.wire, now)
        for key in ("25-streaming", "25-idle"):
            self.owed.pay(key, event.wire)

    def _on_stopasked(self, _event: hp.StopAsked, _now: float) -> None:
        self._stopping = True
        self.owed.waive("22", "24", "25-streaming", "25-idle")

    def _on_daemonended(self, _event: hp.DaemonEnded, _now: float) -> None:
        self.owed.waive("22", "24")

    # 24

    def _on_utterancebegan(self, event: hp.UtteranceBegan, _now: float) -> None:
        self.owed.waive("24")  # whoever speaks on gives up the answer to what was said before
        self._utterance = event.utterance

    def _on_utteranceended(self, event: hp.UtteranceEnded, now: float) -> None:
        if self._is_calm(now) and self._ready and not self._stopping:
            self.expect("24", now + self.ANSWER_S, "answer", f"utterance {event.utterance} was never answered")

    def _on_played(self, _event: hp.Played, _now: float) -> None:
        self.owed.pay("24", "answer")

    def _is_calm(self, now: float) -> bool:
        """Nothing has happened for so long that nothing may still follow from it."""
        return not self._troubles and now - self._calm_since_s > self.BUSY_S

    def _on_hungup(self, event: hp.HungUp, now: float) -> None:
        self._hung_up.add(event.wire)
        if event.code == self.OVERLOADED:
            self._busy_until_s = now + self.BUSY_S
        if EXPIRED in event.cause:
            self.owed.waive("24")  # counted by 23

    # 25

    def _on_captured(self, _event: hp.Captured, now: float) -> None:
        self._streamed_s = now

    def _on_swallowed(self, event: hp.Swallowed, now: float) -> None:
        streamed = event.wire in self._ready and now - self._streamed_s < self.LOOK_S
        if streamed:
            self._swallowing.add(event.wire)
        self._doubt(event.wire, "swallows", now, streamed=streamed)

    def _on_forgotten(self, event: hp.Forgotten, now: float) -> None:
        self._doubt(event.wire, "is dead", now)

    def _on_deafened(self, event: hp.Deafened, now: float) -> None:
        self._doubt(event.wire, "is deaf", now)

    def _doubt(self, wire: int, what: str, now: float, *, streamed: bool = False) -> None:
        """A wire that serves nobody yet is under other deadlines."""
        if wire not in self._ready:
            return
        if streamed:
            self.expect("25-streaming", now + self.STREAMING_S + self.LOOK_S, wire, f"wire {wire} {what} and was kept")
        self.expect("25-idle", now + self.IDLE_S + self.LOOK_S, wire, f"wire {wire} {what} and was kept")

    def _on_recovered(self, event: hp.Recovered, _now: float) -> None:
        self.owed.pay("25-idle", event.wire)

    def _lose(self, wire: int, now: float) -> None:
        self._ready.discard(wire)
        self._swallowing.discard(wire)
        if not self._troubles:
            self._want_session(now)

    def _want_session(self, now: float) -> None:
        if not (self._ready or self._troubles or self._stopping):
            due_s = max(now + self.READY_S, self._busy_until_s)
            self.expect("22", due_s, "ready", f"no session since {now:.3f}")
