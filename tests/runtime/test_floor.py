import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from pipeline.runtime.floor import Floor


async def test_the_floor_only_rises() -> None:
    floor = Floor()
    assert floor.value == 0
    for turn in (3, 2, 3, 5):
        floor.raise_to(turn)
    assert floor.value == 5


async def test_every_link_is_purged_before_a_raise_returns_and_only_by_a_raise() -> None:
    floor = Floor()
    purged: list[tuple[str, int]] = []
    floor.register(lambda: purged.append(("reply", floor.value)))
    floor.register(lambda: purged.append(("speech", floor.value)))
    for turn in (2, 2, 1):
        floor.raise_to(turn)
    assert purged == [("reply", 2), ("speech", 2)]


async def test_waiters_wake_when_it_is_above_their_turn() -> None:
    floor = Floor()
    woken: list[tuple[int, int]] = []

    async def wait(turn: int) -> None:
        woken.append((turn, await floor.wait_above(turn)))

    async with trio.open_nursery() as nursery:
        for turn in (1, 2):
            nursery.start_soon(wait, turn)
        await wait_all_tasks_blocked()
        floor.raise_to(2)
        await wait_all_tasks_blocked()
        assert woken == [(1, 2)]
        floor.raise_to(7)
    assert woken == [(1, 2), (2, 7)]


async def test_waiting_for_what_is_already_past_is_still_a_checkpoint() -> None:
    floor = Floor()
    floor.raise_to(2)
    with assert_checkpoints():
        assert await floor.wait_above(1) == 2


async def test_a_cancelled_waiter_leaves_no_trace(autojump_clock: MockClock) -> None:
    floor = Floor()
    with trio.move_on_after(1) as scope:
        await floor.wait_above(0)
    assert scope.cancelled_caught
    floor.raise_to(1)
    assert await floor.wait_above(0) == 1
