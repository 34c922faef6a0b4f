from collections.abc import Callable

import numpy as np
import pytest

from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.server.engines.interfaces import Voice
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

pytestmark = pytest.mark.engines

THRESHOLD = 0.5
FRAME_BYTES = 20 * BYTES_PER_MS


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]


def test_speech_is_noticed_where_it_begins_and_ends(speaker: Voice, new_detector: Callable[[], VoiceActivity]) -> None:
    silence = bytes(1_000 * BYTES_PER_MS)
    speech = b"".join(speaker.speak("Where is the restroom?"))
    detector = new_detector()
    probabilities = [p for frame in frames(silence + speech + silence) for p in detector.process(frame)]
    sounding = [hop * detector.hop_ms for hop, probability in enumerate(probabilities) if probability > THRESHOLD]
    samples = np.abs(np.frombuffer(speech, "<i2").astype(np.int32))
    last_loud_ms = 1_000 + np.flatnonzero(samples > samples.max() // 10)[-1] * 1_000 / RATE_HZ
    assert 1_000 - detector.hop_ms <= sounding[0] <= 1_200
    assert abs(sounding[-1] - last_loud_ms) <= 300


@pytest.mark.parametrize("loudness", [0, 1_500])
def test_ten_seconds_without_speech_hold_none(new_detector: Callable[[], VoiceActivity], loudness: int) -> None:
    noise = np.random.default_rng(1).normal(0, 1, 10 * RATE_HZ) * loudness
    probabilities = new_detector().process(noise.clip(-32_768, 32_767).astype("<i2").tobytes())
    assert max(probabilities) < THRESHOLD


def test_one_probability_per_hop_however_the_sound_is_cut(
    speaker: Voice, new_detector: Callable[[], VoiceActivity]
) -> None:
    speech = b"".join(speaker.speak("Hello there."))
    whole = new_detector().process(speech)
    detector = new_detector()
    pieces = [speech[start : start + 1_234] for start in range(0, len(speech), 1_234)]
    assert [p for piece in pieces for p in detector.process(piece)] == pytest.approx(whole, abs=1e-3)
    assert len(whole) == pytest.approx(len(speech) / BYTES_PER_MS / detector.hop_ms, abs=1)


def test_a_stream_does_not_hear_what_another_heard(speaker: Voice, new_detector: Callable[[], VoiceActivity]) -> None:
    speech = b"".join(speaker.speak("Hello there."))
    alone, disturbed, other = (new_detector() for _ in range(3))
    heard = []
    for frame in frames(speech):
        other.process(bytes(len(frame)))
        heard += disturbed.process(frame)
    assert heard == [p for frame in frames(speech) for p in alone.process(frame)]
