"""The far end: what the loudspeaker played, beside what the microphone heard."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import trio
import trio.lowlevel
import trio.testing

from pipeline.core.device_clock import DeviceClock
from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.edges.sound_card import CardLoudspeaker, CardMicrophone
from pipeline.edges.sound_card_far_end import FarEnd
from pipeline.edges.sound_card_stream import CardStream
from pipeline.edges.synthetic import counter_signal
from tests.fake_sounddevice import (
    PLAYBACK_DELAY_S,
    FakeCard,
    FakeSounddevice,
    playing,
)


async def take_far(device: CardMicrophone, blocks: int) -> tuple[float, bytes]:
    """When the first block was heard, and what the loudspeaker played during all of them."""
    captured_s, far = [], b""
    async with device.open(20) as stream:
        for _ in range(blocks):
            block = await anext(stream)
            assert block.far is not None
            far += block.far()
            captured_s.append(block.captured_s)
    return captured_s[0], far


# the far end


async def test_the_microphone_is_told_what_the_loudspeaker_played_meanwhile(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, card: FakeCard
) -> None:
    system = portaudio.system()
    said = counter_signal(1.0).pcm
    async with playing(CardLoudspeaker(system, "usb"), said):
        captured_s, heard = await take_far(CardMicrophone(system, "usb"), 40)
    speaker = portaudio.streams[0]
    far = to_samples(heard).astype(float)
    played = to_samples(bytes(speaker.played)).astype(float)
    first = round((captured_s - 0.02 - PLAYBACK_DELAY_S) * 24_000)  # the speaker's sample of that moment
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
        captured_s, heard = await take_far(CardMicrophone(system, "usb"), 40)
    far = to_samples(heard).astype(float)
    played = to_samples(bytes(portaudio.streams[0].played)).astype(float)
    first = round((captured_s - 0.02 - PLAYBACK_DELAY_S) * 24_000)
    error = far - played[first : first + far.size]
    assert np.abs(played[first:]).max() > 3_000, "there was something to be heard"
    quiet = np.convolve(np.abs(played[first : first + far.size]), np.ones(480), "same") == 0
    assert not far[quiet].any()
    assert np.corrcoef(far, played[first : first + far.size])[0, 1] > 0.99, f"off by {error.std():.0f}"


async def test_without_a_loudspeaker_the_far_end_is_silent(
    autojump_clock: trio.testing.MockClock, microphone: CardMicrophone
) -> None:
    assert (await take_far(microphone, 10))[1] == bytes(9600)


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
