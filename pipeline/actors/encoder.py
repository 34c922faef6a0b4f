"""Encoder: captured frames become events of the service's wire, ready to send."""

from pipeline.realtime.codec import encode_append
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.frames import AudioFrame, EncodedFrame


async def encoder(frames: Receiver[AudioFrame], packets: Sender[EncodedFrame]) -> None:
    """Encode every frame; the service's format is ours (24 kHz mono s16le), so only its wrapping changes."""
    async for frame in frames:
        message = encode_append(frame.pcm)
        await packets.send(
            EncodedFrame(
                frame.seq, frame.captured_s, message, frame.duration_ms, frame.ends_turn, frame.epoch, frame.speech
            )
        )
