"""The world from outside: its nemeses one by one, what a failing run leaves behind, and the picture of it."""

import itertools
from xml.etree import ElementTree as ET

import pytest
import trio

from pipeline.proving import happenings as hp
from pipeline.proving.drawing import draw
from pipeline.proving.invariants import Violation
from pipeline.proving.mute_judge import MUTED
from pipeline.proving.nemeses import NEMESES, Strike, schedule
from pipeline.proving.simulated_devices import Utterance
from pipeline.proving.simulation import play, simulate
from pipeline.proving.world import Plan, World, talk

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


def test_pings_that_are_left_out_would_have_changed_nothing() -> None:
    """The simulation asks idle lines that nothing ails only in thought; here every ping goes over the wire."""
    plan = Plan(
        seed=4, duration_s=3_600, faults=("black-hole", "suspend", "half_open", "cut"), faults_per_h=8, visits_per_h=8
    )
    asked: list[int] = []

    def ask_all(world: World) -> None:
        async def rest_until(when_s: float) -> None:
            await trio.sleep_until(when_s)
            asked.append(1)

        world.rest_until = rest_until

    script = talk(plan)
    sparing = play(plan, script, schedule(plan, script))
    asking = play(plan, script, schedule(plan, script), prepare=ask_all)
    assert len(asked) > 600
    assert not asking.failures
    told = ("turns", "reconnects", "faults", "frames", "broken")
    assert [getattr(asking, name) for name in told] == [getattr(sparing, name) for name in told]


def test_a_muted_daemon_says_so_and_hears_nothing_until_it_is_unmuted() -> None:
    plan = Plan(seed=1, duration_s=120)
    script = [Utterance(1, 20.0, 21.0), Utterance(2, 40.0, 41.0), Utterance(3, 80.0, 81.0)]

    outcome = play(plan, script, [Strike(35.0, "mute", 25.0, "1")])
    assert not outcome.failures
    assert outcome.turns == 2
    shown = [happening.line for _, happening in outcome.recent if isinstance(happening, hp.Noticed)]
    assert [MUTED in line for line in shown if '"event":"state"' in line].count(True) == 1


def test_an_event_that_comes_twice_is_the_same_twice_whatever_else_is_done_to_it() -> None:
    plan = Plan(seed=1, duration_s=60)
    strikes = [Strike(5.0, "duplicate_event", 40.0, "1"), Strike(6.0, "odd_bytes", 39.0, "1")]
    outcome = play(plan, [Utterance(1, 15.0, 16.5)], strikes)
    assert outcome.turns == 1
    assert not outcome.failures


def test_a_picture_names_every_fault_shows_an_old_wire_and_hides_nothing_behind_its_failures() -> None:
    recent: list[tuple[float, hp.Happening]] = [
        (50.0, hp.Heard(7, 1)),
        (55.0, hp.Troubled("reset")),
        (55.0, hp.Calmed("reset")),
        (60.0, hp.Left(7)),
    ]
    picture = draw(recent, [Violation("4", 55.0 + 0.02 * number, "it plays on") for number in range(100)])
    assert ">reset</text>" in picture
    assert ">session on wire 7</text>" in picture
    assert picture.count(f'y2="{46 * 6 + 40}"') == 1
