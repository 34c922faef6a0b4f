"""A tool server (MCP) on loopback for tests: real HTTP and JSON-RPC, written by hand, with every way to fail."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import h11
import trio

from pipeline.realtime.events import Tool

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
Tools = Callable[[Json], Json | str]

SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
WEATHER = {"name": "get_weather", "description": "Tells the weather.", "inputSchema": SCHEMA}


def result(message: Json, value: Json) -> Json:
    return {"jsonrpc": "2.0", "id": message.get("id"), "result": value}


def text(words: str, **more: Any) -> Json:
    return {"content": [{"type": "text", "text": words}], **more}


class ToolServer:
    """Answers as a server should, but for the methods in `odd`: these give status, headers and body themselves.

    Attributes:
        requests: (HTTP method, JSON-RPC method, headers) of everything that was asked.
        left: set when a client has hung up on an answer that never came.
    """

    def __init__(self, *, key: str | None = None, as_stream: bool = False) -> None:
        self._key = key
        self._as_stream = as_stream
        self.odd: dict[str, Callable[[Json], Answer | None]] = {}
        self.pages: list[list[Json]] = [[WEATHER]]
        self.tool: Callable[[Json], Json] = lambda params: text(json.dumps({"asked": params["arguments"]}))
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        self.asked = trio.Event()
        self.left = trio.Event()

    @property
    def methods(self) -> list[str]:
        return [method or http for http, method, _ in self.requests]

    async def handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        with suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            while (asked := await _request(connection, stream)) is not None:
                answer = self._answer(*asked)
                if answer is None:
                    self.asked.set()
                    while await stream.receive_some():
                        pass
                    self.left.set()
                    return
                status, headers, body = answer
                lines = [*headers.items(), ("Content-Length", str(len(body)))]
                for event in (h11.Response(status_code=status, headers=lines), h11.Data(data=body), h11.EndOfMessage()):
                    await stream.send_all(connection.send(event) or b"")
                connection.start_next_cycle()

    def _answer(self, http: str, headers: dict[str, str], body: bytes) -> Answer | None:
        message: Json = json.loads(body) if body else {}
        method: str = message.get("method", "")
        self.requests.append((http, method, headers))
        if self._key is not None and headers.get("authorization") != f"Bearer {self._key}":
            return 401, {}, f"{headers.get('authorization')} is wrong".encode()
        if odd := self.odd.get(method):
            return odd(message)
        if http == "DELETE" or "id" not in message:
            return 202, {}, b""
        value, more = self._result(method, message.get("params", {}))
        answer = json.dumps(result(message, value)).encode()
        if not self._as_stream:
            return 200, {"Content-Type": "application/json", **more}, answer
        progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}'
        events = b": hello\r\n\r\n" + b"data: %s\r\n\r\n" % progress + b"event: message\r\ndata: %s\r\n\r\n" % answer
        return 200, {"Content-Type": "text/event-stream; charset=utf-8", **more}, events

    def _result(self, method: str, params: Json) -> tuple[Json, dict[str, str]]:
        match method:
            case "initialize":
                about = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}}
                return {**about, "serverInfo": {"name": "test", "version": "1"}}, {"Mcp-Session-Id": "session-7"}
            case "tools/list":
                place = int(params.get("cursor", 0))
                more = {"nextCursor": str(place + 1)} if place + 1 < len(self.pages) else {}
                return {"tools": self.pages[place], **more}, {}
            case _:
                return self.tool(params), {}


async def _request(connection: h11.Connection, stream: trio.SocketStream) -> tuple[str, dict[str, str], bytes] | None:
    """The next request's method, headers and body; None when the client is gone."""
    asked: h11.Request | None = None
    body = b""
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            case h11.Request() as asked:
                pass
            case h11.Data(data=data):
                body += bytes(data)
            case h11.EndOfMessage() if asked is not None:
                headers = {name.decode(): value.decode() for name, value in asked.headers}
                return asked.method.decode(), headers, body
            case _:
                return None


Serve = Callable[[ToolServer], Awaitable[Tool]]


@asynccontextmanager
async def served(server: ToolServer, **settings: Any) -> AsyncGenerator[Tool, None]:
    """The server listens meanwhile; it, as a client declares it."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, server.handle, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
        defaults = {"server_label": "town", "server_url": url, "require_approval": "never"}
        yield Tool(type="mcp", **(defaults | settings))
        nursery.cancel_scope.cancel()
