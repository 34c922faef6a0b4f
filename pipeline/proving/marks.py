"""Sound that says what it is: every block carries two numbers, so that whoever hears it knows which block it was.

The numbers stand as six digits of base 32 in the first samples, with a seventh to check them, coarse enough to survive
the start of a fade; the last sample shows whether the block was played whole. So the traces of devices and service need
no label from the daemon.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from pipeline.vocabulary.frames import BYTES_PER_MS

NUMBERS_MAX: Final = 32**3
"""Both numbers count modulo this."""

_HEAD: Final = Struct("<8h")
_LAST: Final = Struct("<h")
HEAD_BYTES: Final = _HEAD.size
SHORTEST_BYTES: Final = HEAD_BYTES + _LAST.size
"""Sound that is shorter cannot say what it is."""
_LOW: Final = 600
_STEP: Final = 900
"""A digit as a sample: 600 to 28,500."""
_FADED: Final = 150
"""So much smaller may the start of a fade have made a sample."""
_SPEECH: Final = 20_000
_SAMPLES: Final = tuple(_LOW + _STEP * digit for digit in range(32))
_DIGITS: Final = {  # by sample, also of one that a fade has begun with
    sample + off: digit for digit, sample in enumerate(_SAMPLES) for off in range(-_FADED, _FADED + 1)
}
_WHOLE: Final = _LAST.pack(_SPEECH)


class Mark(NamedTuple):
    """What a block says about itself.

    Attributes:
        group: number of the reply, or of the utterance.
        number: of the block in it.
        speech: somebody speaks in it.
        whole: it was neither cut short nor faded out.
    """

    group: int
    number: int
    speech: bool
    whole: bool


def marked(group: int, number: int, frame_ms: int, *, speech: bool) -> bytes:
    """A block of `frame_ms`, s16le mono, that carries both numbers (modulo NUMBERS_MAX)."""
    digits = (group >> 10 & 31, group >> 5 & 31, group & 31, number >> 10 & 31, number >> 5 & 31, number & 31)
    head = _HEAD.pack(*[_SAMPLES[digit] for digit in digits], _SAMPLES[_check(digits)], _SPEECH if speech else 0)
    return head + bytes(frame_ms * BYTES_PER_MS - SHORTEST_BYTES) + _WHOLE


def read(pcm: bytes) -> Mark | None:
    """What this block says; None if it is silence.

    Raises:
        ValueError: it is sound of which no block begins here.
    """
    mark = read_head(pcm[:HEAD_BYTES])
    if mark is None:
        if any(pcm):
            raise ValueError("no block begins here")
        return None
    return mark if pcm.endswith(_WHOLE) else mark._replace(whole=False)


def read_head(head: bytes) -> Mark | None:
    """What the HEAD_BYTES at the beginning of a block say of it, as if it were whole; None if no block begins so."""
    *samples, speech = _HEAD.unpack(head)
    digits = [_DIGITS.get(sample, -1) for sample in samples]
    check = digits.pop()
    if -1 in digits or check != _check(digits):
        return None
    first, second, third, fourth, fifth, sixth = digits
    group, number = (first << 10) + (second << 5) + third, (fourth << 10) + (fifth << 5) + sixth
    return Mark(group, number, speech > _SPEECH // 2, whole=True)


def _check(digits: Sequence[int]) -> int:
    return (digits[0] + 3 * digits[1] + 5 * digits[2] + 7 * digits[3] + 9 * digits[4] + 11 * digits[5] + 1) % 32
