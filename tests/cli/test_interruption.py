"""Signals end a program: the first one asks, the second one insists, and the exit code tells which it was."""

import signal

import pytest
import trio

from pipeline.cli import interruption
from pipeline.cli.interruption import perform
from pipeline.vocabulary.errors import NothingHeardError


def test_work_that_ends_is_exit_0() -> None:
    assert perform(trio.lowlevel.checkpoint) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_work_that_cannot_be_asked(number: signal.Signals, status: int) -> None:
    async def work() -> None:
        signal.raise_signal(number)
        await trio.sleep_forever()

    assert perform(work) == status


def test_the_first_signal_asks() -> None:
    asked = trio.Event()
    said_goodbye = False

    async def work() -> None:
        nonlocal said_goodbye
        signal.raise_signal(signal.SIGINT)
        await asked.wait()
        await trio.lowlevel.checkpoint()
        said_goodbye = True

    assert perform(work, stop=asked.set) == 130
    assert said_goodbye


def test_the_second_signal_insists() -> None:
    asked: list[bool] = []
    insisted: list[bool] = []

    async def work() -> None:
        signal.raise_signal(signal.SIGTERM)
        while not asked:
            await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    assert perform(work, stop=lambda: asked.append(True), insist=lambda: insisted.append(True)) == 0
    assert (asked, insisted) == ([True], [True])


def test_work_that_does_not_end_is_ended_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE_S", 0.0)

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    assert perform(work, stop=lambda: None) == 130


def test_errors_while_being_stopped_are_not_reported() -> None:
    asked = trio.Event()

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        await asked.wait()
        raise NothingHeardError("nothing was heard")

    assert perform(work, stop=asked.set) == 130


def test_the_first_of_several_errors_is_raised_alone() -> None:
    async def fail(message: str) -> None:
        raise NothingHeardError(message)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, "one")
            nursery.start_soon(fail, "two")

    with pytest.raises(NothingHeardError):
        perform(work)


def test_a_defect_keeps_its_traceback() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(BaseExceptionGroup) as caught:
        perform(work)
    assert caught.group_contains(ZeroDivisionError)
