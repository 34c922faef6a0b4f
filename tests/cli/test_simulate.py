"""`talkwire simulate` at the command line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import perform_command
from pipeline.proving import simulation
from pipeline.proving.invariants import Violation
from pipeline.proving.simulation import Outcome
from pipeline.proving.world import Plan


def test_it_sums_a_run_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["simulate", "--days", "0.05", "--seed", "3", "--faults", "reset", "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["plan"]["seed"] == 3
    assert outcome["failures"] == []
    assert set(outcome["faults"]) <= {"reset"}
    assert len(outcome["hash"]) == 16
    assert outcome["again"].startswith("talkwire simulate --days 0.05 --seed 3 --faults reset")


def test_it_tells_people_what_happened_and_draws_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "run.svg"
    assert perform_command(["simulate", "--days", "0.05", "--visits-per-hour", "10", "--draw", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "turns" in said
    assert "trace" in said
    assert picture.read_text().startswith("<svg")


def test_a_failure_is_told_even_if_it_cannot_be_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = Outcome(
        plan=Plan(seed=3, duration_s=864.0), hash="0" * 16, turns=0, utterances=1, reconnects=0, faults={}, frames={},
        cpu_s=0.1, broken={"24": 1}, tried={"24": 1}, violations=[Violation("24", 12.0, "nobody answers")], recent=[],
    )  # fmt: skip
    monkeypatch.setattr(simulation, "simulate", lambda *_: broken)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "simulation-3.svg").mkdir()
    assert perform_command(["simulate", "--seed", "3"]) == 1
    said = capsys.readouterr().out
    assert "nobody answers" in said
    assert f"again       {broken.plan.command}" in said
    assert "cannot write simulation-3.svg" in said


@pytest.mark.parametrize("days", [0.01, 0.25, 1.0, 7.0, 1 / 3, 0.1234567, 365.9999999999])
def test_the_line_that_does_it_again_is_not_a_hair_off(days: float) -> None:
    plan = Plan(seed=1, duration_s=days * 86_400, faults_per_h=1 / 3, visits_per_h=0.1)
    options = plan.command.split()
    values = {option: options[options.index(option) + 1] for option in options if option.startswith("--")}
    assert float(values["--days"]) * 86_400 == plan.duration_s
    assert float(values["--faults-per-hour"]) == plan.faults_per_h
    assert values["--visits-per-hour"] == "0.1"


def test_ctrl_c_ends_it_at_once_without_a_word() -> None:
    """Raised as an exception, it would come up in a task of the simulated daemon, and perhaps be outlived."""
    program = """
import signal
from pipeline.cli import perform_command
signal.signal(signal.SIGINT, signal.default_int_handler)
perform_command(["simulate", "--days", "366"])
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as simulating:
        assert simulating.stderr is not None
        assert "simulated" in simulating.stderr.readline()
        simulating.send_signal(signal.SIGINT)
        assert all("simulated" in line for line in simulating.stderr)
        assert simulating.wait() == -signal.SIGINT


def test_every_fault_is_listed_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["simulate", "--list-faults"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 60
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--days", "0"], "--days"),
        (["--days", "nan"], "--days"),
        (["--faults", "cut,nonsense"], "--faults"),
        (["--faults-per-hour", "-1"], "--faults-per-hour"),
        (["--visits-per-hour", "1e9"], "--visits-per-hour"),
        (["--draw", "/nowhere/at/all.svg", "--days", "0.01"], "--draw"),
    ],
)
def test_what_it_cannot_use_is_named(arguments: list[str], field: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["simulate", *arguments]) == 2
    assert field in capsys.readouterr().err
