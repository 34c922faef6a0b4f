"""What each toxic does to parcels: arithmetic only, no clock and no stream."""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.proving.catalogue import Toxic
from pipeline.proving.lane import Lane
from pipeline.proving.toxics import (
    Bandwidth,
    Ending,
    HalfOpen,
    Latency,
    LimitData,
    Parcel,
    ResetAt,
    ResetPeer,
    Slicer,
    SlowClose,
    Stall,
    Timeout,
)

HARMLESS = st.one_of(
    st.builds(Latency, latency_ms=st.floats(0, 500), jitter_ms=st.floats(0, 500)),
    st.builds(Bandwidth, rate_kbit_s=st.floats(1, 1_000)),
    st.builds(Slicer, average_bytes=st.integers(10, 50), variation_bytes=st.integers(0, 9), delay_ms=st.floats(0, 50)),
    st.builds(SlowClose, delay_ms=st.floats(0, 500)),
)


def passed(toxics: Sequence[Toxic], parcels: Sequence[Parcel]) -> list[Parcel]:
    lane = Lane("up", seed="1")
    lane.use(toxics, 0.0)
    return [out for parcel in parcels for out in lane.feed(parcel)]


@given(st.lists(HARMLESS, max_size=4), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=300)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_only_delays_keeps_every_byte_in_order(toxics: list[Toxic], sent: list[tuple[float, bytes]]) -> None:
    moments = sorted(at_s for at_s, _ in sent)
    parcels = [Parcel(at_s, data) for at_s, (_, data) in zip(moments, sent, strict=True) if data]
    got = passed(toxics, [*parcels, Parcel(2.0, ending=Ending.FINISH)])
    assert b"".join(parcel.data for parcel in got) == b"".join(parcel.data for parcel in parcels)
    assert [parcel.at_s for parcel in got] == sorted(parcel.at_s for parcel in got)
    assert got[-1].ending is Ending.FINISH
    assert got[-1].at_s >= 2.0


@given(st.integers(0, 100), st.lists(st.binary(min_size=1, max_size=40), max_size=8))
@example(2, [b"a", b"b", b"c"])
@settings(max_examples=60, deadline=None)
def test_limits_cut_at_exactly_their_byte(limit: int, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    reached = len(whole) >= max(1, limit)
    for toxic, ending in ((LimitData(limit_bytes=limit), Ending.CLOSE), (ResetAt(at_bytes=limit), Ending.RESET)):
        got = passed([toxic], [Parcel(0.0, chunk) for chunk in chunks])
        assert b"".join(parcel.data for parcel in got) == whole[:limit]
        assert [parcel.ending for parcel in got if parcel.ending] == [ending] * reached


def test_latency_stays_within_its_jitter_and_uses_it() -> None:
    got = passed([Latency(latency_ms=200, jitter_ms=50)], [Parcel(float(second), b"x") for second in range(100)])
    late_s = [parcel.at_s - second for second, parcel in enumerate(got)]
    assert min(late_s) >= 0.15
    assert max(late_s) <= 0.25
    assert max(late_s) - min(late_s) > 0.05


def test_jitter_above_the_latency_never_makes_bytes_early() -> None:
    got = passed([Latency(latency_ms=10, jitter_ms=500)], [Parcel(float(second), b"x") for second in range(100)])
    assert min(parcel.at_s - second for second, parcel in enumerate(got)) == 0


def test_the_same_seed_gives_the_same_jitter() -> None:
    toxics = [Latency(latency_ms=100, jitter_ms=100)]
    parcels = [Parcel(float(second), b"x") for second in range(10)]
    assert passed(toxics, parcels) == passed(toxics, parcels)


def test_bandwidth_delivers_at_its_rate_without_lumps() -> None:
    got = passed([Bandwidth(rate_kbit_s=80)], [Parcel(0.0, bytes(10_000)), Parcel(0.0, bytes(10_000))])
    assert got[-1].at_s == pytest.approx(2.0)
    assert max(len(parcel.data) for parcel in got) == 200


def test_a_slow_line_keeps_half_a_second_and_a_slicer_a_thousand_slices() -> None:
    lane = Lane("up", seed="1")
    lane.use([Bandwidth(rate_kbit_s=80), Slicer(average_bytes=7, variation_bytes=5)], 0.0)
    assert lane.window_bytes == 2_048
    lane.use([Bandwidth(rate_kbit_s=8)], 0.0)
    assert lane.window_bytes == 500


def test_slices_have_their_size_and_pause() -> None:
    got = passed([Slicer(average_bytes=10, variation_bytes=3, delay_ms=5)], [Parcel(1.0, bytes(100))])
    assert {len(parcel.data) for parcel in got[:-1]} <= set(range(7, 14))
    assert got[0].at_s == 1.0
    assert [b.at_s - a.at_s for a, b in pairwise(got)] == pytest.approx([0.005] * (len(got) - 1))


def test_slow_close_delays_the_end_only() -> None:
    got = passed([SlowClose(delay_ms=3_000)], [Parcel(1.0, b"x"), Parcel(1.0, ending=Ending.FINISH)])
    assert got == [Parcel(1.0, b"x"), Parcel(4.0, ending=Ending.FINISH)]


@pytest.mark.parametrize(
    ("toxic", "ending"),
    [
        (Timeout(timeout_ms=0), Ending.FINISH),
        (ResetPeer(timeout_ms=9), Ending.RESET),
        (HalfOpen(), Ending.VANISH),
    ],
)
def test_what_swallows_says_what_becomes_of_the_end(toxic: Toxic, ending: Ending) -> None:
    assert passed([toxic], [Parcel(0.0, b"x"), Parcel(1.0, ending=Ending.FINISH)]) == [Parcel(1.0, ending=ending)]


@pytest.mark.parametrize(
    ("toxic", "cuts"),
    [
        (Timeout(timeout_ms=0), []),
        (Timeout(timeout_ms=500), [(7.5, Ending.CLOSE)]),
        (ResetPeer(timeout_ms=0), [(7.0, Ending.RESET)]),
        (HalfOpen(), []),
    ],
)
def test_cuts_count_from_when_the_toxic_began(toxic: Toxic, cuts: list[tuple[float, Ending]]) -> None:
    lane = Lane("down", seed="1")
    lane.use([], 0.0)
    lane.use([toxic], 7.0)
    lane.use([toxic, Latency(latency_ms=1)], 8.0)
    assert list(lane.cuts) == cuts


def test_toxics_work_in_their_order() -> None:
    sliced_then_limited = passed([Slicer(average_bytes=4), LimitData(limit_bytes=6)], [Parcel(0.0, bytes(10))])
    assert [len(parcel.data) for parcel in sliced_then_limited] == [4, 2, 0]
    limited_then_sliced = passed([LimitData(limit_bytes=6), Slicer(average_bytes=5)], [Parcel(0.0, bytes(10))])
    assert [len(parcel.data) for parcel in limited_then_sliced] == [5, 1, 0]


@pytest.mark.parametrize(("direction", "passes"), [("down", [Parcel(0.0, b"x")]), ("up", []), ("both", [])])
def test_a_direction_is_left_alone_by_a_toxic_for_the_other(direction: str, passes: list[Parcel]) -> None:
    toxic = msgspec.convert({"type": "half_open", "direction": direction}, HalfOpen)
    assert passed([toxic], [Parcel(0.0, b"x")]) == passes


def test_a_toxic_that_stays_keeps_its_count() -> None:
    lane = Lane("up", seed="1")
    lane.use([LimitData(limit_bytes=5)], 0.0)
    lane.feed(Parcel(0.0, b"abc"))
    lane.use([Latency(latency_ms=0), LimitData(limit_bytes=5)], 1.0)
    assert lane.feed(Parcel(1.0, b"def")) == [Parcel(1.0, b"de"), Parcel(1.0, ending=Ending.CLOSE)]


def test_a_stream_with_lost_bytes_is_torn_once_nothing_swallows() -> None:
    lane = Lane("up", seed="1")
    torn = [lane.torn]
    for toxics in ([HalfOpen()], [Timeout(timeout_ms=0)], []):
        lane.use(toxics, 0.0)
        lane.feed(Parcel(0.0, b"lost"))
        torn.append(lane.torn)
    assert torn == [False, False, False, True]
    assert lane.feed(Parcel(1.0, b"more")) == []


def test_stall_is_seen_and_passes_bytes_unchanged() -> None:
    lane = Lane("up", seed="1")
    before = lane.stalled
    lane.use([Stall(direction="up")], 0.0)
    assert (before, lane.stalled) == (False, True)
    assert lane.feed(Parcel(0.0, b"x")) == [Parcel(0.0, b"x")]


def test_no_number_may_be_nan() -> None:
    with pytest.raises(msgspec.ValidationError, match="latency_ms"):
        msgspec.convert({"type": "latency", "latency_ms": math.nan}, Toxic)
