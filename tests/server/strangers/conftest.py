"""A server in a thread of its own, and the official client, unmodified, talking to it.

What the server writes is held against the client's types by a fixture of every test (`official_events`). Here the
client's own reading of it is used: attributes of its classes.
"""

import base64
import functools
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import pytest
import trio
import trio.testing
from msgspec import structs
from openai import OpenAI
from openai.resources.realtime.realtime import RealtimeConnection
from websockets.exceptions import ConnectionClosedError

from pipeline.server.app import serve
from pipeline.server.engines.interfaces import Arguments, Ask, Call, Engines, Piece, Words
from pipeline.vocabulary import configuration
from pipeline.vocabulary.frames import BYTES_PER_MS
from pipeline.vocabulary.signals import Secret

API_KEY = "sk-stranger"
SETTINGS = structs.replace(configuration.load().server, port=0, session_cap_s=60.0, max_sessions=8)
START_S = 20.0
STOP_S = 10.0

Serving = Callable[..., AbstractContextManager[OpenAI]]


class ScriptedBrain:
    """Calls the first tool it is offered, tells what a tool answered, counts pictures, else says what it was asked."""

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        newest = ask.lines[-1] if ask.lines else None
        if newest is not None and newest.role == "output":
            yield Words(f"The tool says: {newest.text}.")
        elif newest is not None and newest.images:
            yield Words(f"I see {len(newest.images)} picture.")
        elif ask.tools and ask.tool_choice != "none":
            yield Call(ask.tools[0].name or "")
            for piece in ('{"question": ', json.dumps(ask.question), "}"):
                yield Arguments(piece)
        else:
            yield Words(f"You said: {ask.question or 'nothing'}.")


class Stranger:
    """One connection of the official client."""

    def __init__(self, connection: RealtimeConnection) -> None:
        self.connection = connection

    def until(self, kind: str) -> list[Any]:
        """What comes next, up to an event of this type; an error nobody waits for fails the test."""
        events: list[Any] = []
        while not events or events[-1].type != kind:
            events.append(self.connection.recv())
            assert kind == "error" or events[-1].type != "error", events[-1].error
        return events

    def next(self, kind: str) -> Any:
        """The next event of this type."""
        return self.until(kind)[-1]

    def end(self) -> tuple[list[Any], int]:
        """Everything up to the end of the connection, and the code it was closed with."""
        events: list[Any] = []
        with suppress(ConnectionClosedError):
            events.extend(self.connection)
        code = self.connection._connection.close_code
        assert code is not None
        return events, code

    def say(self, sound: bytes) -> None:
        """Stream this sound, in frames of 20 ms."""
        size = 20 * BYTES_PER_MS
        for start in range(0, len(sound), size):
            self.connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + size]).decode())

    def write(self, text: str, **item: Any) -> Any:
        """Add a user's message; the item as the server has it."""
        message: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **item}
        self.connection.conversation.item.create(item=message)
        return self.next("conversation.item.done").item

    def settle(self) -> list[str]:
        """The types of everything the server had still to say."""
        self.connection.session.update(session={"type": "realtime"})
        return [event.type for event in self.until("session.updated")[:-1]]


@contextmanager
def _serving(*, engines: Engines, rate: float = 1.0, **changes: Any) -> Iterator[OpenAI]:
    opened: SimpleQueue[tuple[int, Callable[[], None]]] = SimpleQueue()

    async def main() -> None:
        shutdown = trio.Event()
        stop = functools.partial(trio.lowlevel.current_trio_token().run_sync_soon, shutdown.set)
        await serve(
            structs.replace(SETTINGS, **changes),
            engines,
            api_key=Secret(API_KEY),
            listening=lambda port: opened.put((port, stop)),
            ready=lambda _port: None,
            shutdown=shutdown,
        )

    with ThreadPoolExecutor(1) as pool:
        clock = None if rate == 1 else trio.testing.MockClock(rate=rate)
        server = pool.submit(lambda: trio.run(main, clock=clock))
        port, stop = opened.get(timeout=START_S)
        try:
            with OpenAI(api_key=API_KEY, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
                yield client
        finally:
            stop()
            server.result(STOP_S)


@pytest.fixture
def serving(engines: Engines) -> Serving:
    """Serve, with the scripted brain unless other engines are given: `with serving() as client`.

    `rate` makes the server's time pass faster; other settings are those of `[server]`.
    """
    return functools.partial(_serving, engines=structs.replace(engines, brain=ScriptedBrain))


@contextmanager
def _meeting(client: OpenAI, **settings: Any) -> Iterator[Stranger]:
    session: Any = {"type": "realtime", **settings}
    secret = client.realtime.client_secrets.create(session=session)
    with client.with_options(api_key=secret.value).realtime.connect(model="gpt-realtime") as connection:
        stranger = Stranger(connection)
        stranger.next("session.created")
        yield stranger


@pytest.fixture
def meeting() -> Callable[..., AbstractContextManager[Stranger]]:
    """Open a session with a minted secret that carries these settings: `with meeting(client, tools=[])`."""
    return _meeting


@pytest.fixture
def stranger_of() -> type[Stranger]:
    """Makes a stranger of a connection that a test has opened itself."""
    return Stranger
