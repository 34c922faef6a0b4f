"""When a line is asked whether it lives, against a far end that is played by the test."""

import math

import pytest
import trio
from trio.testing import MockClock

from pipeline.edges.keepalive import ANSWER_S, IDLE_ANSWER_S, IDLE_S, UNCONFIRMED_S, Keepalive
from pipeline.vocabulary.errors import ConnectionLostError


class FarEnd:
    """Answers pings at once until `dies_s` (host clock)."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.dies_s = math.inf
        self.alive_s = trio.current_time()
        self.asked: list[tuple[float, float]] = []
        self.over = trio.Event()
        self.keepalive = Keepalive(self.ping, lambda: self.alive_s, trio.sleep_until)
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        await self.keepalive.run()
        self.over.set()

    async def ping(self, patience_s: float) -> None:
        self.asked.append((trio.current_time(), patience_s))
        if trio.current_time() < self.dies_s:
            self.alive_s = trio.current_time()
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(patience_s)
            raise ConnectionLostError("gone", cause="ping_timeout")

    async def stream_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                self.keepalive.sent()
                await trio.sleep(0.02)


@pytest.fixture
def far_end(nursery: trio.Nursery) -> FarEnd:
    return FarEnd(nursery)


async def test_an_idle_line_is_asked_every_4_s_and_given_up_after_8(autojump_clock: MockClock, far_end: FarEnd) -> None:
    start_s = trio.current_time()
    await trio.sleep(3 * IDLE_S + 0.1)
    assert [round(at_s - start_s) for at_s, _ in far_end.asked] == [4, 8, 12]
    far_end.dies_s = died_s = trio.current_time()
    await far_end.over.wait()
    assert trio.current_time() - died_s <= IDLE_S + IDLE_ANSWER_S


async def test_what_comes_by_itself_spares_the_asking(autojump_clock: MockClock, far_end: FarEnd) -> None:
    for _ in range(20):
        await trio.sleep(IDLE_S - 0.1)
        far_end.alive_s = trio.current_time()
    assert far_end.asked == []


@pytest.mark.parametrize("swallows_from_s", [0.0, 0.3, 0.99, 1.01, 5.5])
async def test_a_line_that_swallows_sound_is_given_up_within_3_s(
    autojump_clock: MockClock, far_end: FarEnd, swallows_from_s: float
) -> None:
    async with trio.open_nursery() as speaking:
        speaking.start_soon(far_end.stream_for, 60.0)
        await trio.sleep(swallows_from_s)
        far_end.dies_s = died_s = trio.current_time()
        await far_end.over.wait()
        speaking.cancel_scope.cancel()
    assert trio.current_time() - died_s <= UNCONFIRMED_S + ANSWER_S + 0.1


async def test_sound_that_begins_while_an_idle_line_is_asked_does_not_wait_for_that_answer(
    autojump_clock: MockClock, far_end: FarEnd
) -> None:
    far_end.dies_s = trio.current_time()
    await trio.sleep(IDLE_S + 0.1)
    began_s = trio.current_time()
    far_end.keepalive.sent()
    await far_end.over.wait()
    assert trio.current_time() - began_s == pytest.approx(UNCONFIRMED_S + ANSWER_S, abs=0.1)


async def test_one_event_is_confirmed_by_one_ping(autojump_clock: MockClock, far_end: FarEnd) -> None:
    start_s = trio.current_time()
    far_end.keepalive.sent()
    await trio.sleep(UNCONFIRMED_S + IDLE_S - 0.1)
    ((asked_s, patience_s),) = far_end.asked
    assert asked_s - start_s == pytest.approx(UNCONFIRMED_S, abs=0.1)
    assert patience_s == ANSWER_S
