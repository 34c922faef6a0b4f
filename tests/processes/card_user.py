"""A program that uses a sound card as the actors do, for tests and bench: opens it again and again, tells what happens.

`python tests/processes/card_user.py SECONDS INPUT OUTPUT PLAYED HEARD`: INPUT and OUTPUT are lists of devices joined by
commas, or empty; PLAYED is a raw file to play from the first request on, HEARD a folder for what was heard (near.raw,
far.raw). One JSON object per line on stdout. It ends as the process layer will end an audio process: at once when the
sound system hangs, with code 3.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from pipeline.core.reopening import REOPEN_S
from pipeline.edges.devices import input_device, output_device
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.runtime.clock import HostClock
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError
from pipeline.vocabulary.signals import NO_GLITCHES

HUNG = 3


def tell(event: str, **details: object) -> None:
    print(json.dumps({"event": event, "at_s": time.monotonic(), **details}), flush=True)


def fail(side: str, error: DeviceError) -> None:
    tell("failed", side=side, message=error.message)
    if isinstance(error, SoundSystemHungError):
        os._exit(HUNG)


async def listen(system: SoundSystem, names: Sequence[str], folder: Path | None) -> None:
    device = input_device(list(names), sound_system=system)
    near, far, opened, glitches = bytearray(), bytearray(), 0, NO_GLITCHES
    try:
        while True:
            try:
                async with device.open(20) as blocks:
                    first = True
                    opened += 1
                    async for block in blocks:
                        if first:
                            tell("heard", name=device.name, captured_s=block.captured_s, computed_s=time.process_time())
                        first = False
                        near += block.pcm
                        glitches += block.glitches
                        far += block.far() if block.far else b""
            except DeviceError as error:
                fail("input", error)
                await trio.sleep(REOPEN_S)
    finally:
        if folder is not None:
            (folder / "near.raw").write_bytes(near)
            (folder / "far.raw").write_bytes(far)
        tell("microphone", opened=opened, **msgspec.structs.asdict(glitches))


async def play(system: SoundSystem, names: Sequence[str], pcm: bytes) -> None:
    device = output_device(list(names), sound_system=system)
    glitches = NO_GLITCHES
    try:
        while True:
            try:
                async with device.open(20) as stream:
                    at = 0
                    while True:
                        request = await stream.wait_request()
                        glitches += request.glitches
                        if at == 0:
                            tell("asked", name=device.name, leaves_s=request.leaves_s)
                        size = 2 * request.samples
                        await stream.write(pcm[at : at + size].ljust(size, b"\0") if at < len(pcm) else None)
                        at += size
            except DeviceError as error:
                fail("output", error)
                await trio.sleep(REOPEN_S)
    finally:
        tell("loudspeaker", **msgspec.structs.asdict(glitches))


async def main(seconds: str, inputs: str, outputs: str, pcm: bytes, heard: Path | None) -> None:
    system = SoundSystem()
    tell("started", sounddevice="sounddevice" in sys.modules)
    with trio.move_on_after(float(seconds)):
        async with trio.open_nursery() as nursery:
            if inputs:
                nursery.start_soon(listen, system, inputs.split(","), heard)
            if outputs:
                nursery.start_soon(play, system, outputs.split(","), pcm)
            await trio.sleep(1)
            cpu_s, wall_s = time.process_time(), time.monotonic()
            try:
                await trio.sleep_forever()
            finally:
                tell("cpu", percent=100 * (time.process_time() - cpu_s) / (time.monotonic() - wall_s))


if __name__ == "__main__":
    seconds, inputs, outputs, played, folder = sys.argv[1:]
    sound = Path(played).read_bytes() if played else b""
    trio.run(main, seconds, inputs, outputs, sound, Path(folder) if folder else None, clock=HostClock())
