"""`talkwire demo` as people start it: a spoken turn, bad input, Ctrl-C at every stage, no orphan."""

import json
import os
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.vocabulary.configuration import shipped

Start = Callable[..., Any]
WaitUntil = Callable[[Callable[[], bool], float], None]
AWAY = "--set=service.url=wss://127.0.0.1:9/v1/realtime"  # a service that is elsewhere, so that no engines are loaded


def write_wav(path: Path, seconds: float, *, rate_hz: int = 24_000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes((b"\x80" if width == 1 else b"\0\0") * round(seconds * rate_hz) * channels)
    return path


@pytest.mark.engines
def test_a_spoken_turn(talkwire: Start, tmp_path: Path) -> None:
    demo = talkwire("demo", "--json", f"--output={tmp_path}")
    status, out, err = demo.end()
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert list(result["timeline_ms"])[-1] == "first_audible_sample"
    assert 0 < result["timeline_ms"]["speech_stopped"] < result["timeline_ms"]["first_audible_sample"]
    assert "opening hours" in result["transcripts"]["user"].lower()
    assert "nine" in result["transcripts"]["assistant"]
    assert result["frames"]["captured"] == sum(result["frames"].values()) - result["frames"]["captured"]
    assert json.loads(Path(result["files"]["result"]).read_bytes()) == result
    assert Path(result["files"]["timeline"]).read_text().startswith("<svg")
    with wave.open(result["files"]["reply"]) as reply:
        assert any(reply.readframes(reply.getnframes()))
    assert demo.family() == []


@pytest.mark.engines
def test_a_human_recording_with_a_key_that_ends_the_question(talkwire: Start, tmp_path: Path) -> None:
    question = shipped("questions") / "go_forward.wav"
    status, out, err = talkwire("demo", "--push-to-talk", f"--input={question}", f"--output={tmp_path}").end()
    assert (status, err) == (0, "")
    assert "Go forward ten meters" in out
    assert "first_audible_sample" in out


@pytest.mark.engines
def test_silence_is_exit_3(talkwire: Start, tmp_path: Path) -> None:
    question = write_wav(tmp_path / "silence.wav", 1.0)
    status, out, err = talkwire("demo", "--json", f"--input={question}", f"--output={tmp_path}").end()
    assert (status, out) == (3, "")
    assert "nothing was heard" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"not a WAV file at all", None])
def test_a_question_that_cannot_be_read_is_one_line_and_exit_2(
    talkwire: Start, tmp_path: Path, content: bytes | None
) -> None:
    question = tmp_path / "question.wav"
    if content is not None:
        question.write_bytes(content)
    demo = talkwire("demo", "--json", f"--input={question}", f"--output={tmp_path}")
    status, out, err = demo.end()
    assert (status, out) == (2, "")
    assert err.startswith(f"talkwire: cannot read {question}: ")
    assert err.count("\n") == 1
    assert demo.family() == []


def test_a_folder_that_cannot_be_written_is_exit_2(talkwire: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    status, _, err = talkwire("demo", f"--output={tmp_path / 'file' / 'folder'}").end()
    assert status == 2
    assert err == f"talkwire: cannot write into {tmp_path / 'file' / 'folder'}: Not a directory\n"


def test_the_real_service_needs_a_key(talkwire: Start, tmp_path: Path) -> None:
    no_key = {"OPENAI_API_KEY_FILE": str(tmp_path / "none")}
    status, _, err = talkwire("demo", "--openai", f"--output={tmp_path}", environ=no_key).end()
    assert status == 78
    assert err.startswith("talkwire: OPENAI_API_KEY_FILE: ")
    assert err.count("\n") == 1


@pytest.mark.engines
def test_a_wrong_key_is_exit_78(talkwire: Start, tmp_path: Path) -> None:
    server = talkwire("serve", "--port=0", "--json", environ={"OPENAI_API_KEY": "sk-right"})
    port = json.loads(server.until("listening"))["port"]
    provider = f"--set=tokens.provider_url=http://127.0.0.1:{port}/v1/realtime/client_secrets"
    demo = talkwire("demo", AWAY, provider, f"--output={tmp_path}", environ={"OPENAI_API_KEY": "sk-wrong-canary"})
    status, _, err = demo.end()
    assert status == 78
    assert "401" in err
    assert err.count("\n") == 1
    assert "canary" not in err
    assert demo.family() == []


@pytest.mark.engines
def test_an_endpoint_whose_backend_has_a_wrong_key_ends_with_78(talkwire: Start) -> None:
    server = talkwire("serve", "--port=0", "--json", environ={"OPENAI_API_KEY": "sk-right"})
    port = json.loads(server.until("listening"))["port"]
    provider = f"--set=tokens.provider_url=http://127.0.0.1:{port}/v1/realtime/client_secrets"
    backend = talkwire("tokens", "--port=0", "--json", provider, environ={"OPENAI_API_KEY": "sk-wrong-canary"})
    url = f"http://127.0.0.1:{json.loads(backend.until('ready'))['port']}/realtime/token"
    endpoint = talkwire("run", "--set=audio.input=none:", "--set=audio.output=none:", f"--set=token.url={url}")
    status, _, err = endpoint.end()
    assert status == 78
    assert "its owner must check it" in err
    assert err.count("\n") == 1


def test_a_provider_that_is_away_is_exit_78(talkwire: Start, tmp_path: Path) -> None:
    away = "--set=tokens.provider_url=https://127.0.0.1:9/v1/realtime/client_secrets"
    status, _, err = talkwire("demo", AWAY, away, f"--output={tmp_path}", environ={"OPENAI_API_KEY": "sk-any"}).end()
    assert status == 78
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("stdout", "command"),
    [("full", ["--help"]), ("full", ["tokens", "--port=0"]), ("closed pipe", ["demo", AWAY, "--output={}"])],
)
def test_a_stdout_that_takes_nothing_leaves_no_traceback(tmp_path: Path, stdout: str, command: list[str]) -> None:
    if stdout == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, descriptor = os.pipe()
        os.close(reading)
    arguments = [argument.format(tmp_path) for argument in command]
    key = {"OPENAI_API_KEY": "sk-any"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], stdout=descriptor, stderr=subprocess.PIPE, text=True,
        timeout=60, check=False, env={**os.environ, **key}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(descriptor)
    assert done.returncode in {1, 2, 78}
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1


def test_a_port_that_is_taken_is_exit_75(talkwire: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = talkwire("tokens", f"--port={taken.getsockname()[1]}").end()
    assert status == 75
    assert "taken" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("stage", "service"),
    [("starting", [AWAY]), ("connecting", [AWAY]), pytest.param("speaking", [], marks=pytest.mark.engines)],
)
def test_ctrl_c_at_every_stage_is_exit_130_and_leaves_nobody(
    talkwire: Start, tmp_path: Path, stage: str, service: list[str]
) -> None:
    demo = talkwire("demo", *service, f"--output={tmp_path}")
    demo.until(f"  {stage}" if stage != "starting" else stage)
    os.kill(demo.process.pid, signal.SIGINT)
    status, _, err = demo.end()
    assert (status, err) == (130, "")
    assert demo.family() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_programs_load_leaves_nobody(
    talkwire: Start, wait_until: WaitUntil, tmp_path: Path, number: signal.Signals
) -> None:
    demo = talkwire("demo", AWAY, f"--output={tmp_path}")
    wait_until(lambda: len(demo.family()) > 1, 30)
    os.kill(demo.process.pid, number)
    status, _, err = demo.end()
    assert err == ""
    assert status in ({130} if number == signal.SIGINT else {0, -signal.SIGTERM})  # the latter before trio runs
    wait_until(lambda: demo.family() == [], 10)


def test_not_even_sigkill_leaves_an_orphan(talkwire: Start, wait_until: WaitUntil, tmp_path: Path) -> None:
    demo = talkwire("demo", AWAY, f"--output={tmp_path}")
    demo.until("connecting")
    wait_until(lambda: len(demo.family()) == 5, 10)  # itself, the backend, the endpoint, its fork server and `audio`
    demo.process.kill()
    wait_until(lambda: demo.family() == [], 10)


def test_a_program_that_dies_ends_the_demo_with_its_name(
    talkwire: Start, wait_until: WaitUntil, tmp_path: Path
) -> None:
    demo = talkwire("demo", AWAY, f"--output={tmp_path}")
    demo.until("connecting")
    backend = next(pid for pid in demo.family() if "tokens" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    os.kill(backend, signal.SIGKILL)
    status, _, err = demo.end()
    assert status == 70
    assert err.startswith("talkwire: the token backend ended with SIGKILL\n")
    wait_until(lambda: demo.family() == [], 10)
