"""`unix:` devices against a peer on a real socket."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing

from pipeline.edges.synthetic import counter_signal
from pipeline.edges.unix_socket import UnixLoudspeaker, UnixMicrophone
from pipeline.vocabulary.errors import DeviceError

Socket = trio.socket.SocketType
SOUND = counter_signal(0.4).pcm


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: pytest's own may be longer than a socket's name can be."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def listener(folder: Path) -> AsyncIterator[Socket]:
    """The other side, listening at `talk`."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
        await bound.bind(str(folder / "talk"))
        bound.listen(1)
        yield bound


@pytest.mark.parametrize("packet", [960, 14, 37, 1_000, 5_760])
@pytest.mark.parametrize("frame_ms", [20, 40])
async def test_the_microphone_hears_every_bit_however_it_is_packed(
    folder: Path, listener: Socket, nursery: trio.Nursery, packet: int, frame_ms: int
) -> None:
    async def send(peer: Socket) -> None:
        for at in range(0, len(SOUND), packet):
            await peer.send(SOUND[at : at + packet])

    size = frame_ms * 48
    async with UnixMicrophone(folder / "talk").open(frame_ms) as blocks:
        peer, _ = await listener.accept()
        with peer:
            nursery.start_soon(send, peer)
            heard = [await anext(blocks) for _ in range(len(SOUND) // size)]
    assert {len(block.pcm) for block in heard} == {size}
    assert b"".join(block.pcm for block in heard) == SOUND


async def test_blocks_are_dated_by_their_sound_not_by_stalls(
    folder: Path, listener: Socket, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def speak(peer: Socket, packets: int) -> None:
        for _ in range(packets):
            await trio.sleep(0.02)  # it has heard 20 ms and hands them over
            await peer.send(SOUND[:960])

    async with UnixMicrophone(folder / "talk").open(30) as blocks:
        peer, _ = await listener.accept()
        with peer:
            start_s = trio.current_time()
            nursery.start_soon(speak, peer, 12)
            captured = [(await anext(blocks)).captured_s for _ in range(2)]
            await trio.sleep(0.09)  # we stall: several packets are read at once
            captured += [(await anext(blocks)).captured_s for _ in range(6)]
            assert captured == pytest.approx([start_s + 0.03 * index for index in range(8)])
            await trio.sleep(5)  # the other side pauses, and what it says next is not five seconds old
            nursery.start_soon(speak, peer, 3)
            pause_s = trio.current_time()
            assert (await anext(blocks)).captured_s == pytest.approx(pause_s + 0.04 - 0.04)


async def test_the_loudspeaker_answers_each_request_with_one_packet(folder: Path, listener: Socket) -> None:
    async with UnixLoudspeaker(folder / "talk").open(40) as output:
        peer, _ = await listener.accept()
        with peer:
            await peer.send(b"\1")
            request = await output.wait_request()
            assert request.samples == 480, "the protocol's 20 ms, whatever the frame"
            await output.write(SOUND[:960])
            assert await peer.recv(2_000) == SOUND[:960]

            await peer.send(b"\1\1\1")
            asked = []
            for block in (SOUND[960:1_920], None, SOUND[1_920:2_880]):
                asked.append(await output.wait_request())
                await output.write(block)
            assert [await peer.recv(2_000) for _ in range(3)] == [SOUND[960:1_920], b"\0", SOUND[1_920:2_880]]
            leaves = [request.leaves_s - asked[0].leaves_s for request in asked]
            assert leaves == pytest.approx([0, 0.02, 0.04])


@pytest.mark.parametrize("said", [b"\0", b"\2", b"\1\3", b"\1" * 65, b"GET / HTTP/1.1"])
async def test_a_request_that_is_none_fails_the_loudspeaker(folder: Path, listener: Socket, said: bytes) -> None:
    async with UnixLoudspeaker(folder / "talk").open(20) as output:
        peer, _ = await listener.accept()
        with peer:
            await peer.send(said)
            with pytest.raises(DeviceError, match="something else than bytes 0x01"):
                await output.wait_request()


async def test_a_peer_that_leaves_fails_both(folder: Path, listener: Socket) -> None:
    async with UnixMicrophone(folder / "talk").open(20) as blocks:
        peer, _ = await listener.accept()
        await peer.send(SOUND[:960])
        peer.close()
        assert (await anext(blocks)).pcm == SOUND[:960]
        with pytest.raises(DeviceError, match="the other side is gone"):
            await anext(blocks)
    async with UnixLoudspeaker(folder / "talk").open(20) as output:
        peer, _ = await listener.accept()
        await peer.send(b"\1")
        await output.wait_request()
        peer.close()
        with pytest.raises(DeviceError, match="the other side is gone"):
            await output.write(None)
        with pytest.raises(DeviceError, match="the other side is gone"):
            await output.wait_request()


async def test_a_packet_beyond_the_bound_fails_the_microphone(folder: Path, listener: Socket) -> None:
    async with UnixMicrophone(folder / "talk").open(20) as blocks:
        peer, _ = await listener.accept()
        with peer:
            await peer.send(bytes(65_537))
            with pytest.raises(DeviceError, match="more than 65536 bytes"):
                await anext(blocks)


async def test_a_peer_that_takes_no_sound_fails_the_loudspeaker(
    folder: Path, listener: Socket, autojump_clock: trio.testing.MockClock
) -> None:
    taken = 0
    async with UnixLoudspeaker(folder / "talk").open(20) as output:
        peer, _ = await listener.accept()
        with peer, pytest.raises(DeviceError, match="takes no sound"):  # noqa: PT012 how much the kernel holds is its own affair
            while taken < 10_000:
                await peer.send(b"\1")
                await output.wait_request()
                await output.write(SOUND[:960])
                taken += 1
    assert 0 < taken < 10_000


async def test_an_open_that_fails_gets_one_clear_line(folder: Path) -> None:
    streams = folder / "streams"
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other, trio.socket.socket(socket.AF_UNIX) as left:
        await other.bind(str(streams))
        other.listen(1)
        await left.bind(str(folder / "left"))
    cases = {
        folder / "missing": "there is no such socket",
        folder / "left": "nobody listens there",
        folder / "long" / ("x" * 100): "the path is longer than 107 bytes",
    }
    for path, expected in cases.items():
        for device in (UnixMicrophone(path), UnixLoudspeaker(path)):
            with pytest.raises(DeviceError, match=expected) as caught:
                async with device.open(20):
                    pytest.fail("the device must not open")
            assert caught.value.message.startswith(f"unix:{path}: ")


async def test_a_socket_of_another_type_is_named(folder: Path) -> None:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        await other.bind(str(folder / "stream"))
        other.listen(1)
        with pytest.raises(DeviceError, match="SOCK_SEQPACKET is needed"):
            async with UnixMicrophone(folder / "stream").open(20):
                pytest.fail("the device must not open")


async def test_both_see_that_the_other_side_is_back_and_it_sees_nothing_of_that(folder: Path) -> None:
    path = folder / "talk"
    devices: list[UnixMicrophone | UnixLoudspeaker] = [UnixMicrophone(path), UnixLoudspeaker(path)]

    async def are_back() -> set[bool]:
        return {await device.is_back() for device in devices}

    assert await are_back() == {False}, "there is no such socket"
    for _ in range(2):  # it goes and comes
        path.unlink(missing_ok=True)
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
            await bound.bind(str(path))
            bound.listen(1)
            assert await are_back() == {True}
            with pytest.raises(BlockingIOError):
                bound._sock.accept()  # type: ignore[attr-defined]  # trio's own would wait
        assert await are_back() == {False}, "its owner is gone and left its file"
    path.unlink()
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        await other.bind(str(path))
        assert await are_back() == {False}, "it takes datagrams"
    assert await UnixMicrophone(folder / ("x" * 200)).is_back() is False
