"""Accepts connections and hands each to anycorn's protocol, keeping the means to cut it.

`anycorn.serve` is not used because anycorn shields every send: a peer that stops reading would hold its session, and
the server's own shutdown, for as long as it likes. Here each ASGI scope carries `state["abort"]`, which closes the
socket under such a send, and `state["gate"]`, which faults shut. Bypassing `serve` also bypasses its lifespan protocol,
which breaks cancellation.
"""

import errno
import functools
import socket
import struct
from typing import Final, cast

import anyio
import anyio.abc
import trio
from anycorn.config import Config
from anycorn.tcp_server import TCPServer
from anycorn.typing import ASGIFramework, ConnectionState
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext

from pipeline.server.gate import GatedStream
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem

BACKLOG: Final = 128
"""Connections the kernel holds while the loop is busy."""
PING_INTERVAL_S: Final = 20.0
"""As the real service."""
UNREAD_DEADLINE_MS: Final = 30_000
"""A peer that takes nothing, not even a ping, for this long is gone: the kernel cuts the connection."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The protocol allows appends of 15 MiB; the envelope needs a little more."""
MAX_WAITING_MESSAGES: Final = 4
"""Messages between socket and session; a session that waits for its engines lets TCP push back."""


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


async def serve_connections(listening: socket.socket, app: ASGIFramework) -> None:
    """Serve HTTP and WebSockets on this socket until cancelled; connections end with it."""
    config = Config()
    config.accesslog = None
    config.websocket_ping_interval = PING_INTERVAL_S
    config.websocket_max_message_size = MAX_MESSAGE_BYTES
    config.websocket_permessage_deflate = False  # sound does not shrink, and a compressed bomb would
    config.max_app_queue_size = MAX_WAITING_MESSAGES
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    context = WorkerContext(None)

    async def serve_one(stream: anyio.abc.SocketStream) -> None:
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - anyio's typed attributes, not Django
        gated = GatedStream(stream)
        state = ConnectionState({"abort": functools.partial(_abort, gated, raw), "gate": gated})
        await TCPServer(wrapped, config, context, state, cast("anyio.abc.SocketStream", gated)).run()

    async with await anyio.abc.SocketListener.from_socket(listening) as listener:
        await listener.serve(serve_one)
        raise AssertionError("a listener serves until it is cancelled")


async def _abort(stream: anyio.abc.ByteStream, raw: socket.socket) -> None:
    linger_none = struct.pack("ii", 1, 0)  # a reset: nothing that is still unsent lingers in the kernel
    with trio.CancelScope(shield=True):
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        except OSError:  # closed meanwhile
            return
        await stream.aclose()
