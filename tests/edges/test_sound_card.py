"""The sound card's microphone and loudspeaker on a scripted PortAudio, in virtual time."""

import errno
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import trio
import trio.lowlevel
import trio.testing

from pipeline.core.device_clock import DeviceClock
from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.edges.devices import ASK_S, FirstToOpen, input_device
from pipeline.edges.interfaces import InputBlock, InputDevice, OutputDevice
from pipeline.edges.simulated import counter_signal
from pipeline.edges.sound_card import CardLoudspeaker, CardMicrophone
from pipeline.edges.sound_card_far_end import FarEnd
from pipeline.edges.sound_card_names import NO_DEVICES, NO_PORTAUDIO
from pipeline.edges.sound_card_stream import WATCHDOG_S, CardStream
from pipeline.edges.sound_card_system import CLOSE_DEADLINE_S, OPEN_DEADLINE_S, SoundSystem
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError
from tests.fake_sounddevice import (
    CAPTURE_DELAY_S,
    PLAYBACK_DELAY_S,
    FakeCard,
    FakeSounddevice,
    FakeStream,
    PortAudioError,
    at_once,
    never,
)

COUNTER = counter_signal(2.0).pcm


@pytest.fixture
def card() -> FakeCard:
    card = FakeCard("USB Audio: - (hw:1,0)")
    card.heard = COUNTER
    return card


@pytest.fixture
async def portaudio(card: FakeCard, nursery: trio.Nursery) -> AsyncIterator[FakeSounddevice]:
    module = FakeSounddevice(card)
    nursery.start_soon(module.run)
    yield module
    nursery.cancel_scope.cancel()


@pytest.fixture
def microphone(portaudio: FakeSounddevice) -> CardMicrophone:
    return CardMicrophone(portaudio.system(), "usb")


@pytest.fixture
def loudspeaker(portaudio: FakeSounddevice) -> CardLoudspeaker:
    return CardLoudspeaker(portaudio.system(), "usb")


async def take(device: InputDevice, blocks: int, frame_ms: int = 20) -> list[InputBlock]:
    async with device.open(frame_ms) as stream:
        return [await anext(stream) for _ in range(blocks)]


async def keep_asking(device: OutputDevice, pcm: bytes = b"") -> None:
    """Play, then silence, for ever."""
    async with device.open(20) as stream:
        at = 0
        while True:
            request = await stream.wait_request()
            size = 2 * request.samples
            await stream.write(pcm[at : at + size].ljust(size, b"\0"))
            at += size


async def listen_on(device: InputDevice, blocks: int, then: Callable[[], None]) -> None:
    """Take some blocks, let something happen, and listen for ever."""
    async with device.open(20) as stream:
        for _ in range(blocks):
            await anext(stream)
        then()
        async for _ in stream:
            pass


@asynccontextmanager
async def playing(device: OutputDevice, pcm: bytes = b"") -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_asking, device, pcm)
        await trio.sleep(0.2)
        yield
        nursery.cancel_scope.cancel()


# what goes well


@pytest.mark.parametrize("frame_ms", [20, 30, 40])
async def test_what_a_microphone_hears_arrives_whole_and_dated(
    autojump_clock: trio.testing.MockClock, microphone: CardMicrophone, frame_ms: int
) -> None:
    start_s = trio.current_time()
    blocks = await take(microphone, 20, frame_ms)
    assert b"".join(block.pcm for block in blocks) == COUNTER[: 20 * frame_ms * 48]
    assert blocks[0].captured_s == pytest.approx(start_s + 0.02 - CAPTURE_DELAY_S, abs=1e-6)
    steps = [later.captured_s - earlier.captured_s for earlier, later in pairwise(blocks)]
    assert steps == pytest.approx([frame_ms / 1000] * 19, abs=1e-6)  # PortAudio's clock has no finer digits
    assert microphone.name == "device:USB Audio"


@pytest.mark.parametrize("frame_ms", [20, 30, 40])
async def test_a_loudspeaker_plays_all_in_one_piece_at_the_time_it_tells(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker, frame_ms: int
) -> None:
    leaves = []
    async with loudspeaker.open(frame_ms) as stream:
        for index in range(20):
            request = await stream.wait_request()
            assert request.samples == frame_ms * 24
            leaves.append(request.leaves_s)
            await stream.write(COUNTER[index * frame_ms * 48 : (index + 1) * frame_ms * 48])
        await trio.sleep(0.1)
    (card,) = portaudio.streams
    heard = bytes(card.played)
    start = heard.find(COUNTER[:960])
    assert heard[start : start + 20 * frame_ms * 48] == COUNTER[: 20 * frame_ms * 48]
    callbacks_began_s = 0.02 + PLAYBACK_DELAY_S
    assert leaves[0] == pytest.approx(callbacks_began_s + start / 48_000)
    assert [later - earlier for earlier, later in pairwise(leaves)] == pytest.approx([frame_ms / 1000] * 19, abs=1e-6)
    assert loudspeaker.statistics().starved == 0


@pytest.mark.parametrize(("rate_hz", "channels"), [(48_000, 2), (44_100, 1), (16_000, 2)])
async def test_a_card_with_its_own_rate_and_channels_sounds_the_same(
    autojump_clock: trio.testing.MockClock, card: FakeCard, portaudio: FakeSounddevice, rate_hz: int, channels: int
) -> None:
    tone = 8_000 * np.sin(2 * np.pi * 440 * np.arange(2 * rate_hz) / rate_hz)
    card.rates, card.inputs, card.outputs, card.heard = (rate_hz,), channels, channels, to_pcm(tone)
    system = portaudio.system()
    blocks = await take(CardMicrophone(system, "usb"), 40)
    heard = to_samples(b"".join(block.pcm for block in blocks)).astype(float)[480:]
    ideal = 8_000 * np.sin(2 * np.pi * 440 * np.arange(480, 480 + heard.size) / 24_000)
    assert np.corrcoef(heard, ideal)[0, 1] > 0.9999
    said = to_pcm(8_000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000))
    async with playing(CardLoudspeaker(system, "usb"), said):
        await trio.sleep(0.5)
    played = to_samples(bytes(portaudio.streams[-1].played)).reshape(-1, channels)
    assert (played == played[:, :1]).all(), "every side plays the same"
    begin = int(np.argmax(np.abs(played[:, 0]) > 300))
    sound = played[begin : begin + rate_hz // 4, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size))) ** 2
    near_tone = np.abs(np.fft.rfftfreq(sound.size, 1 / rate_hz) - 440) < 40
    assert spectrum[near_tone].sum() / spectrum.sum() > 0.999, "no gap and no alias in it"


async def test_a_closed_microphone_is_given_back(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    await take(microphone, 3)
    assert not portaudio.open_streams
    await take(microphone, 3)
    assert microphone.statistics().opened == 2


async def test_a_cancelled_opening_leaves_nothing_open(
    autojump_clock: trio.testing.MockClock, card: FakeCard, portaudio: FakeSounddevice
) -> None:
    async def slow(work: object, *, abandon_on_cancel: bool) -> object:
        await trio.sleep(0.3)
        return await at_once(work, abandon_on_cancel=abandon_on_cancel)  # type: ignore[arg-type]

    system = SoundSystem(load=lambda: portaudio, in_thread=slow, can_open=portaudio.can_open, clock=trio.current_time)
    with trio.move_on_after(0.1):
        await take(CardMicrophone(system, "usb"), 1)
    assert [stream.state for stream in portaudio.streams] == ["closed"]


# the far end


async def test_the_microphone_is_told_what_the_loudspeaker_played_meanwhile(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, card: FakeCard
) -> None:
    system = portaudio.system()
    said = counter_signal(1.0).pcm
    async with playing(CardLoudspeaker(system, "usb"), said):
        blocks = await take(CardMicrophone(system, "usb"), 40)
    speaker = portaudio.streams[0]
    far = to_samples(b"".join(block.far or b"" for block in blocks)).astype(float)
    played = to_samples(bytes(speaker.played)).astype(float)
    first = round((blocks[0].captured_s - 0.02 - PLAYBACK_DELAY_S) * 24_000)  # the speaker's sample of that moment
    assert first > 0
    assert np.corrcoef(far, played[first : first + far.size])[0, 1] > 0.999


async def test_every_sound_between_silences_lies_where_it_was_played(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice
) -> None:
    system = portaudio.system()
    dice = np.random.default_rng(1)
    parts = [
        to_pcm(np.convolve(dice.normal(0, 3_000, 24 * ms), np.ones(8), "same")) + bytes(48 * gap_ms)
        for ms, gap_ms in [(13, 40), (30, 21), (5, 19), (60, 100), (1, 61), (90, 20)]
    ]
    async with playing(CardLoudspeaker(system, "usb"), b"".join(parts)):
        blocks = await take(CardMicrophone(system, "usb"), 40)
    far = to_samples(b"".join(block.far or b"" for block in blocks)).astype(float)
    played = to_samples(bytes(portaudio.streams[0].played)).astype(float)
    first = round((blocks[0].captured_s - 0.02 - PLAYBACK_DELAY_S) * 24_000)
    error = far - played[first : first + far.size]
    assert np.abs(played[first:]).max() > 3_000, "there was something to be heard"
    quiet = np.convolve(np.abs(played[first : first + far.size]), np.ones(480), "same") == 0
    assert not far[quiet].any()
    assert np.corrcoef(far, played[first : first + far.size])[0, 1] > 0.99, f"off by {error.std():.0f}"


async def test_without_a_loudspeaker_the_far_end_is_silent(
    autojump_clock: trio.testing.MockClock, microphone: CardMicrophone
) -> None:
    assert all(block.far == bytes(960) for block in await take(microphone, 10))


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
        for name in ("eventfd", "dup"):
            patch.setattr(os, name, refuse)
        with pytest.raises(DeviceError, match="device:USB Audio cannot be opened: Too many open files"):
            await take(microphone, 1)
    assert len(await take(microphone, 1)) == 1


async def test_what_portaudio_prints_is_not_seen(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, capfd: pytest.CaptureFixture[str]
) -> None:
    def load() -> FakeSounddevice:
        os.write(2, b"Expression 'ret' failed")
        return portaudio

    os.write(2, b"before,")
    system = SoundSystem(load=load, in_thread=at_once, can_open=portaudio.can_open, clock=trio.current_time)
    await take(CardMicrophone(system, "usb"), 1)
    os.write(2, b"after")
    assert capfd.readouterr().err == "before,after"


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


# row 66: xruns and stalls


async def test_an_overrun_is_replaced_by_silence_of_the_same_length(
    autojump_clock: trio.testing.MockClock, microphone: CardMicrophone
) -> None:
    module = FakeSounddevice(FakeCard("USB"))
    module.cards[0].heard = COUNTER
    device = CardMicrophone(module.system(), "usb")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(module.run)
        async with device.open(20) as stream:
            blocks = [await anext(stream) for _ in range(10)]
            module.holds_its_breath = True
            await trio.sleep(0.06)
            module.streams[0].tick(xrun=True)
            module.holds_its_breath = False
            blocks += [await anext(stream) for _ in range(10)]
        nursery.cancel_scope.cancel()
    heard = b"".join(block.pcm for block in blocks)
    statistics = device.statistics()
    assert statistics.xruns == 1
    assert statistics.inserted == pytest.approx(0.04 * 24_000, abs=2)
    gap = 2 * statistics.inserted
    assert heard[: 10 * 960] == COUNTER[: 10 * 960]
    assert heard[10 * 960 : 10 * 960 + gap] == bytes(gap)
    assert heard[10 * 960 + gap :] == COUNTER[10 * 960 : len(heard) - gap]
    steps = [later.captured_s - earlier.captured_s for earlier, later in pairwise(blocks)]
    assert steps == pytest.approx([0.02] * 19, abs=1e-3)


async def test_an_underrun_is_counted_and_the_time_follows(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        for _ in range(20):
            await stream.wait_request()
            await stream.write(bytes(960))
        portaudio.streams[0].tick(later_s=0.09, xrun=True)
        request = await stream.wait_request()
        assert request.leaves_s == pytest.approx(trio.current_time() + 0.09 + PLAYBACK_DELAY_S + 0.022, abs=0.021)
    assert loudspeaker.statistics().xruns == 1


async def test_one_late_moment_hardly_moves_the_time_line(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as stream:
        before = [await anext(stream) for _ in range(200)]
        portaudio.streams[0].tick(later_s=0.02)
        after = [await anext(stream) for _ in range(2)]
    drift_s = after[0].captured_s - before[-1].captured_s - 0.02
    assert abs(drift_s) < 0.0005


async def test_after_a_stall_the_microphone_goes_on_with_the_present(
    portaudio: FakeSounddevice, microphone: CardMicrophone, autojump_clock: trio.testing.MockClock
) -> None:
    async with microphone.open(20) as stream:
        await anext(stream)
        started_s = trio.current_time()
        await trio.sleep(1.0)  # nobody takes blocks, callbacks go on
        block = await anext(stream)
        assert trio.current_time() - started_s == pytest.approx(1.0, abs=0.03)
        age_s = trio.current_time() - block.captured_s
        assert 0.38 < age_s - CAPTURE_DELAY_S <= 0.42
        place = round((block.captured_s - 0.02 + CAPTURE_DELAY_S) * 48_000 / 2) * 2
        assert COUNTER[place : place + 960] == block.pcm, "the date is that of these very samples"
    assert microphone.statistics().stale > 0.5 * 24_000


async def test_a_burst_of_old_sound_is_discarded(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as stream:
        await anext(stream)
        portaudio.holds_its_breath = True
        await trio.sleep(0.3)
        for block in range(100):  # a server hands out 2 s that it had kept
            portaudio.streams[0].tick(later_s=-0.02 * (100 - block))
        portaudio.holds_its_breath = False
        block_after = await anext(stream)
    assert trio.current_time() - block_after.captured_s < 0.4 + CAPTURE_DELAY_S + 0.04
    assert microphone.statistics().stale / 480 == pytest.approx(80, abs=3)


async def test_a_microphone_with_a_long_delay_of_its_own_is_not_deaf(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    portaudio.delay_s = 2.0
    start_s = trio.current_time()
    blocks = await take(microphone, 20)
    assert blocks[0].captured_s == pytest.approx(start_s + 0.02 - 2.0 - CAPTURE_DELAY_S, abs=1e-6)
    assert microphone.statistics().stale == 0


async def test_a_loudspeaker_that_was_starved_keeps_more_ready(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        leads = []
        for index in range(40):
            request = await stream.wait_request()
            leads.append(request.leaves_s - trio.current_time())
            await stream.write(bytes(960))
            if index == 19:
                await trio.sleep(0.07)
    assert loudspeaker.statistics().starved == 1
    assert leads[-1] - leads[10] == pytest.approx(0.02, abs=0.003)


# row 67: two clocks


class SineLoudspeaker:
    """Its crystal runs `ppm` fast, and it plays a sine so slow that its phase tells which sample one hears."""

    HZ = 5.0
    DELAY_S = 0.06

    def __init__(self, ppm: float) -> None:
        self.pace = 1 + ppm * 1e-6
        self.stream = CardStream("device:USB", 48_000, 1, lambda: self.next_s)
        self.clock = DeviceClock(48_000)
        self.next_s = 0.0
        self.blocks = 0

    def run_until(self, now: float) -> None:
        while self.next_s <= now:
            samples = 960 * self.blocks + np.arange(960)
            self.stream.ring.write(to_pcm(8_000 * np.sin(2 * np.pi * self.HZ * samples / 48_000)))
            wobble_s = 0.001 * math.sin(self.blocks)
            times = SimpleNamespace(currentTime=5.0, outputBufferDacTime=5.0 + self.DELAY_S + wobble_s)
            self.stream.play(memoryview(bytearray(1_920)), 960, times, SimpleNamespace(output_underflow=False))
            self.blocks += 1
            self.next_s = self.blocks * 0.02 / self.pace

    def settle(self) -> None:
        for mark in self.stream.marks():
            self.clock.mark(mark.first, mark.at_s)

    def error_s(self, pcm: bytes, from_s: float) -> float:
        """How far `pcm` (at 24 kHz) is from what really left the loudspeaker from `from_s` on."""
        at_s = from_s + np.arange(len(pcm) // 2) / 24_000
        turns = self.HZ * (at_s - self.DELAY_S) * self.pace
        angle = np.angle(1j * np.sum(to_samples(pcm) * np.exp(-2j * np.pi * turns)))
        return float(angle) / (2 * np.pi * self.HZ)


@pytest.mark.parametrize("ppm", [-100, 100])
def test_two_clocks_100_ppm_apart_stay_together(ppm: float) -> None:
    loudspeaker = SineLoudspeaker(ppm)
    far_end = FarEnd()
    far_end.attach(loudspeaker.stream, loudspeaker.clock, loudspeaker.settle)
    loudspeaker.run_until(1.0)
    errors_s = []
    for period in range(5, 5 * 240):  # 4 minutes; left alone they would be 24 ms apart
        from_s = period / loudspeaker.HZ
        loudspeaker.run_until(from_s + 0.2)
        errors_s.append(loudspeaker.error_s(b"".join(far_end.take(from_s + 0.02 * k, 480) for k in range(10)), from_s))
    print(f"{ppm} ppm for 4 minutes: off by {max(map(abs, errors_s)) * 1000:.1f} ms at most")
    assert max(map(abs, errors_s)) < 0.008
    assert np.ptp(np.diff(errors_s)) < 0.001, "and never by a jump"


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


# lists


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
