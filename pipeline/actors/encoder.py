"""Encoder: captured frames become events of the service's wire, ready to send."""

import trio

from pipeline.realtime.codec import encode_append
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.frames import TOGETHER_MS, AudioFrame, EncodedFrame


async def encoder(frames: Receiver[AudioFrame], packets: Sender[EncodedFrame]) -> None:
    """Encode every frame; the service's format is ours (24 kHz mono s16le), so only its wrapping changes.

    Nobody is waited for: what shares an event had queued up behind one another.
    """
    async for frame in frames:
        together = [frame]
        while (following := _next(frames)) is not None:
            if not _continues(together, following):
                await _send(packets, together)
                together = []
            together.append(following)
        await _send(packets, together)


async def _send(packets: Sender[EncodedFrame], together: list[AudioFrame]) -> None:
    """Wait only where there is no room: receiving is checkpoint enough, and each costs a turn of the loop."""
    packet = _encode(together)
    try:
        packets.send_nowait(packet)
    except trio.WouldBlock:
        await packets.send(packet)


def _next(frames: Receiver[AudioFrame]) -> AudioFrame | None:
    try:
        return frames.receive_nowait()
    except trio.WouldBlock:
        return None


def _continues(together: list[AudioFrame], frame: AudioFrame) -> bool:
    """Whether it follows on them, means the same and finds room."""
    last = together[-1]
    return (
        (frame.seq, frame.epoch, frame.speech) == (last.seq + 1, last.epoch, last.speech)
        and not last.ends_turn
        and sum([each.duration_ms for each in together]) + frame.duration_ms <= TOGETHER_MS
    )


def _encode(together: list[AudioFrame]) -> EncodedFrame:
    first, last = together[0], together[-1]
    return EncodedFrame(
        seq=first.seq,
        captured_s=first.captured_s,
        message=encode_append(b"".join([each.pcm for each in together])),
        duration_ms=sum([each.duration_ms for each in together]),
        ends_turn=last.ends_turn,
        epoch=first.epoch,
        speech=first.speech,
        frames=len(together),
    )
