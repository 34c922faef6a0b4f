import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.server.engines.interfaces import Recogniser, Voice
from pipeline.server.engines.voice import HibariVoice
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


@pytest.mark.parametrize("text", ["", "  \n "])
def test_blank_text_is_no_sound(speaker: Voice, text: str) -> None:
    assert not list(speaker.speak(text))


@pytest.mark.parametrize("name", ["fenrir", "nobody", ""])
def test_a_voice_that_would_be_fetched_from_the_network_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r'server\.voice: .*"' + name + '".*: heart') as refused:
        HibariVoice(name)
    assert "\n" not in refused.value.message
