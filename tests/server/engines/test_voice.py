import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.server.engines.interfaces import Recogniser, Voice
from pipeline.server.engines.knowledge import read_knowledge
from pipeline.server.engines.voice import HibariVoice
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

pytestmark = pytest.mark.engines

ANSWER = "The lift is behind you, to the right. The stairs are next to it."


def test_what_is_spoken_is_understood(
    listener: Recogniser, speaker: Voice, word_errors: Callable[[str, str], int]
) -> None:
    sound = b"".join(speaker.speak(ANSWER))
    assert word_errors(ANSWER, listener.transcribe(sound)) == 0


def test_only_the_sentence_asked_for_is_worked_out(speaker: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(speaker, HibariVoice)
    synthesise = speaker._hibari.from_ids
    worked_out = []

    def from_ids(ids: list[int], **keywords: object) -> object:
        worked_out.append(len(ids))
        return synthesise(ids, **keywords)

    monkeypatch.setattr(speaker._hibari, "from_ids", from_ids)
    sentences = speaker.speak(ANSWER)
    assert not worked_out
    next(sentences)
    assert len(worked_out) == 1
    assert len(list(sentences)) == 1
    assert len(worked_out) == 2


def test_nobody_waits_for_silence_before_a_sentence(speaker: Voice) -> None:
    for sentence in speaker.speak(ANSWER):
        samples = np.abs(np.frombuffer(sentence, "<i2").astype(np.int32))
        first_audible_ms = int(np.argmax(samples > 32_768 * 10 ** (-50 / 20))) * 1_000 / RATE_HZ
        assert first_audible_ms < 100
        assert len(sentence) / BYTES_PER_MS > 1_000


def test_the_same_words_are_the_same_bytes_also_when_threads_share_the_voice(speaker: Voice) -> None:
    alone = b"".join(speaker.speak(ANSWER))
    together = threading.Barrier(3)

    def speak() -> bytes:
        together.wait(timeout=5)
        return b"".join(speaker.speak(ANSWER))

    with ThreadPoolExecutor(3) as pool:
        assert {future.result() for future in [pool.submit(speak) for _ in range(3)]} == {alone}


@pytest.mark.parametrize(("speed", "bound"), [(0.75, 0.04), (1.25, 0.06), (1.5, 0.12)])
def test_what_is_spoken_slower_or_faster_is_understood(
    speed: float, bound: float, listener: Recogniser, speaker: Voice, word_errors: Callable[[str, str], int]
) -> None:
    """At speed 1 the recogniser gets 3 % of these words wrong, mostly by spelling ("café")."""
    knowledge = read_knowledge(configuration.shipped("knowledge.toml"))
    questions = [entry.phrasings[0] for entry in knowledge.entries]
    heard = [listener.transcribe(b"".join(speaker.speak(question, speed=speed))) for question in questions]
    errors = sum(map(word_errors, questions, heard))
    assert errors / len(" ".join(questions).split()) <= bound


def pitch_hz(sound: bytes) -> float:
    """The median over blocks of 40 ms of the period at which each is most like itself; for voices from 80 to 400 Hz."""
    samples = np.frombuffer(sound, "<i2").astype(np.float64)
    shortest, longest, block = RATE_HZ // 400, RATE_HZ // 80, 40 * RATE_HZ // 1_000
    voiced = [
        part for part in (samples[at : at + block] for at in range(0, len(samples) - block, block)) if part.std() > 500
    ]
    periods = [
        shortest + int(np.argmax(np.correlate(part, part, "full")[block - 1 + shortest : block - 1 + longest]))
        for part in voiced
    ]
    return RATE_HZ / float(np.median(periods))


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_changes_how_long_it_takes_and_not_the_pitch(speed: float, speaker: Voice) -> None:
    ordinary, changed = (b"".join(speaker.speak(ANSWER, speed=factor)) for factor in (1.0, speed))
    assert len(ordinary) / len(changed) == pytest.approx(speed, rel=0.05)
    assert pitch_hz(changed) == pytest.approx(pitch_hz(ordinary), rel=0.1)


@pytest.mark.parametrize("text", ["", "  \n "])
def test_blank_text_is_no_sound(speaker: Voice, text: str) -> None:
    assert not list(speaker.speak(text))


@pytest.mark.parametrize("name", ["fenrir", "nobody", ""])
def test_a_voice_that_would_be_fetched_from_the_network_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r'server\.voice: .*"' + name + '".*: heart') as refused:
        HibariVoice(name)
    assert "\n" not in refused.value.message
