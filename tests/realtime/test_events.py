import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from pipeline.realtime import events
from pipeline.realtime.events import (
    AudioInput,
    ClientEvent,
    ContentPart,
    ConversationItemInputAudioTranscriptionCompleted,
    CustomVoice,
    ErrorEvent,
    Event,
    Item,
    ResponseFunctionCallArgumentsDone,
    ResponseOutputAudioDelta,
    ServerEvent,
    Session,
    SessionUpdate,
    Tool,
    UnknownEvent,
)

# Name, direction and required fields of every GA event that a WebSocket carries, taken from openai-python 3.54.0.
GA_EVENTS = json.loads(Path(__file__).with_name("ga_events.json").read_text(encoding="utf-8"))
CLASSES: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for union in (ClientEvent, ServerEvent) for kind in get_args(union)
}
FORGIVEN = {  # required by GA, left out by older services whose event is useful without it
    (ConversationItemInputAudioTranscriptionCompleted, "usage"),
    (ResponseFunctionCallArgumentsDone, "name"),
}
CANARY = "the password is swordfish"


def test_the_reference_is_complete() -> None:
    assert len(GA_EVENTS) == 52
    assert {(fact["direction"], fact["name"]) for fact in GA_EVENTS} == {
        ("client" if kind in get_args(ClientEvent) else "server", name) for name, kind in CLASSES.items()
    }


@pytest.mark.parametrize("fact", GA_EVENTS, ids=lambda fact: fact["name"])
def test_required_fields_are_required(fact: dict[str, Any]) -> None:
    kind = CLASSES[fact["name"]]
    fields = {field.name: field.required for field in msgspec.structs.fields(kind)}
    assert set(fact["required"]) <= set(fields)
    required = {name for name, is_required in fields.items() if is_required}
    assert required == {name for name in fact["required"] if (kind, name) not in FORGIVEN}
    assert "event_id" in fields


@pytest.mark.parametrize("name", CLASSES)
def test_class_names_follow_the_wire(name: str) -> None:
    camel = "".join(word.capitalize() for word in re.split(r"[._]", name)) if name != "error" else "ErrorEvent"
    assert getattr(events, camel) is CLASSES[name]


def test_an_event_knows_its_type() -> None:
    delta = ResponseOutputAudioDelta(
        event_id="e1", response_id="r1", item_id="i1", output_index=0, content_index=0, delta="AAAA"
    )
    assert delta.type == "response.output_audio.delta"


@pytest.mark.parametrize(
    "record",
    [
        SessionUpdate(session=Session(type="realtime", instructions=CANARY)),
        Session(type="realtime", instructions=CANARY, tools=[Tool(type="mcp", authorization=CANARY)]),
        Tool(type="mcp", authorization=CANARY, headers={"Authorization": CANARY}),
        Item(type="message", id="i1", content=[ContentPart(type="input_text", text=CANARY)]),
        ContentPart(type="audio", transcript=CANARY, audio=CANARY),
        ErrorEvent(event_id="e1", error=events.ErrorBody(code="invalid_value", message=CANARY)),
        UnknownEvent(type="future.words", raw={"words": CANARY}),
    ],
)
def test_a_repr_shows_no_words_and_no_secret(record: events.WireRecord) -> None:
    assert CANARY not in repr(record)
    assert CANARY not in str(record.__rich_repr__())


def test_a_repr_shows_ids_and_positions() -> None:
    record = events.ConversationItemTruncate(item_id="item_7", content_index=0, audio_end_ms=480)
    assert repr(record) == "ConversationItemTruncate(item_id='item_7', content_index=0, audio_end_ms=480)"


@pytest.mark.parametrize(
    ("part_type", "audio", "text"),
    [
        ("audio", True, False),
        ("output_audio", True, False),
        ("input_audio", True, False),
        ("text", False, True),
        ("output_text", False, True),
        ("input_text", False, True),
        ("input_image", False, False),
    ],
)
def test_both_spellings_of_a_part(part_type: str, audio: bool, text: bool) -> None:  # noqa: FBT001 - table columns
    part = ContentPart(type=part_type)
    assert (part.is_audio, part.is_text) == (audio, text)


def test_absent_and_null_are_different_where_null_says_something() -> None:
    absent, null = msgspec.json.encode(AudioInput()), msgspec.json.encode(AudioInput(turn_detection=None))
    assert (absent, null) == (b"{}", b'{"turn_detection":null}')
    assert msgspec.json.decode(absent, type=AudioInput).turn_detection is msgspec.UNSET
    assert msgspec.json.decode(null, type=AudioInput).turn_detection is None


def test_a_voice_is_a_name_or_an_object() -> None:
    named = msgspec.json.decode(b'{"voice":"marin"}', type=events.AudioOutput)
    custom = msgspec.json.decode(b'{"voice":{"id":"voice_1"}}', type=events.AudioOutput)
    assert (named.voice, custom.voice) == ("marin", CustomVoice(id="voice_1"))
