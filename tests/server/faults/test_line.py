"""Faults together on one line: order, triggers, what they share, and changing them while it is open."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.server.faults.catalogue import parse_fault
from pipeline.server.faults.line import FaultLine, Upgrade
from pipeline.server.faults.schema import Close

Probe = Callable[..., Any]


def test_a_line_without_faults_hands_on_every_character(probe: Probe) -> None:
    line = probe().line
    for odd in ("no json", ' {"type" : "x"}', '{"type": 1}', "[1]"):
        line.client_said(odd, 0.0)
        line.server_said(odd, 0.0)
        assert (line.take_for_server(), line.take_for_client(0.0)) == ([odd], [odd])
    line.client_said(b"\x00", 0.0)
    assert line.take_for_server() == [b"\x00"]
    assert not line.at_work
    assert line.next_due_s() == math.inf


def test_what_no_fault_touches_is_not_written_anew(probe: Probe) -> None:
    line = probe("late_transcription", "cancel_race").line
    spaced = '{"type" : "session.updated", "x": 1.50}'
    line.server_said(spaced, 0.0)
    line.client_said(spaced, 0.0)
    assert (line.take_for_client(0.0), line.take_for_server()) == ([spaced], [spaced])


@pytest.mark.parametrize("malformed", [b"\x00", "{", "[]", "null", '{"type": 5}', "[" * 100_000])
def test_what_is_no_event_passes_every_fault(probe: Probe, malformed: str | bytes) -> None:
    line = probe("expired_key").line
    line.client_said(malformed, 0.0)
    assert line.take_for_server() == [malformed]


def test_faults_work_in_the_order_given(probe: Probe, script: Any) -> None:
    created = script.created()
    inner = probe("unknown_event", "duplicate_event").server(created)
    assert types(inner) == ["future.event", "future.event", "session.created", "session.created"]
    outer = probe("duplicate_event times=1", "unknown_event").server(created)
    assert types(outer) == ["future.event", "session.created"] * 2


def types(got: list[Any]) -> list[str]:
    return [event["type"] for event in got]


def test_delays_add_up(probe: Probe, script: Any) -> None:
    line = probe("late_transcription delay_s=2", "late_transcription delay_s=3")
    assert line.server(words := script.words()) == []
    assert line.wait(9) == [(5.0, words)]


def test_what_a_fault_says_goes_through_those_after_it(probe: Probe) -> None:
    line = probe("extra_fields", "commit_race", "duplicate_event")
    line.client({"type": "input_audio_buffer.commit"})
    first, second = line.got()
    assert first == second
    assert "obfuscation" not in first


def test_each_trigger_holds_a_fault_back(probe: Probe, script: Any) -> None:
    line = probe("empty_delta turn=2 times=2 after_s=1")
    first = line.server(*script.begin(1), *script.deltas(2, 1))
    early = line.server(*script.end(1), *script.begin(2), *script.deltas(2, 2))
    line.wait(1)
    late = line.server(*script.deltas(3, 2))
    third = line.server(*script.end(2), *script.begin(3), *script.deltas(2, 3))
    empty = [sum(event.get("delta") == "" for event in got) for got in (first, early, late, third)]
    assert empty == [0, 0, 2, 0]


def test_only_the_first_connections_are_concerned(probe: Probe) -> None:
    refused = [probe("refuse_upgrade connections=2", number=number).line.upgrade() for number in (1, 2, 3)]
    assert [upgrade.answer is not None for upgrade in refused] == [True, True, False]


def test_a_response_is_concerned_as_a_whole_or_not_at_all(probe: Probe, script: Any) -> None:
    line = probe("stalled_response probability=0.5", "missing_events")
    whole = 0
    for number in range(40):
        got = line.server(*script.reply(number))
        line.client({"type": "response.cancel"})
        line.got()
        assert len(got) in {1, len(script.reply()) - 3}
        whole += len(got) > 1
    assert 5 < whole < 35


def test_another_fault_beside_it_changes_no_dice(probe: Probe, script: Any) -> None:
    deltas = script.deltas(50)
    alone = [event["delta"] for event in probe("bad_base64 probability=0.5").server(*deltas)]
    beside = [event["delta"] for event in probe("bad_base64 probability=0.5", "extra_fields").server(*deltas)]
    assert alone == beside


def test_each_connection_throws_its_own_dice(probe: Probe, script: Any) -> None:
    deltas = script.deltas(50)
    runs = {repr(probe("bad_base64 probability=0.5", number=number).server(*deltas)) for number in range(1, 5)}
    assert len(runs) == 4


def test_faults_change_while_the_line_is_open(probe: Probe, script: Any) -> None:
    line = probe("duplicate_event times=3")
    line.server(script.created())
    again = parse_fault("duplicate_event times=3")
    line.line.use([again, parse_fault("unknown_event times=1")], line.now)
    assert len(line.server(script.updated(), script.updated(), script.updated())) == 3 + 2 + 1, "it kept its count"
    line.line.use([], line.now)
    assert line.server(updated := script.updated()) == [updated]


def test_a_fault_that_is_taken_away_gives_up_what_it_kept(probe: Probe, script: Any) -> None:
    line = probe("burst")
    reply = script.reply()
    got = line.server(*reply[:-1])
    line.line.use([], line.now)
    got += line.got() + line.server(reply[-1])
    assert got == reply


def test_what_is_late_stays_late_when_the_fault_is_gone(probe: Probe, script: Any) -> None:
    line = probe("slow_settings delay_s=5")
    line.server(updated := script.updated())
    line.line.use([], line.now)
    assert line.line.at_work
    assert line.wait(9) == [(5.0, updated)]
    assert not line.line.at_work


def test_a_half_open_line_lives_again_when_the_fault_is_gone(probe: Probe, script: Any) -> None:
    line = probe("half_open")
    assert not line.line.hears
    line.line.use([], line.now)
    assert (line.line.hears, line.server(created := script.created())) == (True, [created])


def test_what_is_held_is_counted(probe: Probe, script: Any) -> None:
    line = probe("slow_settings", "close after_s=1")
    line.server(script.updated())
    assert line.line.held_chars > 50
    assert line.wait(9) == [(1.0, Close(1011, ""))]
    assert (line.line.held_chars, line.line.ended) == (0, True)


def test_a_line_can_be_open_for_hours_before_it_gets_a_fault() -> None:
    line = FaultLine(seed="s", now=1_000.0)
    line.use([parse_fault("drop after_s=5")], 9_000.0)
    assert line.next_due_s() == 9_005.0
    assert line.upgrade() == Upgrade(0.0, None)
