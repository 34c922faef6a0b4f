"""A conversation on the bench, and engines without models for the shell around it."""

import base64
import itertools
import math
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

import pytest
from msgspec import structs

from pipeline.realtime.client_events import InputAudioBufferAppend
from pipeline.realtime.codec import ClientEventError, decode_client, encode
from pipeline.realtime.events import ClientEvent, Event, Session
from pipeline.server.conversation import Conversation
from pipeline.server.desk import Output
from pipeline.server.engines.interfaces import Ask, Engines, Piece, Words
from pipeline.server.session_settings import default_session
from pipeline.server.work import Detect, Heard, RestartDetection, Result
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

HOP_MS = 32
T = TypeVar("T")


def make_tone(duration_ms: float, amplitude: int = 8_000) -> bytes:
    samples = range(round(duration_ms * RATE_HZ / 1000))
    return b"".join(struct.pack("<h", round(amplitude * math.sin(n * 0.1))) for n in samples)


class Bench:
    """Drives one conversation; every call returns what came out, server events by type and effects by name."""

    def __init__(
        self, *, cap_s: float = 3600, tokens_per_minute: int = 1_000_000, settings: Session | None = None
    ) -> None:
        numbers = itertools.count(1)
        settings = settings or default_session("model", "heart")
        session = structs.replace(settings, id="sess_1", expires_at=int(cap_s))
        self.conversation = Conversation(
            session,
            lambda prefix: f"{prefix}_{next(numbers)}",
            expires_s=cap_s,
            cap_s=cap_s,
            tokens_per_minute=tokens_per_minute,
        )
        self.outputs: list[Output] = []  # all of them, in order
        self.bytes_per_ms = BYTES_PER_MS  # of what the client sends
        self._hops = 0.0
        self.now = 0.0
        self._take(self.conversation.open(self.now))

    def client(self, event: ClientEvent | str) -> list[str]:
        """The client sends an event, typed or as JSON text; no work is done for it."""
        try:
            return self._take(
                self.conversation.receive(decode_client(event) if isinstance(event, str) else event, self.now)
            )
        except ClientEventError as refused:
            return self._take(self.conversation.refuse(refused))

    def work(self, result: Result, now: float | None = None) -> list[str]:
        """The shell reports a result, at the moment of the last one unless told otherwise."""
        self.now = self.now if now is None else now
        return self._take(self.conversation.work_done(result, self.now))

    def hear(self, sound: bytes, probability: float) -> list[str]:
        """The client streams sound in 20 ms frames, and the detector finds this probability of speech in all of it."""
        said: list[str] = []
        size = 20 * self.bytes_per_ms
        for start in range(0, len(sound), size):
            audio = base64.b64encode(sound[start : start + size]).decode()
            said += self.client(InputAudioBufferAppend(audio=audio))
            if isinstance(self.outputs[-1], Detect):
                self._hops += len(self.outputs[-1].sound) / self.bytes_per_ms / HOP_MS
                hops, self._hops = divmod(self._hops, 1)
                said += self.work(Heard([probability] * int(hops), HOP_MS))
        return [name for name in said if name != "Detect"]

    def speaks(self, speech_ms: float = 500, silence_ms: float = 600) -> list[str]:
        """The user says something and stops."""
        speech, silence = (bytes(round(ms * self.bytes_per_ms)) for ms in (speech_ms, silence_ms))
        return self.hear(speech, 0.9) + self.hear(silence, 0.0)

    def last(self, kind: type[T]) -> T:
        """The newest output of this kind."""
        found = [output for output in self.outputs if isinstance(output, kind)]
        assert found, f"no {kind.__name__} came out"
        return found[-1]

    def all(self, kind: type[T]) -> list[T]:
        return [output for output in self.outputs if isinstance(output, kind)]

    def _take(self, outputs: list[Output]) -> list[str]:
        self.outputs += outputs
        for output in outputs:
            if isinstance(output, RestartDetection):
                self._hops = 0.0
            if isinstance(output, Event):
                encode(output)  # everything said can be written
        return [getattr(output, "type", type(output).__name__) for output in outputs]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def make_bench() -> type[Bench]:
    return Bench


class LoudnessActivity:
    """Calls a hop speech when it is loud."""

    hop_ms: float = HOP_MS

    def __init__(self) -> None:
        self._rest = b""

    def process(self, pcm: bytes) -> list[float]:
        self._rest += pcm
        size = HOP_MS * BYTES_PER_MS
        found = []
        while len(self._rest) >= size:
            hop, self._rest = self._rest[:size], self._rest[size:]
            found.append(1.0 if max(memoryview(hop).cast("h")) > 1_000 else 0.0)
        return found


class LengthRecogniser:
    """Hears how long an utterance is, to 100 ms; whispers (peak under 2,000) hold no words."""

    def transcribe(self, pcm: bytes) -> str:
        if max(memoryview(pcm).cast("h"), default=0) < 2_000:
            return ""
        return f"{round(len(pcm) / BYTES_PER_MS / 100)} tenths"


class EchoBrain:
    """Says again what it was asked."""

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        yield Words(f"You said: {ask.question or 'nothing'}.")


class ToneVoice:
    """Three chunks of half a second; `between` runs before each, so that a test can hold it."""

    def __init__(self) -> None:
        self.between: Callable[[], None] = lambda: None
        self.spoken = 0

    def speak(self, text: str, *, speed: float = 1.0) -> Iterator[bytes]:
        assert text
        assert speed == 1
        for _ in range(3):
            self.between()
            self.spoken += 1
            yield make_tone(500)


@pytest.fixture
def tone() -> Callable[..., bytes]:
    """Makes what the detector takes for speech, of so many ms and this amplitude."""
    return make_tone


@pytest.fixture
def voice() -> ToneVoice:
    return ToneVoice()


@pytest.fixture
def engines(voice: ToneVoice) -> Engines:
    return Engines(LoudnessActivity, LengthRecogniser, EchoBrain, lambda: voice)
