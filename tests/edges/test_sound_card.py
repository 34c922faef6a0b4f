"""The sound card's microphone and loudspeaker on a scripted PortAudio, in virtual time."""

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import trio
import trio.lowlevel
import trio.testing

from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.edges.interfaces import InputBlock
from pipeline.edges.sound_card import AHEAD_MAX, CardLoudspeaker, CardMicrophone
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.edges.synthetic import counter_signal
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError
from pipeline.vocabulary.signals import NO_GLITCHES, Glitches
from tests.fake_sounddevice import (
    CAPTURE_DELAY_S,
    PLAYBACK_DELAY_S,
    FakeCard,
    FakeSounddevice,
    at_once,
    playing,
    take,
)

COUNTER = counter_signal(2.0).pcm  # as the fixture `card` hears it


def suffered(blocks: Sequence[InputBlock]) -> Glitches:
    return sum((block.glitches for block in blocks), start=NO_GLITCHES)


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
            assert request.glitches == NO_GLITCHES
            await stream.write(COUNTER[index * frame_ms * 48 : (index + 1) * frame_ms * 48])
        await trio.sleep(0.1)
    (card,) = portaudio.streams
    heard = bytes(card.played)
    start = heard.find(COUNTER[:960])
    assert heard[start : start + 20 * frame_ms * 48] == COUNTER[: 20 * frame_ms * 48]
    callbacks_began_s = 0.02 + PLAYBACK_DELAY_S
    assert leaves[0] == pytest.approx(callbacks_began_s + start / 48_000)
    assert [later - earlier for earlier, later in pairwise(leaves)] == pytest.approx([frame_ms / 1000] * 19, abs=1e-6)


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
    assert [stream.state for stream in portaudio.streams] == ["closed", "closed"]


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


# row 66: xruns and stalls


@pytest.mark.parametrize(("lost_ms", "filled_ms"), [(40, 40), (1_000, 400)])
async def test_an_overrun_is_told_whole_and_replaced_by_silence_up_to_a_bound(
    autojump_clock: trio.testing.MockClock,
    portaudio: FakeSounddevice,
    microphone: CardMicrophone,
    lost_ms: int,
    filled_ms: int,
) -> None:
    async with microphone.open(20) as stream:
        blocks = [await anext(stream) for _ in range(10)]
        portaudio.holds_its_breath = True
        await trio.sleep((lost_ms + 20) / 1000)
        portaudio.streams[0].tick(xrun=True)
        portaudio.holds_its_breath = False
        blocks += [await anext(stream) for _ in range(40)]
    heard = b"".join(block.pcm for block in blocks)
    glitches = suffered(blocks)
    assert glitches == Glitches(xruns=1, lost_ms=glitches.lost_ms)
    assert glitches.lost_ms == pytest.approx(lost_ms, abs=0.1)
    assert suffered(blocks[:10]) == NO_GLITCHES
    gap = round(min(glitches.lost_ms, filled_ms) * 24) * 2
    assert heard[: 10 * 960] == COUNTER[: 10 * 960]
    assert heard[10 * 960 : 10 * 960 + gap] == bytes(gap)
    assert heard[10 * 960 + gap :] == COUNTER[10 * 960 : len(heard) - gap]
    if lost_ms == filled_ms:
        steps = [later.captured_s - earlier.captured_s for earlier, later in pairwise(blocks)]
        assert steps == pytest.approx([0.02] * 49, abs=1e-3)


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
        assert request.glitches.xruns == 1
        await stream.write(bytes(960))
        assert (await stream.wait_request()).glitches.xruns == 0, "told once"


async def test_one_late_moment_hardly_moves_the_time_line(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as stream:
        before = [await anext(stream) for _ in range(200)]
        portaudio.streams[0].tick(later_s=0.02)
        after = [await anext(stream) for _ in range(2)]
    drift_s = after[0].captured_s - before[-1].captured_s - 0.02
    assert abs(drift_s) < 0.0005


async def test_a_moment_in_the_future_leaves_no_microphone_deaf(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as stream:
        await anext(stream)
        portaudio.streams[0].tick(later_s=1.0)
        assert suffered([await anext(stream) for _ in range(20)]) == NO_GLITCHES


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
    assert block.glitches.discarded_ms == pytest.approx(580, abs=25)


async def test_what_came_together_on_purpose_is_not_late_for_that(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    async with microphone.open(20) as stream:
        block = await anext(stream)
        assert block.no_hurry is not None
        block.no_hurry()
        await trio.sleep(0.5)
        assert suffered([await anext(stream) for _ in range(24)]) == NO_GLITCHES


async def test_a_card_that_paused_is_not_dead_while_its_blocks_come_together(
    autojump_clock: trio.testing.MockClock, card: FakeCard, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    card.heard = b""
    async with microphone.open(20) as stream:
        block = await anext(stream)
        assert block.no_hurry is not None
        block.no_hurry()

        async def pause() -> None:
            portaudio.holds_its_breath = True
            await trio.sleep(0.3)
            portaudio.holds_its_breath = False

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pause)
            await anext(stream)


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
    assert block_after.glitches.discarded_ms == pytest.approx(1_600, abs=60)


async def test_a_microphone_with_a_long_delay_of_its_own_is_not_deaf(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, microphone: CardMicrophone
) -> None:
    portaudio.delay_s = 2.0
    start_s = trio.current_time()
    blocks = await take(microphone, 20)
    assert blocks[0].captured_s == pytest.approx(start_s + 0.02 - 2.0 - CAPTURE_DELAY_S, abs=1e-6)
    assert suffered(blocks) == NO_GLITCHES


async def test_a_loudspeaker_that_was_starved_keeps_more_ready(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        leads, starved = [], []
        for index in range(40):
            request = await stream.wait_request()
            starved += [index] * request.glitches.starved
            leads.append(request.leaves_s - trio.current_time())
            await stream.write(bytes(960))
            if index == 19:
                await trio.sleep(0.07)
    assert starved == [20]
    assert leads[-1] - leads[10] == pytest.approx(0.02, abs=0.003)


async def test_a_loudspeaker_that_is_starved_for_months_does_not_fall_ever_further_behind(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    leads, starved = [], 0
    async with loudspeaker.open(20) as stream:
        for index in range(200):
            request = await stream.wait_request()
            starved += request.glitches.starved
            leads.append(request.leaves_s - trio.current_time())
            await stream.write(bytes(960))
            if index % 20 == 19:
                await trio.sleep(0.2)
    assert starved == 9, "and the last time nobody asked again"
    assert leads[-1] - leads[10] == pytest.approx((AHEAD_MAX - 1) * 0.02, abs=0.003)


# rest


async def test_a_resting_card_wakes_nobody_and_sounds_at_once_when_it_is_wanted(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        await stream.wait_request()
        await stream.write(COUNTER[:960])
        await stream.wait_request()
        await stream.write(None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "eventfd_write", lambda *_: pytest.fail("a wake-up for nothing"))
            await stream.rest(partial(trio.sleep, 5.0))
        asked_s = trio.current_time()
        request = await stream.wait_request()
        await stream.write(COUNTER[960:1920])
        assert trio.current_time() == asked_s, "it does not wait for a callback"
        assert request.leaves_s - asked_s == pytest.approx(PLAYBACK_DELAY_S + 0.02, abs=0.025)
        await trio.sleep(0.06)
    heard = bytes(portaudio.streams[0].played)
    place = heard.index(COUNTER[960:1920])
    assert place / 48_000 + PLAYBACK_DELAY_S + 0.02 == pytest.approx(request.leaves_s, abs=1e-3)
    assert request.glitches.starved == 0, "silence that was wanted is no gap"


async def test_a_rest_that_was_too_short_for_a_gap_excuses_none(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        for _ in range(3):
            await stream.wait_request()
            await stream.write(bytes(960))
        await stream.rest(trio.lowlevel.checkpoint)
        await stream.wait_request()
        await stream.write(bytes(960))
        await trio.sleep(0.1)
        assert (await stream.wait_request()).glitches.starved == 1


async def test_a_card_that_goes_or_hangs_while_it_rests_is_noticed(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async def rest(then: Callable[[FakeSounddevice], None]) -> float:
        async with loudspeaker.open(20) as stream, trio.open_nursery() as nursery:
            await stream.wait_request()
            await stream.write(None)

            async def happen() -> None:
                await trio.sleep(1.0)
                then(portaudio)

            nursery.start_soon(happen)
            try:
                await stream.rest(trio.sleep_forever)
            except SoundSystemHungError:
                return -1.0
            except DeviceError:
                return trio.current_time()
        raise AssertionError

    began_s = trio.current_time()
    assert await rest(lambda card: card.open_streams[-1].finish()) - began_s == pytest.approx(1.1, abs=0.1)
    assert await rest(lambda card: setattr(card, "holds_its_breath", True)) == -1.0


async def test_a_card_asks_for_several_blocks_at_once_and_takes_fewer_where_there_is_no_more(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    said, asked = 0, 0
    began_s = trio.current_time()
    async with loudspeaker.open(20) as stream:
        while said < len(COUNTER) // 2:
            request = await stream.wait_request()
            assert request.blocks == 8
            assert request.glitches.starved == 0
            size = 960 * (1, 8, 2)[asked % 3]
            await stream.write(COUNTER[said : said + size])
            said += size
            asked += 1
        await trio.sleep(0.3)
    assert asked < 0.4 * said / 960
    heard = bytes(portaudio.streams[0].played)
    start = heard.index(COUNTER[:960])
    assert heard[start : start + said] == COUNTER[:said]
    assert trio.current_time() - began_s == pytest.approx((said - size) / 48_000 + 0.4, abs=0.1)


@pytest.mark.parametrize(("rate_hz", "channels"), [(24_000, 1), (48_000, 2), (44_100, 1)])
@pytest.mark.parametrize("after_s", [0.005, 0.025, 0.065])
async def test_what_lies_ready_is_taken_back_and_fades(
    autojump_clock: trio.testing.MockClock,
    card: FakeCard,
    portaudio: FakeSounddevice,
    rate_hz: int,
    channels: int,
    after_s: float,
) -> None:
    card.rates, card.outputs = (rate_hz,), channels
    async with CardLoudspeaker(portaudio.system(), "usb").open(20) as stream:
        await stream.wait_request()
        await stream.write(to_pcm(np.full(2_400, 10_000.0)))
        await trio.sleep(after_s)
        cut_s = trio.current_time()
        silent_s = stream.cut(8)
        assert silent_s is not None
        (opened,) = portaudio.streams
        await trio.sleep(0.3)
        heard = to_samples(bytes(opened.played))[::channels].astype(float)
        began_s = 0.02 + PLAYBACK_DELAY_S  # when the first sample of all left
        sounding = np.flatnonzero(heard)
        assert sounding[-1] / rate_hz + began_s == pytest.approx(silent_s, abs=0.002)
        assert silent_s - cut_s <= 0.02 + 0.02 + 0.008 + PLAYBACK_DELAY_S, "a block is fetched, one stays, and the fade"
        tail = heard[sounding[-1] - round(0.012 * rate_hz) : sounding[-1] + 1]
        assert tail[0] == pytest.approx(10_000, rel=0.02)
        assert np.abs(np.diff(tail)).max() < 10_000 * 0.02 * 24_000 / rate_hz + 150, "no click"
        assert stream.cut(8) is None, "nothing is left"
        request = await stream.wait_request()
        await stream.write(COUNTER[: 2 * request.samples])


async def test_without_a_fade_what_lies_ready_is_dropped_all_the_same(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        await stream.wait_request()
        await stream.write(COUNTER[:4_800])
        assert stream.cut(0) is not None
        await trio.sleep(0.3)
    played = bytes(portaudio.streams[0].played)
    assert COUNTER[:800] in played
    assert COUNTER[1_920:2_000] not in played


async def test_what_is_too_short_to_fade_is_left(
    autojump_clock: trio.testing.MockClock, portaudio: FakeSounddevice, loudspeaker: CardLoudspeaker
) -> None:
    async with loudspeaker.open(20) as stream:
        await stream.wait_request()
        await stream.write(COUNTER[:960])
        assert stream.cut(8) is None
        await trio.sleep(0.1)
    assert COUNTER[:960] in bytes(portaudio.streams[0].played)


async def unhurried(microphone: CardMicrophone, hurry: Collection[int]) -> list[int]:
    """The ms between 20 blocks of a microphone that is told with all but some of them that there is no hurry."""
    times, together = [], 1
    async with microphone.open(20) as stream:
        for index in range(20):
            block = await anext(stream)
            times.append(trio.current_time())
            together -= 1
            assert block.no_hurry is not None
            if index not in hurry and together <= 0:
                together = block.no_hurry()
    return [round((later - earlier) * 1000) for earlier, later in pairwise(times)]


async def test_a_microphone_that_is_told_there_is_no_hurry_gives_some_blocks_at_once(
    autojump_clock: trio.testing.MockClock, card: FakeCard, microphone: CardMicrophone
) -> None:
    card.heard = b""
    together = [20, 20, 160, 0, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 0, 0, 0, 0, 20]
    assert await unhurried(microphone, {0, 1, 18}) == together


@pytest.mark.parametrize(("room", "voice", "is_onset"), [(3_000, 6_100, True), (3_000, 5_900, False), (0, 120, True)])
async def test_what_is_louder_than_the_room_was_comes_at_once_with_what_waits(
    autojump_clock: trio.testing.MockClock,
    card: FakeCard,
    microphone: CardMicrophone,
    room: int,
    voice: int,
    *,
    is_onset: bool,
) -> None:
    blocks = np.full((20, 480), room)
    blocks[4, 300] = voice  # the fourth of eight that would come together
    card.heard = to_pcm(blocks.ravel().astype(float))
    between = await unhurried(microphone, set())
    assert between[:9] == ([80, 0, 0, 0, 20, 20, 20, 20, 160] if is_onset else [160, 0, 0, 0, 0, 0, 0, 0, 160])
