"""How long the local server takes to answer, over a real WebSocket and with its own engines.

Held against what no server can save: the silence that its detector waits for before it calls a question finished. And
what a response still costs when it was cancelled in the middle of its first clause.
"""

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
ASK: Final = message(
    "conversation.item.create",
    item={
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "What are your opening hours?"}],
    },
) + message("response.create")
SILENCE_MS: Final = 500.0
"""The server's default for `silence_duration_ms`, which is the service's."""
CANCELLED_S: Final = 0.050
"""From then on a cancelled response costs nothing."""
WATCH_S: Final = 0.450
"""How long the server is watched after that."""


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
        title="the local server's answer, from speech_stopped; CPU after response.cancel",
        rows=rows(notes, cancels),
        counts={"turns": len(notes.first_delta_ms), "unanswered": notes.unanswered},
    )


class Cancel(NamedTuple):
    """CPU time of the server in ms: idle for WATCH_S, from a `response.cancel` for CANCELLED_S, then for WATCH_S."""

    idle_ms: float
    first_ms: float
    then_ms: float


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
        row("CPU of an idle session", "ms", [each.idle_ms for each in cancels]),
        row("CPU up to 50 ms after", "ms", [each.first_ms for each in cancels], target=CANCELLED_S * 1000),
        row("CPU in as long later", "ms", [each.then_ms for each in cancels]),
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
    """Ask by text and cancel once the voice works on the answer."""
    async with calling(server.port) as caller:
        await caller.event()  # session.created
        idle_ms = await _cpu_ms(server, WATCH_S)
        await caller.send(ASK)
        while (await caller.event()).kind != "response.output_audio_transcript.delta":
            pass
        await caller.send(message("response.cancel"))
        return Cancel(idle_ms, await _cpu_ms(server, CANCELLED_S), await _cpu_ms(server, WATCH_S))


async def _cpu_ms(server: Server, duration_s: float) -> float:
    before_s = server.cpu_s()
    await trio.sleep(duration_s)
    return (server.cpu_s() - before_s) * 1000
