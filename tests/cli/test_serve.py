"""`talkwire serve` from its command line: faults are listed, chosen, and refused by name."""

from pathlib import Path

import pytest

from pipeline.cli import perform_command
from pipeline.server.faults.catalogue import KINDS


def test_the_faults_are_listed_with_what_a_client_must_make_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["serve", "--list-faults"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Every fault also takes after_s, turn, connections, probability, times: when it strikes."
    assert [line.split()[0] for line in lines[1:] if line and line[0] != " "] == list(KINDS)
    at = lines.index("late_deltas after=done count=3 spacing_ms=20.0")
    assert "  Client: drops it by its `response_id`." in lines[at + 1 : at + 4]
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--fault", "late_delta"], 78, "fault late_delta, type: is not a fault; did you mean late_deltas?"),
        (["--fault", "close code=1"], 78, "fault close, code: expected int >= 1000"),
        (["--fault", "drop", "--faults", "x"], 2, "give --fault or --faults, not both"),
        (["--faults", "missing.toml"], 78, "cannot read missing.toml"),
        (["--fault-seed", "x"], 2, "--fault-seed"),
        (["--dialect", "azur"], 78, 'server.dialect: expected one of "azure", "beta", '),
    ],
)
def test_a_wrong_fault_is_told_before_anything_starts(
    capsys: pytest.CaptureFixture[str], options: list[str], status: int, says: str
) -> None:
    assert perform_command(["serve", *options]) == status
    assert says in capsys.readouterr().err


def test_a_file_of_faults_tells_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad_day.toml"
    path.write_text('[[fault]]\ntype = "drop"\nsoon = 1\n[[fault]]\ntype = "storm"\n', encoding="utf-8")
    assert perform_command(["serve", "--faults", str(path)]) == 78
    first, second = capsys.readouterr().err.splitlines()
    assert "fault 1, drop, soon: unknown field" in first
    assert "fault 2, type: is not a fault" in second
