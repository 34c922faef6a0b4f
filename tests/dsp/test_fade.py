"""Gain and fades: exact where nothing changes, and without a corner where something does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dsp.fade import fade_out, ramp
from pipeline.dsp.pcm16 import to_pcm, to_samples

PCM = st.lists(st.integers(-32_768, 32_767), max_size=600).map(lambda samples: to_pcm(np.array(samples, dtype=float)))
FADE_MS = 8.0
FADE = 192
LEVEL = 16_000.0


def steady(samples: int) -> bytes:
    return to_pcm(np.full(samples, LEVEL))


def corner(pcm: bytes) -> int:
    """The largest second difference: what a click is made of. A hard cut of `LEVEL` has a corner of `LEVEL`."""
    return int(np.abs(np.diff(to_samples(pcm).astype(int), 2)).max())


@given(pcm=PCM)
def test_gain_one_is_the_same_object(pcm: bytes) -> None:
    assert ramp(pcm, 1.0, 1.0) is pcm


@given(pcm=PCM, gain=st.floats(0, 1))
def test_gain_scales_every_sample(pcm: bytes, gain: float) -> None:
    expected = to_samples(pcm).astype(float) * gain
    assert np.abs(to_samples(ramp(pcm, gain, gain)) - expected).max(initial=0) <= 0.51


def test_gain_zero_is_silence_and_more_than_one_clips() -> None:
    assert ramp(steady(10), 0.0, 0.0) == bytes(20)
    assert to_samples(ramp(steady(3), 4.0, 4.0)).tolist() == [32_767] * 3


@given(pcm=PCM, fade_ms=st.floats(0, 30))
def test_a_fade_changes_nothing_outside_and_never_makes_louder(pcm: bytes, fade_ms: float) -> None:
    samples = to_samples(pcm).astype(int)
    fade = min(round(fade_ms * 24), samples.size)
    out = to_samples(fade_out(pcm, fade_ms))
    assert out.size == samples.size
    assert np.array_equal(out[: samples.size - fade], samples[: samples.size - fade])
    assert np.all(np.abs(out.astype(int)) <= np.abs(samples))


def test_a_fade_has_no_corner_where_it_begins_and_ends() -> None:
    smoothest = LEVEL * (math.pi / FADE) ** 2 / 2  # of a raised cosine of this length
    assert corner(fade_out(steady(960), FADE_MS) + bytes(960)) <= smoothest + 2  # 2: rounding
    assert corner(steady(100) + ramp(steady(480), 1.0, 0.3) + ramp(steady(100), 0.3, 0.3)) <= smoothest + 2
    assert corner(steady(960) + bytes(960)) == LEVEL


def test_what_is_shorter_than_the_fade_fades_over_all_of_it() -> None:
    faded = to_samples(fade_out(steady(48), FADE_MS)).astype(int)
    assert np.all(np.diff(faded) < 0)
    assert faded[0] > 0.95 * LEVEL
    assert faded[-1] < 0.05 * LEVEL


def test_no_fade_is_no_change() -> None:
    pcm = steady(100)
    assert fade_out(pcm, 0) == pcm


@pytest.mark.parametrize("gain", [-0.1, math.nan, math.inf])
def test_an_impossible_gain_is_refused(gain: float) -> None:
    with pytest.raises(ValueError, match="gain"):
        ramp(steady(1), gain, gain)


@pytest.mark.parametrize("fade_ms", [-1.0, math.nan])
def test_an_impossible_fade_is_refused(fade_ms: float) -> None:
    with pytest.raises(ValueError, match="fade_ms"):
        fade_out(steady(1), fade_ms)
