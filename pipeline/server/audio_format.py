"""The audio formats of the wire, and how much sound so many bytes of each are. Pure."""

from typing import Final

from pipeline.realtime.events import AudioFormat
from pipeline.vocabulary.frames import RATE_HZ

PCM: Final = AudioFormat(type="audio/pcm", rate=RATE_HZ)
"""s16le mono at RATE_HZ."""
PCMU: Final = AudioFormat(type="audio/pcmu")
"""G.711 µ-law: 8 kHz mono, one byte per sample."""
PCMA: Final = AudioFormat(type="audio/pcma")
"""G.711 A-law, likewise."""
FORMATS: Final = (PCM, PCMU, PCMA)
G711_RATE_HZ: Final = 8_000


def rate_hz(audio_format: AudioFormat) -> int:
    """Samples per second."""
    return RATE_HZ if audio_format == PCM else G711_RATE_HZ


def sample_bytes(audio_format: AudioFormat) -> int:
    """Bytes per sample."""
    return 2 if audio_format == PCM else 1


def bytes_per_ms(audio_format: AudioFormat) -> int:
    """Bytes per ms: 48 or 8."""
    return rate_hz(audio_format) // 1000 * sample_bytes(audio_format)
