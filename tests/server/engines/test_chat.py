"""The brain that asks a chat service, against a scripted HTTP server on loopback."""

import gc
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from pipeline.realtime.events import Tool
from pipeline.server.engines.interfaces import Arguments, Ask, Call, Line, Piece, Words
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError, WireError
from pipeline.vocabulary.signals import Secret

KEY = "sk-canary-77aa"
QUESTION = "canary-question"
FALLBACK = "Please ask the staff."
PATIENCE_S = 3.0
ASK = Ask((Line("user", QUESTION),))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

Play = Callable[[trio.SocketStream], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**delta: Any) -> bytes:
    return chunk(b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n")


DONE = chunk(b"data: [DONE]\n\n") + END


class Service:
    """Plays one answer to every connection."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self.request = b""
        self.asked = trio.Event()
        self.left = trio.Event()

    async def handle(self, stream: trio.SocketStream) -> None:
        while b"\r\n\r\n" not in self.request or not self.request.rstrip().endswith(b"}"):
            self.request += await stream.receive_some()
        self.asked.set()
        with suppress(trio.BrokenResourceError):  # the client hangs up on nonsense
            await self._play(stream)
            await stream.send_eof()
            while await stream.receive_some():
                pass
        self.left.set()


def sends(*parts: bytes) -> Play:
    async def play(stream: trio.SocketStream) -> None:
        for part in parts:
            await stream.send_all(part)

    return play


def sends_and_hangs(*parts: bytes) -> Play:
    async def play(stream: trio.SocketStream) -> None:
        for part in parts:
            await stream.send_all(part)
        await stream.receive_some()  # the client's going

    return play


def status(line: str) -> Play:
    return sends(f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode())


Answers = AsyncGenerator[Piece, None]


@pytest.fixture
def ask_service(nursery: trio.Nursery) -> Callable[..., Awaitable[tuple[Service, Answers]]]:
    """Starts a service that plays this, and asks the brain; nothing is sent before the answer is iterated."""

    async def start(play: Play, ask: Ask = ASK) -> tuple[Service, Answers]:
        service = Service(play)
        (listener,) = await nursery.start(partial(trio.serve_tcp, service.handle, 0, host="127.0.0.1"))
        return service, answers(listener.socket.getsockname()[1], ask)

    return start


def answers(port: int, ask: Ask = ASK) -> Answers:
    settings = msgspec.structs.replace(
        configuration.load().server,
        voice_activity="synthetic",
        recogniser="synthetic",
        brain="chat",
        voice_engine="synthetic",
        chat_url=f"http://127.0.0.1:{port}/v1/?version=2",
        chat_model="parrot",
        chat_timeout_s=PATIENCE_S,
        chat_fallback=FALLBACK,
    )
    return load_engines(settings, Secret(KEY)).brain().answer(ask)


async def words(pieces: Answers) -> str:
    said = [piece async for piece in pieces]
    assert all(isinstance(piece, Words) for piece in said)
    gc.collect()  # whatever httpx left open would be an error here
    return "".join(piece[0] for piece in said)


Start = Callable[..., Awaitable[tuple[Service, Answers]]]


async def test_the_answer_is_streamed_word_by_word(ask_service: Start) -> None:
    more = trio.Event()

    async def play(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + event(content="Hello"))
        await more.wait()
        await stream.send_all(event(content=" there.") + DONE)

    service, pieces = await ask_service(play)
    assert await anext(pieces) == Words("Hello")
    more.set()
    assert await words(pieces) == " there."
    head, _, body = service.request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions?version=2 HTTP/1.1\r\n")
    assert f"authorization: bearer {KEY}".encode() in head.lower()
    asked = json.loads(body)
    assert asked["model"] == "parrot"
    assert asked["messages"] == [{"role": "user", "content": QUESTION}]


async def test_a_function_call_is_streamed(ask_service: Start) -> None:
    begin = [{"index": 0, "id": "c", "function": {"name": "door", "arguments": ""}}]
    rest = [{"index": 0, "function": {"arguments": '{"n": 1}'}}]
    tools = (Tool(type="function", name="door"),)
    _, pieces = await ask_service(
        sends(HEAD, event(tool_calls=begin), event(tool_calls=rest), DONE), Ask(ASK.lines, tools=tools)
    )
    assert [piece async for piece in pieces] == [Call("door"), Arguments('{"n": 1}')]


@pytest.mark.parametrize(
    ("play", "cause"),
    [
        (status("401 Unauthorized"), "status_401"),
        (status("403 Forbidden"), "status_403"),
        (status("404 Not Found"), "status_404"),
        (status("302 Found"), "status_302"),
        (status("429 Too Many Requests"), "status_429"),
        (status("500 Internal Server Error"), "status_500"),
        (sends(HEAD, chunk(b"data: {garbage\n\n"), END), "body"),
        (sends(HEAD, chunk(b"<html>"), END), "body"),
        (sends(HEAD, DONE), "body"),
        (sends(HEAD, chunk(b'data: {"error": "x"}\n\n'), END), "error_event"),
        (sends(HEAD), "reset"),
        (sends(b""), "reset"),
        (sends(b"SSH-2.0-OpenSSH\r\n"), "reset"),
    ],
)
async def test_a_failure_before_the_first_word_is_spoken_and_logged(play: Play, cause: str, ask_service: Start) -> None:
    _, pieces = await ask_service(play)
    with capture_logs() as logs:
        assert await words(pieces) == FALLBACK
    (log,) = logs
    assert (log["log_level"], log["cause"]) == ("warning", cause)
    assert "server.chat_url (http://127.0.0.1:" in log["problem"]
    assert KEY not in str(log)
    assert QUESTION not in str(log)


async def test_a_service_that_is_not_there_is_told_at_once() -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        with capture_logs() as logs, trio.fail_after(2):
            assert await words(answers(unused.getsockname()[1])) == FALLBACK
    assert logs[0]["cause"] == "connect"


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + chunk(b": still thinking\n\n") + event(role="assistant")])
async def test_a_service_that_hangs_before_the_first_word_is_given_up(
    sent: bytes, ask_service: Start, mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    service, pieces = await ask_service(sends_and_hangs(sent))
    said: list[str] = []

    async def listen() -> None:
        said.append(await words(pieces))

    with capture_logs() as logs:
        nursery.start_soon(listen)
        await service.asked.wait()
        mock_clock.jump(PATIENCE_S - 0.1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not said
        mock_clock.jump(0.2)
        await service.left.wait()
    assert said == [FALLBACK]
    assert logs[0]["cause"] == "timeout"


@pytest.mark.parametrize(
    ("last", "spoken"),
    [
        ("We open at", f"We open at… {FALLBACK}"),
        ("We open at nine. ", f"We open at nine.  {FALLBACK}"),
    ],
)
async def test_a_service_that_breaks_off_in_an_answer_is_excused_behind_it(
    last: str, spoken: str, ask_service: Start
) -> None:
    _, pieces = await ask_service(sends(HEAD, event(content=last)))
    assert await words(pieces) == spoken


async def test_a_service_that_hangs_between_words_is_given_up(ask_service: Start, mock_clock: MockClock) -> None:
    service, pieces = await ask_service(sends_and_hangs(HEAD, event(content="Well,")))
    assert await anext(pieces) == Words("Well,")
    mock_clock.jump(10 * PATIENCE_S)  # the voice may take its time: only the service's silence counts
    async with trio.open_nursery() as nursery:
        nursery.start_soon(words, pieces)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not service.left.is_set()
        mock_clock.jump(PATIENCE_S)
        await service.left.wait()


async def test_half_a_call_is_a_failure(ask_service: Start) -> None:
    begin = [{"index": 0, "id": "c", "function": {"name": "door", "arguments": '{"n'}}]
    _, pieces = await ask_service(sends(HEAD, event(tool_calls=begin)))
    with pytest.raises(WireError, match="cut the connection"):
        _ = [piece async for piece in pieces]


async def hung_up_after_s(service: Service, since_s: float) -> float:
    with trio.fail_after(5):
        await service.left.wait()
    took_s = trio.current_time() - since_s
    gc.collect()  # whatever httpx left open would be an error here
    return took_s


TRIES = 5  # the best of them counts: on a busy machine a test may not run at all for longer than 50 ms


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + event(content="Well,")])
async def test_a_cancelled_answer_hangs_up_within_50_ms(sent: bytes, ask_service: Start) -> None:
    took = []
    for _ in range(TRIES):
        service, pieces = await ask_service(sends_and_hangs(sent))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(words, pieces)
            await service.asked.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            cancelled_s = trio.current_time()
            nursery.cancel_scope.cancel()
        took.append(await hung_up_after_s(service, cancelled_s))
    assert min(took) < 0.05


async def test_an_answer_closed_between_two_words_hangs_up_within_50_ms(ask_service: Start) -> None:
    took = []
    for _ in range(TRIES):
        service, pieces = await ask_service(sends_and_hangs(HEAD, event(content="Well,") + event(content=" yes")))
        async with aclosing(pieces):
            assert await anext(pieces) == Words("Well,")
            closed_s = trio.current_time()
        took.append(await hung_up_after_s(service, closed_s))
    assert min(took) < 0.05


@pytest.mark.parametrize("url", ["http://example.com/v1", "ftp://127.0.0.1/v1", "https://", "", "https://u:p@h/v1"])
def test_an_address_that_would_show_the_key_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^server\.chat_url: "):
        configuration.load(overrides=[f"server.chat_url={url}"])
