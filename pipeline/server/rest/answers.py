"""What a REST client is told: JSON, and errors in the provider's shape. The one place that knows that shape."""

import traceback
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotFoundException
from litestar.types import ExceptionHandlersMap

from pipeline.realtime.codec import ClientEventError
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.vocabulary.errors import ServiceBusyError, TalkwireError

RETRY_AFTER_S: Final = 1
"""An engine call takes a tenth of a second: whoever comes back after this finds the queue shorter."""

_log = structlog.get_logger("talkwire.server")


def json_answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Anything msgspec can write, as JSON."""
    return Response(msgspec.json.encode(content), status_code=status, headers=headers, media_type="application/json")


def failure_body(failed: TalkwireError) -> dict[str, object]:
    """What an answer that has begun ends with when an engine fails."""
    return _body("server_error", "server_overloaded" if isinstance(failed, ServiceBusyError) else None, failed.message)


def _body(kind: str, code: str | None, message: str, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _refuse(status: int, code: str | None, message: str, param: str | None = None) -> Response[bytes]:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else None
    return json_answer(_body(kind, code, message, param), status, headers)


def _refused(_: Request[Any, Any, Any], error: RequestRefusedError) -> Response[bytes]:
    return _refuse(error.status, error.code, error.message, error.param)


def _bad_setting(_: Request[Any, Any, Any], error: ClientEventError) -> Response[bytes]:
    return _refuse(400, error.code, error.message, error.param)


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    unknown = isinstance(error, NotFoundException)
    return _refuse(
        error.status_code, None, f"Invalid URL ({request.method} {request.url.path})" if unknown else error.detail
    )


def _busy(_: Request[Any, Any, Any], error: ServiceBusyError) -> Response[bytes]:
    return json_answer(failure_body(error), 503, {"Retry-After": str(RETRY_AFTER_S)})


def _engine_failed(_: Request[Any, Any, Any], error: TalkwireError) -> Response[bytes]:
    return json_answer(failure_body(error), 500)


def _defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    # Kind and place only: the text of an exception nobody expected may hold what a client said.
    at = traceback.extract_tb(error.__traceback__)[-1]
    _log.error("request failed", path=request.url.path, reason=type(error).__name__, at=f"{at.filename}:{at.lineno}")
    return json_answer(_body("server_error", None, "The server had an error while processing your request."), 500)


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {
    RequestRefusedError: _refused,
    ClientEventError: _bad_setting,
    HTTPException: _http_error,
    ServiceBusyError: _busy,
    TalkwireError: _engine_failed,
    Exception: _defect,
}
