"""One suite for every microphone and every loudspeaker, real or simulated: what `edges.interfaces` promises."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing

from pipeline.edges.devices import FirstToOpen, input_device, output_device
from pipeline.edges.interfaces import InputDevice, OutputDevice
from pipeline.edges.simulated import SimulatedLoudspeaker
from pipeline.edges.synthetic import SyntheticMicrophone, counter_signal
from pipeline.edges.wav import read_wav
from tests.fake_sounddevice import FakeCard, FakeSounddevice

SOUND = counter_signal(0.5).pcm  # 25 blocks of 20 ms


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def peer(folder: Path, nursery: trio.Nursery) -> AsyncIterator[list[bytes]]:
    """The far side of the `unix:` devices: says SOUND, asks for sound, and collects what it gets."""
    received: list[bytes] = []

    async def say(line: trio.socket.SocketType) -> None:
        with line, suppress(BrokenPipeError):
            for at in range(0, len(SOUND), 960):
                await line.send(SOUND[at : at + 960])
                await trio.sleep(0.02)
            await trio.sleep_forever()

    async def ask(line: trio.socket.SocketType) -> None:
        with line, suppress(BrokenPipeError):
            while True:
                await line.send(b"\1")
                packet = await line.recv(2_000)
                if not packet:
                    return
                await trio.sleep(0.02)
                received.append(bytes(960) if packet == b"\0" else packet)

    async def serve(
        name: str,
        play: Callable[[trio.socket.SocketType], Awaitable[None]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            await listener.bind(str(folder / name))
            listener.listen(1)
            task_status.started()
            while True:
                line, _ = await listener.accept()
                nursery.start_soon(play, line)

    await nursery.start(serve, "mic", say)
    await nursery.start(serve, "speaker", ask)
    yield received
    nursery.cancel_scope.cancel()


@pytest.fixture
async def portaudio(nursery: trio.Nursery) -> FakeSounddevice:
    """A sound card that hears SOUND."""
    card = FakeCard("USB")
    card.heard = SOUND
    module = FakeSounddevice(card)
    nursery.start_soon(module.run)
    return module


async def record(path: Path) -> None:
    async with output_device(f"wav:{path}").open(20) as output:
        for at in range(0, len(SOUND), 960):
            await output.wait_request()
            await output.write(SOUND[at : at + 960])


@pytest.fixture(params=["wav", "synthetic", "synthetic file", "none", "unix", "card", "list"])
async def microphone(
    request: pytest.FixtureRequest, folder: Path, peer: list[bytes], portaudio: FakeSounddevice
) -> InputDevice:
    match request.param:
        case "card":
            return input_device("device:default", sound_system=portaudio.system())
        case "synthetic":
            return SyntheticMicrophone([counter_signal(0.5)])
        case "none":
            return input_device("none:")
        case "unix":
            return input_device(f"unix:{folder}/mic")
        case kind:
            await record(folder / "a.wav")
            names = {"wav": "wav:a.wav", "synthetic file": "synthetic:a.wav", "list": "wav:a.wav"}
            name = names[kind].replace("a.wav", f"{folder}/a.wav")
            return (
                FirstToOpen([input_device("unix:/no/socket"), input_device(name)])
                if kind == "list"
                else input_device(name)
            )


@pytest.fixture(params=["wav", "none", "unix", "simulated", "card", "list"])
def loudspeaker(
    request: pytest.FixtureRequest, folder: Path, peer: list[bytes], portaudio: FakeSounddevice
) -> OutputDevice:
    match request.param:
        case "card":
            return output_device("device:default", sound_system=portaudio.system())
        case "simulated":
            return SimulatedLoudspeaker()
        case "none":
            return output_device("none:")
        case "unix":
            return output_device(f"unix:{folder}/speaker")
        case "wav":
            return output_device(f"wav:{folder}/out.wav")
        case _:
            return output_device(["unix:/no/socket", f"wav:{folder}/out.wav"])


def left(device: OutputDevice, folder: Path, peer: list[bytes]) -> bytes | None:
    """What left the loudspeaker, if this one lets anybody hear it."""
    if isinstance(device, SimulatedLoudspeaker):
        return b"".join(block.pcm for block in device.heard)
    if device.name.startswith("unix:"):
        return b"".join(peer)
    return read_wav(folder / "out.wav") if device.name.startswith("wav:") else None  # a card drops its last blocks


@pytest.mark.parametrize("frame_ms", [20, 30, 40])
async def test_a_microphone_gives_whole_blocks_whose_times_follow_each_other(
    autojump_clock: trio.testing.MockClock, microphone: InputDevice, frame_ms: int
) -> None:
    async with microphone.open(frame_ms) as blocks:
        heard = [await anext(blocks) for _ in range(8)]
        now_s = trio.current_time()
    assert {len(block.pcm) for block in heard} == {frame_ms * 48}
    assert all(later.captured_s > earlier.captured_s for earlier, later in pairwise(heard))
    assert heard[-1].captured_s + frame_ms / 1000 <= now_s + 1e-6, "nothing is heard before it was said"
    sound = b"".join(block.pcm for block in heard)
    assert sound in {SOUND[: len(sound)], bytes(len(sound))}


async def test_a_microphone_can_be_closed_at_any_moment_and_opened_again(
    autojump_clock: trio.testing.MockClock, microphone: InputDevice
) -> None:
    assert microphone.name
    for taken in (0, 1, 3):
        async with microphone.open(20) as blocks:
            for _ in range(taken):
                await anext(blocks)
    with trio.move_on_after(0.05) as patience:
        async with microphone.open(20) as blocks:
            while True:
                async for _ in blocks:
                    pass
                await trio.sleep_forever()  # a finite input ends; waiting goes on
    assert patience.cancelled_caught


@pytest.mark.parametrize("frame_ms", [20, 40])
async def test_a_loudspeaker_asks_at_its_own_pace_and_plays_what_it_gets(
    autojump_clock: trio.testing.MockClock, loudspeaker: OutputDevice, folder: Path, peer: list[bytes], frame_ms: int
) -> None:
    said = b""
    requests = []
    async with loudspeaker.open(frame_ms) as output:
        for index in range(8):
            request = await output.wait_request()
            requests.append(request)
            size = 2 * request.samples
            block = None if index == 3 else SOUND[len(said) : len(said) + size]
            said += block or bytes(size)
            await output.write(block)
    await trio.sleep(0.1)  # the far side of a socket needs a moment
    assert len({request.samples for request in requests}) == 1
    assert all(later.leaves_s > earlier.leaves_s for earlier, later in pairwise(requests))
    heard = left(loudspeaker, folder, peer)
    assert heard is None or heard == said


async def test_a_loudspeaker_can_be_closed_in_the_middle_of_a_request(
    autojump_clock: trio.testing.MockClock, loudspeaker: OutputDevice
) -> None:
    assert loudspeaker.name
    with trio.move_on_after(0.05) as patience:
        async with loudspeaker.open(20) as output:
            await output.wait_request()
            await trio.sleep_forever()
    assert patience.cancelled_caught


async def test_a_loudspeaker_that_rests_plays_silence_and_then_what_it_gets(
    autojump_clock: trio.testing.MockClock, loudspeaker: OutputDevice, folder: Path, peer: list[bytes]
) -> None:
    async with loudspeaker.open(20) as output:
        for at in (0, 960):
            request = await output.wait_request()
            await output.write(SOUND[at : at + 960])
        await output.rest(partial(trio.sleep, 1.0))
        rested = await output.wait_request()
        await output.write(SOUND[1920:2880])
        await output.rest(partial(trio.sleep, 0))
        await output.wait_request()
        await output.write(SOUND[2880:3840])
    await trio.sleep(0.1)
    assert 0.9 < rested.leaves_s - request.leaves_s < 1.1
    heard = left(loudspeaker, folder, peer)
    if heard is not None:
        second = heard.index(SOUND[1920:2880])
        assert heard[:1920] == SOUND[:1920]
        assert not any(heard[1920:second])
        assert 0.9 < (second - 1920) / 48_000 < 1.1
        assert heard[second + 960 :].lstrip(b"\0") == SOUND[2880:3840].lstrip(b"\0")


async def test_a_loudspeaker_that_rests_can_be_closed(
    autojump_clock: trio.testing.MockClock, loudspeaker: OutputDevice
) -> None:
    with trio.move_on_after(1.0) as patience:
        async with loudspeaker.open(20) as output:
            await output.rest(trio.sleep_forever)
    assert patience.cancelled_caught
