"""Resampling: length, fidelity, alias, and independence of how the stream was cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.dsp.resample import DriftingResampler, StreamResampler, resample, spread, to_mono

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]
OTHER_RATES = [rate_hz for rate_hz in RATES if rate_hz != 24_000]


def sine(hz: float, rate_hz: int, seconds: float = 0.5, amplitude: float = 20_000) -> bytes:
    return to_pcm(amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz))


@given(from_hz=st.sampled_from(RATES), to_hz=st.sampled_from(RATES), samples=st.integers(0, 3000))
@settings(max_examples=50)
def test_the_length_is_exact(from_hz: int, to_hz: int, samples: int) -> None:
    resampled = len(resample(bytes(2 * samples), from_hz, to_hz)) // 2
    assert abs(resampled - samples * to_hz / from_hz) <= 0.5


@pytest.mark.parametrize("rate_hz", OTHER_RATES)
def test_a_sine_comes_out_in_place_and_clean(rate_hz: int) -> None:
    for from_hz, to_hz in ((rate_hz, 24_000), (24_000, rate_hz)):
        ours = to_samples(resample(sine(440, from_hz), from_hz, to_hz)).astype(float)
        ideal = 20_000 * np.sin(2 * np.pi * 440 * np.arange(ours.size) / to_hz)
        middle = slice(ours.size // 10, -ours.size // 10)  # its sudden begin and end are no sine
        noise = np.mean((ours - ideal)[middle] ** 2)
        assert 10 * np.log10(np.mean(ideal[middle] ** 2) / noise) > 80


def test_what_the_lower_rate_cannot_carry_is_gone_instead_of_folded() -> None:
    folded = to_samples(resample(sine(15_000, 48_000), 48_000, 24_000))[480:-480]
    assert np.sqrt(np.mean(folded.astype(float) ** 2)) < 20_000 / 10 ** (80 / 20)


@given(
    from_hz=st.sampled_from(RATES),
    to_hz=st.sampled_from([16_000, 24_000, 48_000]),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
@settings(max_examples=40)
def test_the_cut_into_blocks_leaves_no_trace(from_hz: int, to_hz: int, cuts: list[int]) -> None:
    pcm = sine(700, from_hz, seconds=4000 / from_hz)
    resampler = StreamResampler(from_hz, to_hz)
    edges = [0, *sorted(cuts), 4000]
    blocks = [resampler.process(pcm[2 * start : 2 * end]) for start, end in pairwise(edges)]
    assert b"".join(blocks) + resampler.flush() == resample(pcm, from_hz, to_hz)


@pytest.mark.parametrize("rate_hz", OTHER_RATES)
def test_a_block_comes_out_at_once(rate_hz: int) -> None:
    resampler = StreamResampler(rate_hz, 24_000)
    block = rate_hz // 50
    pcm = sine(440, rate_hz, seconds=20 * block / rate_hz)
    starts = np.arange(20) * block
    arrived = np.cumsum([len(resampler.process(pcm[2 * start : 2 * (start + block)])) // 2 for start in starts])
    due = (starts + block) * 24_000 / rate_hz
    assert (due - arrived).max() <= 0.003 * 24_000  # at most 3 ms stay in the filter
    assert (due - arrived).min() >= 0


def test_equal_rates_hand_the_same_bytes_through() -> None:
    pcm = sine(440, 24_000)
    resampler = StreamResampler(24_000, 24_000)
    assert resampler.process(pcm) is pcm
    assert resampler.flush() == b""


def test_overshoot_clips_instead_of_wrapping() -> None:
    square = to_pcm(32_767 * np.sign(np.sin(2 * np.pi * 200 * (np.arange(3200) + 0.5) / 16_000)))
    resampled = to_samples(resample(square, 16_000, 24_000)).astype(int)
    assert resampled.max() == 32_767  # the ringing at each edge went beyond
    assert resampled.min() == -32_768
    steps = np.abs(np.diff(resampled))
    assert np.count_nonzero(steps > 50_000) <= 2 * 40  # a wrapped sample would add two jumps of its own


def test_a_flushed_resampler_starts_anew() -> None:
    resampler = StreamResampler(16_000, 24_000)
    pcm = sine(440, 16_000)
    first = resampler.process(pcm) + resampler.flush()
    assert resampler.process(pcm) + resampler.flush() == first


@pytest.mark.parametrize(("from_hz", "to_hz"), [(0, 24_000), (24_000, -1), (24_000, 24_000 * 300)])
def test_impossible_rates_are_refused(from_hz: int, to_hz: int) -> None:
    with pytest.raises(ValueError, match="from_hz and to_hz"):
        StreamResampler(from_hz, to_hz)


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
def test_half_a_sample_is_refused(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="whole 16-bit samples"):
        StreamResampler(rate_hz, 24_000).process(b"\0")


def test_channels_are_averaged_without_overflow() -> None:
    frames = np.array([[100, 300], [32_767, 32_767], [-32_768, -32_768], [5, -5]], dtype="<i2")
    assert to_samples(to_mono(frames.tobytes(), 2)).tolist() == [200, 32_767, -32_768, 0]


def test_mono_stays_untouched() -> None:
    pcm = sine(440, 24_000)
    assert to_mono(pcm, 1) is pcm


@pytest.mark.parametrize(("pcm", "channels"), [(bytes(6), 2), (bytes(6), 0)])
def test_broken_frames_are_refused(pcm: bytes, channels: int) -> None:
    with pytest.raises(ValueError, match="channels"):
        to_mono(pcm, channels)


@pytest.mark.parametrize("rate_hz", OTHER_RATES)
def test_it_tells_what_the_filter_keeps_back(rate_hz: int) -> None:
    resampler = StreamResampler(rate_hz, 24_000)
    given = 0
    for _ in range(20):
        given += len(resampler.process(bytes(2 * (rate_hz // 50)))) // 2
        assert given + resampler.pending == pytest.approx(resampler._taken * 24_000 / rate_hz)
    assert 0 < resampler.pending < 0.003 * 24_000
    assert StreamResampler(rate_hz, rate_hz).pending == 0


@pytest.mark.parametrize("ppm", [-300, 0, 300])
def test_a_ratio_that_is_a_little_off_moves_every_sample_a_little(ppm: float) -> None:
    resampler = DriftingResampler()
    ratio = 0.5 * (1 + ppm * 1e-6)
    pcm = sine(440, 48_000, seconds=10)
    moved = b"".join(resampler.process(pcm[at : at + 1_920], ratio) for at in range(0, len(pcm), 1_920))
    samples = to_samples(moved).astype(float)
    ideal = 20_000 * np.sin(2 * np.pi * 440 * np.arange(samples.size) / (48_000 * ratio))
    assert np.mean((samples - ideal)[240:-240] ** 2) < 2


def test_one_stream_is_spread_over_all_channels() -> None:
    pcm = to_pcm(np.arange(5.0))
    assert spread(pcm, 1) == pcm
    assert to_samples(spread(pcm, 2)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert to_mono(spread(pcm, 3), 3) == pcm


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 48_000, 11_025])
def test_silence_is_given_for_nothing_and_sound_after_it_is_in_place(rate_hz: int) -> None:
    quick, slow = StreamResampler(24_000, rate_hz), StreamResampler(24_000, rate_hz)
    sound = sine(440, 24_000, seconds=0.04)
    heard = {quick: b"", slow: b""}
    for part in (None, sound, None, None, None, sound, None, None):
        heard[quick] += quick.process_silence(960) if part is None else quick.process(part)
        heard[slow] += slow.process(bytes(1_920) if part is None else part)
    assert len(heard[quick]) == pytest.approx(len(heard[slow]), abs=4)
    assert quick.pending == pytest.approx(slow.pending, abs=2)
    both = [to_samples(pcm)[: len(heard[slow]) // 2 - 2].astype(float) for pcm in heard.values()]
    assert np.mean((both[0][: both[1].size] - both[1][: both[0].size]) ** 2) < 1
