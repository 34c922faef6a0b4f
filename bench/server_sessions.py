"""How many sessions one core holds: a server without models on one core, its clients on another.

Idle sessions only keep their connection. Streaming ones talk in real time with frames of 20 ms: they ask, hear a hummed
answer to its end, and ask again. In both crowds one more client pings: how late its pong comes is how late the server's
event loop is for everybody. Crowds grow until that is too late or somebody is not served.
"""

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import msgspec
import numpy as np
import trio

from bench.caller import Caller, appends, calling
from bench.processes import kept_bytecode
from bench.report import Report, Row, row
from bench.server import SYNTHETIC, serving, two_cores
from bench.talker import Notes, crowd
from pipeline.core.latency import percentile
from pipeline.dsp.pcm16 import to_pcm
from pipeline.vocabulary.frames import RATE_HZ

IDLE: Final = (1_000, 2_000, 4_000)
STREAMING: Final = (30, 60, 90, 120, 150, 180)
HOLD_S: Final = 15.0
"""s for which each crowd is watched."""
STAGGER_S: Final = 4.0
"""s in which the streaming ones come, so that they do not ask at the same moment."""
ARRIVALS: Final = 50
"""Idle connections that are opened at once."""
PING_PAUSE_S: Final = 0.020
TOO_LATE_MS: Final = 100.0
"""A loop whose p99 is later than this holds no more sessions."""
SPEECH_S: Final = 1.5

Crowd = Callable[..., Awaitable[None]]
"""Sessions with the server at a port: how many, where they note what they saw. `nursery.start` waits for the last."""


class Held(msgspec.Struct, frozen=True):
    """A crowd that was watched.

    Attributes:
        name: what its rows are called.
        late_ms: from each ping to its pong.
        cpu_percent: of the server's core.
        session_kb: the server's memory beyond that without a crowd, per session.
        notes: what the sessions saw.
    """

    name: str
    late_ms: list[float]
    cpu_percent: float
    session_kb: float
    notes: Notes

    @property
    def is_too_many(self) -> bool:
        """The loop is too late, or the server said so."""
        return percentile(self.late_ms, 99) > TOO_LATE_MS or not self.notes.is_complete


def measure(
    runs: int, *, idle: Iterable[int] = IDLE, streaming: Iterable[int] = STREAMING, hold_s: float = HOLD_S
) -> Report:
    """Let crowds of growing size come; a crowd is a run of hundreds of pings, so `runs` says nothing here.

    Raises:
        BenchError: there is only one core, or a session was refused or ended.
    """
    del runs
    server_core, client_core = two_cores()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {client_core})
    try:
        with kept_bytecode() as environment:
            watch = partial(_watch, hold_s=hold_s, core=server_core, environment=environment)
            alone = trio.run(partial(watch, "nobody", 0, _stand_idle))
            held = [*_grow(watch, "idle", idle, _stand_idle), *_grow(watch, "streaming", streaming, _stream)]
    finally:
        os.sched_setaffinity(0, allowed)
    return Report(
        part="server_sessions",
        title="one core, no models: from a ping to its pong",
        rows=list(_rows(alone, held)),
        counts=dict(_counts(held)),
    )


def _grow(
    watch: Callable[[str, int, Crowd], Awaitable[Held]], kind: str, sizes: Iterable[int], sessions: Crowd
) -> Iterator[Held]:
    for size in sizes:
        held = trio.run(watch, f"{size:,} {kind}", size, sessions)
        yield held
        if held.is_too_many:
            return


async def _watch(
    name: str, size: int, sessions: Crowd, *, hold_s: float, core: int, environment: Mapping[str, str]
) -> Held:
    """Let a crowd come to a fresh server and watch it for `hold_s`."""
    notes = Notes()
    settings = {**SYNTHETIC, "server.max_sessions": "10000"}
    async with serving(environment, settings, core=core) as server, calling(server.port) as probe:
        before_mb = server.memory_mb("Rss")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hear, probe)
            await nursery.start(sessions, server.port, size, notes)
            began_s, began_cpu_s = time.monotonic(), server.cpu_s()
            late_ms = []
            while time.monotonic() < began_s + hold_s:
                late_ms.append(await probe.ping() * 1000)
                await trio.sleep(PING_PAUSE_S)
            cpu_percent = (server.cpu_s() - began_cpu_s) / (time.monotonic() - began_s) * 100
            session_kb = (server.memory_mb("Rss") - before_mb) * 1e3 / max(1, size)
            nursery.cancel_scope.cancel()
    return Held(name, late_ms, cpu_percent, session_kb, notes)


async def _hear(caller: Caller) -> None:
    while True:
        await caller.event()


# the crowds


async def _stand_idle(
    port: int, size: int, _: Notes, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Come and say nothing; pings are answered."""
    room = trio.CapacityLimiter(ARRIVALS)
    arrived: set[int] = set()
    everybody = trio.Event()

    async def stay(number: int) -> None:
        async with AsyncExitStack() as stack:
            async with room:
                caller = await stack.enter_async_context(calling(port))
                await caller.event()  # session.created
            arrived.add(number)
            if len(arrived) == size:
                everybody.set()
            await _hear(caller)

    async with trio.open_nursery() as nursery:
        for number in range(size):
            nursery.start_soon(stay, number)
        if size:
            await everybody.wait()
        task_status.started()


async def _stream(
    port: int, size: int, notes: Notes, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Talk: a tone, an answer, a tone."""
    tone = np.sin(np.arange(SPEECH_S * RATE_HZ) * 0.1) * 8_000
    question = appends(to_pcm(tone))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(crowd, port, size, [question], notes, stagger_s=STAGGER_S))
        await trio.sleep(STAGGER_S)
        task_status.started()


# what is told


def _rows(alone: Held, held: Sequence[Held]) -> Iterator[Row]:
    yardstick = row("nobody else", "ms", alone.late_ms)
    yield yardstick
    for each in held:
        yield row(each.name, "ms", each.late_ms, beside=yardstick)


def _counts(held: Sequence[Held]) -> Iterator[tuple[str, int]]:
    for each in held:
        yield f"{each.name}: % of the core", round(each.cpu_percent)
        yield f"{each.name}: kB a session", round(each.session_kb)
        if each.notes.late_ms:
            yield f"{each.name}: answers", len(each.notes.first_delta_ms)
            yield f"{each.name}: without answer", each.notes.unanswered
            yield f"{each.name}: sent away", each.notes.sent_away
            yield f"{each.name}: clients' own lateness, p99 in ms", round(percentile(each.notes.late_ms, 99))
