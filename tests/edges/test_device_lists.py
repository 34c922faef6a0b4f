"""Lists of devices: the next one takes over, and the better one is taken again."""

import math
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.lowlevel
import trio.testing

from pipeline.edges.devices import ASK_S, FirstToOpen, input_device, output_device
from pipeline.edges.sound_card_names import NO_DEVICES, Direction
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError
from pipeline.vocabulary.settings import DeviceList
from tests.fake_sounddevice import (
    FakeCard,
    FakeSounddevice,
    at_once,
    keep_asking,
    listen_on,
    never,
    take,
)


async def test_a_headset_is_unplugged_and_taken_again(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    headset, desk = FakeCard("Headset"), FakeCard("Desk")
    module = FakeSounddevice(headset, desk)
    nursery.start_soon(module.run)
    microphone = input_device(["device:headset", "device:desk"], sound_system=module.system())
    assert isinstance(microphone, FirstToOpen)
    opened = []

    def unplug() -> None:
        opened.append(microphone.name)
        headset.is_plugged = False
        module.streams[0].finish()

    def plug() -> None:
        opened.append(microphone.name)
        headset.is_plugged = True

    with pytest.raises(DeviceError, match="device:Headset: the device is gone"):
        await listen_on(microphone, 1, unplug)
    before_s = trio.current_time()
    with pytest.raises(DeviceError, match="device:Headset is back"):
        await listen_on(microphone, round(1.5 * ASK_S * 50), plug)
    assert opened == ["device:Headset", "device:Desk"]
    assert trio.current_time() - before_s <= 2.1 * ASK_S
    async with microphone.open(20) as blocks:
        assert microphone.name == "device:Headset"
        await anext(blocks)
    nursery.cancel_scope.cancel()


async def test_the_device_in_reserve_may_fail_too(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    headset, desk = FakeCard("Headset"), FakeCard("Desk")
    headset.is_plugged = False
    module = FakeSounddevice(headset, desk)
    nursery.start_soon(module.run)
    microphone = input_device(["device:headset", "device:desk"], sound_system=module.system())

    def unplug() -> None:
        desk.is_plugged = False
        module.streams[0].finish()

    with pytest.raises(DeviceError, match="device:Desk: the device is gone"):
        await listen_on(microphone, 5, unplug)
    assert not module.open_streams
    with pytest.raises(DeviceError) as caught:
        await take(microphone, 1)
    assert caught.value.message.count("device:") == 2, "both are told"
    nursery.cancel_scope.cancel()


async def test_the_default_is_taken_again_when_its_sound_server_is_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    hdmi, default = FakeCard("HDMI"), FakeCard("default")
    module = FakeSounddevice(default, hdmi)
    nursery.start_soon(module.run)
    microphone = input_device("device:default", sound_system=module.system())

    def server_ends() -> None:
        default.is_plugged = False
        module.streams[0].finish()

    with pytest.raises(DeviceError, match="device:default: the device is gone"):
        await listen_on(microphone, 5, server_ends)
    with pytest.raises(DeviceError, match="device:default is back"), trio.fail_after(2 * ASK_S):
        await listen_on(microphone, 5, lambda: setattr(default, "is_plugged", True))
    assert microphone.name == "device:HDMI", "it stood in"
    async with microphone.open(20):
        assert microphone.name == "device:default"
    nursery.cancel_scope.cancel()


async def test_a_machine_without_a_default_is_hardly_asked_for_one(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    module = FakeSounddevice(FakeCard("USB"))
    nursery.start_soon(module.run)
    asked: list[str] = []

    async def can_open(wanted: str, direction: Direction) -> bool:
        asked.append(wanted)
        return await module.can_open(wanted, direction)

    system = SoundSystem(load=lambda: module, in_thread=at_once, can_open=can_open, clock=trio.current_time)
    microphone = input_device("device:default", sound_system=system)
    with trio.move_on_after(3_600):
        await listen_on(microphone, 1, lambda: None)
    assert microphone.name == "device:USB"
    assert 60 <= len(asked) <= 70
    nursery.cancel_scope.cancel()


async def test_what_ails_every_device_of_a_list_is_told_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    module = FakeSounddevice()
    nursery.start_soon(module.run)
    with pytest.raises(DeviceError) as caught:
        await take(input_device(["device:headset", "device:desk"], sound_system=module.system()), 1)
    assert caught.value.message == NO_DEVICES
    nursery.cancel_scope.cancel()


async def test_a_better_device_that_is_there_and_does_not_open_is_asked_for_ever_less_often(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    headset, desk = FakeCard("Headset"), FakeCard("Desk")
    headset.accepted = ()
    module = FakeSounddevice(headset, desk)
    nursery.start_soon(module.run)
    microphone = input_device(["device:headset", "device:desk"], sound_system=module.system())
    lasted_s = []
    for _ in range(7):
        before_s = trio.current_time()
        with pytest.raises(DeviceError, match="is back"):
            await listen_on(microphone, 1, lambda: None)
        lasted_s.append(trio.current_time() - before_s)
    assert lasted_s == pytest.approx([3, 6, 12, 24, 48, 60, 60], abs=0.1)
    nursery.cancel_scope.cancel()


async def test_a_hung_sound_system_is_no_reason_to_try_the_next_card(autojump_clock: trio.testing.MockClock) -> None:
    module = FakeSounddevice(FakeCard("USB"))
    system = SoundSystem(load=lambda: module, in_thread=never, can_open=module.can_open, clock=trio.current_time)
    microphone = input_device(["device:usb", "none:"], sound_system=system)
    with pytest.raises(SoundSystemHungError):
        await take(microphone, 1)


async def test_a_socket_that_silence_stood_in_for_is_taken_when_it_is_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    with (
        TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as robot,
    ):
        path = Path(folder) / "robot"

        async def come_back() -> None:
            await trio.sleep(1.5 * ASK_S)
            robot.bind(str(path))
            robot.listen(2)

        nursery.start_soon(come_back)
        microphone, loudspeaker = input_device([f"unix:{path}", "none:"]), output_device([f"unix:{path}", "none:"])

        async def listen() -> None:
            with pytest.raises(DeviceError, match=f"unix:{path} is back"):
                await listen_on(microphone, 1, lambda: None)

        async with trio.open_nursery() as both:
            both.start_soon(listen)
            with trio.fail_after(3 * ASK_S), pytest.raises(DeviceError, match=f"unix:{path} is back"):
                await keep_asking(loudspeaker)
        for device in (microphone, loudspeaker):
            async with device.open(20):
                assert device.name == f"unix:{path}"


async def test_after_a_hung_sound_system_silence_stands_in_until_the_card_is_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    headset, desk = FakeCard("Headset"), FakeCard("Desk")
    headset.is_plugged = desk.is_plugged = False
    module = FakeSounddevice(headset, desk)
    nursery.start_soon(module.run)
    hangs = True

    async def in_thread(work: Callable[[], object], *, abandon_on_cancel: bool) -> object:
        return await (never if hangs else at_once)(work, abandon_on_cancel=abandon_on_cancel)

    system = SoundSystem(load=lambda: module, in_thread=in_thread, can_open=module.can_open, clock=trio.current_time)
    setting = ["device:headset", "device:desk", "none:"]
    microphone = input_device(setting, sound_system=system, sound_hung=True)
    loudspeaker = output_device(setting, sound_system=system, sound_hung=True)

    async def resume() -> None:
        nonlocal hangs
        await trio.sleep(61)
        hangs, desk.is_plugged = False, True

    nursery.start_soon(resume)
    with trio.fail_after(61 + 2 * ASK_S), pytest.raises(DeviceError, match="device:desk is back"):
        await listen_on(microphone, 1, lambda: None)
    assert trio.current_time() > 61, "and the sound system was not touched before"
    assert microphone.name == "none:"
    with pytest.raises(DeviceError, match="device:headset is back"):
        await listen_on(microphone, 1, lambda: setattr(headset, "is_plugged", True))
    assert microphone.name == "device:Desk"
    with pytest.raises(DeviceError, match="device:headset is back"):
        await keep_asking(loudspeaker)
    for device in (microphone, loudspeaker):
        async with device.open(20):
            assert device.name == "device:Headset"
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("setting", ["device:usb", ["device:usb", "device:default"], ["device:usb", "unix:/no/socket"]])
async def test_without_anything_else_that_opens_the_card_is_tried_even_after_it_hung(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, setting: DeviceList
) -> None:
    module = FakeSounddevice(FakeCard("USB"))
    nursery.start_soon(module.run)
    microphone = input_device(setting, sound_system=module.system(), sound_hung=True)
    await take(microphone, 1)
    assert microphone.name == "device:USB"
    nursery.cancel_scope.cancel()


class Contact:
    """A device whose cable hangs by a thread.

    Attributes:
        holds_s: how long it works each time.
    """

    def __init__(self, name: str, holds_s: float) -> None:
        self.name = name
        self.holds_s = holds_s

    async def is_back(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[float, None]:
        assert frame_ms == 20
        yield self.holds_s


async def test_a_device_that_opens_only_to_fail_leaves_the_call_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    headset, desk = Contact("headset", 0.01), Contact("desk", math.inf)
    devices = FirstToOpen([headset, desk])
    used: list[tuple[str, int]] = []

    async def use() -> None:
        opened_s = trio.current_time()
        with suppress(DeviceError):
            async with devices.open(20) as holds_s:
                await trio.sleep(holds_s)
                raise DeviceError("the contact is loose")
        used.append((devices.name, round(trio.current_time() - opened_s)))

    for _ in range(18):
        await use()
    assert used == [
        each for seconds in (3, 6, 12, 24, 48, 60) for each in (("headset", 0), ("headset", 0), ("desk", seconds))
    ]
    headset.holds_s = math.inf
    with trio.move_on_after(100):  # until somebody mutes
        await use()
    headset.holds_s = 0.01
    used.clear()
    for _ in range(3):
        await use()
    assert used == [("headset", 0), ("headset", 0), ("desk", 3)], "it had worked meanwhile"


async def test_a_list_of_which_all_open_only_to_fail_tries_one_after_the_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    devices = FirstToOpen([Contact(name, 0.01) for name in ("headset", "desk", "shelf")])
    used: list[str] = []
    for _ in range(24):
        with suppress(DeviceError):
            async with devices.open(20):
                used.append(devices.name)
                await trio.sleep(0.01)
                raise DeviceError("the contact is loose")
    assert used == 4 * ["headset", "headset", "desk", "desk", "shelf", "shelf"]


async def test_a_device_of_which_one_failure_is_long_ago_has_another_chance(
    autojump_clock: trio.testing.MockClock,
) -> None:
    devices = FirstToOpen([Contact("headset", 0.01), Contact("desk", 0.01)])
    used: list[str] = []
    for holds_s in (0.01, math.inf, 0.01, 0.01):
        with suppress(DeviceError), trio.move_on_after(3_600):  # then somebody mutes
            async with devices.open(20):
                used.append(devices.name)
                await trio.sleep(holds_s)
                raise DeviceError("the contact is loose")
    assert used == ["headset"] * 4
