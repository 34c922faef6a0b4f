"""How many people can talk with one server at once, with its own engines, before answers come late.

Everybody asks a recorded question in real time, hears the answer to its end, and asks the next. The clients live in
another process on the same cores, so they take their share of them. The crowd grows until p95 of the time from
`speech_stopped` to the first sound of the answer is over a second, or somebody is not answered.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from bench.curve import Curve, Point
from bench.processes import kept_bytecode
from bench.report import BenchError, Report, Row, row
from bench.server import serving
from bench.talker import Notes, crowd, shipped_questions
from pipeline.core.latency import percentile

SIZES: Final = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
STAGGER_S: Final = 8.0
"""s in which a crowd comes: about one turn, so that its questions are spread over time."""
HOLD_S: Final = 24.0
"""s for which a crowd is watched after that: about three turns of everybody."""
LATE_MS: Final = 1_000.0


class Talked(msgspec.Struct, frozen=True):
    """A crowd that talked.

    Attributes:
        size: how many.
        notes: what they saw once all were there.
        cpu_percent: of the server, 100 being one core.
    """

    size: int
    notes: Notes
    cpu_percent: float

    @property
    def figures(self) -> Row:
        """From `speech_stopped` to the first sound."""
        return row(f"{self.size} at once", "ms", self.notes.first_delta_ms)

    @property
    def is_too_many(self) -> bool:
        """Answers come too late, or not at all."""
        return self.figures.p95 > LATE_MS or not self.notes.is_complete


def measure(
    runs: int,
    *,
    sizes: Iterable[int] = SIZES,
    hold_s: float = HOLD_S,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Let crowds of growing size talk; a crowd is a run of many turns, so `runs` says nothing here.

    Args:
        runs: see above.
        sizes: of the crowds.
        hold_s: s for which each is watched.
        settings: of the server, over the shipped ones.

    Raises:
        BenchError: not even the smallest crowd is answered.
    """
    del runs
    with kept_bytecode() as environment:
        talk = partial(_talk, hold_s=hold_s, environment=environment, settings=settings)
        talked = list(_grow(talk, sizes))
    held = [each.size for each in talked if not each.is_too_many]
    if not held:
        raise BenchError(f"{talked[0].size} talking at once are too many already")
    return Report(
        part="server_capacity",
        title="talking at once, real engines: from speech_stopped to the first sound",
        rows=list(_rows(talked)),
        counts=dict(_counts(talked)) | {"talking at once with p95 below 1 s": max(held)},
        curve=_curve(talked),
    )


def _grow(talk: Callable[[int], Awaitable[Talked]], sizes: Iterable[int]) -> Iterator[Talked]:
    for size in sizes:
        talked = trio.run(talk, size)
        yield talked
        if talked.is_too_many:
            return


async def _talk(
    size: int,
    *,
    hold_s: float,
    environment: Mapping[str, str],
    settings: Mapping[str, str],
) -> Talked:
    """Let a crowd come to a fresh server; what it sees on the way in does not count."""
    notes = Notes()
    limit = {"server.max_sessions": str(size)}
    async with serving(environment, {**limit, **settings}) as server, trio.open_nursery() as nursery:
        nursery.start_soon(partial(crowd, server.port, size, shipped_questions(), notes, stagger_s=STAGGER_S))
        await trio.sleep(STAGGER_S)
        notes.forget()
        before_s = server.cpu_s()
        await trio.sleep(hold_s)
        cpu_percent = (server.cpu_s() - before_s) / hold_s * 100
        nursery.cancel_scope.cancel()
    return Talked(size, notes, cpu_percent)


def _rows(talked: Sequence[Talked]) -> Iterator[Row]:
    yardstick: Row | None = None
    for each in talked:
        figures = row(f"{each.size} at once", "ms", each.notes.first_delta_ms, beside=yardstick, target=LATE_MS)
        yield figures
        yardstick = yardstick or figures


def _counts(talked: Sequence[Talked]) -> Iterator[tuple[str, int]]:
    for each in talked:
        yield f"{each.size} at once: % of one core", round(each.cpu_percent)
        yield f"{each.size} at once: without answer or sent away", each.notes.unanswered + each.notes.sent_away
        yield f"{each.size} at once: clients' own lateness, p99 in ms", round(percentile(each.notes.late_ms, 99))


def _curve(talked: Sequence[Talked]) -> Curve:
    figures = [each.figures for each in talked]
    return Curve(
        title="From speech_stopped to the first sound of the answer",
        load="people talking with one server at once",
        unit="ms",
        lines=["p50", "p95", "p99"],
        points=[Point(each.size, [seen.p50, seen.p95, seen.p99]) for each, seen in zip(talked, figures, strict=True)],
        bound=LATE_MS,
    )
