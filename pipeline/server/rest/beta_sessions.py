"""`POST /v1/realtime/sessions`, the beta's way to a client secret: its flat session in, and out with the secret."""

from typing import Any, Final, Literal

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Struct, UnsetType

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import (
    AudioFormat,
    AudioInput,
    AudioOutput,
    Json,
    NoiseReduction,
    Session,
    SessionAudio,
    Tool,
    Transcription,
    TurnDetection,
)
from pipeline.server.admission import Admission
from pipeline.server.audio_format import PCM, PCMA, PCMU
from pipeline.server.rest.answers import json_answer
from pipeline.server.rest.client_secrets import ClientSecretCreated, ExpiresAfter, Mint
from pipeline.server.rest.requests import MAX_BODY_BYTES, demand_key, read_json

TTL_S: Final = 60
"""What the beta's secrets live unless asked otherwise."""
FORMATS: Final = {"pcm16": PCM, "g711_ulaw": PCMU, "g711_alaw": PCMA}
FORMAT_NAMES: Final = {audio_format: name for name, audio_format in FORMATS.items()}
FLAT_PATHS: Final = {
    "session.output_modalities": "modalities",
    "session.max_output_tokens": "max_response_output_tokens",
    "session.audio.input.format": "input_audio_format",
    "session.audio.input.transcription": "input_audio_transcription",
    "session.audio.input.noise_reduction": "input_audio_noise_reduction",
    "session.audio.input.turn_detection": "turn_detection",
    "session.audio.output.format": "output_audio_format",
    "session.audio.output.voice": "voice",
    "session.audio.output.speed": "speed",
    "session": "",
}
"""Where a setting of today's session stands in the beta's, the longest path that fits first."""

FormatName = Literal["pcm16", "g711_ulaw", "g711_alaw"]


class BetaSecretRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the secret."""

    expires_after: ExpiresAfter = ExpiresAfter()


class BetaSession(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The session as the beta writes it. `temperature` is gone from the protocol and changes nothing."""

    model: str | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    instructions: str | None = None
    voice: str | None = None
    input_audio_format: FormatName | None = None
    output_audio_format: FormatName | None = None
    input_audio_transcription: Transcription | UnsetType | None = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET
    tools: list[Tool] | None = None
    tool_choice: str | None = None
    temperature: float | None = None
    max_response_output_tokens: int | str | None = None
    speed: float | None = None
    tracing: str | Json | UnsetType | None = UNSET
    client_secret: BetaSecretRequest = BetaSecretRequest()


def beta_sessions(admission: Admission, mint: Mint) -> HTTPRouteHandler:
    """The resource."""

    @post("/v1/realtime/sessions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create(request: Request[Any, Any, Any]) -> Response[bytes]:
        demand_key(request, admission)
        wanted = await read_json(request, BetaSession)
        try:
            minted = mint.mint(_unfolded(wanted), wanted.client_secret.expires_after.seconds or TTL_S)
        except ClientEventError as refused:
            raise _flattened_error(refused) from None
        return json_answer(_flattened(minted))

    return create


def _unfolded(flat: BetaSession) -> Session:
    """Today's session of the beta's."""
    return Session(
        type="realtime",
        model=flat.model,
        output_modalities=_output_modalities(flat.modalities),
        instructions=flat.instructions,
        audio=SessionAudio(
            input=AudioInput(
                format=_format(flat.input_audio_format),
                transcription=flat.input_audio_transcription,
                noise_reduction=flat.input_audio_noise_reduction,
                turn_detection=flat.turn_detection,
            ),
            output=AudioOutput(format=_format(flat.output_audio_format), voice=flat.voice, speed=flat.speed),
        ),
        tools=flat.tools,
        tool_choice=flat.tool_choice,
        max_output_tokens=flat.max_response_output_tokens,
        tracing=flat.tracing,
    )


def _output_modalities(modalities: list[Literal["text", "audio"]] | None) -> list[str] | None:
    """The beta asked for a spoken answer, which has a transcript, as text and audio."""
    if modalities is None:
        return None
    return ["audio"] if "audio" in modalities else ["text"]


def _format(name: FormatName | None) -> AudioFormat | None:
    return None if name is None else FORMATS[name]


def _flattened(minted: ClientSecretCreated) -> Json:
    """The beta's session of today's, complete, with its secret."""
    session = minted.session
    assert session.audio is not None
    heard, said = session.audio.input, session.audio.output
    assert heard is not None
    assert said is not None
    assert heard.format is not None
    assert said.format is not None
    flat: Json = {
        "id": session.id,
        "object": "realtime.session",
        "model": session.model,
        "modalities": ["text", "audio"] if session.output_modalities == ["audio"] else ["text"],
        "instructions": session.instructions,
        "voice": said.voice,
        "input_audio_format": FORMAT_NAMES[heard.format],
        "output_audio_format": FORMAT_NAMES[said.format],
        "input_audio_transcription": heard.transcription,
        "input_audio_noise_reduction": heard.noise_reduction,
        "turn_detection": heard.turn_detection,
        "tools": session.tools,
        "tool_choice": session.tool_choice,
        "max_response_output_tokens": session.max_output_tokens,
        "speed": said.speed,
        "tracing": session.tracing,
        "client_secret": {"value": minted.value, "expires_at": minted.expires_at},
    }
    return {name: value for name, value in flat.items() if value is not UNSET}


def _flattened_error(refused: ClientEventError) -> ClientEventError:
    """The same refusal, its paths as the beta's client wrote them."""
    param = refused.param or ""
    for path, flat in FLAT_PATHS.items():
        if param.startswith(path):
            where = (flat + param.removeprefix(path)).lstrip(".")
            return ClientEventError(refused.code, refused.message.replace(param, where), where)
    return refused
