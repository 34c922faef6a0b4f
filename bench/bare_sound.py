"""`python -m bench.bare_sound`: the least that could work with a sound card, as the yardstick for what talkwire does.

PortAudio's two streams and callbacks that do nothing: says "heard" at the first block and runs until its stdin closes.
"""

import os
import sys

import sounddevice

from pipeline.edges.sound_card_stream import BLOCK_MS, LATENCY_S
from pipeline.vocabulary.frames import RATE_HZ


def main() -> None:
    """Open the default card both ways."""
    told = False

    def hear(*_: object) -> None:
        nonlocal told
        if not told:
            os.write(1, b"heard\n")
        told = True

    def play(block: memoryview, *_: object) -> None:
        block[:] = bytes(len(block))

    for kind, callback in ((sounddevice.RawInputStream, hear), (sounddevice.RawOutputStream, play)):
        kind(
            samplerate=RATE_HZ,
            blocksize=BLOCK_MS * RATE_HZ // 1000,
            channels=1,
            dtype="int16",
            latency=LATENCY_S,
            callback=callback,
        ).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
