from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.edges.guarded_stream import FragmentCounter

LENGTHS = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536])


def header(opcode: int, length: int, *, final: bool, masked: bool) -> bytes:
    first = bytes([final << 7 | opcode])
    mask = bytes(4) if masked else b""
    if length < 126:
        return first + bytes([masked << 7 | length]) + mask
    if length < 65_536:
        return first + bytes([masked << 7 | 126]) + length.to_bytes(2) + mask
    return first + bytes([masked << 7 | 127]) + length.to_bytes(8) + mask


FRAMES = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 8, 9, 10]), LENGTHS, st.booleans(), st.booleans()), min_size=1, max_size=6
)


@settings(max_examples=40)
@given(frames=FRAMES, cuts=st.lists(st.integers(1, 40_000), max_size=20))
def test_fragments_are_counted_however_the_bytes_are_cut(
    frames: list[tuple[int, int, bool, bool]], cuts: list[int]
) -> None:
    wire, expected, most = b"", 0, 0
    for opcode, length, final, masked in frames:
        wire += header(opcode, length, final=final, masked=masked) + b"\x00" * length
        if opcode < 8:
            expected = 0 if final else expected + 1
            most = max(most, expected)
    counter, seen = FragmentCounter(), 0
    for cut in [*cuts, len(wire)]:
        seen = max(seen, counter.feed(wire[:cut]))
        wire = wire[cut:]
    assert not wire
    assert (counter.fragments, seen) == (expected, most)
