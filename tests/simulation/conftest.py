"""The ordinary seed set: what every change has to survive, and what every mutant has to die of."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import pytest

from pipeline.proving.nemeses import NEMESES
from pipeline.proving.simulation import Outcome, simulate
from pipeline.proving.world import Plan


def ordinary(seed: int) -> Plan:
    """Six hours in which everything happens: ten faults and two visits an hour."""
    return Plan(seed=seed, duration_s=6 * 3_600, faults=tuple(NEMESES), faults_per_h=10, visits_per_h=2)


@cache
def _outcome(seed: int, shared: Path) -> Outcome:
    outcome = simulate(ordinary(seed))
    written = shared / f"{seed}.{os.getpid()}"
    written.write_bytes(msgspec.json.encode(outcome.tried))
    written.rename(shared / f"{seed}.json")
    return outcome


@pytest.fixture
def plan_of() -> Callable[[int], Plan]:
    return ordinary


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run of the tests, which all of its processes see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "ordinary-seeds"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def outcome_of(shared: Path) -> Callable[[int], Outcome]:
    """The outcome of a seed of the ordinary set, which is run once by each process that asks."""
    return lambda seed: _outcome(seed, shared)


@pytest.fixture
def tried_by(shared: Path) -> Callable[[int], dict[str, int]]:
    """How often a seed puts each promise to the test; run only if no process has run it yet."""

    def tried(seed: int) -> dict[str, int]:
        known = shared / f"{seed}.json"
        return msgspec.json.decode(known.read_bytes()) if known.exists() else _outcome(seed, shared).tried

    return tried
