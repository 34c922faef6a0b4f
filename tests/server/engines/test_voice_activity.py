import numpy as np
import pytest

from pipeline.server.engines.interfaces import Engines
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

pytestmark = pytest.mark.engines

THRESHOLD = 0.5
FRAME_BYTES = 20 * BYTES_PER_MS


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]


def test_speech_is_noticed_where_it_begins_and_ends(engines: Engines) -> None:
    silence = bytes(1_000 * BYTES_PER_MS)
    speech = b"".join(engines.voice.speak("Where is the restroom?"))
    detector = engines.voice_activity()
    probabilities = [p for frame in frames(silence + speech + silence) for p in detector.process(frame)]
    sounding = [hop * detector.hop_ms for hop, probability in enumerate(probabilities) if probability > THRESHOLD]
    samples = np.abs(np.frombuffer(speech, "<i2").astype(np.int32))
    last_loud_ms = 1_000 + np.flatnonzero(samples > samples.max() // 10)[-1] * 1_000 / RATE_HZ
    assert 1_000 - detector.hop_ms <= sounding[0] <= 1_200
    assert abs(sounding[-1] - last_loud_ms) <= 300


@pytest.mark.parametrize("loudness", [0, 1_500])
def test_ten_seconds_without_speech_hold_none(engines: Engines, loudness: int) -> None:
    noise = np.random.default_rng(1).normal(0, 1, 10 * RATE_HZ) * loudness
    probabilities = engines.voice_activity().process(noise.clip(-32_768, 32_767).astype("<i2").tobytes())
    assert max(probabilities) < THRESHOLD


def test_one_probability_per_hop_however_the_sound_is_cut(engines: Engines) -> None:
    speech = b"".join(engines.voice.speak("Hello there."))
    whole = engines.voice_activity().process(speech)
    detector = engines.voice_activity()
    pieces = [speech[start : start + 1_234] for start in range(0, len(speech), 1_234)]
    assert [p for piece in pieces for p in detector.process(piece)] == pytest.approx(whole, abs=1e-3)
    assert len(whole) == pytest.approx(len(speech) / BYTES_PER_MS / detector.hop_ms, abs=1)


def test_a_stream_does_not_hear_what_another_heard(engines: Engines) -> None:
    speech = b"".join(engines.voice.speak("Hello there."))
    alone, disturbed, other = (engines.voice_activity() for _ in range(3))
    heard = []
    for frame in frames(speech):
        other.process(bytes(len(frame)))
        heard += disturbed.process(frame)
    assert heard == [p for frame in frames(speech) for p in alone.process(frame)]
