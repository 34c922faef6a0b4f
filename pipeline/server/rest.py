"""REST beside the WebSocket: `POST /v1/realtime/client_secrets`, answers and errors in the provider's shape."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Litestar, Request, Response, post
from litestar.exceptions import HTTPException
from msgspec import Meta, Struct

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import Session
from pipeline.server.admission import Admission
from pipeline.vocabulary.signals import Secret

DEFAULT_TTL_S: Final = 600
MAX_BODY_BYTES: Final = 256 * 1024
"""Instructions and tools of a session; the provider's own examples stay under 10 kB."""


class ExpiresAfter(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a client secret opens sessions."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7_200)] = DEFAULT_TTL_S


class ClientSecretRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/realtime/client_secrets`; all of it may be left out."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: Session | None = None


class ClientSecretCreated(Struct, frozen=True):
    """Answer: the secret, its end in unix seconds, and the settings sessions will begin with."""

    value: str
    expires_at: int
    session: Session


def rest_app(admission: Admission, unix_now: Callable[[], float]) -> Litestar:
    """The REST application as ASGI."""

    @post("/v1/realtime/client_secrets", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create_client_secret(request: Request[Any, Any, Any]) -> Response[bytes]:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not admission.may_mint(Secret(bearer.strip())):
            return _error(401, "invalid_api_key", "Incorrect API key provided.")
        return _mint(await request.body(), admission, unix_now())

    return Litestar(
        [create_client_secret],
        openapi_config=None,
        logging_config=None,  # the process decides where its log goes
        exception_handlers={HTTPException: _http_error},
    )


def _mint(body: bytes, admission: Admission, now: float) -> Response[bytes]:
    try:
        wanted = msgspec.json.decode(body or b"{}", type=ClientSecretRequest)
    except msgspec.DecodeError as malformed:
        what, _, path = str(malformed).partition(" - at `$.")
        return _error(400, "invalid_value", f"{what}.", path.rstrip("`") or None)
    secret = Secret(f"ek_{secrets.token_hex(16)}")
    expires_at = int(now) + wanted.expires_after.seconds
    try:
        session = admission.mint(secret, wanted.session, expires_at=expires_at, now=now)
    except ClientEventError as refused:
        return _error(400, refused.code, refused.message, refused.param)
    if session is None:
        return _error(429, "rate_limit_exceeded", "Too many client secrets are out; wait until some expire.")
    shown = msgspec.structs.replace(session, id=f"sess_{secrets.token_urlsafe(16)[:21]}", expires_at=0)
    return _json(200, ClientSecretCreated(secret.value, expires_at, shown))


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    return _error(error.status_code, None, error.detail)


def _error(status: int, code: str | None, message: str, param: str | None = None) -> Response[bytes]:
    kind = "invalid_request_error"
    return _json(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})


def _json(status: int, content: object) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")
