"""Links inside one process to the letter: what both kinds promise is in contracts/test_links.py."""

from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import PACKET_MS_MIN, LocalLink, open_local_link
from pipeline.runtime.ports import LinkStatistics
from pipeline.vocabulary.errors import LinkClosedError, LinkFullError

THREE: Final = Hold(3, "items")
SECOND: Final = Hold(1_000, "ms")


class Sound(msgspec.Struct, frozen=True):
    """A value with a length and a turn."""

    number: int
    turn: int = 0
    duration_ms: float = 20.0


def drain(link: LocalLink[Any]) -> list[Any]:
    """Everything that can be received at once."""
    values = []
    while True:
        try:
            values.append(link.receiver.receive_nowait())
        except trio.WouldBlock:
            return values


def counters(link: LocalLink[Any]) -> tuple[int, int, int, int, int]:
    """(sent, received, dropped, stale, items), which must add up."""
    found = link.sender.statistics()
    assert found == link.receiver.statistics()
    assert found.sent == found.received + found.dropped + found.stale + found.items
    return found.sent, found.received, found.dropped, found.stale, found.items


async def cancel_once_waiting(wait: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Start `wait`, cancel it where it waits, and see that it was."""
    ended: list[str] = []

    async def run(scope: trio.CancelScope) -> None:
        with scope:
            await wait(*arguments)
            ended.append("by itself")

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(run, scope)
        await wait_all_tasks_blocked()
        scope.cancel()
    assert ended == []


# order and bounds


@pytest.mark.parametrize("overflow", Overflow)
async def test_what_is_sent_arrives_once_and_in_order(overflow: Overflow) -> None:
    link = open_local_link("link", THREE, overflow)
    for number in range(9):
        await link.sender.send(number)
        assert await link.receiver.receive() == number
    assert counters(link) == (9, 9, 0, 0, 0)


async def test_a_receiver_waits_for_a_value() -> None:
    link = open_local_link("link", THREE, Overflow.FAIL)
    got: list[int] = []

    async def receive() -> None:
        got.append(await link.receiver.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert got == []
        await link.sender.send(7)
    assert got == [7]


async def test_receiving_from_an_empty_link_without_waiting_would_block() -> None:
    with pytest.raises(trio.WouldBlock):
        open_local_link("link", THREE, Overflow.FAIL).receiver.receive_nowait()


async def test_a_hold_in_ms_counts_length() -> None:
    link = open_local_link("link", SECOND, Overflow.FAIL)
    for number in range(4):
        await link.sender.send(Sound(number, duration_ms=250))
    with pytest.raises(LinkFullError, match=r"link: full at 1000 ms"):
        await link.sender.send(Sound(4))
    found = link.sender.statistics()
    assert (found.unit, found.hold, found.held, found.items) == ("ms", 1_000, 1_000, 4)


async def test_a_hold_in_ms_bounds_the_items_too() -> None:
    link = open_local_link("link", SECOND, Overflow.FAIL)
    most = int(SECOND.amount / PACKET_MS_MIN)
    for number in range(most):
        await link.sender.send(Sound(number, duration_ms=0))
    with pytest.raises(LinkFullError):
        await link.sender.send(Sound(most, duration_ms=0))
    assert counters(link) == (most, 0, 0, 0, most)


async def test_senders_without_room_are_seen_to_wait(nursery: trio.Nursery) -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    for number in range(5):
        nursery.start_soon(link.sender.send, number)
    await trio.testing.wait_all_tasks_blocked()
    assert link.receiver.statistics().waiting == 2
    await link.receiver.receive()
    await trio.testing.wait_all_tasks_blocked()
    assert link.receiver.statistics().waiting == 1
    nursery.cancel_scope.cancel()


async def test_rounding_leaves_nothing_behind() -> None:
    link = open_local_link("link", SECOND, Overflow.WAIT)
    for _ in range(100):
        for number in range(3):
            await link.sender.send(Sound(number, duration_ms=0.1 + number / 3))
        drain(link)
        assert link.sender.statistics().held == 0


async def test_a_value_larger_than_the_hold_passes_an_empty_link_that_waits() -> None:
    link = open_local_link("link", SECOND, Overflow.WAIT)
    await link.sender.send(Sound(0, duration_ms=5_000))
    with pytest.raises(trio.WouldBlock):
        link.sender.send_nowait(Sound(1))
    assert drain(link) == [Sound(0, duration_ms=5_000)]


# overflow rules


async def test_wait_makes_the_sender_wait_for_room() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    sent: list[int] = []

    async def send() -> None:
        for number in range(5):
            await link.sender.send(number)
            sent.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert sent == [0, 1, 2]
        assert await link.receiver.receive() == 0
        await wait_all_tasks_blocked()
        assert sent == [0, 1, 2, 3]
        assert [await link.receiver.receive() for _ in range(4)] == [1, 2, 3, 4]
    assert counters(link) == (5, 5, 0, 0, 0)


async def test_wait_without_waiting_would_block() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    for number in range(3):
        link.sender.send_nowait(number)
    with pytest.raises(trio.WouldBlock):
        link.sender.send_nowait(3)
    assert drain(link) == [0, 1, 2]
    assert counters(link) == (3, 3, 0, 0, 0)


async def test_drop_oldest_keeps_the_newest_and_counts() -> None:
    link = open_local_link("link", THREE, Overflow.DROP_OLDEST)
    for number in range(10):
        await link.sender.send(number)
    assert counters(link) == (10, 0, 7, 0, 3)
    assert drain(link) == [7, 8, 9]


async def test_drop_oldest_drops_as_many_as_the_newcomer_needs() -> None:
    link = open_local_link("link", SECOND, Overflow.DROP_OLDEST)
    for number in range(10):
        await link.sender.send(Sound(number, duration_ms=100))
    await link.sender.send(Sound(10, duration_ms=250))
    assert [sound.number for sound in drain(link)] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert counters(link) == (11, 8, 3, 0, 0)


async def test_latest_overwrites_also_before_a_waiting_receiver_has_run() -> None:
    link = open_local_link("link", Hold(1, "items"), Overflow.LATEST)
    got: list[int] = []

    async def receive() -> None:
        got.append(await link.receiver.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        for number in range(5):
            link.sender.send_nowait(number)
    assert got == [4]
    assert counters(link) == (5, 1, 4, 0, 0)


async def test_fail_refuses_and_keeps_what_it_has() -> None:
    link = open_local_link("link", THREE, Overflow.FAIL)
    for number in range(3):
        link.sender.send_nowait(number)
    with pytest.raises(LinkFullError):
        await link.sender.send(3)
    with pytest.raises(LinkFullError):
        link.sender.send_nowait(3)
    assert drain(link) == [0, 1, 2]
    assert counters(link) == (3, 3, 0, 0, 0)


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.LATEST, Overflow.FAIL])
async def test_only_wait_waits(overflow: Overflow) -> None:
    link = open_local_link("link", THREE, overflow)
    with trio.fail_after(1):
        for number in range(4):
            try:
                await link.sender.send(number)
            except LinkFullError:
                assert overflow is Overflow.FAIL


# the floor


async def test_a_raise_purges_what_became_stale_before_it_returns() -> None:
    floor = Floor()
    link = open_local_link("link", SECOND, Overflow.FAIL, floor=floor)
    for number, turn in enumerate([1, 1, 2, 1, 3]):
        link.sender.send_nowait(Sound(number, turn))
    floor.raise_to(2)
    assert counters(link) == (5, 0, 0, 3, 2)
    assert link.sender.statistics().held == 40
    assert [sound.number for sound in drain(link)] == [2, 4]


async def test_what_is_stale_is_refused_without_a_word() -> None:
    floor = Floor()
    link = open_local_link("link", Hold(1, "items"), Overflow.FAIL, floor=floor)
    floor.raise_to(3)
    await link.sender.send(Sound(0, turn=3))
    await link.sender.send(Sound(1, turn=2))
    link.sender.send_nowait(Sound(2, turn=0))
    assert counters(link) == (3, 0, 0, 2, 1)


async def test_a_purge_frees_the_waiting_sender() -> None:
    floor = Floor()
    link = open_local_link("link", THREE, Overflow.WAIT, floor=floor)
    done: list[int] = []

    async def send() -> None:
        for number, turn in enumerate([1, 1, 1, 1, 1, 2]):
            await link.sender.send(Sound(number, turn))
            done.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert done == [0, 1, 2]
        floor.raise_to(2)
        await wait_all_tasks_blocked()
        assert done == [0, 1, 2, 3, 4, 5]
    assert counters(link) == (6, 0, 0, 5, 1)


async def test_a_raise_reaches_a_value_whose_receiver_has_not_run_yet() -> None:
    floor = Floor()
    link = open_local_link("link", THREE, Overflow.WAIT, floor=floor)
    got: list[Sound] = []

    async def receive() -> None:
        got.append(await link.receiver.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        link.sender.send_nowait(Sound(0, turn=1))
        floor.raise_to(2)
        await wait_all_tasks_blocked()
        assert got == []
        link.sender.send_nowait(Sound(1, turn=2))
    assert got == [Sound(1, turn=2)]
    assert counters(link) == (2, 1, 0, 1, 0)


async def test_what_was_left_by_a_closed_sender_obeys_the_floor() -> None:
    floor = Floor()
    link = open_local_link("link", THREE, Overflow.WAIT, floor=floor)
    for number, turn in enumerate([1, 2]):
        link.sender.send_nowait(Sound(number, turn))
    link.sender.close()
    floor.raise_to(2)
    assert await link.receiver.receive() == Sound(1, turn=2)
    with pytest.raises(LinkClosedError):
        await link.receiver.receive()
    assert counters(link) == (2, 1, 0, 1, 0)


async def test_a_link_without_the_floor_keeps_old_turns() -> None:
    floor = Floor()
    open_local_link("other", THREE, Overflow.WAIT, floor=floor)
    link = open_local_link("link", THREE, Overflow.FAIL)
    floor.raise_to(9)
    link.sender.send_nowait(Sound(0, turn=1))
    assert drain(link) == [Sound(0, turn=1)]


# closing


async def test_after_the_sender_closed_the_rest_can_be_received() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    for number in range(3):
        await link.sender.send(number)
    link.sender.close()
    assert [value async for value in link.receiver] == [0, 1, 2]
    with pytest.raises(LinkClosedError, match="link: the sender has closed it"):
        await link.receiver.receive()
    with pytest.raises(LinkClosedError):
        link.receiver.receive_nowait()
    with pytest.raises(LinkClosedError):
        await link.sender.send(3)
    assert counters(link) == (3, 3, 0, 0, 0)


@pytest.mark.parametrize("overflow", Overflow)
async def test_after_the_receiver_closed_nothing_can_be_sent(overflow: Overflow) -> None:
    link = open_local_link("link", THREE, overflow)
    link.sender.send_nowait(0)
    link.receiver.close()
    with pytest.raises(LinkClosedError, match="link: the receiver has closed it"):
        await link.sender.send(1)
    with pytest.raises(LinkClosedError):
        link.sender.send_nowait(1)
    with pytest.raises(LinkClosedError):
        await link.receiver.receive()
    assert counters(link) == (1, 0, 1, 0, 0), "what nobody will receive is counted as dropped"


@pytest.mark.parametrize("end", ["sender", "receiver"])
async def test_closing_wakes_a_waiting_sender(end: str) -> None:
    link = open_local_link("link", Hold(1, "items"), Overflow.WAIT)
    link.sender.send_nowait(0)

    async def send() -> None:
        with pytest.raises(LinkClosedError):
            await link.sender.send(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        getattr(link, end).close()
    assert counters(link)[0] == 1


@pytest.mark.parametrize("end", ["sender", "receiver"])
async def test_closing_wakes_a_waiting_receiver(end: str) -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)

    async def receive() -> None:
        with pytest.raises(LinkClosedError):
            await link.receiver.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        getattr(link, end).close()


async def test_closing_twice_changes_nothing() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    link.sender.send_nowait(0)
    for _ in range(2):
        link.sender.close()
        link.receiver.close()
    assert counters(link) == (1, 0, 1, 0, 0)


# checkpoints and cancellation


@pytest.mark.parametrize("overflow", Overflow)
async def test_sending_and_receiving_are_always_checkpoints(overflow: Overflow) -> None:
    floor = Floor()
    link = open_local_link("link", THREE, overflow, floor=floor)
    with trio.testing.assert_checkpoints():
        await link.sender.send(Sound(0))
    with trio.testing.assert_checkpoints():
        await link.receiver.receive()
    floor.raise_to(1)
    with trio.testing.assert_checkpoints():
        await link.sender.send(Sound(1))
    link.sender.close()
    with trio.testing.assert_checkpoints(), pytest.raises(LinkClosedError):
        await link.receiver.receive()
    with trio.testing.assert_checkpoints(), pytest.raises(LinkClosedError):
        await link.sender.send(Sound(2))


async def test_a_waiting_receiver_runs_in_the_same_turn_of_the_loop_as_its_sender() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    received: list[int] = []

    async def receive() -> None:
        while True:
            received.append(await link.receiver.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        for value in range(20):  # trio draws which of the two runs first
            await link.sender.send(value)
            await trio.lowlevel.checkpoint()
            assert received[-1:] == [value]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("overflow", Overflow)
async def test_a_send_cancelled_at_its_checkpoint_is_not_sent(overflow: Overflow) -> None:
    link = open_local_link("link", THREE, overflow)
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.sender.send(0)
    assert scope.cancelled_caught
    assert counters(link) == (0, 0, 0, 0, 0)


async def test_a_send_cancelled_while_it_waits_is_not_sent() -> None:
    link = open_local_link("link", Hold(1, "items"), Overflow.WAIT)
    link.sender.send_nowait(0)
    await cancel_once_waiting(link.sender.send, 1)
    assert drain(link) == [0]
    assert counters(link) == (1, 1, 0, 0, 0)


async def test_a_receive_cancelled_at_its_checkpoint_takes_nothing() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    link.sender.send_nowait(0)
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.receiver.receive()
    assert scope.cancelled_caught
    assert drain(link) == [0]


async def test_a_receive_cancelled_while_it_waits_takes_nothing() -> None:
    link = open_local_link("link", THREE, Overflow.WAIT)
    await cancel_once_waiting(link.receiver.receive)
    link.sender.send_nowait(0)
    assert drain(link) == [0]


@pytest.mark.parametrize("value_first", [True, False])
async def test_a_receive_cancelled_as_its_value_comes_loses_nothing(value_first: bool) -> None:  # noqa: FBT001  a case, not an option
    link = open_local_link("link", THREE, Overflow.WAIT)
    got: list[int] = []
    scope = trio.CancelScope()

    async def receive() -> None:
        with scope:
            got.append(await link.receiver.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        steps: list[Callable[[], None]] = [lambda: link.sender.send_nowait(0), scope.cancel]
        for step in steps if value_first else reversed(steps):
            step()
    assert got + drain(link) == [0]
    assert counters(link) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("room_first", [True, False])
async def test_a_send_cancelled_as_room_comes_is_sent_whole_or_not(room_first: bool) -> None:  # noqa: FBT001  a case, not an option
    link = open_local_link("link", Hold(1, "items"), Overflow.WAIT)
    link.sender.send_nowait(0)
    sent: list[int] = []
    scope = trio.CancelScope()

    async def send() -> None:
        with scope:
            await link.sender.send(1)
            sent.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        steps: list[Callable[[], object]] = [link.receiver.receive_nowait, scope.cancel]
        for step in steps if room_first else reversed(steps):
            step()
    assert drain(link) == sent


# counters under random use


class Model:
    """A link as a plain list, to compare with."""

    def __init__(self, hold: Hold, overflow: Overflow) -> None:
        self.hold, self.overflow = hold, overflow
        self.queue: deque[Sound] = deque()
        self.floor = 0
        self.sent = self.received = self.dropped = self.stale = 0

    def send(self, sound: Sound) -> str:
        if sound.turn < self.floor:
            self.sent, self.stale = self.sent + 1, self.stale + 1
            return "sent"
        while not self._fits(sound):
            if self.overflow in {Overflow.WAIT, Overflow.FAIL}:
                return self.overflow
            self.queue.popleft()
            self.dropped += 1
        self.queue.append(sound)
        self.sent += 1
        return "sent"

    def receive(self) -> Sound | None:
        self.received += bool(self.queue)
        return self.queue.popleft() if self.queue else None

    def raise_to(self, turn: int) -> None:
        self.floor = max(self.floor, turn)
        fresh = [sound for sound in self.queue if sound.turn >= self.floor]
        self.stale += len(self.queue) - len(fresh)
        self.queue = deque(fresh)

    def held(self) -> float:
        return sum(self.hold.size_of(sound) for sound in self.queue)

    def _fits(self, sound: Sound) -> bool:
        if not self.queue and self.overflow is not Overflow.FAIL:
            return True
        if self.overflow is Overflow.LATEST:
            return not self.queue
        most = self.hold.amount / PACKET_MS_MIN if self.hold.unit == "ms" else self.hold.amount
        return self.held() + self.hold.size_of(sound) <= self.hold.amount and len(self.queue) < most


SOUNDS: Final = st.builds(
    Sound, number=st.integers(0, 999), turn=st.integers(0, 4), duration_ms=st.sampled_from([0.0, 2.5, 20.0, 40.0, 90.0])
)
STEPS: Final = st.lists(st.one_of(SOUNDS, st.none(), st.integers(0, 4)), max_size=60)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, overflow=st.sampled_from(Overflow), hold=st.sampled_from([Hold(80, "ms"), THREE, Hold(1, "items")]))
def test_any_use_agrees_with_a_plain_list(steps: list[Any], overflow: Overflow, hold: Hold) -> None:
    floor = Floor()
    link = open_local_link("link", hold, overflow, floor=floor)
    model = Model(hold, overflow)
    for step in steps:
        match step:
            case Sound():
                assert _send(link, step) == model.send(step)
            case None:
                assert _receive(link) == model.receive()
            case turn:
                floor.raise_to(turn)
                model.raise_to(turn)
        assert link.sender.statistics() == LinkStatistics(
            name="link",
            unit=hold.unit,
            hold=hold.amount,
            held=model.held(),
            items=len(model.queue),
            sent=model.sent,
            received=model.received,
            dropped=model.dropped,
            stale=model.stale,
        )
        counters(link)


def _send(link: LocalLink[Any], sound: Sound) -> str:
    try:
        link.sender.send_nowait(sound)
    except trio.WouldBlock:
        return Overflow.WAIT
    except LinkFullError:
        return Overflow.FAIL
    return "sent"


def _receive(link: LocalLink[Any]) -> Sound | None:
    try:
        return link.receiver.receive_nowait()  # type: ignore[no-any-return]  # the test sends nothing else
    except trio.WouldBlock:
        return None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("overflow", [Overflow.WAIT, Overflow.DROP_OLDEST])
async def test_ends_that_are_cancelled_at_random_lose_and_repeat_nothing(
    overflow: Overflow,
    seed: int,
    autojump_clock: MockClock,
) -> None:
    random = Random(seed)
    link = open_local_link("link", THREE, overflow)
    sent: list[int] = []
    received: list[int] = []

    async def send() -> None:
        for number in range(200):
            with trio.move_on_after(random.uniform(0, 0.02)):
                await link.sender.send(number)
                sent.append(number)
            await trio.sleep(random.uniform(0, 0.01))
        link.sender.close()

    async def receive() -> None:
        while True:
            with trio.move_on_after(random.uniform(0, 0.02)):
                try:
                    received.append(await link.receiver.receive())
                except LinkClosedError:
                    return
            await trio.sleep(random.uniform(0, 0.03))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
    found = counters(link)
    assert found[:3] == (len(sent), len(received), len(sent) - len(received))
    if overflow is Overflow.WAIT:
        assert received == sent
    else:
        assert received == sorted(set(received))
        assert set(received) <= set(sent)
