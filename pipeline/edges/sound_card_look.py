"""Which sound devices there are, found out by a child process that is killed when the sound system hangs."""

import signal
import subprocess
import sys
from typing import Final

import msgspec
import trio

from pipeline.edges.sound_card_names import NO_DEVICES, Direction, SoundDevice
from pipeline.edges.sound_card_probe import DEADLINE_S, Findings
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError

MARGIN_S: Final = 1.0
"""Beyond the child's own deadline, for starting it on a busy machine."""
_COMMAND: Final = [sys.executable, "-P", "-m", "pipeline.edges.sound_card_probe"]


async def look() -> list[SoundDevice]:
    """The devices as they are now, not as they were when this process began.

    Raises:
        DeviceError: PortAudio is missing or cannot start, or there is no device at all; says what to install.
        SoundSystemHungError: no answer within the deadline.
    """
    return await _ask()


async def can_open(wanted: str, direction: Direction) -> bool:
    """Whether a device could be opened now; disturbs nobody who has it open."""
    try:
        await _ask(wanted, direction)
    except DeviceError:
        return False
    return True


async def _ask(*question: str) -> list[SoundDevice]:
    with trio.move_on_after(DEADLINE_S + MARGIN_S):
        try:
            child = await trio.run_process(
                [*_COMMAND, *question], capture_stdout=True, stderr=subprocess.DEVNULL, check=False
            )
        except OSError as error:  # no process or no descriptor left
            raise DeviceError(f"cannot look at the sound devices: {error.strerror}") from None
        if child.returncode == 0:
            findings = msgspec.json.decode(child.stdout, type=Findings)
            if findings.problem or not findings.devices:
                raise DeviceError(findings.problem or NO_DEVICES)
            return findings.devices
        if child.returncode != -signal.SIGALRM:
            raise DeviceError(f"PortAudio cannot start: the look at the sound devices ended with {child.returncode}")
    raise SoundSystemHungError(f"the sound system did not say within {DEADLINE_S} s what devices there are: it hangs")
