"""`talkwire simulate` at the command line."""

import json
from pathlib import Path

import pytest

from pipeline.cli import perform_command


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
