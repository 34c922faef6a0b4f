"""A TCP relay on loopback that people put between their own client and server, with toxics that change while it runs.

It listens on 127.0.0.1 and speaks to this machine only: it is a test bench, not a way into a network.
"""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio
from trio.abc import HalfCloseableStream

from pipeline.proving.catalogue import Toxic
from pipeline.proving.connection import Connection, Statistics, reset
from pipeline.proving.faults import Faults
from pipeline.proving.handshakes import Handshake, Impersonation
from pipeline.proving.impostor import Impostor
from pipeline.proving.toxics import Ending
from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem

HOST: Final = "127.0.0.1"
MAX_CONNECTIONS: Final = 256
"""Two descriptors each, under the usual limit of 1,024; one more is reset."""
CONNECT_DEADLINE_S: Final = 10.0
"""For the upstream to accept; on this machine it takes less than a millisecond."""


class Upstream(NamedTuple):
    """Where the relay forwards to."""

    host: str
    port: int


class Relay:
    """Forwards what connects to it, under its faults.

    Args:
        upstream: where to.
        toxics: the faults from the start.
        seed: of all dice.
    """

    def __init__(self, upstream: Upstream, toxics: Sequence[Toxic] = (), *, seed: int = 0) -> None:
        self.faults = Faults(toxics)
        self.statistics = Statistics()
        self.connections: dict[int, Connection] = {}
        """Those that are open, by their number."""
        self._upstream = upstream
        self._seed = seed

    async def serve(self, port: int, *, listening: Callable[[int], None]) -> None:
        """Relay until cancelled; port 0 takes a free one and `listening` is told which.

        While the toxic `down` is in use the port is not listened on, so that connecting is refused by the kernel.

        Raises:
            AlreadyRunningError: the port is taken.
        """
        listeners = await listen(port, "--listen")
        port = listeners[0].socket.getsockname()[1]
        listening(port)
        async with trio.open_nursery() as connections:
            while True:
                await self._accept_until_down(listeners, connections)
                while self.faults.down:
                    await self.faults.changed.wait()
                listeners = await listen(port, "--listen")

    async def _accept_until_down(self, listeners: list[trio.SocketListener], connections: trio.Nursery) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, self._accept, listeners, handler_nursery=connections))
            while not self.faults.down:
                await self.faults.changed.wait()
            nursery.cancel_scope.cancel()

    async def _accept(self, client: trio.SocketStream) -> None:
        """One connection from accept to end; a client whose upstream cannot be reached is reset."""
        statistics = self.statistics
        if statistics.open >= MAX_CONNECTIONS:
            statistics.refused += 1
            await reset(client)
            return
        statistics.connections += 1
        statistics.open += 1
        try:
            await self._relay(client, statistics.connections)
        finally:
            statistics.open -= 1

    async def _relay(self, client: trio.SocketStream, number: int) -> None:
        seed = f"{self._seed}/{number}"
        handshake = self.faults.meet(Random(seed))  # noqa: S311 - reproducible, not a secret
        self.statistics.handshake_faults += handshake is not None
        there = await self._connect(handshake)
        if there is None:
            self.statistics.refused += 1
            await reset(client)
            return
        connection = Connection(client, there, self.faults, self.statistics, seed=seed, handshake=handshake)
        self.connections[number] = connection
        try:
            ending = await connection.carry()
            self.statistics.reset += ending is Ending.RESET
        finally:
            del self.connections[number]

    async def _connect(self, handshake: Handshake | None) -> HalfCloseableStream | None:
        if isinstance(handshake, Impersonation):
            return Impostor(handshake.answer)
        with trio.move_on_after(CONNECT_DEADLINE_S), suppress(OSError):
            return await trio.open_tcp_stream(*self._upstream)
        return None


async def listen(port: int, option: str) -> list[trio.SocketListener]:
    """Listen on this port of loopback, 0 for a free one; `option` is what chooses another.

    Raises:
        AlreadyRunningError: the port is taken, or only for root.
    """
    try:
        return await trio.open_tcp_listeners(port, host=HOST)
    except OSError as refused:
        if refused.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        message = f"port {port} on {HOST} cannot be listened on: {refused.strerror}; choose another: {option} PORT"
        raise AlreadyRunningError(message) from refused


def parse_upstream(text: str) -> Upstream:
    """`PORT` or `HOST:PORT` of this machine.

    Raises:
        ConfigurationError: not a port from 1 to 65535, or another machine.
    """
    try:
        parts = urlsplit(f"//127.0.0.1:{text}" if text.isdecimal() else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or text.rpartition(":")[2] != str(port):
        raise ConfigurationError([Problem("upstream", "must be PORT or HOST:PORT with a port from 1 to 65535")])
    if not is_loopback(host):
        message = "must be this machine (127.0.0.1, ::1, localhost): the relay forwards to no other"
        raise ConfigurationError([Problem("upstream", message)])
    return Upstream(host, port)
