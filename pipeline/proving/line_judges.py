"""The judges of the line: how many there are, what is done with them, how often and with what the daemon tries."""

from collections import deque
from typing import Final

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict
from pipeline.proving.simulated_backend import CANARY

EXPIRED: Final = "maximum duration"
"""In the words with which the service ends a session for its age."""


class LineJudge(Judge):
    """How many lines there are and what is done with them (1, 17, 20, 21, 23, 26)."""

    DEADLINE_S = 11.0  # of the settings, with a second for the wire
    STOP_S = 5.0
    HANDOVER_S = 60.0

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._held: set[int] = set()
        self._ends_s: dict[int, float] = {}
        self._newest_heard = 0
        self._asked: dict[int, set[str]] = {}  # event ids by wire that no error was about
        self._troubles = 0

    def _on_connected(self, event: hp.Connected, now: float) -> None:
        old = sorted(self._held)
        window_s = [self._ends_s.get(wire, 0.0) - now for wire in old]
        handing_over = len(old) == 1 and 0 < window_s[0] <= self.HANDOVER_S
        self.demand("1", not old or handing_over, now, "wire {} opened while {} were open", event.wire, old)
        self._held.add(event.wire)

    def _on_left(self, event: hp.Left, _now: float) -> None:
        self._gone(event.wire)

    def _on_broken(self, event: hp.Broken, _now: float) -> None:
        self._gone(event.wire)

    def _on_upgraded(self, event: hp.Upgraded, now: float) -> None:
        self._ends_s[event.wire] = now + event.life_s

    def _on_heard(self, event: hp.Heard, now: float) -> None:
        if event.wire in self._held:
            self.demand("1", event.wire >= self._newest_heard, now, "sound went back to wire {}", event.wire)
            self._newest_heard = max(self._newest_heard, event.wire)

    def _on_sentbehind(self, event: hp.SentBehind, now: float) -> None:
        """A wire is replaced as soon as sound has come over a newer one."""
        late = event.wire < self._newest_heard and event.what != "close"
        self.demand("18", not late, now, "{} on wire {}, which was replaced", event.what, event.wire)

    def _on_asked(self, event: hp.Asked, now: float) -> None:
        known = self._asked.setdefault(event.wire, set())
        self.demand("20-id", bool(event.event_id) and event.event_id not in known, now, "{} is like others", event.kind)
        known.add(event.event_id)
        if event.kind == "session.update" and event.wire in self._held:
            self.expect("20", now + self.DEADLINE_S, event.wire, f"wire {event.wire}: settings never confirmed")

    def _on_told(self, event: hp.Told, now: float) -> None:
        if event.kind == "session.updated":
            self.owed.pay("20", event.wire)
        if event.about and not event.again:
            asked = self._asked.get(event.wire, set())
            self.demand("20-id", event.about in asked, now, "an error about {}, which waits for none", event.about)
            asked.discard(event.about)

    def _on_troubled(self, _event: hp.Troubled, _now: float) -> None:
        self._troubles += 1

    def _on_calmed(self, _event: hp.Calmed, _now: float) -> None:
        self._troubles -= 1

    def _on_hungup(self, event: hp.HungUp, now: float) -> None:
        if event.wire in self._held and not self._troubles:
            self.demand("23", EXPIRED not in event.cause, now, "the session of wire {} has expired", event.wire)

    def _on_noticed(self, event: hp.Noticed, now: float) -> None:
        self.search(event.line, now)
        self.demand("21", '"kind":"Actor"' not in event.line, now, "{}", event.line)

    def search(self, text: str, now: float) -> None:
        """Look for a secret in what was said or printed."""
        self.demand("17", CANARY not in text, now, "a client secret was told")

    def _on_stopasked(self, _event: hp.StopAsked, now: float) -> None:
        self.expect("26", now + self.STOP_S, "stop", "the daemon did not end")

    def _on_daemonended(self, event: hp.DaemonEnded, now: float) -> None:
        self.owed.pay("26", "stop")
        self.demand("21", event.error != "CrashLoopError", now, "the daemon gave up restarting its actors")

    def _gone(self, wire: int) -> None:
        self._held.discard(wire)
        self._asked.pop(wire, None)
        self.owed.pay("20", wire)


class AttemptJudge(Judge):
    """How often the daemon tries, and with what (12, 13), how soon (12-first) and until when (13-last)."""

    MOST = 15
    WINDOW_S = 60.0
    CLOSEST_S = 0.099
    WELL_S = 30.0
    FIRST_S = 0.5
    REFUSED_MAX = 3  # fresh secrets in a row

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._attempts: deque[float] = deque(maxlen=self.MOST + 1)
        self._not_before_s = 0.0
        self._fresh = False
        self._used: set[int] = set()
        self._twins: set[int] = set()
        self._ready_s: dict[int, float] = {}  # since when each wire held serves
        self._tries = 0  # since there was a session
        self._was_refused = False  # outright, since then

    def _on_daemonstarted(self, _event: hp.DaemonStarted, _now: float) -> None:
        self._attempts.clear()  # a new process knows nothing of the one before
        self._not_before_s = 0.0

    def _on_attempted(self, _event: hp.Attempted, now: float) -> None:
        if self._attempts:
            gap_s = now - self._attempts[-1]
            self.demand("12", gap_s >= self.CLOSEST_S, now, "two attempts within {:.0f} ms", gap_s * 1000)
        self._attempts.append(now)
        self._tries += 1
        self.owed.pay("12-first", "attempt")
        many = len(self._attempts) > self.MOST and now - self._attempts[0] < self.WINDOW_S
        self.demand("12", not many, now, "more than {} attempts in {:.0f} s", self.MOST, self.WINDOW_S)
        self.demand(
            "12", now >= self._not_before_s, now, "an attempt before Retry-After ({:.1f} s)", self._not_before_s
        )

    def _on_minted(self, event: hp.Minted, now: float) -> None:
        self._fresh = event.secret > 0
        self._was_refused = self._was_refused or event.status in {401, 403}
        self._ask_for(event.retry_after_s, now)

    def _on_told(self, event: hp.Told, now: float) -> None:
        if event.kind == "session.updated":
            self._ready_s.setdefault(event.wire, now)
            self._tries, self._was_refused = 0, False

    def _on_broken(self, event: hp.Broken, now: float) -> None:
        was_well = now - self._ready_s.pop(event.wire, now) > self.WELL_S
        recent = [at_s for at_s in self._attempts if now - at_s < self.WINDOW_S + self.FIRST_S]
        if was_well and len(recent) < self.MOST:
            self.expect("12-first", now + self.FIRST_S, "attempt", f"nobody tried again after wire {event.wire}")

    def _on_left(self, event: hp.Left, _now: float) -> None:
        self._ready_s.pop(event.wire, None)

    def _on_hungup(self, event: hp.HungUp, _now: float) -> None:
        self._ready_s.pop(event.wire, None)

    def _on_stopasked(self, _event: hp.StopAsked, _now: float) -> None:
        self.owed.waive("12-first")

    def _on_daemonended(self, event: hp.DaemonEnded, now: float) -> None:
        self.owed.waive("12-first")
        if event.error == "CredentialRefusedError":
            rightly = self._was_refused or self._tries >= self.REFUSED_MAX
            self.demand("13-last", rightly, now, "the daemon gave up after {} tries", self._tries)

    def _on_refused(self, event: hp.Refused, now: float) -> None:
        self._was_refused = True
        if event.status in {429, 503}:  # nowhere else does Retry-After mean anything
            self._ask_for(event.retry_after_s, now)

    def _on_dialled(self, _event: hp.Dialled, now: float) -> None:
        self.demand("13", self._fresh, now, "dialled without a fresh client secret")
        self._fresh = False

    def _on_twinned(self, event: hp.Twinned, _now: float) -> None:
        self._twins.add(event.wire)

    def _on_upgraded(self, event: hp.Upgraded, now: float) -> None:
        if event.wire in self._twins:
            return  # no attempt of the daemon's
        self.demand("13", event.secret not in self._used, now, "secret {} opened a second session", event.secret)
        self._used.add(event.secret)

    def _ask_for(self, pause_s: float | None, now: float) -> None:
        if pause_s is not None:
            self._not_before_s = max(self._not_before_s, now + pause_s)
