"""Faults over real sockets, met by a client that shares no code with the server, and changed by the control API."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from msgspec import structs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from pipeline.server.app import serve
from pipeline.server.engines.interfaces import Engines
from pipeline.server.faults.catalogue import parse_fault
from pipeline.vocabulary import configuration
from pipeline.vocabulary.signals import Secret

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing here speaks TLS, and loading them takes 50 ms
SETTINGS = structs.replace(configuration.load().server, port=0)
CREATE = {"type": "response.create", "response": {"instructions": "x"}}
ASK = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
}


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
    async def client(self, **more: Any) -> AsyncIterator[Client]:
        url = f"ws://127.0.0.1:{self.port}/v1/realtime?model=m"
        headers = {"Authorization": "Bearer sk-right"}
        async with connect(url, additional_headers=headers, max_size=None, proxy=None, **more) as socket:
            yield Client(socket)


@asynccontextmanager
async def serving(engines: Engines, *faults: str, api_key: str | None = "sk-right") -> AsyncIterator[Server]:
    tell, ports = trio.open_memory_channel[int](1)
    shutdown, ended = trio.Event(), trio.Event()

    async def run() -> None:
        await serve(
            SETTINGS,
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


async def test_the_upgrade_is_refused_and_the_next_one_is_not(engines: Engines) -> None:
    async with serving(engines, "refuse_upgrade status=429 retry_after_s=7 connections=1") as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.client():
                pass
        response = refused.value.response
        assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
        assert json.loads(response.body or b"")["error"]["type"] == "invalid_request_error"
        async with server.client() as client:
            await client.until("session.created")


async def test_an_upgrade_is_never_answered(engines: Engines) -> None:
    async with serving(engines, "unanswered_upgrade connections=1") as server:
        with pytest.raises(TimeoutError):
            async with server.client(open_timeout=0.1):
                pass
        async with server.client() as client:
            await client.until("session.created")


async def test_a_slow_upgrade_is_answered_in_the_end(engines: Engines) -> None:
    async with serving(engines, "slow_upgrade delay_s=0.1") as server:
        before = trio.current_time()
        async with server.client() as client:
            assert trio.current_time() - before >= 0.1
            await client.until("session.created")


@pytest.mark.parametrize(("fault", "code"), [("auth_failure", 3000), ("model_failure", 4000)])
async def test_the_door_shuts_after_the_upgrade(engines: Engines, fault: str, code: int) -> None:
    async with serving(engines, fault) as server, server.client() as client:
        events, closed_with = await client.closing()
    assert ([event["type"] for event in events], closed_with) == (["error"], code)


async def test_a_connection_is_closed_in_the_middle_of_a_reply_and_its_session_ends(engines: Engines) -> None:
    async with serving(engines, "close code=1012 turn=1") as server, server.client() as client:
        await client.until("session.created")
        await client.say(ASK, CREATE)
        events, code = await client.closing()
        assert (events[-1]["type"], code) == ("response.created", 1012)
        while await server.sessions():
            await trio.lowlevel.checkpoint()


async def test_a_connection_is_dropped_without_a_close_frame(engines: Engines) -> None:
    async with serving(engines, "drop turn=1") as server, server.client() as client:
        await client.until("session.created")
        await client.say(ASK, CREATE)
        assert (await client.closing())[1] == 1006


async def test_a_half_open_line_answers_no_ping_until_the_fault_is_gone(engines: Engines) -> None:
    async with serving(engines) as server, server.client() as client:
        session_id = (await client.until("session.created"))[0]["session"]["id"]
        await client.pong()
        path = f"/talkwire/sessions/{session_id}/faults"
        assert (await server.http("PUT", path, {"faults": [{"type": "half_open"}]})).status_code == 200
        waiter = await client.socket.ping()
        with trio.move_on_after(0.1):
            await waiter.wait()
            pytest.fail("a half-open line answered a ping")
        await client.say({"type": "session.update", "session": {"type": "realtime"}})
        await server.http("PUT", path, {"faults": []})
        await client.until("session.updated")  # what was sent meanwhile had waited in the socket
        await waiter.wait()


async def test_a_half_open_session_ends_with_the_server(engines: Engines) -> None:
    async with serving(engines, "half_open turn=1") as server, server.client(close_timeout=0.1) as client:
        await client.until("session.created")
        await client.say(ASK, CREATE)
        with trio.move_on_after(0.1):
            await client.until("response.done")
            pytest.fail("a half-open line said something")
        before = trio.current_time()
        await server.stop()
        assert trio.current_time() - before < 2


async def test_a_reply_stops_half_way_and_both_sides_know_it(engines: Engines) -> None:
    async with serving(engines, "response_incomplete after_audio_ms=400 turn=1") as server, server.client() as client:
        await client.say(ASK, CREATE)
        events = await client.until("response.done")
        sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
        assert len(sound) == 400 * 48
        assert events[-1]["response"]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        await client.say(CREATE)
        events = await client.until("response.done")
        assert events[-1]["response"]["status"] == "completed"
        assert not [event for event in events if event["type"] == "error"]


async def test_a_stalled_response_is_cancelled_and_tried_again(engines: Engines) -> None:
    async with serving(engines, "stalled_response turn=1") as server, server.client() as client:
        await client.say(ASK, CREATE)
        assert (await client.until("response.created"))[-1]["response"]["status"] == "in_progress"
        await client.say({"type": "response.cancel"})
        done = (await client.until("response.done"))[-1]
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        await client.say(CREATE)
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"


async def test_late_events_come_by_the_clock(engines: Engines) -> None:
    async with serving(engines, "slow_settings delay_s=0.1") as server, server.client() as client:
        update = {"type": "session.update", "session": {"type": "realtime"}}
        await client.until("session.created")
        before = trio.current_time()
        await client.say(update, {"type": "input_audio_buffer.clear"})
        kinds = [event["type"] for event in await client.until("session.updated")]
        assert kinds == ["input_audio_buffer.cleared", "session.updated"]
        assert trio.current_time() - before >= 0.1


async def test_frames_that_are_no_events_arrive_as_they_are(engines: Engines) -> None:
    async with serving(engines, "malformed_json", "binary_frame times=1") as server, server.client() as client:
        half, noise, whole = [await client.socket.recv() for _ in range(3)]
    assert half.startswith('{"type":"session.created"')
    assert isinstance(noise, bytes)
    assert json.loads(whole)["type"] == "session.created"


async def test_a_session_that_is_held_up_too_much_is_too_slow(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.server.faulty_socket.MAX_HELD_CHARS", 20_000)
    monkeypatch.setattr("pipeline.server.outbox.MAX_UNSENT_BYTES", 20_000)
    async with serving(engines, "underrun real_time_factor=0.05") as server, server.client() as client:
        await client.say(ASK, CREATE)
        assert (await client.closing())[1] in {1006, 1013}


# the control API


async def test_faults_of_new_connections_are_chosen_and_cleared(engines: Engines) -> None:
    async with serving(engines, "drop after_s=50") as server:
        shown = (await server.http("GET", "/talkwire/faults")).json()
        assert shown["faults"][0]["type"] == "drop"
        assert (shown["seed"], shown["connections"]) == (0, 0)
        await server.choose({"type": "unknown_event", "times": 1})
        async with server.client() as client:
            assert (await client.until("session.created"))[0]["type"] == "future.event"
            assert (await server.http("GET", "/talkwire/faults")).json()["connections"] == 1
        assert (await server.http("DELETE", "/talkwire/faults")).json()["faults"] == []
        async with server.client() as client:
            assert len(await client.until("session.created")) == 1


async def test_one_open_session_gets_a_fault_and_the_others_do_not(engines: Engines) -> None:
    async with serving(engines) as server, server.client() as first, server.client() as second:
        session_id = (await first.until("session.created"))[0]["session"]["id"]
        other_id = (await second.until("session.created"))[0]["session"]["id"]
        listed = await server.sessions()
        assert [session["id"] for session in listed] == [session_id, other_id]
        assert all(session["faults"] == [] and session["open_s"] >= 0 for session in listed)
        path = f"/talkwire/sessions/{session_id}/faults"
        answer = await server.http("PUT", path, {"faults": [{"type": "close", "code": 1013}]})
        assert answer.json()["faults"][0]["code"] == 1013
        assert await first.closing() == ([], 1013)
        await second.pong()


async def test_the_catalogue_is_served_with_its_schema(engines: Engines) -> None:
    async with serving(engines) as server:
        listed = (await server.http("GET", "/talkwire/faults/catalogue")).json()
    entry = next(fault for fault in listed["faults"] if fault["name"] == "late_deltas")
    assert entry["fields"] == {"after": "done", "count": 3, "spacing_ms": 20.0}
    assert "LateDeltas" in listed["schema"]["$defs"]


async def test_only_the_key_may_control(engines: Engines) -> None:
    async with serving(engines) as server:
        for key in (None, "sk-wrong"):
            for method, path in [("GET", "faults"), ("PUT", "faults"), ("DELETE", "faults"), ("GET", "sessions")]:
                assert (await server.http(method, f"/talkwire/{path}", key=key)).status_code == 401
    async with serving(engines, api_key=None) as server:
        assert (await server.http("GET", "/talkwire/faults", key="any")).status_code == 200
        assert (await server.http("GET", "/talkwire/faults", key=None)).status_code == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{", [None]),
        (b"[" * 60_000, [None]),
        ([], [None]),
        ({"faults": [], "more": 1}, [None]),
        ({"faults": {}}, ["faults"]),
        ({"faults": [{"type": "drop", "when": 1}, 5]}, ["fault 1, drop, when", "fault 2, type"]),
        ({"faults": [{"type": "close", "code": "soon"}]}, ["fault 1, close, code"]),
    ],
)
async def test_a_wrong_choice_is_answered_with_every_problem_by_field(
    engines: Engines, body: Any, fields: list[str | None]
) -> None:
    async with serving(engines, "burst") as server:
        answer = await server.http("PUT", "/talkwire/faults", body)
        assert answer.status_code == 400
        assert [problem["field"] for problem in answer.json()["error"]["problems"]] == fields
        shown = (await server.http("GET", "/talkwire/faults")).json()
        assert [fault["type"] for fault in shown["faults"]] == ["burst"], "nothing has changed"


async def test_what_is_not_there_is_404(engines: Engines) -> None:
    async with serving(engines) as server:
        assert (await server.http("PUT", "/talkwire/sessions/sess_none/faults", {"faults": []})).status_code == 404
        assert (await server.http("GET", "/talkwire/else")).status_code == 404
