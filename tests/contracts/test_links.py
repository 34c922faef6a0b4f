"""What every kind of link promises, inside one process and across two: one suite over both.

Across processes a *window* may be on its way beside what the link holds; every bound here is the hold plus that window,
which inside one process is nothing. To the letter each kind is tested in runtime/.
"""

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import LinkSpec
from pipeline.runtime.local_link import LocalReceiver, LocalSender, open_local_link
from pipeline.runtime.process_link import LINGER_S, CrossingLink, Inlet, Outlet, Trunk
from pipeline.vocabulary.errors import LinkFullError

EIGHT: Final = Hold(8, "items")
SECOND: Final = Hold(1_000, "ms")


class Sound(msgspec.Struct, frozen=True, array_like=True):
    """A value with a length and a turn."""

    number: int
    turn: int = 0
    duration_ms: float = 20.0


class Pair:
    """A link of either kind with both ends in the test's hands; `floor` is raised on the side that leads."""

    def __init__(
        self,
        sender: LocalSender[Any],
        receiver: LocalReceiver[Any],
        window: float,
        lost: Callable[[], int],
        *,
        lingers: bool = False,
    ) -> None:
        self._quiet_s = 1.2 * LINGER_S if lingers else 0.002
        self.sender = sender
        self.receiver = receiver
        self.window = window
        self._lost = lost

    async def settle(self) -> None:
        """Until everything that can be on the other side is there."""
        for _ in range(3):
            await wait_all_tasks_blocked(self._quiet_s)

    async def drain(self) -> list[Sound]:
        """Everything that can be received."""
        values = []
        while True:
            await self.settle()
            try:
                while True:
                    values.append(self.receiver.receive_nowait())
            except trio.WouldBlock:
                await self.settle()
                if not self.receiver.statistics().items:
                    return values

    def check_books(self) -> None:
        """What was sent is somewhere: received, dropped, stale, held or lost with a process."""
        there, here = self.sender.statistics(), self.receiver.statistics()
        assert there.sent == there.received + there.dropped + there.stale + there.items
        if there != here:
            assert there.received == here.received + here.dropped + here.stale + here.items + self._lost()


Open = Callable[..., Any]


@asynccontextmanager
async def open_inside(hold: Hold, overflow: Overflow, floor: Floor | None = None) -> AsyncGenerator[Pair, None]:
    link = open_local_link("link", hold, overflow, floor=floor)
    yield Pair(link.sender, link.receiver, 0.0, lambda: 0)


@asynccontextmanager
async def open_across(hold: Hold, overflow: Overflow, floor: Floor | None = None) -> AsyncGenerator[Pair, None]:
    """The sender's process leads the floor; the receiver's follows over the trunk."""
    spec = LinkSpec("link", "a.x", "b.y", hold, overflow, "a reason", obeys_floor=floor is not None)
    link = CrossingLink(7, spec, Sound)
    here, there = floor or Floor(), Floor()
    outlet, inlet = Outlet(link, here), Inlet(link, there)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wrap = trio.socket.from_stdlib_socket
    near = Trunk(wrap(ours), [outlet], [], here, leads=True, on_report=lambda _: None)
    far = Trunk(wrap(theirs), [], [inlet], there, leads=False, on_report=lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.run)
        nursery.start_soon(far.run)
        yield Pair(outlet.sender, inlet.receiver, link.window, lambda: outlet.lost, lingers=link.can_wait)
        nursery.cancel_scope.cancel()


KINDS: Final[dict[str, Open]] = {"inside": open_inside, "across": open_across}


@pytest.fixture(params=KINDS)
def open_link(request: pytest.FixtureRequest) -> Open:
    return KINDS[request.param]


@pytest.mark.parametrize("overflow", Overflow)
async def test_what_is_sent_arrives_once_and_in_order(open_link: Open, overflow: Overflow) -> None:
    async with open_link(EIGHT, overflow) as link:
        for number in range(50):
            await link.sender.send(Sound(number))
            assert (await link.receiver.receive()).number == number
        link.check_books()


async def test_a_sender_that_waits_is_held_at_the_bound_and_goes_on(open_link: Open) -> None:
    async with open_link(EIGHT, Overflow.WAIT) as link, trio.open_nursery() as nursery:
        sent: list[int] = []

        async def send() -> None:
            for number in range(40):
                await link.sender.send(Sound(number))
                sent.append(number)

        nursery.start_soon(send)
        await link.settle()
        assert len(sent) == EIGHT.amount + link.window
        assert [(await link.receiver.receive()).number for _ in range(40)] == list(range(40))
        await link.settle()
        assert sent == list(range(40))
        link.check_books()


async def test_a_hold_in_ms_counts_length(open_link: Open) -> None:
    async with open_link(SECOND, Overflow.FAIL) as link:
        most = int(SECOND.amount + link.window) // 20
        for number in range(most):
            await link.sender.send(Sound(number))
            await link.settle()
        with pytest.raises(LinkFullError):
            await link.sender.send(Sound(most))
        assert [sound.number for sound in await link.drain()] == list(range(most))
        link.check_books()


async def test_fail_refuses_and_keeps_what_it_has(open_link: Open) -> None:
    async with open_link(EIGHT, Overflow.FAIL) as link:
        for number in range(int(EIGHT.amount + link.window)):
            await link.sender.send(Sound(number))
            await link.settle()
        with pytest.raises(LinkFullError):
            link.sender.send_nowait(Sound(99))
        assert [sound.number for sound in await link.drain()] == list(range(int(EIGHT.amount + link.window)))


async def test_drop_oldest_never_waits_keeps_the_newest_and_counts(open_link: Open) -> None:
    async with open_link(EIGHT, Overflow.DROP_OLDEST) as link:
        with trio.fail_after(5):
            for number in range(100):
                await link.sender.send(Sound(number))
                await link.settle()
        received = [sound.number for sound in await link.drain()]
        assert received[-8:] == list(range(92, 100))
        assert received == sorted(set(received))
        assert link.sender.statistics().dropped == 100 - len(received)
        assert len(received) == EIGHT.amount + link.window
        link.check_books()


async def test_of_a_gauge_the_newest_arrives(open_link: Open) -> None:
    async with open_link(Hold(1, "items"), Overflow.LATEST) as link:
        for number in range(100):
            await link.sender.send(Sound(number))
            await link.settle()
        received = [sound.number for sound in await link.drain()]
        assert received[-1] == 99
        assert len(received) <= 1 + link.window


async def test_a_raise_empties_the_link_wherever_its_values_are(open_link: Open) -> None:
    floor = Floor()
    async with open_link(SECOND, Overflow.WAIT, floor) as link:
        for number in range(20):
            await link.sender.send(Sound(number, turn=1))
        await link.settle()
        floor.raise_to(2)
        await link.sender.send(Sound(20, turn=2))
        assert [sound.number for sound in await link.drain()] == [20]
        here, there = link.sender.statistics(), link.receiver.statistics()
        assert here.stale + (there.stale if there != here else 0) == 20
        link.check_books()


async def test_a_raise_is_known_before_anything_that_was_sent_after_it(open_link: Open) -> None:
    floor = Floor()
    async with open_link(SECOND, Overflow.WAIT, floor) as link, trio.open_nursery() as nursery:
        received: list[Sound] = []

        async def receive() -> None:
            while True:
                received.append(await link.receiver.receive())

        nursery.start_soon(receive)
        for turn in range(1, 30):
            floor.raise_to(turn)
            link.sender.send_nowait(Sound(turn, turn))
            link.sender.send_nowait(Sound(turn, turn - 1))
        await link.settle()
        nursery.cancel_scope.cancel()
    assert all(sound.turn == sound.number for sound in received), "what was stale when it was sent never arrives"
    assert received[-1].turn == 29


async def test_a_raise_frees_the_waiting_sender(open_link: Open) -> None:
    floor = Floor()
    async with open_link(EIGHT, Overflow.WAIT, floor) as link, trio.open_nursery() as nursery:
        done = trio.Event()

        async def send() -> None:
            for number in range(60):
                await link.sender.send(Sound(number, turn=1))
            done.set()

        nursery.start_soon(send)
        await link.settle()
        assert not done.is_set()
        floor.raise_to(2)
        with trio.fail_after(5):
            await done.wait()
        assert await link.drain() == []


async def hurry(step: Callable[[], Any], checkpoints: int) -> None:
    """Cancel a step after so many turns of the loop, if it is not done by then."""

    async def cut() -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        await step()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("overflow", [Overflow.WAIT, Overflow.DROP_OLDEST])
async def test_ends_that_are_cancelled_at_random_lose_and_repeat_nothing(
    open_link: Open, overflow: Overflow, seed: int
) -> None:
    random = Random(seed)
    sent: list[int] = []
    received: list[int] = []
    async with open_link(EIGHT, overflow) as link:

        async def send_next() -> None:
            number = len(tried)
            tried.append(number)
            await link.sender.send(Sound(number))
            sent.append(number)

        async def receive_next() -> None:
            received.append((await link.receiver.receive()).number)

        async def send() -> None:
            while len(tried) < 300:
                await hurry(send_next, random.randrange(8))

        async def receive() -> None:
            while len(tried) < 300:
                await hurry(receive_next, random.randrange(12))

        tried: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)
        received += [sound.number for sound in await link.drain()]
        link.check_books()
        dropped = link.sender.statistics().dropped
    assert received == sorted(set(received))
    assert len(received) == len(sent) - dropped
    assert set(received) <= set(sent)
    assert received == sent or overflow is Overflow.DROP_OLDEST


@pytest.mark.parametrize("seed", range(4))
async def test_both_kinds_deliver_and_drop_the_same_within_a_window(seed: int) -> None:
    """The microphone's link under the same stalls of its reader: the kinds differ by what is on its way, no more."""
    delivered: dict[str, list[int]] = {}
    for kind, open_kind in KINDS.items():
        random = Random(seed)
        async with open_kind(Hold(400, "ms"), Overflow.DROP_OLDEST) as link:
            delivered[kind] = []
            stalled = 0
            for number in range(500):
                link.sender.send_nowait(Sound(number))
                await link.settle()
                stalled = random.randrange(60) if not stalled and random.random() < 0.05 else max(0, stalled - 1)
                while not stalled and link.receiver.statistics().items:
                    delivered[kind].append(link.receiver.receive_nowait().number)
                    await link.settle()
            delivered[kind] += [sound.number for sound in await link.drain()]
            window = int(link.window // 20)
    stalls = 500 - len(delivered["inside"])
    assert stalls > 0, "the reader was slow enough to lose something"
    only = set(delivered["across"]) ^ set(delivered["inside"])
    gaps = sum(1 for a, b in zip(delivered["inside"], delivered["inside"][1:], strict=False) if b > a + 1)
    assert len(only) <= window * gaps, "at each stall a window more is under way"
    assert set(delivered["inside"]) <= set(delivered["across"])
