"""What the local server asks of its four engines. Sound is s16le mono at `RATE_HZ` everywhere.

Every call is synchronous and may take tens of milliseconds: the server runs it in a worker thread. Recogniser, brain
and voice are shared by all sessions and may be called from several threads at once; a `VoiceActivity` holds the state
of one stream and belongs to one session.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec


class VoiceActivity(Protocol):
    """Tells speech from everything else in one stream of sound."""

    hop_ms: float
    """Length of the piece of sound that one probability speaks about."""

    def process(self, pcm: bytes) -> list[float]:
        """Take the next sound (any even number of bytes); a probability of speech, 0 to 1, per hop it completed."""


class Recogniser(Protocol):
    """Turns an utterance into words."""

    def transcribe(self, pcm: bytes) -> str:
        """The words in the utterance with punctuation; empty if it holds no speech."""


class Brain(Protocol):
    """Finds the words to answer with."""

    def answer(self, question: str) -> str:
        """One or two short sentences; never empty."""


class Voice(Protocol):
    """Speaks."""

    def speak(self, text: str) -> Iterator[bytes]:
        """The text as sound, sentence by sentence as it becomes ready; a caller who has enough stops iterating."""


class Engines(msgspec.Struct, frozen=True):
    """How the engines of one server are made; each maker imports and loads what its engine needs.

    Attributes:
        voice_activity: makes a fresh detector, for every stream of sound.
        recogniser: called once, as the others below; the server calls them in this order, which is the order of need.
        brain: likewise.
        voice: likewise.
    """

    voice_activity: Callable[[], VoiceActivity]
    recogniser: Callable[[], Recogniser]
    brain: Callable[[], Brain]
    voice: Callable[[], Voice]
