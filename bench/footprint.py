"""What talkwire costs before it does anything: time to import and to start, and the memory of an idle conversation.

And the memory of the local server with its engines: loaded, and after some spoken turns.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trio

from bench.caller import calling
from bench.peer import FRAME_MS, Peer, open_peer
from bench.processes import ROOT, TALKWIRE, kept_bytecode, started
from bench.report import BenchError, Report, row
from bench.server import serving
from bench.talker import Notes, Talker, shipped_questions

IMPORT_TARGET_MS: Final = 250.0
HELP_TARGET_MS: Final = 300.0
RSS_TARGET_MB: Final = 80.0
SERVER_TARGET_MB: Final = 400.0
SPOKEN_TURNS: Final = 10
START_S: Final = 30.0
"""s until the daemon must listen."""
STREAM_S: Final = 15
"""s of streamed silence; the memory is read once in each."""
STREAMED_SHARE: Final = 0.8
"""A daemon that sent less of its silence than this was not streaming, so its memory says nothing."""

STARTS: Final = {
    "bare start": [sys.executable, "-c", "pass"],
    "import pipeline": [sys.executable, "-c", "import pipeline"],
    "talkwire --help": [*TALKWIRE, "--help"],
    "import pipeline.app": [sys.executable, "-c", "import pipeline.app"],
}
"""What is started, in turns; the whole endpoint is imported as well, for the package alone is nearly empty."""
TARGETS_MS: Final = {"import pipeline": IMPORT_TARGET_MS, "talkwire --help": HELP_TARGET_MS}


def measure(runs: int) -> Report:
    """Start each kind of process `runs` times, in turns, stream silence once, and talk with a server once.

    Raises:
        BenchError: something did not start, or did not stream.
    """
    with kept_bytecode() as environment:
        for command in STARTS.values():
            _start_ms(command, environment)
        starts = [{name: _start_ms(command, environment) for name, command in STARTS.items()} for _ in range(runs)]
        daemon_mb, bare_mb = trio.run(stream_silence, STREAM_S, environment)
        server_mb = trio.run(talk_with_server, SPOKEN_TURNS, environment)
    bare_start = row("bare start", "ms", [start["bare start"] for start in starts])
    rows = [bare_start]
    for name in list(STARTS)[1:]:
        above_ms = [start[name] - start["bare start"] for start in starts]
        rows.append(row(name, "ms", above_ms, beside=bare_start, target=TARGETS_MS.get(name)))
    bare_memory = row("bare RSS", "MB", bare_mb)
    rows += [bare_memory, row("daemon RSS", "MB", daemon_mb, beside=bare_memory, target=RSS_TARGET_MB)]
    rows += [
        row(name, "MB", [memory_mb], beside=bare_memory, target=SERVER_TARGET_MB)
        for name, memory_mb in server_mb.items()
    ]
    title = f"starts above a bare one; memory over {STREAM_S} s of streamed silence"
    return Report(part="footprint", title=title, rows=rows)


async def stream_silence(stream_s: int, environment: Mapping[str, str]) -> tuple[list[float], list[float]]:
    """RSS of a daemon that streams silence, and of an interpreter that only waits, in MB, once a second.

    Raises:
        BenchError: the daemon ended, or did not stream.
    """
    async with open_peer() as peer:
        async with started(_daemon(peer), environment) as daemon, started(_WAIT, environment) as bare:
            await _listening(daemon.output)
            daemon_mb, bare_mb = [], []
            for _ in range(stream_s):
                await trio.sleep(1)
                daemon_mb.append(_rss_mb(daemon.pid))
                bare_mb.append(_rss_mb(bare.pid))
        account = await peer.account()
    wanted = stream_s * 1000 / FRAME_MS
    if account.fault or account.silent < STREAMED_SHARE * wanted:
        raise BenchError(f"the daemon streamed {account.silent} of {wanted:.0f} frames: {account.fault or 'no fault'}")
    return daemon_mb, bare_mb


async def talk_with_server(turns: int, environment: Mapping[str, str]) -> dict[str, float]:
    """RSS and PSS of a server with its engines in MB, loaded and after so many spoken turns, by the name of the figure.

    Raises:
        BenchError: a question was not answered.
    """
    notes = Notes()
    async with serving(environment, {}) as server:
        found = {f"server {kind.upper()}, loaded": server.memory_mb(kind) for kind in ("Rss", "Pss")}
        async with calling(server.port) as caller:
            await Talker(caller, shipped_questions(), notes, listens=False).talk(turns)
        if notes.unanswered:
            raise BenchError(f"{notes.unanswered} of {turns} questions were not answered")
        return found | {f"server {kind.upper()}, {turns} turns": server.memory_mb(kind) for kind in ("Rss", "Pss")}


def _start_ms(command: list[str], environment: Mapping[str, str]) -> float:
    began_s = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    took_ms = (time.perf_counter() - began_s) * 1000
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with exit code {done.returncode}")
    return took_ms


_WAIT: Final = [sys.executable, "-c", "input()"]


def _daemon(peer: Peer) -> list[str]:
    overrides = {
        "service.url": peer.url,
        "token.url": peer.token_url,
        "audio.input": "none:",
        "audio.output": "none:",
        "audio.frame_ms": str(FRAME_MS),
    }
    return [*TALKWIRE, "run", "--json", *(f"--set={key}={value}" for key, value in overrides.items())]


async def _listening(output: trio.abc.ReceiveStream) -> None:
    """Wait until the daemon says that it listens. Raises BenchError if it ends or takes longer than START_S."""
    said = b""
    with trio.move_on_after(START_S):
        async for some in output:
            said += some
            if b'"listening"' in said:
                return
    raise BenchError(f"the daemon does not listen; it said {said.decode(errors='replace')!r}")


def _rss_mb(pid: int) -> float:
    """Resident memory (proc(5), VmRSS, in kB of 1024 bytes). Raises BenchError if the process has ended."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchError("a process whose memory was to be read has ended")
