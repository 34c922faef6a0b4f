"""`POST /v1/audio/transcriptions`: a recording as text, whole or streamed utterance by utterance."""

import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final, Literal

import msgspec
import trio
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from pipeline.realtime.codec import complaint
from pipeline.realtime.events import TokenDetails, Usage
from pipeline.server.admission import Admission
from pipeline.server.engine_pool import EnginePool
from pipeline.server.items import count_tokens
from pipeline.server.response import MS_PER_INPUT_TOKEN
from pipeline.server.rest.answers import json_answer
from pipeline.server.rest.form import read_form
from pipeline.server.rest.recording import Segment, heard, sound_of
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.server.rest.requests import body_deadline, demand_key
from pipeline.server.rest.streamed import SSE, Streamed, event, failure_event
from pipeline.server.rest.subtitles import subrip, webvtt
from pipeline.vocabulary.frames import BYTES_PER_MS

MAX_FILE_BYTES: Final = 25 * 1024 * 1024
"""As the provider."""
MAX_BODY_BYTES: Final = MAX_FILE_BYTES + 64 * 1024
"""The file and the fields around it."""
MAX_AT_ONCE: Final = 4
"""Recordings in memory, each up to 54 MB with its sound."""
UPLOAD_DEADLINE_S: Final = 120.0
"""25 MiB at 2 Mbit/s; a slower client would keep a desk from the others."""


class TranscriptionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields beside `file`. What the recogniser has no use for (prompt, temperature) is a hint it does not take.

    There are no times of single words and no probabilities of tokens, so they cannot be asked for. `verbose_json`
    repeats `language`: nobody here finds out which one is spoken, and the shipped recogniser takes all for English.
    """

    model: str
    language: str = "en"
    prompt: str = ""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float = 0.0
    stream: bool = False
    chunking_strategy: Literal["auto"] = "auto"
    timestamp_granularities: list[Literal["segment"]] = []


def transcriptions(admission: Admission, engines: EnginePool) -> HTTPRouteHandler:
    """The resource."""
    desks = trio.Semaphore(MAX_AT_ONCE)

    @post("/v1/audio/transcriptions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create(request: Request[Any, Any, Any]) -> ASGIApp:
        demand_key(request, admission)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            with _taken(desks):
                wanted, recording = await _read(request)
                pcm = await trio.to_thread.run_sync(sound_of, recording, abandon_on_cancel=True)
                if wanted.stream:
                    app: ASGIApp = Streamed(_events(pcm, engines), SSE, failure_event)
                else:
                    async with aclosing(heard(pcm, engines)) as segments:
                        whole = _whole(wanted, [segment async for segment in segments], len(pcm) / BYTES_PER_MS)
                    app = whole.to_asgi_response(None, request)
                await app(scope, receive, send)

        return answer

    return create


@contextmanager
def _taken(desks: trio.Semaphore) -> Iterator[None]:
    """Hold a desk until the answer has been sent, or refuse the request."""
    try:
        desks.acquire_nowait()
    except trio.WouldBlock:
        message = f"{MAX_AT_ONCE} recordings are being transcribed; try again in a moment."
        raise RequestRefusedError(429, "rate_limit_exceeded", message) from None
    try:
        yield
    finally:
        desks.release()


async def _read(request: Request[Any, Any, Any]) -> tuple[TranscriptionRequest, bytes]:
    with body_deadline(UPLOAD_DEADLINE_S):
        form = await read_form(request, "file")
    if form.file is None:
        raise RequestRefusedError(400, "missing_required_parameter", "missing required field `file`", "file")
    if len(form.file) > MAX_FILE_BYTES:
        message = f"The file has {len(form.file)} bytes; at most {MAX_FILE_BYTES} are read."
        raise RequestRefusedError(413, None, message)
    try:
        wanted = msgspec.convert(form.fields, TranscriptionRequest, strict=False)  # a form's values are text
    except msgspec.ValidationError as flawed:
        raise complaint(str(flawed)) from None
    if wanted.stream and wanted.response_format not in {"json", "text"}:
        message = "Only 'json' and 'text' can be streamed."
        raise RequestRefusedError(400, "invalid_value", message, "response_format")
    return wanted, form.file


def _whole(wanted: TranscriptionRequest, segments: list[Segment], duration_ms: float) -> Response[bytes]:
    text = " ".join(segment.text for segment in segments)
    match wanted.response_format:
        case "text":
            return _plain(text + "\n")
        case "srt":
            return _plain(subrip(segments))
        case "vtt":
            return _plain(webvtt(segments))
        case "verbose_json":
            seconds = duration_ms / 1000
            whole = _Verbose(
                language=wanted.language,
                duration=seconds,
                text=text,
                segments=[_VerboseSegment(number, *segment) for number, segment in enumerate(segments)],
                usage=Usage(type="duration", seconds=math.ceil(seconds)),
            )
            return json_answer(whole)
        case _:
            return json_answer({"text": text, "usage": _usage(text, duration_ms)})


async def _events(pcm: bytes, engines: EnginePool) -> AsyncGenerator[bytes, None]:
    text = ""
    async with aclosing(heard(pcm, engines)) as segments:
        async for segment in segments:
            delta = f" {segment.text}" if text else segment.text
            text += delta
            yield event({"type": "transcript.text.delta", "delta": delta})
    usage = _usage(text, len(pcm) / BYTES_PER_MS)
    yield event({"type": "transcript.text.done", "text": text, "usage": usage})


class _VerboseSegment(Struct):
    """The provider's segments also hold what its model thought of them; nothing here measures that."""

    id: int
    start: float
    end: float
    text: str


class _Verbose(Struct):
    language: str
    duration: float
    text: str
    segments: list[_VerboseSegment]
    usage: Usage
    task: str = "transcribe"


def _usage(text: str, duration_ms: float) -> Usage:
    read, written = int(duration_ms / MS_PER_INPUT_TOKEN), count_tokens(text)
    return Usage(
        type="tokens",
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_token_details=TokenDetails(audio_tokens=read, text_tokens=0),
    )


def _plain(text: str) -> Response[bytes]:
    return Response(text.encode(), media_type="text/plain; charset=utf-8")
