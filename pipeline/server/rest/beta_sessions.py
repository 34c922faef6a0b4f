"""`POST /v1/realtime/sessions` and `/transcription_sessions`, the beta's way to a client secret.

In goes a flat session, out comes the same, complete and with the secret.
"""

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


class BetaSession(Struct, frozen=True, forbid_unknown_fields=True):
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


class BetaTranscriptionSecretRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a transcription session's secret: here the beta calls the time `expires_at`."""

    expires_at: ExpiresAfter = ExpiresAfter()


class BetaTranscriptionSession(Struct, frozen=True, forbid_unknown_fields=True):
    """A session that only writes down what is said; it answers nothing, so `modalities` changes nothing."""

    input_audio_format: FormatName | None = None
    input_audio_transcription: Transcription | UnsetType | None = UNSET
    input_audio_noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET
    modalities: list[Literal["text", "audio"]] | None = None
    client_secret: BetaTranscriptionSecretRequest = BetaTranscriptionSecretRequest()


def beta_sessions(admission: Admission, mint: Mint) -> list[HTTPRouteHandler]:
    """The resources."""

    def minted(wanted: Session, seconds: int | None) -> ClientSecretCreated:
        try:
            return mint.mint(wanted, seconds or TTL_S)
        except ClientEventError as refused:
            raise _flattened_error(refused) from None

    @post("/v1/realtime/sessions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create_session(request: Request[Any, Any, Any]) -> Response[bytes]:
        demand_key(request, admission)
        wanted = await read_json(request, BetaSession)
        created = minted(_unfolded(wanted), wanted.client_secret.expires_after.seconds)
        return _answer({**_flat_input(created.session), **_flat_rest(created.session)}, created)

    @post("/v1/realtime/transcription_sessions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create_transcription_session(request: Request[Any, Any, Any]) -> Response[bytes]:
        demand_key(request, admission)
        wanted = await read_json(request, BetaTranscriptionSession)
        session = Session(type="transcription", audio=SessionAudio(input=_input(wanted)), include=wanted.include)
        created = minted(session, wanted.client_secret.expires_at.seconds)
        return _answer({**_flat_input(created.session), "include": created.session.include}, created)

    return [create_session, create_transcription_session]


def _unfolded(flat: BetaSession) -> Session:
    """Today's session of the beta's."""
    return Session(
        type="realtime",
        model=flat.model,
        output_modalities=_output_modalities(flat.modalities),
        instructions=flat.instructions,
        audio=SessionAudio(
            input=_input(flat),
            output=AudioOutput(format=_format(flat.output_audio_format), voice=flat.voice, speed=flat.speed),
        ),
        tools=flat.tools,
        tool_choice=flat.tool_choice,
        max_output_tokens=flat.max_response_output_tokens,
        tracing=flat.tracing,
    )


def _input(flat: BetaSession | BetaTranscriptionSession) -> AudioInput:
    return AudioInput(
        format=_format(flat.input_audio_format),
        transcription=flat.input_audio_transcription,
        noise_reduction=flat.input_audio_noise_reduction,
        turn_detection=flat.turn_detection,
    )


def _output_modalities(modalities: list[Literal["text", "audio"]] | None) -> list[str] | None:
    """The beta asked for a spoken answer, which has a transcript, as text and audio."""
    if modalities is None:
        return None
    return ["audio"] if "audio" in modalities else ["text"]


def _format(name: FormatName | None) -> AudioFormat | None:
    return None if name is None else FORMATS[name]


def _flat_input(session: Session) -> Json:
    assert session.audio is not None
    heard = session.audio.input
    assert heard is not None
    assert heard.format is not None
    return {
        "input_audio_format": FORMAT_NAMES[heard.format],
        "input_audio_transcription": heard.transcription,
        "input_audio_noise_reduction": heard.noise_reduction,
        "turn_detection": heard.turn_detection,
    }


def _flat_rest(session: Session) -> Json:
    """What a session has that answers."""
    assert session.audio is not None
    said = session.audio.output
    assert said is not None
    assert said.format is not None
    return {
        "model": session.model,
        "modalities": ["text", "audio"] if session.output_modalities == ["audio"] else ["text"],
        "instructions": session.instructions,
        "voice": said.voice,
        "output_audio_format": FORMAT_NAMES[said.format],
        "tools": session.tools,
        "tool_choice": session.tool_choice,
        "max_response_output_tokens": session.max_output_tokens,
        "speed": said.speed,
        "tracing": session.tracing,
    }


def _answer(flat: Json, created: ClientSecretCreated) -> Response[bytes]:
    secret = {"value": created.value, "expires_at": created.expires_at}
    fields = {"id": created.session.id, "object": created.session.object, **flat, "client_secret": secret}
    return json_answer({name: value for name, value in fields.items() if value is not UNSET})


def _flattened_error(refused: ClientEventError) -> ClientEventError:
    """The same refusal, its paths as the beta's client wrote them."""
    param = refused.param or ""
    for path, flat in FLAT_PATHS.items():
        if param.startswith(path):
            where = (flat + param.removeprefix(path)).lstrip(".")
            return ClientEventError(refused.code, refused.message.replace(param, where), where)
    return refused
