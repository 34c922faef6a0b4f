"""Client secrets over REST, sans IO: the provider's mint and the token backend in front of it.

Provider: `POST /v1/realtime/client_secrets`, Bearer key → `{"value", "expires_at", "session"}`.
Backend: `GET /realtime/token`, `X-Device-Id` → `{"clientSecret", "expiresAt"}`. Times are Unix seconds.
"""

import math
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import ConfigurationError, Problem, ProtocolError
from pipeline.vocabulary.signals import Secret

DEVICE_HEADER: Final = "X-Device-Id"
REFUSAL_HEADER: Final = "X-Refusal"
"""On a backend's 502: `provider-key` tells the device that no later try can help until the backend's key is mended."""
PROVIDER_KEY: Final = "provider-key"
MAX_ANSWER_BYTES: Final = 64 * 1024  # bytes: an answer has about 1 KiB; more is not from a mint
MAX_SECRET_LENGTH: Final = 4_096  # characters: it must fit into one header beside the others
_DEVICE: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_VISIBLE: Final = re.compile(rf"[!-~]{{1,{MAX_SECRET_LENGTH}}}", re.ASCII)


class ClientSecret(Struct, frozen=True):
    """What a mint gives: a secret and its expiry as Unix time in s, by the mint's clock."""

    secret: Secret
    expires_at_s: float


class _Answer(Struct, frozen=True):
    """Both shapes at once, for an answer does not say which of the two it is."""

    value: str | UnsetType = UNSET
    expires_at: float | UnsetType = UNSET
    backend_value: str | UnsetType = field(default=UNSET, name="clientSecret")
    backend_expires_at: float | UnsetType = field(default=UNSET, name="expiresAt")


_decoder = msgspec.json.Decoder(_Answer)


def is_device_id(text: str) -> bool:
    """Tell whether `text` can name a device: 1 to 64 ASCII letters, digits, dots, colons, dashes, underscores."""
    return _DEVICE.fullmatch(text) is not None


def is_header_safe(secret: str) -> bool:
    """Tell whether a secret can stand in a header: visible ASCII only (so no CR or LF) and at most 4 KiB."""
    return _VISIBLE.fullmatch(secret) is not None


def decode_client_secret(body: bytes) -> ClientSecret:
    """Read the answer of a mint, in the provider's shape or the backend's.

    Raises:
        ProtocolError: it is neither, or the secret could not be sent in a header. The text never shows the body.
    """
    try:
        answer = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"the answer is no client secret: {error}", cause="body") from None
    except (msgspec.DecodeError, RecursionError):
        page = body.lstrip()[:1] == b"<"
        what = "a web page (does this network want a login first?)" if page else "not JSON"
        raise ProtocolError(f"the answer is {what}", cause="body") from None
    value, expires_at_s = answer.value, answer.expires_at
    if value is UNSET:
        value, expires_at_s = answer.backend_value, answer.backend_expires_at
    if value is UNSET or expires_at_s is UNSET:
        raise ProtocolError("the answer holds no client secret with its expiry", cause="body")
    if not is_header_safe(value):
        raise ProtocolError("the client secret is empty, too long, or holds characters no header may", cause="secret")
    if not math.isfinite(expires_at_s):
        raise ProtocolError("the expiry of the client secret is no point in time", cause="expiry")
    return ClientSecret(Secret(value), expires_at_s)


def encode_backend_answer(minted: ClientSecret) -> bytes:
    """The token backend's answer to a device."""
    return msgspec.json.encode({"clientSecret": minted.secret.value, "expiresAt": int(minted.expires_at_s)})


def encode_mint_request(*, ttl_s: int | None = None, model: str | None = None) -> bytes:
    """Body of the provider's mint; what is None is left to the provider."""
    request: dict[str, object] = {}
    if ttl_s is not None:
        request["expires_after"] = {"anchor": "created_at", "seconds": ttl_s}
    if model is not None:
        request["session"] = {"type": "realtime", "model": model}
    return msgspec.json.encode(request)


def mint_bearer(key: Secret | None, url: str, path: str) -> str:
    """Authorization header of the provider's mint. The local server mints for any bearer, so it needs no key.

    Raises:
        ConfigurationError: no key, and the provider (setting `path`) is not on this machine.
    """
    if key is not None:
        return f"Bearer {key.value}"
    if is_loopback(urlsplit(url).hostname or ""):
        return "Bearer local"
    ways = "the systemd credential openai_api_key, OPENAI_API_KEY_FILE or OPENAI_API_KEY"
    raise ConfigurationError([Problem(path, f"this provider needs an API key; give it by {ways}")])


def public_url(url: str) -> str:
    """The URL as it may be shown: a query could hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def is_private(url: str) -> bool:
    """Tell whether nobody on the network can read what is sent to this URL: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")
