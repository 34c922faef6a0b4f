"""The local Realtime server on one port: sessions over WebSocket, REST beside them, the control API.

A thin shell: who may come in is decided in `admission.py`, what is said in `conversation.py`, what goes wrong on
purpose in `faults/`.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio

from pipeline.realtime.codec import encode
from pipeline.realtime.dialects import DIALECTS
from pipeline.realtime.events import ErrorBody, ErrorEvent
from pipeline.server.admission import Admission, Admitted, Refusal
from pipeline.server.control import PREFIX as CONTROL_PREFIX
from pipeline.server.control import control_app
from pipeline.server.conversation import Conversation
from pipeline.server.engine_pool import EnginePool
from pipeline.server.engines.interfaces import Engines
from pipeline.server.fault_board import FaultBoard
from pipeline.server.faults.catalogue import Fault
from pipeline.server.faults.door import ExpiredKey
from pipeline.server.faulty_socket import FaultySocket
from pipeline.server.ids import new_id
from pipeline.server.listener import bind, serve_connections
from pipeline.server.rest.app import rest_app
from pipeline.server.session import Session
from pipeline.server.websocket import Disconnected, Message, WebSocket
from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret

UNAUTHORIZED: Final = msgspec.json.encode(
    {"error": {"code": "401", "message": "The key is missing, wrong, or for another resource."}}
)
"""What Azure answers to an upgrade, in its own shape of an error."""

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
    faults: Sequence[Fault] = (),
    fault_seed: int = 0,
) -> None:
    """Serve until cancelled or `shutdown` is set; open sessions are closed with 1001 and it returns within 2 s.

    Args:
        settings: section `[server]`; port 0 takes any free one.
        engines: made in a worker thread while the server already listens: what is said meanwhile is heard, and
            answered once recogniser and voice are there.
        api_key: the only key that mints client secrets, and opens sessions itself. Without one, on loopback, any
            bearer passes for it.
        listening: called with the port when sessions can be opened.
        ready: called with the port when all engines are loaded.
        shutdown: ends the server when set.
        faults: that every connection meets, until the control API changes them.
        fault_seed: of their dice.

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
    app = _App(settings, api_key, engines, FaultBoard(faults, fault_seed))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_connections, listener, app, lasting=settings.max_sessions))
        if api_key is None:
            log = structlog.get_logger("talkwire.server")
            log.warning("no API key is configured: any bearer on this machine passes for it", port=port)
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

    def __init__(self, settings: ServerSettings, api_key: Secret | None, engines: Engines, board: FaultBoard) -> None:
        self.engines = EnginePool(engines)
        self._board = board
        self._settings = settings
        self._dialect = DIALECTS[settings.dialect]
        self._admission = Admission(
            api_key, voice=settings.voice, max_sessions=settings.max_sessions, dialect=self._dialect
        )
        self._rest = rest_app(self._admission, self.engines, settings, unix_now)
        self._control = control_app(board, self._admission.may_use_rest)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            line = self._board.connect(trio.current_time())
            with suppress(Disconnected):
                await self._websocket(FaultySocket(scope, receive, send, line), scope["path"])
        elif scope["path"].startswith(CONTROL_PREFIX):
            await self._control(scope, receive, send)
        else:
            scope["path"] = scope["path"].removeprefix(self._dialect.http_prefix)
            await self._rest(scope, receive, send)

    async def _websocket(self, socket: FaultySocket, path: str) -> None:
        route = self._dialect.routes.get(path.rstrip("/"))
        if route is None or not all(map(socket.parameter, route.required)):
            await socket.reject()
            return
        if self._dialect.refuses_by_status and not self._admission.knows(socket.key, unix_now()):
            await socket.refuse(401, UNAUTHORIZED)
            return
        socket.speak(route.shape and route.shape())
        await socket.accept()
        answer = self._admission.admit(
            socket.key,
            model=socket.parameter(route.model),
            intent=socket.parameter("intent"),
            beta=socket.header("openai-beta") is not None,
            busy=self.engines.overloaded,
            now=unix_now(),
        )
        match answer:
            case Refusal():
                await _refuse(socket, answer)
            case Admitted():
                if answer.expired:
                    socket.use((ExpiredKey(), *socket.line.faults))
                try:
                    await self._converse(socket, self._conversation(answer))
                finally:
                    self._admission.leave()

    async def _converse(self, socket: FaultySocket, conversation: Conversation) -> None:
        session_id = conversation.session.id or ""
        with self._board.connected(session_id, socket, trio.current_time()):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(socket.pump)
                await Session(socket, conversation, self.engines).run()
                nursery.cancel_scope.cancel()

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
