"""The daemon in its two processes: `audio` is killed, stopped and starved, and the call goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

Start = Callable[..., Any]
WaitUntil = Callable[[Callable[[], bool], float], None]


def test_each_process_imports_only_what_belongs_to_it() -> None:
    foreign = {
        "pipeline.child": {"trio_websocket", "wsproto", "httpx", "h11", "litestar", "anycorn"},
        "pipeline.app": {"sounddevice"},
    }
    for module, refused in foreign.items():
        listed = subprocess.run(
            [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        loaded = {name.partition(".")[0] for name in listed.stdout.split()}
        assert not loaded & refused, module


def test_what_the_fork_server_imports_starts_no_thread_and_touches_no_sound(
    daemon: Start, wait_until: WaitUntil
) -> None:
    endpoint = daemon()
    wait_until(lambda: endpoint.audio() is not None, 20)
    server = Path("/proc", str(endpoint.fork_server()))
    assert len(list((server / "task").iterdir())) == 1, "a fork takes no thread along"
    assert "portaudio" not in (server / "maps").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "wedged"])
def test_the_call_survives_the_death_of_its_sound(daemon: Start, wait_until: WaitUntil, number: signal.Signals) -> None:
    endpoint = daemon()
    endpoint.until('"event":"timeline"')
    before = endpoint.audio()
    assert before is not None
    os.kill(before, number)
    killed_s = monotonic()
    wait_until(lambda: endpoint.audio() not in {before, None}, 10)
    print(f"{number.name}: a new process after {(monotonic() - killed_s) * 1000:.0f} ms")
    endpoint.until('"process audio restarted')
    lines = [endpoint.until('"state":') for _ in range(3)]
    endpoint.until('"event":"timeline"')
    assert not any("reconnecting" in line for line in lines), "the session and its conversation live on"
    endpoint.process.terminate()
    status, out, _ = endpoint.end()
    assert status == 0
    frames = json.loads(out.splitlines()[-1])["frames"]
    assert frames.pop("captured") == sum(frames.values())


def test_a_crash_loop_of_the_sound_ends_the_daemon_with_70(daemon: Start, wait_until: WaitUntil) -> None:
    endpoint = daemon()
    endpoint.until('"state":"listening"')
    killed: set[int] = set()
    while len(killed) < 6:
        wait_until(lambda: endpoint.audio() not in {*killed, None}, 10)
        pid = endpoint.audio()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    status, out, err = endpoint.end()
    assert status == 70
    assert err == "talkwire: giving up after too many restarts; the last: process audio crashed\n"
    assert "reconnecting" not in out, "nothing is tried again"


def test_no_process_outlives_a_daemon_that_was_killed(daemon: Start, wait_until: WaitUntil) -> None:
    endpoint = daemon()
    endpoint.until('"state":"listening"')
    wait_until(lambda: endpoint.audio() is not None, 10)
    server, child = endpoint.fork_server(), endpoint.audio()
    endpoint.process.kill()
    endpoint.process.wait()
    killed_s = monotonic()
    wait_until(lambda: not _lives(child) and not _lives(server), 0.3)
    print(f"its processes were gone {(monotonic() - killed_s) * 1000:.0f} ms after it")


def test_a_stop_leaves_nothing_behind_and_releases_the_microphone_at_once(daemon: Start, wait_until: WaitUntil) -> None:
    endpoint = daemon()
    endpoint.until('"state":"user_speaking"')
    server, child = endpoint.fork_server(), endpoint.audio()
    endpoint.process.send_signal(signal.SIGINT)
    told_s = monotonic()
    status, _, err = endpoint.end()
    print(f"ended {(monotonic() - told_s) * 1000:.0f} ms after SIGINT")
    assert (status, err) == (130, "")
    assert not _lives(child)
    assert not _lives(server)


def test_one_process_serves_as_well(daemon: Start) -> None:
    endpoint = daemon("--set=runtime.placement=single")
    endpoint.until('"event":"timeline"')
    assert endpoint.fork_server() is None
    endpoint.process.terminate()
    assert endpoint.end()[0] == 0


def _lives(pid: int | None) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
