"""A daemon at a private sound card and a service that answers with a tone: what is done to it, and what it takes."""

import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from bench.processes import TALKWIRE, Started, started
from bench.report import BenchError
from bench.tone_service import ToneService, tone_service
from pipeline.edges.control_client import open_control_line
from pipeline.vocabulary.control import MuteAsk
from tests.virtual_sound_card import VirtualSoundCard, VirtualSoundCards

CARD: Final = "bench"
LOADED: Final = [sys.executable, "-m", "bench.loaded"]
"""As TALKWIRE, in an interpreter that is busy with something else."""
START_S: Final = 30.0
"""s until the daemon must send what its microphone hears."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Rig:
    """A daemon that streams.

    Attributes:
        card: its microphone and loudspeaker.
        service: whom it talks to.
        pid: of its process `main`.
        directory: its runtime directory.
        told: when it said what on its stdout (host clock), line by line.
    """

    def __init__(self, card: VirtualSoundCard, service: ToneService, pid: int, directory: Path) -> None:
        self.card = card
        self.service = service
        self.pid = pid
        self.directory = directory
        self.told: list[tuple[float, bytes]] = []

    @property
    def audio_pid(self) -> int:
        """The process `audio`. Raises BenchError if there is none just now."""
        for server in _children(self.pid):
            with suppress(OSError):  # it has ended meanwhile
                if b"pipeline.child" in Path(f"/proc/{server}/cmdline").read_bytes():
                    return _children(server)[0]
        raise BenchError("the daemon has no process audio")

    async def listen(self, output: trio.abc.ReceiveStream) -> None:
        """Note what the daemon says, for ever."""
        async for some in output:
            now = time.monotonic()
            self.told += [(now, line) for line in bytes(some).splitlines()]

    async def told_after(self, at_s: float, word: bytes, patience_s: float) -> float:
        """When the daemon first said something with this word after a moment. Raises BenchError if it does not."""
        with trio.move_on_after(patience_s):
            while True:
                for told_s, line in self.told:
                    if told_s > at_s and word in line:
                        return told_s
                await trio.sleep(0.01)
        raise BenchError(f"the daemon did not say {word.decode()!r} within {patience_s:g} s")

    async def mute(self) -> None:
        """Let the daemon close its microphone. Raises NoDaemonError."""
        async with open_control_line(self.directory) as line:
            await line.ask(MuteAsk())
            await line.hear()

    def processes(self) -> list[int]:
        """All processes of the daemon."""
        return [self.pid, *(pid for child in _children(self.pid) for pid in (child, *_children(child)))]


@asynccontextmanager
async def streaming(
    environment: Mapping[str, str], *, command: Sequence[str] = TALKWIRE, placement: str = "daemon"
) -> AsyncGenerator[Rig, None]:
    """A daemon that streams what its microphone hears; it and its card are gone with the context.

    Raises:
        BenchError: it does not come to that.
    """
    with VirtualSoundCards(CARD) as cards:
        async with tone_service() as service, trio.open_nursery() as nursery:
            directory = Path(environment["XDG_RUNTIME_DIR"], "talkwire")
            settings = {
                "service.url": service.url,
                "token.url": service.token_url,
                "audio.input": f"device:{CARD}",
                "audio.output": f"device:{CARD}",
                "runtime.placement": placement,
                "runtime.directory": str(directory),
            }
            arguments = ["run", "--json", *(f"--set={key}={value}" for key, value in settings.items())]
            async with started([*command, *arguments], {**environment, **cards.environ}) as daemon:
                rig = Rig(cards[CARD], service, daemon.pid, directory)
                nursery.start_soon(rig.listen, daemon.output)
                await service.heard(START_S)
                yield rig
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def bare_sound(environment: Mapping[str, str]) -> AsyncGenerator[tuple[Started, float], None]:
    """The yardstick at a card of its own, and how long it took from its start to the first block it heard, in ms."""
    with VirtualSoundCards(CARD) as cards:
        began_s = time.monotonic()
        async with started([sys.executable, "-m", "bench.bare_sound"], {**environment, **cards.environ}) as process:
            with trio.move_on_after(START_S):
                said = bytes(await process.output.receive_some())
                if b"heard" in said:
                    yield process, (time.monotonic() - began_s) * 1000
                    return
        raise BenchError("bare: PortAudio hears nothing")


async def cpu_percent(pids: Sequence[int], seconds: float) -> float:
    """CPU time of these processes over some time, in % of a core."""
    before_s, began_s = _cpu_s(pids), time.monotonic()
    await trio.sleep(seconds)
    return (_cpu_s(pids) - before_s) / (time.monotonic() - began_s) * 100


def pss_mb(pids: Sequence[int]) -> float:
    """Memory of these processes (proc(5), smaps_rollup, Pss): what is shared is divided among its users."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in pids]
    lines = [line for rollup in rollups for line in rollup.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) * 1024 / 1e6


def _cpu_s(pids: Sequence[int]) -> float:
    """User and system time of all threads so far (proc(5), stat: the 14th and 15th field), in steps of 10 ms."""
    stats = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / _TICKS


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
