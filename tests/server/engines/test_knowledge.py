import pytest

from pipeline.server.engines.knowledge import (
    MAX_ANSWER_CHARACTERS,
    Knowledge,
    ToolUse,
    parse_knowledge,
    plain_words,
    read_knowledge,
)
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError

GOOD = """
greeting = "Hello."
unknown = "I do not know."
unheard = "Pardon?"
[entries.lift]
phrasings = ["Where is the lift?", "Is there an elevator?"]
answer = " Behind you. "
"""


def check(text: str) -> Knowledge:
    return parse_knowledge(text.encode(), "mine.toml")


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as refused:
        check(text)
    return {problem.path: problem.message for problem in refused.value.problems}


def test_a_file_becomes_records() -> None:
    knowledge = check(GOOD)
    assert knowledge.unknown == "I do not know."
    assert [entry.name for entry in knowledge.entries] == ["lift"]
    assert knowledge.entries[0].phrasings == ("Where is the lift?", "Is there an elevator?")
    assert knowledge.entries[0].answer == "Behind you."


def test_the_shipped_file_is_right_and_knows_what_a_visitor_asks() -> None:
    shipped = read_knowledge(configuration.shipped("knowledge.toml"))
    names = {entry.name for entry in shipped.entries}
    assert {"opening_hours", "lift", "adult_ticket", "child_ticket", "restroom", "cafe", "wifi", "hello"} <= names
    assert len(names) >= 25


def test_every_problem_is_named_at_once() -> None:
    found = problems("""
greeting = "Hello."
unheard = ""
colour = "blue"
[entries]
number = 4
[entries.lift]
phrasings = ["Where is the lift?", 7, "?!", ""]
anwser = "Behind you."
[entries.stairs]
phrasings = []
answer = "There."
[entries.elevator]
phrasings = ["where is the LIFT"]
answer = "There."
""")
    assert found.keys() == {
        "unknown",
        "unheard",
        "colour",
        "entries.number",
        "entries.lift.phrasings[1]",
        "entries.lift.phrasings[2]",
        "entries.lift.phrasings[3]",
        "entries.lift.anwser",
        "entries.lift.answer",
        "entries.stairs.phrasings",
        "entries.elevator.phrasings[0]",
    }
    assert found["unknown"] == "is missing (mine.toml)"
    assert found["unheard"] == "must be a text that is not empty (mine.toml, line 3)"
    assert "says the same as entries.lift.phrasings[0]" in found["entries.elevator.phrasings[0]"]
    assert found["entries.elevator.phrasings[0]"].endswith("(mine.toml, line 14)")
    assert "known: phrasings, answer" in found["entries.lift.anwser"]
    assert found["entries.lift.answer"] == "is missing (mine.toml, line 7)"
    lines = [int(message.rpartition("line ")[2].rstrip(")")) for message in found.values() if "line" in message]
    assert lines == sorted(lines)


@pytest.mark.parametrize("entries", ["", "entries = 3", "[entries]"])
def test_a_file_without_entries_is_refused(entries: str) -> None:
    assert "needs at least one table" in problems(f'greeting = "c"\nunknown = "a"\nunheard = "b"\n{entries}')["entries"]


def test_an_answer_that_would_be_a_lecture_is_refused() -> None:
    found = problems(GOOD.replace(" Behind you. ", "on " * MAX_ANSWER_CHARACTERS))
    assert found.keys() == {"entries.lift.answer"}


TOOL = (
    GOOD
    + """
[entries.weather]
phrasings = ["Will it rain?"]
tool = "get_weather"
arguments = { place = "here", days = [1, 2] }
reply = "It is {temperature} degrees."
answer = "I cannot see outside."
"""
)


def test_an_entry_may_call_a_tool() -> None:
    entry = check(TOOL).entries[1]
    expected = ToolUse("get_weather", {"place": "here", "days": [1, 2]}, "It is {temperature} degrees.")
    assert entry.tool_use == expected
    assert check(GOOD).entries[0].tool_use is None


@pytest.mark.parametrize(
    ("old", "new", "path", "reason"),
    [
        ('tool = "get_weather"', 'tool = "get weather"', "tool", "must be the name of a function"),
        ('tool = "get_weather"', "", "reply", "has no meaning without `tool`"),
        ('reply = "It is {temperature} degrees."', "", "reply", "is missing"),
        ("{temperature}", "{the temperature}", "reply", "a brace that does not enclose the name of a field"),
        ("{temperature}", "{temperature", "reply", "a brace that does not enclose the name of a field"),
        ('{ place = "here", days = [1, 2] }', '"here"', "arguments", "must be a table"),
        ('"here"', "2026-01-01", "arguments.place", "put it into quotes"),
        ("[1, 2]", "[1, nan]", "arguments.days[1]", "put it into quotes"),
    ],
)
def test_what_is_wrong_with_a_tool_is_named(old: str, new: str, path: str, reason: str) -> None:
    assert reason in problems(TOOL.replace(old, new))[f"entries.weather.{path}"]


def test_what_is_no_toml_is_named_with_its_line() -> None:
    assert problems(GOOD + "\n[entries.")[""] == "mine.toml is not TOML (line 9, the end of document)"
    assert problems(GOOD.replace('elevator?"]', "elevator?]"))[""] == "mine.toml is not TOML (line 6)"


def test_a_name_with_control_characters_stays_one_harmless_line() -> None:
    (path,) = problems(GOOD + '[entries."a\\nb\\u001b"]\nphrasings = ["x"]\n')
    assert path.isprintable()


@pytest.mark.parametrize(
    ("text", "plain"),
    [("  Where's  the CAFÉ?! ", "wheres the café"), ("Go 10-meters.", "go 10 meters"), ("…", ""), ("", "")],
)
def test_texts_are_compared_as_plain_words(text: str, plain: str) -> None:
    assert plain_words(text) == plain
