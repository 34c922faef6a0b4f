"""Clients that ask for too much, or never finish what they began: they are refused or dropped, others never notice."""

import base64
import contextlib
import functools
import itertools
import json
import resource
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import structs
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from pipeline.server import engine_pool, listener, outbox, socket_stream, websocket
from pipeline.server.app import serve
from pipeline.server.engines.interfaces import Engines
from pipeline.vocabulary import configuration
from pipeline.vocabulary.frames import BYTES_PER_MS
from pipeline.vocabulary.signals import Secret

SETTINGS = structs.replace(configuration.load().server, port=0, session_cap_s=60.0, max_sessions=4)
MIB = 1024 * 1024
PAUSE = bytes(700 * BYTES_PER_MS)
MANUAL = '{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}'
ASK = '{"type":"session.update","session":{"type":"realtime"}}'
TEXT, BINARY, PING, PONG, CLOSE, CONTINUATION = 1, 2, 9, 10, 8, 0

Tone = Callable[..., bytes]


@asynccontextmanager
async def running(engines: Engines, **changes: Any) -> AsyncIterator[int]:
    """A server of this process; its port."""
    opened = trio.Event()
    ports: list[int] = []

    def listening(port: int) -> None:
        ports.append(port)
        opened.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            run = functools.partial(
                serve, structs.replace(SETTINGS, **changes), engines, api_key=Secret("sk"),
                listening=listening, ready=lambda _: None,
            )  # fmt: skip
            nursery.start_soon(run)
            await opened.wait()
            yield ports[0]
            nursery.cancel_scope.cancel()


def session(port: int) -> Any:
    """A client that shares no code with the server."""
    url = f"ws://127.0.0.1:{port}/v1/realtime?model=m"
    return connect(url, additional_headers={"Authorization": "Bearer sk"}, max_size=None, proxy=None)


@asynccontextmanager
async def admitted(port: int) -> AsyncIterator[Any]:
    """A session, as soon as there is a place: the server sees a moment later that somebody left."""
    while True:
        async with session(port) as client:
            if json.loads(await client.recv())["type"] == "session.created":
                yield client
                return


async def receive(client: Any, until: str) -> dict[str, Any]:
    while True:
        event: dict[str, Any] = json.loads(await client.recv())
        if event["type"] == until:
            return event


async def closing(client: Any) -> tuple[list[dict[str, Any]], int | None]:
    events: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            events.append(json.loads(await client.recv()))
    return events, client.close_code


async def say(client: Any, sound: bytes) -> None:
    for start in range(0, len(sound), 20 * BYTES_PER_MS):
        audio = base64.b64encode(sound[start : start + 20 * BYTES_PER_MS]).decode()
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


async def hold_turn(port: int, tone: Tone) -> None:
    """Somebody else comes, asks and is answered."""
    async with admitted(port) as client:
        await say(client, tone(800) + PAUSE)
        assert (await receive(client, "response.done"))["response"]["status"] == "completed"


# a client that writes its own bytes

UPGRADE = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer %s\r\n\r\n"
)


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A client's frame (RFC 6455 §5.2), masked with zeros."""
    first = opcode | (0x80 if final else 0)
    if len(payload) < 126:
        head = struct.pack("!BB", first, 0x80 | len(payload))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
    return head + bytes(4) + payload


class Line:
    """A raw connection to the server."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._held = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def upgrade(self, key: bytes = b"sk") -> None:
        await self.send(UPGRADE % key)
        while b"\r\n\r\n" not in self._held:
            self._held += await self.stream.receive_some()
        answer, _, self._held = self._held.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101")

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the server's next frame."""
        first, length = await self._take(2)
        if length >= 126:
            length = int.from_bytes(await self._take(2 if length == 126 else 8), "big")
        return first & 0x0F, await self._take(length)

    async def until(self, opcode: int) -> bytes:
        while True:
            found, payload = await self.frame()
            if found == opcode:
                return payload

    async def event(self, kind: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = json.loads(await self.until(TEXT))
            if event["type"] == kind:
                return event

    async def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        held = self._held
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in self.stream:
                held += data
        return held

    async def _take(self, size: int) -> bytes:
        while len(self._held) < size:
            data = await self.stream.receive_some()
            assert data, "the server has ended the connection"
            self._held += data
        taken, self._held = self._held[:size], self._held[size:]
        return taken


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    with trio.socket.socket() as client:
        await client.connect(("127.0.0.1", port))
        yield Line(trio.SocketStream(client))


# large messages


def append(base64_bytes: int) -> str:
    return '{"type":"input_audio_buffer.append","event_id":"big","audio":"' + "A" * base64_bytes + '"}'


async def test_an_append_of_fifteen_mebibytes_is_taken_and_a_longer_one_refused(engines: Engines) -> None:
    async with running(engines) as port, session(port) as client:
        await client.send(MANUAL)
        await client.send(append(15 * MIB + 4))
        refused = (await receive(client, "error"))["error"]
        assert (refused["code"], refused["param"], refused["event_id"]) == ("string_above_max_length", "audio", "big")
        await client.send(append(15 * MIB))
        await client.send('{"type":"input_audio_buffer.commit"}')
        await receive(client, "input_audio_buffer.committed")


@pytest.mark.parametrize("fragment_bytes", [None, MIB])
async def test_a_message_over_sixteen_mebibytes_closes_its_connection_with_1009(
    engines: Engines, tone: Tone, fragment_bytes: int | None
) -> None:
    message = append(16 * MIB)
    fragments = fragment_bytes and [
        message[start : start + fragment_bytes] for start in range(0, len(message), fragment_bytes)
    ]
    async with running(engines) as port:
        async with session(port) as client:
            with contextlib.suppress(ConnectionClosed):
                await client.send(fragments or message)
            assert (await closing(client))[1] == 1009
        await hold_turn(port, tone)


async def test_nothing_is_kept_of_what_comes_after_a_message_that_is_too_long(
    engines: Engines, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAX_MESSAGE_BYTES", MIB)
    monkeypatch.setattr(socket_stream, "FAREWELL_S", 0.2)
    endless = frame(CONTINUATION, b"a" * MIB, final=False)
    async with running(engines) as port:
        async with line(port) as flood:
            await flood.upgrade()
            await flood.send(frame(TEXT, b"a", final=False))
            before = resident_bytes()
            sent = 0
            with contextlib.suppress(trio.BrokenResourceError):
                while sent < 1_000 * MIB:
                    await flood.send(endless)
                    sent += MIB
            assert sent < 1_000 * MIB, "the server ends it although the client never would"
            assert resident_bytes() - before < 32 * MIB
        await hold_turn(port, tone)


async def test_an_event_in_thousands_of_fragments_with_pings_between_them_is_one_event(engines: Engines) -> None:
    text = json.dumps({"type": "session.update", "event_id": "e", "session": {"type": "realtime", "a" * 6_000: 1}})
    async with running(engines) as port, line(port) as client:
        await client.upgrade()
        opcode = TEXT
        for number, letter in enumerate(text.encode()):
            await client.send(frame(opcode, bytes([letter]), final=False))
            opcode = CONTINUATION
            if number % 1_000 == 0:
                await client.send(frame(PING, b"%d" % number))
                assert await client.until(PONG) == b"%d" % number
        await client.send(frame(CONTINUATION, b""))
        assert (await client.event("error"))["error"]["code"] == "unknown_parameter"


async def test_binary_messages_are_refused_one_by_one(engines: Engines) -> None:
    async with running(engines) as port, line(port) as client:
        await client.upgrade()
        await client.send(frame(BINARY, b"\0\1") + frame(BINARY, b"\0", final=False) + frame(CONTINUATION, b"\1"))
        for _ in range(2):
            assert (await client.event("error"))["error"]["code"] == "invalid_event"
        await client.send(frame(TEXT, ASK.encode()))
        await client.event("session.updated")


@pytest.mark.parametrize(
    "nonsense",
    [
        frame(3, b""),  # a reserved opcode
        frame(PING, b"a" * 126),  # a control frame that is too long
        frame(CONTINUATION, b"a"),  # the end of nothing
        frame(TEXT, b"\xff"),  # no UTF-8
        b"\x81\x01a",  # not masked
    ],
)
async def test_frames_that_are_none_end_their_connection_alone(engines: Engines, tone: Tone, nonsense: bytes) -> None:
    async with running(engines, max_sessions=1) as port:
        async with line(port) as client:
            await client.upgrade()
            await client.send(nonsense)
            await client.rest()
        await hold_turn(port, tone)


# clients that never finish


async def test_half_a_frame_holds_nobody_up_and_ends_with_its_session(engines: Engines, tone: Tone) -> None:
    async with running(engines, session_cap_s=1.0) as port, line(port) as client:
        await client.upgrade()
        await client.send(frame(TEXT, ASK.encode())[:-10])
        await hold_turn(port, tone)
        assert (await client.event("error"))["error"]["code"] == "session_expired"
        assert int.from_bytes((await client.until(CLOSE))[:2], "big") == 1001
        assert await client.rest() == b""


async def test_headers_that_never_end_are_cut_off(
    engines: Engines, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADERS_DEADLINE_S", 0.3)

    async def drip(client: Line) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            for letter in itertools.chain(UPGRADE[:60], itertools.repeat(ord("a"))):
                await client.send(bytes([letter]))
                await trio.sleep(0.01)

    async with running(engines) as port:
        async with line(port) as client, trio.open_nursery() as nursery:
            nursery.start_soon(drip, client)
            assert b"101" not in await client.rest()
            nursery.cancel_scope.cancel()
        await hold_turn(port, tone)


async def test_headers_without_end_are_refused(engines: Engines, tone: Tone) -> None:
    async with running(engines) as port:
        async with line(port) as client:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MIB)
            assert (await client.rest()).startswith((b"HTTP/1.1 431", b""))
        await hold_turn(port, tone)


async def test_a_client_that_never_reads_gives_its_place_to_another(
    engines: Engines, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_UNSENT_BYTES", MIB)

    async def ask_forever(client: Line) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await client.send(frame(TEXT, ASK.encode()) * 100)

    async with running(engines, max_sessions=2) as port, line(port) as deaf:
        await deaf.upgrade()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_forever, deaf)
            await hold_turn(port, tone)
        async with admitted(port), admitted(port):
            pass  # both places are free again


# very many clients


def resident_bytes() -> int:
    """What this process, the server included, keeps in memory (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


async def knock(port: int, kind: int, room: trio.Semaphore, refusals: list[bytes]) -> None:
    """One of five ways to come; only the last two want a session."""
    try:
        async with line(port) as client:
            if kind == 0:
                return  # comes and goes
            if kind == 1:  # is cut off in the middle of its request
                await client.send(UPGRADE[:70])
                client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif kind == 2:
                await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await client.rest()).startswith(b"HTTP/1.1 404")
            else:  # with the right key or a wrong one, talking at once
                await client.upgrade(b"sk" if kind == 3 else b"no")
                with contextlib.suppress(trio.BrokenResourceError):
                    await client.send(frame(TEXT, ASK.encode()) * 20)
                refusals.append(await client.until(CLOSE))
    finally:
        room.release()


async def test_five_thousand_connections_leave_the_server_as_it_was(
    engines: Engines, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADERS_DEADLINE_S", 60.0)  # a machine that stands still for 5 s is another matter
    refusals: list[bytes] = []
    async with running(engines, max_sessions=1) as port:
        async with session(port) as guest:
            await guest.recv()
            await crowd(port, 200, [])
            before = resident_bytes()
            await crowd(port, 5_000, refusals)
            assert resident_bytes() - before < 64 * MIB
            await say(guest, tone(800) + PAUSE)
            await receive(guest, "response.done")
        await hold_turn(port, tone)
    assert Counter((int.from_bytes(close[:2], "big"), close[2:]) for close in refusals) == {
        (1013, b"invalid_request_error.session_limit_reached"): 1_000,
        (3000, b"invalid_request_error.invalid_api_key"): 1_000,
    }


async def crowd(port: int, size: int, refusals: list[bytes]) -> None:
    room = trio.Semaphore(100)
    async with trio.open_nursery() as nursery:
        for number in range(size):
            await room.acquire()
            nursery.start_soon(knock, port, number % 5, room, refusals)


async def test_who_talks_before_being_let_in_is_sent_away(
    engines: Engines, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "ACCEPT_S", 0.2)
    async with running(engines, max_sessions=1) as port:
        async with line(port) as client:
            await client.send(UPGRADE % b"sk" + frame(TEXT, ASK.encode()) * 20)
            assert (await client.rest())[-4:-2] == b"\x88\x02"
        await hold_turn(port, tone)


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """Lets this process open only so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave(spare: int) -> None:
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_server_without_descriptors_goes_on_when_there_are_some_again(
    engines: Engines, tone: Tone, few_descriptors: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "NO_ROOM_PAUSE_S", 0.01)
    async with running(engines) as port:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]  # none is accepted meanwhile
        few_descriptors(3)
        await trio.sleep(0.1)
        for client in crowd:
            client.close()
        few_descriptors(100)
        await hold_turn(port, tone)


# engines with too much to do


async def test_more_than_the_engines_can_do_is_refused_and_nobody_else_let_in(
    engines: Engines, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_pool, "MAX_WAITING_CALLS", 1)
    held = threading.Event()
    recogniser = engines.recogniser()

    class Slow:
        def transcribe(self, pcm: bytes) -> str:
            held.wait(30)
            return recogniser.transcribe(pcm)

    async with running(structs.replace(engines, recogniser=Slow)) as port, session(port) as client:
        try:
            await client.send(MANUAL)
            for _ in range(engine_pool.CONCURRENT_CALLS + 1):
                await say(client, tone(200))
                await client.send('{"type":"input_audio_buffer.commit"}')
                await receive(client, "conversation.item.done")
            async with session(port) as other:
                refused, code = await closing(other)
            assert (refused[0]["error"]["code"], code) == ("session_limit_reached", 1013)
            await client.send(OUT_OF_BAND)
            failed = (await receive(client, "response.done"))["response"]
            assert (failed["status"], failed["status_details"]["error"]["code"]) == ("failed", "rate_limit_exceeded")
        finally:
            held.set()
        await client.send(OUT_OF_BAND)
        while (await receive(client, "response.done"))["response"]["status"] != "completed":
            await client.send(OUT_OF_BAND)
        await hold_turn(port, tone)


OUT_OF_BAND = json.dumps(
    {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Anybody there?"}]}
            ],
        },
    }
)


async def test_a_cancelled_response_costs_nothing_more(engines: Engines) -> None:
    class Endless:
        pieces = 0

        def speak(self, text: str, *, speed: float = 1.0) -> Iterator[bytes]:
            assert text
            assert speed == 1
            while True:
                self.pieces += 1
                yield bytes(20 * BYTES_PER_MS)

    voice = Endless()
    async with running(structs.replace(engines, voice=lambda: voice)) as port, session(port) as client:
        await client.send(OUT_OF_BAND)
        response_id = (await receive(client, "response.created"))["response"]["id"]
        await receive(client, "response.output_audio.delta")
        await client.send(json.dumps({"type": "response.cancel", "response_id": response_id}))
        assert (await receive(client, "response.done"))["response"]["status"] == "cancelled"
        pieces = voice.pieces
        for _ in range(20):  # in each of these rounds a voice that goes on would make dozens of pieces
            await client.send(ASK)
            await receive(client, "session.updated")
        assert voice.pieces <= pieces + 1, "the piece that was being made is the last"
