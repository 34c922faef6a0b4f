"""How long the local server takes to answer, over a real WebSocket and with its own engines.

Held against what no server can save: the silence that its detector waits for before it calls a question finished. And
how soon it is quiet again when nobody wants the answer any more.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import trio

from bench.caller import calling, message
from bench.processes import kept_bytecode
from bench.report import BenchError, Report, Row, row
from bench.server import Server, serving
from bench.talker import Notes, Talker, shipped_questions

TURNS_A_RUN: Final = 2
TARGET_MS: Final = 150.0
"""p50 from `speech_stopped` to the first sound."""
TAIL_TARGET_MS: Final = 300.0
"""p95 of the same."""
CANCEL_TARGET_MS: Final = 50.0
QUESTION: Final = "What are your opening hours?"
SILENCE_MS: Final = 500.0
"""The server's default for `silence_duration_ms`, which is the service's."""
WATCH_S: Final = 0.5
"""How long a server is watched after a response was cancelled."""
GLANCE_S: Final = 0.002
BUSY_SHARE: Final = 0.25
"""A server that worked less than this between two glances does not work on an answer."""


def measure(runs: int, *, settings: Mapping[str, str] = MappingProxyType({})) -> Report:
    """Ask `runs` times two questions, and cancel `runs` answers. Raises BenchError if one is not answered.

    Args:
        runs: see above.
        settings: of the server, over the shipped ones.
    """
    with kept_bytecode() as environment:
        notes, cancels = trio.run(_ask_and_cancel, runs, environment, settings)
    return Report(
        part="server_latency",
        title="the local server's answer, from speech_stopped; then quiet after response.cancel",
        rows=rows(notes, cancels),
        counts={"turns": len(notes.first_delta_ms), "unanswered": notes.unanswered},
    )


class Cancel(NamedTuple):
    """What came after a `response.cancel`: ms until the server's processor was quiet, CPU time it took until then."""

    quiet_ms: float
    cpu_ms: float


def rows(notes: Notes, cancels: list[Cancel]) -> list[Row]:
    """The configured silence, then every step."""
    yardstick = row("configured silence", "ms", [SILENCE_MS])
    first = notes.first_delta_ms
    tail = row("first delta, p95", "ms", [row("", "ms", first).p95], beside=yardstick, target=TAIL_TARGET_MS)
    return [
        yardstick,
        row("to response.created", "ms", notes.created_ms, beside=yardstick),
        row("to first delta", "ms", first, beside=yardstick, target=TARGET_MS),
        tail,
        row("cancel to quiet", "ms", [each.quiet_ms for each in cancels], beside=yardstick, target=CANCEL_TARGET_MS),
        row("CPU after cancel", "ms", [each.cpu_ms for each in cancels], beside=yardstick, target=CANCEL_TARGET_MS),
    ]


async def _ask_and_cancel(
    runs: int, environment: Mapping[str, str], settings: Mapping[str, str]
) -> tuple[Notes, list[Cancel]]:
    notes, warm_up = Notes(), Notes()
    async with serving(environment, settings) as server:
        async with calling(server.port) as caller:
            await Talker(caller, shipped_questions(), warm_up, listens=False).talk(1)
        async with calling(server.port) as caller:
            await Talker(caller, shipped_questions(), notes, listens=False).talk(runs * TURNS_A_RUN)
        if notes.unanswered:
            raise BenchError(f"{notes.unanswered} questions were not answered")
        cancels = [await _cancel(server) for _ in range(runs)]
    return notes, cancels


async def _cancel(server: Server) -> Cancel:
    """Ask by text, cancel once the voice works on the answer, watch the server's processor."""
    async with calling(server.port) as caller:
        await caller.send(
            message(
                "conversation.item.create",
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
            )
            + message("response.create")
        )
        while (await caller.event()).kind != "response.output_audio_transcript.delta":
            pass
        await caller.send(message("response.cancel"))
        cancelled_s = busy_until_s = seen_s = time.monotonic()
        before_s = used_s = busy_used_s = server.cpu_s()
        while seen_s < cancelled_s + WATCH_S:
            await trio.sleep(GLANCE_S)
            now_used_s, now_s = server.cpu_s(), time.monotonic()
            if now_used_s - used_s > BUSY_SHARE * (now_s - seen_s):
                busy_until_s, busy_used_s = now_s, now_used_s
            used_s, seen_s = now_used_s, now_s
    return Cancel((busy_until_s - cancelled_s) * 1000, (busy_used_s - before_s) * 1000)
