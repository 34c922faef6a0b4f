"""Which connections meet a fault of their beginning."""

from random import Random

import pytest

from pipeline.proving.faults import Faults
from pipeline.proving.handshakes import Handshake, HangUp, HttpStatus, NoAnswer, Refuse
from pipeline.proving.toxics import Latency

BUSY = HttpStatus(status=503, times=2)


def met(faults: Faults, connections: int) -> list[Handshake | None]:
    return [faults.meet(Random(f"1/{number}")) for number in range(connections)]


def test_without_such_a_toxic_nobody_meets_one() -> None:
    assert met(Faults([Latency(latency_ms=5)]), 2) == [None, None]


def test_times_are_used_up() -> None:
    assert met(Faults([BUSY]), 4) == [BUSY, BUSY, None, None]


def test_every_third() -> None:
    assert met(Faults([Refuse(every=3)]), 7) == [None, None, Refuse(every=3), None, None, Refuse(every=3), None]


def test_one_after_the_other_is_a_story() -> None:
    silent, gone = NoAnswer(times=1), HangUp(every=2, times=1)
    assert met(Faults([BUSY, silent, gone]), 6) == [BUSY, BUSY, silent, None, gone, None]


def test_chance_is_seeded_and_about_right() -> None:
    meetings = [met(Faults([Refuse(probability=0.25)]), 400) for _ in range(2)]
    assert meetings[0] == meetings[1]
    assert sum(met is not None for met in meetings[0]) == pytest.approx(100, abs=25)


def test_chance_zero_never_and_does_not_use_times_up() -> None:
    assert met(Faults([Refuse(probability=0, times=1)]), 3) == [None] * 3
    lucky = Refuse(probability=0.5, times=3)
    assert met(Faults([lucky]), 100).count(lucky) == 3


def test_a_toxic_that_stays_keeps_its_count_and_one_that_comes_back_begins_again() -> None:
    faults = Faults([BUSY])
    faults.meet(Random(1))
    faults.use([Latency(latency_ms=1), BUSY])
    assert met(faults, 2) == [BUSY, None]
    faults.use([])
    faults.use([BUSY])
    assert met(faults, 3) == [BUSY, BUSY, None]


def test_two_that_are_equal_count_apart() -> None:
    faults = Faults([BUSY, BUSY])
    met(faults, 1)
    faults.use([BUSY, BUSY])
    assert met(faults, 4) == [BUSY] * 3 + [None]
