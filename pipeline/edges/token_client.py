"""Client secrets over HTTP: from the token backend, or from the provider itself on machines that may hold its key."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import trio

from pipeline.core.credential import remaining_life_s
from pipeline.core.retry import parse_http_date, parse_retry_after
from pipeline.edges.interfaces import Minted
from pipeline.edges.lean_httpx import httpx
from pipeline.edges.wire_faults import network_error, tls_error
from pipeline.realtime.client_secrets import (
    DEVICE_HEADER,
    MAX_ANSWER_BYTES,
    PROVIDER_KEY,
    REFUSAL_HEADER,
    decode_client_secret,
    encode_mint_request,
    is_device_id,
    is_private,
    mint_bearer,
    public_url,
)
from pipeline.vocabulary.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialRefusedError,
    Problem,
    ProtocolError,
    ServiceBusyError,
    WireError,
)
from pipeline.vocabulary.settings import TokenSettings
from pipeline.vocabulary.signals import Secret


class TokenClient:
    """A TokenSource over HTTP.

    Every mint opens its own connection: mints are most of an hour apart, so a kept one would be dead by then and cost
    a failed attempt after every change of network. Thus there is also nothing to close.

    Proxy variables and .netrc are not looked at: the secret goes where `token.url` says and nowhere else.
    """

    def __init__(
        self,
        settings: TokenSettings,
        *,
        model: str,
        key: Secret | None,
        transport: httpx.AsyncBaseTransport | None = None,
        wall_s: Callable[[], float] | None = None,
    ) -> None:
        """Prepare the one request that every mint sends. The settings were checked by `vocabulary.configuration`.

        Args:
            settings: where, and how long it may take.
            model: the secret is for.
            key: of the provider, if it is asked directly.
            transport: carries the request; the simulation gives its own, real ones are httpx's.
            wall_s: this machine's Unix time, only used where a server sends no Date.

        Raises:
            ConfigurationError: url or device_id cannot be used, or the provider needs a key and there is none.
        """
        self._settings = settings
        self._transport = transport
        self._wall_s = wall_s or _wall_s
        self._shown = f"token.url ({public_url(settings.url)})"
        self._request = _mint_request(settings, model, key)
        # Plain http needs no authorities, and reading them takes 20 ms; the empty context would trust nobody.
        https = settings.url.startswith("https")
        self._tls = ssl.create_default_context() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def mint(self) -> Minted:
        """Ask for a fresh client secret; never takes longer than `token.deadline_s`.

        Raises:
            ConnectionLostError: no answer; its cause is one of `wire_faults`, or timeout, reset, http.
            ServiceBusyError: 429 or 5xx.
            CredentialRefusedError: 401 or 403.
            ProtocolError: an answer that is no usable secret.
        """
        try:
            with trio.fail_after(self._settings.deadline_s):
                return await self._ask()
        except trio.TooSlowError as error:
            message = f"{self._shown} did not answer within {self._settings.deadline_s:g} s"
            raise ConnectionLostError(f"{message}; is it running?", cause="timeout") from error
        except (httpx.TransportError, UnicodeError) as error:
            raise self._lost(error) from error

    async def _ask(self) -> Minted:
        async with httpx.AsyncClient(
            verify=self._tls,
            trust_env=False,
            timeout=None,  # see mint
            transport=self._transport,
        ) as client:
            response = await client.send(self._request, stream=True, follow_redirects=False)
            try:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(response)
                return self._minted(await self._read(response), response.headers.get("Date"))
            finally:
                await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ProtocolError(f"{self._shown} answered compressed, which was not asked for", cause="encoding")
        body = bytearray()
        try:
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    # Leaving the loop would leave httpx's nested generators to the garbage collector; a read from a
                    # closed connection ends them all.
                    await response.aclose()
        except httpx.ReadError:
            if len(body) <= MAX_ANSWER_BYTES:
                raise
        if len(body) > MAX_ANSWER_BYTES:
            message = f"{self._shown} answered more than {MAX_ANSWER_BYTES // 1024} KiB; check the address"
            raise ProtocolError(message, cause="body")
        return bytes(body)

    def _minted(self, body: bytes, date: str | None) -> Minted:
        try:
            answer = decode_client_secret(body)
            life_s = remaining_life_s(answer.expires_at_s, date=date, wall_s=self._wall_s())
        except ProtocolError as error:
            message = f"{self._shown} gave no usable client secret: {error.message}; check the address"
            raise ProtocolError(message, cause=error.cause) from error
        return Minted(answer.secret, life_s)

    def _refusal(self, response: httpx.Response) -> WireError:
        status = response.status_code
        said, cause = f"{self._shown} answered {status}", f"status_{status}"
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            what = "the API key" if self._settings.source == "provider" else "token.device_id"
            return CredentialRefusedError(f"{said}: it refuses this machine; check {what}", cause=cause)
        if response.headers.get(REFUSAL_HEADER) == PROVIDER_KEY:
            message = f"{said}: the provider refuses the key of this token backend; its owner must check it"
            return CredentialRefusedError(message, cause="provider_key")
        if status == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            date_s = parse_http_date(response.headers.get("Date"))
            pause_s = parse_retry_after(
                response.headers.get("Retry-After"), self._wall_s() if date_s is None else date_s
            )
            return ServiceBusyError(f"{said}: it is busy or broken; trying later", cause=cause, retry_after_s=pause_s)
        if 300 <= status < 400:
            hint = "redirects are not followed; does this network want a login first?"
        elif status == httpx.codes.NOT_FOUND:
            hint = "nothing is there; check the path"
        else:
            hint = "not a client secret; check the address"
        return ProtocolError(f"{said}: {hint}", cause=cause)

    def _lost(self, error: httpx.TransportError | UnicodeError) -> ConnectionLostError:
        if isinstance(error, UnicodeError):
            return network_error(self._shown, error)
        if isinstance(error, httpx.ConnectError):
            source = _origin(error)
            return network_error(self._shown, source) if isinstance(source, OSError) else tls_error(self._shown, error)
        if isinstance(error, httpx.ReadError | httpx.WriteError):
            return ConnectionLostError(f"{self._shown} cut the connection", cause="reset")
        message = f"{self._shown} broke off its answer, or does not speak HTTP; check the address"
        return ConnectionLostError(message, cause="http")


def _mint_request(settings: TokenSettings, model: str, key: Secret | None) -> httpx.Request:
    assert is_private(settings.url), "the configuration lets plain http pass for this machine only"
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        if settings.source == "provider":
            headers |= {
                "Authorization": mint_bearer(key, settings.url, "token.url"),
                "Content-Type": "application/json",
            }
            return httpx.Request("POST", settings.url, headers=headers, content=encode_mint_request(model=model))
        if not is_device_id(settings.device_id):
            message = "must be 1 to 64 ASCII letters, digits, dots, colons, dashes or underscores"
            raise ConfigurationError([Problem("token.device_id", message)])
        return httpx.Request("GET", settings.url, headers=headers | {DEVICE_HEADER: settings.device_id})
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError([Problem("token.url", "is no URL with a valid host name")]) from error


def _origin(error: BaseException) -> BaseException | None:
    """Where connecting failed: OSError means TCP or its name look-up, trio's BrokenResourceError the TLS above it."""
    source: BaseException | None = error
    while source is not None and not isinstance(source, OSError | trio.BrokenResourceError):
        source = source.__cause__ or source.__context__  # httpx wraps httpcore, which wraps one of the two
    return source


def _wall_s() -> float:
    """What the machine's own clock says."""
    return datetime.now(UTC).timestamp()
