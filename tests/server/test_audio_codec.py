import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.realtime.events import AudioFormat
from pipeline.server.audio_codec import Decoder, Encoder, decoded
from pipeline.server.audio_format import FORMATS, PCM, PCMA, PCMU, bytes_per_ms
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

TONE = to_pcm(8_000 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(3 * RATE_HZ)))


def encoded(pcm: bytes, audio_format: AudioFormat) -> bytes:
    encoder = Encoder(audio_format)
    return encoder.encode(pcm) + encoder.flush()


@pytest.mark.parametrize("audio_format", [PCMU, PCMA])
def test_a_tone_survives_the_wire(audio_format: AudioFormat) -> None:
    there_and_back = to_samples(decoded(encoded(TONE, audio_format), audio_format)).astype(float)
    middle = slice(480, -480)  # the filter has no sound before the first and behind the last sample
    original = to_samples(TONE).astype(float)
    error = there_and_back[middle] - original[middle]
    assert 10 * np.log10((original[middle] ** 2).mean() / (error**2).mean()) > 35  # G.711 itself has about 38 dB


def test_pcm_passes_untouched() -> None:
    assert encoded(TONE, PCM) == TONE == decoded(TONE, PCM)


@settings(max_examples=30)
@given(
    audio_format=st.sampled_from(FORMATS),
    chunks_ms=st.lists(st.integers(0, 50) | st.just(400), max_size=6),
)
def test_lengths_are_exact_and_chunks_make_no_difference(audio_format: AudioFormat, chunks_ms: list[int]) -> None:
    encoder, decoder = Encoder(audio_format), Decoder(audio_format)
    edges = list(itertools.accumulate(chunks_ms, initial=0))
    chunks = [TONE[start * BYTES_PER_MS : end * BYTES_PER_MS] for start, end in itertools.pairwise(edges)]
    coded = [*map(encoder.encode, chunks), encoder.flush()]
    assert b"".join(coded) == encoded(b"".join(chunks), audio_format)
    assert len(b"".join(coded)) == sum(chunks_ms) * bytes_per_ms(audio_format)
    sound = b"".join(map(decoder.decode, coded)) + decoder.flush()
    assert sound == decoded(b"".join(coded), audio_format)
    assert len(sound) == sum(chunks_ms) * BYTES_PER_MS
