"""The voice: hibari-tts, 24 kHz, some hundred times real time on one core. Its weights come inside the wheel.

Other speeds are made from its ordinary speech by Sonic, which leaves out or repeats whole periods of the pitch: about
1 ms of work per second of speech. The model's own speed is not used: from 1.5 on every fourth word is lost.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from hibari import Hibari
from hibari.voices import VOICES
from libsonic import SonicStream
from numpy.typing import NDArray

from pipeline.dsp.pcm16 import FULL_SCALE, to_pcm
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.frames import RATE_HZ

NOISE_SEED: Final = 0  # breath is drawn at random; a fixed seed makes the same answer the same bytes every time
AUDIBLE: Final = 10 ** (-60 / 20)  # of full scale; before the first sample above it there is only hiss at -80 dBFS
LEAD_SAMPLES: Final = 20 * RATE_HZ // 1_000  # kept before the first audible sample: the soft start of an "h"


class HibariVoice:
    """`Voice` whose sessions and tables are read-only after the start, so threads may share it.

    Args:
        name: a voice that ships inside the wheel. The library would fetch any other from the network, so it is refused.

    Raises:
        ConfigurationError: there is no such voice here.
    """

    def __init__(self, name: str) -> None:
        shipped = sorted(voice for voice, facts in VOICES.items() if facts.get("bundled"))
        if name not in shipped:
            message = f'there is no voice "{name}" on this machine; it has: {", ".join(shipped)}'
            raise ConfigurationError([Problem("server.voice", message)])
        assert Hibari.sample_rate == RATE_HZ
        self._hibari = Hibari(voice=name)
        for _ in self.speak("Ready, talkwire."):  # an unknown word too: its reading rules are loaded on first use
            pass

    def speak(self, text: str, *, speed: float = 1.0) -> Iterator[bytes]:
        """Yield s16le mono at `RATE_HZ`, one sentence (or clause of a very long one) at a time.

        Each is worked out only when asked for, so a listener who interrupts saves the rest. Blank text yields nothing.
        """
        noise = np.random.default_rng(NOISE_SEED)
        for sentence in self._hibari.split_sentences(text):
            for phonemes in self._hibari.phonemize(sentence):
                samples = self._hibari.from_ids(self._hibari.ids(phonemes), speed=1.0, rng=noise)
                audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
                if audible.size:
                    # The model opens every sentence with 0.3 s of nothing, which the listener would wait for.
                    spoken = samples[max(0, audible[0] - LEAD_SAMPLES) :]
                    yield to_pcm((spoken if speed == 1 else _at_speed(spoken, speed)) * FULL_SCALE)


def _at_speed(samples: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """The same speech at the same pitch, `speed` times as fast."""
    stream = SonicStream(RATE_HZ, 1)
    stream.set_speed(speed)
    stream.write(samples)
    stream.flush()
    return np.array(stream.read(stream.available_frames()), np.float32)
