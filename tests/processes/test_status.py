"""`talkwire status` beside a real daemon, as somebody at the machine uses it."""

import json
import os
import pty
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pytest

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], float], None]
NOBODY = ("--set=service.url=ws://127.0.0.1:9/v1/realtime", "--set=token.url=http://127.0.0.1:9/realtime/token")
DEVICES = ("--set=audio.input=none:", "--set=audio.output=none:")


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory of this test's own; its path is short enough for a socket."""
    with TemporaryDirectory(prefix="talkwire-") as name:
        yield Path(name)


def start_daemon(talkwire: Start, placement: str, runtime: Path) -> Any:
    """A daemon without a service: it goes on trying, and everything else is there to be seen."""
    daemon = talkwire("run", "--json", *NOBODY, *DEVICES, f"--set=runtime.placement={placement}", at(runtime))
    daemon.until('"state":"reconnecting"')
    return daemon


def at(runtime: Path) -> str:
    return f"--set=runtime.directory={runtime}"


@pytest.fixture
def look(talkwire: Start, runtime: Path) -> Callable[[], dict[str, Any]]:
    """The snapshot as `talkwire status --json` prints it, now."""

    def ask() -> dict[str, Any]:
        status, out, err = talkwire("status", "--json", at(runtime)).end()
        assert (status, err) == (1, ""), "there is no line to the service"
        decoded: dict[str, Any] = json.loads(out)
        return decoded

    return ask


def test_without_a_daemon_it_says_so_in_one_line(talkwire: Start, runtime: Path) -> None:
    status, out, err = talkwire("status", at(runtime)).end()
    assert (status, out) == (3, "")
    assert err == f"talkwire: no daemon runs in {runtime}; start one with: talkwire run\n"


@pytest.mark.parametrize("flags", [(), ("--json",), ("--watch",)])
def test_a_full_disk_is_told_in_one_line(talkwire: Start, runtime: Path, flags: tuple[str, ...]) -> None:
    start_daemon(talkwire, "single", runtime)
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        status, _, err = talkwire("status", *flags, at(runtime), stdout=full).end()
    assert (status, err) == (2, "talkwire: cannot write to stdout: No space left on device\n")


def test_it_shows_a_daemon_in_one_process(talkwire: Start, runtime: Path, look: Callable[[], dict[str, Any]]) -> None:
    daemon = start_daemon(talkwire, "single", runtime)
    shown = look()
    assert [(each["name"], each["pid"]) for each in shown["processes"]] == [("main", daemon.process.pid)]
    assert {actor["process"] for actor in shown["actors"]} == {"main"}
    assert [trouble.partition(":")[0] for trouble in shown["troubles"]] == ["there is no line to the service"]
    assert all(len(link["sides"]) == 1 for link in shown["links"])
    status, out, err = talkwire("status", at(runtime)).end()
    assert (status, err) == (1, "")
    assert out.splitlines()[0].startswith("talkwire ")
    assert ": reconnecting for " in out
    assert len(out.splitlines()) <= 24


def test_a_killed_process_is_seen_to_be_gone_and_to_come_back(
    talkwire: Start, runtime: Path, look: Callable[[], dict[str, Any]], wait_until: Wait
) -> None:
    daemon = start_daemon(talkwire, "daemon", runtime)
    watcher = talkwire("status", "--watch", "--json", at(runtime))
    watcher.until('"event":"snapshot"')
    reader = talkwire("status", "--watch", at(runtime))
    assert reader.until("there is no line to the service").startswith("reconnecting; ")
    before = look()
    audio = before["processes"][1]
    assert (audio["name"], audio["state"], audio["restarts"]) == ("audio", "running", 0)
    assert audio["beat_age_s"] < 5
    assert {len(link["sides"]) for link in before["links"]} == {1, 2}
    server = daemon.fork_server()
    assert server is not None
    os.kill(server, signal.SIGKILL)  # takes `audio` along, whose successor could otherwise be there before we look
    for state in ("gone", "open"):
        wait_until(lambda: state_of("loudspeaker", runtime) == state, 10)  # noqa: B023 - asked before it changes
    assert '"cause":"restarted"' in watcher.until('"event":"fault","fault":{"kind":"Actor"')

    def is_back() -> bool:
        again = look()["processes"][1]
        return bool(again["state"] == "running" and again["restarts"] == 1 and again["pid"] != audio["pid"])

    wait_until(is_back, 20)
    assert look()["processes"][1]["ended"] == "crashed"
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.end()[0] == 0
    status, out, err = watcher.end()
    assert (status, err) == (3, "talkwire: the daemon has ended\n")
    assert '"event":"finished"' in out
    assert reader.end()[0] == 3


def test_at_a_terminal_it_draws_one_screen_again_and_again_until_interrupted(talkwire: Start, runtime: Path) -> None:
    start_daemon(talkwire, "daemon", runtime)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        os.execv(sys.executable, [sys.executable, "-m", "pipeline", "status", "--watch", at(runtime)])  # noqa: S606 - as from a shell
    screens = b""
    deadline = monotonic() + 60
    while screens.count(b"talkwire 0.") < 3:
        assert monotonic() < deadline, screens
        if select.select([terminal], [], [], 0.1)[0]:
            screens += os.read(terminal, 65_536)
    os.write(terminal, b"\x03")
    while True:
        try:
            if not (rest := os.read(terminal, 65_536)):
                break
        except OSError:  # EIO: it has ended
            break
        screens += rest
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    last = screens.rpartition(b"talkwire 0.")[2]
    assert b"\x1b[1;31mreconnecting\x1b[0m" in last, "in red"
    assert all(word in last for word in (b"microphone", b"audio", b"playback", b"uplink"))
    assert screens.count(b"\x1b[?25h") == screens.count(b"\x1b[?25l") == 1, "the cursor is back"
    assert last.count(b"\r\n") <= 24


def say(runtime: Path, line: str) -> str:
    """One line to the control socket; what is answered."""
    with socket.socket(socket.AF_UNIX) as control, control.makefile() as answers:
        control.settimeout(20)
        control.connect(str(runtime / "control.sock"))
        control.sendall(f"{line}\n".encode())
        return answers.readline()


def hammer(runtime: Path, ops: list[str], times: int) -> None:
    """Ask for these by turns as fast as they are answered; whoever is refused and hung up on, calls again."""
    asked = 0
    while asked < times:
        with socket.socket(socket.AF_UNIX) as control, control.makefile() as answers:
            control.settimeout(20)
            control.connect(str(runtime / "control.sock"))
            while asked < times:
                control.sendall("".join(f'{{"op":"{op}"}}\n' for op in ops).encode())
                asked += 1
                if not all("accepted" in answers.readline() for _ in ops):
                    break


def state_of(device: str, runtime: Path) -> str:
    """How the microphone or the loudspeaker stands now."""
    return str(json.loads(say(runtime, '{"op":"status"}'))[device]["state"])


@pytest.mark.parametrize("placement", ["single", "daemon"])
def test_hundreds_of_asks_for_mute_and_unmute_end_nothing_and_the_last_one_counts(
    daemon: Start, runtime: Path, wait_until: Wait, placement: str
) -> None:
    endpoint = daemon(at(runtime), f"--set=runtime.placement={placement}")
    endpoint.until('"event":"voice","active":true')
    hammer(runtime, ["mute", "unmute"], 300)
    say(runtime, '{"op":"mute"}')
    wait_until(lambda: state_of("microphone", runtime) == "closed", 5)
    if placement == "daemon":  # nor while nobody takes what is said to the microphone
        audio = endpoint.audio()
        assert audio is not None
        os.kill(audio, signal.SIGSTOP)
    hammer(runtime, ["unmute", "mute"], 300)
    say(runtime, '{"op":"unmute"}')
    wait_until(lambda: state_of("microphone", runtime) == "open", 10)
    endpoint.process.terminate()
    status, out, err = endpoint.end()
    assert (status, err) == (0, "")
    assert "actor session" not in out


@pytest.mark.parametrize("placement", ["single", "daemon"])
def test_a_healthy_daemon_is_muted_and_unmuted_over_its_socket(
    daemon: Start, talkwire: Start, runtime: Path, placement: str
) -> None:
    endpoint = daemon(at(runtime), f"--set=runtime.placement={placement}")
    endpoint.until('"event":"voice","active":true')
    endpoint.until('"event":"timeline"')
    status, out, err = talkwire("status", at(runtime)).end()
    assert (status, err) == (0, "")
    assert "microphone open synthetic:" in out
    assert "loudspeaker open none:" in out

    assert say(runtime, '{"op":"mute"}') == '{"event":"accepted","op":"mute"}\n'
    endpoint.until('"state":"muted"')
    before, after = (json.loads(say(runtime, '{"op":"status"}')) for _ in range(2))
    assert before["microphone"]["state"] == "closed"
    assert before["session"]["muted"]
    assert before["frames"] == after["frames"]

    assert say(runtime, '{"op":"unmute"}') == '{"event":"accepted","op":"unmute"}\n'
    endpoint.until('"state":"user_speaking"')
    assert json.loads(say(runtime, '{"op":"status"}'))["microphone"]["state"] == "open"
    assert "turn.mode is server_vad" in say(runtime, '{"op":"talk","on":true}')
    assert say(runtime, '{"op":"stop"}') == '{"event":"accepted","op":"stop"}\n'
    status, out, err = endpoint.end()
    assert (status, err) == (0, "")
    assert '"event":"finished"' in out


def test_the_talk_key_is_pressed_over_the_socket(daemon: Start, runtime: Path) -> None:
    endpoint = daemon(at(runtime), "--set=turn.mode=push_to_talk")
    endpoint.until('"state":"listening"')
    say(runtime, '{"op":"talk","on":true}')
    endpoint.until('"state":"user_speaking"')
    endpoint.until('"event":"voice","active":true')
    say(runtime, '{"op":"talk","on":false}')
    endpoint.until('"state":"thinking"')
    endpoint.until('"state":"speaking"')


def test_what_a_reload_says_reaches_those_who_watch(daemon: Start, talkwire: Start, runtime: Path) -> None:
    endpoint = daemon(at(runtime))
    endpoint.until('"state":"listening"')
    watcher = talkwire("status", "--watch", "--json", at(runtime))
    watcher.until('"event":"snapshot"')
    endpoint.process.send_signal(signal.SIGHUP)
    watcher.until('"event":"reload"')
