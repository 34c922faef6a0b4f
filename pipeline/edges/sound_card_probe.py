"""`python -m pipeline.edges.sound_card_probe [NAME input|output]`: a look at PortAudio by a process that may be killed.

A hung sound server blocks even the import of sounddevice, without end. Whoever wants to know what devices there are
asks this process, and it dies by itself if that takes too long. JSON on stdout; with a NAME it tries that device too.
"""

import os
import signal
import sys
from typing import Any, Final

import msgspec

from pipeline.edges.sound_card_names import NO_PORTAUDIO, Direction, SoundDevice, find, read_devices
from pipeline.vocabulary.errors import DeviceError

DEADLINE_S: Final = 3
"""So long may the sound system take to say what it has; whole seconds, as alarm(2) counts."""


class Findings(msgspec.Struct, frozen=True):
    """What the child saw; `problem` is one line, or empty."""

    devices: list[SoundDevice]
    problem: str = ""


def look(wanted: str = "", direction: Direction = "input") -> Findings:
    """Initialise PortAudio, read its list, and see whether the device `wanted` would open."""
    try:
        import sounddevice
    except OSError:
        return Findings([], NO_PORTAUDIO)
    devices = read_devices(sounddevice)
    return Findings(devices, _complaint(sounddevice, devices, wanted, direction) if wanted else "")


def _complaint(sounddevice: Any, devices: list[SoundDevice], wanted: str, direction: Direction) -> str:
    """Why the device would not open, or an empty string."""
    check = sounddevice.check_input_settings if direction == "input" else sounddevice.check_output_settings
    problem = ""
    try:
        device = find(devices, wanted, direction)
    except DeviceError as error:
        return error.message
    for rate_hz in device.rates_hz:
        try:
            check(device.index, channels=device.used_channels(direction), dtype="int16", samplerate=rate_hz)
        except sounddevice.PortAudioError as error:
            problem = str(error)
        else:
            return ""
    return problem


def main() -> None:
    """Look, tell, and end at once: PortAudio's own end may hang as its beginning may."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(DEADLINE_S)
    wanted, direction = sys.argv[1:] or ("", "input")
    sys.stdout.buffer.write(msgspec.json.encode(look(wanted, "output" if direction == "output" else "input")))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
