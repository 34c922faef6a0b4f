"""The trace of a run: its hash tells any two traces apart."""

import itertools

import pytest
from trio.testing import MockClock

from pipeline.proving import happenings as hp
from pipeline.proving import trace
from pipeline.proving.trace import Trace


def hash_of(*happenings: hp.Happening) -> str:
    kept = Trace(lambda _happening, _now: None)
    for happening in happenings:
        kept.add(happening)
    return kept.hash


async def test_every_field_and_every_kind_changes_the_hash(mock_clock: MockClock) -> None:
    traces: list[list[hp.Happening]] = [
        [],
        [hp.Sent(1, 2)],
        [hp.Sent(1, 2, 2)],
        [hp.Sent(1, 3)],
        [hp.Sent(2, 2)],
        [hp.Heard(1, 2)],
        [hp.Captured(1, 2, speech=True)],
        [hp.Captured(1, 2, speech=False)],
        [hp.Minted(200, 1, 1.0)],
        [hp.Minted(200, 1, None)],
        [hp.Sent(1, 2), hp.Sent(1, 3)],
        [hp.Sent(1, 3), hp.Sent(1, 2)],
    ]
    assert not [pair for pair in itertools.combinations(traces, 2) if hash_of(*pair[0]) == hash_of(*pair[1])]
    assert [hash_of(*each) for each in traces] == [hash_of(*each) for each in traces]


async def test_to_look_at_the_hash_does_not_change_it(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "HASHED", 3)
    watched = Trace(lambda _happening, _now: None)
    for frame in range(10):
        watched.add(hp.Sent(1, frame))
        assert watched.hash == hash_of(*[hp.Sent(1, each) for each in range(frame + 1)])
