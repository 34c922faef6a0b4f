"""The world from outside: its nemeses one by one, what a failing run leaves behind, and the picture of it."""

import itertools
from xml.etree import ElementTree as ET

import pytest

from pipeline.proving import happenings as hp
from pipeline.proving.drawing import draw
from pipeline.proving.invariants import Violation
from pipeline.proving.nemeses import NEMESES, schedule
from pipeline.proving.simulation import simulate
from pipeline.proving.world import Plan, talk

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", NEMESES)
def test_each_nemesis_by_itself_is_survived(name: str) -> None:
    outcome = simulate(Plan(seed=3, duration_s=1_200, faults=(name,), faults_per_h=30, visits_per_h=20))
    assert outcome.faults[name] >= 1
    assert not outcome.failures


def test_strikes_leave_time_to_recover() -> None:
    plan = Plan(seed=1, duration_s=86_400, faults=tuple(NEMESES), faults_per_h=20)
    strikes = schedule(plan, talk(plan))
    assert len(strikes) > 400
    assert max(strike.at_s + strike.lasts_s for strike in strikes) <= plan.duration_s - 180
    assert strikes == sorted(strikes)


def test_people_come_as_often_as_planned() -> None:
    script = talk(Plan(seed=1, duration_s=7 * 86_400, visits_per_h=1))
    assert 250 < len(script) < 450
    assert all(one.end_s < other.start_s for one, other in itertools.pairwise(script))


def test_a_picture_shows_link_talk_frames_and_faults_around_the_failure() -> None:
    recent: list[tuple[float, hp.Happening]] = [
        (1.0, hp.Connected(1)),
        (1.1, hp.Told(1, "session.updated")),
        (2.0, hp.UtteranceBegan(4)),
        (2.02, hp.Captured(9, 4, speech=True)),
        (2.04, hp.Heard(1, 9)),
        (3.0, hp.UtteranceEnded(4)),
        (3.5, hp.Played(7, 0, whole=True)),
        (3.6, hp.Troubled("cut")),
        (3.6, hp.Broken(1)),
        (9.0, hp.Calmed("cut")),
    ]
    picture = ET.fromstring(draw(recent, [Violation("4", 5.0, "reply 7 plays on <&>")]))  # noqa: S314  our own
    titles = [title.text or "" for title in picture.iter(f"{SVG}title")]
    shown = {title.partition(":")[0] for title in titles}
    assert {"wire 1", "session on wire 1", "utterance 4", "reply 7", "cut", "4", "1 frames"} <= shown
    assert "4: reply 7 plays on <&>" in titles


def test_an_empty_trace_makes_an_empty_picture() -> None:
    assert ET.fromstring(draw([], [])).tag == f"{SVG}svg"  # noqa: S314  our own
