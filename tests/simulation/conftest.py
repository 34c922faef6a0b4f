"""The ordinary seed set: what every change has to survive, and what every mutant has to die of."""

from collections.abc import Callable
from functools import cache

import pytest

from pipeline.proving.nemeses import NEMESES
from pipeline.proving.simulation import Outcome, simulate
from pipeline.proving.world import Plan


def ordinary(seed: int) -> Plan:
    """Six hours in which everything happens: ten faults and two visits an hour."""
    return Plan(seed=seed, duration_s=6 * 3_600, faults=tuple(NEMESES), faults_per_h=10, visits_per_h=2)


@cache
def _outcome(seed: int) -> Outcome:
    return simulate(ordinary(seed))


@pytest.fixture
def plan_of() -> Callable[[int], Plan]:
    return ordinary


@pytest.fixture
def outcome_of() -> Callable[[int], Outcome]:
    """The outcome of a seed of the ordinary set, which is run once."""
    return _outcome
