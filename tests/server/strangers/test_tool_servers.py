"""Tool servers, as the official client has them: real HTTP, a real server of tools, the knowledge file's entries."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import trio
from msgspec import structs

from pipeline.server.engines.interfaces import Engines
from pipeline.server.engines.knowledge_file import KnowledgeFile
from pipeline.server.engines.retrieval import RetrievalBrain
from tests.server.tool_server import WEATHER, ToolServer, served, text

pytestmark = pytest.mark.timeout(30)

WRITTEN = {"output_modalities": ["text"]}
KEY = "canary-9f21"
KNOWLEDGE = """
greeting = "Hello."
unknown = "I do not know."
unheard = "Pardon?"

[entries.weather]
phrasings = ["what is the weather like"]
answer = "I cannot see outside."
tool = "get_weather"
arguments = { place = "here" }
reply = "It is {temperature} degrees."
"""

Town = Callable[[ToolServer], AbstractContextManager[dict[str, Any]]]


@contextmanager
def _town(server: ToolServer) -> Iterator[dict[str, Any]]:
    opened: SimpleQueue[tuple[str, Callable[[], None]]] = SimpleQueue()

    async def main() -> None:
        closed = trio.Event()
        async with served(server) as tool:
            opened.put((tool.server_url or "", partial(trio.lowlevel.current_trio_token().run_sync_soon, closed.set)))
            await closed.wait()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trio.run, main)
        url, close = opened.get(timeout=10)
        try:
            yield {"type": "mcp", "server_label": "town", "server_url": url, "require_approval": "never"}
        finally:
            close()
            running.result(10)


@pytest.fixture
def town() -> Town:
    """Serves tools in a thread of its own; the tool as a client declares it: `with town(server) as tool`."""
    return _town


def use(stranger: Any, *tools: Any) -> list[Any]:
    stranger.connection.session.update(session={"type": "realtime", "tools": list(tools), **WRITTEN})
    events: list[Any] = stranger.until("conversation.item.done")
    return events


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


def test_a_tool_is_listed_called_and_its_answer_said(serving: Any, meeting: Any, town: Town) -> None:
    server = ToolServer(key=KEY, as_stream=True)
    server.tool = lambda params: text(f"left of {params['arguments']['question']}")
    with town(server) as tool, serving() as client, meeting(client) as stranger:
        listed = use(stranger, {**tool, "authorization": KEY})
        assert kinds(listed) == [
            "session.updated",
            "mcp_list_tools.in_progress",
            "conversation.item.added",
            "mcp_list_tools.completed",
            "conversation.item.done",
        ]
        assert listed[0].session.tools[0].authorization is None
        assert [each.name for each in listed[-1].item.tools] == ["get_weather"]
        stranger.write("the church")
        stranger.connection.response.create()
        events = stranger.until("response.done")
        call, answer = events[-1].response.output
    assert [kind for kind in kinds(events) if "mcp" in kind] == [
        *["response.mcp_call_arguments.delta"] * 3,
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
    ]
    assert (call.type, call.server_label, call.output, call.error) == ("mcp_call", "town", "left of the church", None)
    assert answer.content[0].text == "The tool says: left of the church."


def test_a_call_waits_for_approval_and_is_made_then(serving: Any, meeting: Any, town: Town) -> None:
    server = ToolServer()
    server.tool = lambda _params: text("paid")
    with town(server) as tool, serving() as client, meeting(client) as stranger:
        use(stranger, {**tool, "require_approval": "always"})
        stranger.write("three coins")
        stranger.connection.response.create()
        (request,) = stranger.next("response.done").response.output
        assert (request.type, request.name, request.arguments) == (
            "mcp_approval_request", "get_weather", '{"question": "three coins"}',
        )  # fmt: skip
        assert "tools/call" not in server.methods
        stranger.connection.conversation.item.create(
            item={"type": "mcp_approval_response", "id": "mine_1", "approval_request_id": request.id, "approve": True}
        )
        call, answer = stranger.next("response.done").response.output
    assert (call.approval_request_id, call.output) == (request.id, "paid")
    assert answer.content[0].text == "The tool says: paid."


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_server_that_refuses_gives_no_list_and_the_session_goes_on(
    serving: Any, meeting: Any, town: Town, key: str | None
) -> None:
    with town(ToolServer(key=KEY)) as tool, serving() as client, meeting(client) as stranger:
        events = use(stranger, tool if key is None else {**tool, "authorization": key})
        assert "mcp_list_tools.failed" in kinds(events)
        assert events[-1].item.tools == []
        stranger.write("Hello?")
        stranger.connection.response.create()
        (answer,) = stranger.next("response.done").response.output
    assert answer.content[0].text == "You said: Hello?."


def test_a_call_that_hangs_ends_with_its_response(serving: Any, meeting: Any, town: Town) -> None:
    server = ToolServer()
    server.odd["tools/call"] = lambda _message: None
    with town(server) as tool, serving() as client, meeting(client) as stranger:
        use(stranger, tool)
        stranger.write("Hello?")
        stranger.connection.response.create()
        stranger.next("response.mcp_call.in_progress")
        stranger.connection.response.cancel()
        assert stranger.next("response.mcp_call.failed")
        done = stranger.next("response.done").response
    assert (done.status, done.output[0].error.type) == ("cancelled", "tool_execution_error")


def test_a_minted_secret_carries_a_server_and_shows_no_key(serving: Any, town: Town) -> None:
    with town(ToolServer(key=KEY)) as tool, serving() as client:
        session: Any = {"type": "realtime", "tools": [{**tool, "authorization": KEY, "headers": {"X-Key": KEY}}]}
        secret = client.realtime.client_secrets.create(session=session)
        assert KEY not in secret.model_dump_json()
        with client.with_options(api_key=secret.value).realtime.connect(model="gpt-realtime") as connection:
            events = [connection.recv() for _ in range(5)]
    assert kinds(events)[-2:] == ["mcp_list_tools.completed", "conversation.item.done"]
    assert not [event for event in events if KEY in event.model_dump_json()]


def test_an_entry_of_the_knowledge_file_calls_a_tool_of_a_server(
    serving: Any, meeting: Any, town: Town, engines: Engines, tmp_path: Path
) -> None:
    file = tmp_path / "knowledge.toml"
    file.write_text(KNOWLEDGE, encoding="utf-8")
    server = ToolServer()
    server.pages = [[{**WEATHER, "name": "other"}, WEATHER]]
    server.tool = lambda params: text('{"temperature": 21}', isError=params["arguments"] != {"place": "here"})
    brain = RetrievalBrain(KnowledgeFile(file))
    with town(server) as tool, serving(engines=structs.replace(engines, brain=lambda: brain)) as client:
        for breaks, words in [(False, "It is 21 degrees."), (True, "I cannot see outside.")]:
            if breaks:
                server.odd["tools/call"] = lambda _message: (500, {}, b"")
            with meeting(client) as stranger:
                use(stranger, tool)
                stranger.write("What is the weather like?")
                stranger.connection.response.create()
                _, answer = stranger.next("response.done").response.output
            assert answer.content[0].text == words
