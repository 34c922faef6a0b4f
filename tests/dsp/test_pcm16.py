"""Bytes to samples and back: exact, and clipped instead of wrapped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dsp.pcm16 import to_pcm, to_samples


@given(pcm=st.binary(max_size=400).filter(lambda pcm: len(pcm) % 2 == 0))
def test_there_and_back_is_exact(pcm: bytes) -> None:
    assert to_pcm(to_samples(pcm).astype(np.float32)) == pcm


def test_the_byte_order_is_little_endian() -> None:
    assert to_samples(b"\x01\x00\x00\x80").tolist() == [1, -32_768]


def test_loud_samples_clip() -> None:
    assert to_samples(to_pcm(np.array([40_000.0, -40_000.0]))).tolist() == [32_767, -32_768]


def test_samples_are_rounded_not_cut_off() -> None:
    assert to_samples(to_pcm(np.array([1.4, 1.6, -1.4, -1.6]))).tolist() == [1, 2, -1, -2]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        to_samples(b"\0\0\0")
