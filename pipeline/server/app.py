"""The local Realtime server on one port: `/v1/realtime` (WebSocket), and REST beside it.

A thin shell: who may come in is decided in `admission.py`, what is said in `conversation.py`.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog
import trio

from pipeline.realtime.codec import encode
from pipeline.realtime.events import ErrorBody, ErrorEvent
from pipeline.server.admission import Admission, Admitted, Refusal
from pipeline.server.conversation import Conversation
from pipeline.server.engine_pool import EnginePool
from pipeline.server.engines.interfaces import Engines
from pipeline.server.ids import new_id
from pipeline.server.listener import bind, serve_connections
from pipeline.server.rest.app import rest_app
from pipeline.server.session import Session
from pipeline.server.websocket import Message, WebSocket
from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret

REALTIME_PATH: Final = "/v1/realtime"

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def serve(
    settings: ServerSettings,
    engines: Engines,
    *,
    api_key: Secret | None,
    listening: Callable[[int], None],
    ready: Callable[[int], None],
    shutdown: trio.Event | None = None,
) -> None:
    """Serve until cancelled or `shutdown` is set; open sessions are closed with 1001 and it returns within 2 s.

    Args:
        settings: section `[server]`; port 0 takes any free one.
        engines: made in a worker thread while the server already listens: what is said meanwhile is heard, and
            answered once recogniser and voice are there.
        api_key: the only key that mints client secrets, and opens sessions itself. Without one, on loopback, any
            bearer may mint.
        listening: called with the port when sessions can be opened.
        ready: called with the port when all engines are loaded.
        shutdown: ends the server when set.

    Raises:
        AlreadyRunningError: the port is taken.
        ConfigurationError: the host is not this machine's, or reachable by others although there is no key; or
            whatever loading the engines finds.
    """
    if api_key is None and not is_loopback(settings.host):
        message = f"{settings.host} can be reached by others; give an API key (OPENAI_API_KEY) or use 127.0.0.1"
        raise ConfigurationError([Problem("server.host", message)])
    listener = bind(settings.host, settings.port)
    port: int = listener.getsockname()[1]
    app = _App(settings, api_key, engines)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connections, listener, app)
        if api_key is None:
            log = structlog.get_logger("talkwire.server")
            log.warning("no API key is configured: any bearer on this machine may mint client secrets", port=port)
        listening(port)
        nursery.start_soon(_load, app.engines, partial(ready, port))
        if shutdown is not None:
            await shutdown.wait()
            nursery.cancel_scope.cancel()


async def _load(engines: EnginePool, ready: Callable[[], None]) -> None:
    await engines.load()
    ready()


class _App:
    """ASGI application: sessions here, everything else to the REST application."""

    def __init__(self, settings: ServerSettings, api_key: Secret | None, engines: Engines) -> None:
        self.engines = EnginePool(engines)
        self._settings = settings
        self._admission = Admission(api_key, voice=settings.voice, max_sessions=settings.max_sessions)
        self._rest = rest_app(self._admission, self.engines, settings, unix_now)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._websocket(WebSocket(scope, receive, send), scope["path"])
        else:
            await self._rest(scope, receive, send)

    async def _websocket(self, socket: WebSocket, path: str) -> None:
        if path.rstrip("/") != REALTIME_PATH:
            await socket.reject()
            return
        await socket.accept()
        answer = self._admission.admit(
            socket.key,
            model=socket.parameter("model"),
            intent=socket.parameter("intent"),
            beta=socket.header("openai-beta") is not None,
            now=unix_now(),
        )
        match answer:
            case Refusal():
                await _refuse(socket, answer)
            case Admitted():
                try:
                    await Session(socket, self._conversation(answer), self.engines).run()
                finally:
                    self._admission.leave()

    def _conversation(self, admitted: Admitted) -> Conversation:
        cap_s = self._settings.session_cap_s
        return Conversation(
            admitted.session(new_id("sess"), expires_at=int(unix_now() + cap_s)),
            new_id,
            expires_s=trio.current_time() + cap_s,
            cap_s=cap_s,
            tokens_per_minute=self._settings.tokens_per_minute,
        )


async def _refuse(socket: WebSocket, refusal: Refusal) -> None:
    """As the service does it: after the upgrade, as an event, then a close frame with code and reason."""
    body = ErrorBody(type="invalid_request_error", code=refusal.code, message=refusal.message)
    await socket.send(encode(ErrorEvent(event_id=new_id("event"), error=body)))
    await socket.close(refusal.close_code, refusal.reason)


def unix_now() -> float:
    """Wall time in s; only for what clients are told about expiry, never for waiting."""
    return datetime.now(UTC).timestamp()
