"""The measures of design §9, on signals whose answer is known by construction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dsp.level import first_audible_sample, last_speech_sample, rms_dbfs
from pipeline.dsp.pcm16 import to_pcm


def tone(samples: int, amplitude: float = 10_000, rate_hz: int = 24_000) -> bytes:
    return to_pcm(amplitude * np.sin(2 * np.pi * 1_000 * np.arange(samples) / rate_hz))


def silence(samples: int) -> bytes:
    return bytes(2 * samples)


def test_full_scale_is_zero_dbfs() -> None:
    assert rms_dbfs(to_pcm(np.full(100, -32_768.0))) == 0
    assert rms_dbfs(tone(24_000, 32_767)) == pytest.approx(-3.01, abs=0.01)
    assert rms_dbfs(tone(24_000, 3_276.7)) == pytest.approx(-23.01, abs=0.01)


@pytest.mark.parametrize("pcm", [b"", silence(100)])
def test_digital_silence_has_no_level(pcm: bytes) -> None:
    assert rms_dbfs(pcm) == -math.inf
    assert last_speech_sample(pcm) is None
    assert first_audible_sample(pcm) is None


@given(windows=st.integers(1, 50), after=st.integers(0, 5_000))
def test_speech_ends_where_the_last_loud_window_ends(windows: int, after: int) -> None:
    assert last_speech_sample(tone(240 * windows) + silence(after)) == 240 * windows


def test_speech_that_stops_inside_a_window_ends_with_it() -> None:
    assert last_speech_sample(tone(1_000) + silence(5_000)) == 1_200
    assert last_speech_sample(tone(1_000)) == 1_000


@pytest.mark.parametrize(("below_peak_db", "counts"), [(36, True), (38, False)])
def test_a_tail_counts_down_to_40_db_below_the_peak(below_peak_db: float, counts: bool) -> None:  # noqa: FBT001 - a table
    """A tone's RMS is 3 dB below its own peak, so the limit lies 37 dB below for its amplitude."""
    loud, quiet = tone(2_400, 20_000), tone(2_400, 20_000 / 10 ** (below_peak_db / 20))
    assert last_speech_sample(loud + quiet + silence(2_400)) == (4_800 if counts else 2_400)


def test_a_shorter_last_window_is_measured_over_its_own_length() -> None:
    assert last_speech_sample(tone(2_400, 20_000) + tone(48, 20_000 / 10 ** (36 / 20))) == 2_448


def test_a_single_click_is_no_window_of_speech_unless_loud() -> None:
    click = to_pcm(np.array([300.0]))
    assert last_speech_sample(tone(2_400) + silence(2_400) + click + silence(240)) == 2_400


@pytest.mark.parametrize(("amplitude", "expected"), [(30, None), (40, 2_400)])
def test_a_recording_below_the_floor_holds_no_speech(amplitude: float, expected: int | None) -> None:
    assert last_speech_sample(tone(2_400, amplitude)) == expected


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_windows_are_10_ms_at_any_rate(rate_hz: int) -> None:
    window = rate_hz // 100
    assert last_speech_sample(tone(10 * window, rate_hz=rate_hz) + silence(rate_hz), rate_hz) == 10 * window


@given(before=st.integers(0, 1_000), sample=st.sampled_from([104, -104, 32_767, -32_768]))
def test_the_first_sample_above_minus_50_dbfs_is_audible(before: int, sample: int) -> None:
    quiet = to_pcm(np.full(before, 103.0) * np.where(np.arange(before) % 2, 1, -1))
    assert first_audible_sample(quiet) is None
    assert first_audible_sample(quiet + to_pcm(np.array([float(sample)] * 3))) == before
