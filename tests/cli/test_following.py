"""Lines of a program, however they arrive."""

from collections.abc import Sequence

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.following import MAX_LINE_BYTES, Lines


def lines_of(pieces: Sequence[bytes]) -> list[bytes]:
    async def read() -> list[bytes]:
        sender, receiver = trio.testing.memory_stream_one_way_pair()
        for piece in pieces:
            await sender.send_all(piece)
        await sender.aclose()
        return [line async for line in Lines(receiver)]

    return trio.run(read)


@given(st.lists(st.binary(max_size=6) | st.just(b"\n"), max_size=12))
@settings(max_examples=50)
def test_lines_do_not_depend_on_how_they_arrive(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    expected = whole.split(b"\n")
    assert lines_of(pieces) == (expected if expected[-1] else expected[:-1])


def test_a_line_without_an_end_is_not_kept_whole() -> None:
    (line,) = lines_of([b"x" * 1000] * (MAX_LINE_BYTES // 1000 + 10))
    assert len(line) == MAX_LINE_BYTES


async def test_a_reader_that_changes_misses_nothing() -> None:
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    await sender.send_all(b"one\ntwo\n")
    lines = Lines(receiver)
    async for first in lines:
        assert first == b"one"
        break
    assert await anext(lines) == b"two"
