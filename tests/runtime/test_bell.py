"""A bell wakes who waits, and nobody else."""

import trio
from trio.testing import wait_all_tasks_blocked

from pipeline.runtime.bell import Bell


async def test_it_wakes_all_who_wait_and_nobody_who_comes_later() -> None:
    bell = Bell()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await bell.wait()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        bell.ring()  # nobody hears it
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, 2)
        await wait_all_tasks_blocked()
        assert woken == []
        bell.ring()
        nursery.start_soon(wait, 3)
        await wait_all_tasks_blocked()
        assert sorted(woken) == [1, 2]
        nursery.cancel_scope.cancel()


async def test_who_is_cancelled_waits_no_longer() -> None:
    bell = Bell()
    with trio.move_on_after(0):
        await bell.wait()
    bell.ring()  # would wake a task that has gone on
    await wait_all_tasks_blocked()


async def test_who_is_woken_and_cancelled_at_once_was_woken() -> None:
    bell = Bell()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.wait)
            await wait_all_tasks_blocked()
            bell.ring()
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
