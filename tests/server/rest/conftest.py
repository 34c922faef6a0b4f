"""The server over real loopback sockets, and the official client at its door, unmodified."""

import functools
import io
import threading
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import openai
import pytest
import trio
from msgspec import structs

from pipeline.server.app import serve
from pipeline.server.engines.interfaces import Ask, Engines, Piece, Words
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ
from pipeline.vocabulary.signals import Secret

SETTINGS = structs.replace(load().server, port=0, session_cap_s=60.0, max_sessions=3)

Serving = Callable[..., AbstractAsyncContextManager[str]]
Client = Callable[..., openai.OpenAI]


class ScriptedBrain:
    """Answers with `pieces`; before each it runs `between`. Remembers what it was asked and whether it was stopped."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = [Words("You said: "), Words("hello, shop.")]
        self.between: Callable[[], None] = lambda: None
        self.asked: list[Ask] = []
        self.stopped = trio.Event()

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        self.asked.append(ask)
        try:
            for piece in self.pieces:
                await trio.to_thread.run_sync(self.between, abandon_on_cancel=True)
                yield piece
        finally:
            self.stopped.set()


class PatientVoice:
    """Speaks `chunks` chunks of 100 ms; the first at once, each later one after `between`."""

    def __init__(self) -> None:
        self.chunks = 3
        self.between: Callable[[], None] = lambda: None
        self.said: list[tuple[str, float]] = []
        self._made = threading.Event()

    def speak(self, text: str, *, speed: float = 1.0) -> Iterator[bytes]:
        self.said.append((text, speed))
        for number in range(self.chunks):
            if number:
                self.between()
            self._made.set()
            yield bytes([number % 256, 0]) * (RATE_HZ // 10)

    def wait_until_silent(self) -> None:
        """Return when it has begun, and nobody has asked it for more for a while."""
        assert self._made.wait(5)
        while self._made.wait(0.3):
            self._made.clear()


class CountingRecogniser:
    """Hears how long an utterance is, to 100 ms; runs `between` before each."""

    def __init__(self) -> None:
        self.heard = 0
        self.between: Callable[[], None] = lambda: None
        self.called = threading.Event()

    def transcribe(self, pcm: bytes) -> str:
        self.called.set()
        self.between()
        self.heard += 1
        return f"{round(len(pcm) / BYTES_PER_MS / 100)} tenths"


@pytest.fixture
def recogniser() -> CountingRecogniser:
    return CountingRecogniser()


@pytest.fixture
def brain() -> ScriptedBrain:
    return ScriptedBrain()


@pytest.fixture
def voice() -> PatientVoice:
    return PatientVoice()


@pytest.fixture
def engines(engines: Engines, recogniser: CountingRecogniser, brain: ScriptedBrain, voice: PatientVoice) -> Engines:
    return structs.replace(engines, recogniser=lambda: recogniser, brain=lambda: brain, voice=lambda: voice)


@pytest.fixture
def serving(engines: Engines) -> Serving:
    """Runs the server while the context lasts; gives its address once the engines are loaded, if it waits for them."""

    @asynccontextmanager
    async def running(
        api_key: str | None = None, *, engines: Engines = engines, waits: bool = True, **changes: Any
    ) -> AsyncIterator[str]:
        ports: list[int] = []
        opened, loaded = trio.Event(), trio.Event()

        def listening(port: int) -> None:
            ports.append(port)
            opened.set()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                run = functools.partial(
                    serve,
                    structs.replace(SETTINGS, **changes),
                    engines,
                    api_key=(api_key and Secret(api_key)) or None,
                    listening=listening,
                    ready=lambda _: loaded.set(),
                    shutdown=trio.Event(),
                )
                nursery.start_soon(run)
                await (loaded if waits else opened).wait()
                yield f"http://127.0.0.1:{ports[0]}"
                nursery.cancel_scope.cancel()

    return running


@pytest.fixture
def official() -> Iterator[Client]:
    """Makes official clients that hold every answer strictly against their types."""
    made: list[openai.OpenAI] = []

    def make(url: str, key: str = "any", **options: Any) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(trust_env=False)  # no proxy stands between us and this machine
        options = {"max_retries": 0, "_strict_response_validation": True, **options}
        made.append(openai.OpenAI(api_key=key, base_url=f"{url}/v1", http_client=http, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def make_wav(pcm: bytes, *, rate_hz: int = RATE_HZ, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, width, rate_hz, 0, "NONE", "not compressed"))
        writer.writeframes(pcm)
    return file.getvalue()


@pytest.fixture
def wav() -> Callable[..., bytes]:
    return make_wav


class Gate:
    """Holds an engine until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def wait(self) -> None:
        assert self._open.wait(10), "nobody opened the gate: what should have come before it never came"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()
