"""Life and death of real child processes under the process supervisor."""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio
import trio.lowlevel

from pipeline.core.retry import RestartIntensity
from pipeline.runtime import graph, processes, supervisor
from pipeline.runtime.floor import Floor
from pipeline.runtime.forks import Forked, ForkServer
from pipeline.runtime.links import open_links
from pipeline.runtime.process_link import Trunk
from pipeline.runtime.supervisor import Incident
from pipeline.vocabulary.errors import AudioFileError, CrashLoopError
from tests.runtime.child_program import ACTORS, LINKS, PLACEMENT

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, "-m", "pipeline.runtime.fork_server", "tests.runtime.child_program"]


class Parent:
    """A process with one child: what arrived from it, what was reported, how it stands."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.incidents: list[Incident] = []
        self.state = processes.ChildState("there")
        self.plans = 0
        self.deaths: list[processes.Death] = []

    async def run(self, mode: str, *, restarts: int = 5) -> None:
        floor = Floor()
        with open_links(ACTORS, LINKS, PLACEMENT, "main", floor) as links:
            here = [actor for actor in ACTORS if actor.name == "adder"]
            arguments = graph.bind(here, LINKS, links.ends, {"adder": {"received": self.received}})
            intensity = RestartIntensity(restarts, 60.0)

            def plan(_last: object, death: processes.Death | None) -> bytes:
                self.plans += 1
                self.deaths += [death] if death else []
                return b""

            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    lambda: supervisor.run(
                        here, arguments, supervisor.new_states(here), intensity=intensity, report=self.incidents.append
                    )
                )
                try:
                    await processes.supervise(
                        processes.ChildSpec("there", [*SERVER, mode]),
                        self.state, links, floor,
                        plan=plan, intensity=intensity, report=self.incidents.append,
                    )  # fmt: skip
                finally:
                    nursery.cancel_scope.cancel()

    async def until_received(self, count: int) -> None:
        await until(lambda: len(self.received) >= count)

    async def until_restarted(self) -> None:
        await until(lambda: self.state.restarts > 0 and self.state.ready)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what another process does sets no event here
        await trio.sleep(0.002)


def parent_pid(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    """And no zombie that waits for process 1."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@asynccontextmanager
async def parent_of(mode: str, *, patience_s: float = 30.0) -> AsyncGenerator[Parent, None]:
    parent = Parent()
    with trio.fail_after(patience_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parent.run, mode)
            yield parent
            nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # neither alive nor a zombie


def causes(parent: Parent) -> list[str]:
    return [incident.fault.cause for incident in parent.incidents if incident.fault]


async def test_values_flow_from_a_child_and_it_ends_with_its_parent() -> None:
    async with parent_of("well") as parent:
        await parent.until_received(20)
        assert parent.state.pid
        assert parent.state.beat is not None
    assert parent.received[:20] == list(range(20))
    assert (parent.incidents, parent.state.pid) == ([], 0)


async def test_a_child_that_dies_before_it_is_told_to_begin_is_a_crash_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork = ForkServer.fork
    forked: list[Forked] = []

    async def fork_and_kill(self: ForkServer, trunk: socket.socket) -> Forked:
        child = await fork(self, trunk)
        forked.append(child)
        if len(forked) == 1:
            os.kill(child.pid, signal.SIGKILL)
            await trio.lowlevel.wait_readable(child.pidfd)
            trunk.close()  # as the server closes its own: nobody holds the other end any more
        return child

    monkeypatch.setattr(ForkServer, "fork", fork_and_kill)
    async with parent_of("well") as parent:
        await parent.until_received(1)
    assert causes(parent) == ["crash"]


async def test_a_child_keeps_what_its_start_made_from_the_collector() -> None:
    async with parent_of("frozen") as parent:
        await parent.until_received(1)
    assert parent.received[0] > 10_000, "trio alone is more"


async def test_a_child_that_was_killed_is_seen_at_once_and_replaced() -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        killed_s = trio.current_time()
        os.kill(parent.state.pid, signal.SIGKILL)
        await until(lambda: bool(parent.incidents))
        seen_ms = (trio.current_time() - killed_s) * 1000
        await parent.until_restarted()
        ready_ms = (trio.current_time() - killed_s) * 1000
    print(f"death seen after {seen_ms:.1f} ms, replaced after {ready_ms:.0f} ms")
    assert causes(parent) == ["crash"]


async def test_links_go_on_with_the_next_life() -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        os.kill(parent.state.pid, signal.SIGKILL)
        await parent.until_restarted()
        before = len(parent.received)
        await parent.until_received(before + 30)
    again = parent.received.index(0, 1)
    assert parent.received[again : again + 30] == list(range(30))


async def test_lives_leave_no_descriptor_behind() -> None:
    def descriptors() -> list[int]:
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), server)]

    async with parent_of("well") as parent:
        await until(lambda: parent.state.ready)
        server = parent_pid(parent.state.pid)
        first = descriptors()
        for lives in range(1, 4):
            os.kill(parent.state.pid, signal.SIGKILL)
            await until(lambda: parent.state.restarts == lives and parent.state.ready)  # noqa: B023 - asked at once
        assert descriptors() == first


async def test_an_interrupt_is_for_the_parent_alone() -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        for pid in (parent.state.pid, parent_pid(parent.state.pid)):
            os.kill(pid, signal.SIGINT)
        await parent.until_received(len(parent.received) + 50)
        assert not parent.incidents


@pytest.mark.parametrize("number", [signal.SIGSTOP, None], ids=["stopped", "a loop that does not turn"])
async def test_a_wedged_child_is_replaced(number: signal.Signals | None, tmp_path: Path) -> None:
    async with parent_of("well" if number else f"once:{tmp_path / 'wedge'}") as parent:
        await parent.until_received(5)
        if number:
            os.kill(parent.state.pid, number)
        begun_s = trio.current_time()
        await parent.until_restarted()
        print(f"wedged child replaced after {(trio.current_time() - begun_s) * 1000:.0f} ms")
    assert causes(parent) == ["wedged"]


async def test_a_child_that_does_not_start_in_time_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "START_DEADLINE_S", 0.3)
    with pytest.raises(CrashLoopError) as given_up:
        await _run("late", restarts=1)
    assert "process there did not start in time" in str(given_up.value)


async def _run(mode: str, *, restarts: int = 5) -> Parent:
    parent = Parent()
    with trio.fail_after(30):
        try:
            await parent.run(mode, restarts=restarts)
        except ExceptionGroup as group:
            raise supervisor.most_telling(group) from None
    return parent


async def test_a_crash_loop_ends_with_the_restart_intensity() -> None:
    parent = Parent()
    with trio.fail_after(30), pytest.raises(ExceptionGroup) as given_up:
        await parent.run("crash")
    assert isinstance(supervisor.most_telling(given_up.value), CrashLoopError)
    assert causes(parent) == ["crash"] * 5
    assert parent.plans == 6, "five restarts, and not one more"


async def test_an_outage_is_told_once_costs_no_restart_and_lasts_as_long_as_it_lasts() -> None:
    async with parent_of("outage") as parent:
        begun_s = trio.current_time()
        await until(lambda: parent.plans >= 8)
        assert trio.current_time() - begun_s > 6 * processes.OUTAGE_PAUSE_S, "nobody spins meanwhile"
    assert [cause for cause in causes(parent) if cause == "outage"] == ["outage"]
    assert parent.plans >= 8, "more lives than the restart intensity gives to crashes"
    assert set(parent.deaths) == {processes.Death.OUTAGE}, "who plans the next life knows"
    assert len(parent.deaths) == parent.plans - 1


async def test_an_outage_after_a_life_that_was_well_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "OUTAGE_OVER_S", 0.01)
    async with parent_of("outage") as parent:
        await until(lambda: parent.plans >= 4)
    assert causes(parent).count("outage") >= 3


async def test_a_child_that_has_said_what_nobody_has_read_yet_is_not_wedged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        with monkeypatch.context() as patch:
            patch.setattr(Trunk, "has_unread", True)
            os.kill(parent.state.pid, signal.SIGSTOP)
            await trio.sleep(2 * processes.BEAT_DEADLINE_S)
            assert not parent.deaths
        await parent.until_restarted()
    assert parent.deaths == [processes.Death.WEDGED]


async def test_what_forbids_to_go_on_in_the_child_ends_the_parent_with_its_reason() -> None:
    with pytest.raises(AudioFileError, match=r"reply\.wav cannot be written"):
        await _run("refuse")


async def test_a_child_wedged_at_the_end_is_killed() -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        pid = parent.state.pid
        os.kill(pid, signal.SIGSTOP)
        begun_s = trio.current_time()
    assert trio.current_time() - begun_s < processes.LET_GO_S + processes.TERM_S + 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_stops_at_random_moments_leave_nothing_behind() -> None:
    random = Random(7)
    for _ in range(20):
        parent = Parent()
        with trio.move_on_after(random.uniform(0, 0.5)):
            await parent.run("well")
        assert parent.state.pid == 0


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    """A process that holds a child and is killed in the middle of it: no child lives 300 ms later, nor its server.

    The child's loop does not turn, so that it cannot see the end of its trunk: only the kernel ends it.
    """
    program = tmp_path / "parent.py"
    program.write_text(
        "import sys, trio\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.runtime.test_processes import Parent\n"
        "async def main():\n"
        "    parent = Parent()\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        nursery.start_soon(parent.run, 'wedge')\n"
        "        await parent.until_received(5)\n"
        "        print(parent.state.pid, flush=True)\n"
        "trio.run(main)\n"
    )
    read, write = os.pipe()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, str(program)], dict(os.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as said:
        child = int(said.readline())
    family = [child, parent_pid(child)]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for _ in range(30):
        family = [each for each in family if is_alive(each)]
        if not family:
            return
        signal.sigtimedwait([], 0.01)
    for each in family:
        os.kill(each, signal.SIGKILL)
    raise AssertionError(f"{family} of child and server live on")
