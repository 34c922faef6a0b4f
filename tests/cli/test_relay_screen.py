"""What the relay shows at a terminal."""

import io

import pytest
import trio
from rich.console import Console
from trio.testing import memory_stream_pair

from pipeline.cli.relay_screen import MAX_ROWS, REFRESH_S, in_words, picture, show
from pipeline.proving.catalogue import Toxic
from pipeline.proving.connection import Connection
from pipeline.proving.handshakes import BadAnswer, HttpStatus, Refuse
from pipeline.proving.relay import HOST, Relay, Upstream
from pipeline.proving.script import parse_toxic
from pipeline.proving.toxics import Down, HalfOpen, Latency

NOBODY = Upstream(HOST, 9)


def drawn(relay: Relay, now: float) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=100, color_system=None).print(picture(relay, now))
    return [" ".join(line.replace("│", "").split()) for line in out.getvalue().splitlines()]


def opened(relay: Relay, number: int) -> Connection:
    connection = Connection(
        memory_stream_pair()[0], memory_stream_pair()[0], relay.faults, relay.statistics, seed=str(number)
    )
    relay.connections[number] = connection
    return connection


async def test_it_shows_toxics_connections_and_sums(autojump_clock: object) -> None:
    relay = Relay(NOBODY, [Latency(latency_ms=200, direction="down"), Refuse(every=3)])
    relay.statistics.connections, relay.statistics.down_bytes = 7, 1_234_567
    began_s = opened(relay, 7).begun_s
    lines = drawn(relay, began_s + 65.2)
    assert lines[0] == "7 connections, 0 open, 0 reset, 0 refused; 0 bytes up, 1,234,567 down"
    assert lines[1:4] == ["toxics in use", "latency direction=down latency_ms=200", "refuse every=3"]
    assert "7 65 0 0 latency" in lines
    assert not any("older" in line for line in lines)


async def test_a_healthy_line_is_called_so_and_only_the_newest_connections_are_shown(autojump_clock: object) -> None:
    relay = Relay(NOBODY)
    for number in range(1, MAX_ROWS + 4):
        opened(relay, number)
    lines = drawn(relay, trio.current_time())
    assert lines[2] == "none: a healthy line"
    rows = [line.split()[0] for line in lines if line.endswith(" 0 0 0")]
    assert rows == [str(number) for number in range(4, MAX_ROWS + 4)]
    assert lines[-1] == "and 3 older"


@pytest.mark.parametrize(
    ("toxic", "words"),
    [
        (Down(), "down"),
        (HalfOpen(direction="up"), "half_open direction=up"),
        (HttpStatus(status=429, retry_after_s=5, times=2), "http_status times=2 status=429 retry_after_s=5"),
        (BadAnswer(what="garbage", probability=0.25), "bad_answer probability=0.25 what=garbage"),
    ],
)
def test_a_toxic_is_shown_as_the_command_line_takes_it(toxic: Toxic, words: str) -> None:
    assert in_words(toxic) == words
    assert parse_toxic(words) == toxic


async def test_it_is_drawn_again_and_again_and_wiped_at_the_end(autojump_clock: object) -> None:
    out, relay = io.StringIO(), Relay(NOBODY)
    with trio.move_on_after(3 * REFRESH_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, relay, Console(file=out, force_terminal=True, width=80, color_system=None))
            await trio.sleep(REFRESH_S / 2)
            assert out.getvalue().count("healthy line") == 1
            relay.faults.use([Down()])
    healthy, _, down = out.getvalue().rpartition("healthy line")
    assert "  down" in down
    assert "  down" not in healthy
    assert down.endswith("\x1b[2K")
