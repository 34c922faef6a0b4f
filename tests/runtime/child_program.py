"""A child process for test_processes: run by a fork server as `MODE FD PPID`. One actor counts, another adds up."""

import gc
import os
import sys
import time
from pathlib import Path

import trio

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime import worker
from pipeline.runtime.graph import ActorSpec, LinkSpec
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.errors import AudioFileError, SoundSystemHungError


async def ticker(numbers: Sender[int], *, mode: str) -> None:
    """Lives in the child: sends numbers, until its mode makes it end."""
    number = gc.get_freeze_count() if mode == "frozen" else 0
    while True:
        await numbers.send(number)
        number += 1
        await trio.sleep(0.01)
        if number == 5:
            misbehave(mode)


async def adder(numbers: Receiver[int], *, received: list[int]) -> None:
    """Lives in the parent."""
    while True:
        received.append(await numbers.receive())


def misbehave(mode: str) -> None:
    """What befalls the child after five numbers."""
    match mode:
        case "crash":
            os._exit(9)
        case "outage":
            raise SoundSystemHungError("the sound server does not answer")
        case "refuse":
            raise AudioFileError("reply.wav cannot be written")
        case "wedge":
            time.sleep(600)  # noqa: TID251 - a loop that turns no more is what this mode is about


ACTORS = (ActorSpec("ticker", ticker), ActorSpec("adder", adder))
LINKS = (LinkSpec("numbers", "ticker.numbers", "adder.numbers", Hold(8, "items"), Overflow.WAIT, "a test"),)
PLACEMENT = {"ticker": "there", "adder": "main"}
MAP = worker.Map(ACTORS, LINKS, PLACEMENT, 5, 60.0)


def main() -> int:
    """Be the child."""
    mode, trunk_fd, parent = sys.argv[1:]
    if mode == "late":
        time.sleep(600)  # noqa: TID251 - an import that hangs
    if mode.startswith("once:"):  # misbehaves in its first life only
        marker = Path(mode.removeprefix("once:"))
        mode = "well" if marker.exists() else marker.stem
        marker.touch()
    return worker.run(
        "there", int(trunk_fd), int(parent), MAP, lambda _plan, _floor, _progress: {"ticker": {"mode": mode}}
    )
