"""What is seen of other processes, from their first start to their replacement."""

import pytest

from pipeline import topology
from pipeline.overview import Overview
from pipeline.runtime.floor import Floor
from pipeline.runtime.links import open_links
from pipeline.runtime.ports import LinkStatistics
from pipeline.runtime.processes import ChildState
from pipeline.runtime.reports import Beat
from pipeline.runtime.supervisor import ActorState, Condition, new_states
from pipeline.vocabulary.control import LinkStatus, SessionStatus, SnapshotNotice
from pipeline.vocabulary.errors import DeviceError
from tests.snapshots import SESSION

NOW_S = 100.0
MIC = LinkStatistics("mic", "ms", 2_000, 40.0, 2, sent=7, received=5, dropped=0, stale=0, waiting=0, lost=3)


class Talking:
    """A session that is well."""

    def status(self, _now: float) -> SessionStatus:
        return SESSION


def seen(child: ChildState) -> SnapshotNotice:
    """The daemon with its sound in this child."""
    here = [actor for actor in topology.ACTORS if topology.DAEMON[actor.name] == "main"]
    states = new_states(here)
    for state in states.values():
        state.condition = Condition.RUNNING
    with open_links(topology.ACTORS, topology.LINKS, topology.DAEMON, "main", Floor()) as links:
        overview = Overview("main", topology.DAEMON, links, states, [child], NOW_S - 60)
        overview.follow(Talking())  # type: ignore[arg-type]  # only its status is asked for
        return overview.snapshot(NOW_S)


def link(snapshot: SnapshotNotice, name: str) -> LinkStatus:
    return next(each for each in snapshot.links if each.name == name)


def running() -> ChildState:
    actors = [
        ActorState("playback", Condition.RUNNING),
        ActorState("capture", Condition.RUNNING, restarts=2, failure=DeviceError("unplugged").fault()),
    ]
    beat = Beat([MIC], actors, 0.0)
    return ChildState("audio", 0x7FFFFFFF, ready=True, beat=beat, beat_s=NOW_S - 0.1, started_s=NOW_S - 10)


def test_a_process_that_runs_tells_of_its_actors_and_its_side_of_each_link() -> None:
    shown = seen(running())
    audio = shown.processes[1]
    assert (audio.state, audio.uptime_s) == ("running", 10)
    assert audio.beat_age_s == pytest.approx(0.1)
    assert audio.resident_bytes is None, "there is no such process on this machine"
    capture = next(actor for actor in shown.actors if actor.name == "capture")
    assert (capture.process, capture.state, capture.restarts, capture.failure) == ("audio", "running", 2, "unplugged")
    theirs, ours = link(shown, "mic").sides
    assert (theirs.process, theirs.sent, theirs.lost) == ("audio", 7, 3)
    assert (ours.process, ours.sent) == ("main", 0)
    assert [side.process for side in link(shown, "uplink").sides] == ["main"]
    assert shown.troubles == []


@pytest.mark.parametrize(
    ("child", "state", "trouble"),
    [
        (ChildState("audio"), "down", "process audio is down"),
        (ChildState("audio", 7, started_s=NOW_S - 1), "starting", "process audio is starting"),
        (ChildState("audio", restarts=3, ended="crashed"), "down", "process audio is down: the last one crashed"),
    ],
)
def test_a_process_that_does_not_run_is_trouble_and_its_actors_are_down(
    child: ChildState, state: str, trouble: str
) -> None:
    shown = seen(child)
    assert shown.processes[1].state == state
    assert {actor.state for actor in shown.actors if actor.process == "audio"} == {"down"}
    assert {actor.state for actor in shown.actors if actor.process == "main"} == {"running"}
    assert [side.process for side in link(shown, "mic").sides] == ["main"]
    assert shown.troubles == [trouble]


def test_what_a_dead_process_said_last_is_not_taken_for_news() -> None:
    dead = running()
    dead.pid, dead.ready = 0, False
    shown = seen(dead)
    assert shown.processes[1].beat_age_s is None
    assert [side.process for side in link(shown, "mic").sides] == ["main"]
    assert {actor.state for actor in shown.actors if actor.process == "audio"} == {"down"}
