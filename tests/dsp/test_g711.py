"""Both laws against the standard's own sequences, and against its bitwise definition."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dsp.g711 import A_LAW, MU_LAW, Law
from pipeline.dsp.pcm16 import to_samples

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32_768, 32_768, dtype="<i2")
LAWS = pytest.mark.parametrize("law", [MU_LAW, A_LAW], ids=["mu", "a"])


def mu_code(sample: int) -> int:
    """G.711 µ-law bit by bit: 14-bit magnitude plus bias 33, the place of its top bit, the four bits below it."""
    biased = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment = biased.bit_length() - 6
    magnitude = segment << 4 | (biased >> (segment + 1)) & 0xF
    return (~magnitude & 0x7F) | (0x80 if sample >= 0 else 0)


def a_code(sample: int) -> int:
    """G.711 A-law bit by bit: 12-bit magnitude, the place of its top bit, the four bits below it."""
    steps = (~sample if sample < 0 else sample) >> 4
    segment = max(0, steps.bit_length() - 4)
    magnitude = segment << 4 | (steps >> max(0, segment - 1)) & 0xF
    return (magnitude | (0x80 if sample >= 0 else 0)) ^ 0x55


@pytest.mark.parametrize(("law", "code"), [(MU_LAW, mu_code), (A_LAW, a_code)], ids=["mu", "a"])
def test_every_sample_has_the_code_of_the_standard(law: Law, code: Callable[[int], int]) -> None:
    assert law.encode(EVERY_SAMPLE.tobytes()) == bytes(code(sample) for sample in EVERY_SAMPLE.tolist())


@pytest.mark.parametrize(
    ("law", "milliwatt", "overload_dbm0"),
    [(MU_LAW, "1e0b0b1e9e8b8b9e", 3.17), (A_LAW, "34212134b4a1a1b4", 3.14)],
    ids=["mu", "a"],
)
def test_the_digital_milliwatt_is_a_tone_of_0_dbm0(law: Law, milliwatt: str, overload_dbm0: float) -> None:
    """Tables 5 and 6 of the standard: one period of 1 kHz, by definition so far below the loudest sine."""
    period = bytes.fromhex(milliwatt)
    samples = to_samples(law.decode(period)).astype(float)
    assert law.encode(law.decode(period)) == period
    loudest = float(4 * 8159 if law is MU_LAW else 8 * 4096)
    fundamental = abs(np.fft.rfft(samples)[1]) / 4
    assert 20 * np.log10(loudest / fundamental) == pytest.approx(overload_dbm0, abs=0.05)


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        (MU_LAW, 0x80, 4 * 8031),
        (MU_LAW, 0x00, -4 * 8031),
        (MU_LAW, 0xFF, 0),
        (MU_LAW, 0x7F, 0),
        (MU_LAW, 0xFE, 4 * 2),
        (MU_LAW, 0xEF, 4 * 33),
        (A_LAW, 0xAA, 8 * 4032),
        (A_LAW, 0x2A, -8 * 4032),
        (A_LAW, 0xD5, 8),
        (A_LAW, 0x55, -8),
        (A_LAW, 0xC5, 8 * 33),
    ],
)
def test_values_of_the_standards_tables(law: Law, code: int, sample: int) -> None:
    assert to_samples(law.decode(bytes([code]))).tolist() == [sample]


@LAWS
def test_codes_survive_there_and_back(law: Law) -> None:
    again = law.encode(law.decode(EVERY_CODE))
    lost = [code for code in EVERY_CODE if again[code] != code]
    assert lost == ([0x7F] if law is MU_LAW else [])  # -0 of µ-law comes back as +0


@LAWS
def test_a_louder_sample_never_becomes_a_softer_one(law: Law) -> None:
    there_and_back = to_samples(law.decode(law.encode(EVERY_SAMPLE.tobytes()))).astype(int)
    assert (np.diff(there_and_back) >= 0).all()


@LAWS
def test_the_error_stays_below_half_a_step(law: Law) -> None:
    there_and_back = to_samples(law.decode(law.encode(EVERY_SAMPLE.tobytes()))).astype(int)
    loudness = np.abs(EVERY_SAMPLE.astype(int))
    assert (np.abs(there_and_back - EVERY_SAMPLE) <= np.maximum(8, (loudness + 132) / 32))[loudness < 32_636].all()
    assert np.abs(there_and_back - EVERY_SAMPLE).max() <= 32_768 - 4 * 8031  # overload of µ-law, clipped not wrapped


@LAWS
@given(pcm=st.binary(max_size=64).filter(lambda pcm: len(pcm) % 2 == 0))
def test_every_sample_is_coded_alone(law: Law, pcm: bytes) -> None:
    assert law.encode(pcm) == b"".join(law.encode(pcm[at : at + 2]) for at in range(0, len(pcm), 2))
    assert len(law.decode(law.encode(pcm))) == len(pcm)


@LAWS
def test_half_a_sample_is_refused(law: Law) -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        law.encode(b"\0\0\0")
