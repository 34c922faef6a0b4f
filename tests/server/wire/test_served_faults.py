"""Faults over real sockets, met by a client that shares no code with the server, and changed by the control API."""

import base64
import json
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest
import trio
from websockets.exceptions import InvalidStatus

Serving = Callable[..., AbstractAsyncContextManager[Any]]
CREATE = {"type": "response.create", "response": {"instructions": "x"}}
ASK = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
}


async def test_the_upgrade_is_refused_and_the_next_one_is_not(serving: Serving) -> None:
    async with serving("refuse_upgrade status=429 retry_after_s=7 connections=1") as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.client():
                pass
        response = refused.value.response
        assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
        assert json.loads(response.body or b"")["error"]["type"] == "invalid_request_error"
        async with server.client() as client:
            await client.until("session.created")


async def test_an_upgrade_is_never_answered(serving: Serving) -> None:
    async with serving("unanswered_upgrade connections=1") as server:
        with pytest.raises(TimeoutError):
            async with server.client(open_timeout=0.1):
                pass
        async with server.client() as client:
            await client.until("session.created")


async def test_a_slow_upgrade_is_answered_in_the_end(serving: Serving) -> None:
    async with serving("slow_upgrade delay_s=0.1") as server:
        before = trio.current_time()
        async with server.client() as client:
            assert trio.current_time() - before >= 0.1
            await client.until("session.created")


@pytest.mark.parametrize(("fault", "code"), [("auth_failure", 3000), ("model_failure", 4000)])
async def test_the_door_shuts_after_the_upgrade(serving: Serving, fault: str, code: int) -> None:
    async with serving(fault) as server, server.client() as client:
        events, closed_with = await client.closing()
    assert ([event["type"] for event in events], closed_with) == (["error"], code)


async def test_a_connection_is_closed_in_the_middle_of_a_reply_and_its_session_ends(serving: Serving) -> None:
    async with serving("close code=1012 turn=1") as server, server.client() as client:
        await client.until("session.created")
        await client.say(ASK, CREATE)
        events, code = await client.closing()
        assert (events[-1]["type"], code) == ("response.created", 1012)
        while await server.sessions():
            await trio.lowlevel.checkpoint()


async def test_a_connection_is_dropped_without_a_close_frame(serving: Serving) -> None:
    async with serving("drop turn=1") as server, server.client() as client:
        await client.until("session.created")
        await client.say(ASK, CREATE)
        assert (await client.closing())[1] == 1006


async def test_a_half_open_line_answers_no_ping_until_the_fault_is_gone(serving: Serving) -> None:
    async with serving() as server, server.client() as client:
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


async def test_a_half_open_session_ends_with_the_server(serving: Serving) -> None:
    async with serving("half_open turn=1") as server, server.client(close_timeout=0.1) as client:
        await client.until("session.created")
        await client.say(ASK, CREATE)
        with trio.move_on_after(0.1):
            await client.until("response.done")
            pytest.fail("a half-open line said something")
        before = trio.current_time()
        await server.stop()
        assert trio.current_time() - before < 2


async def test_a_reply_stops_half_way_and_both_sides_know_it(serving: Serving) -> None:
    async with serving("response_incomplete after_audio_ms=400 turn=1") as server, server.client() as client:
        await client.say(ASK, CREATE)
        events = await client.until("response.done")
        sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
        assert len(sound) == 400 * 48
        assert events[-1]["response"]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        await client.say(CREATE)
        events = await client.until("response.done")
        assert events[-1]["response"]["status"] == "completed"
        assert not [event for event in events if event["type"] == "error"]


async def test_a_stalled_response_is_cancelled_and_tried_again(serving: Serving) -> None:
    async with serving("stalled_response turn=1") as server, server.client() as client:
        await client.say(ASK, CREATE)
        assert (await client.until("response.created"))[-1]["response"]["status"] == "in_progress"
        await client.say({"type": "response.cancel"})
        done = (await client.until("response.done"))[-1]
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        await client.say(CREATE)
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"


async def test_late_events_come_by_the_clock(serving: Serving) -> None:
    async with serving("slow_settings delay_s=0.1") as server, server.client() as client:
        update = {"type": "session.update", "session": {"type": "realtime"}}
        await client.until("session.created")
        before = trio.current_time()
        await client.say(update, {"type": "input_audio_buffer.clear"})
        kinds = [event["type"] for event in await client.until("session.updated")]
        assert kinds == ["input_audio_buffer.cleared", "session.updated"]
        assert trio.current_time() - before >= 0.1


async def test_frames_that_are_no_events_arrive_as_they_are(serving: Serving) -> None:
    async with serving("malformed_json", "binary_frame times=1") as server, server.client() as client:
        half, noise, whole = [await client.socket.recv() for _ in range(3)]
    assert half.startswith('{"type":"session.created"')
    assert isinstance(noise, bytes)
    assert json.loads(whole)["type"] == "session.created"


async def test_a_session_waits_while_too_much_is_kept(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.server.faulty_socket.MAX_HELD_CHARS", 20_000)
    async with serving("underrun real_time_factor=5 jitter_ms=0") as server, server.client() as client:
        await client.say(ASK, CREATE)
        events = await client.until("response.done")
        assert len([event for event in events if event["type"] == "response.output_audio.delta"]) == 9
        await client.pong()


async def test_a_session_that_waits_too_long_is_too_slow(
    serving: Serving, voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.server.faulty_socket.MAX_HELD_CHARS", 20_000)
    monkeypatch.setattr("pipeline.server.outbox.MAX_UNSENT_BYTES", 50_000)
    monkeypatch.setattr("pipeline.server.session.GOODBYE_S", 0.05)
    waiting = threading.Event()
    voice.between = lambda: voice.spoken and waiting.wait(10)
    async with serving("underrun real_time_factor=0.05 jitter_ms=0") as server, server.client() as client:
        await client.say(ASK, CREATE)
        await client.until("response.output_audio.delta")
        waiting.set()
        assert (await client.closing())[1] == 1006, "it could not even be told"


async def test_a_client_that_does_not_answer_a_close_frame_is_cut(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.server.faulty_socket.UNANSWERED_CLOSE_S", 0.05)
    async with serving("close code=1012") as server, await trio.open_tcp_stream("127.0.0.1", server.port) as line:
        await line.send_all(
            b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Authorization: Bearer sk-right\r\n\r\n"
        )
        received = b""
        with suppress(trio.BrokenResourceError):
            while chunk := await line.receive_some():
                received += chunk
        assert b"\x88\x02\x03\xf4" in received  # a close frame with code 1012 (RFC 6455 §5.5.1)
        while await server.sessions():
            await trio.lowlevel.checkpoint()


# the control API


async def test_faults_of_new_connections_are_chosen_and_cleared(serving: Serving) -> None:
    async with serving("drop after_s=50") as server:
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


async def test_one_open_session_gets_a_fault_and_the_others_do_not(serving: Serving) -> None:
    async with serving() as server, server.client() as first, server.client() as second:
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


async def test_the_catalogue_is_served_with_its_schema(serving: Serving) -> None:
    async with serving() as server:
        listed = (await server.http("GET", "/talkwire/faults/catalogue")).json()
    entry = next(fault for fault in listed["faults"] if fault["name"] == "late_deltas")
    assert entry["fields"] == {"after": "done", "count": 3, "spacing_ms": 20.0}
    assert "LateDeltas" in listed["schema"]["$defs"]


async def test_only_the_key_may_control(serving: Serving) -> None:
    async with serving() as server:
        for key in (None, "sk-wrong"):
            for method, path in [("GET", "faults"), ("PUT", "faults"), ("DELETE", "faults"), ("GET", "sessions")]:
                assert (await server.http(method, f"/talkwire/{path}", key=key)).status_code == 401
    async with serving(api_key=None) as server:
        assert (await server.http("GET", "/talkwire/faults", key="any")).status_code == 200
        assert (await server.http("GET", "/talkwire/faults", key=None)).status_code == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{", [None]),
        (b'{"\xff": 1}', [None]),
        (b"[" * 60_000, [None]),
        ([], [None]),
        ({"faults": [], "more": 1}, [None]),
        ({"faults": {}}, ["faults"]),
        ({"faults": [{"type": "drop", "when": 1}, 5]}, ["fault 1, drop, when", "fault 2, type"]),
        ({"faults": [{"type": "close", "code": "soon"}]}, ["fault 1, close, code"]),
    ],
)
async def test_a_wrong_choice_is_answered_with_every_problem_by_field(
    serving: Serving, body: Any, fields: list[str | None]
) -> None:
    async with serving("burst") as server:
        answer = await server.http("PUT", "/talkwire/faults", body)
        assert answer.status_code == 400
        assert [problem["field"] for problem in answer.json()["error"]["problems"]] == fields
        shown = (await server.http("GET", "/talkwire/faults")).json()
        assert [fault["type"] for fault in shown["faults"]] == ["burst"], "nothing has changed"


async def test_what_is_not_there_is_404(serving: Serving) -> None:
    async with serving() as server:
        assert (await server.http("PUT", "/talkwire/sessions/sess_none/faults", {"faults": []})).status_code == 404
        assert (await server.http("GET", "/talkwire/else")).status_code == 404


async def test_a_body_that_does_not_arrive_is_not_waited_for(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.server.control.BODY_DEADLINE_S", 0.05)
    async with serving() as server, await trio.open_tcp_stream("127.0.0.1", server.port) as line:
        await line.send_all(
            b"PUT /talkwire/faults HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-right\r\n"
            b"Content-Length: 50\r\n\r\n{"
        )
        assert (await line.receive_some()).startswith(b"HTTP/1.1 408 ")
