import pytest
import trio
import trio.testing

from pipeline.server import outbox
from pipeline.server.outbox import Outbox


async def test_messages_come_in_order_and_end_with_none() -> None:
    box = Outbox()
    assert box.put("a")
    assert box.put("b")
    box.close()
    assert [await box.take(), await box.take(), await box.take()] == ["a", "b", None]


async def test_the_reader_is_woken(autojump_clock: object) -> None:
    box = Outbox()
    taken: list[str | None] = []

    async def read() -> None:
        taken.append(await box.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        box.put("late")
    assert taken == ["late"]


def test_bytes_are_bounded_and_come_back_when_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_UNSENT_BYTES", 10)
    box = Outbox()
    assert box.put("12345")
    assert not box.put("123456")
    box.discard()
    assert box.put("1234567890")


async def test_a_client_that_asks_for_more_than_it_reads_is_not_listened_to_until_it_has_read(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BUSY_BYTES", 5)
    box = Outbox()
    await box.not_busy()
    box.put("123")
    box.put("456")
    listened = trio.Event()

    async def listen() -> None:
        await box.not_busy()
        listened.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        assert not listened.is_set()
        await box.take()
        await listened.wait()
