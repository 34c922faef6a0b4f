import json
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tokens.policy import MAX_DEVICES, Answer, MintLimit, judge_provider, refuse

SECRET = "ek_canary-66aa"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
DATE_S = 784_111_777


def judged(status: int = 200, expires_at: object = DATE_S + 600, body: bytes = b"", **headers: str) -> Answer:
    body = body or json.dumps({"value": SECRET, "expires_at": expires_at}).encode()
    return judge_provider(status, body, date=DATE, retry_after=headers.get("retry_after"), wall_s=0)


def detail(answer: Answer) -> str:
    return str(json.loads(answer.body)["detail"])


@settings(max_examples=60)
@given(
    pauses=st.lists(st.floats(0, 20), max_size=80),
    per_minute=st.integers(1, 120),
)
def test_no_minute_has_more_mints_than_the_rate_and_the_burst(pauses: list[float], per_minute: int) -> None:
    limit, now_s, granted = MintLimit(per_minute), 50.0, []
    for pause_s in pauses:
        now_s += pause_s
        wait_s = limit.take("kiosk", now_s)
        if wait_s is None:
            granted.append(now_s)
        else:
            assert wait_s > 0
    for start_s in granted:
        assert sum(start_s <= at_s < start_s + 60 for at_s in granted) <= per_minute + max(1, per_minute // 2) + 1e-6


@given(per_minute=st.integers(1, 1_000))
def test_who_waits_as_told_is_served(per_minute: int) -> None:
    limit = MintLimit(per_minute)
    while (wait_s := limit.take("kiosk", 0.0)) is None:
        pass
    assert limit.take("kiosk", wait_s * 0.9) is not None
    assert limit.take("kiosk", wait_s + 1e-6) is None


def test_one_device_does_not_use_up_anothers_mints() -> None:
    limit = MintLimit(1)
    assert limit.take("a", 0) is None
    assert limit.take("a", 0) == pytest.approx(60)
    assert limit.take("b", 0) is None


def test_invented_names_neither_fill_the_memory_nor_make_a_limit_forgotten() -> None:
    limit = MintLimit(6)
    for _ in range(3):
        assert limit.take("real", 0) is None
    for number in range(2 * MAX_DEVICES):
        limit.take(f"invented-{number}", 1)
    assert len(limit) == MAX_DEVICES
    assert limit.take("real", 1) is not None
    assert limit.take("newcomer", 1) is not None
    assert limit.take("newcomer", 31) is None
    assert len(limit) == MAX_DEVICES


def test_a_good_answer_is_shaped_for_the_device_and_never_cached() -> None:
    answer = judged()
    assert answer.status == 200
    assert json.loads(answer.body) == {"clientSecret": SECRET, "expiresAt": DATE_S + 600}
    assert answer.headers == {"Content-Type": "application/json", "Cache-Control": "no-store"}


def test_without_a_date_the_wall_clock_has_to_do() -> None:
    body = json.dumps({"value": SECRET, "expires_at": 1_600}).encode()
    assert judge_provider(200, body, date=None, retry_after=None, wall_s=1_000).status == 200
    assert judge_provider(200, body, date=None, retry_after=None, wall_s=1_600).status == 502


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (judged(expires_at=DATE_S), "passed or is absurd"),
        (judged(expires_at=253_402_300_799), "passed or is absurd"),
        (judged(expires_at=str(DATE_S + 600)), "usable"),
        (judged(expires_at=None), "usable"),
        (judged(body=b"<html>"), "web page"),
        (judged(body=b" " * 70_000), "no client secret"),
        (judged(body=b'{"value": "ek_canary-66aa\\r\\n", "expires_at": 1}'), "no header may"),
        (judged(401, body=SECRET.encode()), "refused the key of this token backend"),
        (judged(403), "refused the key of this token backend"),
        (judged(204), "status 204"),
        (judged(302), "status 302"),
        (judged(404), "status 404"),
        (judged(500, body=SECRET.encode()), "status 500"),
    ],
)
def test_a_bad_answer_becomes_a_502_without_the_providers_words(answer: Answer, words: str) -> None:
    assert answer.status == 502
    assert words in detail(answer)
    assert SECRET.encode() not in answer.body
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("header", "told"),
    [("7", "7"), ("Sun, 06 Nov 1994 08:50:07 GMT", "30"), ("soon", "5"), ("", "5"), ("9999", "3600")],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_provider_becomes_a_503_with_retry_after(status: int, header: str, told: str) -> None:
    answer = judged(status, retry_after=header)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == told


def test_retry_after_is_never_too_early() -> None:
    assert refuse(HTTPStatus.TOO_MANY_REQUESTS, "wait", retry_after_s=0.2).headers["Retry-After"] == "1"
    assert "Retry-After" not in refuse(HTTPStatus.BAD_GATEWAY, "gone").headers


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_marked_so_that_devices_stop_asking(status: int) -> None:
    assert judged(status).headers["X-Refusal"] == "provider-key"
    assert "X-Refusal" not in judged(500).headers
