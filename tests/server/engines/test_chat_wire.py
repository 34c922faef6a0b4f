import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.realtime.events import Tool
from pipeline.server.engines.chat_wire import MAX_EVENT_BYTES, AnswerReader, request_body
from pipeline.server.engines.interfaces import Arguments, Ask, Call, Line, Piece, Words
from pipeline.vocabulary.errors import ProtocolError

TOOL = Tool(type="function", name="door", description="Opens", parameters={"type": "object"})


def body(ask: Ask) -> Any:
    return json.loads(request_body("m", ask))


def delta(**changes: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": changes}]}).encode() + b"\n\n"


def call(arguments: str | None = None, name: str | None = None, **more: Any) -> bytes:
    return delta(tool_calls=[{**more, "function": {"name": name, "arguments": arguments}}])


DONE = b"data: [DONE]\n\n"
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


def read(*received: bytes) -> list[Piece]:
    reader = AnswerReader()
    pieces = [piece for each in received for piece in reader.feed(each)]
    assert reader.finished
    return pieces


def test_a_conversation_becomes_messages() -> None:
    lines = (
        Line("system", "Be brief."),
        Line("user", "What is this?", images=("data:image/png;base64,AA==",)),
        Line("assistant", "A cat."),
        Line("user", "", images=("data:image/png;base64,BB==",)),
    )
    assert body(Ask(lines, instructions="You are a desk.")) == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "You are a desk."},
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,BB=="}}]},
        ],
    }


def test_a_question_out_of_band_is_asked_by_a_user() -> None:
    assert body(Ask((), instructions="Say hello."))["messages"] == [{"role": "user", "content": "Say hello."}]


def test_a_call_stands_right_before_its_output_and_half_of_either_nowhere() -> None:
    lines = (
        Line("call", '{"n":1}', name="door", call_id="a"),
        Line("call", "{}", name="door", call_id="never answered"),
        Line("user", "Well?"),
        Line("output", "Open.", call_id="a"),
        Line("output", "Late.", call_id="never called"),
    )
    assert body(Ask(lines))["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "door", "arguments": '{"n":1}'}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "Open."},
        {"role": "user", "content": "Well?"},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [("auto", "auto"), ("required", "required"), ("door", {"type": "function", "function": {"name": "door"}})],
)
def test_functions_are_offered(choice: str, sent: object) -> None:
    asked = body(Ask((), tools=(TOOL, Tool(type="mcp", server_label="x")), tool_choice=choice))
    function = {"name": "door", "description": "Opens", "parameters": {"type": "object"}}
    assert asked["tools"] == [{"type": "function", "function": function}]
    assert asked["tool_choice"] == sent


@pytest.mark.parametrize("ask", [Ask((), tools=(TOOL,), tool_choice="none"), Ask(())])
def test_functions_that_must_not_be_called_are_not_named(ask: Ask) -> None:
    assert {"tools", "tool_choice"}.isdisjoint(body(ask))


def test_words_come_as_they_are_said_until_the_answer_ends() -> None:
    expected = [Words("Hello"), Words(" there.")]
    said = delta(role="assistant", content="") + b": ping\n\n" + delta(content="Hello") + delta(content=" there.")
    assert read(said + DONE) == expected
    assert read(said + STOP, delta(content="late")) == expected


@given(cuts=st.lists(st.integers(0, 400), max_size=20))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    calls = call("", "door", index=0, id="a") + call('{"n":', index=0) + call("1}", index=0)
    whole = (delta(content="Grüß Gott") + calls + STOP).replace(b"\n", b"\r\n")
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = read(*(whole[a:b] for a, b in itertools.pairwise(edges)))
    assert pieces == [Words("Grüß Gott"), Call("door"), Arguments('{"n":'), Arguments("1}")]


@pytest.mark.parametrize(
    "events",
    [
        [
            call("", "door", index=0, id="a"),
            call("{}", index=0),
            call("", "lamp", index=1, id="b"),
            call("[]", index=1),
        ],
        [call("{}", "door", index=0, id="a"), call("[]", "lamp", index=0, id="b")],
        [call("{}", "door", id="a"), call("[]", "lamp", id="b")],
        [call("{", "door", index=0, id="a"), call("}", "door", index=0, id="a"), call("[]", "lamp", index=1, id="b")],
        [call(None, "door", index=0, id="a"), call("[]", "lamp", index=1, id="b")],
    ],
)
def test_two_calls_are_told_apart_in_every_dialect(events: list[bytes]) -> None:
    pieces = read(*events, DONE)
    assert [piece.name for piece in pieces if isinstance(piece, Call)] == ["door", "lamp"]
    second = pieces.index(Call("lamp"))
    arguments = [
        "".join(p.text for p in half if isinstance(p, Arguments)) for half in (pieces[:second], pieces[second:])
    ]
    assert arguments == ["{}", "[]"]


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    assert read(call("", "door", index=0, id="a"), STOP) == [Call("door"), Arguments("{}")]


@pytest.mark.parametrize(
    "event",
    [
        b"data: nonsense\n",
        b"data: []\n",
        b'data: {"choices": [{"delta": {"content": 1}}]}\n',
        b'data: {"error": {"message": "overloaded"}}\n',
        b"data: " + b"[" * 100_000 + b"\n",
        b"data: \xff\n",
        b"x" * (MAX_EVENT_BYTES + 1),
        call("{}", index=0),
    ],
)
def test_what_is_no_answer_is_refused_without_being_shown(event: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        AnswerReader().feed(event)
    assert "overloaded" not in refused.value.message
    assert len(refused.value.message) < 80
