"""Sound systems that hang, end, come back or lack something, on a scripted PortAudio in virtual time."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import trio
import trio.lowlevel
import trio.testing

from pipeline.core.reopening import REOPEN_S
from pipeline.edges.sound_card import CardLoudspeaker, CardMicrophone
from pipeline.edges.sound_card_names import NO_DEVICES, NO_PORTAUDIO
from pipeline.edges.sound_card_stream import WATCHDOG_S
from pipeline.edges.sound_card_system import CLOSE_DEADLINE_S, EAGER_S, LOOK_S, OPEN_DEADLINE_S, SoundSystem
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError
from tests.fake_sounddevice import (
    FakeCard,
    FakeSounddevice,
    FakeStream,
    PortAudioError,
    at_once,
    keep_asking,
    listen_on,
    never,
    take,
)

# row 63, 64: the device is pulled, or its callbacks stop


async def test_callbacks_that_stop_end_the_stream_within_the_watchdog_and_nothing_is_closed(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as blocks:
        for _ in range(5):
            await anext(blocks)
        portaudio.holds_its_breath = True
        since_s = trio.current_time()
        with pytest.raises(SoundSystemHungError, match=r"device:USB Audio: no sound .* for 0.4 s") as caught:
            await anext(blocks)
        assert trio.current_time() - since_s == pytest.approx(WATCHDOG_S, abs=0.03)
        assert caught.value.fault().cause == "hung"


@pytest.mark.parametrize("stall_s", [0.5, 5.0])
async def test_a_stall_of_our_own_is_not_taken_for_one_of_the_device(
    autojump_clock: trio.testing.MockClock,
    portaudio: FakeSounddevice,
    microphone: CardMicrophone,
    loudspeaker: CardLoudspeaker,
    nursery: trio.Nursery,
    stall_s: float,
) -> None:
    async def stall() -> None:
        for _ in range(5):
            await trio.sleep(0.25)
            autojump_clock.jump(stall_s)  # nothing in this process got on, its callbacks neither

    nursery.start_soon(keep_asking, loudspeaker)
    async with microphone.open(20) as blocks:
        nursery.start_soon(stall)
        for _ in range(100):
            await anext(blocks)
    assert trio.current_time() > 5 * stall_s
    nursery.cancel_scope.cancel()


async def test_a_hung_loudspeaker_is_left_alone_and_refuses_to_open_again(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async def play() -> None:
        async with loudspeaker.open(20) as stream:
            portaudio.holds_its_breath = True
            while True:
                await stream.wait_request()
                await stream.write(None)

    with pytest.raises(SoundSystemHungError):
        await play()
    assert [stream.state for stream in portaudio.streams] == ["running"], "abort and close would never return"
    before_s = trio.current_time()
    with pytest.raises(SoundSystemHungError):
        await keep_asking(loudspeaker)
    assert trio.current_time() == before_s


async def test_a_device_that_ends_is_an_outage_and_can_be_opened_again(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as blocks:
        await anext(blocks)
        portaudio.streams[0].finish()
        with pytest.raises(DeviceError, match="device:USB Audio: the device is gone"):
            await anext(blocks)
    assert not portaudio.open_streams
    assert len(await take(microphone, 3)) == 3


async def test_a_callback_that_fails_is_an_end_of_the_device(
    autojump_clock: trio.testing.MockClock,
    portaudio: FakeSounddevice,
    microphone: CardMicrophone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        monkeypatch.delattr(portaudio.streams[0].settings["callback"].__self__, "ring")

    with pytest.raises(DeviceError, match="the device is gone"):
        await listen_on(microphone, 1, fail)


async def test_a_call_that_hangs_is_left_behind_and_told(autojump_clock: trio.testing.MockClock) -> None:
    module = FakeSounddevice(FakeCard("USB"))
    system = SoundSystem(load=lambda: module, in_thread=never, can_open=module.can_open, clock=trio.current_time)
    before_s = trio.current_time()
    with pytest.raises(SoundSystemHungError, match=r"opening device:usb took longer than 1.5 s"):
        await take(CardMicrophone(system, "usb"), 1)
    assert trio.current_time() - before_s == pytest.approx(OPEN_DEADLINE_S)
    with pytest.raises(SoundSystemHungError):
        await keep_asking(CardLoudspeaker(system, "usb"))
    assert trio.current_time() - before_s == pytest.approx(OPEN_DEADLINE_S), "told at once the second time"


@pytest.mark.parametrize("stall_s", [0.5, 5.0])
@pytest.mark.parametrize("at_s", [0.05, 0.85, 1.05])
async def test_a_stall_of_our_own_is_not_taken_for_a_call_that_hangs(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, at_s: float, stall_s: float
) -> None:
    """The call takes 1.1 s of a processor that this process did not have for a while; nor had the call."""
    module = FakeSounddevice(FakeCard("USB"))
    nursery.start_soon(module.run)

    async def in_thread(work: Callable[[], object], *, abandon_on_cancel: bool) -> object:
        for _ in range(11):
            await trio.sleep(0.1)
        return await at_once(work, abandon_on_cancel=abandon_on_cancel)

    async def stall() -> None:
        await trio.sleep(at_s)
        autojump_clock.jump(stall_s)

    system = SoundSystem(load=lambda: module, in_thread=in_thread, can_open=module.can_open, clock=trio.current_time)
    nursery.start_soon(stall)
    async with system.open_stream("usb", "input") as (stream, _):
        assert not stream.is_sick
        nursery.start_soon(stall)
        with pytest.raises(SoundSystemHungError, match="closing device:USB"):  # for that, 0.5 s were enough
            await system._call(lambda: None, CLOSE_DEADLINE_S, "closing device:USB")
        stream.is_sick = True  # so nothing is closed
    nursery.cancel_scope.cancel()


async def test_a_close_that_hangs_is_told(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    module = FakeSounddevice(FakeCard("USB"))
    nursery.start_soon(module.run)
    threads = [at_once, never]

    async def in_thread(work: object, *, abandon_on_cancel: bool) -> object:
        return await threads.pop(0)(work, abandon_on_cancel=abandon_on_cancel)  # type: ignore[arg-type]

    system = SoundSystem(load=lambda: module, in_thread=in_thread, can_open=module.can_open, clock=trio.current_time)
    with pytest.raises(SoundSystemHungError, match=rf"closing device:USB took longer than {CLOSE_DEADLINE_S} s"):
        await take(CardMicrophone(system, "usb"), 1)
    nursery.cancel_scope.cancel()


async def test_without_a_descriptor_left_opening_fails_as_an_outage(
    autojump_clock: trio.testing.MockClock, microphone: CardMicrophone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "eventfd", refuse)
        with pytest.raises(DeviceError, match="device:USB Audio cannot be opened: Too many open files"):
            await take(microphone, 1)
    assert len(await take(microphone, 1)) == 1


@pytest.mark.parametrize("outcome", ["opens", "suits no rate", "does not start"])
async def test_a_card_that_is_tried_for_months_costs_no_descriptors(
    autojump_clock: trio.testing.MockClock,
    card: FakeCard,
    portaudio: FakeSounddevice,
    microphone: CardMicrophone,
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
) -> None:
    def refuse(_: FakeStream) -> None:
        raise PortAudioError("Error starting stream: Device unavailable")

    if outcome == "suits no rate":
        card.accepted = ()
    elif outcome == "does not start":
        monkeypatch.setattr(FakeStream, "start", refuse)
    counts = []
    for _ in range(5):
        with nullcontext() if outcome == "opens" else pytest.raises(DeviceError):
            await take(microphone, 1)
        counts.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
    assert len(set(counts)) == 1


# row 65: the list of devices is as old as PortAudio's start


async def test_a_device_that_comes_later_is_found(
    autojump_clock: trio.testing.MockClock, card: FakeCard, nursery: trio.Nursery
) -> None:
    card.is_plugged = False
    module = FakeSounddevice(card)
    nursery.start_soon(module.run)
    microphone = CardMicrophone(module.system(), "usb")
    with pytest.raises(DeviceError) as caught:
        await take(microphone, 1)
    assert caught.value.message == NO_DEVICES
    card.is_plugged = True
    await trio.sleep(0.25)
    assert len(await take(microphone, 3)) == 3
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("away_s", "soon_s"), [(2.0, 0.5), (2 * EAGER_S, LOOK_S + 0.5)])
async def test_a_sound_server_that_comes_again_beside_other_devices_is_seen_soon(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, away_s: float, soon_s: float
) -> None:
    desk, headset = FakeCard("Desk"), FakeCard("Headset")
    module = FakeSounddevice(desk, headset)
    nursery.start_soon(module.run)
    microphone = CardMicrophone(module.system(), "headset")
    assert len(await take(microphone, 3)) == 3
    headset.is_plugged = False
    asked_s = trio.current_time()
    while trio.current_time() < asked_s + away_s:
        with pytest.raises(DeviceError):
            await take(microphone, 3)
        await trio.sleep(REOPEN_S)
    assert module.starts <= 1 + min(away_s, EAGER_S) / REOPEN_S + away_s / LOOK_S
    headset.is_plugged = True
    with trio.fail_after(soon_s):
        while True:
            try:
                heard = await take(microphone, 3)
            except DeviceError:
                await trio.sleep(REOPEN_S)
            else:
                break
    assert len(heard) == 3
    nursery.cancel_scope.cancel()


async def test_a_new_device_makes_the_others_close_so_that_portaudio_can_look(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    desk, headset = FakeCard("Desk"), FakeCard("Headset")
    headset.is_plugged = False
    module = FakeSounddevice(desk, headset)
    nursery.start_soon(module.run)
    system = module.system()
    microphone = CardMicrophone(system, "headset")
    loudspeaker = CardLoudspeaker(system, "desk")
    told = set()

    async def listen() -> None:
        while True:
            try:
                await take(microphone, 3)
            except DeviceError as error:
                told.add(error.message)
                await trio.sleep(0.25)
            else:
                return

    async def speak() -> None:
        with pytest.raises(DeviceError, match="the sound devices have changed"):
            await keep_asking(loudspeaker)

    with trio.fail_after(20):
        async with trio.open_nursery() as both:
            both.start_soon(speak)
            await trio.sleep(0.1)
            both.start_soon(listen)
            await trio.sleep(7)
            assert (module.starts, told) == (1, {"there is no microphone device:headset; there is Desk"})
            headset.is_plugged = True
    assert module.starts == 2
    nursery.cancel_scope.cancel()


# row 68: a card that cannot do it, and what is missing


@pytest.mark.parametrize("rate_hz", [96_000, 48_000, 24_000])
async def test_a_card_is_opened_at_its_own_rate(
    autojump_clock: trio.testing.MockClock, card: FakeCard, portaudio: FakeSounddevice, rate_hz: int
) -> None:
    card.rates = (rate_hz,)
    assert len(await take(CardMicrophone(portaudio.system(), "usb"), 2)) == 2
    assert portaudio.streams[0].settings["samplerate"] == rate_hz


async def test_a_card_that_no_rate_suits_tells_what_it_has(
    autojump_clock: trio.testing.MockClock, card: FakeCard, portaudio: FakeSounddevice
) -> None:
    card.inputs, card.outputs, card.rates = 6, 0, (11_025,)
    system = portaudio.system()
    card.accepted = ()
    with pytest.raises(DeviceError) as caught:
        await take(CardMicrophone(system, "usb"), 1)
    assert caught.value.message == (
        "device:USB Audio (6 in, 0 out, 11025 Hz) cannot be opened: 48000 Hz: Invalid sample rate [PaErrorCode -9997]; "
        "11025 Hz: Invalid sample rate [PaErrorCode -9997]; 24000 Hz: Invalid sample rate [PaErrorCode -9997]"
    )
    with pytest.raises(DeviceError, match="no loudspeaker among the sound devices"):
        await keep_asking(CardLoudspeaker(system, "usb"))


async def test_portaudio_that_is_not_installed_is_named(autojump_clock: trio.testing.MockClock) -> None:
    def load() -> object:
        raise DeviceError(NO_PORTAUDIO)

    module = FakeSounddevice()
    system = SoundSystem(load=load, in_thread=at_once, can_open=module.can_open, clock=trio.current_time)
    with pytest.raises(DeviceError, match="apt install libportaudio2"):
        await take(CardMicrophone(system, "default"), 1)


async def test_a_stream_that_does_not_start_is_closed(
    autojump_clock: trio.testing.MockClock,
    portaudio: FakeSounddevice,
    microphone: CardMicrophone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(stream: FakeStream) -> None:
        assert stream.state == "opened"
        raise PortAudioError("Error starting stream: Device unavailable")

    monkeypatch.setattr(FakeStream, "start", refuse)
    with pytest.raises(DeviceError, match="device:USB Audio does not start: Device unavailable"):
        await take(microphone, 1)
    assert not portaudio.open_streams


# lazily


def test_nothing_but_opening_a_card_imports_sounddevice_and_no_websocket_comes_with_it() -> None:
    code = (
        "import sys\n"
        "from pipeline.edges.devices import input_device, output_device\n"
        "from pipeline.edges.sound_card_system import SoundSystem\n"
        "system = SoundSystem()\n"
        "input_device(['device:default', 'none:'], sound_system=system)\n"
        "output_device('device:default', sound_system=system)\n"
        "print(sorted(sys.modules.keys() & {'sounddevice', 'trio_websocket', 'httpx', 'asyncio', 'litestar'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
