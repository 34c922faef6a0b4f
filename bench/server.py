"""The local server as a process of its own, as `talkwire serve` starts it, and what it takes from the machine."""

import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from bench.caller import KEY
from bench.processes import TALKWIRE, started
from bench.report import BenchError

READY_S: Final = 60.0
"""s until its engines must be loaded."""
SYNTHETIC: Final = {f"server.{kind}": "synthetic" for kind in ("voice_activity", "recogniser", "brain", "voice_engine")}
"""Settings for engines without models."""
_PINNED: Final = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"


class Server(NamedTuple):
    """A server that is ready."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """CPU time of all its threads so far (proc(5), schedstat, in ns; stat counts in steps of 10 ms)."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9

    def memory_mb(self, kind: str) -> float:
        """Memory (proc(5), smaps_rollup): `Rss`, all of its pages, or `Pss`, shared ones divided among their users."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise BenchError(f"the system does not tell a process's {kind}")


class _Told(msgspec.Struct):
    event: str
    port: int


@asynccontextmanager
async def serving(
    environment: Mapping[str, str], settings: Mapping[str, str], *, core: int | None = None
) -> AsyncGenerator[Server, None]:
    """Start `talkwire serve` on a free port and wait until it is ready; it ends with the context.

    Args:
        environment: of the process.
        settings: `section.key` → value, over the shipped ones.
        core: the only one it may use; all if None.

    Raises:
        BenchError: it does not become ready.
    """
    command = [*TALKWIRE, "serve", "--json", "--port=0", *(f"--set={key}={value}" for key, value in settings.items())]
    if core is not None:
        command = [sys.executable, "-c", _PINNED, str(core), *command]
    async with started(command, {**environment, "OPENAI_API_KEY": KEY}) as process:
        yield Server(process.pid, await _ready(process.output))


def two_cores() -> tuple[int, int]:
    """A core for the server and one for its clients. Raises BenchError if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("server and clients need a core each, and there is only one")
    return cores[0], cores[1]


async def _ready(output: trio.abc.ReceiveStream) -> int:
    said = b""
    with trio.move_on_after(READY_S):
        async for some in output:
            said += some
            if b'"ready"' in said and said.endswith(b"\n"):
                return msgspec.json.decode(said.splitlines()[-1], type=_Told).port
    raise BenchError(f"the server does not become ready; it said {said.decode(errors='replace')!r}")
