import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.realtime import codec
from pipeline.realtime.codec import (
    ClientEventError,
    audio_bytes,
    complaint,
    decode_client,
    decode_server,
    encode,
    encode_append,
)
from pipeline.realtime.events import (
    ClientEvent,
    ConversationItemAdded,
    ConversationItemCreated,
    ErrorBody,
    Event,
    Failure,
    InputAudioBufferAppend,
    InputAudioBufferSpeechStarted,
    OutputAudioBufferClear,
    ResponseDone,
    ResponseOutputAudioDelta,
    ServerEvent,
    SessionCreated,
    SessionUpdate,
    UnknownEvent,
)
from pipeline.vocabulary.errors import ProtocolError

Strategies = Callable[[type[Event]], st.SearchStrategy[Event]]

CLIENT_KINDS: tuple[type[Event], ...] = get_args(ClientEvent)
SERVER_KINDS: tuple[type[Event], ...] = get_args(ServerEvent)
FEW = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CANARY = "swordfish"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def wire(event: Event) -> dict[str, Any]:
    raw = json.loads(encode(event))  # the stdlib's reader, as a second opinion
    assert isinstance(raw, dict)
    return raw


def required_fields(kind: type[Event]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(kind) if field.required]


def client_error(message: str | bytes) -> ClientEventError:
    with pytest.raises(ClientEventError) as caught:
        decode_client(message)
    return caught.value


def server_error(message: str) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode_server(message)
    assert not isinstance(caught.value, ClientEventError)
    return caught.value


# every event, both ways


@pytest.mark.parametrize("kind", SERVER_KINDS)
@FEW
@given(data=st.data())
def test_server_events_survive_the_wire(data: st.DataObject, kind: type[Event], events_of: Strategies) -> None:
    event = data.draw(events_of(kind))
    assert decode_server(encode(event)) == event
    assert decode_server(json.dumps({**wire(event), "obfuscation": "x1", "future": {"a": [1]}})) == event


@pytest.mark.parametrize("kind", CLIENT_KINDS)
@FEW
@given(data=st.data())
def test_client_events_survive_the_wire(data: st.DataObject, kind: type[Event], events_of: Strategies) -> None:
    event = data.draw(events_of(kind))
    assert decode_client(encode(event)) == event


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_missing_field_is_named(data: st.DataObject, events_of: Strategies) -> None:
    kind = data.draw(st.sampled_from([kind for kind in SERVER_KINDS + CLIENT_KINDS if required_fields(kind)]))
    name = data.draw(st.sampled_from(required_fields(kind)))
    raw = wire(data.draw(events_of(kind)))
    del raw[name]
    if kind in CLIENT_KINDS:
        error = client_error(json.dumps(raw))
        assert (error.code, error.param) == ("missing_required_parameter", name)
    else:
        server = server_error(json.dumps(raw))
        assert server.cause == "missing_required_parameter"
        assert name in server.message


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mangled_events_are_read_or_refused(data: st.DataObject, events_of: Strategies) -> None:
    raw = wire(data.draw(st.sampled_from(SERVER_KINDS + CLIENT_KINDS).flatmap(events_of)))
    raw[data.draw(st.sampled_from(sorted(raw)))] = data.draw(JSON_VALUES)
    for decode in (decode_server, decode_client):
        with contextlib.suppress(ProtocolError):
            assert decode(json.dumps(raw)).type == raw["type"]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_half_a_message_is_refused(data: st.DataObject, events_of: Strategies) -> None:
    text = encode(data.draw(st.sampled_from(SERVER_KINDS + CLIENT_KINDS).flatmap(events_of)))
    half = text[: data.draw(st.integers(0, len(text) - 1))]
    assert server_error(half).cause == "invalid_json"
    assert client_error(half).code == "invalid_json"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=50))
def test_any_text_is_refused_without_a_crash(text: str) -> None:
    assert server_error(text).cause in {"invalid_json", "invalid_event", "missing_required_parameter"}  # the last: {}
    assert client_error(text).code in {"invalid_json", "invalid_event"}


# what is no event at all


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("", "invalid_json", None),
        ("hello", "invalid_json", None),
        ('{"type": NaN}', "invalid_json", None),
        ('{"type": "a"} {}', "invalid_json", None),
        ('{"type": "\ud800"}', "invalid_json", None),
        ('{"type": "\\ud800"}', "invalid_json", None),
        (f'{{"type": {"9" * 5000}}}', "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ('{"type":"session.update","session":' + '{"a":' * 100_000, "invalid_json", None),
        ("[]", "invalid_event", None),
        ("null", "invalid_event", None),
        ('"session.created"', "invalid_event", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": null}', "invalid_type", "type"),
        ('{"type": 7}', "invalid_type", "type"),
        ('{"type": ["error"]}', "invalid_type", "type"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_no_event(text: str, code: str, param: str | None) -> None:
    assert server_error(text).cause == code
    error = client_error(text)
    assert (error.code, error.param) == (code, param)


def test_an_oversized_message_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"type":"input_audio_buffer.clear"}'
    monkeypatch.setattr(codec, "MAX_MESSAGE_CHARS", len(text))
    decode_client(text)
    assert client_error(text + " ").code == "invalid_event"
    assert server_error(text + " ").cause == "invalid_event"


def test_sixteen_mebibytes_are_read() -> None:
    assert codec.MAX_MESSAGE_CHARS == 16 * 1024 * 1024
    append = InputAudioBufferAppend(audio="A" * 15 * 1024 * 1024)
    assert decode_client(encode(append)) == append


def test_a_binary_message_is_an_invalid_event() -> None:
    assert client_error(b'{"type":"input_audio_buffer.clear"}').code == "invalid_event"


# what a client reads


def test_unknown_server_events_are_kept_whole() -> None:
    event = decode_server('{"type":"future.event","event_id":"e1","more":[1,{"a":null}]}')
    assert event == UnknownEvent(
        type="future.event", raw={"type": "future.event", "event_id": "e1", "more": [1, {"a": None}]}
    )


@pytest.mark.parametrize(
    ("beta", "ga", "payload"),
    [
        ("response.text.delta", "response.output_text.delta", {"delta": "Hi"}),
        ("response.text.done", "response.output_text.done", {"text": "Hi"}),
        ("response.audio.delta", "response.output_audio.delta", {"delta": "AAAA"}),
        ("response.audio.done", "response.output_audio.done", {}),
        ("response.audio_transcript.delta", "response.output_audio_transcript.delta", {"delta": "Hi"}),
        ("response.audio_transcript.done", "response.output_audio_transcript.done", {"transcript": "Hi"}),
    ],
)
def test_beta_names_mean_the_ga_events(beta: str, ga: str, payload: dict[str, str]) -> None:
    place = {"event_id": "e1", "response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    old, new = (
        decode_server(json.dumps({"type": beta, **place, **payload})),
        json.dumps({"type": ga, **place, **payload}),
    )
    assert old == decode_server(new)
    assert old.type == ga


def test_the_older_item_event_stays_itself() -> None:
    event = decode_server('{"type":"conversation.item.created","event_id":"e1","item":{"type":"message"}}')
    assert isinstance(event, ConversationItemCreated)


def test_a_service_may_leave_out_and_null_what_is_optional() -> None:
    event = decode_server(
        '{"event_id":"e1","previous_item_id":null,"type":"conversation.item.added","item":{"type":"message","id":null,'
        '"content":[{"type":"audio","transcript":null},{"type":"output_text","text":"Hi","annotations":[]}]}}'
    )
    assert isinstance(event, ConversationItemAdded)
    assert event.previous_item_id is None
    assert event.item.content is not None
    assert [(part.is_audio, part.text) for part in event.item.content] == [(True, None), (False, "Hi")]


def test_a_session_as_the_service_reports_it() -> None:
    event = decode_server(
        '{"type":"session.created","event_id":"event_1","session":{"type":"realtime","object":"realtime.session",'
        '"id":"sess_1","model":"gpt-realtime-2.1","output_modalities":["audio"],"instructions":"Be kind.","tools":[],'
        '"tool_choice":"auto","max_output_tokens":"inf","tracing":null,"truncation":"auto","prompt":null,'
        '"expires_at":1756324832,"audio":{"input":{"format":{"type":"audio/pcm","rate":24000},"transcription":null,'
        '"noise_reduction":null,"turn_detection":{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,'
        '"silence_duration_ms":200,"idle_timeout_ms":null,"create_response":true,"interrupt_response":true}},'
        '"output":{"format":{"type":"audio/pcm","rate":24000},"voice":"marin","speed":1}},"include":null}}'
    )
    assert isinstance(event, SessionCreated)
    session = event.session
    assert (session.expires_at, session.max_output_tokens, session.tracing) == (1756324832, "inf", None)
    assert session.audio is not None
    assert session.audio.input is not None
    assert session.audio.input.transcription is None
    assert session.audio.input.turn_detection
    assert session.audio.input.turn_detection.silence_duration_ms == 200


def test_a_failed_response_as_the_service_reports_it() -> None:
    event = decode_server(
        '{"type":"response.done","event_id":"event_1","response":{"object":"realtime.response","id":"resp_1",'
        '"status":"failed","status_details":{"type":"failed","error":{"type":"server_error","code":"server_error"}},'
        '"output":[],"usage":{"total_tokens":3,"input_token_details":{"cached_tokens":1,"cached_tokens_details":'
        '{"audio_tokens":1}}}}}'
    )
    assert isinstance(event, ResponseDone)
    assert event.response.status_details is not None
    assert event.response.status_details.error == Failure(type="server_error", code="server_error")
    assert event.response.usage is not None
    assert event.response.usage.output_tokens is None


def test_a_mistyped_field_of_the_service_is_named() -> None:
    error = server_error(
        '{"type":"input_audio_buffer.speech_started","event_id":"e1","item_id":"i1","audio_start_ms":"soon"}'
    )
    assert error.cause == "invalid_type"
    assert "audio_start_ms" in error.message
    assert "soon" not in error.message


# what a server reads


@pytest.mark.parametrize("name", ["session.created", "future.event", "", "output_audio_buffer.clear"])
def test_an_unknown_client_event_is_told_what_is_supported(name: str) -> None:
    error = client_error(json.dumps({"type": name, "event_id": "mine"}))
    assert (error.code, error.param, error.event_id) == ("invalid_value", "type", "mine")
    for kind in CLIENT_KINDS:
        assert f"'{kind.__struct_config__.tag}'" in error.message
    assert "output_audio_buffer" not in error.message


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": None}, "invalid_type", "session"),
        ({"type": "session.update", "session": {"modalities": []}}, "unknown_parameter", "session.modalities"),
        (
            {"type": "session.update", "session": {"audio": {"input": {}, "foo": 1}}},
            "unknown_parameter",
            "session.audio.foo",
        ),
        (
            {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {}}}}},
            "missing_required_parameter",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"type": "session.update", "session": {"audio": {"output": {"speed": "fast"}}}},
            "invalid_type",
            "session.audio.output.speed",
        ),
        (
            {"type": "session.update", "session": {"tools": [{"type": "function"}, {"type": "mcp", "url": ""}]}},
            "unknown_parameter",
            "session.tools[1].url",
        ),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 7}, "invalid_type", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "", "format": 1}, "unknown_parameter", "format"),
        ({"type": "input_audio_buffer.commit", "item": {}}, "unknown_parameter", "item"),
        (
            {"type": "conversation.item.create", "item": {"type": "message", "content": [{"text": "Hi"}]}},
            "missing_required_parameter",
            "item.content[0].type",
        ),
        (
            {"type": "conversation.item.create", "item": {"type": "message", "content": [{"type": "a", "b": 1}]}},
            "unknown_parameter",
            "item.content[0].b",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": -1},
            "invalid_value",
            "audio_end_ms",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 1.5},
            "invalid_type",
            "audio_end_ms",
        ),
        (
            {"type": "response.create", "response": {"input": [{"id": "i"}]}},
            "missing_required_parameter",
            "response.input[0].type",
        ),
        ({"type": "response.create", "response": {"metadata": {"a": 1}}}, "invalid_type", "response.metadata[...]"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_flaw_in_a_client_event_is_named(body: dict[str, Any], code: str, param: str) -> None:
    error = client_error(json.dumps({**body, "event_id": "mine"}))
    assert (error.code, error.param, error.event_id) == (code, param, "mine")
    assert error.cause == code
    assert param in error.message
    assert error.body() == ErrorBody(
        type="invalid_request_error", code=code, message=error.message, param=param, event_id="mine"
    )


def test_null_and_absent_reach_the_server_apart() -> None:
    text = '{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}'
    event = decode_client(text)
    assert isinstance(event, SessionUpdate)
    assert event.session.audio is not None
    assert event.session.audio.input is not None
    assert event.session.audio.input.turn_detection is None
    assert event.session.audio.input.transcription is msgspec.UNSET
    assert encode(event) == text


def test_tools_and_metadata_are_the_clients_own_affair() -> None:
    parameters = {"type": "object", "properties": {"floor": {"type": "integer"}}}
    session = {"type": "realtime", "tools": [{"type": "function", "name": "lift", "parameters": parameters}]}
    event = decode_client(json.dumps({"type": "session.update", "session": session}))
    assert isinstance(event, SessionUpdate)
    assert event.session.tools is not None
    assert event.session.tools[0].parameters == parameters


@pytest.mark.parametrize("event_id", [7, None, "x" * 513])
def test_an_unusable_event_id_is_not_echoed(event_id: object) -> None:
    error = client_error(json.dumps({"type": "conversation.item.delete", "event_id": event_id}))
    assert error.event_id is None


def test_an_overlong_event_id_is_refused() -> None:
    error = client_error(json.dumps({"type": "input_audio_buffer.clear", "event_id": "x" * 513}))
    assert (error.code, error.param) == ("invalid_value", "event_id")
    decode_client(json.dumps({"type": "input_audio_buffer.clear", "event_id": "x" * 512}))


def test_a_long_unknown_field_is_not_repeated_at_length() -> None:
    error = client_error(json.dumps({"type": "input_audio_buffer.clear", "x" * 10_000: 1}))
    assert error.code == "unknown_parameter"
    assert len(error.message) < 300


@pytest.mark.parametrize(
    "body",
    [
        {"type": CANARY},
        {"type": "session.update", "session": CANARY},
        {"type": "input_audio_buffer.append", "audio": [CANARY]},
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": CANARY}},
        {"type": "response.done", "event_id": CANARY, "response": [CANARY]},
        {"type": "conversation.item.added", "event_id": "e1", "item": {"type": "message", "content": [CANARY]}},
    ],
    ids=lambda body: str(body["type"]),
)
def test_errors_do_not_repeat_what_was_said(body: dict[str, Any]) -> None:
    assert CANARY not in client_error(json.dumps(body)).message
    if body["type"] in {"response.done", "conversation.item.added"}:
        assert CANARY not in server_error(json.dumps(body)).message


# sound


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=2_000))
def test_an_append_is_what_its_event_would_be(payload: bytes) -> None:
    text = encode_append(payload)
    assert text == encode(InputAudioBufferAppend(audio=base64.b64encode(payload).decode()))
    assert text == encode_append(memoryview(payload))
    event = decode_client(text)
    assert isinstance(event, InputAudioBufferAppend)
    assert audio_bytes(event.audio) == payload


@pytest.mark.parametrize(
    "delta",
    [
        "A",
        "AA",
        "AAA",
        "AA=",
        "AA===",
        "=AAA",
        "AAAA=",
        "AAAA====",
        "AA==AA==",
        "AAAA\n",
        "AA AA==",
        "A-_A",
        "????",
        "AAAä",
        "\ud800",
    ],
)
def test_bad_base64_is_refused(delta: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        audio_bytes(delta)
    assert caught.value.cause == "invalid_base64"
    assert delta not in caught.value.message


def test_an_empty_delta_is_no_sound() -> None:
    assert audio_bytes("") == b""


def test_encoding_writes_the_type_first_and_only_what_is_there() -> None:
    assert encode(OutputAudioBufferClear()) == '{"type":"output_audio_buffer.clear"}'
    started = InputAudioBufferSpeechStarted(event_id="e1", item_id="i1", audio_start_ms=320)
    assert wire(started) == {
        "type": "input_audio_buffer.speech_started",
        "event_id": "e1",
        "item_id": "i1",
        "audio_start_ms": 320,
    }
    delta = ResponseOutputAudioDelta(
        event_id="e1", response_id="r1", item_id="i1", output_index=0, content_index=0, delta="AAAA"
    )
    assert encode(delta).startswith('{"type":"response.output_audio.delta",')


@pytest.mark.parametrize(
    ("said", "code", "param"),
    [
        ("Object contains unknown field `pitch`", "unknown_parameter", "pitch"),
        ("Object contains unknown field `a\nb` - at `$.session`", "unknown_parameter", "session.a\nb"),
        ("Object missing required field `input`", "missing_required_parameter", "input"),
        ("Expected `int` <= 7200 - at `$.expires_after.seconds`", "invalid_value", "expires_after.seconds"),
        ("Expected `int`, got `str` - at `$.messages[3].n`", "invalid_type", "messages[3].n"),
    ],
)
def test_a_complaint_about_a_body_becomes_code_and_path(said: str, code: str, param: str) -> None:
    refused = complaint(said)
    assert (refused.code, refused.param) == (code, param)
