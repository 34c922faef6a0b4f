import time

import pytest
import trio

from pipeline.runtime.clock import HostClock


def test_its_stamps_are_the_hosts_and_so_agree_between_runs_and_processes() -> None:
    async def stamp() -> float:
        return trio.current_time()

    first_s = time.monotonic()
    stamps = [trio.run(stamp, clock=HostClock()) for _ in range(2)]
    last_s = time.monotonic()
    assert first_s <= stamps[0] <= stamps[1] <= last_s


def test_deadlines_are_kept() -> None:
    async def wait() -> float:
        start_s = trio.current_time()
        with trio.move_on_at(start_s + 0.02):
            await trio.sleep_forever()
        return trio.current_time() - start_s

    assert trio.run(wait, clock=HostClock()) >= 0.02


def test_a_deadline_that_has_passed_is_in_the_past() -> None:
    clock = HostClock()
    clock.start_clock()
    assert clock.deadline_to_sleep_time(clock.current_time() - 5) == pytest.approx(-5, abs=1)
