"""The offline engines, loaded once, and what the tests speak to them with."""

import socket
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import bench.word_errors
from bench.corpus import read_wav
from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.server.engines.interfaces import Engines, Recogniser, Voice
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary import configuration


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
def questions() -> dict[str, tuple[bytes, str]]:
    """Shipped questions: file name → (sound, words)."""
    folder = configuration.shipped("questions")
    transcripts = tomllib.loads((folder / "transcripts.toml").read_text())
    return {name: (read_wav(folder / name), words) for name, words in transcripts.items()}


@pytest.fixture(scope="session")
def plain_words() -> Callable[[str], list[str]]:
    """Words as word error rates compare them."""
    return bench.word_errors.plain_words


@pytest.fixture(scope="session")
def word_errors() -> Callable[[str, str], int]:
    """Fewest insertions, deletions and substitutions of words from the first text to the second."""
    return bench.word_errors.word_errors
