"""The relay over memory streams on virtual time, and over real sockets where the kernel has a word to say."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
from trio.abc import HalfCloseableStream
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from pipeline.proving import relay
from pipeline.proving.catalogue import Toxic
from pipeline.proving.connection import Connection, Statistics, reset
from pipeline.proving.faults import Faults
from pipeline.proving.relay import Relay, Upstream, parse_upstream
from pipeline.proving.toxics import (
    Bandwidth,
    Down,
    Ending,
    HalfOpen,
    Latency,
    LimitData,
    ResetAt,
    ResetPeer,
    Slicer,
    SlowClose,
    Stall,
    Timeout,
)
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError

SOON_S = 5.0  # real seconds in which a loopback socket surely answers
HANGS_S = 1e6  # virtual seconds after which a test on memory streams has hung
QUIET_S = 0.1  # real seconds in which a loopback socket would have delivered


class Line:
    """A client and a server with a relay between them, in memory."""

    def __init__(self, toxics: Sequence[Toxic], *, lockstep: bool) -> None:
        self.client: HalfCloseableStream
        self.near: HalfCloseableStream
        self.client, self.near = lockstep_stream_pair() if lockstep else memory_stream_pair()
        self.server, self.far = memory_stream_pair()
        self.faults = Faults(toxics)
        self.statistics = Statistics()
        self.ended: Ending | None = None
        self.ended_s = 0.0
        self.over = trio.Event()

    async def run(self) -> None:
        self.ended = await Connection(self.near, self.far, self.faults, self.statistics, seed="1").carry()
        self.ended_s = trio.current_time()
        self.over.set()


@asynccontextmanager
async def line(*toxics: Toxic, lockstep: bool = False) -> AsyncIterator[Line]:
    made = Line(toxics, lockstep=lockstep)
    with trio.fail_after(HANGS_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            await wait_all_tasks_blocked()
            yield made
            nursery.cancel_scope.cancel()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def hears_nothing(stream: trio.abc.ReceiveStream, for_s: float) -> bool:
    with trio.move_on_after(for_s):
        await stream.receive_some()
        return False
    return True


async def test_without_toxics_bytes_and_half_closes_pass_both_ways(autojump_clock: object) -> None:
    async with line() as wire:
        await wire.client.send_all(b"question")
        await wire.client.send_eof()
        assert await read_all(wire.server) == b"question"
        await wire.server.send_all(b"the answer")
        await wire.server.send_eof()
        assert await read_all(wire.client) == b"the answer"
        await wire.over.wait()
        assert wire.ended is Ending.CLOSE
        assert (wire.statistics.up_bytes, wire.statistics.down_bytes) == (8, 10)


async def test_latency_delays_each_direction_it_is_told_to(autojump_clock: object) -> None:
    async with line(Latency(latency_ms=200, direction="up")) as wire:
        begin_s = trio.current_time()
        await wire.client.send_all(b"late")
        await wire.server.send_all(b"prompt")
        assert await wire.client.receive_some() == b"prompt"
        assert trio.current_time() == begin_s
        assert await wire.server.receive_some() == b"late"
        assert trio.current_time() == pytest.approx(begin_s + 0.2)


async def test_bandwidth_takes_its_time_and_pushes_back(autojump_clock: object) -> None:
    async with line(Bandwidth(rate_kbit_s=80)) as wire, trio.open_nursery() as nursery:
        begin_s = trio.current_time()

        async def send() -> None:
            await wire.client.send_all(bytes(20_000))
            await wire.client.send_eof()

        nursery.start_soon(send)
        assert len(await read_all(wire.server)) == 20_000
        assert trio.current_time() == pytest.approx(begin_s + 2.0)


async def test_no_more_is_under_way_than_the_window(autojump_clock: object) -> None:
    async with line(Bandwidth(rate_kbit_s=8), lockstep=True) as wire:
        taken_bytes = 0
        with trio.move_on_after(10):
            while True:
                await wire.client.send_all(bytes(100))
                taken_bytes += 100
        assert 10_000 <= taken_bytes <= 10_600  # ten seconds of the line and half a second in its queue


async def test_slow_close_delays_the_end(autojump_clock: object) -> None:
    async with line(SlowClose(delay_ms=3_000)) as wire:
        begin_s = trio.current_time()
        await wire.client.send_all(b"x")
        await wire.client.send_eof()
        assert await wire.server.receive_some() == b"x"
        assert trio.current_time() == begin_s
        assert await wire.server.receive_some() == b""
        assert trio.current_time() == pytest.approx(begin_s + 3)


async def test_timeout_swallows_and_then_closes(autojump_clock: object) -> None:
    async with line(Timeout(timeout_ms=2_000)) as wire:
        begin_s = trio.current_time()
        await wire.client.send_all(b"lost")
        assert await read_all(wire.server) == b""
        await wire.over.wait()
        assert wire.ended is Ending.CLOSE
        assert wire.ended_s == pytest.approx(begin_s + 2)


async def test_timeout_zero_never_closes_by_itself(autojump_clock: object) -> None:
    async with line(Timeout(timeout_ms=0)) as wire:
        await wire.client.send_all(b"lost")
        assert await hears_nothing(wire.server, 86_400)
        assert wire.ended is None


async def test_reset_peer_resets_after_its_timeout(autojump_clock: object) -> None:
    async with line(ResetPeer(timeout_ms=1_500)) as wire:
        begin_s = trio.current_time()
        await wire.client.send_all(b"lost")
        assert await read_all(wire.server) == b""
        await wire.over.wait()
        assert wire.ended is Ending.RESET
        assert wire.ended_s == pytest.approx(begin_s + 1.5)


async def test_slices_arrive_one_by_one(autojump_clock: object) -> None:
    async with line(Slicer(average_bytes=3, delay_ms=10)) as wire:
        await wire.client.send_all(b"abcdefgh")
        begin_s = trio.current_time()
        assert [bytes(await wire.server.receive_some()) for _ in range(3)] == [b"abc", b"def", b"gh"]
        assert trio.current_time() == pytest.approx(begin_s + 0.02)


@pytest.mark.parametrize(
    ("toxic", "ending"),
    [(LimitData(limit_bytes=5, direction="down"), Ending.CLOSE), (ResetAt(at_bytes=5, direction="down"), Ending.RESET)],
)
async def test_limits_end_the_connection_at_their_byte(autojump_clock: object, toxic: Toxic, ending: Ending) -> None:
    async with line(toxic) as wire:
        await wire.client.send_all(b"as many as you like")
        await wire.server.send_all(b"123")
        await wait_all_tasks_blocked()
        assert wire.ended is None
        await wire.server.send_all(b"4567")
        assert await read_all(wire.client) == b"12345"
        await wire.over.wait()
        assert wire.ended is ending


async def test_half_open_in_one_direction_hides_even_that_the_client_has_left(autojump_clock: object) -> None:
    async with line(HalfOpen(direction="up")) as wire:
        await wire.server.send_all(b"still heard")
        assert await wire.client.receive_some() == b"still heard"
        await wire.client.send_all(b"never heard")
        await wire.client.aclose()
        assert await hears_nothing(wire.server, 3_600)
        await wire.server.send_all(b"to nobody")
        assert await hears_nothing(wire.server, 3_600)
        assert wire.ended is None


async def test_healing_a_half_open_connection_that_lost_bytes_resets_it(autojump_clock: object) -> None:
    async with line(HalfOpen()) as wire:
        await wire.client.send_all(b"lost")
        await wait_all_tasks_blocked()
        wire.faults.use([])
        await wire.over.wait()
        assert wire.ended is Ending.RESET


async def test_healing_before_anything_was_lost_leaves_the_connection_whole(autojump_clock: object) -> None:
    async with line(HalfOpen()) as wire:
        wire.faults.use([])
        await wire.client.send_all(b"whole")
        assert await wire.server.receive_some() == b"whole"


async def test_a_stall_holds_one_direction_and_then_gives_all_of_it(autojump_clock: object) -> None:
    async with line(Stall(direction="up")) as wire:
        await wire.client.send_all(b"one")
        await wire.server.send_all(b"passes")
        assert await wire.client.receive_some() == b"passes"
        assert await hears_nothing(wire.server, 3_600)
        await wire.client.send_all(b" two")
        wire.faults.use([])
        await wire.client.send_eof()
        assert await read_all(wire.server) == b"one two"


async def test_what_is_under_way_waits_out_a_stall_too(autojump_clock: object) -> None:
    async with line(Latency(latency_ms=100)) as wire:
        await wire.client.send_all(b"x")
        await wait_all_tasks_blocked()
        wire.faults.use([Stall()])
        assert await hears_nothing(wire.server, 60)
        wire.faults.use([])
        assert await wire.server.receive_some() == b"x"


async def test_removing_latency_loses_and_reorders_nothing(autojump_clock: object) -> None:
    async with line(Latency(latency_ms=500)) as wire:
        await wire.client.send_all(b"first ")
        await wait_all_tasks_blocked()
        wire.faults.use([])
        await wire.client.send_all(b"second")
        await wire.client.send_eof()
        assert await read_all(wire.server) == b"first second"


async def test_down_closes_what_is_open(autojump_clock: object) -> None:
    async with line() as wire:
        wire.faults.use([Down()])
        assert await read_all(wire.client) == b""
        assert await read_all(wire.server) == b""
        await wire.over.wait()
        assert wire.ended is Ending.CLOSE


async def test_a_client_that_died_is_a_reset_for_the_server_even_if_a_write_noticed_first(
    autojump_clock: object,
) -> None:
    async with line() as wire:
        assert isinstance(wire.client, trio.StapledStream)
        await wire.client.receive_stream.aclose()
        for _ in range(2):  # the second meets a stream that is known to be broken
            await wire.server.send_all(b"to nobody")
        await wait_all_tasks_blocked()
        assert not wire.over.is_set()
        await wire.client.send_eof()
        await wire.over.wait()
        assert wire.ended is Ending.RESET
        assert wire.statistics.down_bytes == 0


async def test_toxics_compose(autojump_clock: object) -> None:
    async with line(Latency(latency_ms=1_000), LimitData(limit_bytes=3)) as wire:
        begin_s = trio.current_time()
        await wire.client.send_all(b"abcdef")
        assert await read_all(wire.server) == b"abc"
        await wire.over.wait()
        assert wire.ended_s == pytest.approx(begin_s + 1)


@asynccontextmanager
async def relayed(*toxics: Toxic) -> AsyncIterator[tuple[int, list[trio.SocketStream], Faults, Statistics]]:
    """A relay on real sockets: its port, what its upstream has accepted, its controls."""
    accepted: list[trio.SocketStream] = []
    ports: list[int] = []

    async def accept(stream: trio.SocketStream) -> None:
        accepted.append(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream("127.0.0.1", listeners[0].socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, accept, listeners)
        made = Relay(upstream, toxics, seed=1)
        nursery.start_soon(partial(made.serve, 0, listening=ports.append))
        await until(lambda: bool(ports))
        yield ports[0], accepted, made.faults, made.statistics
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def sockets(
    *toxics: Toxic,
) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream, Faults, Statistics]]:
    """A client and a server joined by a relay over loopback."""
    async with relayed(*toxics) as (port, accepted, faults, statistics):
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await until(lambda: bool(accepted))
        async with client:
            yield client, accepted[0], faults, statistics


async def until(met: Callable[[], bool]) -> None:
    with trio.fail_after(SOON_S):
        while not met():  # noqa: ASYNC110 - the kernel sets no event
            await trio.sleep(0.001)


async def read_until_reset(stream: trio.SocketStream) -> bytes:
    got = bytearray()

    async def read() -> None:
        while data := await stream.receive_some():
            got.extend(data)

    with trio.fail_after(SOON_S), pytest.raises(trio.BrokenResourceError) as caught:
        await read()
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    return bytes(got)


async def test_reset_at_reaches_both_sides_as_a_tcp_reset() -> None:
    async with sockets(ResetAt(at_bytes=3, direction="up")) as (client, server, _, statistics):
        await client.send_all(b"abcdef")
        assert await read_until_reset(server) == b"abc"
        assert await read_until_reset(client) == b""
        await until(lambda: statistics.open == 0)
        assert (statistics.connections, statistics.reset) == (1, 1)


async def test_a_reset_by_the_client_reaches_the_server() -> None:
    async with sockets() as (client, server, _, _):
        await client.send_all(b"x")
        assert await server.receive_some() == b"x"
        await reset(client)
        assert await read_until_reset(server) == b""


async def test_a_receiver_that_does_not_read_stops_the_sender() -> None:
    async with sockets() as (client, _, _, statistics):
        sent_bytes = 0
        with trio.move_on_after(0.5):
            while sent_bytes < 1 << 28:
                await client.send_all(bytes(1 << 20))
                sent_bytes += 1 << 20
        assert sent_bytes < 1 << 26
        assert statistics.up_bytes < 1 << 26


async def test_half_open_on_real_sockets_hides_a_reset_from_the_peer() -> None:
    async with sockets(HalfOpen(direction="up")) as (client, server, _, statistics):
        await client.send_all(b"lost")
        await reset(client)
        with suppress(trio.BrokenResourceError):
            await server.send_all(b"into the void")
        assert await hears_nothing(server, QUIET_S)
        assert statistics.open == 1


async def test_down_refuses_new_connections_and_up_accepts_again_on_the_same_port() -> None:
    async with relayed() as (port, _, faults, _):
        client = await trio.open_tcp_stream("127.0.0.1", port)
        faults.use([Down()])
        with trio.fail_after(SOON_S):
            assert await read_all(client) == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        faults.use([])
        with trio.fail_after(SOON_S):
            await trio.testing.wait_all_tasks_blocked(0.01)
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        await client.aclose()


async def test_a_client_is_reset_when_nobody_listens_upstream() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nobody = Upstream("127.0.0.1", listeners[0].socket.getsockname()[1])
    await listeners[0].aclose()
    ports: list[int] = []
    made = Relay(nobody)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(made.serve, 0, listening=ports.append))
        await until(lambda: bool(ports))
        async with await trio.open_tcp_stream("127.0.0.1", ports[0]) as client:
            assert await read_until_reset(client) == b""
        nursery.cancel_scope.cancel()
    assert (made.statistics.refused, made.statistics.open) == (1, 0)


async def test_over_capacity_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_CONNECTIONS", 1)
    async with relayed() as (port, accepted, _, statistics):
        first = await trio.open_tcp_stream("127.0.0.1", port)
        await until(lambda: bool(accepted))
        second = await trio.open_tcp_stream("127.0.0.1", port)
        async with first, second:
            assert await read_until_reset(second) == b""
        assert statistics.refused == 1


async def test_a_taken_port_is_said() -> None:
    async with relayed() as (port, _, _, _):
        with pytest.raises(AlreadyRunningError, match=f"port {port} on 127.0.0.1"):
            await Relay(Upstream("127.0.0.1", 1)).serve(port, listening=print)


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("9000", Upstream("127.0.0.1", 9000)),
        ("localhost:80", Upstream("localhost", 80)),
        ("[::1]:443", Upstream("::1", 443)),
        ("127.1.2.3:5", Upstream("127.1.2.3", 5)),
    ],
)
def test_upstreams_of_this_machine(text: str, upstream: Upstream) -> None:
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize("text", ["api.openai.com:443", "10.0.0.1:80", "0.0.0.0:80", "127.0.0.1.example.org:80"])
def test_another_machine_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be this machine"):
        parse_upstream(text)


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "localhost", "localhost:", ":80", "-1", "http://localhost:80", "[::1"]
)
def test_what_is_no_upstream_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be PORT or HOST:PORT"):
        parse_upstream(text)
