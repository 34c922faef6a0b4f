"""The whole server over real loopback sockets, spoken to by a client that shares no code with it."""

import base64
import contextlib
import functools
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import trio
from msgspec import structs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from pipeline.realtime.events import AudioFormat
from pipeline.server.app import serve
from pipeline.server.audio_codec import Encoder, decoded
from pipeline.server.audio_format import PCMA, PCMU
from pipeline.server.engines.interfaces import Engines, Recogniser, Voice
from pipeline.server.websocket import CLOSE_ANSWER_S
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem
from pipeline.vocabulary.frames import BYTES_PER_MS
from pipeline.vocabulary.signals import Secret

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing here speaks TLS, and loading them takes 50 ms
SETTINGS = structs.replace(configuration.load().server, port=0, session_cap_s=60.0, max_sessions=3)


class Server:
    """A running server; `stop` ends it."""

    def __init__(self, port: int, stop: Callable[[], None]) -> None:
        self.port = port
        self.stop = stop

    async def post(self, body: Any, key: str | None = "any") -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}/v1/realtime/client_secrets"
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(verify=NO_CERTIFICATES) as client:
            return await client.post(url, json=body, headers=headers)

    async def secret(self, **session: Any) -> str:
        body = {"session": {"type": "realtime", **session}} if session else {}
        value: str = (await self.post(body)).json()["value"]
        return value

    def connect(self, secret: str, query: str = "?model=m", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {secret}", **more.pop("headers", {})}
        url = f"ws://127.0.0.1:{self.port}/v1/realtime{query}"
        return connect(url, additional_headers=headers, max_size=None, proxy=None, **more)


@asynccontextmanager
async def running(engines: Engines, api_key: Secret | None = None, **changes: Any) -> AsyncIterator[Server]:
    opened = trio.Event()
    ports: list[int] = []

    def listening(port: int) -> None:
        ports.append(port)
        opened.set()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            settings = structs.replace(SETTINGS, **changes)
            shutdown = trio.Event()
            run = functools.partial(
                serve, settings, engines, api_key=api_key, listening=listening, ready=ignore, shutdown=shutdown
            )
            nursery.start_soon(run)
            await opened.wait()
            yield Server(ports[0], shutdown.set)
            nursery.cancel_scope.cancel()


def ignore(_port: int) -> None:
    pass


async def receive(client: Any, until: str) -> list[dict[str, Any]]:
    """Everything up to the event of this type; what is advisory and may come at any time is left out."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != until:
        event = json.loads(await client.recv())
        if event["type"] != "rate_limits.updated":
            events.append(event)
    return events


async def closing(client: Any) -> tuple[list[dict[str, Any]], int | None, str | None]:
    """Everything until the close frame, its code and its reason."""
    events: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            events.append(json.loads(await client.recv()))
    return events, client.close_code, client.close_reason


async def speak(client: Any, sound: bytes, frame_bytes: int = 20 * BYTES_PER_MS) -> None:
    for start in range(0, len(sound), frame_bytes):
        audio = base64.b64encode(sound[start : start + frame_bytes]).decode()
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


PAUSE = bytes(700 * BYTES_PER_MS)

Tone = Callable[..., bytes]


async def test_a_spoken_turn(engines: Engines, tone: Tone) -> None:
    transcribe = {"audio": {"input": {"transcription": {"model": "any"}}}}
    async with running(engines) as server, server.connect(await server.secret(**transcribe)) as client:
        await speak(client, tone(800) + PAUSE)
        events = await receive(client, "response.done")
    kinds = [event["type"] for event in events]
    assert kinds[:4] == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]
    assert kinds.index("response.output_audio_transcript.delta") < kinds.index("response.output_audio.delta")
    words = next(event for event in events if event["type"].endswith("transcription.completed"))
    assert words["transcript"] == "10 tenths"  # 800 ms and 200 ms of the silence behind
    sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert sound == tone(500) * 3
    done = events[-1]["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"][0]["transcript"] == "You said: 10 tenths."


@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["mu", "a"])
async def test_a_spoken_turn_in_g711(engines: Engines, tone: Tone, law: AudioFormat) -> None:
    audio_format = {"format": {"type": law.type}}
    both = {"audio": {"input": {**audio_format, "transcription": {"model": "any"}}, "output": audio_format}}
    encoder = Encoder(law)
    asked = encoder.encode(tone(800) + PAUSE) + encoder.flush()
    async with running(engines) as server, server.connect(await server.secret(**both)) as client:
        await speak(client, asked, frame_bytes=160)
        events = await receive(client, "response.done")
        item_id = events[-1]["response"]["output"][0]["id"]
        for audio_end_ms, answer in [(1501, "error"), (1500, "conversation.item.truncated")]:
            cut = {"item_id": item_id, "content_index": 0, "audio_end_ms": audio_end_ms}
            await client.send(json.dumps({"type": "conversation.item.truncate", **cut}))
            assert (await receive(client, answer))[0]["type"] == answer
    words = next(event for event in events if event["type"].endswith("transcription.completed"))
    assert words["transcript"] == "10 tenths"
    stopped = next(event for event in events if event["type"] == "input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == pytest.approx(800 + 500, abs=64)  # two hops
    sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(sound) == 1500 * 8
    spoken, expected = (np.frombuffer(pcm, "<i2").astype(float) for pcm in (decoded(sound, law), tone(500) * 3))
    assert np.corrcoef(spoken, expected)[0, 1] > 0.99


async def test_talking_over_the_answer_stops_the_voice(engines: Engines, voice: Any, tone: Tone) -> None:
    held = threading.Event()

    def hold() -> None:
        if voice.spoken:
            held.wait(10)

    voice.between = hold
    async with running(engines) as server, server.connect(await server.secret()) as client:
        await speak(client, tone(800) + PAUSE)
        await receive(client, "response.output_audio.delta")
        await speak(client, tone(200))
        done = (await receive(client, "response.done"))[-1]["response"]
        held.set()
        await client.send('{"type": "session.update", "session": {"type": "realtime"}}')
        after = await receive(client, "session.updated")
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert [event["type"] for event in after] == ["session.updated"]
    assert voice.spoken <= 2, "the chunk that was being made is the last"


async def test_speech_is_heard_while_recogniser_and_voice_still_load(engines: Engines, tone: Tone) -> None:
    loading = threading.Event()

    def load() -> Recogniser:
        loading.wait(10)
        return engines.recogniser()

    slow = structs.replace(engines, recogniser=load)
    async with running(slow) as server, server.connect(await server.secret()) as client:
        await speak(client, tone(800) + PAUSE)
        await receive(client, "conversation.item.done")
        with trio.move_on_after(0.1):
            await client.recv()
            pytest.fail("nothing can be answered before the recogniser is there")
        loading.set()
        await receive(client, "response.done")


async def test_an_engine_that_cannot_be_loaded_ends_the_server_with_its_reason(engines: Engines) -> None:
    def refuse() -> Voice:
        raise ConfigurationError([Problem("server.voice", "there is no such voice")])

    broken = structs.replace(engines, voice=refuse)
    with trio.fail_after(5), pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match="no such voice")):
        await serve(SETTINGS, broken, api_key=None, listening=ignore, ready=ignore, shutdown=trio.Event())


async def test_bad_messages_leave_the_session_open(engines: Engines) -> None:
    async with running(engines) as server, server.connect(await server.secret()) as client:
        for message, code in [
            (b"\0\1", "invalid_event"),
            ("{", "invalid_json"),
            ('{"type": "future", "event_id": "e7"}', "invalid_value"),
        ]:
            await client.send(message)
            error = (await receive(client, "error"))[-1]["error"]
            assert error["code"] == code
        assert error["event_id"] == "e7"


async def test_a_minted_secret_carries_its_session(engines: Engines) -> None:
    async with running(engines) as server:
        before = await server.post({"expires_after": {"anchor": "created_at", "seconds": 10}})
        answer = (await server.post({"session": {"type": "realtime", "instructions": "Be kind."}})).json()
        assert answer["value"].startswith("ek_")
        assert answer["expires_at"] - before.json()["expires_at"] in {590, 591}
        assert answer["session"]["instructions"] == "Be kind."
        async with server.connect(answer["value"]) as client:
            session = json.loads(await client.recv())["session"]
    assert (session["instructions"], session["model"]) == ("Be kind.", "m")


async def test_minting_names_what_it_refuses(engines: Engines) -> None:
    async with running(engines) as server:
        for body, param in [
            ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, "expires_after.seconds"),
            ({"expires_after": {"anchor": "updated_at"}}, "expires_after.anchor"),
            ({"session": {"type": "realtime", "max_output_tokens": 0}}, "session.max_output_tokens"),
            ({"session": {}}, "session.type"),
        ]:
            answer = await server.post(body)
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == param
        assert (await server.post({}, key=None)).status_code == 401


async def test_a_configured_key_alone_mints_and_connects(engines: Engines) -> None:
    async with running(engines, Secret("sk-right")) as server:
        refused = await server.post({}, key="sk-wrong")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert (await server.post({}, key="sk-right")).status_code == 200
        async with server.connect("sk-right") as client:
            assert json.loads(await client.recv())["type"] == "session.created"
        async with server.connect("sk-wrong") as client:
            assert (await closing(client))[1] == 3000


@pytest.mark.parametrize(
    ("query", "headers", "code", "close_code"),
    [
        ("?model=m", {"Authorization": "Bearer ek_never_issued"}, "invalid_api_key", 3000),
        ("", {}, "missing_model", 4000),
        ("?model=m", {"OpenAI-Beta": "realtime=v1"}, "beta_api_shape_disabled", 4000),
    ],
)
async def test_the_door_says_why_it_stays_shut(
    engines: Engines, query: str, headers: dict[str, str], code: str, close_code: int
) -> None:
    async with running(engines) as server, server.connect(await server.secret(), query, headers=headers) as client:
        events, closed_with, reason = await closing(client)
    assert [event["error"]["code"] for event in events] == [code]
    assert (closed_with, reason) == (close_code, f"invalid_request_error.{code}")


async def test_browsers_bring_the_key_as_a_subprotocol(engines: Engines) -> None:
    async with running(engines) as server:
        protocols = ["realtime", f"openai-insecure-api-key.{await server.secret()}"]
        url = f"ws://127.0.0.1:{server.port}/v1/realtime?model=m"
        async with connect(url, subprotocols=protocols, proxy=None) as client:  # type: ignore[arg-type]  # plain strings do
            assert client.subprotocol == "realtime"
            assert json.loads(await client.recv())["type"] == "session.created"


async def test_one_session_too_many_is_sent_away(engines: Engines) -> None:
    async with running(engines, max_sessions=1) as server:
        secret = await server.secret()
        async with server.connect(secret) as first:
            await first.recv()
            async with server.connect(secret) as second:
                events, code, _ = await closing(second)
                assert (events[0]["error"]["code"], code) == ("session_limit_reached", 1013)
        async with server.connect(secret) as third:
            assert json.loads(await third.recv())["type"] == "session.created"


async def test_other_paths_are_refused(engines: Engines) -> None:
    async with running(engines) as server:
        with pytest.raises(InvalidStatus):
            await connect(f"ws://127.0.0.1:{server.port}/v2/realtime", proxy=None).__aenter__()
        async with httpx.AsyncClient(verify=NO_CERTIFICATES) as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/v1/else")).status_code == 404


async def test_a_session_ends_at_its_cap(engines: Engines) -> None:
    async with running(engines, session_cap_s=0.3) as server, server.connect(await server.secret()) as client:
        events, code, reason = await closing(client)
    assert events[-1]["error"]["code"] == "session_expired"
    assert (code, reason) == (1001, events[-1]["error"]["message"])


async def test_the_end_of_the_server_is_told_to_its_clients(engines: Engines) -> None:
    async with running(engines) as server, server.connect(await server.secret()) as client:
        await client.recv()
        started = trio.current_time()
        server.stop()
        _, code, _ = await closing(client)
    assert code == 1001
    assert trio.current_time() - started < 2


async def test_a_client_that_never_reads_is_cut_off(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.server.outbox.MAX_UNSENT_BYTES", 64 * 1024)
    async with running(engines) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.settimeout(10)
            await trio.to_thread.run_sync(upgrade, line, await server.secret())
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await trio.to_thread.run_sync(ask_forever, line)
        async with server.connect(await server.secret()) as other:
            assert json.loads(await other.recv())["type"] == "session.created"


async def test_a_client_that_does_not_answer_a_close_frame_is_cut_off(engines: Engines) -> None:
    async with running(engines) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.settimeout(10)
            await trio.to_thread.run_sync(upgrade, line, "ek_never_issued")
            started = trio.current_time()
            assert b"invalid_api_key" in await trio.to_thread.run_sync(read_all, line)
    assert CLOSE_ANSWER_S * 0.9 < trio.current_time() - started < CLOSE_ANSWER_S + 5


def read_all(line: socket.socket) -> bytes:
    """Everything up to the end of the connection, however it ends."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while more := line.recv(65_536):
            said += more
    return said


def upgrade(line: socket.socket, secret: str) -> None:
    line.sendall(
        f"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
        f"Authorization: Bearer {secret}\r\n\r\n".encode()
    )
    assert b"101" in line.recv(12)


def ask_forever(line: socket.socket) -> None:
    """Ask for settings over and over, as a masked frame of RFC 6455 §5.2, and read none of the answers."""
    message = b'{"type":"session.update","session":{"type":"realtime"}}'
    frame = bytes([0x81, 0x80 | len(message)]) + bytes(4) + message  # masked with zeros
    while True:
        line.sendall(frame * 100)


async def test_a_taken_port_is_told_in_one_line(engines: Engines) -> None:
    async with running(engines) as server:
        with pytest.raises(AlreadyRunningError, match="--port") as taken:
            await serve(
                structs.replace(SETTINGS, port=server.port), engines, api_key=None, listening=ignore, ready=ignore
            )
        assert "\n" not in str(taken.value)


async def test_a_host_others_can_reach_needs_a_key(engines: Engines) -> None:
    with pytest.raises(ConfigurationError, match="API key"):
        await serve(structs.replace(SETTINGS, host="192.0.2.1"), engines, api_key=None, listening=ignore, ready=ignore)


async def test_shutdown_event_ends_it(engines: Engines) -> None:
    shutdown = trio.Event()
    with trio.fail_after(5):
        await serve(
            SETTINGS, engines, api_key=None, listening=ignore, ready=lambda _: shutdown.set(), shutdown=shutdown
        )
