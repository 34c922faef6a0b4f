"""The detector that is always there, and Silero beside it: what is speech, and what is none."""

import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.dsp.resample import resample
from pipeline.dsp.turn_detector import TurnDetector, TurnStarted, TurnStopped
from pipeline.dsp.voice_activity import VoiceActivity, best_detector, level, silero
from pipeline.vocabulary import configuration
from pipeline.vocabulary.frames import BYTES_PER_MS, PRE_ROLL_MS, RATE_HZ

QUESTIONS = sorted(configuration.shipped("questions").glob("*.wav"))
REAL = sorted(Path("/usr/share/pocketsphinx/test/data").glob("*/*.wav"))
HANGOVER_MS = 500
FRAME_BYTES = 20 * BYTES_PER_MS
MINUTE = 60 * RATE_HZ
ENGINES = [pytest.param(level, id="level"), pytest.param(silero, id="silero", marks=pytest.mark.engines)]

Make = Callable[[], VoiceActivity]
every_engine = pytest.mark.parametrize("make", ENGINES)


def utterances(pcm: bytes, make: Make) -> list[tuple[float, float]]:
    """Beginning, pre-roll left out, and end of every utterance in ms."""
    engine = make()
    detector = TurnDetector(threshold=0.5, prefix_padding_ms=0, silence_duration_ms=HANGOVER_MS, origin_ms=0)
    found: list[tuple[float, float]] = []
    start_ms = 0.0
    for start in range(0, len(pcm), FRAME_BYTES):
        for probability in engine.process(pcm[start : start + FRAME_BYTES]):
            match detector.hear(probability, engine.hop_ms):
                case TurnStarted(start_ms):
                    pass
                case TurnStopped(end_ms, silence_ms):
                    found.append((start_ms, end_ms - silence_ms))
    return found


def noise(samples: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, samples)


def pink(samples: int) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(noise(samples))
    sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1)), samples)
    return np.asarray(sound / sound.std())


def keys(samples: int) -> NDArray[np.float64]:
    """Four strokes a second, each with its release: bursts of noise that fade within some 20 ms."""
    dice = np.random.default_rng(2)
    sound = noise(samples) * 20
    burst = np.exp(-np.arange(720) / 144)
    at = 0
    while at < samples - RATE_HZ // 5:
        for place, loudness in ((at, 9_000), (at + dice.integers(1_400, 2_400), 4_000)):
            sound[place : place + 720] += dice.normal(0, 1, 720) * burst * loudness * dice.uniform(0.3, 1)
        at += int(dice.integers(2_400, 8_400))
    return sound


@every_engine
@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(MINUTE), id="silence"),
        pytest.param(noise(MINUTE) * 20, id="hiss"),
        pytest.param(noise(MINUTE) * 3_000, id="a waterfall"),
        pytest.param(pink(MINUTE) * 2_000, id="traffic"),
        pytest.param(keys(MINUTE), id="keys"),
    ],
)
def test_a_minute_without_speech_holds_none(make: Make, sound: NDArray[np.float64]) -> None:
    assert utterances(to_pcm(sound.astype(np.float32)), make) == []


@every_engine
@pytest.mark.parametrize("path", [*QUESTIONS, *REAL], ids=lambda path: path.name)
def test_a_recording_is_one_utterance_from_its_first_word_to_its_last(make: Make, path: Path) -> None:
    with wave.open(str(path)) as file:
        spoken = resample(file.readframes(file.getnframes()), file.getframerate(), RATE_HZ)
    room = to_pcm((noise(RATE_HZ) * 10).astype(np.float32))
    found = utterances(room + spoken + room, make)
    assert len(found) == 1, found
    begin_ms, end_ms = found[0]
    whole = to_samples(room + spoken + room).astype(np.float64) ** 2
    inside = whole[round((begin_ms - PRE_ROLL_MS) * 24) : round((end_ms + HANGOVER_MS) * 24)]
    assert inside.sum() >= 0.99 * whole.sum(), "what is said lies between the pre-roll and the hangover"
    assert inside.size <= len(spoken) / 2 + 0.9 * RATE_HZ


@every_engine
def test_it_costs_less_than_a_fiftieth_of_a_core(make: Make) -> None:
    engine = make()
    second = to_pcm((noise(RATE_HZ) * 1_500).astype(np.float32))
    costs_s = []
    for _ in range(20):
        begin_s = time.process_time()  # of all threads: a library may share its work out among them
        for start in range(0, len(second), FRAME_BYTES):
            engine.process(second[start : start + FRAME_BYTES])
        costs_s.append(time.process_time() - begin_s)
    assert sorted(costs_s)[2] < 0.02


def test_a_fan_that_is_switched_on_is_believed_to_be_speech_for_two_seconds_at_most() -> None:
    sound = np.concatenate([np.zeros(5 * RATE_HZ), noise(20 * RATE_HZ) * 1_000])
    [(begin_ms, end_ms)] = utterances(to_pcm(sound.astype(np.float32)), level)
    assert begin_ms >= 5_000
    assert end_ms <= 7_000


def test_the_level_is_judged_alike_however_the_sound_is_cut() -> None:
    sound = to_pcm((noise(RATE_HZ) * np.repeat([10, 3_000], RATE_HZ // 2)).astype(np.float32))
    whole = level().process(sound)
    engine = level()
    assert [p for at in range(0, len(sound), 1_234) for p in engine.process(sound[at : at + 1_234])] == whole
    assert len(whole) == 50


def test_without_the_extra_the_level_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dsp.voice_activity.find_spec", lambda _name: None)
    detector = best_detector()
    assert detector.name == "level"
    assert detector.new().hop_ms == 20


@pytest.mark.engines
def test_with_the_extra_silero_decides() -> None:
    detector = best_detector()
    assert detector.name == "silero"
    assert detector.new().hop_ms == 32
