"""Does the oracle bite? Each patch breaks the daemon in one way; the ordinary seeds, made for none of them, find it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.proving.world import Plan

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).parent / "mutants"

FOUND_BY = {
    "block-said-twice": 2,
    "block-skipped": 21,
    "clean-close-is-the-end": 2,
    "deaf-session-kept": 13,
    "gap-unnoticed": 27,
    "hammered-mute-undone": 2,
    "idle-line-not-asked": 11,
    "mute-leaves-the-microphone-open": 2,
    "odd-byte-lost": 21,
    "outage-forgotten": 2,
    "poisoned-session-kept": 2,
    "speech-kept-at-a-mute": 7,
    "stale-delta-played": 11,
    "unconfirmed-sound-not-asked-about": 5,
    "waits-for-ever-for-settings": 7,
}
"""The first ordinary seed that finds it, if that is not the first of all."""


@pytest.mark.parametrize("patch", sorted(MUTANTS.glob("*.patch")), ids=lambda patch: patch.stem)
def test_a_mutant_dies_of_an_ordinary_seed(patch: Path, tmp_path: Path, plan_of: Callable[[int], Plan]) -> None:
    for folder in ("pipeline", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    subprocess.run(["git", "apply", patch], cwd=tmp_path, env=alone, check=True)
    found = _simulate(plan_of(FOUND_BY.get(patch.stem, 1)), tmp_path)
    assert found["failures"]
    assert (tmp_path / f"simulation-{found['plan']['seed']}.svg").read_text().startswith("<svg")


def _simulate(plan: Plan, tree: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline", *plan.command.split()[1:], "--json"]
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    finished = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)
    outcome: dict[str, Any] = json.loads(finished.stdout)
    return outcome
