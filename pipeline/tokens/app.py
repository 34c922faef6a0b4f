"""The token backend: `GET /realtime/token` gives a device a client secret; the provider's key never leaves it.

anycorn carries litestar inside the caller's nursery; what is decided stands in `policy`.
"""

import errno
import logging
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import anycorn
import httpx
import structlog
import trio
from anycorn.config import Sockets
from anycorn.typing import ASGIFramework
from litestar import Litestar, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.types import ASGIApp

from pipeline.realtime.client_secrets import (
    DEVICE_HEADER,
    MAX_ANSWER_BYTES,
    encode_mint_request,
    is_device_id,
    is_private,
    mint_bearer,
)
from pipeline.tokens.policy import Answer, MintLimit, judge_provider, refuse
from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem
from pipeline.vocabulary.settings import TokensSettings
from pipeline.vocabulary.signals import Secret

PATH = "/realtime/token"
MAX_MINTS = 32  # connections to the provider at once; more devices wait, under the same deadline
SLOW_CLIENT_S = 10  # s: a client that takes longer to send its few header lines is cut off
MAX_REQUESTS = (
    100  # per connection: about 30 KiB of answers fit into any socket buffer, so no send can be stuck at shutdown
)

_log = structlog.get_logger("talkwire.tokens")


async def serve(settings: TokensSettings, *, key: Secret | None, ready: Callable[[int], None]) -> None:
    """Serve until cancelled; `ready` is called with the port (the one chosen, if the setting is 0) once it listens.

    Raises:
        ConfigurationError: host or provider_url cannot be used, or that provider needs a key and there is none.
        AlreadyRunningError: the port is taken.
    """
    with _listen(settings) as listener:
        async with _provider_client(settings.provider_url, key) as provider, trio.open_nursery() as nursery:
            app = _without_lifespan(_routes(_Mint(settings, provider)))
            config = _ServerConfig(listener)
            await nursery.start(lambda task_status: anycorn.serve(app, config, task_status=task_status, mode="asgi"))
            ready(listener.getsockname()[1])


class _Mint:
    """One mint for one device, from its header to our answer."""

    def __init__(self, settings: TokensSettings, provider: httpx.AsyncClient) -> None:
        self._settings = settings
        self._provider = provider
        self._limit = MintLimit(settings.mints_per_minute)
        self._body = encode_mint_request(ttl_s=settings.secret_ttl_s)

    async def answer(self, device: str | None) -> Answer:
        """Ask the provider on behalf of this device, unless it may not."""
        if device is None or not is_device_id(device):
            rule = "1 to 64 ASCII letters, digits, dots, colons, dashes or underscores"
            return refuse(HTTPStatus.BAD_REQUEST, f"the header {DEVICE_HEADER} must name the device: {rule}")
        pause_s = self._limit.take(device, trio.current_time())
        if pause_s is None:
            answer = await self._ask()
        else:
            answer = refuse(HTTPStatus.TOO_MANY_REQUESTS, "too many client secrets asked for", retry_after_s=pause_s)
        _log.info("token", device=device, status=answer.status)
        return answer

    async def _ask(self) -> Answer:
        try:
            with trio.fail_after(self._settings.deadline_s):
                return await self._post()
        except trio.TooSlowError:
            return refuse(HTTPStatus.GATEWAY_TIMEOUT, "the provider did not answer in time; try again later")
        except (httpx.TransportError, UnicodeError) as error:
            _log.warning("provider unreachable", url_setting="tokens.provider_url", reason=type(error).__name__)
            return refuse(HTTPStatus.BAD_GATEWAY, "the provider cannot be reached; try again later")

    async def _post(self) -> Answer:
        url = self._settings.provider_url
        async with self._provider.stream("POST", url, content=self._body, follow_redirects=False) as response:
            body = await _read(response)
        return judge_provider(
            response.status_code,
            body,
            date=response.headers.get("Date"),
            retry_after=response.headers.get("Retry-After"),
            wall_s=datetime.now(UTC).timestamp(),
        )


async def _read(response: httpx.Response) -> bytes:
    """The body, but hardly more of it than a mint's answer can hold."""
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
    return bytes(body)


def _routes(mint: _Mint) -> ASGIApp:
    @get(PATH)
    async def token(request: Request[Any, Any, Any]) -> Response[bytes]:
        if request.scope["raw_path"] != PATH.encode():  # litestar also takes //realtime/token and %2F
            raise NotFoundException
        answer = await mint.answer(request.headers.get(DEVICE_HEADER))
        return Response(answer.body, status_code=answer.status, headers=answer.headers)

    @get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    # No OpenAPI page: its scripts would come from the network. No logging set-up: that is the program's.
    return Litestar([token, health], openapi_config=None, logging_config=None)


def _provider_client(url: str, key: Secret | None) -> httpx.AsyncClient:
    """One client for the backend's life: many devices share its connections to the provider."""
    assert is_private(url), "the configuration lets plain http pass for this machine only"
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError([Problem("tokens.provider_url", "is no URL with a valid host name")]) from error
    return httpx.AsyncClient(
        headers={
            "Authorization": mint_bearer(key, url, "tokens.provider_url"),
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
        # Plain http needs no authorities, and reading them takes 20 ms; the empty context would trust nobody.
        verify=ssl.create_default_context() if url.startswith("https") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        trust_env=False,  # the key goes to provider_url and nowhere else, whatever proxy variables say
        timeout=None,  # noqa: S113  every mint runs under deadline_s
        limits=httpx.Limits(max_connections=MAX_MINTS),
    )


def _listen(settings: TokensSettings) -> socket.socket:
    """A listening socket, made here so that what can go wrong is told in our words."""
    if not is_loopback(settings.host):
        message = "must be an address of this machine (127.0.0.1, ::1): devices cannot prove who they are yet"
        raise ConfigurationError([Problem("tokens.host", f"{message}; let a proxy that checks them stand in front")])
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            message = f"port {settings.port} is taken; is a token backend running already? Choose another with --port"
            raise AlreadyRunningError(message) from error
        problem = Problem("tokens.port", f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
        raise ConfigurationError([problem]) from error
    listener.setblocking(False)
    return listener


class _ServerConfig(anycorn.Config):
    """anycorn on a socket that listens already; it speaks through the program's logging, without access lines."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__()
        self._listener = listener
        self.errorlog = logging.getLogger("anycorn.error")
        self.include_server_header = False
        self.read_timeout = SLOW_CLIENT_S
        self.keep_alive_max_requests = MAX_REQUESTS

    def create_sockets(self) -> Sockets:
        return Sockets(secure_sockets=[], insecure_sockets=[self._listener], quic_sockets=[])


def _without_lifespan(app: ASGIApp) -> ASGIFramework:
    """Answer the lifespan events: cancelled while a framework waits in them, anycorn raises LifespanFailureError.

    The parameters are Any because the two libraries give the same ASGI messages different types.
    """

    async def shim(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return shim
