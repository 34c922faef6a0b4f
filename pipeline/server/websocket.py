"""One WebSocket as ASGI presents it: who knocks, and text both ways."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import trio

from pipeline.vocabulary.signals import Secret

SUBPROTOCOL: Final = "realtime"
KEY_SUBPROTOCOL: Final = "openai-insecure-api-key."
"""Browsers cannot set headers, so they offer the key as a subprotocol."""
ACCEPT_S: Final = 1.0
"""The few bytes of an upgrade are written at once, or never."""
CLOSE_ANSWER_S: Final = 0.5
"""How long a client may take to answer a close frame before the connection is cut."""

Message = dict[str, Any]


class Disconnected(Exception):  # noqa: N818  # the end of a conversation, not an error
    """The client is gone."""


class WebSocket:
    """A client that asks for an upgrade, then a stream of messages."""

    def __init__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self._receive = receive
        self._send = send
        self._offered: list[str] = scope["subprotocols"]
        self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._query = parse_qs(scope["query_string"].decode("latin-1"))
        self._knocked = False
        self._reset: Callable[[], Awaitable[None]] = scope["state"]["abort"]
        self._sending: set[trio.CancelScope] = set()
        self._gone = False

    def header(self, name: str) -> str | None:
        """A request header, by its lower-case name."""
        return self._headers.get(name)

    def parameter(self, name: str) -> str:
        """A parameter of the URL, empty if absent."""
        values: list[str] = self._query.get(name, [""])
        return values[0]

    @property
    def key(self) -> Secret:
        """The key or secret offered: as bearer, as `api-key` (Azure) or as subprotocol; empty if there is none."""
        scheme, _, bearer = (self.header("authorization") or "").partition(" ")
        if scheme.lower() == "bearer":
            return Secret(bearer.strip())
        if (api_key := self.header("api-key")) is not None:
            return Secret(api_key)
        keys = [offer.removeprefix(KEY_SUBPROTOCOL) for offer in self._offered if offer.startswith(KEY_SUBPROTOCOL)]
        return Secret(keys[0] if keys else "")

    async def accept(self) -> None:
        """Upgrade, selecting `realtime` if it was offered: browsers fail otherwise.

        Raises:
            Disconnected: the client talked before it was let in, more than anycorn can hand over here.
        """
        await self._knock()
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in self._offered else None
        with trio.move_on_after(ACCEPT_S):
            await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
            return
        raise Disconnected

    async def refuse(self, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer the upgrade with an HTTP status and a body of JSON instead."""
        await self._knock()
        length = (b"content-length", str(len(body)).encode())
        sent = [length, (b"content-type", b"application/json"), (b"connection", b"close"), *headers]
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": sent})
        await self._send({"type": "websocket.http.response.body", "body": body, "more_body": False})

    async def _knock(self) -> None:
        if not self._knocked:
            self._knocked = True
            await self._receive()  # websocket.connect

    async def reject(self) -> None:
        """Refuse the upgrade: nothing lives at this path (HTTP 403)."""
        await self._send({"type": "websocket.close"})

    async def receive(self) -> str | bytes:
        """The next message; bytes for a binary one.

        Raises:
            Disconnected: the client closed, or the line is gone.
        """
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._gone = True
            raise Disconnected
        content: str | bytes = message["bytes"] if message["text"] is None else message["text"]
        return content

    async def send(self, content: str | bytes) -> None:
        """Send one message, binary if bytes; silently nothing once the client is gone."""
        text, binary = (content, None) if isinstance(content, str) else (None, content)
        await self._say({"type": "websocket.send", "bytes": binary, "text": text})

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the client's; silently nothing once the client is gone.

        Without the wait (RFC 6455 §7.1.1) its answer would meet a closed socket, and a client that answers before it
        reads would lose what it was told last.
        """
        await self._send_close(code, reason)
        with trio.move_on_after(CLOSE_ANSWER_S) as patience, contextlib.suppress(Disconnected):
            while not self._gone:
                await WebSocket.receive(self)
        if patience.cancelled_caught:
            await self.abort()

    async def abort(self) -> None:
        """Cut the connection at once, also under a send that waits for the client to read."""
        await self._reset()
        for sending in self._sending:  # anycorn reports the end to a queue that may be full, with nobody reading it
            sending.cancel()

    async def _send_close(self, code: int, reason: str) -> None:
        await self._say({"type": "websocket.close", "code": code, "reason": reason})

    async def _say(self, message: Message) -> None:
        with trio.CancelScope() as sending:
            self._sending.add(sending)
            try:
                await self._send(message)
            finally:
                self._sending.remove(sending)
