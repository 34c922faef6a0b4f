"""`talkwire relay` as a program: it says when it listens, follows its script, and ends with its figures."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from pipeline.cli import perform_command

DEADLINE_S = 20


@contextmanager
def relay_process(*options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "pipeline", "relay", "--listen=0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> dict[str, object]:
    assert process.stdout is not None
    said: dict[str, object] = json.loads(process.stdout.readline())
    return said


def test_it_follows_its_script_and_ends_with_its_figures(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(
        '[[step]]\ntoxics = []\n[[step]]\nat_s = 0.3\ntoxics = [{type = "reset_at", at_bytes = 2}]\n', encoding="utf-8"
    )
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(DEADLINE_S)
        port = upstream.getsockname()[1]
        with relay_process(f"--upstream={port}", f"--script={script}") as process:
            listening = line(process)
            assert listening["event"] == "listening"
            assert line(process) == {"event": "step", "at_s": 0.0, "toxics": []}
            with socket.create_connection(("127.0.0.1", int(str(listening["port"]))), DEADLINE_S) as client:
                there, _ = upstream.accept()
                with there:
                    there.settimeout(DEADLINE_S)
                    client.sendall(b"ab")
                    assert there.recv(2) == b"ab"
                    step = line(process)
                    assert (step["event"], step["at_s"]) == ("step", 0.3)
                    assert step["toxics"] == [{"type": "reset_at", "direction": "both", "at_bytes": 2}]
                    client.sendall(b"cdef")
                    assert there.recv(9) == b"cd"
                    with pytest.raises(ConnectionResetError):
                        there.recv(9)
            process.send_signal(signal.SIGINT)
            ended = line(process)
            assert (ended["event"], ended["connections"], ended["reset"], ended["up_bytes"]) == ("ended", 1, 1, 4)
            assert process.wait(DEADLINE_S) == 130


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--upstream=example.org:80"], 78, "upstream: must be this machine"),
        (["--upstream=80", "--toxic", "latency"], 78, "toxic latency, latency_ms: is missing"),
        (["--upstream=80", "--toxic", "down", "--script", "x.toml"], 2, "not both"),
        (["--upstream=80", "--script", "missing.toml"], 78, "cannot read missing.toml"),
        (["--upstream=80", "--listen=70000"], 2, "--listen wants a port from 0 to 65535"),
        (["--upstream=80", "--api=70000"], 2, "--api wants a port from 0 to 65535"),
        (["--upstream=80", "--api-key-file=x"], 2, "--api-key-file wants --api"),
        (["--upstream=80", "--api=0", "--api-key-file=/missing"], 78, "--api-key-file: cannot read the key file"),
        (["--upstream=80", "--toxic", "http_status"], 78, "toxic http_status, status: is missing"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listen = [] if any(option.startswith("--listen") for option in options) else ["--listen=0"]
    assert perform_command(["relay", *listen, *options]) == status
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert says in said[0]


def test_a_taken_port_is_exit_75(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert perform_command(["relay", f"--listen={port}", "--upstream=80"]) == 75
    assert f"port {port} on 127.0.0.1 cannot be listened on" in capsys.readouterr().err


def test_a_taken_api_port_is_exit_75(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert perform_command(["relay", "--listen=0", "--upstream=80", f"--api={port}"]) == 75
    assert f"port {port} on 127.0.0.1 cannot be listened on" in capsys.readouterr().err


@pytest.mark.parametrize("places", [{"file"}, {"environment"}, {"file", "environment"}])
def test_a_key_that_was_given_opens_the_api_and_is_not_printed_and_a_file_goes_first(
    places: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, options = "canary-of-the-relay", ["--api=0", "--upstream=80"]
    if "environment" in places:
        monkeypatch.setenv("TALKWIRE_RELAY_API_KEY", key if places == {"environment"} else "another")
    if "file" in places:
        (tmp_path / "key").write_text(f"{key}\n")
        options.append(f"--api-key-file={tmp_path / 'key'}")
    with relay_process(*options) as process:
        said = [line(process) for _ in range(3)]
        url = next(each["url"] for each in said if each["event"] == "api")
        asked = Request(f"{url}/statistics", headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - http on loopback
        with urlopen(asked, timeout=DEADLINE_S) as answer:  # noqa: S310
            assert json.loads(answer.read())["connections"] == 0
        assert key not in json.dumps(said)


def shown_at_a_terminal(until: bytes, *options: str) -> bytes:
    """All that a relay writes to a terminal, if it is interrupted once it has written `until`."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "pipeline", "relay", "--listen=0", "--upstream=80", "--toxic=stall", *options]
    with subprocess.Popen(command, stdout=terminal, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(terminal)
        shown = b""
        try:
            while until not in shown:
                shown += os.read(controller, 4_096)
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # EIO: nobody has the terminal open any more
                while more := os.read(controller, 4_096):
                    shown += more
            assert process.wait(DEADLINE_S) == 130
        finally:
            process.kill()
            os.close(controller)
    return shown


def test_at_a_terminal_it_draws_a_table_below_its_lines() -> None:
    shown = shown_at_a_terminal(b"down bytes")
    assert b"listening: 127.0.0.1:" in shown
    assert b"toxics in use" in shown
    wiped, _, ended = shown.rstrip().splitlines()[-1].partition(b"ended: ")
    assert wiped.endswith(b"\x1b[2K")
    assert json.loads(ended)["connections"] == 0


def test_json_is_json_also_at_a_terminal() -> None:
    lines = shown_at_a_terminal(b'"step"', "--json").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["listening", "step", "ended"]


def test_without_a_terminal_it_says_lines_and_no_more() -> None:
    command = [sys.executable, "-m", "pipeline", "relay", "--listen=0", "--upstream=80"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        lines += process.communicate(timeout=DEADLINE_S)[0].splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["listening", "step", "ended"]
