"""`talkwire demo`: one spoken question, one spoken answer, and how long it took."""

import os
import sys
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import trio
from cyclopts import Parameter
from rich.console import Console

from pipeline.cli.call_record import CallRecord
from pipeline.cli.interruption import perform
from pipeline.cli.options import Config, Json, Set
from pipeline.cli.programs import Program, Start, open_programs
from pipeline.cli.screen import Screen, timeline_table
from pipeline.cli.timeline import draw
from pipeline.edges.keys import read_api_key
from pipeline.edges.wav import read_wav
from pipeline.vocabulary.configuration import load, printable, shipped
from pipeline.vocabulary.errors import ConfigurationError, ConnectionLostError, NothingHeardError, Problem, UsageError
from pipeline.vocabulary.frames import BYTES_PER_MS
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import CallState

START_S = 30.0  # s for the three programs to be ready; a cold disk takes five
ANSWER_S = 45.0  # s without any news beyond the question's length: a service would have answered or been replaced
REPLY_S = 250.0  # s: the longest reply that the endpoint holds is 240 s

Input = Annotated[
    Path | None, Parameter(name="--input", help="A recorded question (WAV); without it a shipped one is asked.")
]
Output = Annotated[Path, Parameter(name="--output", help="Folder for the reply, the timeline and the result.")]
PushToTalk = Annotated[
    bool,
    Parameter(name="--push-to-talk", negative=(), show_default=False, help="A key ends the question, not silence."),
]
OpenAI = Annotated[
    bool,
    Parameter(
        name="--openai",
        negative=(),
        show_default=False,
        help="Ask the real OpenAI service; the key comes from OPENAI_API_KEY or the file OPENAI_API_KEY_FILE.",
    ),
]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What this demo is to do.

    Attributes:
        settings: files and --set together, checked; the programs get the same files and overrides.
        arguments: these files and overrides as arguments.
        question: the recording.
        question_s: its length.
        output: the folder, which exists.
        push_to_talk: a key ends the question.
    """

    settings: Settings
    arguments: list[str]
    question: Path
    question_s: float
    output: Path
    push_to_talk: bool

    @property
    def local(self) -> bool:
        """The service is this machine's (only such a one may be ws://), so the demo brings it along."""
        return urlsplit(self.settings.service.url).scheme == "ws"


class Transcripts(msgspec.Struct, frozen=True):
    """What both sides said."""

    user: str
    assistant: str


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints and `result.json` holds.

    Attributes:
        timeline_ms: from the last speech sample (design §9).
        transcripts: what both sides said.
        files: question, reply, timeline and result.
        question_ms: length of the question.
        since_start_ms: when each state was first reached, counted from the start of this program.
        frames: captured, sent and dropped.
    """

    timeline_ms: dict[str, float]
    transcripts: Transcripts
    files: dict[str, str]
    question_ms: float
    since_start_ms: dict[str, float]
    frames: dict[str, int]


def demo(
    *,
    input_: Input = None,
    output: Output = Path("talkwire-demo"),
    push_to_talk: PushToTalk = False,
    openai: OpenAI = False,
    config: Config = (),
    set_: Set = (),
    json: Json = False,
) -> int:
    """Ask one spoken question and hear the answer: no key, no network and no sound card needed.

    Starts the local Realtime server, the token backend and the endpoint, plays the question to them and records the
    reply. A settings file whose service.url is elsewhere takes that service instead of the local one.
    """
    plan = _plan(
        input_, output, [*([shipped("openai.toml")] if openai else []), *config], set_, push_to_talk=push_to_talk
    )
    console = Console(stderr=json, quiet=json and not sys.stderr.isatty())
    record = CallRecord()
    with Screen(console) as screen:
        status = perform(partial(_converse, plan, record, screen))
    if status or record.finished is None:
        return status
    result = _write(plan, record)
    if json:
        print(msgspec.json.encode(result).decode())  # noqa: T201 - this is the command line
    else:
        console.print(timeline_table(result.timeline_ms))
        for name, path in result.files.items():
            console.print(f"{name:>9}  {path}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _plan(
    question: Path | None, output: Path, files: list[Path], overrides: tuple[str, ...], *, push_to_talk: bool
) -> Plan:
    """Find out before anything starts whether it can work.

    Raises:
        ConfigurationError, UsageError, AudioFileError.
    """
    settings = load(files, overrides)
    if urlsplit(settings.tokens.provider_url).scheme != "http" and read_api_key(os.environ) is None:
        places = "OPENAI_API_KEY, the file OPENAI_API_KEY_FILE or the systemd credential openai_api_key"
        raise ConfigurationError([Problem("", f"the service needs an API key, and there is none: give it in {places}")])
    question = (question or shipped("questions") / "opening_hours.wav").absolute()
    pcm = read_wav(question)
    output = output.absolute()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write into {printable(str(output))}: {error.strerror}") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write into {printable(str(output))}: permission denied")
    for path in (question, output):
        if not str(path).isprintable():
            raise UsageError(f"{printable(str(path))}: a path with such characters cannot stand in the settings")
    return Plan(
        settings=settings,
        arguments=[f"--config={path.absolute()}" for path in files] + [f"--set={override}" for override in overrides],
        question=question,
        question_s=len(pcm) / BYTES_PER_MS / 1000,
        output=output,
        push_to_talk=push_to_talk,
    )


async def _converse(plan: Plan, record: CallRecord, screen: Screen) -> None:
    """Start the programs and follow the call to its end. Raises TalkwireError."""
    async with open_programs() as start, trio.open_nursery() as nursery:
        endpoint = await _start(plan, start, nursery, screen)
        with trio.CancelScope(deadline=trio.current_time() + plan.question_s + ANSWER_S) as waiting:
            async with aclosing(endpoint.lines()) as lines:
                async for line in lines:
                    screen.show(record.add(line), record)
                    patience_s = REPLY_S if record.state is CallState.SPEAKING else plan.question_s + ANSWER_S
                    waiting.deadline = trio.current_time() + patience_s
        if waiting.cancelled_caught:
            why = f"; the last trouble: {record.fault}" if record.fault else ""
            raise ConnectionLostError(f"nothing happened any more while {record.state.value}{why}", cause="timeout")
        await endpoint.succeed()
        nursery.cancel_scope.cancel()
    if not record.timeline_ms:
        raise NothingHeardError("no answer was heard: the service understood no words in the question")


async def _start(plan: Plan, start: Start, nursery: trio.Nursery, screen: Screen) -> Program:
    """All programs at once, for loading their libraries takes longest; each gets its settings when they are known."""
    screen.starting("local server, token backend and endpoint" if plan.local else "token backend and endpoint")
    server = start("local server", "serve", *plan.arguments, "--port=0") if plan.local else None
    backend = start("token backend", "tokens", *plan.arguments, "--port=0")
    endpoint = start("endpoint", "run", *plan.arguments)
    for program in filter(None, (server, backend, endpoint)):
        nursery.start_soon(program.keep_errors)
    with trio.CancelScope(deadline=trio.current_time() + START_S) as starting:
        mint_at, speak_to = {}, {}
        if server is not None:
            nursery.start_soon(server.watch)
            server.configure(_toml({"server": {"host": "127.0.0.1"}}))
            address = f"127.0.0.1:{await server.ready()}/v1/realtime"
            mint_at = {"provider_url": f"http://{address}/client_secrets"}
            speak_to = {"url": f"ws://{address}"}
        nursery.start_soon(backend.watch)
        backend.configure(_toml({"tokens": {"host": "127.0.0.1", **mint_at}}))
        token = {"source": "backend", "url": f"http://127.0.0.1:{await backend.ready()}/realtime/token"}
        audio = {"input": f"wav:{plan.question}", "output": f"wav:{plan.output / 'reply.wav'}"}
        turn = {"mode": "push_to_talk"} if plan.push_to_talk else {}
        endpoint.configure(_toml({"service": speak_to, "token": token, "audio": audio, "turn": turn}))
    if starting.cancelled_caught:
        raise ConnectionLostError(f"the programs were not ready within {START_S:.0f} s", cause="timeout")
    return endpoint


def _toml(tables: dict[str, dict[str, str]]) -> str:
    """Settings as TOML; JSON's quoted text is TOML's."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in table.items())
        for section, table in tables.items()
    )


def _write(plan: Plan, record: CallRecord) -> DemoResult:
    """Write timeline and result beside the reply. Raises UsageError."""
    assert record.finished is not None
    files = {name: plan.output / name for name in ("reply.wav", "timeline.svg", "result.json")}
    started_s = _started_s()
    result = DemoResult(
        timeline_ms={mark: round(ms, 1) for mark, ms in record.timeline_ms.items()},
        transcripts=Transcripts(record.words("user"), record.words("assistant")),
        files={"question": str(plan.question), **{path.stem: str(path) for path in files.values()}},
        question_ms=round(plan.question_s * 1000, 1),
        since_start_ms={state: round((at_s - started_s) * 1000) for state, at_s in record.reached_s.items()},
        frames=record.finished.frames,
    )
    picture = draw(result.timeline_ms, question=result.transcripts.user, reply=result.transcripts.assistant)
    try:
        files["timeline.svg"].write_text(picture, encoding="utf-8")
        files["result.json"].write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write into {printable(str(plan.output))}: {error.strerror}") from error
    return result


def _started_s() -> float:
    """When this process started, on the host clock (proc(5): field 22 of stat, in ticks since boot)."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age_s
