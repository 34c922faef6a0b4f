from pathlib import Path

import pytest

from pipeline.cli import perform_command
from pipeline.vocabulary import configuration

KEYS = "phrasings, answer, tool, arguments, reply"
SHIPPED = str(configuration.shipped("knowledge.toml"))


def test_a_file_without_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["knowledge", "check", SHIPPED]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{SHIPPED}: no mistakes; ")
    assert err == ""


def test_every_mistake_is_one_line_with_its_line_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('greeting = "Hi."\nunknown = 4\n\n[entries.lift]\nphrasings = [\n  "Lift?",\n  7,\n]\nanser = ""\n')
    assert perform_command(["knowledge", "check", str(mine)]) == 78
    assert capsys.readouterr().err.splitlines() == [
        "talkwire: unheard: is missing (mine.toml)",
        "talkwire: unknown: must be a text that is not empty (mine.toml, line 2)",
        "talkwire: entries.lift.answer: is missing (mine.toml, line 4)",
        "talkwire: entries.lift.phrasings[1]: must be a text that is not empty (mine.toml, line 7)",
        f"talkwire: entries.lift.anser: is not known here; known: {KEYS} (mine.toml, line 9)",
    ]


def test_what_is_no_toml_and_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("\n\nunknown = I do not know\n")
    assert perform_command(["knowledge", "check", str(mine)]) == 78
    assert perform_command(["knowledge", "check", str(tmp_path / "absent.toml")]) == 78
    first, second = capsys.readouterr().err.splitlines()
    assert first == "talkwire: mine.toml is not TOML (line 3)"
    assert "cannot read" in second


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("where's the lift", ["answer:    The lift is behind you", "entry:     lift", "likeness:  0.8"]),
        ("open my locker", ["calls:     open_locker", "reply:     Locker {number}", "otherwise: I", "entry:", "like"]),
        ("what is a black hole", ["answer:    I am sorry, I do not", "entry:     none; nearest is ", "likeness:  0."]),
        ("xyzzyx", ["answer:    I am sorry, I do not know", "entry:     none; nearest is none", "likeness:  0.00"]),
        ("?!", ["answer:    I did not catch that", "entry:     none, for the question has no words"]),
    ],
)  # fmt: skip
def test_a_question_is_tried(question: str, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["knowledge", "ask", SHIPPED, question]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shown)
    for line, beginning in zip(lines, shown, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ask", SHIPPED], 'use it as: talkwire knowledge ask FILE "a question"'),
        (["check", SHIPPED, "why?"], "use it as: talkwire knowledge check FILE"),
        (["mend", SHIPPED], "mend"),
        (["check"], "FILE"),
    ],
)
def test_a_wrong_command_line_says_how_it_is_used(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perform_command(["knowledge", *arguments]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1
