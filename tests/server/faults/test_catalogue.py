"""What the catalogue holds, how a fault is written down, and how mistakes in it are told."""

from pathlib import Path

import pytest

from pipeline.server.faults.catalogue import (
    COMMON,
    KINDS,
    catalogue,
    convert_faults,
    parse_fault,
    parse_faults,
    read_faults,
    schema,
)
from pipeline.server.faults.endings import CloseFault
from pipeline.server.faults.replies import LateDeltas
from pipeline.vocabulary.errors import ConfigurationError


def test_every_fault_says_what_it_does_and_what_a_client_must_make_of_it() -> None:
    entries = list(catalogue())
    assert [entry.name for entry in entries] == list(KINDS)
    for entry in entries:
        assert entry.what.endswith("."), entry.name
        assert entry.client.endswith("."), entry.name
        assert not set(entry.fields) & set(COMMON) - {"times"}, entry.name


def test_no_fault_needs_a_field() -> None:
    for name in KINDS:
        assert parse_fault(name).__struct_config__.tag == name


def test_a_fault_on_the_command_line() -> None:
    assert parse_fault("late_deltas count=5 after=cancel turn=2") == LateDeltas(count=5, after="cancel", turn=2)
    assert parse_fault("close code=1001 after_s=2.5 times=1") == CloseFault(code=1001, after_s=2.5, times=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("late_delta", "fault late_delta, type: is not a fault; did you mean late_deltas?"),
        ("nonsense", "there are: refuse_upgrade, "),
        ("late_deltas count=0", "fault late_deltas, count: expected int >= 1"),
        ("late_deltas number=3", "fault late_deltas, number: unknown field; known: after_s, turn, connections, "),
        ("drop probability=2", "fault drop, probability: expected float <= 1"),
        ("drop after_s=nan", "fault drop, after_s: "),
        ("refuse_upgrade status=418", "fault refuse_upgrade, status: invalid enum value 418"),
        ("close code=999", "fault close, code: expected int >= 1000"),
        ("drop 5", "fault drop, 5: must be name=value"),
    ],
)
def test_a_wrong_fault_names_its_field(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_fault(text)
    assert says in str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "faults.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_faults_in_a_file_keep_their_order(tmp_path: Path) -> None:
    text = '[[fault]]\ntype = "drop"\nafter_s = 3\n[[fault]]\ntype = "burst"\n'
    assert read_faults(written(tmp_path, text)) == (parse_fault("drop after_s=3"), parse_fault("burst"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("faults = 1", ["faults.toml must hold [[fault]] tables and nothing else"]),
        ("fault = 1", ["faults: must be a list of at most 64 tables"]),
        (
            '[[fault]]\ntype = "drop"\nat = 1\n[[fault]]\ntype = "burst"\n[[fault]]\ncode = 1\n',
            ["fault 1, drop, at: unknown field", "fault 3, type: is not a fault"],
        ),
        ("[[fault", ["faults.toml is not TOML (line 1"]),
    ],
)
def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_faults(written(tmp_path, text))
    assert len(caught.value.problems) == len(says)
    for problem, what in zip(caught.value.problems, says, strict=True):
        assert what in str(problem)


def test_too_many_faults_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most 64"):
        convert_faults([{"type": "burst"}] * 65)
    assert len(parse_faults(["burst"] * 3)) == 3
    with pytest.raises(ConfigurationError, match="burst: is given more than 3 times"):
        parse_faults(["drop", *["burst"] * 4])


def test_the_schema_describes_every_fault() -> None:
    described = schema()["$defs"]
    tags = {name: definition["properties"]["type"]["enum"] for name, definition in described.items()}
    assert sorted(tag for (tag,) in tags.values()) == sorted(KINDS)
    assert described["LateDeltas"]["properties"]["count"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 3,
    }
    assert "response_id" in described["LateDeltas"]["description"]
