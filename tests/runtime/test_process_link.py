"""What only a link across processes has: trunks that end and begin, values lost with a process, types on the wire."""

import socket
from random import Random

import msgspec
import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import LinkSpec
from pipeline.runtime.process_link import LINGER_S, MAX_MESSAGE_BYTES, PACKET_BYTES, CrossingLink, Inlet, Outlet, Trunk
from pipeline.vocabulary.errors import DeviceError
from pipeline.vocabulary.frames import AudioFrame, SpeechFrame
from pipeline.vocabulary.signals import Activity, InputFailed, InputReady, SpeechEnd


class Sound(msgspec.Struct, frozen=True, array_like=True):
    """A value with a length."""

    number: int
    duration_ms: float


def crossing(overflow: Overflow = Overflow.WAIT, *, payload: object = int, obeys_floor: bool = False) -> CrossingLink:
    spec = LinkSpec("link", "a.x", "b.y", Hold(8, "items"), overflow, "a reason", obeys_floor=obeys_floor)
    return CrossingLink(0, spec, payload)


def trunks(outlet: Outlet, inlet: Inlet, here: Floor, there: Floor) -> tuple[Trunk, Trunk]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wrap = trio.socket.from_stdlib_socket
    return (
        Trunk(wrap(ours), [outlet], [], here, leads=True, on_report=lambda _: None),
        Trunk(wrap(theirs), [], [inlet], there, leads=False, on_report=lambda _: None),
    )


async def test_the_ends_outlive_a_trunk_and_what_was_under_way_is_counted() -> None:
    """The child dies with values it had been sent; the next one gets what was not sent yet, and nothing twice."""
    link, floor = crossing(), Floor()
    outlet = Outlet(link, floor)
    for number in range(8):
        outlet.sender.send_nowait(number)
    with trio.fail_after(5):
        async with trio.open_nursery() as first_life:
            near, far = trunks(outlet, Inlet(link, Floor()), floor, Floor())  # the inlet dies with its process
            first_life.start_soon(near.run)
            first_life.start_soon(far.run)
            await wait_all_tasks_blocked(0.01)
            first_life.cancel_scope.cancel()
        inlet = Inlet(link, Floor())
        async with trio.open_nursery() as second_life:
            near, far = trunks(outlet, inlet, floor, Floor())
            second_life.start_soon(near.run)
            second_life.start_soon(far.run)
            received = [await inlet.receiver.receive() for _ in range(4)]
            second_life.cancel_scope.cancel()
    assert (received, outlet.lost, outlet.statistics().lost) == ([4, 5, 6, 7], 4, 4)


@pytest.mark.parametrize("seed", range(5))
async def test_of_many_lives_nothing_is_repeated_and_every_loss_is_counted(seed: int) -> None:
    """Values flow from a child to its parent, whose end stays: credits must be right again after every death."""
    random = Random(seed)
    link, floor = crossing(), Floor()
    inlet = Inlet(link, floor)
    received: list[int] = []
    sent = lost = 0
    with trio.fail_after(20):
        for _ in range(30):
            outlet = Outlet(link, Floor())
            async with trio.open_nursery() as life:
                near, far = trunks(outlet, inlet, Floor(), floor)
                life.start_soon(near.run)
                life.start_soon(far.run)
                for _ in range(random.randrange(20)):
                    with trio.move_on_after(0.002):
                        await outlet.sender.send(sent)
                        sent += 1
                    while random.random() < 0.5 and inlet.receiver.statistics().items:
                        received.append(inlet.receiver.receive_nowait())
                    if random.random() < 0.3:
                        await trio.lowlevel.checkpoint()
                life.cancel_scope.cancel()
            lost += outlet.sender.statistics().items
            assert inlet.receiver.statistics().items <= 2 * link.window + 1
        while inlet.receiver.statistics().items:
            received.append(inlet.receiver.receive_nowait())
    assert received == sorted(set(received))
    assert sent - len(received) - lost <= 30 * link.window, "at most a window on its way at each death"


async def test_short_lives_do_not_fill_a_link_that_nobody_takes_from() -> None:
    link, floor = crossing(), Floor()
    inlet = Inlet(link, floor)
    with trio.fail_after(5):
        for life in range(4):
            outlet = Outlet(link, Floor())
            for number in range(8):
                outlet.sender.send_nowait(8 * life + number)
            async with trio.open_nursery() as nursery:
                near, far = trunks(outlet, inlet, Floor(), floor)
                nursery.start_soon(near.run)
                nursery.start_soon(far.run)
                await wait_all_tasks_blocked(0.01)
                if life == 3:
                    received = [await inlet.receiver.receive() for _ in range(16)]
                nursery.cancel_scope.cancel()
    assert received == [0, 1, 2, 3, 8, 9, 10, 11, *range(24, 32)]


@pytest.mark.parametrize("duration_ms", [20.0, 2048 / 24, 640 / 24, None], ids=str)
async def test_a_window_stays_a_window_whatever_the_values_are_long(duration_ms: float | None) -> None:
    """A service cuts its sound as it likes, and lengths in ms are seldom whole: rounding must not add up."""
    random = Random(1)
    spec = LinkSpec("link", "a.x", "b.y", Hold(2_000, "ms"), Overflow.WAIT, "a reason")
    link, floor = CrossingLink(0, spec, Sound), Floor()
    outlet, inlet = Outlet(link, floor), Inlet(link, Floor())
    longest_ms = duration_ms or 200.0

    async def send() -> None:
        for number in range(1_000):
            await outlet.sender.send(Sound(number, duration_ms or random.randint(1, 4_800) / 24))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            near, far = trunks(outlet, inlet, floor, Floor())
            nursery.start_soon(near.run)
            nursery.start_soon(far.run)
            nursery.start_soon(send)
            for number in range(1_000):
                assert (await inlet.receiver.receive()).number == number
                assert inlet.receiver.held <= link.window + longest_ms
            nursery.cancel_scope.cancel()


async def test_a_trunk_ends_when_the_other_process_does() -> None:
    link, floor = crossing(), Floor()
    near, far = trunks(Outlet(link, floor), Inlet(link, Floor()), floor, Floor())
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.run)
            with trio.move_on_after(0.05):
                await far.run()  # cancelled: its socket is closed


async def test_the_floor_knows_nothing_of_a_trunk_that_has_ended() -> None:
    """A floor lives for months, and would tell every trunk there ever was."""
    here = Floor()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near = Trunk(trio.socket.from_stdlib_socket(ours), [], [], here, leads=True, on_report=lambda _: None)
    told = 0

    def count() -> None:
        nonlocal told
        told += 1

    near.post = lambda *_, **__: count()  # type: ignore[method-assign]
    with theirs, trio.move_on_after(0.01):
        await near.run()
    before = told
    here.raise_to(3)
    assert (before, told) == (1, 1), "its beginning, and nothing more"


async def test_a_new_trunk_begins_with_the_floor_as_it_is() -> None:
    link, here, there = crossing(payload=SpeechFrame, obeys_floor=True), Floor(), Floor()
    here.raise_to(5)
    outlet, inlet = Outlet(link, here), Inlet(link, there)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            near, far = trunks(outlet, inlet, here, there)
            nursery.start_soon(near.run)
            nursery.start_soon(far.run)
            await outlet.sender.send(SpeechFrame(5, "item", 0, b"\1\0"))
            assert (await inlet.receiver.receive()).turn == 5
            assert there.value == 5
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (AudioFrame, AudioFrame(3, 1.25, b"\0\1" * 480, ends_turn=True, epoch=2)),
        (SpeechFrame, SpeechFrame(7, "item_1", 0, b"\5\0" * 480, ends_turn=True)),
        (Activity, InputReady("level")),
        (Activity, SpeechEnd(12.5)),
        (Activity, InputFailed(DeviceError("gone").fault())),
    ],
)
async def test_values_arrive_as_they_were_sent(payload: object, value: object) -> None:
    link, floor = crossing(payload=payload), Floor()
    outlet, inlet = Outlet(link, floor), Inlet(link, Floor())
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            near, far = trunks(outlet, inlet, floor, Floor())
            nursery.start_soon(near.run)
            nursery.start_soon(far.run)
            await outlet.sender.send(value)
            assert await inlet.receiver.receive() == value
            nursery.cancel_scope.cancel()


async def test_reports_are_handed_over_in_order_and_flushed_before_the_end() -> None:
    heard: list[bytes] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wrap = trio.socket.from_stdlib_socket
    near = Trunk(wrap(ours), [], [], Floor(), leads=True, on_report=heard.append)
    far = Trunk(wrap(theirs), [], [], Floor(), leads=False, on_report=lambda _: None)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.run)
            async with trio.open_nursery() as child:
                child.start_soon(far.run)
                for number in range(200):
                    far.report(msgspec.msgpack.encode(number))
                await far.flush()
                child.cancel_scope.cancel()
    assert heard == [msgspec.msgpack.encode(number) for number in range(200)]


BODIES = [*(bytes([number]) * 100 for number in range(150)), bytes(50_000), b"last"]


async def test_what_has_queued_up_shares_packets() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.setblocking(False)
    trunk = Trunk(trio.socket.from_stdlib_socket(near), [], [], Floor(), leads=False, on_report=lambda _: None)
    with far:
        for body in BODIES:
            trunk.report(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trunk.run)
            await trunk.flush()
            nursery.cancel_scope.cancel()
        sizes = []
        while packet := far.recv(MAX_MESSAGE_BYTES):
            sizes.append(len(packet))
    assert len(sizes) == 5, "three for 150 small ones, one for the large one, one for the last"
    assert max(sorted(sizes)[:-1]) <= PACKET_BYTES


async def test_packets_are_taken_apart_as_they_were_put_together() -> None:
    taken: list[bytes] = []
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    near = Trunk(ours, [], [], Floor(), leads=False, on_report=lambda _: None)
    far = Trunk(theirs, [], [], Floor(), leads=False, on_report=taken.append)
    for body in BODIES:
        near.report(body)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.run)
            nursery.start_soon(near.run)
            await near.flush()
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    assert taken == BODIES


async def test_what_the_socket_does_not_take_yet_waits_and_keeps_its_order() -> None:
    bodies = [number.to_bytes(2) * 10_000 for number in range(100)]  # 2 MB, ten times what a socket holds
    taken: list[bytes] = []
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    near = Trunk(ours, [], [], Floor(), leads=False, on_report=lambda _: None)
    far = Trunk(theirs, [], [], Floor(), leads=False, on_report=taken.append)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.run)
            for body in bodies[:50]:
                near.report(body)
            await wait_all_tasks_blocked(0.01)
            for body in bodies[50:]:
                near.report(body)
            nursery.start_soon(far.run)
            await near.flush()
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    assert taken == bodies


async def test_what_can_wait_travels_with_what_cannot_or_goes_when_it_has_waited_long_enough() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far = trio.socket.from_stdlib_socket(theirs)
    trunk = Trunk(trio.socket.from_stdlib_socket(ours), [], [], Floor(), leads=False, on_report=lambda _: None)

    async def packet(patience_s: float = 1.0) -> bytes:
        with trio.move_on_after(patience_s):
            return await far.recv(MAX_MESSAGE_BYTES)
        return b""

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trunk.run)
            for word in (b"one", b"two"):
                trunk.report(word, can_wait=True)
                assert await packet(LINGER_S / 10) == b""
            trunk.report(b"three")
            together = await packet(LINGER_S / 2)
            assert [word in together for word in (b"one", b"two", b"three")] == [True] * 3
            trunk.report(b"four")
            trunk.report(b"five", can_wait=True)
            assert b"five" in await packet(LINGER_S / 2), "it is not held back, and nothing by it"
            asked_s = trio.current_time()
            trunk.report(b"six", can_wait=True)
            assert b"six" in await packet()
            assert trio.current_time() - asked_s >= LINGER_S
            trunk.report(b"seven")
            assert b"seven" in await packet(LINGER_S / 2)
            nursery.cancel_scope.cancel()
    far.close()
