import pytest

from pipeline.core.service_fault import error_fault, is_benign, response_fault, session_fault
from pipeline.realtime.events import ErrorBody, ErrorEvent, Failure, Response, ResponseDone, StatusDetails
from pipeline.vocabulary.errors import Verdict


def error(code: str | None, message: str | None = "words") -> ErrorEvent:
    return ErrorEvent(event_id="e", error=ErrorBody(type="invalid_request_error", code=code, message=message))


@pytest.mark.parametrize(
    ("code", "message", "verdict"),
    [
        ("session_expired", "x", Verdict.RENEW),
        ("invalid_api_key", "x", Verdict.RENEW),
        (None, "Ephemeral token expired", Verdict.RENEW),
        ("invalid_model", "x", Verdict.STOP),
        ("insufficient_quota", "x", Verdict.STOP),
    ],
)
def test_errors_that_end_a_session(code: str | None, message: str, verdict: Verdict) -> None:
    fault = session_fault(error(code, message), configuring=False)
    assert fault is not None
    assert fault.verdict is verdict


def test_an_error_without_code_or_words_leaves_a_live_session_alone() -> None:
    event = error(None, None)
    assert session_fault(event, configuring=False) is None
    assert not is_benign(event)
    assert error_fault(event).cause == "invalid_request_error"


def test_while_configuring_every_error_is_a_refusal() -> None:
    fault = session_fault(error("unknown_parameter"), configuring=True)
    assert fault is not None
    assert fault.verdict is Verdict.STOP


def test_a_truncation_past_the_end_is_a_race() -> None:
    assert is_benign(error("invalid_value", "Audio content of 900ms is already shorter than 940ms"))


@pytest.mark.parametrize("status", ["completed", "cancelled", "in_progress"])
def test_responses_that_ended_well(status: str) -> None:
    assert response_fault(ResponseDone(event_id="e", response=Response(id="r", status=status))) is None


@pytest.mark.parametrize(
    ("status", "details", "cause"),
    [
        ("failed", StatusDetails(error=Failure(code="rate_limit_exceeded")), "rate_limit_exceeded"),
        ("incomplete", StatusDetails(reason="content_filter"), "content_filter"),
        ("failed", None, "failed"),
    ],
)
def test_responses_that_did_not(status: str, details: StatusDetails | None, cause: str) -> None:
    fault = response_fault(ResponseDone(event_id="e", response=Response(id="r", status=status, status_details=details)))
    assert fault is not None
    assert fault.cause == cause
