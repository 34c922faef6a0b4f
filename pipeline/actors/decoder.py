"""Decoder: what the service answered becomes frames of sound, ready to play."""

from typing import Final

from pipeline.realtime.codec import audio_bytes
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.errors import ProtocolError
from pipeline.vocabulary.frames import BYTES_PER_MS, ReplyPacket, SpeechFrame

FRAME_MS: Final = 200
"""Longest frame: the jitter buffer cuts what the loudspeaker wants, and each frame costs two processes a wake-up."""


async def decoder(packets: Receiver[ReplyPacket], frames: Sender[SpeechFrame]) -> None:
    """Decode every packet and cut it into frames.

    A packet need not end on a sample: the odd byte waits for the next packet of its part. A packet that is no base64
    is left out; the sound around it stays in step because nothing of it was kept.
    """
    most = FRAME_MS * BYTES_PER_MS
    part: tuple[int, str, int] | None = None
    odd = b""
    async for packet in packets:
        if part != (packet.turn, packet.item_id, packet.content_index):
            part, odd = (packet.turn, packet.item_id, packet.content_index), b""
        try:
            pcm = odd + audio_bytes(packet.payload)
        except ProtocolError:
            continue
        whole = len(pcm) - len(pcm) % 2
        pcm, odd = pcm[:whole], pcm[whole:]
        for start in range(0, len(pcm), most):
            await frames.send(SpeechFrame(*part, pcm[start : start + most]))
        if packet.ends_turn:
            await frames.send(SpeechFrame(*part, b"", ends_turn=True))
