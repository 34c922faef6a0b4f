"""The line through a card's moments, against cards that wobble, drift, jump and lie at their start."""

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from pipeline.core.device_clock import JUMP_S, SETTLING_MARKS, DeviceClock

RATE_HZ = 48_000
BLOCK = 960


def run(clock: DeviceClock, blocks: int, at_s: Callable[[int], float], first: int = 0) -> list[float]:
    """Mark blocks; what the line says of each block when it is marked."""
    told = []
    for block in range(first, first + blocks):
        clock.mark(block * BLOCK, at_s(block))
        told.append(clock.at(block * BLOCK))
    return told


def test_it_says_what_a_perfect_card_says() -> None:
    clock = DeviceClock(RATE_HZ)
    told = run(clock, 100, lambda block: 7 + 0.02 * block)
    assert clock.has_settled
    assert told == pytest.approx([7 + 0.02 * block for block in range(100)])
    assert clock.at(0.5 * BLOCK) == pytest.approx(7.01)
    assert clock.sample(8) == pytest.approx(RATE_HZ)


def test_the_guesses_at_the_start_leave_no_trace() -> None:
    clock = DeviceClock(RATE_HZ)
    told = run(clock, 50, lambda block: 0.02 * block + (0.0 if block < SETTLING_MARKS - 1 else 0.037))
    assert told[-1] == pytest.approx(0.02 * 49 + 0.037)


@pytest.mark.parametrize("seed", range(5))
def test_wobbles_of_a_whole_period_move_the_line_by_little(seed: int) -> None:
    dice = Random(seed)
    clock = DeviceClock(RATE_HZ)
    told = run(clock, 2_000, lambda block: 0.02 * block + dice.choice([0.0, 0.02]))
    errors = [at_s - 0.02 * block - 0.01 for block, at_s in enumerate(told)][500:]
    assert max(map(abs, errors)) < 0.003
    assert all(later > earlier for earlier, later in pairwise(told[SETTLING_MARKS:])), "it always goes forward"


def test_one_late_moment_moves_it_by_a_hundredth() -> None:
    clock = DeviceClock(RATE_HZ)
    run(clock, 500, lambda block: 0.02 * block)
    (told,) = run(clock, 1, lambda block: 0.02 * block + 0.02, first=500)
    assert told - 10.0 == pytest.approx(0.0002, rel=0.01)


@pytest.mark.parametrize("ppm", [-100, 0, 100])
def test_a_card_that_drifts_is_followed(ppm: float) -> None:
    clock = DeviceClock(RATE_HZ)
    period_s = 0.02 / (1 + ppm * 1e-6)
    dice = Random(1)
    told = run(clock, 30_000, lambda block: period_s * block + dice.gauss(0, 0.002))
    assert told[-1] == pytest.approx(period_s * 29_999, abs=0.001)


@pytest.mark.parametrize("jump_s", [-0.3, 0.3, 5.0])
def test_a_card_that_lost_time_is_believed(jump_s: float) -> None:
    clock = DeviceClock(RATE_HZ)
    run(clock, 100, lambda block: 0.02 * block)
    assert abs(jump_s) > JUMP_S
    told = run(clock, 10, lambda block: 0.02 * block + jump_s, first=100)
    assert told[-1] == pytest.approx(0.02 * 109 + jump_s)


def test_after_a_restart_its_moments_make_another_line() -> None:
    clock = DeviceClock(RATE_HZ)
    run(clock, 100, lambda block: 0.02 * block)
    assert clock.error_s(100 * BLOCK, 2.05) == pytest.approx(0.05)
    clock.restart()
    assert clock.error_s(100 * BLOCK, 2.05) == 0.0
    told = run(clock, 10, lambda block: 0.02 * block + 0.05, first=100)
    assert told[-1] == pytest.approx(0.02 * 109 + 0.05)


def test_blocks_follow_one_another() -> None:
    clock = DeviceClock(RATE_HZ)
    clock.mark(BLOCK, 1.0)
    with pytest.raises(AssertionError, match="follow"):
        clock.mark(BLOCK, 1.0)
    assert math.isfinite(clock.at(10**12))
