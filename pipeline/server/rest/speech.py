"""`POST /v1/audio/speech`: a text as sound, sent clause by clause while the rest is still being worked out."""

import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from pipeline.realtime.events import CustomVoice
from pipeline.server.admission import Admission
from pipeline.server.clauses import Clauses
from pipeline.server.engine_pool import EnginePool
from pipeline.server.items import count_tokens
from pipeline.server.response import MS_PER_OUTPUT_TOKEN
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.server.rest.requests import MAX_BODY_BYTES, demand_key, read_json
from pipeline.server.rest.streamed import SSE, Streamed, event, failure_event
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

MEDIA_TYPES: Final = {"wav": "audio/wav", "pcm": "audio/pcm"}
ENDLESS: Final = 0xFFFF_FFFF
"""The length in the header of a WAV that is sent before its end is known, as the provider writes it."""


class SpeechRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. There is one voice, whatever it is called, and `instructions` do not change how it speaks.

    The provider's default format is mp3; this server has no encoder for it and gives WAV to those who name none.
    """

    model: str
    input: Annotated[str, Meta(min_length=1, max_length=4_096)]
    voice: str | CustomVoice
    response_format: str = "wav"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: str = ""


def speech(admission: Admission, engines: EnginePool) -> HTTPRouteHandler:
    """The resource."""

    @post("/v1/audio/speech", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create(request: Request[Any, Any, Any]) -> ASGIApp:
        demand_key(request, admission)
        wanted = await read_json(request, SpeechRequest)
        if wanted.response_format not in MEDIA_TYPES:
            message = f"This server has no encoder for '{wanted.response_format}'; supported are 'wav' and 'pcm'."
            raise RequestRefusedError(400, "invalid_value", message, "response_format")
        sound = _with_header(wanted, engines) if wanted.response_format == "wav" else _spoken(wanted, engines)
        if wanted.stream_format == "sse":
            return Streamed(_events(wanted, sound), SSE, failure_event)
        return Streamed(sound, MEDIA_TYPES[wanted.response_format])

    return create


async def _spoken(wanted: SpeechRequest, engines: EnginePool) -> AsyncGenerator[bytes, None]:
    clauses = Clauses()
    for text in [*clauses.feed(wanted.input), clauses.rest()]:
        if text.strip():
            async with aclosing(engines.speak(text, speed=wanted.speed)) as sounds:
                async for pcm in sounds:
                    yield pcm


async def _with_header(wanted: SpeechRequest, engines: EnginePool) -> AsyncGenerator[bytes, None]:
    header = _wav_header()
    async with aclosing(_spoken(wanted, engines)) as sound:
        async for pcm in sound:
            yield header + pcm  # not before there is sound: the voice may still be too busy to begin
            header = b""
    if header:
        yield header


async def _events(wanted: SpeechRequest, sound: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async with aclosing(sound):
        async for piece in sound:
            size += len(piece)
            yield event(_AudioDelta(audio=piece))
    spent = count_tokens(wanted.input), size // BYTES_PER_MS // MS_PER_OUTPUT_TOKEN
    yield event(_AudioDone(usage=_SpeechUsage(*spent, sum(spent))))


class _AudioDelta(Struct, tag_field="type", tag="speech.audio.delta"):
    audio: bytes  # msgspec writes base64


class _SpeechUsage(Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class _AudioDone(Struct, tag_field="type", tag="speech.audio.done"):
    usage: _SpeechUsage


def _wav_header() -> bytes:
    """16-bit mono of unknown length."""
    form = struct.pack("<HHIIHH", 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", ENDLESS, b"WAVE", b"fmt ", len(form), form, b"data", ENDLESS)
