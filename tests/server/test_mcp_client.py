"""Tool servers over real sockets: what is asked of them, what they may answer, and every way in which they fail."""

import gc
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from pipeline.realtime.events import Tool
from pipeline.server import work
from pipeline.server.mcp_client import CALL_DEADLINE_S, LIST_DEADLINE_S, MAX_PAGES, call_tool, list_tools
from pipeline.server.mcp_wire import MAX_ANSWER_BYTES, MAX_DEPTH, MAX_OUTPUT_CHARACTERS, VERSION, error_of
from pipeline.server.tool_work import ToolWork
from pipeline.vocabulary.errors import (
    ConnectionLostError,
    CredentialRefusedError,
    ProtocolError,
    ServiceBusyError,
    ServiceRefusedError,
    WireError,
)
from tests.server.tool_server import SCHEMA, WEATHER, Answer, Json, ToolServer, result, served, text

CANARY = "canary-9f21"
JSON = {"Content-Type": "application/json"}


def answers(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Callable[[Json], Answer]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda _message: (status, headers or JSON, body)


def gives(value: Json) -> Callable[[Json], Answer]:
    return lambda message: (200, JSON, json.dumps(result(message, value)).encode())


async def failure(server: ToolServer, method: str = "tools/call", **settings: Any) -> WireError:
    async with served(server, **settings) as tool:
        with pytest.raises(WireError) as raised:
            await (list_tools(tool) if method == "tools/list" else call_tool(tool, "get_weather", "{}"))
    gc.collect()  # what httpx leaves open would be complained about here
    return raised.value


# as it should be


@pytest.mark.parametrize("as_stream", [False, True])
async def test_a_list_is_read_page_by_page_in_one_session(*, as_stream: bool) -> None:
    server = ToolServer(as_stream=as_stream)
    server.pages = [[WEATHER], [], [{**WEATHER, "name": "pay", "annotations": {"readOnlyHint": False}, "title": "Pay"}]]
    async with served(server) as tool:
        tools = await list_tools(tool)
    weather = {"name": "get_weather", "input_schema": SCHEMA, "description": "Tells the weather."}
    assert tools == [weather, {**weather, "name": "pay", "annotations": {"readOnlyHint": False}}]
    assert server.methods == ["initialize", "notifications/initialized", *["tools/list"] * 3, "DELETE"]
    assert server.connections == 1
    for _, _, headers in server.requests[1:]:
        assert (headers["mcp-session-id"], headers["mcp-protocol-version"]) == ("session-7", VERSION)
    assert "mcp-session-id" not in server.requests[0][2]


@pytest.mark.parametrize("as_stream", [False, True])
async def test_a_tool_is_called_with_what_opens_its_server(*, as_stream: bool) -> None:
    server = ToolServer(key=CANARY, as_stream=as_stream)
    async with served(server, authorization=CANARY, headers={"X-Desk": "3", "Authorization": "other"}) as tool:
        assert json.loads(await call_tool(tool, "get_weather", '{"place": "here"}')) == {"asked": {"place": "here"}}
    assert {headers["x-desk"] for _, _, headers in server.requests} == {"3"}


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (text("rain"), "rain"),
        ({"content": [*text("a")["content"], {"type": "image", "data": "AA"}, *text("b")["content"]]}, "a\nb"),
        (text('{"rain":true}', structuredContent={"rain": True}), '{"rain":true}'),
        ({"content": [], "structuredContent": {"rain": True}}, '{"rain":true}'),
        ({"content": [{"type": "image", "data": "AA"}]}, ""),
    ],
)  # fmt: skip
async def test_what_a_tool_answers_is_its_text(answer: Json, output: str) -> None:
    server = ToolServer()
    server.tool = lambda _params: answer
    async with served(server) as tool:
        assert await call_tool(tool, "get_weather", "{}") == output


# as it should not be


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, CredentialRefusedError), (403, CredentialRefusedError), (404, ServiceRefusedError),
        (429, ServiceBusyError), (500, ServiceBusyError), (503, ServiceBusyError), (307, ServiceRefusedError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["initialize", "tools/call"])
async def test_a_status_is_told_and_a_redirect_not_followed(method: str, status: int, error: type[WireError]) -> None:
    server = ToolServer()
    server.odd[method] = answers(CANARY.encode(), status, {"Location": "/elsewhere"})
    failed = await failure(server, authorization=CANARY)
    assert isinstance(failed, error)
    assert error_of(failed) == {"type": "http_error", "code": status, "message": failed.message}
    assert CANARY not in str(failed)
    assert server.methods[-1] == ("DELETE" if method == "tools/call" else "initialize")


@pytest.mark.parametrize(
    "odd",
    [
        answers(b"<html>Log in first</html>"),
        answers(b""),
        answers([]),
        answers({"jsonrpc": "2.0", "id": 99, "result": {}}),
        answers({"jsonrpc": "2.0", "id": 2, "result": 3}),
        answers({"jsonrpc": "2.0", "id": 2, "error": "no"}),
        answers(b"[" * 100_000),
        answers(b"x" * (MAX_ANSWER_BYTES + 1)),
        answers(b"data: {", headers={"Content-Type": "text/event-stream"}),
        answers(b"data: {\n\n", headers={"Content-Type": "text/event-stream"}),
        answers(b"data: " + b"x" * MAX_ANSWER_BYTES, headers={"Content-Type": "text/event-stream"}),
        answers(b"", status=204),
        gives({"content": "rain"}),
    ],
)
async def test_nonsense_is_told_as_such(odd: Callable[[Json], Answer]) -> None:
    server = ToolServer()
    server.odd["tools/call"] = odd
    failed = await failure(server)
    assert isinstance(failed, ProtocolError)
    assert error_of(failed) == {"type": "protocol_error", "code": -32700, "message": failed.message}


async def test_a_session_that_may_not_be_ended_by_us_is_no_trouble() -> None:
    server = ToolServer()
    server.odd[""] = answers(b"x" * (2 * MAX_ANSWER_BYTES), 405)
    async with served(server) as tool:
        assert await list_tools(tool)
    assert server.methods[-1] == "DELETE"


async def test_an_error_of_the_protocol_is_told_with_its_code() -> None:
    server = ToolServer()
    error = {"code": -32602, "message": "Unknown tool: " + "x" * 10_000}
    server.odd["tools/call"] = answers({"jsonrpc": "2.0", "id": 2, "error": error})
    told = error_of(await failure(server))
    assert (told["type"], told["code"]) == ("protocol_error", -32602)
    assert told["message"].startswith("Unknown tool: x")
    assert len(told["message"]) == 500


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (text("no such place", isError=True), "no such place"),
        ({"isError": True}, "the tool failed"),
        (text("x" * (MAX_OUTPUT_CHARACTERS + 1)), "the tool answered more than 65536 characters"),
    ],
)
async def test_a_tool_that_fails_is_told_in_its_words(answer: Json, message: str) -> None:
    server = ToolServer()
    server.tool = lambda _params: answer
    assert error_of(await failure(server)) == {"type": "tool_execution_error", "message": message}


@pytest.mark.parametrize("arguments", ["", "[]", '{"place"', "[" * 100_000])
async def test_arguments_that_are_no_object_are_not_sent(arguments: str) -> None:
    server = ToolServer()
    async with served(server) as tool:
        with pytest.raises(ProtocolError) as raised:
            await call_tool(tool, "get_weather", arguments)
    assert error_of(raised.value)["code"] == -32602
    assert not server.requests


def nested(levels: int) -> Json:
    return {} if levels == 0 else {"properties": nested(levels - 1)}


@pytest.mark.parametrize(
    "pages",
    [
        [[{"name": "x"}]],
        [[{"name": 3, "inputSchema": {}}]],
        [[{"name": "x", "inputSchema": nested(MAX_DEPTH)}]],
        [[]] * (MAX_PAGES + 1),
        [[{**WEATHER, "description": "x" * (MAX_ANSWER_BYTES // 2)}]] * 3,
    ],
)
async def test_a_list_that_cannot_be_is_refused_whole(pages: list[list[Json]]) -> None:
    server = ToolServer()
    server.pages = pages
    assert isinstance(await failure(server, "tools/list"), ProtocolError)


@pytest.mark.parametrize("version", ["1999-01-01", None, 3])
async def test_another_version_of_the_protocol_is_not_spoken(version: Any) -> None:
    server = ToolServer()
    server.odd["initialize"] = gives({"protocolVersion": version})
    assert isinstance(await failure(server), ProtocolError)
    assert server.methods == ["initialize"]


@pytest.mark.parametrize("method", ["initialize", "tools/list", "tools/call"])
async def test_a_server_that_hangs_is_given_up(method: str, autojump_clock: MockClock) -> None:
    server = ToolServer()
    server.odd[method] = lambda _message: None
    began_s = trio.current_time()
    failed = await failure(server, "tools/list" if method == "tools/list" else "tools/call")
    assert (type(failed), failed.cause) == (ConnectionLostError, "timeout")
    patience_s = LIST_DEADLINE_S if method == "tools/list" else CALL_DEADLINE_S
    assert trio.current_time() - began_s == pytest.approx(patience_s, abs=1.5)
    assert server.left.is_set()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/mcp", "http://127.0.0.1:0/", "http://[::1]:1", "https://exa_mple..test/", "https://xn--/",
        "https://127.0.0.1:99999/", "https://127.0.0.1:port/", "https://127.0.0.1:1/a%zz?b#c",
    ],
)  # fmt: skip
async def test_a_server_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(ConnectionLostError):
        await list_tools(Tool(type="mcp", server_url=url))


async def test_a_server_that_cuts_the_connection_is_told(nursery: trio.Nursery) -> None:
    async def cut(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{")

    (listener,) = await nursery.start(partial(trio.serve_tcp, cut, 0, host="127.0.0.1"))
    with pytest.raises(ConnectionLostError, match="cut the connection"):
        await list_tools(Tool(type="mcp", server_url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}"))
    nursery.cancel_scope.cancel()


# work that is under way


async def test_a_call_that_is_given_up_hangs_up_at_once(nursery: trio.Nursery) -> None:
    server = ToolServer()
    server.odd["tools/call"] = lambda _message: None
    results: list[Any] = []
    async with served(server) as tool:
        tools = ToolWork(results.append)
        tools.perform(work.CallTool("resp_1", "item_1", tool, "get_weather", "{}"), nursery)
        with trio.fail_after(5):
            await server.asked.wait()
            tools.perform(work.StopCalling("item_1"), nursery)
            await server.left.wait()
    assert not results


async def test_neither_log_nor_result_holds_what_opens_a_server() -> None:
    server = ToolServer(key="another")
    results: list[Any] = []
    with capture_logs() as logs:
        async with served(server, authorization=CANARY) as tool, trio.open_nursery() as nursery:
            tools = ToolWork(results.append)
            tools.perform(work.ListTools("item_1", tool), nursery)
            tools.perform(work.CallTool("resp_1", "item_2", tool, "get_weather", "{}"), nursery)
            while nursery.child_tasks:
                await trio.testing.wait_all_tasks_blocked(0.01)
    listed, called = sorted(results, key=lambda each: each.item_id)
    assert listed == work.ListingFailed("item_1")
    assert called.error["code"] == 401
    assert [(line["server"], line["cause"]) for line in logs] == [("town", "status_401")]
    assert CANARY not in str((logs, results))
