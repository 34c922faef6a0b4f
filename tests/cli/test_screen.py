"""What the demo shows at a terminal and elsewhere."""

import io

import msgspec
from rich.console import Console

from pipeline.cli.call_record import CallRecord
from pipeline.cli.screen import Screen
from pipeline.vocabulary.signals import AnyNotice, CallState, StateNotice, TranscriptNotice

NOTICES: list[AnyNotice] = [
    StateNotice(CallState.USER_SPEAKING, 1.0),
    TranscriptNotice("user", "item_1", "Is [red]this[/red] open", final=False),
    TranscriptNotice("user", "item_1", "Is [red]this[/red] open?", final=True),
    TranscriptNotice("assistant", "item_2", "Yes.", final=True),
    StateNotice(CallState.SPEAKING, 2.0),
]


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    record = CallRecord()
    with Screen(Console(file=out, force_terminal=terminal, width=80, color_system=None)) as screen:
        screen.starting("local server")
        for notice in NOTICES:
            screen.show(record.add(msgspec.json.encode(notice)), record)
    return out.getvalue()


def test_plain_lines_say_each_thing_once() -> None:
    assert [line.split(maxsplit=1) for line in shown(terminal=False).splitlines()] == [
        ["starting", "local server"],
        ["now", "user speaking"],
        ["you", "Is [red]this[/red] open?"],
        ["talkwire", "Yes."],
        ["now", "speaking"],
    ]


def test_a_terminal_sees_words_as_they_come_and_ends_with_all_of_them() -> None:
    text = shown(terminal=True)
    assert "Is [red]this[/red] open\n" in text.replace(" \n", "\n").replace("\r", "") or "open " in text
    last = text.rpartition("\x1b[2K")[2]
    assert "Yes." in text
    assert "speaking" in last or "speaking" in text.splitlines()[-1]
