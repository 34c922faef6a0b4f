"""WebSockets to the Realtime service on trio-websocket 0.12.2, guarded against the hazards of exactly that release.

The library gets a stream that is already connected and secured, runs in a task whose end never reaches the caller, and
is believed only as far as `guarded_stream` confirms it. Every phase has a deadline; no exception group, no exception of
another library and no secret leaves this module.
"""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import h11
import trio
import trio_websocket
from wsproto.utilities import ProtocolError as WsprotoError

from pipeline.edges.guarded_stream import GuardedStream
from pipeline.edges.interfaces import Connection
from pipeline.edges.keepalive import IDLE_ANSWER_S, Keepalive, RestUntil
from pipeline.edges.websocket_frame import text_frame
from pipeline.edges.wire_faults import close_error, network_error, status_error, tls_error
from pipeline.realtime.client_secrets import public_url
from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialRefusedError,
    Problem,
    WireError,
)
from pipeline.vocabulary.settings import ServiceSettings
from pipeline.vocabulary.signals import Secret

SEND_DEADLINE_S: Final = 2.0  # s: one message; audio that the network does not take for so long comes too late anyway
PING_DEADLINE_S: Final = IDLE_ANSWER_S  # s: the longest design §6 grants a pong
MAX_MESSAGE: Final = 16 * 1024 * 1024  # characters: the service sends events of 3.5 MB, nobody sends more than 15 MiB
QUEUE: Final = 64  # messages the reader may be ahead; a reader that waits answers no ping
READ_SIZE: Final = 65_536  # bytes per read: one audio event

_BREAKS: Final = (  # what comes out of the library's reader when the peer or the network misbehaves
    WireError,  # of the guard
    trio_websocket.ConnectionClosed,
    trio_websocket.HandshakeError,
    WsprotoError,
    h11.ProtocolError,  # wsproto lets it through when it wants to reject an answer
    ValueError,  # wsproto decodes header values without a check
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]


class Address(NamedTuple):
    """Where a service is, as the handshake needs it."""

    host: str
    port: int
    host_header: str
    target: str
    secure: bool


def parse_address(url: str, model: str) -> Address:
    """Take `service.url` apart and put `model` into its query.

    Raises:
        ConfigurationError: no ws or wss URL, or plain ws to another machine, which would send the secret in clear.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unusable("is not a URL with a valid host and port") from None
    secure = parts.scheme == "wss"
    if parts.scheme not in {"wss", "ws"} or not parts.hostname or not url.isascii() or not url.isprintable():
        raise _unusable("must be a wss:// URL")
    if not secure and not is_loopback(parts.hostname):
        raise _unusable("must begin with wss://: ws:// is only for this machine (127.0.0.1, ::1, localhost)")
    if "@" in parts.netloc or parts.fragment or " " in url:
        raise _unusable("must hold no user name, password, fragment or space")
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "model"]
    target = f"{parts.path or '/'}?{urlencode([*query, ('model', model)])}"
    return Address(parts.hostname, port or (443 if secure else 80), parts.netloc, target, secure)


class WebSocketConnector:
    """A Connector over TCP and TLS.

    Args:
        settings: where, and how long each phase may take.
        model: goes into the URL.
        open_stream: opens a TCP connection; the simulation gives memory streams. Failures are OSErrors.
        tls: verifies the service; by default against the certificates this machine trusts.
        wall_s: this machine's Unix time, only used where a server sends no Date.
        rest_until: how an idle line waits for its next ping; a simulation leaves out those whose answer is certain.

    Raises:
        ConfigurationError: `service.url` cannot be used.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        model: str,
        *,
        open_stream: OpenStream = trio.open_tcp_stream,
        tls: ssl.SSLContext | None = None,
        wall_s: Callable[[], float] | None = None,
        rest_until: RestUntil = trio.sleep_until,
    ) -> None:
        self._settings = settings
        self._rest_until = rest_until
        self._address = parse_address(settings.url, model)
        self._shown = f"service.url ({public_url(settings.url)})"
        self._open_stream = open_stream
        self._wall_s = wall_s or _wall_s
        # Reading all certificate authorities takes 20 ms, so once, and not for plain ws.
        self._tls = (tls or ssl.create_default_context()) if self._address.secure else None

    @asynccontextmanager
    async def connect(self, secret: Secret) -> AsyncGenerator[Connection, None]:
        """Connect; leaving closes within `close_deadline_s`, by force if need be. Raises as Connector says."""
        headers = [(b"Authorization", _bearer(secret))]
        deadline_s = trio.current_time() + self._settings.connect_deadline_s
        with _single_error():
            async with trio.open_nursery() as nursery:
                line = _Line(await self._reach(deadline_s), self._shown, self._wall_s(), self._rest_until)
                try:
                    nursery.start_soon(line.run, self._address, headers)
                    with self._by(deadline_s, "the WebSocket handshake"):
                        await line.wait_open()
                    yield line
                finally:
                    await line.close(self._settings.close_deadline_s)

    async def _reach(self, deadline_s: float) -> trio.abc.Stream:
        """A connection to the service over which the handshake can be sent."""
        host, port = self._address.host, self._address.port
        try:
            with self._by(deadline_s, "the TCP connection"):
                stream = await self._open_stream(host, port)
        except (OSError, UnicodeError) as error:
            raise network_error(self._shown, error) from None
        if self._tls is None:
            return stream
        secured = trio.SSLStream(stream, self._tls, server_hostname=host, https_compatible=True)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(trio.aclose_forcefully, stream)
            try:
                with self._by(deadline_s, "the TLS handshake"):
                    await secured.do_handshake()  # inside the library a bad certificate is a silent minute
            except trio.BrokenResourceError as error:
                raise tls_error(self._shown, error) from None
            undo.pop_all()
        return secured

    @contextmanager
    def _by(self, deadline_s: float, phase: str) -> Iterator[None]:
        try:
            with trio.fail_at(deadline_s):
                yield
        except trio.TooSlowError:
            message = f"{self._shown} did not finish {phase} within {self._settings.connect_deadline_s:g} s"
            raise ConnectionLostError(message, cause="timeout") from None


class _Line:
    """One WebSocket (Connection) and the task that runs the library on it."""

    def __init__(self, stream: trio.abc.Stream, shown: str, wall_s: float, rest_until: RestUntil) -> None:
        judge = partial(status_error, shown, wall_s=wall_s)
        self._stream = GuardedStream(stream, shown, judge)
        self._keepalive = Keepalive(self.ping, lambda: self._stream.alive_s, rest_until)
        self._shown = shown
        self._socket: trio_websocket.WebSocketConnection | None = None
        self._pings: trio.Nursery | None = None  # open as long as the library's reader lives
        self._settled = trio.Event()  # open, or over before it was
        self._life = trio.CancelScope(shield=True)  # the reader outlives its caller's cancellation: closing needs it
        self._closing = trio.CancelScope(shield=True)

    async def run(self, address: Address, headers: list[tuple[bytes, bytes]]) -> None:
        """Run the library until the line is over. What it ends with is asked of `_loss`, never raised."""
        with self._life:
            async with trio.open_nursery() as self._pings:
                try:
                    async with trio.open_nursery() as library:
                        self._socket = await trio_websocket.wrap_client_stream(
                            library,
                            self._stream,  # type: ignore[arg-type]  # it works, and is tested, over any stream
                            address.host_header,
                            address.target,
                            extra_headers=headers,
                            message_queue_size=QUEUE,
                            max_message_size=MAX_MESSAGE,
                            receive_buffer_size=READ_SIZE,
                        )
                        self._settled.set()
                        self._pings.start_soon(self._keepalive.run)
                except* _BREAKS:
                    pass  # the guard knows why, or nothing is known but that the peer broke the protocol
                self._pings.cancel_scope.cancel()
        self._pings = None
        self._settled.set()
        self._closing.cancel()

    async def wait_open(self) -> None:
        """Wait for the end of the opening handshake. Raises what it failed of."""
        await self._settled.wait()
        self._demand_life()

    async def send(self, text: str) -> None:
        """Send one message, whole whatever happens to the caller meanwhile. Raises WireError."""
        self._demand_life()  # no frame may follow a close frame; `closed` is set before one is sent
        with trio.move_on_after(SEND_DEADLINE_S, shield=True) as patience:
            try:
                await self._stream.send_all(text_frame(text))  # beside the library, in half its time
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self._let_go()  # so that the library's reader knows it, too
                raise self._loss() from None
        if patience.cancelled_caught:  # half a frame may be on the wire: nothing can follow it
            await self._end(f"{self._shown} takes no data", "send_timeout")
            raise self._loss()
        self._keepalive.sent()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def receive(self) -> str:
        """The next message. Raises WireError at once when the line is over.

        A binary message comes as text too (bad UTF-8 replaced): whoever decodes the event says what is wrong with it.
        """
        assert self._socket is not None, "only an open line is handed out"
        try:
            message = await self._socket.get_message()
        except trio_websocket.ConnectionClosed:
            raise self._loss() from None
        return message if isinstance(message, str) else bytes(message).decode(errors="replace")

    async def ping(self, patience_s: float = PING_DEADLINE_S) -> None:
        """Ping and wait for the pong. Raises WireError when the line ends; `patience_s` without a sign of life end it.

        Other bytes are such a sign, too: the pong may have to wait behind a long message on a slow line.
        """
        self._demand_life()
        assert self._pings is not None, "an open line takes pings"
        over, asked_s = trio.Event(), trio.current_time()
        self._pings.start_soon(self._ping, over)  # a task of its own: a caller that leaves must not cut the frame
        while not over.is_set():
            with trio.move_on_at(max(asked_s, self._stream.alive_s) + patience_s):
                await over.wait()
                break
            for _ in range(2):  # perhaps it was us who stood still: what has come meanwhile is read first
                await trio.lowlevel.checkpoint()
            if trio.current_time() >= max(asked_s, self._stream.alive_s) + patience_s and not over.is_set():
                await self._end(f"{self._shown} does not answer pings", "ping_timeout")
                break
        self._demand_life()

    async def close(self, deadline_s: float) -> None:
        """Close politely within `deadline_s`, then by force; also when the caller is cancelled."""
        self._closing.deadline = trio.current_time() + deadline_s
        try:
            if self._socket is not None:
                with self._closing:
                    await self._socket.aclose()
            await trio.aclose_forcefully(self._stream)
        finally:
            self._life.cancel()

    async def _ping(self, over: trio.Event) -> None:
        assert self._socket is not None, "an open line has a socket"
        try:
            await self._socket.ping()
        except (trio_websocket.ConnectionClosed, WsprotoError):
            pass  # the caller asks what the line ended with
        finally:
            over.set()

    async def _end(self, message: str, cause: str) -> None:
        """Give the line up: with its stream gone, whoever waits on it is told at once."""
        self._stream.lose(ConnectionLostError(message, cause=cause))
        await self._let_go()

    async def _let_go(self) -> None:
        """Close by force, at once. A caller that is cancelled meanwhile is told of the loss: its message did not go."""
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    def _demand_life(self) -> None:
        if self._pings is None or self._stream.loss is not None or (self._socket and self._socket.closed):
            raise self._loss()

    def _loss(self) -> WireError:
        """What the line ended with: a close frame of the peer, else what the guard saw, else a breach of protocol."""
        closed = None if self._socket is None else self._socket.closed
        if closed is not None and closed.code != 1006:  # 1006 is the library's word for "no close frame"
            return close_error(self._shown, closed.code, closed.reason)
        return self._stream.loss or ConnectionLostError(f"{self._shown} broke the WebSocket protocol", cause="protocol")


@contextmanager
def _single_error() -> Iterator[None]:
    """Free the one error of a nursery's body from its group: the line's own task raises nothing."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
    else:
        return
    raise error


def _bearer(secret: Secret) -> bytes:
    value = secret.value
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        # Checked here, for the library would quote the value in its exception.
        raise CredentialRefusedError(
            "the client secret cannot stand in a header; check where it comes from", cause="secret"
        )
    return b"Bearer " + value.encode()


def _wall_s() -> float:
    """What the machine's own clock says."""
    return datetime.now(UTC).timestamp()


def _unusable(message: str) -> ConfigurationError:
    return ConfigurationError([Problem("service.url", message)])
