"""Accepts connections and hands each to anycorn's protocol, keeping the means to cut it.

`anycorn.serve` is not used because anycorn shields every send: a peer that stops reading would hold its session, and
the server's own shutdown, for as long as it likes. Here each ASGI scope carries `state["abort"]`, which closes the
socket under such a send, and `state["gate"]`, which faults shut. Bypassing `serve` also bypasses its lifespan protocol,
which breaks cancellation.

What strangers may cost before they are a session is bounded here: how many connections there are, how long one may
take for its request's headers, how long a message may be.
"""

import errno
import socket
from typing import Final, cast

import anyio.abc
import trio
from anycorn.config import Config
from anycorn.tcp_server import TCPServer
from anycorn.typing import ASGIFramework, ConnectionState
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext

from pipeline.server.gate import GatedStream
from pipeline.server.socket_stream import SocketStream
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem

BACKLOG: Final = 128
"""Connections the kernel holds while the loop is busy."""
HEADERS_DEADLINE_S: Final = 5.0
"""From the connection, or the last answer on it, to the end of the next request's headers."""
PING_INTERVAL_S: Final = 20.0
"""As the real service."""
UNREAD_DEADLINE_MS: Final = 30_000
"""A peer that takes nothing, not even a ping, for this long is gone: the kernel cuts the connection."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The protocol allows appends of 15 MiB; the envelope needs a little more."""
MAX_WAITING_MESSAGES: Final = 4
"""Messages between socket and session; a session that waits for its engines lets TCP push back."""
SPARE_CONNECTIONS: Final = 256
"""Beyond those that stay: for requests, and for clients who are told at the door that they cannot come in."""
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""`accept` can do nothing just now (accept(2)); connections that end make room."""
NO_ROOM_PAUSE_S: Final = 0.1


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one.

    Raises:
        AlreadyRunningError: the port is taken.
        ConfigurationError: the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_DEADLINE_MS)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as refused:
        listening.close()
        if refused.errno == errno.EADDRINUSE:
            message = (
                f"port {port} on {host} is taken, perhaps by another talkwire; stop it or choose another: --port N"
            )
            raise AlreadyRunningError(message) from refused
        problem = Problem("server.host", f"cannot listen on {host}, port {port}: {refused.strerror or refused}")
        raise ConfigurationError([problem]) from refused
    listening.setblocking(False)
    return listening


async def serve_connections(listening: socket.socket, app: ASGIFramework, *, lasting: int = 0) -> None:
    """Serve HTTP and WebSockets on this socket until cancelled; connections end with it.

    Args:
        listening: from `bind`.
        app: what to serve.
        lasting: how many connections may stay open for long. With SPARE_CONNECTIONS that is all there may be at once;
            whoever comes then waits in the kernel until one ends.
    """
    config = Config()
    config.accesslog = None
    config.keep_alive_timeout = HEADERS_DEADLINE_S
    config.websocket_ping_interval = PING_INTERVAL_S
    config.websocket_max_message_size = MAX_MESSAGE_BYTES
    config.websocket_permessage_deflate = False  # sound does not shrink, and a compressed bomb would
    config.max_app_queue_size = MAX_WAITING_MESSAGES
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    context = WorkerContext(None)
    room = trio.Semaphore(lasting + SPARE_CONNECTIONS)

    async def serve_one(accepted: trio.SocketStream) -> None:
        try:
            with trio.CancelScope() as life:  # anycorn's next ping alone would keep a connection that is over for 20 s
                stream = SocketStream(accepted, life)
                gated = GatedStream(stream)
                state = ConnectionState({"abort": stream.abort, "gate": gated})
                await TCPServer(wrapped, config, context, state, cast("anyio.abc.SocketStream", gated)).run()
        finally:
            room.release()

    with trio.socket.from_stdlib_socket(listening) as accepting:
        listener = trio.SocketListener(accepting)
        async with trio.open_nursery() as connections:
            while True:
                await room.acquire()
                connections.start_soon(serve_one, await _accepted(listener))


async def _accepted(listener: trio.SocketListener) -> trio.SocketStream:
    """The next connection; waits while the process has no descriptor or memory left for one."""
    while True:
        try:
            return await listener.accept()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        await trio.sleep(NO_ROOM_PAUSE_S)
