"""The guard against trio-websocket's hazards (T1 to T14), on memory streams and a virtual clock."""

import base64
import hashlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from pipeline.edges import websocket
from pipeline.edges.interfaces import Connection
from pipeline.edges.websocket import PING_DEADLINE_S, SEND_DEADLINE_S, WebSocketConnector, parse_address
from pipeline.vocabulary.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialExpiredError,
    CredentialRefusedError,
    ServiceBusyError,
    ServiceRefusedError,
    WireError,
)
from pipeline.vocabulary.settings import ServiceSettings
from pipeline.vocabulary.signals import Secret

CANARY = "ek_canary_7f3a"
SECRET = Secret(CANARY)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

Stream = trio.abc.Stream
Play = Callable[[Stream], Awaitable[None]]


def settings(url: str = "ws://127.0.0.1:8765/v1/realtime") -> ServiceSettings:
    return ServiceSettings(url=url, connect_deadline_s=10.0, configure_deadline_s=10.0, close_deadline_s=1.0)


def connector(
    nursery: trio.Nursery,
    play: Play,
    *,
    url: str = "ws://127.0.0.1:8765/v1/realtime",
    tls: ssl.SSLContext | None = None,
    pair: Callable[[], tuple[Stream, Stream]] = trio.testing.memory_stream_pair,
) -> WebSocketConnector:
    """A connector whose every connection reaches `play`, which gets the service's end of the wire."""

    async def open_stream(_host: str, _port: int) -> Stream:
        ours, theirs = pair()
        nursery.start_soon(play, theirs)
        return ours

    return WebSocketConnector(settings(url), "gpt-realtime", open_stream=open_stream, tls=tls)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A server's frame, RFC 6455 §5.2."""
    head = bytes([final << 7 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + b"\x7e" + len(payload).to_bytes(2) + payload
    return head + b"\x7f" + len(payload).to_bytes(8) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason.encode())


async def read_head(stream: Stream) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = await stream.receive_some()
        assert piece, "the client left in the middle of its request"
        head += piece
    return head


async def upgrade(stream: Stream, extra: bytes = b"", accept: bytes | None = None) -> bytes:
    """Answer the request with a 101; returns the request's head."""
    head = await read_head(stream)
    key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = accept or base64.b64encode(hashlib.sha1(key + guid, usedforsecurity=False).digest())
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    await stream.send_all(answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n" + extra + b"\r\n")
    return head


async def read_exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        assert piece, "the client left in the middle of a frame"
        data += piece
    return data


async def read_frame(stream: Stream) -> tuple[int, bytes]:
    """A client's frame, unmasked."""
    first, second = await read_exactly(stream, 2)
    assert second & 0x80, "a client masks its frames"
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(await read_exactly(stream, 2 if length == 126 else 8))
    mask = await read_exactly(stream, 4)
    payload = await read_exactly(stream, length)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def drain(stream: Stream) -> bytes:
    """Everything until the client is gone."""
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


async def send_for_ever(stream: Stream, data: bytes) -> None:
    """Send until the client is gone."""
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(data)
            await trio.sleep(0.0001)


async def failure(connector: WebSocketConnector, kind: type[WireError] = ConnectionLostError) -> WireError:
    with pytest.raises(kind) as caught:
        async with connector.connect(SECRET):
            pytest.fail("the line must not open")
    assert type(caught.value) is kind
    assert CANARY not in str(caught.value)
    assert "\n" not in caught.value.message
    return caught.value


async def test_messages_go_both_ways_and_the_request_carries_secret_and_model(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes] = []

    async def play(stream: Stream) -> None:
        seen.append(await upgrade(stream))
        opcode, payload = await read_frame(stream)
        assert (opcode, payload) == (TEXT, "Grüße".encode())
        await stream.send_all(frame(TEXT, "zurück".encode()) + frame(BINARY, b'{"type":1}\xff'))
        opcode, payload = await read_frame(stream)
        await stream.send_all(frame(PONG, payload))
        opcode, payload = await read_frame(stream)
        seen.append(bytes([opcode]) + payload)
        await stream.send_all(frame(CLOSE, payload))
        seen.append(await drain(stream))

    caplog.set_level(logging.DEBUG)
    url = "ws://127.0.0.1:8765/v1/realtime?version=2&model=old"
    async with connector(nursery, play, url=url).connect(SECRET) as line:
        await line.send("Grüße")
        assert await line.receive() == "zurück"
        assert await line.receive() == '{"type":1}\ufffd'
        await line.ping()
    await trio.testing.wait_all_tasks_blocked()

    assert seen[0].startswith(b"GET /v1/realtime?version=2&model=gpt-realtime HTTP/1.1\r\nHost: 127.0.0.1:8765\r\n")
    assert f"Authorization: Bearer {CANARY}\r\n".encode() in seen[0]
    assert b"Sec-WebSocket-Extensions" not in seen[0]
    assert seen[1:] == [b"\x08\x03\xe8", b""], "a close frame with 1000, then the end of the stream"
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (200, ConnectionLostError, "captive_portal"),
        (302, ConnectionLostError, "captive_portal"),
        (400, ServiceRefusedError, "status_400"),
        (401, CredentialExpiredError, "status_401"),
        (403, ServiceRefusedError, "status_403"),
        (404, ServiceRefusedError, "status_404"),
        (407, ConnectionLostError, "status_407"),
        (429, ServiceBusyError, "status_429"),
        (500, ServiceBusyError, "status_500"),
        (503, ServiceBusyError, "status_503"),
    ],
)
async def test_a_refusal_is_classified_at_once_although_its_body_never_ends(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, status: int, kind: type[WireError], cause: str
) -> None:
    async def play(stream: Stream) -> None:
        await read_head(stream)
        await stream.send_all(f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        await send_for_ever(stream, b"400\r\n" + bytes(1024) + b"\r\n")

    start_s = trio.current_time()
    error = await failure(connector(nursery, play), kind)
    assert error.cause == cause
    assert error.retry_after_s == (7 if kind is ServiceBusyError else None)
    assert trio.current_time() - start_s < 0.1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "handshake"),
        (b"HTTP/1.1 banana\r\n\r\n", "handshake"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "protocol"),
        (b"HTTP/1.1 101 X\r\n" + b"x" * 70_000, "handshake"),
    ],
)
async def test_t4_an_answer_that_is_no_handshake_fails_at_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, answer: bytes, cause: str
) -> None:
    async def play(stream: Stream) -> None:
        await read_head(stream)
        await stream.send_all(answer)
        await drain(stream)

    start_s = trio.current_time()
    assert (await failure(connector(nursery, play))).cause == cause
    assert trio.current_time() == start_s


@pytest.mark.parametrize(
    ("extra", "accept"),
    [
        (b"", b"bm90IHRoZSByaWdodCBrZXk="),
        (b"Sec-WebSocket-Extensions: permessage-deflate\r\n", None),
        (b"Sec-WebSocket-Protocol: \xff\r\n", None),
    ],
)
async def test_t4_a_wrong_key_or_an_unasked_extension_fails_at_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, extra: bytes, accept: bytes | None
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream, extra, accept)
        await drain(stream)

    start_s = trio.current_time()
    assert (await failure(connector(nursery, play))).cause == "protocol"
    assert trio.current_time() == start_s


async def test_t2_a_silent_server_costs_the_deadline_and_no_more(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await drain(stream)  # takes the request, says nothing, notices that the client leaves

    start_s = trio.current_time()
    assert (await failure(connector(nursery, play))).cause == "timeout"
    assert trio.current_time() - start_s == pytest.approx(10.0)


async def test_a_connection_that_never_comes_about_costs_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async def open_stream(_host: str, _port: int) -> Stream:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    start_s = trio.current_time()
    assert (await failure(WebSocketConnector(settings(), "m", open_stream=open_stream))).cause == "timeout"
    assert trio.current_time() - start_s == pytest.approx(10.0)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 10"])
async def test_t3_an_end_of_stream_in_the_handshake_is_an_error_at_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, said: bytes
) -> None:
    async def play(stream: Stream) -> None:
        await read_head(stream)
        await stream.send_all(said)
        await stream.aclose()

    start_s = trio.current_time()
    assert (await failure(connector(nursery, play))).cause == "eof"
    assert trio.current_time() == start_s


async def test_t5_leaving_after_the_peers_close_does_not_wait_for_its_tcp(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(frame(TEXT, b"last words") + close_frame(1001, "Your session hit the maximum duration."))
        await drain(stream)

    start_s = trio.current_time()
    async with connector(nursery, play).connect(SECRET) as line:
        assert await line.receive() == "last words"
        for use in (line.receive, partial(line.send, "x"), line.ping):
            with pytest.raises(ConnectionLostError, match="1001") as caught:
                await use()
            assert caught.value.cause == "close_1001"
    assert trio.current_time() - start_s <= 1.0


async def test_a_close_frame_that_nobody_answers_is_waited_for_one_second(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    received: list[bytes] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        received.append(await drain(stream))

    start_s = trio.current_time()
    async with connector(nursery, play).connect(SECRET):
        pass
    assert trio.current_time() - start_s == pytest.approx(1.0)
    await trio.testing.wait_all_tasks_blocked()
    assert received[0][0] == 0x80 | CLOSE


async def test_t6_a_ping_during_our_close_harms_nobody(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        assert (await read_frame(stream))[0] == CLOSE
        await stream.send_all(frame(PING, b"still there?"))
        await drain(stream)

    start_s = trio.current_time()
    async with connector(nursery, play).connect(SECRET):
        pass
    assert trio.current_time() == start_s, "the reader broke on the ping, so there is nothing to wait for"


async def test_t7_a_ping_ends_when_the_connection_does(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await read_frame(stream)
        await trio.sleep(0.5)
        await stream.aclose()

    async with connector(nursery, play).connect(SECRET) as line:
        start_s = trio.current_time()
        with pytest.raises(ConnectionLostError) as caught:
            await line.ping()
        assert trio.current_time() - start_s == pytest.approx(0.5)
        assert caught.value.cause == "close_1006"


async def test_a_ping_without_a_pong_ends_the_line(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await drain(stream)

    causes: list[str] = []

    async def receive(line: Connection) -> None:
        with pytest.raises(ConnectionLostError) as caught:
            await line.receive()
        causes.append(caught.value.cause)

    start_s = trio.current_time()
    async with connector(nursery, play).connect(SECRET) as line, trio.open_nursery() as readers:
        readers.start_soon(receive, line)
        with pytest.raises(ConnectionLostError) as caught:
            await line.ping()
        causes.append(caught.value.cause)
    assert causes == ["ping_timeout", "ping_timeout"]
    assert trio.current_time() - start_s == pytest.approx(PING_DEADLINE_S)


@pytest.mark.parametrize(("speaks", "within_s"), [(True, 3.0), (False, 10.0)])
async def test_a_half_open_line_is_noticed_by_whoever_waits_on_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, *, speaks: bool, within_s: float
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await drain(stream)

    async with connector(nursery, play).connect(SECRET) as line:
        start_s = trio.current_time()
        if speaks:
            await line.send("x")
        with pytest.raises(ConnectionLostError) as caught:
            await line.receive()
    assert caught.value.cause == "ping_timeout"
    assert trio.current_time() - start_s <= within_s


async def test_a_pong_may_wait_behind_a_long_message_on_a_slow_line(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        _, payload = await read_frame(stream)
        message = frame(TEXT, b"x" * 10_000)
        for start in range(0, len(message), 1_000):
            await trio.sleep(1)
            await stream.send_all(message[start : start + 1_000])
        await stream.send_all(frame(PONG, payload))
        await drain(stream)

    async with connector(nursery, play).connect(SECRET) as line:
        start_s = trio.current_time()
        await line.ping()
        assert trio.current_time() - start_s > 2 * PING_DEADLINE_S


async def test_a_line_that_is_closed_is_not_asked_any_more(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    got: list[int] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        with suppress(AssertionError):  # the client has gone
            while True:
                opcode, payload = await read_frame(stream)
                got.append(opcode)
                if opcode == PING:
                    await stream.send_all(frame(PONG, payload))

    async with connector(nursery, play).connect(SECRET):
        await trio.sleep(9)
    assert got == [PING, PING, CLOSE]
    await trio.sleep(60)
    assert got == [PING, PING, CLOSE]


async def test_t7_a_caller_that_gives_up_its_ping_leaves_the_line_whole(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        opcode, payload = await read_frame(stream)
        await trio.sleep(2)
        await stream.send_all(frame(PONG, payload))
        assert (opcode, await read_frame(stream)) == (PING, (TEXT, b"still here"))
        await drain(stream)

    async with connector(nursery, play).connect(SECRET) as line:
        with trio.move_on_after(1.5) as patience:
            await line.ping()
        assert patience.cancelled_caught
        await trio.sleep(1)
        await line.send("still here")


async def test_t8_a_pong_is_seen_behind_messages_that_nobody_has_read(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(b"".join(frame(TEXT, str(index).encode()) for index in range(60)))
        _, payload = await read_frame(stream)
        await stream.send_all(frame(PONG, payload))
        await drain(stream)

    async with connector(nursery, play).connect(SECRET) as line:
        await line.ping()
        assert [await line.receive() for _ in range(60)] == [str(index) for index in range(60)]


async def test_t9_a_cancelled_send_puts_its_frame_on_the_wire_whole(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    frames: list[tuple[int, bytes]] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        head = await read_exactly(stream, 10)  # a part of the frame, while its sender is cancelled
        await trio.sleep(0.5)
        whole = trio.StapledStream(stream, _Rewound(head, stream))
        frames.extend([await read_frame(whole), await read_frame(whole)])
        await drain(stream)

    pair = trio.testing.lockstep_stream_pair
    async with connector(nursery, play, pair=pair).connect(SECRET) as line:
        with trio.move_on_after(0.1) as patience:
            await line.send("x" * 5_000)
        assert patience.cancelled_caught
        await line.send("next")
    assert frames == [(TEXT, b"x" * 5_000), (TEXT, b"next")]


async def test_a_pong_of_the_library_waits_for_the_frame_that_is_under_way(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    frames: list[tuple[int, bytes]] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        head = await read_exactly(stream, 10)  # a part of the frame, while the library wants to send
        await stream.send_all(frame(PING, b"now"))
        await trio.sleep(0.5)
        whole = trio.StapledStream(stream, _Rewound(head, stream))
        frames.extend([await read_frame(whole), await read_frame(whole)])
        await drain(stream)

    pair = trio.testing.lockstep_stream_pair
    async with connector(nursery, play, pair=pair).connect(SECRET) as line:
        await line.send("x" * 5_000)
        await trio.sleep(1)
    assert frames == [(TEXT, b"x" * 5_000), (PONG, b"now")]


async def test_nothing_follows_a_close_frame_that_is_under_way(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    received: list[bytes] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(close_frame(1001, "bye"))
        received.append(await read_exactly(stream, 1))  # the answer has begun, and now it has to wait
        await trio.sleep(0.5)
        received.append(await drain(stream))

    pair = trio.testing.lockstep_stream_pair
    async with connector(nursery, play, pair=pair).connect(SECRET) as line:
        await trio.sleep(0.1)
        with pytest.raises(ConnectionLostError, match="1001"):
            await line.send("x")
        assert trio.current_time() == pytest.approx(0.1), "it did not even wait for its turn"
        await trio.sleep(1)
    assert received[0][0] == 0x80 | CLOSE
    assert len(b"".join(received)) == 2 + 4 + len(b"..bye"), "one frame, masked, and nothing behind it"


async def test_a_send_that_fails_tells_the_reader_too(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        assert isinstance(stream, trio.StapledStream)
        await stream.receive_stream.aclose()  # takes nothing more, and says nothing

    async with connector(nursery, play).connect(SECRET) as line:
        await trio.sleep(0.1)
        for use in (partial(line.send, "x"), line.receive, partial(line.send, "y"), line.ping):
            with trio.fail_after(1), pytest.raises(ConnectionLostError) as caught:
                await use()
            assert caught.value.cause == "reset"


class _Rewound(trio.abc.ReceiveStream):
    """A stream with some bytes put back in front."""

    def __init__(self, head: bytes, stream: Stream) -> None:
        self._head = head
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._head:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        piece, self._head = self._head[:max_bytes], self._head[max_bytes or len(self._head) :]
        return piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def say_nothing(stream: Stream) -> None:
    """A service that takes nothing in, either."""
    await upgrade(stream)
    await trio.sleep_forever()


async def test_a_peer_that_takes_no_data_ends_the_line_after_the_deadline(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    pair = trio.testing.lockstep_stream_pair
    async with connector(nursery, say_nothing, pair=pair).connect(SECRET) as line:
        start_s = trio.current_time()
        for use in (partial(line.send, "x"), line.receive, partial(line.send, "y"), line.ping):
            with pytest.raises(ConnectionLostError) as caught:
                await use()
            assert caught.value.cause == "send_timeout"
        assert trio.current_time() - start_s == pytest.approx(SEND_DEADLINE_S)
    assert trio.current_time() - start_s == pytest.approx(SEND_DEADLINE_S), "nothing is left to close politely"
    nursery.cancel_scope.cancel()


async def test_a_cancelled_send_that_did_not_get_through_is_a_loss_and_no_cancellation(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """So a cancelled send is one that was sent, and its frame need not be sent again."""

    async with connector(nursery, say_nothing, pair=trio.testing.lockstep_stream_pair).connect(SECRET) as line:
        with pytest.raises(ConnectionLostError), trio.move_on_after(SEND_DEADLINE_S / 2):
            await line.send("x")
    nursery.cancel_scope.cancel()


async def test_t14_an_event_of_3_5_mb_passes_and_t10_one_over_the_limit_frees_the_socket(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert websocket.MAX_MESSAGE == 16 * 1024 * 1024
    monkeypatch.setattr(websocket, "MAX_MESSAGE", 4_000_000)  # the rule, with fewer bytes
    told: list[bytes] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(frame(TEXT, b"a" * 3_500_000))
        await stream.send_all(frame(TEXT, b"a" * 4_000_001))
        told.append(await drain(stream))

    async with connector(nursery, play).connect(SECRET) as line:
        assert len(await line.receive()) == 3_500_000
        with pytest.raises(ConnectionLostError) as caught:
            await line.receive()
        assert caught.value.cause == "close_1009"
    await trio.testing.wait_all_tasks_blocked()
    assert told, "the service saw the end of the stream"


async def test_t11_endless_empty_fragments_end_the_line(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        many = frame(TEXT, b"[", final=False) + frame(0, final=False) * 4_094
        await stream.send_all(many + frame(PING) + frame(0, b"]"))
        await stream.send_all(frame(TEXT, final=False))
        await send_for_ever(stream, frame(0, final=False) * 100)

    async with connector(nursery, play).connect(SECRET) as line:
        assert await line.receive() == "[]"
        with pytest.raises(ConnectionLostError) as caught:
            await line.receive()
        assert caught.value.cause == "fragments"


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (b"\xc1\x00", "close_1002"),  # compressed, which was not agreed on
        (b"\x81\x01\xff", "close_1007"),  # text that is not UTF-8
        (b"\x89\x7e\x00\x7e" + bytes(126), "close_1002"),  # a ping of 126 bytes
        (b"\x8b\x00", "close_1002"),  # an opcode nobody knows
        (b"\x81\x81\0\0\0\0x", "close_1002"),  # a masked frame of a server
    ],
)
async def test_a_frame_against_the_rules_ends_the_line(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, wrong: bytes, cause: str
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(wrong)
        await drain(stream)

    async with connector(nursery, play).connect(SECRET) as line:
        with pytest.raises(ConnectionLostError) as caught:
            await line.receive()
        assert caught.value.cause == cause


async def test_a_key_refused_after_the_101_is_told_by_event_and_close_code(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(frame(TEXT, b"{}") + close_frame(3000, "invalid_request_error.invalid_api_key"))
        await stream.aclose()

    async with connector(nursery, play).connect(SECRET) as line:
        assert await line.receive() == "{}"
        with pytest.raises(CredentialExpiredError, match="invalid_api_key") as caught:
            await line.receive()
        assert caught.value.cause == "close_3000"


async def test_what_the_caller_raises_passes_as_it_is(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await drain(stream)

    raised = KeyError("the caller's own")
    with pytest.raises(KeyError) as caught:
        async with connector(nursery, play).connect(SECRET):
            raise raised
    assert caught.value is raised


async def test_a_cancelled_caller_still_says_goodbye(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    received: list[tuple[int, bytes]] = []

    async def play(stream: Stream) -> None:
        await upgrade(stream)
        received.append(await read_frame(stream))
        await trio.sleep(0.3)
        await stream.send_all(close_frame(1000))
        await drain(stream)

    start_s = trio.current_time()
    with trio.move_on_after(2) as patience:
        async with connector(nursery, play).connect(SECRET) as line:
            await line.receive()
    assert patience.cancelled_caught
    assert received == [(CLOSE, (1000).to_bytes(2))]
    assert trio.current_time() - start_s == pytest.approx(2.3), "the peer's answer was waited for, not the deadline"


async def test_a_caller_cancelled_while_connecting_leaves_nothing_open(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    ended: list[bytes] = []

    async def play(stream: Stream) -> None:
        ended.append(await drain(stream))

    with trio.move_on_after(2) as patience:
        async with connector(nursery, play).connect(SECRET):
            pytest.fail("the line must not open")
    assert patience.cancelled_caught
    await trio.testing.wait_all_tasks_blocked()
    assert len(ended) == 1


def certificate(host: str, *, age: timedelta = timedelta()) -> tuple[trustme.CA, ssl.SSLContext]:
    authority = trustme.CA()
    now = datetime.now(UTC) + age
    issued = authority.issue_cert(host, not_before=now, not_after=now + timedelta(days=1))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(server)
    return authority, server


@pytest.mark.parametrize(
    ("host", "age", "trusted", "cause"),
    [
        ("kiosk.test", timedelta(hours=-1), True, ""),
        ("kiosk.test", timedelta(hours=-1), False, "tls_untrusted"),
        ("other.test", timedelta(hours=-1), True, "tls_hostname"),
        ("kiosk.test", timedelta(days=-2), True, "tls_expired"),
        ("kiosk.test", timedelta(days=1), True, "tls_not_yet_valid"),
    ],
)
async def test_t1_a_certificate_that_does_not_hold_is_named_at_once(
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
    *,
    host: str,
    age: timedelta,
    trusted: bool,
    cause: str,
) -> None:
    authority, server = certificate(host, age=age)
    client = ssl.create_default_context()
    if trusted:
        authority.configure_trust(client)

    async def play(stream: Stream) -> None:
        secured = trio.SSLStream(stream, server, server_side=True, https_compatible=True)
        if cause:
            with suppress(trio.BrokenResourceError):
                assert await drain(secured) == b"", "nothing is said to a service that is not who it says"
            return
        await upgrade(secured)
        await secured.send_all(frame(TEXT, b"secured"))
        await drain(secured)

    start_s = trio.current_time()
    secure = connector(nursery, play, url="wss://kiosk.test/v1/realtime", tls=client)
    if cause:
        assert (await failure(secure)).cause == cause
        assert trio.current_time() == start_s
    else:
        async with secure.connect(SECRET) as line:
            assert await line.receive() == "secured"


@pytest.mark.parametrize(
    ("answer", "cause"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls"), (b"", "tls"), (None, "timeout")]
)
async def test_a_tls_handshake_that_fails_or_hangs_is_named(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, answer: bytes | None, cause: str
) -> None:
    async def play(stream: Stream) -> None:
        await stream.receive_some()
        if answer is not None:
            await stream.send_all(answer)
            await stream.aclose()
        else:
            await drain(stream)

    secure = connector(nursery, play, url="wss://kiosk.test/", tls=ssl.create_default_context())
    assert (await failure(secure)).cause == cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "dns"),
        (UnicodeError("label too long"), "dns"),
        (ConnectionRefusedError(111, "x"), "refused"),
        (OSError(113, "x"), "unreachable"),
        (TimeoutError(110, "x"), "timeout"),
        (OSError(5, "x"), "network"),
    ],
)
async def test_a_network_that_fails_is_classified(error: Exception, cause: str) -> None:
    async def open_stream(_host: str, _port: int) -> Stream:
        await trio.lowlevel.checkpoint()
        raise error

    assert (await failure(WebSocketConnector(settings(), "m", open_stream=open_stream))).cause == cause


async def test_over_real_loopback_sockets_too(nursery: trio.Nursery) -> None:
    async def play(stream: Stream) -> None:
        await upgrade(stream)
        await stream.send_all(frame(TEXT, b"hello"))
        assert await read_frame(stream) == (CLOSE, (1000).to_bytes(2))
        await stream.send_all(close_frame(1000))
        await stream.aclose()

    listeners = await nursery.start(partial(trio.serve_tcp, play, 0, host="127.0.0.1"))
    port = listeners[0].socket.getsockname()[1]
    async with WebSocketConnector(settings(f"ws://localhost:{port}/"), "m").connect(SECRET) as line:
        assert await line.receive() == "hello"
    nursery.cancel_scope.cancel()


async def test_a_port_without_a_listener_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        refused = WebSocketConnector(settings(f"ws://127.0.0.1:{taken.getsockname()[1]}/"), "m")
        assert (await failure(refused)).cause == "refused"


@pytest.mark.parametrize("value", ["", "ek_a b", f"{CANARY}\r\nX: y", "ek_ü"])
async def test_a_secret_that_would_break_the_header_is_refused_and_not_repeated(value: str) -> None:
    async def open_stream(_host: str, _port: int) -> Stream:
        pytest.fail("nothing is sent")

    with pytest.raises(CredentialRefusedError) as caught:
        async with WebSocketConnector(settings(), "m", open_stream=open_stream).connect(Secret(value)):
            pytest.fail("the line must not open")
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "ws://example.com/v1/realtime",
        "ws://127.0.0.1.evil.example/",
        "https://api.example/",
        "wss://",
        "wss://user:pw@host/",
        "wss://host/#x",
        "wss://host:99999/",
        "wss://[::1/",
        "wss://host/a b",
        "wss://höst/",
        "realtime",
    ],
)
def test_a_url_that_cannot_be_used_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        WebSocketConnector(settings(url), "m")
    assert [problem.path for problem in caught.value.problems] == ["service.url"]
    assert "pw" not in str(caught.value)


def test_addresses_are_taken_apart() -> None:
    assert parse_address("wss://api.example/v1/realtime", "a b") == (
        "api.example",
        443,
        "api.example",
        "/v1/realtime?model=a+b",
        True,
    )
    assert parse_address("ws://[::1]:8080", "m") == ("::1", 8080, "[::1]:8080", "/?model=m", False)
