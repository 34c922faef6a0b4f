"""Starting talkwire as an installation would, whatever the environment of the bench is."""

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, cast

import trio

ROOT: Final = Path(__file__).resolve().parent.parent
"""The repository. Programs are started in it, so an installed talkwire of another version is never measured."""
TALKWIRE: Final = [sys.executable, "-m", "pipeline"]


@contextmanager
def kept_bytecode() -> Iterator[dict[str, str]]:
    """An environment in which compiled modules are kept from one start to the next, as in any installation.

    Some machines forbid it (PYTHONDONTWRITEBYTECODE), and then every start would pay for compiling every module. The
    folder is new, so the first start of each kind fills it and must not count; it is the runtime directory as well, so
    that a daemon of this machine is not in the way.
    """
    with tempfile.TemporaryDirectory(prefix="talkwire-bench-") as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        yield environment | {"PYTHONPYCACHEPREFIX": folder, "XDG_RUNTIME_DIR": folder}


class Started(NamedTuple):
    """A running process and its stdout."""

    pid: int
    output: trio.abc.ReceiveStream


@asynccontextmanager
async def started(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Started, None]:
    """Start a process whose stdin stays open and silent; it is killed when the context is left."""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )
    try:
        yield Started(process.pid, cast("trio.abc.ReceiveStream", process.stdout))  # a pipe was asked for
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
