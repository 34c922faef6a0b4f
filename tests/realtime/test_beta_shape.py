"""The beta's shape: what its clients say becomes GA, what GA says becomes the beta."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.realtime.beta_shape import BetaShape
from pipeline.realtime.codec import ClientEventError

PCM = {"type": "audio/pcm", "rate": 24_000}
SESSION: dict[str, Any] = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_7",
    "model": "m",
    "expires_at": 9,
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "audio": {
        "input": {
            "format": PCM,
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {"type": "server_vad"},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "v", "speed": 1.0},
    },
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
}
FLAT: dict[str, Any] = {
    "id": "sess_7",
    "object": "realtime.session",
    "model": "m",
    "expires_at": 9,
    "modalities": ["text", "audio"],
    "instructions": "Be brief.",
    "voice": "v",
    "speed": 1.0,
    "input_audio_format": "pcm16",
    "output_audio_format": "g711_ulaw",
    "input_audio_transcription": None,
    "input_audio_noise_reduction": None,
    "turn_detection": {"type": "server_vad"},
    "tools": [],
    "tool_choice": "auto",
    "max_response_output_tokens": "inf",
    "temperature": 0.8,
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "status": "completed",
    "conversation_id": "conv_server",
    "output_modalities": ["audio"],
    "audio": {"output": {"format": PCM, "voice": "v"}},
    "output": [{"id": "item_1", "type": "message", "content": [{"type": "output_audio", "transcript": "hi"}]}],
}


NAMES = st.sampled_from(sorted(FLAT.keys() | {"input", "content", "type", "role", "metadata"}))


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": "event_1", **fields}


def test_a_session_is_flat_and_its_conversation_is_announced() -> None:
    created, conversation = BetaShape().from_ga(event("session.created", session=SESSION))
    assert created["session"] == FLAT
    assert conversation["type"] == "conversation.created"
    assert conversation["conversation"] == {"id": "conv_7", "object": "realtime.conversation"}
    assert conversation["event_id"] != created["event_id"]


def test_an_update_becomes_nested_and_shows_its_temperature_again() -> None:
    shape = BetaShape()
    update = {
        "modalities": ["audio", "text"],
        "voice": "w",
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "any"},
        "turn_detection": None,
        "temperature": 0.6,
        "max_response_output_tokens": 100,
    }
    assert shape.to_ga(event("session.update", session=update))["session"] == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "output": {"voice": "w"},
            "input": {"format": {"type": "audio/pcma"}, "transcription": {"model": "any"}, "turn_detection": None},
        },
        "max_output_tokens": 100,
    }
    (updated,) = shape.from_ga(event("session.updated", session=SESSION))
    assert updated["session"]["temperature"] == 0.6


@given(st.sets(st.sampled_from(sorted(FLAT.keys() - {"id", "object", "expires_at", "temperature"}))))
def test_whatever_a_client_sets_is_shown_as_it_was_set(names: set[str]) -> None:
    shape = BetaShape()
    wanted = {name: FLAT[name] for name in names}
    nested = shape.to_ga(event("session.update", session=wanted))["session"]
    (shown,) = shape.from_ga(event("session.updated", session={**nested, "id": "sess_7"}))
    assert shown["session"] == {**wanted, "id": "sess_7", "temperature": 0.8}


def test_a_transcription_session_has_names_of_its_own() -> None:
    shape = BetaShape()
    wanted: dict[str, Any] = {
        "input_audio_format": "pcm16",
        "turn_detection": None,
        "modalities": ["text"],
        "client_secret": {},
    }
    asked = event("transcription_session.update", session=wanted)
    translated = shape.to_ga(asked)
    assert (translated["type"], translated["session"]) == (
        "session.update",
        {"type": "transcription", "audio": {"input": {"format": PCM, "turn_detection": None}}},
    )
    session = {"type": "transcription", "id": "sess_1", "audio": {"input": {"format": PCM, "transcription": None}}}
    (said,) = shape.from_ga(event("session.updated", session=session))
    assert said["type"] == "transcription_session.updated"
    assert said["session"] == {"id": "sess_1", "input_audio_format": "pcm16", "input_audio_transcription": None}


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        (event("session.update", session={"type": "realtime"}), "unknown_parameter", "session.type"),
        (event("session.update", session={"audio": {}}), "unknown_parameter", "session.audio"),
        (event("session.update", session={"input_audio_format": "mp3"}), "invalid_value", "session.input_audio_format"),
        (event("session.update", session={"output_audio_format": {}}), "invalid_value", "session.output_audio_format"),
        (
            event("response.create", response={"output_modalities": []}),
            "unknown_parameter",
            "response.output_modalities",
        ),
        (event("transcription_session.update", session={"voice": "v"}), "unknown_parameter", "session.voice"),
    ],
)
def test_what_the_beta_does_not_have_is_refused_by_its_name(asked: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ClientEventError) as refused:
        BetaShape().to_ga(asked)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_a_response_is_asked_for_and_told_flat() -> None:
    shape = BetaShape()
    shape.from_ga(event("session.created", session=SESSION))
    spoken = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]}
    wanted = {"modalities": ["text"], "output_audio_format": "pcm16", "temperature": 1.1, "input": [spoken]}
    asked = shape.to_ga(event("response.create", response=wanted))["response"]
    assert asked == {
        "output_modalities": ["text"],
        "audio": {"output": {"format": PCM}},
        "input": [{**spoken, "content": [{"type": "output_text", "text": "hi"}]}],
    }
    (done,) = shape.from_ga(event("response.done", response=RESPONSE))
    assert done["response"] == {
        "id": "resp_1",
        "status": "completed",
        "conversation_id": "conv_7",
        "modalities": ["text", "audio"],
        "voice": "v",
        "output_audio_format": "pcm16",
        "temperature": 0.8,
        "output": [{"id": "item_1", "type": "message", "content": [{"type": "audio", "transcript": "hi"}]}],
    }


def test_a_response_out_of_band_stays_out_of_band() -> None:
    (done,) = BetaShape().from_ga(event("response.done", response={**RESPONSE, "conversation_id": None}))
    assert done["response"]["conversation_id"] is None


@pytest.mark.parametrize(
    ("said", "beta"),
    [
        ("response.output_audio.delta", "response.audio.delta"),
        ("response.output_audio_transcript.done", "response.audio_transcript.done"),
        ("response.output_text.delta", "response.text.delta"),
        ("conversation.item.added", "conversation.item.created"),
        ("input_audio_buffer.committed", "input_audio_buffer.committed"),
    ],
)
def test_events_have_their_older_names(said: str, beta: str) -> None:
    assert BetaShape().from_ga(event(said, item_id="item_1")) == [event(beta, item_id="item_1")]


def test_an_item_is_acknowledged_once_in_the_shorter_spelling() -> None:
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
    shape = BetaShape()
    (created,) = shape.from_ga(event("conversation.item.added", item=item))
    assert created["item"]["content"] == [{"type": "text", "text": "hi"}]
    assert shape.from_ga(event("conversation.item.done", item=item)) == []
    assert shape.to_ga(event("conversation.item.create", item=created["item"]))["item"] == item


def test_arguments_come_without_the_function_s_name() -> None:
    (done,) = BetaShape().from_ga(event("response.function_call_arguments.done", name="open", arguments="{}"))
    assert done == event("response.function_call_arguments.done", arguments="{}")


def test_an_error_names_the_field_as_the_client_wrote_it() -> None:
    error = {"message": "Invalid value: 'session.audio.output.voice'.", "param": "session.audio.output.voice"}
    (said,) = BetaShape().from_ga(event("error", error={**error, "code": "x"}))
    assert said["error"] == {"message": "Invalid value: 'session.voice'.", "param": "session.voice", "code": "x"}


@pytest.mark.parametrize("odd", [{"session": 5}, {"session": None}, {}, {"item": 5}, {"item": {"content": 7}}])
@pytest.mark.parametrize("kind", ["session.update", "response.create", "conversation.item.create", "anything"])
def test_what_is_malformed_is_left_for_the_codec_to_refuse(kind: str, odd: dict[str, Any]) -> None:
    assert BetaShape().to_ga(event(kind, **odd)) == event(kind, **odd)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(["session.update", "transcription_session.update", "response.create"]), ANYTHING)
def test_no_client_breaks_the_shape(kind: str, anything: Any) -> None:
    with suppress(ClientEventError):
        assert BetaShape().to_ga(event(kind, session=anything, response=anything))["event_id"] == "event_1"
