"""Sound that says what it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dsp.fade import fade_out
from pipeline.proving.marks import NUMBERS_MAX, Mark, marked, read

NUMBERS = st.integers(0, NUMBERS_MAX - 1)


@given(group=NUMBERS, number=NUMBERS, speech=st.booleans())
def test_a_block_says_its_numbers(group: int, number: int, *, speech: bool) -> None:
    assert read(marked(group, number, 20, speech=speech)) == Mark(group, number, speech, whole=True)


@given(group=NUMBERS, number=NUMBERS)
def test_a_block_that_fades_out_still_does_and_says_that_it_is_not_whole(group: int, number: int) -> None:
    faded = fade_out(marked(group, number, 20, speech=True)[:384], 8.0).ljust(960, b"\0")
    assert read(faded) == Mark(group, number, speech=True, whole=False)


def test_silence_says_nothing() -> None:
    assert read(bytes(960)) is None


@given(group=NUMBERS, number=NUMBERS, shift=st.integers(1, 40))
def test_sound_that_is_shifted_is_no_block(group: int, number: int, shift: int) -> None:
    block = marked(group, number, 20, speech=True)
    with pytest.raises(ValueError, match="no block"):
        read((block + block)[shift : shift + 960])
