from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import corpus
from pipeline.server.engines import recogniser
from pipeline.server.engines.interfaces import Recogniser, Voice
from pipeline.server.engines.recogniser import (
    MODEL_SAMPLES_PER_MS,
    PIECE_MS,
    SEARCH_MS,
    _byte_pieces,
    _cut,
    _weights_folder,
    without_hallucination,
)
from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

pytestmark = pytest.mark.engines

WordErrors = Callable[[str, str], int]
PlainWords = Callable[[str], list[str]]


@pytest.fixture
def real_recordings() -> list[tuple[bytes, str]]:
    """Thirteen recordings of people: read prose, playing cards, commands to a robot, a line of Beckett."""
    try:
        recordings = corpus.real_recordings()
    except corpus.NotInstalledError as absent:
        pytest.skip(str(absent))
    assert len(recordings) == 13
    return [(each.pcm, each.words) for each in recordings]


def test_hears_at_most_one_word_in_twenty_wrong_in_real_recordings(
    listener: Recogniser, real_recordings: list[tuple[bytes, str]], word_errors: WordErrors, plain_words: PlainWords
) -> None:
    wrong = sum(word_errors(words, listener.transcribe(pcm)) for pcm, words in real_recordings)
    spoken = sum(len(plain_words(words)) for _, words in real_recordings)
    assert wrong / spoken <= 0.05


def test_hears_the_shipped_questions(
    listener: Recogniser, questions: dict[str, tuple[bytes, str]], word_errors: WordErrors, plain_words: PlainWords
) -> None:
    wrong = sum(word_errors(words, listener.transcribe(pcm)) for pcm, words in questions.values())
    spoken = sum(len(plain_words(words)) for _, words in questions.values())
    assert wrong / spoken <= 0.05


def test_a_long_utterance_is_recognised_piece_by_piece_without_losing_words(
    listener: Recogniser,
    questions: dict[str, tuple[bytes, str]],
    word_errors: WordErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recogniser, "PIECE_MS", 3_000)  # as with the true bound, but with less sound to recognise
    monkeypatch.setattr(recogniser, "SEARCH_MS", 1_500)
    asked = [questions[f"{name}.wav"] for name in ("opening_hours", "lift", "restroom")]
    assert sum(len(pcm) for pcm, _ in asked) > 2 * 3_000 * BYTES_PER_MS
    heard = listener.transcribe(b"".join(pcm for pcm, _ in asked))
    assert word_errors(" ".join(words for _, words in asked), heard) == 0


@pytest.mark.parametrize("duration_ms", [0, 20, 99, 100, 500, 3_000])
def test_silence_of_any_length_holds_no_words(listener: Recogniser, duration_ms: int) -> None:
    assert not listener.transcribe(bytes(duration_ms * BYTES_PER_MS))


@pytest.mark.parametrize("loudness", [30, 1_000, 8_000])
def test_noise_holds_no_words(listener: Recogniser, loudness: int) -> None:
    noise = np.random.default_rng(loudness).normal(0, loudness, 2 * RATE_HZ).clip(-32_768, 32_767)
    assert not listener.transcribe(noise.astype("<i2").tobytes())


@pytest.mark.parametrize(
    "text", ["♪♪♪", "You", "you.", "♪ You", "2-3ตวบนลาง 01/02/2565", "Thank you for watching.", " ?!", ""]
)
def test_what_the_model_writes_for_noise_is_dropped(text: str) -> None:
    assert not without_hallucination(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Thank you.", "Thank you."),
        ("Where is the café?", "Where is the café?"),
        ("2934", "2934"),
        ("♪ Hello ♪", "Hello"),
    ],
)
def test_what_people_say_is_kept(text: str, kept: str) -> None:
    assert without_hallucination(text) == kept


def test_long_sound_is_cut_where_it_is_quietest() -> None:
    limit, search = PIECE_MS * MODEL_SAMPLES_PER_MS, SEARCH_MS * MODEL_SAMPLES_PER_MS
    sound = np.full(limit * 2, 0.5, np.float32)
    gap = limit - search // 2
    sound[gap : gap + 300 * MODEL_SAMPLES_PER_MS] = 0
    pieces = _cut(sound)
    assert gap < len(pieces[0]) < gap + 300 * MODEL_SAMPLES_PER_MS
    assert all(len(piece) <= limit for piece in pieces)
    assert np.array_equal(np.concatenate(pieces), sound)


def test_sound_beyond_the_bound_is_left_out(
    listener: Recogniser, speaker: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcm = bytes(1_000 * BYTES_PER_MS) + b"".join(speaker.speak("Hello there."))
    assert listener.transcribe(pcm)
    monkeypatch.setattr(recogniser, "MAX_UTTERANCE_MS", 1_000)
    assert not listener.transcribe(pcm)


def test_byte_pieces_may_be_longer_than_one_length_byte_can_say() -> None:
    table = b"\x02ab" + b"\x00" + b"\x04</s>" + bytes([128 + 44, 1]) + b"x" * 172 + b"\x01c"
    assert _byte_pieces(table) == [b"ab", b"", b"", b"x" * 172, b"c"]


def test_weights_that_are_not_installed_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class WithoutWeights:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(recogniser, "distribution", lambda _: WithoutWeights())
    with pytest.raises(ConfigurationError, match=r"pip install 'talkwire\[local\]'"):
        _weights_folder()
