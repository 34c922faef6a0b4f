"""A whole server on a real port, and a client for it that shares no code with it."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from msgspec import structs
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from pipeline.server.app import serve
from pipeline.server.engines.interfaces import Engines
from pipeline.server.faults.catalogue import parse_fault
from pipeline.vocabulary import configuration
from pipeline.vocabulary.signals import Secret

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing here speaks TLS, and loading them takes 50 ms
SETTINGS = structs.replace(configuration.load().server, port=0)


class Client:
    """One WebSocket, read as events."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def say(self, *events: dict[str, Any]) -> None:
        for event in events:
            await self.socket.send(json.dumps(event))

    async def until(self, kind: str) -> list[dict[str, Any]]:
        events = [json.loads(await self.socket.recv())]
        while events[-1]["type"] != kind:
            events.append(json.loads(await self.socket.recv()))
        return events

    async def closing(self) -> tuple[list[dict[str, Any]], int]:
        events = []
        try:
            while True:
                events.append(json.loads(await self.socket.recv()))
        except ConnectionClosed:
            return events, self.socket.close_code

    async def pong(self) -> None:
        await (await self.socket.ping()).wait()


class Server:
    def __init__(self, port: int, shutdown: trio.Event, ended: trio.Event) -> None:
        self.port = port
        self._shutdown = shutdown
        self._ended = ended

    async def stop(self) -> None:
        self._shutdown.set()
        await self._ended.wait()

    async def http(self, method: str, path: str, body: Any = None, key: str | None = "sk-right") -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(verify=NO_CERTIFICATES) as client:
            content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
            return await client.request(method, f"http://127.0.0.1:{self.port}{path}", content=content, headers=headers)

    async def choose(self, *faults: dict[str, Any]) -> None:
        assert (await self.http("PUT", "/talkwire/faults", {"faults": faults})).status_code == 200

    async def sessions(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.http("GET", "/talkwire/sessions")).json()["sessions"]
        return listed

    @asynccontextmanager
    async def client(
        self, path: str = "/v1/realtime?model=m", headers: dict[str, str] | None = None, **more: Any
    ) -> AsyncIterator[Client]:
        url = f"ws://127.0.0.1:{self.port}{path}"
        headers = {"Authorization": "Bearer sk-right"} if headers is None else headers
        async with connect(url, additional_headers=headers, max_size=None, proxy=None, **more) as socket:
            yield Client(socket)


@asynccontextmanager
async def _serving(
    engines: Engines, *faults: str, api_key: str | None = "sk-right", **changes: Any
) -> AsyncIterator[Server]:
    tell, ports = trio.open_memory_channel[int](1)
    shutdown, ended = trio.Event(), trio.Event()

    async def run() -> None:
        await serve(
            structs.replace(SETTINGS, **changes),
            engines,
            api_key=Secret(api_key) if api_key else None,
            listening=tell.send_nowait,
            ready=lambda _: None,
            shutdown=shutdown,
            faults=[parse_fault(fault) for fault in faults],
        )
        ended.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield Server(await ports.receive(), shutdown, ended)
            nursery.cancel_scope.cancel()


@pytest.fixture
def serving(engines: Engines) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """Runs a server: `serving(*faults, api_key=..., **settings)`."""
    return partial(_serving, engines)
