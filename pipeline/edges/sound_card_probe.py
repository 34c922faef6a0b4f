"""`python -m pipeline.edges.sound_card_probe`: a look at PortAudio, as JSON on stdout, in a process that may be killed.

A hung sound server blocks even the import of sounddevice, without end. Whoever wants to know what devices there are
asks this process, and it dies by itself if that takes too long.
"""

import os
import signal
import sys
from typing import Final

import msgspec

from pipeline.edges.sound_card_names import NO_PORTAUDIO, SoundDevice, read_devices

DEADLINE_S: Final = 3
"""So long may the sound system take to say what it has; whole seconds, as alarm(2) counts."""


class Findings(msgspec.Struct, frozen=True):
    """What the child saw; `problem` is one line, or empty."""

    devices: list[SoundDevice]
    problem: str = ""


def look() -> Findings:
    """Initialise PortAudio and read its list."""
    try:
        import sounddevice
    except OSError:
        return Findings([], NO_PORTAUDIO)
    return Findings(read_devices(sounddevice))


def main() -> None:
    """Look, tell, and end at once: PortAudio's own end may hang as its beginning may."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(DEADLINE_S)
    sys.stdout.buffer.write(msgspec.json.encode(look()))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
