"""The command line: what help may cost, and that every way of ending is one line and the right exit code."""

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from pipeline import __version__, cli
from pipeline.cli import COMMANDS, perform_command
from pipeline.vocabulary import errors

HEAVY = {"cyclopts", "trio", "numpy", "msgspec", "rich", "structlog", "litestar", "httpx", "sounddevice"}

INTERRUPT_IMPORT = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.argv = ["talkwire", *{arguments!r}]
from pipeline.cli import main
main()
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_and_version_load_nothing_heavy(arguments: Sequence[str]) -> None:
    code = (
        f"import sys; from pipeline.cli import perform_command; status = perform_command({arguments!r}); "
        f"print(status, *sorted(set(sys.modules) & {HEAVY!r}), file=sys.stderr)"
    )
    done = run_python(code)
    assert done.stderr.split() == ["0"]
    assert ("talkwire" in done.stdout) or (__version__ in done.stdout)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_line_of_its_own_help(name: str) -> None:
    command = getattr(importlib.import_module(f"pipeline.cli.{name}"), name)
    assert (inspect.getdoc(command) or "").splitlines()[0] == COMMANDS[name]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bogus"], "no such command; there are: demo, run, serve, tokens"),
        (["--bogus"], "no such command"),
        (["tokens", "--prot", "1"], "Did you mean --port"),
        (["tokens", "--port"], "requires an argument"),
        (["tokens", "--port", "http"], "--port: expected a whole number, got http."),
        (["relay", "--listen", "80.5", "--upstream", "80"], "--listen: expected a whole number, got 80.5."),
        (["relay", "--listen", "0", "--upstream", "80", "--api", "1e3"], "--api: expected a whole number, got 1e3."),
        (["relay", "--listen", "0", "--upstream", "80", "--seed", ""], '--seed: expected a whole number, got "".'),
        (["serve", "--fault-seed", "1.5"], "--fault-seed: expected a whole number, got 1.5."),
        (["simulate", "--seed", "1.5"], "--seed: expected a whole number, got 1.5."),
        (["tokens", "extra"], "extra"),
        (["tokens", "--set", "audio.frame_ms"], "--set wants section.key=value"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perform_command(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("talkwire: ")
    assert err.count("\n") == 1
    assert expected in err


def test_wrong_settings_are_one_line_each_and_exit_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_command(["tokens", "--set", "audio.x=1", "--set", "service.url=http://h", "--port=65536"]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["audio.x", "service.url", "tokens.port"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NothingHeardError("nothing was heard"), 3),
        (errors.AlreadyRunningError("the port is taken"), 75),
        (errors.CredentialRefusedError("the key is wrong"), 78),
        (errors.CrashLoopError("too many restarts"), 70),
        (errors.AudioFileError("not a WAV"), 2),
    ],
)
def test_every_error_of_the_tree_is_its_message_and_its_exit_code(
    error: errors.TalkwireError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = importlib.import_module("pipeline.cli.tokens")

    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(tokens, "perform", fail)
    assert perform_command(["tokens"]) == status
    assert capsys.readouterr().err == f"talkwire: {error.message}\n"


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("cyclopts", ["tokens", "--help"]),
        ("rich.console", ["tokens", "--help"]),
        ("trio", ["run"]),
        ("numpy", ["demo"]),
        ("pipeline.tokens.app", ["tokens"]),
        ("pipeline.vocabulary.errors", ["serve", "--bogus"]),
    ],
)
def test_ctrl_c_while_libraries_load_is_exit_130_and_silent(module: str, arguments: list[str]) -> None:
    done = run_python(INTERRUPT_IMPORT.format(module=module, arguments=arguments))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_leaves_is_no_trouble() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody_reads:
        command = [sys.executable, "-m", "pipeline", "--help"]
        done = subprocess.run(command, stdout=nobody_reads, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (cli.PIPE_CLOSED, b"")


def test_closed_standard_streams_are_no_trouble() -> None:
    command = f"exec {sys.executable} -m pipeline --version <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, timeout=30, check=False).returncode == 0  # noqa: S602 - the shell closes them
