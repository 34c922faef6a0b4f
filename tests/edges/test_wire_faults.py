import pytest

from pipeline.edges.wire_faults import close_error, status_error
from pipeline.vocabulary.errors import (
    ConnectionLostError,
    CredentialExpiredError,
    ServiceBusyError,
    ServiceRefusedError,
    Verdict,
    WireError,
)

SHOWN = "service.url (wss://api.example/)"


@pytest.mark.parametrize(
    ("code", "kind", "verdict"),
    [
        (1000, ConnectionLostError, Verdict.RETRY),
        (1001, ConnectionLostError, Verdict.RETRY),
        (1011, ConnectionLostError, Verdict.RETRY),
        (1013, ServiceBusyError, Verdict.RETRY),
        (3000, CredentialExpiredError, Verdict.RENEW),
        (4000, ServiceRefusedError, Verdict.STOP),
        (4999, ConnectionLostError, Verdict.RETRY),
    ],
)
def test_close_codes(code: int, kind: type[WireError], verdict: Verdict) -> None:
    error = close_error(SHOWN, code, None)
    assert type(error) is kind
    assert (error.cause, error.verdict) == (f"close_{code}", verdict)


@pytest.mark.parametrize("reason", ["Bearer ek_canary_1", "ek_CANARY", "x\ny", "\x1b[2J", "a" * 81])
def test_a_close_reason_that_is_no_code_word_is_not_repeated(reason: str) -> None:
    assert reason not in close_error(SHOWN, 1011, reason).message


def test_a_code_word_is_repeated_for_the_person_who_must_act() -> None:
    assert (
        "invalid_request_error.invalid_model" in close_error(SHOWN, 4000, "invalid_request_error.invalid_model").message
    )


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:00 GMT", "date": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40),
    ],
)
def test_retry_after_counts_from_the_servers_own_clock(headers: dict[str, str], pause_s: float | None) -> None:
    assert status_error(SHOWN, 503, headers, wall_s=60).retry_after_s == pause_s
