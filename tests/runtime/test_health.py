import subprocess
import sys

import pytest
import trio
from trio.testing import MockClock

from pipeline.runtime.health import IDLE_MAX_S, Health
from pipeline.runtime.processes import BEAT_DEADLINE_S, ChildState
from pipeline.runtime.progress import Progress
from pipeline.runtime.reports import Beat

NOW_S = 100.0


def health(child: ChildState) -> Health:
    each = Health()
    each.children.append(child)
    return each


def child(*, ready: bool = True, beat_s: float = NOW_S, idle_s: float = 0.0, restarts: int = 0) -> ChildState:
    return ChildState("audio", 4242, ready, restarts, Beat([], [], idle_s) if ready else None, beat_s)


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (child(), None),
        (child(beat_s=NOW_S - BEAT_DEADLINE_S), None),
        (child(beat_s=NOW_S - BEAT_DEADLINE_S - 0.01), "process audio does not answer"),
        (child(idle_s=IDLE_MAX_S), None),
        (child(idle_s=IDLE_MAX_S + 0.01), "process audio does not get on with its work"),
        (child(ready=False, beat_s=NOW_S - 60), None),  # being started: its supervisor has a deadline for that
    ],
)
def test_a_child_is_judged_by_its_last_word(state: ChildState, complaint: str | None) -> None:
    assert health(state).complaint(NOW_S) == complaint


async def test_work_in_this_process_counts_as_well(autojump_clock: MockClock) -> None:
    healthy = Health()
    healthy.progress.made()
    await trio.sleep(IDLE_MAX_S + 0.1)
    assert healthy.complaint(trio.current_time()) == "no work is done"
    healthy.progress.paused()
    assert healthy.complaint(trio.current_time()) is None


@pytest.mark.parametrize(
    ("state", "serves"),
    [(child(), True), (child(ready=False), False), (child(ready=False, restarts=1), True)],
    ids=["ready", "starting", "its outage has been told"],
)
def test_it_serves_when_every_child_has_got_as_far_as_it_can(state: ChildState, *, serves: bool) -> None:
    assert health(state).serves is serves


def test_children_are_killed_with_all_they_have_started() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0)
    state = child()
    state.pid = process.pid
    health(state).kill_children()
    with process:
        assert process.wait(30) == -9
    health(state).kill_children()  # gone already: no trouble
    state.pid = 0
    health(state).kill_children()


async def test_progress_is_due_only_between_the_first_piece_of_work_and_a_pause(autojump_clock: MockClock) -> None:
    progress = Progress()
    assert progress.idle_s(trio.current_time()) == 0
    progress.made()
    await trio.sleep(0.5)
    assert progress.idle_s(trio.current_time()) == pytest.approx(0.5)
    progress.made()
    assert progress.idle_s(trio.current_time()) == pytest.approx(0)
    progress.paused()
    await trio.sleep(1)
    assert progress.idle_s(trio.current_time()) == 0
