"""What a client meets at the beginning, as bytes and as clients see it that share no code with the relay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError

import httpx
import pytest
import trio
from trio.abc import HalfCloseableStream
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.trio.client import connect

from pipeline.proving.catalogue import Toxic
from pipeline.proving.connection import Connection, Statistics
from pipeline.proving.faults import Faults
from pipeline.proving.handshakes import (
    TLS_ALERT,
    BadAnswer,
    HangUp,
    HttpStatus,
    Impersonation,
    NoAnswer,
    Refuse,
    SlowHandshake,
)
from pipeline.proving.impostor import MAX_REQUEST_BYTES, Impostor, is_whole
from pipeline.proving.lane import Lane
from pipeline.proving.relay import Relay, Upstream
from pipeline.proving.toxics import Ending, Latency, Parcel

SOON_S = 5.0
HANGS_S = 1e6  # virtual
NO_TLS = SSLContext(PROTOCOL_TLS_CLIENT)  # trusts nobody
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HELLO = b"\x16\x03\x01\x00\x04abcd"


@pytest.mark.parametrize(
    ("request_", "whole"),
    [
        (b"", False),
        (REQUEST[:-1], False),
        (REQUEST, True),
        (REQUEST + b"body", True),
        (HELLO[:3], False),
        (HELLO[:-1], False),
        (HELLO, True),
        (b"\x16\x03\x01\x01\x00" + b"\r\n\r\n" * 60, False),
        (b"x" * (MAX_REQUEST_BYTES - 1), False),
        (b"x" * MAX_REQUEST_BYTES, True),
    ],
)
def test_a_request_is_whole_at_the_end_of_its_head_or_of_its_tls_record(request_: bytes, *, whole: bool) -> None:
    assert is_whole(request_) is whole


def test_the_first_bytes_of_a_slow_handshake_trickle_and_nothing_overtakes_them() -> None:
    lane = Lane("down", seed="1", handshake=(slow := SlowHandshake(delay_ms=400, first_bytes=4)))
    lane.use([slow], 0.0)
    sent = [Parcel(1.0, b"ab"), Parcel(1.05, b"cdef"), Parcel(1.1, b"g"), Parcel(1.1, ending=Ending.FINISH)]
    got = [out for parcel in sent for out in lane.feed(parcel)]
    assert [parcel.data for parcel in got] == [b"a", b"b", b"c", b"d", b"ef", b"g", b""]
    assert [parcel.at_s for parcel in got] == pytest.approx([1.1, 1.2, 1.3, 1.4, 1.4, 1.4, 1.4])
    assert got[-1].ending is Ending.FINISH


def test_a_slow_handshake_of_one_byte_delays_the_whole_answer_only() -> None:
    slow = SlowHandshake(delay_ms=500)
    lanes = {way: Lane(way, seed="1", handshake=slow) for way in ("up", "down")}
    for way, at_s in (("up", 0.0), ("down", 0.5)):
        lanes[way].use([slow], 0.0)
        assert {parcel.at_s for parcel in lanes[way].feed(Parcel(0.0, b"abc"))} == {at_s}


def test_a_handshake_toxic_leaves_alone_who_did_not_meet_it() -> None:
    lane = Lane("down", seed="1")
    lane.use([NoAnswer(), Refuse(), SlowHandshake(delay_ms=9)], 0.0)
    assert lane.feed(Parcel(0.0, b"x")) == [Parcel(0.0, b"x")]
    assert list(lane.cuts) == []


async def test_an_impostor_gives_its_answer_in_portions_and_keeps_nothing_of_what_comes_later() -> None:
    impostor = Impostor(b"abcde")
    for _ in range(2):
        await impostor.send_all(HELLO)
    assert impostor._request == HELLO
    assert [await impostor.receive_some(size) for size in (2, 2, None, 2)] == [b"ab", b"cd", b"e", b""]


@asynccontextmanager
async def impersonated(
    toxic: Impersonation, *more: Toxic
) -> AsyncIterator[tuple[HalfCloseableStream, Faults, list[Ending]]]:
    """A client in memory that met this toxic, and how its connection ended."""
    ended: list[Ending] = []
    client, near = memory_stream_pair()
    faults = Faults([*more, toxic])  # type: ignore[list-item]  # every impersonation there is, is a toxic
    connection = Connection(near, Impostor(toxic.answer), faults, Statistics(), seed="1", handshake=toxic)

    async def carry() -> None:
        ended.append(await connection.carry())

    with trio.fail_after(HANGS_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry)
            await wait_all_tasks_blocked()
            yield client, faults, ended
            nursery.cancel_scope.cancel()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


@pytest.mark.parametrize(
    ("toxic", "says"),
    [
        (HangUp(), b""),
        (BadAnswer(what="tls_alert"), TLS_ALERT),
        (
            HttpStatus(status=204),
            b"HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (
            HttpStatus(status=429, retry_after_s=7),
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: 22\r\nRetry-After: 7\r\n%b"
            % b"Connection: close\r\n\r\n429 Too Many Requests\n",
        ),
        (
            HttpStatus(status=599),
            b"HTTP/1.1 599 Unknown\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n%b"
            % b"Connection: close\r\n\r\n599 Unknown\n",
        ),
        (
            BadAnswer(what="truncated_head"),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Up",
        ),
    ],
)
@pytest.mark.parametrize("request_", [REQUEST, HELLO])
async def test_the_answer_comes_when_the_request_is_whole_and_is_the_end(
    toxic: Impersonation, says: bytes, request_: bytes, autojump_clock: object
) -> None:
    async with impersonated(toxic) as (client, _, _):
        await client.send_all(request_[:7])
        with trio.move_on_after(3_600) as quiet:
            await client.receive_some()
        assert quiet.cancelled_caught
        await client.send_all(request_[7:])
        assert await read_all(client) == says
        await client.send_all(b"what comes later is lost")


async def test_half_a_request_gets_no_answer(autojump_clock: object) -> None:
    async with impersonated(HttpStatus(status=500)) as (client, _, _):
        await client.send_all(REQUEST[:-1])
        await client.send_eof()
        assert await read_all(client) == b""


async def test_no_answer_is_none_until_the_client_gives_up(autojump_clock: object) -> None:
    async with impersonated(NoAnswer()) as (client, _, ended):
        await client.send_all(REQUEST)
        with trio.move_on_after(86_400) as quiet:
            await client.receive_some()
        assert quiet.cancelled_caught
        await client.send_eof()
        assert await read_all(client) == b""
        await wait_all_tasks_blocked()
        assert ended == [Ending.CLOSE]


async def test_other_toxics_work_on_the_answer(autojump_clock: object) -> None:
    async with impersonated(HttpStatus(status=503), Latency(latency_ms=300)) as (client, _, _):
        begin_s = trio.current_time()
        await client.send_all(REQUEST)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 503 ")
        assert trio.current_time() - begin_s == pytest.approx(0.6)


@pytest.mark.parametrize("toxic", [NoAnswer(), HttpStatus(status=503)])
async def test_a_healthy_line_leaves_nobody_with_an_impostor(toxic: Impersonation, autojump_clock: object) -> None:
    async with impersonated(toxic) as (client, faults, ended):
        faults.use([Latency(latency_ms=1), toxic])  # type: ignore[list-item]
        await wait_all_tasks_blocked()
        assert ended == []
        faults.use([Latency(latency_ms=1)])
        assert await read_all(client) == b""
        await wait_all_tasks_blocked()
        assert ended == [Ending.RESET]


@asynccontextmanager
async def relay_to_nobody(*toxics: Toxic) -> AsyncIterator[tuple[int, Relay]]:
    """A relay on real sockets whose server must not be reached."""
    reached: list[trio.SocketStream] = []

    async def reach(stream: trio.SocketStream) -> None:
        reached.append(stream)
        await stream.aclose()

    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, reach, [listener])
            relay = Relay(Upstream("127.0.0.1", listener.socket.getsockname()[1]), toxics)
            port: int = await nursery.start(listening_port, relay)
            yield port, relay
            nursery.cancel_scope.cancel()
    assert reached == []


async def listening_port(relay: Relay, task_status: trio.TaskStatus[int]) -> None:
    await relay.serve(0, listening=task_status.started)


async def all_ended(relay: Relay) -> None:
    while relay.statistics.open:  # noqa: ASYNC110 - the kernel sets no event
        await trio.sleep(0.001)


async def fails_to_open(port: int) -> BaseException:
    """Why a stranger's client could not connect."""
    with pytest.raises((InvalidHandshake, OSError, EOFError)) as caught:
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None):
            pass
    return caught.value


async def test_a_websocket_client_is_told_the_status_and_when_to_come_again() -> None:
    async with relay_to_nobody(HttpStatus(status=429, retry_after_s=30)) as (port, relay):
        refused = await fails_to_open(port)
        assert isinstance(refused, InvalidStatus)
        assert (refused.response.status_code, refused.response.headers["Retry-After"]) == (429, "30")
        assert relay.statistics.handshake_faults == 1


async def test_an_http_client_is_answered_too() -> None:
    async with relay_to_nobody(HttpStatus(status=502)) as (port, _), httpx.AsyncClient(verify=NO_TLS) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/v1/x", content=b"x" * 1_000)
        assert (answer.status_code, answer.text) == (502, "502 Bad Gateway\n")


@pytest.mark.parametrize("what", ["garbage", "truncated_head", "tls_alert", "wrong_accept"])
async def test_a_websocket_client_does_not_take_a_bad_answer_for_an_upgrade(what: str) -> None:
    toxic = BadAnswer(what=what)  # type: ignore[arg-type]
    async with relay_to_nobody(toxic) as (port, _):
        refused = await fails_to_open(port)
        assert isinstance(refused, InvalidHandshake)
        assert isinstance(refused, InvalidMessage) is (what != "wrong_accept")
        assert ("Sec-WebSocket-Accept" in str(refused)) is (what == "wrong_accept")


async def test_a_refusal_is_a_reset_before_any_request() -> None:
    async with relay_to_nobody(HangUp(times=1), Refuse()) as (port, relay):
        assert isinstance(await fails_to_open(port), InvalidMessage)
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            with pytest.raises(trio.BrokenResourceError) as caught:
                await client.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        await all_ended(relay)
        assert (relay.statistics.handshake_faults, relay.statistics.reset) == (2, 1)


@pytest.mark.parametrize("toxic", [HttpStatus(status=400), BadAnswer(what="tls_alert")])
async def test_a_tls_client_fails_in_its_handshake(toxic: Toxic) -> None:
    async with relay_to_nobody(toxic) as (port, _):
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        stream = trio.SSLStream(plain, NO_TLS, server_hostname="localhost")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.do_handshake()
        assert isinstance(caught.value.__cause__, SSLError)
        await trio.aclose_forcefully(stream)


async def test_no_answer_lets_a_client_connect_and_wait() -> None:
    async with relay_to_nobody(NoAnswer()) as (port, relay):
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(REQUEST)
            with trio.move_on_after(0.1) as quiet:
                await client.receive_some()
            assert quiet.cancelled_caught
            assert list(relay.connections) == [relay.statistics.open] == [1]
        await all_ended(relay)
        assert relay.connections == {}


async def test_chance_is_thrown_anew_for_each_connection_and_the_same_for_the_same_seed() -> None:
    fates = []
    for _ in range(2):
        async with relay_to_nobody(HttpStatus(status=500, probability=0.5), HangUp()) as (port, _):
            fates.append([isinstance(await fails_to_open(port), InvalidStatus) for _ in range(12)])
    assert fates[0] == fates[1]
    assert set(fates[0]) == {False, True}
