"""`POST /v1/realtime/client_secrets`: a secret that a browser or a kiosk may hold, and how its sessions begin."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from pipeline.realtime.client_events import SessionUpdate
from pipeline.realtime.codec import decode_client
from pipeline.realtime.events import Session
from pipeline.server.admission import Admission
from pipeline.server.client_secrets import CLIENT_SECRET_PREFIX
from pipeline.server.ids import new_id
from pipeline.server.rest.answers import json_answer
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.server.rest.requests import MAX_BODY_BYTES, NOT_JSON, demand_key, read_json
from pipeline.server.session_settings import shown
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret

NO_SESSION: Final = msgspec.Raw()


class ExpiresAfter(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a client secret opens sessions; None is the server's own time."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7_200)] | None = None


class ClientSecretRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body; all of it may be left out. The session is read as a `session.update` is, with all its refusals."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: msgspec.Raw = NO_SESSION


class ClientSecretCreated(Struct, frozen=True):
    """Answer: the secret, its end in unix seconds, and the settings sessions will begin with."""

    value: str
    expires_at: int
    session: Session


class Mint:
    """Makes client secrets.

    Args:
        admission: remembers them.
        settings: how long they live.
        unix_now: wall time in s.
    """

    def __init__(self, admission: Admission, settings: ServerSettings, unix_now: Callable[[], float]) -> None:
        self._admission = admission
        self._settings = settings
        self._unix_now = unix_now

    def mint(self, wanted: Session | None, seconds: int | None) -> ClientSecretCreated:
        """A fresh secret for such sessions.

        Args:
            wanted: the settings; None for the defaults.
            seconds: how long it was asked to live; None for `server.secret_ttl_s`.

        Raises:
            ClientEventError: the wanted settings cannot be.
            RequestRefusedError: 429, too many secrets are out.
        """
        now = self._unix_now()
        ttl_s = min(seconds or self._settings.secret_ttl_s, self._settings.secret_cap_s)
        secret = Secret(CLIENT_SECRET_PREFIX + secrets.token_hex(16))
        session = self._admission.mint(secret, wanted, expires_at=int(now) + ttl_s, now=now)
        if session is None:
            message = "Too many client secrets are out; wait until some expire."
            raise RequestRefusedError(429, "rate_limit_exceeded", message)
        told = msgspec.structs.replace(shown(session), id=new_id("sess"), expires_at=0)  # as the provider: none yet
        return ClientSecretCreated(secret.value, int(now) + ttl_s, told)


def client_secrets(admission: Admission, mint: Mint) -> HTTPRouteHandler:
    """The resource."""

    @post("/v1/realtime/client_secrets", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create(request: Request[Any, Any, Any]) -> Response[bytes]:
        demand_key(request, admission)
        asked = await read_json(request, ClientSecretRequest)
        wanted = None if asked.session == NO_SESSION else wanted_session(bytes(asked.session))
        return json_answer(mint.mint(wanted, asked.expires_after.seconds))

    return create


def wanted_session(raw: bytes) -> Session:
    """A session's JSON, read as a `session.update` is.

    Raises:
        ClientEventError: a field is missing, unknown or mistyped.
        RequestRefusedError: it is not text.
    """
    try:
        update = decode_client('{"type":"session.update","session":' + raw.decode() + "}")
    except UnicodeDecodeError:  # msgspec does not look inside what it hands on
        raise RequestRefusedError(400, None, NOT_JSON) from None
    assert isinstance(update, SessionUpdate)
    return update.session
