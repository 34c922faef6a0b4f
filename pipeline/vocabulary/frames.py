"""What the data links carry. Samples are s16le mono bytes at `RATE_HZ`; every frame knows its length in ms."""

from typing import Final

import msgspec

RATE_HZ: Final = 24_000
"""The one rate inside talkwire: what the Realtime wire speaks; devices with another rate resample at their edge."""
BYTES_PER_MS: Final = RATE_HZ // 1000 * 2
TOGETHER_MS: Final = 160
"""Of sound that travels at once where there is no hurry: each waking of a process, each packet and each event costs
more than what is in it. Shorter than a slice of the card's watchdog, so that one look falls into each."""
PRE_ROLL_MS: Final = 300.0
"""Sound before the local detector opened that belongs to the utterance: what a detector needs to be sure of itself."""


class AudioFrame(msgspec.Struct, frozen=True, array_like=True):
    """Captured sound (link `mic`).

    Attributes:
        seq: counts up by one per frame; a gap is a drop.
        captured_s: host clock when its first sample was heard.
        pcm: s16le mono at RATE_HZ, 20 to 40 ms.
        ends_turn: push-to-talk was released, or a finite input ended while it was held: commit after this frame.
        epoch: counts the lives of the process that captures; a gap between two of them was lost with the older one.
        speech: the local detector hears speech. It is late by nature, and no frame waits for it: an utterance begins
            PRE_ROLL_MS before its first frame with this flag.
    """

    seq: int
    captured_s: float
    pcm: bytes
    ends_turn: bool = False
    epoch: int = 0
    speech: bool = False

    @property
    def duration_ms(self) -> float:
        """Length in ms."""
        return len(self.pcm) / BYTES_PER_MS


class EncodedFrame(msgspec.Struct, frozen=True, array_like=True):
    """Captured sound as the service wants it (link `uplink`): one frame, or some that came together.

    Attributes:
        seq: number of the (first) frame.
        captured_s: host clock when its first sample was heard.
        message: the whole event, ready to send.
        duration_ms: length of all frames in it.
        ends_turn: of the last one.
        epoch, speech: of all of them.
        frames: how many they are.
    """

    seq: int
    captured_s: float
    message: str
    duration_ms: float
    ends_turn: bool = False
    epoch: int = 0
    speech: bool = False
    frames: int = 1


class ReplyPacket(msgspec.Struct, frozen=True, array_like=True):
    """Answered sound as the service sent it (link `reply`), in the sizes the service chose.

    Attributes:
        turn: number of the reply; below the floor it is stale.
        item_id: conversation item it belongs to.
        content_index: content part inside the item.
        payload: base64 of sound in the service's output format.
        duration_ms: its length.
        received_s: host clock when it arrived.
        ends_turn: nothing of this turn follows; the payload may be empty.
    """

    turn: int
    item_id: str
    content_index: int
    payload: str
    duration_ms: float
    received_s: float
    ends_turn: bool = False


class SpeechFrame(msgspec.Struct, frozen=True, array_like=True):
    """Answered sound ready to play (link `speech`): s16le mono at RATE_HZ, a fifth of a second or what was left."""

    turn: int
    item_id: str
    content_index: int
    pcm: bytes
    ends_turn: bool = False

    @property
    def duration_ms(self) -> float:
        """Length in ms."""
        return len(self.pcm) / BYTES_PER_MS
