"""Tool servers (MCP) over streamable HTTP. Every list and every call is a short session of its own.

That costs three requests on one connection, and no call ever fails because a kept session or connection has died
meanwhile; a server that remembers things between the calls of one session does so in vain. Redirects are not followed
and proxy variables not looked at: what opens a server goes to its `server_url` and nowhere else.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx
import trio

from pipeline.realtime.client_secrets import is_private
from pipeline.realtime.events import Json, Tool
from pipeline.server.mcp_wire import (
    INITIALIZE,
    MAX_ANSWER_BYTES,
    SESSION_HEADER,
    VERSION_HEADER,
    VERSIONS,
    AnswerReader,
    arguments_of,
    nonsense,
    notification,
    output_of,
    page_of,
    request,
)
from pipeline.vocabulary.errors import (
    ConnectionLostError,
    CredentialRefusedError,
    ServiceBusyError,
    ServiceRefusedError,
    WireError,
)

LIST_DEADLINE_S: Final = 10.0
"""A response that may use the tools waits for their list."""
CALL_DEADLINE_S: Final = 30.0
CLOSE_DEADLINE_S: Final = 1.0
DRAIN_DEADLINE_S: Final = 0.1
"""A server should end its stream behind the answer, but need not."""
MAX_PAGES: Final = 32


async def list_tools(server: Tool) -> list[Json]:
    """Everything the server has.

    Raises:
        WireError: it cannot be reached, takes too long, refuses, or talks nonsense. The text holds no secret of ours.
    """
    tools: list[Json] = []
    async with _talk(server, LIST_DEADLINE_S) as talk:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            result = await talk.ask("tools/list", {} if cursor is None else {"cursor": cursor})
            page, cursor = page_of(result)
            tools += page
            if talk.received_bytes > MAX_ANSWER_BYTES:
                break
            if cursor is None:
                return tools
    raise nonsense("a list without end")


async def call_tool(server: Tool, name: str, arguments: str) -> str:
    """What the tool answers to these arguments (JSON text).

    Raises:
        WireError: as `list_tools`; or the arguments are no JSON object; or the tool says that it failed.
    """
    given = arguments_of(arguments)
    async with _talk(server, CALL_DEADLINE_S) as talk:
        return output_of(await talk.ask("tools/call", {"name": name, "arguments": given}))


@asynccontextmanager
async def _talk(server: Tool, patience_s: float) -> AsyncIterator["_Talk"]:
    """A session with the server that lasts no longer than this; every failure inside as a WireError."""
    assert server.server_url
    assert is_private(server.server_url), "checked when the tool was declared"
    # Plain http needs no authorities, and reading them takes 20 ms; the empty context would trust nobody.
    https = server.server_url.startswith("https")
    tls = ssl.create_default_context() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with trio.fail_after(patience_s):
            async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=None) as client:  # noqa: S113  deadline
                talk = _Talk(client, server)
                try:
                    await talk.begin()
                    yield talk
                finally:
                    await talk.end()
    except trio.TooSlowError as error:
        message = f"the tool server did not answer within {patience_s:g} s"
        raise ConnectionLostError(message, cause="timeout") from error
    except httpx.ConnectError as error:
        raise ConnectionLostError("the tool server cannot be reached", cause="connect") from error
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
        raise ConnectionLostError("the tool server cut the connection", cause="reset") from error


class _Talk:
    """One session: requests and their answers, one after another."""

    def __init__(self, client: httpx.AsyncClient, server: Tool) -> None:
        self._client = client
        self._url = server.server_url or ""
        self._headers = httpx.Headers(server.headers)
        if server.authorization is not None:
            self._headers["Authorization"] = f"Bearer {server.authorization}"
        self._headers["Accept"] = "application/json, text/event-stream"
        self._headers["Accept-Encoding"] = "identity"
        self._headers["Content-Type"] = "application/json"
        self._number = 0
        self.received_bytes = 0

    async def begin(self) -> None:
        """Agree on a version of the protocol; from then on the session has a name, if the server gives it one."""
        version = (await self.ask("initialize", INITIALIZE)).get("protocolVersion")
        if version not in VERSIONS:
            raise nonsense("a version of the protocol that is not spoken here")
        self._headers[VERSION_HEADER] = version
        async with self._exchange("POST", notification("notifications/initialized")):
            pass

    async def ask(self, method: str, params: Json) -> Json:
        """The result of this request."""
        self._number += 1
        async with self._exchange("POST", request(self._number, method, params)) as (response, body):
            if SESSION_HEADER in response.headers:
                self._headers[SESSION_HEADER] = response.headers[SESSION_HEADER]
            reader = AnswerReader(response.headers.get("Content-Type", ""), self._number)
            async for received in body:
                self.received_bytes += len(received)
                if (result := reader.feed(received)) is not None:
                    return result
            return reader.end()

    async def end(self) -> None:
        """Tell the server that its session is over, if it has named one; in a second at most, also when cancelled."""
        if SESSION_HEADER in self._headers:
            with trio.move_on_after(CLOSE_DEADLINE_S, shield=True), suppress(httpx.TransportError, WireError):
                async with self._exchange("DELETE"):
                    pass

    @asynccontextmanager
    async def _exchange(
        self, method: str, message: bytes | None = None
    ) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
        """One request and its response, whose body is read piece by piece."""
        wanted = self._client.build_request(method, self._url, headers=self._headers, content=message)
        response = await self._client.send(wanted, stream=True, follow_redirects=False)
        body = response.aiter_raw()
        try:
            _refuse(response.status_code)
            yield response, body
            with trio.move_on_after(DRAIN_DEADLINE_S):  # a connection whose body was read to the end serves again
                async for received in body:
                    self.received_bytes += len(received)
                    if self.received_bytes > MAX_ANSWER_BYTES:
                        break
        finally:
            with trio.move_on_after(CLOSE_DEADLINE_S, shield=True):
                await response.aclose()
                # httpx leaves its nested generators to the garbage collector; reading on from what is closed ends them.
                with suppress(httpx.TransportError, httpx.StreamError):
                    async for _ in body:
                        pass


def _refuse(status: int) -> None:
    """Raise what this status means, if it is no success."""
    said, cause = f"the tool server answered {status}", f"status_{status}"
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise CredentialRefusedError(f"{said}: it wants another authorization", cause=cause)
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise ServiceBusyError(f"{said}: it is busy or broken", cause=cause)
    if not httpx.codes.is_success(status):
        raise ServiceRefusedError(f"{said}; check its 'server_url'", cause=cause)
