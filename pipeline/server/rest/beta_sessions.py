"""`POST /v1/realtime/sessions` and `/transcription_sessions`, the beta's way to a client secret.

In goes a flat session, out comes the same, complete and with the secret.
"""

from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct, field

from pipeline.realtime.beta_shape import flat_refusal, session_from_ga, session_to_ga
from pipeline.realtime.codec import ClientEventError, complaint
from pipeline.realtime.events import Json
from pipeline.server.admission import Admission
from pipeline.server.rest.answers import json_answer
from pipeline.server.rest.client_secrets import ExpiresAfter, Mint, wanted_session
from pipeline.server.rest.requests import MAX_BODY_BYTES, demand_key, read_json

TTL_S: Final = 60
"""What the beta's secrets live unless asked otherwise."""

Kind = Literal["realtime", "transcription"]


class SecretOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`client_secret` of a session."""

    expires_after: ExpiresAfter = ExpiresAfter()


class TranscriptionSecretOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`client_secret` of a transcription session, where the beta calls the time `expires_at`."""

    expires_after: ExpiresAfter = field(default=ExpiresAfter(), name="expires_at")


OPTIONS: Final[dict[Kind, type[SecretOptions | TranscriptionSecretOptions]]] = {
    "realtime": SecretOptions,
    "transcription": TranscriptionSecretOptions,
}


def beta_sessions(admission: Admission, mint: Mint) -> list[HTTPRouteHandler]:
    """The resources."""

    async def create(request: Request[Any, Any, Any], kind: Kind) -> Response[bytes]:
        demand_key(request, admission)
        flat = await read_json(request, Json)
        seconds = _options(flat.pop("client_secret", {}), kind).expires_after.seconds
        try:
            wanted = wanted_session(msgspec.json.encode(session_to_ga(flat, kind)))
            created = mint.mint(wanted, seconds or TTL_S)
        except ClientEventError as refused:
            raise _without_prefix(flat_refusal(refused)) from None
        session = session_from_ga(msgspec.to_builtins(created.session))
        secret = {"value": created.value, "expires_at": created.expires_at}
        return json_answer({**session, "client_secret": secret})

    @post("/v1/realtime/sessions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create_session(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await create(request, "realtime")

    @post("/v1/realtime/transcription_sessions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create_transcription_session(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await create(request, "transcription")

    return [create_session, create_transcription_session]


def _options(raw: object, kind: Kind) -> SecretOptions | TranscriptionSecretOptions:
    try:
        return msgspec.convert(raw, OPTIONS[kind])
    except msgspec.ValidationError as flawed:
        found = complaint(str(flawed))
        raise ClientEventError(found.code, found.message, f"client_secret.{found.param or ''}".rstrip(".")) from None


def _without_prefix(refused: ClientEventError) -> ClientEventError:
    """The same refusal; here the session is the whole body."""
    param = refused.param or ""
    if not param.startswith("session."):
        return refused
    where = param.removeprefix("session.")
    return ClientEventError(refused.code, refused.message.replace(param, where), where)
