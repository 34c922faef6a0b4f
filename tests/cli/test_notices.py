"""Notices as lines: JSON for programs, text for people, and never a wait for either."""

import errno
import os
from itertools import count

import pytest
import trio
import trio.testing

from pipeline.cli.notices import HELD_LINES, NoticePrinter, json_line, text_line
from pipeline.core.flood import LINES_PER_S
from pipeline.vocabulary.errors import ConnectionLostError
from pipeline.vocabulary.signals import (
    CallState,
    FaultNotice,
    FinishedNotice,
    Notice,
    OmittedNotice,
    ReloadNotice,
    StateNotice,
    TimelineNotice,
    TranscriptNotice,
)

STATE = StateNotice(CallState.USER_SPEAKING, 1.5)
WORDS = TranscriptNotice("user", "item_1", "the secret word", final=True)
FAULT = ConnectionLostError("the line is gone", cause="refused").fault()


def text(notice: Notice) -> str | None:
    return text_line(notice, with_speech=True)


def test_json_is_the_shape_of_the_control_protocol() -> None:
    assert json_line(STATE) == '{"event":"state","state":"user_speaking","at_s":1.5}'


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (STATE, "user speaking"),
        (WORDS, "  user: the secret word"),
        (TranscriptNotice("user", "item_1", "the sec", final=False), None),
        (TimelineNotice(1, {"committed": 410.0, "first_audible_sample": 812.4}), "  answered after 812 ms"),
        (TimelineNotice(1, {"committed": 410.0}), None),
        (FaultNotice(FAULT, None), "  the line is gone"),
        (FaultNotice(FAULT, 0.25), "  the line is gone; trying again in 0.2 s"),
        (FinishedNotice(1, heard_speech=True, frames={}), "finished after 1 reply"),
        (FinishedNotice(2, heard_speech=True, frames={}), "finished after 2 replies"),
    ],
)
def test_text_is_for_a_person(notice: Notice, line: str | None) -> None:
    assert text(notice) == line


def test_words_spoken_stay_out_of_a_log() -> None:
    assert text_line(WORDS, with_speech=False) is None


async def test_lines_are_printed_in_order_and_all_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    printer = NoticePrinter(text)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(printer.run)
        for turns in range(50):
            printer.notify(FinishedNotice(turns, heard_speech=True, frames={}))
        printer.close()
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == [str(turns) for turns in range(50)]


def test_a_reader_that_stands_still_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, True)

    async def hold() -> None:
        printer = NoticePrinter(lambda notice: f"{notice}" + "x" * 10_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(printer.run)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(HELD_LINES + 50):
                printer.notify(STATE)
            printer.close()

    with os.fdopen(write_end, "w") as stuck, os.fdopen(read_end, "rb") as reader:
        monkeypatch.setattr("sys.stdout", stuck)
        trio.run(hold, clock=trio.testing.MockClock(autojump_threshold=0.05))
        # one is with the writer, which stands still; HELD_LINES wait
        assert reader.read(40).startswith(b"OmittedNotice(count=49, cause='output')")
        monkeypatch.undo()
        os.set_blocking(stuck.fileno(), False)


async def test_a_reader_that_leaves_ends_the_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("os.write", refuse)
    printer = NoticePrinter(text)
    printer.notify(STATE)
    with pytest.raises(BrokenPipeError):
        await printer.run()


@pytest.mark.parametrize("heard", [True, False])
def test_it_remembers_whether_anything_was_heard(heard: bool) -> None:  # noqa: FBT001 - a parameter of the test
    printer = NoticePrinter(text)
    assert not printer.nothing_heard
    printer.notify(FinishedNotice(0, heard_speech=heard, frames={}))
    assert printer.nothing_heard is not heard


async def test_row_61_a_fault_that_repeats_itself_too_fast_is_counted(
    mock_clock: trio.testing.MockClock, capfd: pytest.CaptureFixture[str]
) -> None:
    printer = NoticePrinter(text)
    for _ in range(2):
        for _ in range(100):
            printer.notify(FaultNotice(FAULT, 0.25))
        mock_clock.jump(1.0)
    printer.close()
    await printer.run()
    lines = capfd.readouterr().out.splitlines()
    assert sum("the line is gone" in line for line in lines) == 2 * LINES_PER_S
    assert [line for line in lines if "left out" in line] == ["  80 more lines left out (refused)"] * 2


async def test_row_57_lines_that_a_full_disk_does_not_take_are_counted_and_told_later(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write, calls = os.write, count(1)

    def nearly_full(descriptor: int, data: bytes) -> int:
        match next(calls):
            case 1:
                return write(descriptor, data[:10])
            case 2 | 3 | 4:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    printer = NoticePrinter(text)
    for _ in range(4):
        printer.notify(STATE)
    printer.close()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.cli.notices.os.write", nearly_full)
        await printer.run()
    assert capfd.readouterr().out.splitlines() == [
        "user speak",
        "  2 more lines left out (output)",
        "user speaking",
        "user speaking",
    ]


@pytest.mark.parametrize(
    ("notice", "lines"),
    [
        (ReloadNotice([], [], []), ["  settings unchanged"]),
        (
            ReloadNotice(["audio.volume"], ["service.url", "audio.input"], []),
            ["  applied: audio.volume", "  needs a restart: service.url", "  needs a restart: audio.input"],
        ),
        (ReloadNotice([], [], ["audio.volume: is bad"]), ["  settings kept: audio.volume: is bad"]),
        (OmittedNotice(1, "dns"), ["  1 more line left out (dns)"]),
    ],
)
def test_a_reload_is_one_line_for_each_thing(notice: Notice, lines: list[str]) -> None:
    assert (text(notice) or "").splitlines() == lines
