"""The daemon's life among other programs: how it stops, that it is alone, what it tells its service manager."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

Start = Callable[..., Any]
WaitUntil = Callable[[Callable[[], bool], float], None]
BLOCK = bytes(960)
BLOCK_S = 0.02
STOPS = int(os.environ.get("STOPS", "20"))


class Robot:
    """A microphone behind a socket, in a thread of its own.

    Attributes:
        held: the daemon has it.
        released_s: when the daemon last let go of it.
        silent: it keeps the daemon waiting.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = False
        self.released_s = 0.0
        self.silent = False
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                with line:
                    self.held = True
                    self._speak(line)
                    self.held, self.released_s = False, monotonic()

    def _speak(self, line: socket.socket) -> None:
        line.settimeout(BLOCK_S)
        with suppress(ConnectionError):
            while not self._closing:
                with suppress(TimeoutError):
                    line.recv(1)
                    return
                if not self.silent:
                    line.send(BLOCK)


class Manager:
    """Stands in for systemd: a NOTIFY_SOCKET, and when it was told what."""

    def __init__(self, address: str) -> None:
        self.told: list[tuple[float, str]] = []
        self.environ = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def since(self, at_s: float, word: str) -> list[float]:
        """When it was told `word` after `at_s`."""
        return [told_s for told_s, text in list(self.told) if told_s > at_s and word in text.split("\n")]

    def _listen(self) -> None:
        while text := self._socket.recv(4096).decode():
            self.told.append((monotonic(), text))


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[Robot]:
    robot = Robot(tmp_path / "microphone")
    yield robot
    robot.close()


@pytest.fixture
def listening_daemon(daemon: Start, robot: Robot, wait_until: WaitUntil) -> Start:
    """Starts a daemon that hears the robot, and waits until it does."""

    def start(**options: Any) -> Any:
        endpoint = daemon(f"--set=audio.input=unix:{robot.path}", **options)
        wait_until(lambda: robot.held, 20)
        return endpoint

    return start


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def away(*arguments: str) -> list[str]:
    """An endpoint whose service is away: it needs nobody else, and is never done."""
    silent = ["--set=audio.input=none:", "--set=audio.output=none:"]
    return ["run", "--json", *silent, "--set=token.url=http://127.0.0.1:9/realtime/token", *arguments]


# stopping


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_releases_the_microphone_at_once_and_ends_it_soon(
    listening_daemon: Start, robot: Robot, number: signal.Signals, expected: int
) -> None:
    endpoint = listening_daemon()
    told_s = monotonic()
    endpoint.process.send_signal(number)
    status, _, err = endpoint.end()
    ended_s = monotonic() - told_s
    released_s = robot.released_s - told_s
    print(f"{number.name}: microphone released after {released_s * 1000:.0f} ms, ended after {ended_s * 1000:.0f} ms")
    assert (status, err, endpoint.family()) == (expected, "", [])
    assert released_s <= 0.2
    assert ended_s <= 5


@pytest.mark.parametrize("wedged", [False, True], ids=["well", "wedged"])
def test_a_second_signal_ends_it_at_once(listening_daemon: Start, robot: Robot, wedged: bool) -> None:  # noqa: FBT001 - a parameter
    endpoint = listening_daemon()
    if wedged:
        os.kill(endpoint.audio(), signal.SIGSTOP)
    endpoint.process.send_signal(signal.SIGTERM)
    signal.sigtimedwait([], 0.05)
    told_s = monotonic()
    endpoint.process.send_signal(signal.SIGTERM)
    status, _, err = endpoint.end()
    ended_s = monotonic() - told_s
    print(f"ended {ended_s * 1000:.0f} ms after the second signal")
    assert status in {0, -signal.SIGTERM}  # the latter if it came when all work was done and only the exit was left
    assert (err, endpoint.family()) == ("", [])
    assert ended_s <= 0.7


@pytest.mark.parametrize("wedged", [False, True], ids=["well", "wedged"])
def test_row_54_no_process_keeps_the_microphone_of_a_daemon_that_was_killed(
    listening_daemon: Start,
    robot: Robot,
    wait_until: WaitUntil,
    wedged: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    endpoint = listening_daemon()
    if wedged:
        os.kill(endpoint.audio(), signal.SIGSTOP)
    told_s = monotonic()
    endpoint.process.kill()
    wait_until(lambda: not endpoint.family(), 0.3)
    wait_until(lambda: not robot.held, 0.1)
    print(f"microphone released {(robot.released_s - told_s) * 1000:.0f} ms after the daemon was killed")


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1])
def test_row_54_not_even_a_child_that_is_just_starting_outlives_a_daemon_that_was_killed(
    talkwire: Start, wait_until: WaitUntil, after_s: float
) -> None:
    endpoint = talkwire(*away())
    wait_until(lambda: endpoint.fork_server() is not None, 20)
    signal.sigtimedwait([], after_s)
    endpoint.process.kill()
    wait_until(lambda: not endpoint.family(), 0.3)


def test_the_end_of_its_terminal_is_the_end_of_it(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    endpoint = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "pipeline", *away()],
        stdin=terminal, stdout=terminal, stderr=terminal, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    os.close(terminal)
    said = b""
    while b"reconnecting" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    assert endpoint.wait(5) == -signal.SIGHUP, "nobody could see any more that it listens"


def test_stops_at_random_moments_leave_nothing_behind(talkwire: Start) -> None:
    dice = random.Random(5)
    took_ms = []
    for _ in range(STOPS):
        endpoint = talkwire(*away())
        signal.sigtimedwait([], dice.uniform(0, 2))
        number = dice.choice([signal.SIGTERM, signal.SIGINT])
        told_s = monotonic()
        endpoint.process.send_signal(number)
        status, _, err = endpoint.end()
        took_ms.append((monotonic() - told_s) * 1000)
        before_ours = status == -number or (status == 1 and "pipeline" not in err)  # Python itself was starting
        assert before_ours or (status, err) == (130 if number == signal.SIGINT else 0, "")
        assert endpoint.family() == []
    took_ms.sort()
    print(f"{STOPS} stops: median {took_ms[STOPS // 2]:.0f} ms, longest {took_ms[-1]:.0f} ms, nothing left")


# one instance


def test_row_55_a_second_daemon_is_refused_and_told_who_is_there(talkwire: Start) -> None:
    first = talkwire(*away())
    first.until('"state":')
    status, out, err = talkwire(*away()).end()
    assert (status, out) == (75, "")
    assert err.startswith(f"talkwire: already running: process {first.process.pid} holds ")
    assert err.count("\n") == 1
    first.process.kill()
    first.end()
    talkwire(*away()).until('"state":')  # no lock is left behind


# settings read again


def test_sighup_applies_what_can_be_and_names_what_cannot(
    daemon: Start, server_messages: Callable[[], list[str]], tmp_path: Path, manager: Manager, wait_until: WaitUntil
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    endpoint = daemon(f"--config={settings}", environ=manager.environ)
    endpoint.until('"state":"listening"')
    wait_until(lambda: bool(manager.since(0, "READY=1")), 10)
    settings.write_text('[audio]\nvolume = 0.5\nfade_ms = 5\n[conversation]\ninstructions = "Speak like a pirate."\n')
    endpoint.process.send_signal(signal.SIGHUP)
    assert json.loads(endpoint.until('"event":"reload"')) == {
        "event": "reload",
        "applied": ["audio.volume", "conversation.instructions"],
        "needs_restart": ["audio.fade_ms"],
        "problems": [],
    }
    settings.write_text("[audio]\nvolume = 2.0\n")
    endpoint.process.send_signal(signal.SIGHUP)
    kept = json.loads(endpoint.until('"event":"reload"'))
    assert kept["problems"] == ["audio.volume: expected a number from 0 to 1, got 2 (settings.toml)"]
    assert not kept["applied"]
    endpoint.process.terminate()
    assert endpoint.end()[0] == 0
    updates = [json.loads(line) for line in server_messages() if '"session.updated"' in line]
    assert updates[-1]["session"]["instructions"] == "Speak like a pirate."
    words = [text.split("\n")[0] for _, text in manager.told]
    assert [word for word in words if word in {"RELOADING=1", "READY=1"}] == [
        "READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"
    ]  # fmt: skip


def test_a_stop_while_settings_are_read_again_and_again_is_an_ordinary_end(
    talkwire: Start, tmp_path: Path, wait_until: WaitUntil
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    endpoint = talkwire(*away(f"--config={settings}"))
    endpoint.until('"state":"reconnecting"')
    settings.unlink()
    os.mkfifo(settings)  # as slow as any medium: nobody writes into it
    held = os.open(settings, os.O_RDWR)
    descriptors = Path(f"/proc/{endpoint.process.pid}/fd")

    def is_reading() -> bool:
        with suppress(OSError):  # one of them has been closed meanwhile
            return any(each.readlink() == settings for each in descriptors.iterdir())
        return False

    endpoint.process.send_signal(signal.SIGHUP)
    wait_until(is_reading, 10)
    endpoint.process.send_signal(signal.SIGHUP)
    endpoint.process.terminate()
    status, _, err = endpoint.end()
    os.close(held)
    assert (status, err) == (0, "")


# the service manager


@pytest.mark.parametrize("address", ["{path}", "@talkwire-test-{pid}"], ids=["path", "abstract"])
def test_the_service_manager_learns_that_it_serves_what_it_does_and_that_it_stops(
    daemon: Start, tmp_path: Path, address: str
) -> None:
    manager = Manager(address.format(path=tmp_path / "socket", pid=os.getpid()))
    endpoint = daemon(environ=manager.environ)
    endpoint.until('"state":"user_speaking"')
    endpoint.process.terminate()
    assert endpoint.end()[0] == 0
    manager.close()
    words = [text for _, text in manager.told]
    order = ["STATUS=connecting", "STATUS=listening", "READY=1", "STATUS=user speaking", "STOPPING=1", "STATUS=idle"]
    assert [word for word in words if word in order] == sorted(order, key=words.index)
    assert set(order) <= set(words)
    assert not any(word.startswith("WATCHDOG") for word in words), "nobody watches"


def test_a_service_that_is_away_is_an_honest_state_to_be_ready_in(
    talkwire: Start, manager: Manager, wait_until: WaitUntil
) -> None:
    talkwire(*away(), environ=manager.environ)
    wait_until(lambda: bool(manager.since(0, "READY=1")), 20)
    before = [text for _, text in manager.told[: [text for _, text in manager.told].index("READY=1")]]
    assert any(text.startswith("STATUS=reconnecting; last trouble: ") for text in before)


@pytest.mark.parametrize("who", ["audio", "main"])
def test_row_53_no_sign_of_life_comes_from_a_daemon_of_which_a_part_stands_still(
    daemon: Start, manager: Manager, wait_until: WaitUntil, who: str
) -> None:
    endpoint = daemon(environ={**manager.environ, "WATCHDOG_USEC": "200000"})
    endpoint.until('"state":"listening"')
    wait_until(lambda: len(manager.since(0, "WATCHDOG=1")) > 5, 10)
    stopped = endpoint.process.pid if who == "main" else endpoint.audio()
    os.kill(stopped, signal.SIGSTOP)
    stopped_s = monotonic()
    if who == "main":
        signal.sigtimedwait([], 1.0)
        assert not manager.since(stopped_s + 0.1, "WATCHDOG=1")
        os.kill(stopped, signal.SIGCONT)
    else:
        wait_until(lambda: stopped not in endpoint.family(), 10)  # its supervisor has replaced it
        replaced_s = monotonic()
        signs = manager.since(stopped_s, "WATCHDOG=1")
        last_s = max((sign for sign in signs if sign < replaced_s - 0.05), default=stopped_s)
        print(
            f"last sign {(last_s - stopped_s) * 1000:.0f} ms after the stop, {(replaced_s - last_s) * 1000:.0f} ms none"
        )
        assert last_s - stopped_s <= 0.7  # a beat may be half a second late, and then the process is replaced
    again_s = monotonic()
    wait_until(lambda: bool(manager.since(again_s, "WATCHDOG=1")), 10)


def test_no_sign_of_life_comes_from_a_daemon_whose_open_microphone_gives_nothing(
    listening_daemon: Start, robot: Robot, manager: Manager, wait_until: WaitUntil
) -> None:
    listening_daemon(environ={**manager.environ, "WATCHDOG_USEC": "200000"})
    wait_until(lambda: len(manager.since(0, "WATCHDOG=1")) > 5, 10)
    robot.silent = True
    silent_s = monotonic()
    signal.sigtimedwait([], 2.5)
    assert not manager.since(silent_s + 1.5, "WATCHDOG=1")
    robot.silent = False
    heard_s = monotonic()
    wait_until(lambda: bool(manager.since(heard_s, "WATCHDOG=1")), 10)


# resources


def test_row_57_a_full_disk_costs_lines_and_not_the_call(
    listening_daemon: Start, robot: Robot, tmp_path: Path, wait_until: WaitUntil
) -> None:
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as stdout:
        endpoint = listening_daemon(stdout=stdout)
    pid = endpoint.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 20, unlimited[1]))  # no room for a line
    for _ in range(3):
        endpoint.process.send_signal(signal.SIGHUP)
        signal.sigtimedwait([], 0.3)
    assert endpoint.process.poll() is None
    assert robot.held
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    endpoint.process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"event":"omitted"' in log.read_text(), 10)
    endpoint.process.terminate()
    assert endpoint.process.wait(20) == 0
    lines = log.read_text().splitlines()
    assert json.loads(next(line for line in lines if "omitted" in line)) == {
        "event": "omitted", "count": 3, "cause": "output"
    }  # fmt: skip
    assert json.loads(lines[-1])["event"] == "finished"


def test_row_58_without_a_free_descriptor_the_session_lives_and_the_rest_recovers(
    listening_daemon: Start, robot: Robot, wait_until: WaitUntil
) -> None:
    endpoint = listening_daemon()
    pid = endpoint.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, unlimited[1]))  # what is open stays open; nothing more opens
    wedged = endpoint.audio()
    os.kill(wedged, signal.SIGKILL)  # its next life needs descriptors
    signal.sigtimedwait([], 1.5)
    assert endpoint.process.poll() is None
    resource.prlimit(pid, resource.RLIMIT_NOFILE, unlimited)
    wait_until(lambda: endpoint.audio() is not None, 5)
    wait_until(lambda: robot.held, 5)
    endpoint.process.terminate()
    status, out, err = endpoint.end()
    assert (status, err) == (0, "")
    assert '"reconnecting"' not in out


def test_row_58_without_a_free_descriptor_connecting_is_tried_again(talkwire: Start) -> None:
    endpoint = talkwire(*away())
    endpoint.until('"cause":"refused"')
    pid = endpoint.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, unlimited[1]))
    endpoint.until('"cause":"descriptors"')
    resource.prlimit(pid, resource.RLIMIT_NOFILE, unlimited)
    endpoint.until('"cause":"refused"')
    endpoint.process.terminate()
    assert endpoint.end()[::2] == (0, "")
