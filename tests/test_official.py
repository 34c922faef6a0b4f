"""The types of the official client must refuse what its own leniency lets pass, or they prove nothing."""

import json
from typing import Any

import pytest

from pipeline.realtime.events import InputAudioBufferCleared, InputAudioBufferCommit
from pipeline.server import session
from tests.official import CLASSES, REQUIRED, flaw_of, refuse_flaws

SPEECH_STARTED = {
    "type": "input_audio_buffer.speech_started",
    "event_id": "event_1",
    "item_id": "item_1",
    "audio_start_ms": 20,
}
SESSION = {"type": "realtime", "id": "sess_1", "object": "realtime.session", "expires_at": 60}


def created(**changes: Any) -> dict[str, Any]:
    return {"type": "session.created", "event_id": "event_1", "session": {**SESSION, **changes}}


def test_every_event_of_a_websocket_has_its_official_type() -> None:
    assert set(REQUIRED) <= set(CLASSES)


@pytest.mark.parametrize(
    "event",
    [
        SPEECH_STARTED,
        created(),
        created(type="transcription"),
        created(audio={"input": {"turn_detection": None}}),
    ],
)
def test_an_event_as_the_service_sends_it_has_no_flaw(event: dict[str, Any]) -> None:
    assert flaw_of(json.dumps(event)) is None


@pytest.mark.parametrize(
    ("event", "flaw"),
    [
        ({"type": "response.audio.delta"}, "no event of a WebSocket"),  # beta
        ({"type": "output_audio_buffer.started", "event_id": "e", "response_id": "r"}, "no event of a WebSocket"),
        ({**SPEECH_STARTED, "item_id": None}, "lacks .'item_id'"),
        ({**SPEECH_STARTED, "audio_start_ms": "20"}, "audio_start_ms"),
        ({**SPEECH_STARTED, "audio_start_ms": 20.5}, "audio_start_ms"),
        ({**SPEECH_STARTED, "audio_end_ms": 20}, "audio_end_ms"),
        (created(id=None), "id"),
        (created(object="realtime"), "object"),
        (created(voice="marin"), "voice"),  # beta
        (created(audio={"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}), "eagerness"),
    ],
)
def test_what_the_client_would_swallow_is_a_flaw(event: dict[str, Any], flaw: str) -> None:
    with pytest.raises(AssertionError, match=flaw):
        assert not flaw_of(json.dumps(event)), flaw_of(json.dumps(event))


def test_what_the_server_writes_is_held_against_them(official_events: list[str]) -> None:
    written = session.encode(InputAudioBufferCleared(event_id="event_1"))  # type: ignore[attr-defined]  # imported there
    session.encode(InputAudioBufferCommit())  # type: ignore[attr-defined]  # what a client would say
    assert official_events == [written]
    refuse_flaws(official_events)
    session.encode(InputAudioBufferCleared(event_id=7))  # type: ignore[attr-defined, arg-type]  # the flaw
    with pytest.raises(AssertionError, match="event_id"):
        refuse_flaws(official_events)
    official_events.clear()
