"""How long the demo's answer takes: real voice activity, recognition, voice and sockets, in three processes.

Held against what no service can save: the silence that the configured detector waits for before it calls a question
finished. "Enter to audible" is what pressing Enter costs beyond the question's own length: starting three programs,
then the answer.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from bench.processes import ROOT, TALKWIRE, kept_bytecode
from bench.report import BenchError, Report, Row, row
from pipeline.core.latency import Mark
from pipeline.vocabulary.configuration import load

TARGET_MS: Final = 900.0  # ms from the last speech sample to the first audible one
ENTER_TARGET_MS: Final = 4_000.0  # ms that starting the programs may add to the question's own length
PATIENCE_S: Final = 120.0  # s for one demo; it gives up by itself before that


class DemoRun(msgspec.Struct, frozen=True):
    """What is needed of `talkwire demo --json`; every mark has to be there."""

    timeline_ms: dict[Mark, float]
    since_start_ms: dict[str, float]
    question_ms: float


def measure(runs: int) -> Report:
    """Ask the shipped question `runs` times. Raises BenchError if one of the demos fails."""
    silence_ms = load().turn.silence_duration_ms
    with kept_bytecode() as environment:
        _demo(environment)
        demos = [parse(_demo(environment)) for _ in range(runs)]
    return Report(
        part="response_latency",
        title="from the last speech sample (+ since the mark before)",
        rows=list(rows(demos, silence_ms)),
    )


def parse(output: bytes) -> DemoRun:
    """Read what the demo printed. Raises BenchError if a figure is missing."""
    try:
        demo = msgspec.json.decode(output, type=DemoRun)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"the demo printed no result: {error}") from None
    missing = [mark.value for mark in Mark if mark not in demo.timeline_ms]
    missing += [] if "speaking" in demo.since_start_ms else ["since_start_ms.speaking"]
    if missing:
        raise BenchError(f"the demo's result lacks {', '.join(missing)}")
    return demo


def rows(demos: Sequence[DemoRun], silence_ms: float) -> Iterator[Row]:
    """Every mark, then the steps between them, then the wait of somebody who pressed Enter."""
    yardstick = row("configured silence", "ms", [silence_ms])
    yield yardstick
    for mark in Mark:
        target = TARGET_MS if mark is Mark.FIRST_AUDIBLE_SAMPLE else None
        yield row(mark, "ms", [demo.timeline_ms[mark] for demo in demos], beside=yardstick, target=target)
    for before, mark in pairwise(Mark):
        steps_ms = [demo.timeline_ms[mark] - demo.timeline_ms[before] for demo in demos]
        yield row(f"+ {mark}", "ms", steps_ms, beside=yardstick)
    waits_ms = [demo.since_start_ms["speaking"] - demo.question_ms for demo in demos]
    yield row("Enter to audible", "ms", waits_ms, beside=yardstick, target=ENTER_TARGET_MS)


def _demo(environment: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="talkwire-bench-") as folder:
        command = [*TALKWIRE, "demo", "--json", "--output", folder]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"the demo did not end within {PATIENCE_S:.0f} s") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise BenchError(f"the demo ended with exit code {done.returncode}: {words[-1] if words else 'no word why'}")
    return done.stdout
