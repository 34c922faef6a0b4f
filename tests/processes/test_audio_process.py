"""The daemon in its two processes: `audio` is killed, stopped and starved, and the call goes on."""

import json
import os
import re
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


def audio_pid(endpoint: Any) -> int | None:
    """The pid of its child `audio`, if there is one."""
    for pid in Path("/proc").glob("[0-9]*"):
        try:
            command = (pid / "cmdline").read_bytes().split(b"\0")
            parent = int(re.search(r"PPid:\t(\d+)", (pid / "status").read_text())[1])  # type: ignore[index]  # always there
        except (OSError, TypeError):
            continue
        if parent == endpoint.process.pid and b"pipeline.child" in command:
            return int(pid.name)
    return None


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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "wedged"])
def test_the_call_survives_the_death_of_its_sound(daemon: Start, wait_until: WaitUntil, number: signal.Signals) -> None:
    endpoint = daemon()
    endpoint.until('"event":"timeline"')
    before = audio_pid(endpoint)
    assert before is not None
    os.kill(before, number)
    killed_s = monotonic()
    wait_until(lambda: audio_pid(endpoint) not in {before, None}, 10)
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
        wait_until(lambda: audio_pid(endpoint) not in {*killed, None}, 10)
        pid = audio_pid(endpoint)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    status, _, err = endpoint.end()
    assert status == 70
    assert err == "talkwire: giving up after too many restarts; the last: process audio crashed\n"


def test_no_process_outlives_a_daemon_that_was_killed(daemon: Start, wait_until: WaitUntil) -> None:
    endpoint = daemon()
    endpoint.until('"state":"listening"')
    child = audio_pid(endpoint)
    endpoint.process.kill()
    endpoint.process.wait()
    killed_s = monotonic()
    wait_until(lambda: not _lives(child), 2)
    print(f"the child was gone {(monotonic() - killed_s) * 1000:.0f} ms after its parent")


def test_a_stop_leaves_nothing_behind_and_releases_the_microphone_at_once(daemon: Start, wait_until: WaitUntil) -> None:
    endpoint = daemon()
    endpoint.until('"state":"user_speaking"')
    child = audio_pid(endpoint)
    endpoint.process.send_signal(signal.SIGINT)
    told_s = monotonic()
    status, _, err = endpoint.end()
    print(f"ended {(monotonic() - told_s) * 1000:.0f} ms after SIGINT")
    assert (status, err) == (130, "")
    assert not _lives(child)


def test_one_process_serves_as_well(daemon: Start) -> None:
    endpoint = daemon("--set=runtime.placement=single")
    endpoint.until('"event":"timeline"')
    assert audio_pid(endpoint) is None
    endpoint.process.terminate()
    assert endpoint.end()[0] == 0


def _lives(pid: int | None) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
