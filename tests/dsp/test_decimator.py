"""The way to 16 kHz against a sine of every pitch, and against cuts at any place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dsp.decimator import Decimator
from pipeline.dsp.pcm16 import to_pcm


def level_db(pitch_hz: float) -> float:
    sine = 20_000 * np.sin(2 * np.pi * pitch_hz * np.arange(24_000) / 24_000)
    heard = Decimator().process(to_pcm(sine))[200:]
    assert heard.dtype == np.float32
    return float(20 * np.log10(np.sqrt(np.mean(heard**2)) / (20_000 / 32_768 / np.sqrt(2))))


@pytest.mark.parametrize("pitch_hz", [50, 300, 1_000, 3_400, 6_000])
def test_what_speech_is_made_of_passes_untouched(pitch_hz: float) -> None:
    assert level_db(pitch_hz) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("pitch_hz", [9_000, 9_700, 10_500, 11_900])
def test_what_would_fold_into_speech_is_taken_out(pitch_hz: float) -> None:
    assert level_db(pitch_hz) < -55


def test_sound_comes_out_within_a_millisecond_and_never_early() -> None:
    click = np.zeros(2_400)
    click[1_200] = 20_000
    heard = np.abs(Decimator().process(to_pcm(click)))
    assert 0 < (int(np.argmax(heard)) - 800) / 16 < 1
    assert not heard[:799].any()


@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_it_does_not_matter_where_sound_is_cut(cuts: list[int]) -> None:
    pcm = np.random.default_rng(1).integers(-32_768, 32_767, 2_000).astype("<i2").tobytes()
    whole, pieces = Decimator().process(pcm), Decimator()
    heard, at = [], 0
    for cut in [*cuts, 2_000]:
        heard.append(pieces.process(pcm[2 * at : 2 * min(at + cut, 2_000)]))
        at = min(at + cut, 2_000)
    assert np.allclose(np.concatenate(heard), whole, atol=1e-5)
    assert whole.size == pytest.approx(2_000 * 2 / 3, abs=2)
