import tomllib

import pytest

from pipeline.server.engines.knowledge import MAX_ANSWER_CHARACTERS, Knowledge, check_knowledge, plain_words
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError

GOOD = """
unknown = "I do not know."
unheard = "Pardon?"
[entries.lift]
phrasings = ["Where is the lift?", "Is there an elevator?"]
answer = " Behind you. "
"""


def check(text: str) -> Knowledge:
    return check_knowledge(tomllib.loads(text), "mine.toml")


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
    shipped = check_knowledge(configuration.read(configuration.shipped("knowledge.toml")), "knowledge.toml")
    names = {entry.name for entry in shipped.entries}
    assert {"opening_hours", "lift", "adult_ticket", "child_ticket", "restroom", "cafe", "wifi", "hello"} <= names
    assert len(names) >= 25


def test_every_problem_is_named_at_once() -> None:
    found = problems("""
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
    assert "says the same as entries.lift.phrasings[0]" in found["entries.elevator.phrasings[0]"]
    assert "known: phrasings, answer" in found["entries.lift.anwser"]


@pytest.mark.parametrize("entries", ["", "entries = 3", "[entries]"])
def test_a_file_without_entries_is_refused(entries: str) -> None:
    assert "needs at least one table" in problems(f'unknown = "a"\nunheard = "b"\n{entries}')["entries"]


def test_an_answer_that_would_be_a_lecture_is_refused() -> None:
    found = problems(GOOD.replace(" Behind you. ", "on " * MAX_ANSWER_CHARACTERS))
    assert found.keys() == {"entries.lift.answer"}


def test_a_name_with_control_characters_stays_one_harmless_line() -> None:
    (path,) = problems(GOOD + '[entries."a\\nb\\u001b"]\nphrasings = ["x"]\n')
    assert path.isprintable()


@pytest.mark.parametrize(
    ("text", "plain"),
    [("  Where's  the CAFÉ?! ", "wheres the café"), ("Go 10-meters.", "go 10 meters"), ("…", ""), ("", "")],
)
def test_texts_are_compared_as_plain_words(text: str, plain: str) -> None:
    assert plain_words(text) == plain
