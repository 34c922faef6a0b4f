"""The demo's one question and answer: the programs get their settings, the call is followed, the result is written."""

import os
import time
from pathlib import Path

import msgspec
import trio

from pipeline.cli.call_record import CallRecord
from pipeline.cli.following import Follower
from pipeline.cli.programs import Program
from pipeline.cli.screen import Screen
from pipeline.cli.timeline import draw
from pipeline.edges.interfaces import TokenSource
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConnectionLostError, NothingHeardError, UsageError
from pipeline.vocabulary.signals import CallState

START_S = 30.0  # s for the programs to be ready; a cold disk takes five
ANSWER_S = 45.0  # s without any news beyond the question's length: a service would have answered or been replaced
REPLY_S = 250.0  # s: the longest reply that the endpoint holds is 240 s


class Dialogue(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of whom.

    Attributes:
        server: the local Realtime server; None if the service is elsewhere.
        provider: mints at that service with the key itself; None if there is no such service or no key.
        backend: the token backend.
        endpoint: who asks.
        question: the recording, and its length.
        output: the folder for everything that is written; it exists.
        private: the endpoint's runtime directory, so that it never meets the daemon of this machine.
        push_to_talk: a key ends the question, not silence.
    """

    server: Program | None
    provider: TokenSource | None
    backend: Program
    endpoint: Program
    question: Path
    question_s: float
    output: Path
    private: Path
    push_to_talk: bool


class Transcripts(msgspec.Struct, frozen=True):
    """What both sides said."""

    user: str
    assistant: str


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `talkwire demo --json` prints and `result.json` holds.

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


async def hold(dialogue: Dialogue, record: CallRecord, screen: Screen) -> None:
    """Follow the call to its end; all programs have ended when this returns. Raises TalkwireError."""
    programs = filter(None, (dialogue.server, dialogue.backend, dialogue.endpoint))
    followers = {program.name: Follower(program) for program in programs}
    try:
        async with trio.open_nursery() as nursery:
            for follower in followers.values():
                nursery.start_soon(follower.keep_errors)
            await _configure(dialogue, followers, nursery)
            endpoint = followers[dialogue.endpoint.name]
            await _listen(endpoint, dialogue.question_s, record, screen)
            await endpoint.succeed()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for follower in followers.values():
                    nursery.start_soon(follower.stop)
    if not record.timeline_ms:
        raise NothingHeardError("no answer was heard: the service understood no words in the question")


async def _configure(dialogue: Dialogue, followers: dict[str, Follower], nursery: trio.Nursery) -> None:
    """Give each program its settings as soon as they are known: everybody needs the port of the one before."""
    with trio.CancelScope(deadline=trio.current_time() + START_S) as starting:
        provider, service = {}, {}
        if dialogue.server is not None:
            server = followers[dialogue.server.name]
            nursery.start_soon(server.watch)
            dialogue.server.configure(toml({"server": {"host": "127.0.0.1"}}))
            address = f"127.0.0.1:{await server.until('listening')}/v1/realtime"
            provider, service = {"provider_url": f"http://{address}/client_secrets"}, {"url": f"ws://{address}"}
        if dialogue.provider is not None:
            await dialogue.provider.mint()  # a wrong key is found out here, where it is known, and not by trying again
        backend = followers[dialogue.backend.name]
        nursery.start_soon(backend.watch)
        dialogue.backend.configure(toml({"tokens": {"host": "127.0.0.1", **provider}}))
        token = {"source": "backend", "url": f"http://127.0.0.1:{await backend.until('ready')}/realtime/token"}
        runtime = {"directory": str(dialogue.private)}
        audio = {"input": f"wav:{dialogue.question}", "output": f"wav:{dialogue.output / 'reply.wav'}"}
        turn = {"mode": "push_to_talk"} if dialogue.push_to_talk else {}
        dialogue.endpoint.configure(
            toml({"runtime": runtime, "service": service, "token": token, "audio": audio, "turn": turn})
        )
    if starting.cancelled_caught:
        raise ConnectionLostError(f"the programs were not ready within {START_S:.0f} s", cause="timeout")


async def _listen(endpoint: Follower, question_s: float, record: CallRecord, screen: Screen) -> None:
    with trio.CancelScope(deadline=trio.current_time() + question_s + ANSWER_S) as waiting:
        async for line in endpoint.lines:
            screen.show(record.add(line), record)
            patience_s = REPLY_S if record.state is CallState.SPEAKING else question_s + ANSWER_S
            waiting.deadline = trio.current_time() + patience_s
    if waiting.cancelled_caught:
        why = f"; the last trouble: {record.fault}" if record.fault else ""
        raise ConnectionLostError(f"nothing happened any more while {record.state.value}{why}", cause="timeout")


def toml(tables: dict[str, dict[str, str]]) -> str:
    """Settings as TOML; JSON's quoted text is TOML's."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in table.items())
        for section, table in tables.items()
    )


def write_result(dialogue: Dialogue, record: CallRecord) -> DemoResult:
    """Write timeline and result beside the reply. Raises UsageError."""
    assert record.finished is not None, "an endpoint that succeeds says so last"
    files = {name: dialogue.output / name for name in ("reply.wav", "timeline.svg", "result.json")}
    started_s = _started_s()
    result = DemoResult(
        timeline_ms={mark: round(ms, 1) for mark, ms in record.timeline_ms.items()},
        transcripts=Transcripts(record.words("user"), record.words("assistant")),
        files={"question": str(dialogue.question), **{path.stem: str(path) for path in files.values()}},
        question_ms=round(dialogue.question_s * 1000, 1),
        since_start_ms={state: round((at_s - started_s) * 1000) for state, at_s in record.reached_s.items()},
        frames=record.finished.frames,
    )
    picture = draw(result.timeline_ms, question=result.transcripts.user, reply=result.transcripts.assistant)
    try:
        files["timeline.svg"].write_text(picture, encoding="utf-8")
        files["result.json"].write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write into {printable(str(dialogue.output))}: {error.strerror}") from error
    return result


def _started_s() -> float:
    """When this process started, on the host clock (proc(5): field 22 of stat, in ticks since boot)."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age_s
