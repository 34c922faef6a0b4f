import math
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.retry import (
    LONGEST_RETRY_AFTER_S,
    SPACING_S,
    Backoff,
    Loss,
    RestartIntensity,
    classify_loss,
    parse_http_date,
    parse_retry_after,
)
from pipeline.vocabulary.errors import (
    ConnectionLostError,
    CredentialExpiredError,
    Fault,
    ProtocolError,
    ServiceBusyError,
)
from pipeline.vocabulary.settings import RetrySettings

SETTINGS = RetrySettings(first_s=0.25, cap_s=10.0, busy_cap_s=60.0, reset_after_s=30.0, attempts_per_minute=15)
CUT = ConnectionLostError("cut", cause="reset").fault()
CLOSED = ConnectionLostError("closed", cause="close_1001").fault()
BUSY = ServiceBusyError("busy", cause="status_503").fault()


class HighestDice(Random):
    """Always the longest pause the range allows."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002  the signature is Random's
        return b


def dice(seed: int) -> Random:
    return Random(seed)


def pauses(faults: list[Fault], random: Random) -> list[float]:
    """Fail every attempt at once; the pauses in between. One attempt an hour would never meet the minute's bound."""
    backoff, now_s, result = Backoff(SETTINGS, random), 0.0, []
    for fault in faults:
        backoff.attempt(now_s)
        at_s = backoff.lost(now_s, fault)
        result.append(at_s - now_s)
        now_s = at_s
    return result


@pytest.mark.parametrize(
    ("fault", "loss"),
    [
        (CUT, Loss.CUT),
        (ConnectionLostError("gone", cause="dns").fault(), Loss.CUT),
        (ConnectionLostError("gone", cause="close_1006").fault(), Loss.CUT),
        (CredentialExpiredError("old").fault(), Loss.CUT),
        (CLOSED, Loss.ANNOUNCED),
        (ConnectionLostError("closed", cause="close_1000").fault(), Loss.ANNOUNCED),
        (ConnectionLostError("no upgrade", cause="status_404").fault(), Loss.ANNOUNCED),
        (ProtocolError("garbage").fault(), Loss.ANNOUNCED),
        (BUSY, Loss.BUSY),
        (ConnectionLostError("closed", cause="close_1013", retry_after_s=4).fault(), Loss.BUSY),
    ],
)
def test_a_fault_says_how_the_line_was_lost(fault: Fault, loss: Loss) -> None:
    assert classify_loss(fault) is loss


def test_the_first_retry_comes_at_once_after_a_cut_and_then_the_range_doubles_to_the_cap() -> None:
    assert pauses([CUT] * 9, HighestDice()) == pytest.approx([SPACING_S, 0.25, 0.5, 1, 2, 4, 8, 10, 10])


def test_the_first_retry_is_jittered_after_a_close_the_server_announced() -> None:
    assert pauses([CLOSED] * 3, HighestDice()) == pytest.approx([0.25, 0.5, 1])
    drawn = {round(pauses([CLOSED], dice(seed))[0], 6) for seed in range(20)}
    assert len(drawn) > 5


def test_a_busy_service_gets_the_longer_cap_and_a_cut_after_it_the_short_one() -> None:
    assert pauses([BUSY] * 10, HighestDice())[-2:] == pytest.approx([60, 60])
    assert pauses([*[BUSY] * 9, CUT], HighestDice())[-1] == pytest.approx(10)


def test_health_resets_only_when_it_lasted() -> None:
    backoff = Backoff(SETTINGS, HighestDice())
    now_s = 0.0
    for _ in range(6):
        backoff.attempt(now_s)
        now_s = backoff.lost(now_s, CUT)
    backoff.attempt(now_s)
    backoff.healthy(now_s)
    assert backoff.lost(now_s + 29, CUT) == pytest.approx(now_s + 29 + 8)
    backoff.attempt(now_s + 37)
    backoff.healthy(now_s + 37)
    assert backoff.lost(now_s + 68, CUT) == pytest.approx(now_s + 68 + SPACING_S)
    assert backoff.failures == 1


def test_an_attempt_before_its_time_is_a_defect() -> None:
    backoff = Backoff(SETTINGS, dice(1))
    backoff.attempt(0)
    backoff.lost(0, ServiceBusyError("busy", retry_after_s=5).fault())
    with pytest.raises(AssertionError, match="before its time"):
        backoff.attempt(4)


def test_it_never_gives_up_and_its_range_never_overflows() -> None:
    backoff, now_s = Backoff(SETTINGS, dice(3)), 0.0
    for _ in range(3_000):
        backoff.attempt(now_s)
        at_s = backoff.lost(now_s, CUT)
        assert at_s - now_s <= 60.2
        now_s = at_s


@given(seed=st.integers(0, 2**32))
def test_an_outage_of_the_network_never_uses_up_the_attempts_of_its_minute(seed: int) -> None:
    """Else the wait for the minute to end would be longer than the cap, although the network may be back."""
    assert max(pauses([CUT] * 60, dice(seed))) <= SETTINGS.cap_s + 0.01


FAULTS = st.one_of(
    st.sampled_from([CUT, CLOSED, BUSY, ProtocolError("garbage").fault()]),
    st.floats(0, 8_000).map(lambda s: ServiceBusyError("busy", retry_after_s=s).fault()),
)
STEPS = st.lists(st.tuples(FAULTS, st.floats(0, 3), st.one_of(st.none(), st.floats(0, 40))), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 2**32), per_minute=st.integers(1, 60))
def test_whatever_happens_the_bounds_hold(
    steps: list[tuple[Fault, float, float | None]], seed: int, per_minute: int
) -> None:
    bounded: dict[str, Any] = {"attempts_per_minute": per_minute}
    backoff = Backoff(
        RetrySettings(first_s=0.25, cap_s=10.0, busy_cap_s=60.0, reset_after_s=30.0, **bounded), dice(seed)
    )
    now_s, attempts, failures = 1_000.0, [], []
    for fault, takes_s, lives_s in steps:
        now_s = backoff.earliest_s(now_s)
        backoff.attempt(now_s)
        attempts.append(now_s)
        now_s += takes_s
        if lives_s is not None:
            backoff.healthy(now_s)
            now_s += lives_s
        failures.append(now_s)
        at_s = backoff.lost(now_s, fault)
        asked_s = min(fault.retry_after_s or 0, LONGEST_RETRY_AFTER_S)
        assert at_s - now_s >= asked_s - 1e-6
        assert at_s - now_s <= max(60.2, asked_s * 1.2 + 1e-6)
        now_s = at_s
    assert all(later - earlier >= SPACING_S - 1e-6 for earlier, later in pairwise(failures))
    for start_s in attempts:
        assert sum(start_s <= other_s <= start_s + 60 for other_s in attempts) <= per_minute


def test_restart_intensity_counts_only_the_period() -> None:
    intensity = RestartIntensity(limit=5, period_s=60)
    assert [intensity.exceeded(at_s) for at_s in (0, 1, 2, 3, 4)] == [False] * 5
    assert not intensity.exceeded(61)
    assert not intensity.exceeded(62)
    assert intensity.exceeded(62)


def test_no_restart_at_all_can_be_allowed() -> None:
    assert RestartIntensity(limit=0, period_s=60).exceeded(0)


@given(times=st.lists(st.floats(0, 100), max_size=40).map(sorted), limit=st.integers(0, 6))
def test_restart_intensity_is_more_than_n_in_t(times: list[float], limit: int) -> None:
    intensity = RestartIntensity(limit, period_s=10)
    for index, now_s in enumerate(times):
        within = sum(now_s - earlier <= 10 for earlier in times[: index + 1])
        assert intensity.exceeded(now_s) == (within > limit)


WALL_S = 784_111_777.0
"""The example of RFC 9110 §5.6.7: Sun, 06 Nov 1994 08:49:37 GMT."""


@pytest.mark.parametrize(
    "date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_http_dates_are_read(date: str) -> None:
    assert parse_http_date(date) == WALL_S


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("99999999999999999999", LONGEST_RETRY_AFTER_S),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("Sun, 06 Nov 2094 08:49:27 GMT", LONGEST_RETRY_AFTER_S),
        *[(garbage, None) for garbage in (None, "", "-1", "1.5", "soon", "٣", "9" * 5_000, "Sun, 99 Foo 1994", "\0")],
    ],
)
def test_retry_after_is_read_or_refused(header: str | None, pause_s: float | None) -> None:
    assert parse_retry_after(header, WALL_S) == pause_s


@settings(max_examples=40)
@given(header=st.text(max_size=80), wall_s=st.floats(0, 1e11))
def test_no_header_breaks_the_parser(header: str, wall_s: float) -> None:
    pause_s = parse_retry_after(header, wall_s)
    assert pause_s is None or (math.isfinite(pause_s) and 0 <= pause_s <= LONGEST_RETRY_AFTER_S)


def test_adopted_pauses_count_from_the_next_loss_on() -> None:
    backoff = Backoff(RetrySettings(0.25, 10, 60, 30, 15), Random(1))
    backoff.adopt(RetrySettings(first_s=5, cap_s=1e-3, busy_cap_s=1e-3, reset_after_s=30, attempts_per_minute=1))
    for attempt in range(10):
        at_s = 10.0 * attempt
        backoff.attempt(at_s)
        assert backoff.lost(at_s, ConnectionLostError("gone", cause="reset").fault()) <= at_s + SPACING_S + 1e-3
