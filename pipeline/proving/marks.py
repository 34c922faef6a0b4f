"""Sound that says what it is: every block carries two numbers, so that whoever hears it knows which block it was.

The numbers stand as six digits of base 32 in the first samples, with a seventh to check them, coarse enough to survive
the start of a fade; the last sample shows whether the block was played whole. So the traces of devices and service need
no label from the daemon.
"""

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
    a, b, c = group >> 10 & 31, group >> 5 & 31, group & 31
    d, e, f = number >> 10 & 31, number >> 5 & 31, number & 31
    samples = _SAMPLES
    head = _HEAD.pack(
        samples[a], samples[b], samples[c], samples[d], samples[e], samples[f],
        samples[_check(a, b, c, d, e, f)], _SPEECH if speech else 0,
    )  # fmt: skip
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
    try:
        a, b, c, d, e, f, check = map(_DIGITS.__getitem__, samples)
    except KeyError:
        return None
    if check != _check(a, b, c, d, e, f):
        return None
    return Mark((a << 10) + (b << 5) + c, (d << 10) + (e << 5) + f, speech > _SPEECH // 2, whole=True)


def _check(a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    return (a + 3 * b + 5 * c + 7 * d + 9 * e + 11 * f + 1) % 32
