"""What a fork server does for the process supervisor, and what becomes of its children when it does not."""

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from pipeline.runtime import forks, processes
from pipeline.runtime.floor import Floor
from pipeline.runtime.forks import Forked, ForkServer, ForkServerError
from pipeline.runtime.links import Links
from pipeline.runtime.processes import Death
from tests.runtime.test_processes import SERVER, is_alive, no_child_is_left, parent_of, parent_pid, until

__all__ = ["no_child_is_left"]


@asynccontextmanager
async def forked(server: ForkServer) -> AsyncGenerator[tuple[Forked, socket.socket], None]:
    """A child, and our end of its trunk."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs, trio.fail_after(30):
            child = await server.fork(theirs)
        yield child, ours
    os.close(child.pidfd)


async def ended(child: Forked) -> None:
    with trio.fail_after(5):
        await trio.lowlevel.wait_readable(child.pidfd)


async def test_every_life_comes_from_the_same_server_and_none_imports_again() -> None:
    async with parent_of("well") as parent:
        servers = []
        for _ in range(3):
            await until(lambda: parent.state.ready)
            servers.append(parent_pid(parent.state.pid))
            os.kill(parent.state.pid, signal.SIGKILL)
            await until(lambda: not parent.state.ready)
    assert len(set(servers)) == 1
    assert servers[0] != os.getpid()


async def test_an_exit_code_and_a_signal_come_through() -> None:
    with closing(ForkServer([*SERVER, "well"])) as server:
        async with forked(server) as (child, trunk):
            trunk.close()
            await ended(child)
            assert await server.reap(child.pid) == 0
        async with forked(server) as (child, _):
            os.kill(child.pid, signal.SIGTERM)
            await ended(child)
            assert await server.reap(child.pid) == -signal.SIGTERM


async def test_a_child_is_a_group_of_its_own_and_keeps_its_pid_until_it_is_reaped() -> None:
    with closing(ForkServer([*SERVER, "well"])) as server:
        async with forked(server) as (child, _):
            assert os.getpgid(child.pid) == child.pid
            os.killpg(child.pid, signal.SIGKILL)
            await ended(child)
            os.kill(child.pid, 0)  # a zombie: nobody else can get its pid
            await server.reap(child.pid)
            with pytest.raises(ProcessLookupError):
                os.kill(child.pid, 0)


async def test_a_server_that_is_killed_takes_its_child_along_and_both_come_back() -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        child, server = parent.state.pid, parent_pid(parent.state.pid)
        os.kill(server, signal.SIGKILL)
        await parent.until_restarted()
        assert parent_pid(parent.state.pid) != server
        assert not is_alive(child)
    assert parent.deaths == [Death.CRASH]


async def test_a_server_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with parent_of("well") as parent:
        await parent.until_received(5)
        server = parent_pid(parent.state.pid)
        os.kill(server, signal.SIGSTOP)
        monkeypatch.setattr(processes, "START_DEADLINE_S", 0.3)
        monkeypatch.setattr(forks, "REAP_S", 0.1)
        os.kill(parent.state.pid, signal.SIGKILL)
        await until(lambda: bool(parent.deaths))
        monkeypatch.setattr(processes, "START_DEADLINE_S", 10.0)
        await parent.until_restarted()
        assert parent_pid(parent.state.pid) != server


async def test_what_cannot_be_imported_is_a_crash_and_no_outage() -> None:
    command = [sys.executable, "-c", "raise SystemExit(1)"]
    theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ForkServer(command)) as server, theirs[0], theirs[1], pytest.raises(ForkServerError):
        await server.fork(theirs[0])
    life = processes._Life(processes.ChildSpec("there", command), processes.ChildState("there"), lambda _: None)
    with closing(ForkServer(command)) as server:
        assert await life.live(server, Links({}, {}, {}), Floor(), b"") is Death.CRASH


@pytest.mark.parametrize("program", ["nowhere", "no_program"])
async def test_a_program_that_is_no_longer_there_is_a_crash_and_no_outage(tmp_path: Path, program: str) -> None:
    """Somebody has removed the environment that the daemon runs from: no waiting brings it back."""
    (tmp_path / "no_program").touch()
    command = [str(tmp_path / program)]
    life = processes._Life(processes.ChildSpec("there", command), processes.ChildState("there"), lambda _: None)
    with closing(ForkServer(command)) as server:
        assert await life.live(server, Links({}, {}, {}), Floor(), b"") is Death.CRASH


async def test_a_machine_without_room_for_a_process_is_an_outage() -> None:
    """Asked of a server that cannot fork: it says so, and is there when it can again."""
    program = (
        "import os, sys\n"
        "from pipeline.runtime import fork_server\n"
        "fork, asked = os.fork, []\n"
        "def once():\n"
        "    asked.append(1)\n"
        "    if len(asked) == 1: raise BlockingIOError(11, 'no')\n"
        "    return fork()\n"
        "os.fork = once\n"
        "sys.exit(fork_server.main())\n"
    )
    with closing(ForkServer([sys.executable, "-c", program, "tests.runtime.child_program", "well"])) as server:
        with pytest.raises(BlockingIOError):
            async with forked(server):
                pass
        async with forked(server) as (child, trunk):
            trunk.close()
            await ended(child)
            assert await server.reap(child.pid) == 0
