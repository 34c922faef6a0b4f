"""The daemon at a sound card: does sound stutter, how soon is it back after each mishap, what does it cost.

Beside it runs the least that could work with a card: PortAudio's two streams and nothing else. Measured are

- gaps: runs of silence in a tone of one minute on its way service → decoder → playback → loudspeaker, while the process
  `main` is idle, while it is kept busy (bench/loaded.py), and while everything is in that busy process;
- microphone back: from the last frame the service got before a mishap to the first one after it; for a sound server,
  which the daemon can do nothing about, from the moment that is there again;
- what all processes of the daemon take while they stream both ways, while nobody says anything, and while it is muted.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from ctypes.util import find_library
from math import ceil
from typing import Final, NamedTuple

import msgspec
import numpy as np
import trio

from bench.processes import TALKWIRE, kept_bytecode
from bench.report import BenchError, Report, Row, row
from bench.sound_rig import LOADED, Rig, bare_sound, cpu_percent, pss_mb, streaming
from bench.tone_service import AMPLITUDE
from pipeline.runtime.clock import HostClock
from pipeline.vocabulary.frames import RATE_HZ
from tests.virtual_sound_card import missing

TONE_S: Final = 60.0
RUNS_A_TONE: Final = 5
"""A minute of tone, three times, for every so many runs begun."""
MISHAPS_A_DAEMON: Final = 2
"""Of each kind: five crashes in a minute are too many for it, and rightly so."""

GAP_MS: Final = 5
"""A shorter silence is not heard, and a sine is silent twice in each period."""
GAPS_MORE: Final = 2
SEEN_TARGET_MS: Final = 50.0
BACK_TARGET_MS: Final = 500.0
WEDGED_TARGET_MS: Final = 2_000.0
CPU_TARGET_PERCENT: Final = 6.0
MUTED_CPU_TARGET_PERCENT: Final = 3.0
PSS_TARGET_MB: Final = 120.0

SETTLE_S: Final = 1.0
"""s of undisturbed work before each mishap, and before a tone."""
AWAY_S: Final = 0.7
"""s for which a sound server is dead."""
HUNG_S: Final = 3.0
"""s for which a sound server hangs: longer than an opening may take, so a process or two die of it."""
PATIENCE_S: Final = 15.0
COST_S: Final = 15.0
"""s over which CPU time is taken."""


class Figures(msgspec.Struct):
    """What was measured so far, in ms unless the name says otherwise."""

    seen: list[float] = msgspec.field(default_factory=list)
    killed: list[float] = msgspec.field(default_factory=list)
    wedged: list[float] = msgspec.field(default_factory=list)
    server_killed: list[float] = msgspec.field(default_factory=list)
    server_hung: list[float] = msgspec.field(default_factory=list)
    bare_first: list[float] = msgspec.field(default_factory=list)
    cpu_percent: list[float] = msgspec.field(default_factory=list)
    quiet_cpu_percent: list[float] = msgspec.field(default_factory=list)
    muted_cpu_percent: list[float] = msgspec.field(default_factory=list)
    bare_cpu_percent: list[float] = msgspec.field(default_factory=list)
    pss_mb: list[float] = msgspec.field(default_factory=list)
    bare_pss_mb: list[float] = msgspec.field(default_factory=list)


class Contestant(NamedTuple):
    """Who plays the tone."""

    name: str
    command: Sequence[str]
    placement: str


CONTESTANTS: Final = (
    Contestant("idle", TALKWIRE, "daemon"),
    Contestant("main loaded", LOADED, "daemon"),
    Contestant("all loaded, one process", LOADED, "single"),
)


def measure(runs: int, *, tone_s: float = TONE_S) -> Report:
    """Play a tone of `tone_s` for every 5 runs begun in each of three ways, and let every mishap happen `runs` times.

    Raises:
        BenchError: the daemon does not stream, or does not come back.
    """
    title = f"{runs} of each mishap; {ceil(runs / RUNS_A_TONE)} x {tone_s:g} s of tone each way"
    needed = missing() or ("" if find_library("portaudio") else "install libportaudio2")
    if needed:
        return Report(part="sound", title=title, rows=[], skipped=[f"all of it: {needed}"])
    figures, silences = Figures(), {each.name: list[list[float]]() for each in CONTESTANTS}
    with kept_bytecode() as environment:
        trio.run(_measure, runs, tone_s, environment, figures, silences, clock=HostClock())
    return Report(
        part="sound",
        title=title,
        rows=[*_gap_rows(silences), *_mishap_rows(figures), *_cost_rows(figures)],
        counts={f"ms of silence, {name}": round(sum(map(sum, each))) for name, each in silences.items()},
    )


def silences_ms(pcm: bytes, tone_s: float) -> list[float]:
    """Each silence of GAP_MS or more within a recorded tone, and what is missing at its end.

    Raises:
        BenchError: nothing of it was heard.
    """
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)) > AMPLITUDE // 100)
    if not loud.size:
        raise BenchError("the tone was not heard at all")
    steps = [*np.diff(loud), tone_s * RATE_HZ - (loud[-1] - loud[0])]
    return [ms for ms in (float(step) * 1000 / RATE_HZ for step in steps) if ms >= GAP_MS]


async def _measure(
    runs: int, tone_s: float, environment: Mapping[str, str], figures: Figures, silences: dict[str, list[list[float]]]
) -> None:
    await _bare(environment, 0.0, Figures())  # the first start of each compiles, and does not count
    async with streaming(environment):
        pass
    for _ in range(ceil(runs / RUNS_A_TONE)):
        await _bare(environment, min(COST_S, tone_s), figures)
        for each in CONTESTANTS:
            async with streaming(environment, command=each.command, placement=each.placement) as rig:
                is_plain = each.command is TALKWIRE
                silences[each.name].append(await _play(rig, tone_s, figures if is_plain else None))
    for done in range(0, runs, MISHAPS_A_DAEMON):
        async with streaming(environment) as rig:
            for _ in range(min(MISHAPS_A_DAEMON, runs - done)):
                await _bare(environment, 0.0, figures)
                await _suffer(rig, figures)


async def _bare(environment: Mapping[str, str], seconds: float, figures: Figures) -> None:
    async with bare_sound(environment) as (process, first_ms):
        figures.bare_first.append(first_ms)
        if seconds:
            figures.bare_cpu_percent.append(await cpu_percent([process.pid], seconds))
            figures.bare_pss_mb.append(pss_mb([process.pid]))


async def _play(rig: Rig, tone_s: float, figures: Figures | None) -> list[float]:
    """Play a tone; the silences in it. The cost is taken meanwhile, if anybody wants it."""
    recorded = b""

    async def record() -> None:
        nonlocal recorded
        recorded = await trio.to_thread.run_sync(rig.card.record, tone_s + 2 * SETTLE_S)

    await trio.sleep(SETTLE_S)
    if figures is not None:
        figures.quiet_cpu_percent.append(await cpu_percent(rig.processes(), min(COST_S, tone_s)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(record)
        await trio.sleep(SETTLE_S / 2)
        if figures is None:
            await rig.service.answer(tone_s)
        else:
            nursery.start_soon(rig.service.answer, tone_s)
            figures.cpu_percent.append(await cpu_percent(rig.processes(), tone_s))  # to take it all in is part of it
            figures.pss_mb.append(pss_mb(rig.processes()))
    if figures is not None:
        await rig.mute()
        await trio.sleep(SETTLE_S)
        figures.muted_cpu_percent.append(await cpu_percent(rig.processes(), min(COST_S, tone_s)))
    return silences_ms(recorded, tone_s)


async def _suffer(rig: Rig, figures: Figures) -> None:
    """Every mishap once."""
    for number, back_ms in ((signal.SIGKILL, figures.killed), (signal.SIGSTOP, figures.wedged)):
        await trio.sleep(SETTLE_S)
        at_s = time.monotonic()
        os.kill(rig.audio_pid, number)
        last_s, first_s = await rig.service.gap_after(at_s, PATIENCE_S)
        back_ms.append((first_s - last_s) * 1000)
        if number is signal.SIGKILL:
            figures.seen.append((await rig.told_after(at_s, b"process audio", PATIENCE_S) - at_s) * 1000)
    mishaps = (
        (rig.card.unplug, AWAY_S, rig.card.plug, figures.server_killed),
        (rig.card.hang, HUNG_S, rig.card.resume, figures.server_hung),
    )
    for begin, seconds, end, back_ms in mishaps:
        await trio.sleep(SETTLE_S)
        at_s = time.monotonic()
        begin()
        await trio.sleep(seconds)
        await trio.to_thread.run_sync(end)
        up_s = time.monotonic()
        back_ms.append(max(0.0, ((await rig.service.gap_after(at_s, PATIENCE_S))[1] - up_s) * 1000))


def _gap_rows(silences: Mapping[str, Sequence[Sequence[float]]]) -> Iterator[Row]:
    """Nothing is divided by the idle run's gaps, for it should have none: they are where the target begins."""
    idle, *others = (row(f"gaps, {name}", "gaps", [len(each) for each in tones]) for name, tones in silences.items())
    yield idle
    for each in others:
        yield msgspec.structs.replace(each, target=idle.p50 + GAPS_MORE)


def _mishap_rows(figures: Figures) -> Iterator[Row]:
    bare = row("bare: start to first block", "ms", figures.bare_first)
    yield row("death of audio seen", "ms", figures.seen, beside=bare, target=SEEN_TARGET_MS)
    yield row("microphone back, audio killed", "ms", figures.killed, beside=bare, target=BACK_TARGET_MS)
    yield row("microphone back, audio wedged", "ms", figures.wedged, beside=bare, target=WEDGED_TARGET_MS)
    yield row("back after server is up again", "ms", figures.server_killed, beside=bare, target=BACK_TARGET_MS)
    yield row("back after server hung 3 s", "ms", figures.server_hung, beside=bare, target=BACK_TARGET_MS)
    yield bare


def _cost_rows(figures: Figures) -> Iterator[Row]:
    bare_cpu = row("bare: CPU", "%", figures.bare_cpu_percent)
    yield row("CPU, streaming both ways", "%", figures.cpu_percent, beside=bare_cpu, target=CPU_TARGET_PERCENT)
    yield row("CPU, listening to a quiet room", "%", figures.quiet_cpu_percent, beside=bare_cpu)
    yield row("CPU, muted", "%", figures.muted_cpu_percent, beside=bare_cpu, target=MUTED_CPU_TARGET_PERCENT)
    yield bare_cpu
    bare_pss = row("bare: PSS", "MB", figures.bare_pss_mb)
    yield row("PSS, all processes", "MB", figures.pss_mb, beside=bare_pss, target=PSS_TARGET_MB)
    yield bare_pss
