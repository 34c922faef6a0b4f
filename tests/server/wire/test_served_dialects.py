"""Each dialect as a client meets it: its paths, its refusals, and the order of its events."""

import base64
import json
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from websockets.exceptions import InvalidStatus

from pipeline.realtime.codec import decode_server
from pipeline.realtime.events import UnknownEvent
from pipeline.vocabulary.frames import BYTES_PER_MS

Serving = Callable[..., AbstractAsyncContextManager[Any]]

AZURE = "/openai/v1/realtime?model=m"
PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment=m"
BETA_HEADER = {"OpenAI-Beta": "realtime=v1"}
KEY = {"Authorization": "Bearer sk-right"}
CREATE = {"type": "response.create"}
ASK = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
}
PAUSE = bytes(700 * BYTES_PER_MS)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Types in order; a run of deltas counts once."""
    found: list[str] = []
    for event in events:
        if not (found and event["type"] == found[-1]):
            found.append(event["type"])
    return found


async def speak(client: Any, sound: bytes) -> None:
    for start in range(0, len(sound), 20 * BYTES_PER_MS):
        audio = base64.b64encode(sound[start : start + 20 * BYTES_PER_MS]).decode()
        await client.say({"type": "input_audio_buffer.append", "audio": audio})


async def status(server: Any, **how: Any) -> int:
    """What the upgrade is answered with."""
    try:
        async with server.client(**how):
            return 101
    except InvalidStatus as refused:
        return int(refused.response.status_code)


# openai


async def test_openai_refuses_the_beta_header(serving: Serving) -> None:
    async with serving() as server, server.client(headers=KEY | BETA_HEADER) as client:
        events, code = await client.closing()
    assert (events[0]["error"]["code"], code) == ("beta_api_shape_disabled", 4000)


# azure


async def test_azure_is_found_at_its_own_paths(serving: Serving) -> None:
    async with serving(dialect="azure") as server:
        assert await status(server, path="/v1/realtime?model=m") == 403
        assert await status(server, path="/openai/realtime?deployment=m") == 403, "the preview demands a version"
        for headers in (KEY, {"api-key": "sk-right"}):
            for path in (AZURE, PREVIEW):
                async with server.client(path, headers) as client:
                    await client.until("session.created")


async def test_azure_refuses_a_bad_key_before_the_upgrade(serving: Serving) -> None:
    async with serving(dialect="azure") as server:
        for headers in ({}, {"api-key": "sk-wrong"}, {"Authorization": "Bearer ek_never"}):
            assert await status(server, path=AZURE, headers=headers) == 401
        async with server.client("/openai/v1/realtime", KEY) as client:
            assert (await client.closing())[1] == 4000, "a missing model is told after it"


async def test_azure_opens_for_an_expired_secret_and_fails_its_first_request(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(dialect="azure") as server:
        minted = (await server.http("POST", "/openai/v1/realtime/client_secrets", {})).json()
        headers = {"Authorization": f"Bearer {minted['value']}"}
        monkeypatch.setattr("pipeline.server.app.unix_now", lambda: minted["expires_at"] + 1.0)
        for path in (AZURE, PREVIEW):
            async with server.client(path, headers) as client:
                await client.until("session.created")
                await client.say({"type": "session.update", "event_id": "mine", "session": {}})
                error = (await client.until("error"))[-1]["error"]
                assert (error["message"], error["event_id"]) == ("Ephemeral token expired", "mine")


async def test_azure_speaks_ga_and_its_preview_the_beta(serving: Serving) -> None:
    async with serving(dialect="azure") as server:
        said = []
        for path in (AZURE, PREVIEW):
            async with server.client(path, KEY) as client:
                await client.say(ASK, CREATE)
                said.append(set(kinds(await client.until("response.done"))))
    assert "response.output_audio.delta" in said[0]
    assert {"response.audio.delta", "conversation.created"} <= said[1]


# beta


async def test_a_beta_conversation_in_its_order(serving: Serving, tone: Callable[..., bytes]) -> None:
    async with serving(dialect="beta") as server, server.client(headers=KEY | BETA_HEADER) as client:
        update = {"input_audio_transcription": {"model": "any"}, "modalities": ["text", "audio"], "temperature": 0.7}
        await client.say({"type": "session.update", "session": update})
        events = await client.until("session.updated")
        assert kinds(events) == ["session.created", "conversation.created", "session.updated"]
        session = events[-1]["session"]
        assert {name: session[name] for name in update} == update
        assert "type" not in session
        await speak(client, tone(800) + PAUSE)
        events = await client.until("response.done")
    words = "conversation.item.input_audio_transcription.completed"
    heard = [kind for kind in kinds(events) if not kind.startswith(words.removesuffix("completed"))]
    assert heard[: heard.index("response.content_part.added") + 1] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
    ]
    assert {"response.audio.delta", "response.audio_transcript.delta", "response.audio.done"} <= set(heard)
    assert not [kind for kind in heard if "output_audio" in kind or (kind.endswith("item.done") and "conv" in kind)]
    assert events[-1]["response"]["modalities"] == ["text", "audio"]
    for event in events:
        assert not isinstance(decode_server(json.dumps(event)), UnknownEvent)


async def test_a_beta_client_is_told_its_own_mistakes(serving: Serving) -> None:
    async with serving(dialect="beta") as server, server.client() as client:
        for session, param in [
            ({"type": "realtime"}, "session.type"),
            ({"turn_detection": {"type": "server_vad", "threshold": 7}}, "session.turn_detection.threshold"),
            ({"speed": 9}, "session.speed"),
        ]:
            await client.say({"type": "session.update", "event_id": "mine", "session": session})
            error = (await client.until("error"))[-1]["error"]
            assert (error["param"], error["event_id"]) == (param, "mine")
        await client.socket.send("{")
        assert (await client.until("error"))[-1]["error"]["code"] == "invalid_json"


async def test_faults_are_translated_too(serving: Serving) -> None:
    async with serving("late_deltas count=1", dialect="beta") as server, server.client() as client:
        await client.say(ASK, CREATE)
        await client.until("response.done")
        late = (await client.until("response.audio.delta"))[-1]
        assert late["event_id"].startswith("event_fault_")


# hf


async def test_hugging_face_needs_no_model_and_closes_with_1008_when_it_is_busy(serving: Serving) -> None:
    async with serving(dialect="hf", max_sessions=1) as server, server.client("/v1/realtime") as first:
        await first.until("session.created")
        async with server.client("/v1/realtime") as second:
            events, code = await second.closing()
        assert (events[0]["error"]["type"], code) == ("session_limit_reached", 1008)


async def test_a_hugging_face_barge_in_in_its_order(serving: Serving, voice: Any, tone: Callable[..., bytes]) -> None:
    held = threading.Event()

    def hold() -> None:
        if voice.spoken:
            held.wait(10)

    voice.between = hold
    async with serving(dialect="hf") as server, server.client("/v1/realtime") as client:
        await speak(client, tone(800) + PAUSE)
        events = await client.until("response.output_audio.delta")
        assert kinds(events) == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "response.created",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
        ]
        await speak(client, tone(200))
        events = await client.until("input_audio_buffer.speech_started")
        held.set()
        assert kinds(events)[-2:] == ["response.done", "input_audio_buffer.speech_started"]
        assert events[-2]["response"]["status_details"]["reason"] == "turn_detected"
        item_id = events[-2]["response"]["output"][0]["id"]
        cut = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 100}
        await client.say(cut, {"type": "input_audio_buffer.clear"})
        with trio.fail_after(5):
            assert kinds(await client.until("input_audio_buffer.cleared")) == ["input_audio_buffer.cleared"]


async def test_a_hugging_face_item_is_acknowledged_once(serving: Serving) -> None:
    async with serving(dialect="hf") as server, server.client("/v1/realtime") as client:
        await client.say(ASK, {"type": "input_audio_buffer.clear"})
        events = await client.until("input_audio_buffer.cleared")
        assert kinds(events) == ["session.created", "conversation.item.created", "input_audio_buffer.cleared"]


@pytest.mark.parametrize("dialect", ["openai", "azure", "beta", "hf"])
async def test_every_dialect_shuts_down_with_1001(serving: Serving, dialect: str) -> None:
    path = AZURE if dialect == "azure" else "/v1/realtime?model=m"
    async with serving(dialect=dialect) as server, server.client(path, KEY) as client:
        await client.until("session.created")
        await server.stop()
        assert (await client.closing())[1] == 1001
