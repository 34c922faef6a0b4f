"""When to try again: backoff of connection attempts, restart intensity of children, and the Retry-After header."""

import math
from collections import deque
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from random import Random

import msgspec

from pipeline.vocabulary.errors import Fault, Verdict
from pipeline.vocabulary.settings import RetrySettings

SPACING_S = 0.1  # s: two failures in a row are never closer, whatever the dice say
LONGEST_RETRY_AFTER_S = 3_600.0  # s: a peer that asks for more is asked again after an hour
RETRY_AFTER_SPREAD = 0.2  # share added at random, so that a thousand kiosks do not come back in the same second
_WINDOW_S = 60.1  # s: "any 60 s" with a hair of room for timers and rounding
_LATE_S = 0.001  # s: rounding between a pause and a point in time
_LONGEST_HEADER = 64  # characters: an HTTP date has 29


class Loss(Enum):
    """How a connection or an attempt was lost, as far as the pause before the next one depends on it."""

    CUT = auto()
    """The network, or only our secret: nobody is busy, so the first retry comes at once."""
    ANNOUNCED = auto()
    """The server ended it, and so for every client at the same time: even the first retry is jittered."""
    BUSY = auto()
    """429, 5xx or Retry-After: the longer cap applies."""


def classify_loss(fault: Fault) -> Loss:
    """Tell which of the three pauses this fault asks for.

    A `close_1006` is no close frame but the lack of one (RFC 6455 §7.1.5), so it counts as a cut.
    """
    if fault.kind == "ServiceBusy" or fault.retry_after_s is not None:
        return Loss.BUSY
    spoken_to = fault.cause.startswith(("close_", "status_")) and fault.cause != "close_1006"
    if fault.kind == "ConnectionLost" and not spoken_to:
        return Loss.CUT
    return Loss.CUT if fault.verdict is Verdict.RENEW else Loss.ANNOUNCED


class Backoff:
    """Full jitter backoff that never gives up; all times are the host clock's, in s.

    Call `attempt` when an attempt begins, `healthy` when its session is confirmed, `lost` when the attempt fails or the
    session ends. Each failure draws a pause between 0 and a range that doubles from `first_s` to `cap_s`
    (`busy_cap_s` while the peer is busy); `reset_after_s` of health makes the range small again.
    """

    def __init__(self, settings: RetrySettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._attempts: deque[float] = deque(maxlen=settings.attempts_per_minute)
        self._range_s = settings.first_s
        self._failures = 0
        self._healthy_since_s: float | None = None
        self._not_before_s = -math.inf

    def adopt(self, settings: RetrySettings) -> None:
        """Go on with other pauses; the attempts of a minute stay as many as they were."""
        self._settings = msgspec.structs.replace(settings, attempts_per_minute=self._settings.attempts_per_minute)

    @property
    def failures(self) -> int:
        """Failures since the last reset."""
        return self._failures

    def earliest_s(self, now_s: float) -> float:
        """When an attempt may begin: `now_s`, or later while a pause runs or the minute's attempts are used up."""
        return max(now_s, self._not_before_s, self._window_opens_s())

    def attempt(self, now_s: float) -> None:
        """An attempt begins: it counts into the minute. It must not begin before `earliest_s`."""
        assert now_s >= self.earliest_s(now_s) - _LATE_S, "an attempt before its time"
        self._attempts.append(now_s)
        self._healthy_since_s = None

    def healthy(self, now_s: float) -> None:
        """The session of this attempt is confirmed."""
        self._healthy_since_s = now_s

    def lost(self, now_s: float, fault: Fault) -> float:
        """The attempt failed or the session ended; returns when the next attempt may begin."""
        loss = classify_loss(fault)
        if self._healthy_since_s is not None and now_s - self._healthy_since_s >= self._settings.reset_after_s:
            self._failures, self._range_s = 0, self._settings.first_s
        self._healthy_since_s = None
        pause_s = 0.0 if loss is Loss.CUT and self._failures == 0 else self._draw_s(loss, now_s)
        self._failures += 1
        self._not_before_s = now_s + max(pause_s, SPACING_S, self._as_asked_s(fault.retry_after_s))
        return self.earliest_s(now_s)

    def _draw_s(self, loss: Loss, now_s: float) -> float:
        cap_s = self._settings.busy_cap_s if loss is Loss.BUSY else self._settings.cap_s
        pause_s = self._random.uniform(0, min(self._range_s, cap_s))
        if self._range_s >= cap_s:
            pause_s = max(pause_s, min(self._share_s(now_s), cap_s))
        self._range_s = min(self._range_s * 2, max(self._settings.cap_s, self._settings.busy_cap_s))
        return pause_s

    def _share_s(self, now_s: float) -> float:
        """What is left of the minute, shared out among the attempts left in it.

        An outage that lasts must not use them up early: the wait for the minute to end would be longer than `cap_s`,
        and the network may be back meanwhile.
        """
        recent = [at_s for at_s in self._attempts if now_s - at_s < _WINDOW_S]
        left = self._settings.attempts_per_minute - len(recent)
        return (recent[0] + _WINDOW_S - now_s) / (left + 1) if recent else 0.0

    def _as_asked_s(self, retry_after_s: float | None) -> float:
        if retry_after_s is None:
            return 0.0
        assert retry_after_s >= 0, "Retry-After was parsed, so it is a length of time"
        return min(retry_after_s, LONGEST_RETRY_AFTER_S) * self._random.uniform(1, 1 + RETRY_AFTER_SPREAD)

    def _window_opens_s(self) -> float:
        full = len(self._attempts) == self._settings.attempts_per_minute
        return self._attempts[0] + _WINDOW_S if full else -math.inf


class RestartIntensity:
    """Erlang/OTP's supervisor rule: more than `limit` restarts within `period_s` mean that restarting does not help."""

    def __init__(self, limit: int, period_s: float) -> None:
        assert limit >= 0, "a limit counts restarts"
        assert period_s > 0, "a period has a length"
        self._period_s = period_s
        self._restarts: deque[float] = deque(maxlen=limit + 1)

    def exceeded(self, now_s: float) -> bool:
        """Count a restart at `now_s`; tell whether it is one too many."""
        self._restarts.append(now_s)
        return len(self._restarts) == self._restarts.maxlen and now_s - self._restarts[0] <= self._period_s


def parse_http_date(value: str | None) -> float | None:
    """Unix time in s of an HTTP date in any of its three forms (RFC 9110 §5.6.7); None if absent or garbage."""
    if value is None or len(value) > _LONGEST_HEADER:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None, wall_s: float) -> float | None:
    """Pause in s that a Retry-After header asks for (RFC 9110 §10.2.3), 0 to an hour; None if none or garbage.

    `wall_s` is the Unix time an HTTP date is counted from: the peer's own Date header where there is one.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_HEADER:
        return min(float(text), LONGEST_RETRY_AFTER_S)
    at_s = parse_http_date(text)
    return None if at_s is None else min(max(at_s - wall_s, 0.0), LONGEST_RETRY_AFTER_S)
