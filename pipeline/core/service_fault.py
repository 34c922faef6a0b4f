"""What an `error` event or a failed response of the service means: nothing, a note, or the end of the session."""

from pipeline.realtime.events import ErrorEvent, ResponseDone
from pipeline.vocabulary.errors import Fault, Verdict

BENIGN = frozenset(
    {
        "response_cancel_not_active",  # our cancel crossed the end of the response
        "conversation_already_has_active_response",  # the service's own turn detection was faster
        "input_audio_buffer_commit_empty",  # its turn detection committed just before us
    }
)
"""Races, not errors (protocol.md §7)."""

SHORTER_THAN = "already shorter than"
"""How every service words a truncation past the end of its audio; it has no code of its own."""

_EXPIRED = frozenset({"invalid_api_key", "token_expired", "invalid_token"})
_REFUSED = frozenset({
    "missing_model", "invalid_model", "beta_api_shape_disabled", "insufficient_quota", "account_deactivated",
    "billing_hard_limit_reached",
})  # fmt: skip


def session_fault(event: ErrorEvent, *, configuring: bool) -> Fault | None:
    """The fault if this error ends the session; None if the session lives on.

    While the settings are not confirmed every error counts: the service refuses an update as a whole, so there will be
    no confirmation.
    """
    code = event.error.code or ""
    if code == "session_expired":
        return Fault(
            kind="ConnectionLost", verdict=Verdict.RENEW, cause=code, message="the session reached its maximum age"
        )
    if code in _EXPIRED or "token expired" in _words(event).lower():
        return Fault(
            kind="CredentialExpired", verdict=Verdict.RENEW, cause=code or "token_expired",
            message="the service refused the client secret; check the key of the token backend",
        )  # fmt: skip
    if code in _REFUSED or configuring:
        return Fault(
            kind="ServiceRefused", verdict=Verdict.STOP, cause=code or "settings",
            message=f"the service refused the session: {_words(event)} ({event.error.param or code or 'no code'}); "
            "check [conversation] and [turn]",
        )  # fmt: skip
    return None


def is_benign(event: ErrorEvent) -> bool:
    """Tell whether this error is only a race between two messages."""
    return event.error.code in BENIGN or SHORTER_THAN in _words(event)


def error_fault(event: ErrorEvent) -> Fault:
    """An error that leaves the session alive; its words may quote what was said, so people are told only its code."""
    code = event.error.code or event.error.type or "an error without a code"
    return Fault(kind="Service", verdict=Verdict.RETRY, cause=code, message=f"the service reported {code}")


def response_fault(event: ResponseDone) -> Fault | None:
    """The fault if this response failed or was cut short by the service; None if it ended well or was cancelled."""
    response = event.response
    if response.status not in {"failed", "incomplete"}:
        return None
    details = response.status_details
    error = details.error if details is not None else None
    code = error.code if error is not None else None
    cause = code or (details.reason if details is not None else None) or response.status or "failed"
    return Fault(kind="Service", verdict=Verdict.RETRY, cause=cause, message=f"the answer {response.status}: {cause}")


def _words(event: ErrorEvent) -> str:
    return event.error.message or ""
