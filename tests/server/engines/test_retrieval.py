"""What the brain answers: words of the knowledge file, calls of the client's functions, words about their output."""

import json
from typing import Any

import pytest

from pipeline.realtime.events import Tool
from pipeline.server.engines.interfaces import Arguments, Ask, Call, Line, Words
from pipeline.server.engines.knowledge import parse_knowledge
from pipeline.server.engines.retrieval import ARGUMENTS_PIECE, respond
from pipeline.server.engines.search import Search

SEARCH = Search(
    parse_knowledge(
        b"""
greeting = "Hello."
unknown = "I do not know."
unheard = "Pardon?"
[entries.lift]
phrasings = ["Where is the lift?"]
answer = "Behind you."
[entries.weather]
phrasings = ["What is the weather like?"]
tool = "get_weather"
arguments = { place = "here", said = ["{question}"], days = 1 }
reply = "It is {temperature} degrees, {sky}."
answer = "I cannot see outside."
[entries.light_on]
phrasings = ["Switch on the light."]
tool = "light"
arguments = { on = true }
reply = "Now it is bright."
answer = "I have no light."
[entries.light_off]
phrasings = ["Make it dark."]
tool = "light"
arguments = { on = false }
reply = "Now it is dark."
answer = "I have no light."
""",
        "test.toml",
    )
)
WEATHER, LIGHT = (Tool(type="function", name=name) for name in ("get_weather", "light"))
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "size": {"enum": ["small", "big"]},
        "count": {"type": "integer", "minimum": 1},
        "loud": {"type": "boolean"},
        "list": {"type": "array"},
        "free": {"type": "string"},
    },
    "required": ["note", "size", "count", "loud", "list", "absent"],
}
STRANGE = Tool(type="function", name="strange", parameters=SCHEMA)
MCP = Tool(type="mcp", server_label="get_weather")


def said(ask: Ask) -> str:
    pieces = [*respond(SEARCH, ask)]
    assert all(isinstance(piece, Words) for piece in pieces), pieces
    return "".join(piece[0] for piece in pieces)


def called(ask: Ask) -> tuple[str, Any]:
    call, *arguments = respond(SEARCH, ask)
    assert isinstance(call, Call)
    assert arguments
    assert all(isinstance(piece, Arguments) and 1 <= len(piece.text) <= ARGUMENTS_PIECE for piece in arguments)
    return call.name, json.loads("".join(piece[0] for piece in arguments))


def user(text: str, *tools: Tool, choice: str = "auto") -> Ask:
    return Ask((Line("user", text),), tools=tools, tool_choice=choice)


def after(output: str, question: str = "What is the weather like?", tool: str = "get_weather") -> Ask:
    call = Line("call", "{}", name=tool, call_id="c")
    return Ask((Line("user", question), call, Line("output", output, call_id="c")), tools=(WEATHER, LIGHT, STRANGE))


def test_a_question_gets_its_answer_whatever_the_client_can_do() -> None:
    assert said(user("Where is the lift?")) == "Behind you."
    assert said(user("Where is the lift?", WEATHER, STRANGE)) == "Behind you."
    assert said(user("How many planets are there?", WEATHER)) == "I do not know."
    assert said(user("?!")) == "Pardon?"


def test_before_anybody_has_spoken_it_greets() -> None:
    assert said(Ask(())) == "Hello."
    assert said(Ask((Line("system", "Be kind."),), instructions="Where is the lift?")) == "Hello."


def test_a_picture_without_words_is_not_known_and_not_unheard() -> None:
    assert said(Ask((Line("user", "", images=("data:image/png;base64,",)),))) == "I do not know."


def test_a_tool_that_the_client_offers_is_called() -> None:
    expected = {"place": "here", "said": ["What is the weather like?"], "days": 1}
    assert called(user("What is the weather like?", LIGHT, WEATHER)) == ("get_weather", expected)


@pytest.mark.parametrize("ask", [
    user("What is the weather like?"),
    user("What is the weather like?", LIGHT),
    user("What is the weather like?", MCP),
    user("What is the weather like?", WEATHER, choice="none"),
])  # fmt: skip
def test_without_the_tool_the_answer_is_said(ask: Ask) -> None:
    assert said(ask) == "I cannot see outside."


def test_a_forced_call_is_made_whatever_was_asked() -> None:
    assert called(user("Where is the lift?", LIGHT, WEATHER, choice="required")) == ("light", {"on": True})
    assert called(user("What is the weather like?", LIGHT, WEATHER, choice="required"))[0] == "get_weather"
    assert called(user("What is the weather like?", LIGHT, WEATHER, choice="light")) == ("light", {"on": True})
    assert called(user("Make it dark.", LIGHT, choice="light")) == ("light", {"on": False})


def test_a_forced_tool_nobody_knows_gets_what_its_schema_requires() -> None:
    expected = {"note": "Where is the lift?", "size": "small", "count": 1, "loud": False, "list": []}
    assert called(user("Where is the lift?", STRANGE, choice="required")) == ("strange", expected)
    plain = Tool(type="function", name="plain")
    assert called(user("Where is the lift?", plain, choice="plain")) == ("plain", {})


@pytest.mark.parametrize("parameters", [{"required": "x"}, {"properties": [], "required": ["x"]},
                                        {"properties": {"x": 1}, "required": ["x", 3, None]}])  # fmt: skip
def test_a_schema_that_is_none_is_no_trouble(parameters: dict[str, Any]) -> None:
    tool = Tool(type="function", name="odd", parameters=parameters)
    assert called(user("Hm", tool, choice="required")) == ("odd", {})


def test_a_choice_without_any_function_is_answered_in_words() -> None:
    assert said(user("Where is the lift?", choice="required")) == "Behind you."
    assert said(user("Where is the lift?", MCP, choice="required")) == "Behind you."


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('{"temperature": 21.0, "sky": "clear"}', "It is 21 degrees, clear."),
        ('{"temperature": -3.5, "sky": ["grey", "wet"]}', "It is -3.5 degrees, grey, wet."),
        ('{"temperature": 21}', "I cannot see outside."),
        ('{"temperature": 21, "sky": {"deep": 1}}', "I cannot see outside."),
        ('{"temperature": null, "sky": "clear"}', "I cannot see outside."),
        ('{"temperature": 21, "sky": "clear", "error": "old"}', "I cannot see outside."),
        ("it is warm", "I cannot see outside."),
        ("", "I cannot see outside."),
        ("[" * 100_000, "I cannot see outside."),
    ],
)
def test_the_output_of_a_tool_is_put_into_the_reply(output: str, words: str) -> None:
    assert said(after(output)) == words


def test_of_several_entries_with_one_tool_the_one_that_was_meant_replies() -> None:
    assert said(after("{}", "Make it dark.", "light")) == "Now it is dark."
    assert said(after("{}", "Where is the lift?", "light")) == "Now it is bright."


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("The door is open.", "The door is open."),
        ('"The door is open."', "The door is open."),
        ('{"output": "Open."}', "Open."),
        ("42", "42"),
        ("true", "yes"),
        ('{"door": 1}', "I do not know."),
        ("", "I do not know."),
        ('{"error": "jammed"}', "I do not know."),
    ],
)
def test_of_a_tool_that_no_entry_knows_a_plain_output_is_said(output: str, words: str) -> None:
    assert said(after(output, "Where is the lift?", "strange")) == words


def test_several_outputs_are_told_one_after_the_other() -> None:
    calls = (Line("call", "{}", name="light", call_id="a"), Line("call", "{}", name="strange", call_id="b"))
    outputs = (Line("output", "{}", call_id="a"), Line("output", "Done.", call_id="b"))
    ask = Ask((Line("user", "Make it dark."), *calls, *outputs), tools=(LIGHT, STRANGE))
    assert said(ask) == "Now it is dark. Done."


def test_a_question_after_an_output_is_a_question() -> None:
    ask = after("{}")
    again = Ask((*ask.lines, Line("assistant", "Hm."), Line("user", "Where is the lift?")), tools=ask.tools)
    assert said(again) == "Behind you."
