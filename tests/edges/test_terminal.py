"""Enter is the talk key."""

import os
from contextlib import aclosing

import pytest
import trio
import trio.testing

from pipeline.edges.terminal import TerminalKeys
from pipeline.vocabulary.signals import Command, PressTalk, ReleaseTalk


async def test_enter_presses_and_enter_releases() -> None:
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, b"\nhello\n\n")
        async with aclosing(TerminalKeys(terminal).commands()) as commands:
            typed = [await anext(commands) for _ in range(3)]
        assert typed == [PressTalk(), ReleaseTalk(), PressTalk()]
    finally:
        os.close(keyboard)
        os.close(terminal)


async def test_it_waits_without_a_key() -> None:
    read_end, write_end = os.pipe()
    typed: list[Command] = []

    async def type_into_list() -> None:
        async for command in TerminalKeys(read_end).commands():
            typed.append(command)  # noqa: PERF401 - looked at while it grows

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(type_into_list)
            await trio.testing.wait_all_tasks_blocked()
            os.write(write_end, b"x")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert typed == []
            os.write(write_end, b"\n")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert typed == [PressTalk()]
            nursery.cancel_scope.cancel()
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("hangs_up", ["pipe", "terminal"])
async def test_a_terminal_that_goes_away_ends_it(hangs_up: str) -> None:
    keyboard, terminal = os.openpty() if hangs_up == "terminal" else os.pipe()[::-1]
    os.close(keyboard)
    try:
        assert [command async for command in TerminalKeys(terminal).commands()] == []
    finally:
        os.close(terminal)
