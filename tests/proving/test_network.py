"""Simulated wires: what TCP promises, and the ways in which it breaks it."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from pipeline.proving import determinism
from pipeline.proving import happenings as hp
from pipeline.proving.network import DELAY_S, WINDOW_BYTES, End, Network
from pipeline.proving.toxics import HalfOpen, Slicer, Stall
from pipeline.proving.trace import Trace


class Rig:
    """A network, and the far ends of what was dialled."""

    def __init__(self) -> None:
        self.happened: list[hp.Happening] = []
        self.accepted: list[End] = []
        trace = Trace(lambda happening, _now: self.happened.append(happening))
        self.network = Network(trace, self.accepted.append, frame_ms=20, seed=1)

    async def dial(self) -> tuple[trio.abc.Stream, End]:
        near = await self.network.open_stream("host", 80)
        return near, self.accepted[-1]


def on_a_rig(test: Callable[[Rig], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def work() -> None:
            with trio.fail_after(1_000):
                await test(Rig())

        determinism.run(work, seed=1)

    run.__name__ = test.__name__
    return run


@on_a_rig
async def test_bytes_arrive_later_and_in_order(rig: Rig) -> None:
    near, far = await rig.dial()
    await near.send_all(b"one ")
    await near.send_all(b"two")
    sent_s = trio.current_time()
    assert await far.receive_some() == b"one two"
    assert trio.current_time() == pytest.approx(sent_s + DELAY_S)
    await near.aclose()
    assert await far.receive_some() == b""


@on_a_rig
async def test_a_full_window_makes_the_sender_wait_for_the_reader(rig: Rig) -> None:
    near, far = await rig.dial()
    await near.send_all(bytes(WINDOW_BYTES))
    with trio.move_on_after(60) as patience:
        await near.send_all(b"more")
    assert patience.cancelled_caught
    await far.receive_some()
    await near.send_all(b"more")


@on_a_rig
async def test_a_cut_wire_breaks_under_both_ends_also_under_one_that_waits(rig: Rig) -> None:
    near, far = await rig.dial()

    async def cut() -> None:
        await trio.sleep(5)
        rig.network.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        with pytest.raises(trio.BrokenResourceError):
            await near.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")


@on_a_rig
async def test_a_black_hole_swallows_in_silence_and_resets_what_it_has_robbed_when_it_is_gone(rig: Rig) -> None:
    near, far = await rig.dial()
    other, _ = await rig.dial()
    with rig.network.poisoned(HalfOpen(direction="up")):
        await near.send_all(b"lost")
        with trio.move_on_after(60) as patience:
            await far.receive_some()
        assert patience.cancelled_caught
    assert hp.Swallowed(1) in rig.happened
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"x")
    await other.send_all(b"whole")


@on_a_rig
async def test_a_stalled_wire_delivers_everything_in_the_end(rig: Rig) -> None:
    near, far = await rig.dial()
    with rig.network.poisoned(Stall(direction="up"), Slicer(average_bytes=2)):
        await near.send_all(b"late")
        with trio.move_on_after(60) as patience:
            await far.receive_some()
        assert patience.cancelled_caught
    assert await far.receive_some() == b"late"


@on_a_rig
async def test_nobody_listens_or_nobody_answers(rig: Rig) -> None:
    with rig.network.refusing(), pytest.raises(ConnectionRefusedError):
        await rig.dial()
    with rig.network.swallowing(), trio.move_on_after(60) as patience:
        await rig.dial()
    assert patience.cancelled_caught
    await rig.dial()


@on_a_rig
async def test_a_peer_that_has_forgotten_is_noticed_by_the_next_send_only(rig: Rig) -> None:
    near, far = await rig.dial()
    far.wire.forget()
    with trio.move_on_after(60) as patience:
        await near.receive_some()
    assert patience.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"x")


@on_a_rig
async def test_what_a_mark_says_is_traced_when_its_last_byte_is_read(rig: Rig) -> None:
    near, far = await rig.dial()
    told = hp.Told(1, "session.created")
    far.mark(told)
    await far.send_all(b"abc")
    await near.receive_some(2)
    assert told not in rig.happened
    await near.receive_some(2)
    assert told in rig.happened
