"""Days of faults, watched by the oracle."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.proving.drawing import draw
from pipeline.proving.invariants import INVARIANTS
from pipeline.proving.simulation import Outcome, simulate
from pipeline.proving.torture import torture
from pipeline.proving.world import Plan

SEEDS = range(1, 21)
WEEK_S = 7 * 86_400

MISSING_SHOWN_BY = {"7": 1, "8-whole": 1, "19": 1, "20-id": 1, "23": 1}
"""Seeds in which what is missing does not hold."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken_whatever_happens(seed: int, outcome_of: Callable[[int], Outcome], tmp_path: Path) -> None:
    outcome = outcome_of(seed)
    picture = tmp_path / "failure.svg"
    picture.write_text(draw(outcome.recent, outcome.failures))
    assert not outcome.failures, f"{outcome.failures[0]}\nagain: {outcome.plan.command}\npicture: {picture}"


@pytest.mark.timeout(600)  # alone it has to run all seeds
def test_every_promise_that_is_kept_is_put_to_the_test(tried_by: Callable[[int], dict[str, int]]) -> None:
    tried: Counter[str] = Counter()
    for seed in SEEDS:
        tried.update(tried_by(seed))
    assert {name for name, invariant in INVARIANTS.items() if not invariant.missing} <= set(tried)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=f"needs {invariant.missing}"))
        for name, invariant in INVARIANTS.items()
        if invariant.missing
    ],
)
def test_what_is_missing_would_hold(name: str, outcome_of: Callable[[int], Outcome]) -> None:
    outcome = outcome_of(MISSING_SHOWN_BY[name])
    assert outcome.tried.get(name, 0) > 0
    assert not outcome.broken.get(name, 0)


@pytest.mark.timeout(600)  # a quarter of a minute of work, and a loaded machine
def test_a_week_without_faults_is_one_conversation_after_another() -> None:
    outcome = simulate(Plan(seed=1, duration_s=WEEK_S))
    assert not outcome.failures
    assert outcome.turns == outcome.utterances >= 336
    assert outcome.frames["captured"] == outcome.frames["sent"]


@pytest.mark.timeout(600)
def test_a_fault_at_any_stream_operation_is_survived() -> None:
    torments = list(torture())
    assert len(torments) > 300
    assert not [(each.fault, each.operation, each.outcome.failures[0]) for each in torments if each.outcome.failures]
