"""The offline engines, loaded once, and what the tests speak to them with."""

import re
import socket
import tomllib
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.dsp.resample import resample
from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.server.engines.interfaces import Engines, Recogniser, Voice
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary import configuration
from pipeline.vocabulary.frames import RATE_HZ

ReadWav = Callable[[Path], bytes]
WordErrors = Callable[[str, str], int]

NUMBERS = {"2": "two", "3": "three", "4": "four", "5": "five", "7": "seven", "8": "eight", "10": "ten"}


@contextmanager
def no_network() -> Iterator[None]:
    """Engines load where no network can be reached."""

    def refuse(*_args: object, **_keywords: object) -> None:
        raise AssertionError("the engines tried to reach a network")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", refuse)
        patched.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def engines() -> Engines:
    """The makers of the shipped settings."""
    return load_engines(configuration.load().server)


@pytest.fixture(scope="session")
def listener(engines: Engines) -> Recogniser:
    """The recogniser, loaded once."""
    with no_network():
        return engines.recogniser()


@pytest.fixture(scope="session")
def speaker(engines: Engines) -> Voice:
    """The voice, loaded once."""
    with no_network():
        return engines.voice()


@pytest.fixture(scope="session")
def new_detector(engines: Engines) -> Callable[[], VoiceActivity]:
    """Makes voice activity detectors."""
    return engines.voice_activity


@pytest.fixture(scope="session")
def read_wav() -> ReadWav:
    """Reads a mono 16-bit WAV as s16le at RATE_HZ."""

    def read(path: Path) -> bytes:
        with wave.open(str(path)) as file:
            assert file.getnchannels() == 1
            assert file.getsampwidth() == 2
            return resample(file.readframes(file.getnframes()), file.getframerate(), RATE_HZ)

    return read


@pytest.fixture(scope="session")
def questions(read_wav: ReadWav) -> dict[str, tuple[bytes, str]]:
    """Shipped questions: file name → (sound, words)."""
    folder = configuration.shipped("questions")
    transcripts = tomllib.loads((folder / "transcripts.toml").read_text())
    return {name: (read_wav(folder / name), words) for name, words in transcripts.items()}


@pytest.fixture(scope="session")
def plain_words() -> Callable[[str], list[str]]:
    """Words as word error rates compare them: lower case, no punctuation, numbers and "Mr." spelt out."""

    def split(text: str) -> list[str]:
        text = re.sub(r"\bmr\b", "mister", text.lower())
        text = re.sub(r"\b\d+\b", lambda digits: NUMBERS.get(digits[0], digits[0]), text)
        return re.findall(r"[a-z0-9]+", text.replace("'", ""))

    return split


@pytest.fixture(scope="session")
def word_errors(plain_words: Callable[[str], list[str]]) -> WordErrors:
    """Fewest insertions, deletions and substitutions of words from the first text to the second."""

    def count(reference: str, heard: str) -> int:
        wanted, got = plain_words(reference), plain_words(heard)
        row = list(range(len(got) + 1))
        for done, word in enumerate(wanted, start=1):
            diagonal, row[0] = row[0], done
            for column, other in enumerate(got, start=1):
                cheapest = min(diagonal + (word != other), row[column] + 1, row[column - 1] + 1)
                diagonal, row[column] = row[column], cheapest
        return row[-1]

    return count
