"""The same seed is the same run, in this process and in any other."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import trio

from pipeline.proving import determinism
from pipeline.proving.simulation import Outcome, simulate
from pipeline.proving.world import Plan


async def _order() -> list[int]:
    """In which order tasks run that are all ready at once."""
    order: list[int] = []

    async def step(number: int) -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(step, number)
    return order


def test_the_seed_decides_which_task_runs_first() -> None:
    """Fails if trio's private scheduler is no longer where `determinism` looks for it."""
    assert determinism.run(_order, seed=1) == determinism.run(_order, seed=1)
    assert determinism.run(_order, seed=1) != determinism.run(_order, seed=2)


def test_time_begins_at_zero_and_jumps_to_the_very_deadline() -> None:
    async def sleep() -> list[float]:
        times = [trio.current_time()]
        for pause_s in (0.1, 0.2, 3_600.7):
            await trio.sleep_until(times[-1] + pause_s)
            times.append(trio.current_time())
        return times

    assert determinism.run(sleep, seed=1) == [0.0, 0.1, 0.1 + 0.2, 0.1 + 0.2 + 3_600.7]


def test_another_process_with_other_hashes_leaves_the_same_trace(
    plan_of: Callable[[int], Plan], outcome_of: Callable[[int], Outcome]
) -> None:
    """The line that a failing seed prints is run as it stands."""
    outcome = outcome_of(2)
    command = [sys.executable, "-m", "pipeline", *outcome.plan.command.split()[1:], "--json"]
    for hash_seed in ("1", "77"):
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout
        assert json.loads(printed)["hash"] == outcome.hash


def test_another_seed_is_another_run(plan_of: Callable[[int], Plan], outcome_of: Callable[[int], Outcome]) -> None:
    assert outcome_of(1).hash != outcome_of(2).hash


def test_a_continuous_microphone_is_reproduced_too() -> None:
    plan = Plan(seed=5, duration_s=120, visits_per_h=60, continuous=True)
    outcome = simulate(plan)
    assert outcome.hash == simulate(plan).hash
    assert outcome.frames["captured"] > 5_900
    assert not outcome.failures
