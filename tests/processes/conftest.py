"""Helpers of the tests that start real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import IO, Any

import pytest

from pipeline.vocabulary.configuration import shipped
from tests.official import refuse_flaws

PATIENCE_S = 60.0  # a loaded machine; nothing here waits that long when it works
WITHOUT_MODELS = [
    f"--set=server.{kind}=synthetic" for kind in ("voice_activity", "recogniser", "brain", "voice_engine")
]


class Talkwire:
    """One command in a session of its own, so that whatever it leaves behind can be found by its session id."""

    def __init__(self, *arguments: str, environ: dict[str, str], stdout: int | IO[str] = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            text=True,
            start_new_session=True,
        )

    def until(self, text: str) -> str:
        """Read its stdout up to the line that holds `text`; a program that never says it is killed after PATIENCE_S."""
        out: IO[str] | None = self.process.stdout
        assert out is not None
        impatient = threading.Timer(PATIENCE_S, self.process.kill)
        impatient.start()
        seen = []
        try:
            for line in out:
                seen.append(line)
                if text in line:
                    return line
        finally:
            impatient.cancel()
        raise AssertionError(f"it ended without saying {text!r}: {seen[-20:]}, {self.end()}")

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; exit code, the rest of stdout, stderr."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def family(self) -> list[int]:
        """Processes of its session that live, itself included."""
        return [pid for pid, session, state in _processes() if session == self.process.pid and state not in "ZX"]

    def fork_server(self) -> int | None:
        """The fork server of its process `audio`, if there is one."""
        return _child(self.process.pid)

    def audio(self) -> int | None:
        """Its process `audio`, if there is one."""
        server = self.fork_server()
        return None if server is None else _child(server)

    def kill(self) -> None:
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def _child(parent: int) -> int | None:
    """A child of this process that belongs to `audio`, and no `ldconfig` of trio's that is about to be executed."""
    with suppress(OSError):  # one of them has ended meanwhile
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"pipeline.child" in words and os.getpgid(int(pid)) == int(pid):
                return int(pid)
    return None


def _processes() -> Iterator[tuple[int, int, str]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        yield int(stat.parent.name), int(fields[3]), fields[0]


@pytest.fixture
def server_messages(tmp_path: Path) -> Callable[[], list[str]]:
    """All that servers among the started commands and their children have said so far."""
    folder = tmp_path / "server_messages"
    folder.mkdir()
    return lambda: [line for file in sorted(folder.iterdir()) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def talkwire(tmp_path: Path, server_messages: Callable[[], list[str]]) -> Iterator[Callable[..., Talkwire]]:
    """Starts commands: `talkwire("demo", "--json", environ={...})`; none survives the test.

    Whatever a server among them says, the official client's types know it. They share a runtime directory that nobody
    else has, for other daemons run on this machine at the same time.
    """
    started: list[Talkwire] = []
    tree = Path(__file__).parents[
        2
    ]  # before whatever is installed: sitecustomize imports it while there is no sys.path[0]
    shared = {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("recording")), str(tree)]),
        "SERVER_MESSAGES": str(tmp_path / "server_messages"),
    }

    def start(
        *arguments: str, environ: dict[str, str] | None = None, stdout: int | IO[str] = subprocess.PIPE
    ) -> Talkwire:
        started.append(Talkwire(*arguments, environ={**shared, **(environ or {})}, stdout=stdout))
        return started[-1]

    with TemporaryDirectory(prefix="talkwire-") as private:  # short: the path of a socket in it is bounded
        shared["XDG_RUNTIME_DIR"] = private
        yield start
        for command in started:
            command.kill()
    refuse_flaws(server_messages())


@pytest.fixture
def daemon(talkwire: Callable[..., Talkwire]) -> Callable[..., Talkwire]:
    """Starts an endpoint beside a server and a backend of its own; `daemon("--set=...", environ={...})` is it."""

    def start(*arguments: str, **options: Any) -> Talkwire:
        server = talkwire("serve", "--port=0", "--json", *WITHOUT_MODELS)
        port = json.loads(server.until("ready"))["port"]
        mint = f"--set=tokens.provider_url=http://127.0.0.1:{port}/v1/realtime/client_secrets"
        backend = json.loads(talkwire("tokens", "--port=0", "--json", mint).until("ready"))["port"]
        return talkwire(
            "run", "--json", "--set=audio.output=none:",
            f"--set=audio.input=synthetic:{shipped('questions') / 'hello.wav'}",
            f"--set=service.url=ws://127.0.0.1:{port}/v1/realtime",
            f"--set=token.url=http://127.0.0.1:{backend}/realtime/token",
            *arguments, **options,
        )  # fmt: skip

    return start


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool], float], None]:
    """Poll until something is so: `wait_until(condition, seconds)`."""

    def wait(condition: Callable[[], bool], patience_s: float) -> None:
        deadline = monotonic() + patience_s
        while not condition():
            assert monotonic() < deadline, "it did not come about"
            signal.sigtimedwait([], 0.02)

    return wait
