"""What a child process does beside its actors; its life and death are tested in test_processes.py."""

import socket

import trio
from trio.testing import MockClock

from pipeline.runtime.floor import Floor
from pipeline.runtime.links import Links
from pipeline.runtime.process_link import MAX_MESSAGE_BYTES, Trunk
from pipeline.runtime.progress import Progress
from pipeline.runtime.worker import BEAT_S, _Child

HOUR_S = 3_600.0


async def test_to_a_parent_that_stands_still_no_signs_of_life_are_piled_up(autojump_clock: MockClock) -> None:
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    trunk = Trunk(ours, [], [], Floor(), leads=False, on_report=lambda _: None)
    sizes = []
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trunk.run)
            nursery.start_soon(_Child(trunk, Links({}, {}, {}), {}, Progress()).beat)
            await trio.sleep(HOUR_S)
            with trio.move_on_after(BEAT_S / 2):
                while packet := await theirs.recv(MAX_MESSAGE_BYTES):
                    sizes.append(len(packet))
            with trio.fail_after(2 * BEAT_S):
                await theirs.recv(MAX_MESSAGE_BYTES)  # it lives, and says so again
            nursery.cancel_scope.cancel()
    assert sum(sizes) / sizes[0] < HOUR_S / BEAT_S / 10, "what a socket holds"
