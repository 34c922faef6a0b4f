"""The settings of a session: its defaults, what follows from them, and what a `session.update` makes of them. Pure.

Only fields that are present change; on any error the whole update is refused. What this server cannot do is refused
with a reason instead of being accepted and ignored, because a client could not tell the difference by listening.
"""

from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import (
    AudioFormat,
    AudioInput,
    AudioOutput,
    CustomVoice,
    ResponseAudio,
    ResponseAudioOutput,
    ResponseParams,
    Session,
    SessionAudio,
    Transcription,
    TurnDetection,
    WireObject,
)
from pipeline.server.audio_format import PCM
from pipeline.server.settings_checks import check_response_params, check_session, invalid
from pipeline.server.tool_settings import without_secrets

DEFAULT_INSTRUCTIONS: Final = "You are a helpful voice assistant. Answer in one or two short sentences."

SERVER_VAD: Final = TurnDetection(
    type="server_vad",
    threshold=0.5,
    prefix_padding_ms=300,
    silence_duration_ms=500,
    create_response=True,
    interrupt_response=True,
)
SEMANTIC_VAD: Final = TurnDetection(
    type="semantic_vad", eagerness="auto", create_response=True, interrupt_response=True
)
SEMANTIC_SILENCE_MS: Final = {"low": 2_000, "medium": 1_000, "auto": 1_000, "high": 500}
"""Semantic VAD is approximated here by a silence chosen by eagerness: a quarter of the longest the service waits."""

S = TypeVar("S", bound=WireObject)


class Endpointing(NamedTuple):
    """When a turn begins and ends, for the turn detector."""

    threshold: float
    prefix_padding_ms: float
    silence_duration_ms: float


def default_session(model: str, voice: str) -> Session:
    """A conversation with every default, as `session.created` shows it before its id and end are known."""
    return Session(
        type="realtime",
        object="realtime.session",
        model=model,
        output_modalities=["audio"],
        instructions=DEFAULT_INSTRUCTIONS,
        audio=SessionAudio(
            input=AudioInput(format=PCM, transcription=None, noise_reduction=None, turn_detection=SERVER_VAD),
            output=AudioOutput(format=PCM, voice=voice, speed=1.0),
        ),
        tools=[],
        tool_choice="auto",
        max_output_tokens="inf",
        truncation="auto",
        tracing=None,
        prompt=None,
        include=None,
    )


def default_transcription_session() -> Session:
    """A session that only writes down what is said."""
    return Session(
        type="transcription",
        object="realtime.transcription_session",
        audio=SessionAudio(
            input=AudioInput(format=PCM, transcription=Transcription(), noise_reduction=None, turn_detection=SERVER_VAD)
        ),
        include=None,
    )


def shown(session: Session) -> Session:
    """The session as clients are shown it: what opens its tool servers stays here."""
    if session.tools is None:
        return session
    return msgspec.structs.replace(session, tools=[without_secrets(tool) for tool in session.tools])


def input_settings(session: Session) -> AudioInput:
    """How the client sends its sound, and what is done with it."""
    assert session.audio is not None
    assert session.audio.input is not None
    return session.audio.input


def input_format(session: Session) -> AudioFormat:
    """What the client's sound is coded as."""
    audio_format = input_settings(session).format
    assert audio_format is not None, "a session's settings are complete"
    return audio_format


def turn_detection(session: Session) -> TurnDetection | None:
    """Who notices that the user has finished; None if only the client does."""
    detection = input_settings(session).turn_detection
    assert detection is not UNSET, "a session's settings are complete"
    return detection


def endpointing(detection: TurnDetection) -> Endpointing:
    """What the turn detector is to do."""
    if detection.type == "semantic_vad":
        silence_ms = SEMANTIC_SILENCE_MS[detection.eagerness or "auto"]
        return Endpointing(SERVER_VAD.threshold or 0.0, SERVER_VAD.prefix_padding_ms or 0, silence_ms)
    return Endpointing(detection.threshold or 0.0, detection.prefix_padding_ms or 0, detection.silence_duration_ms or 0)


def updated(session: Session, update: Session, *, voice_locked: bool) -> Session:
    """The session after this update.

    Raises:
        ClientEventError: one field is missing or cannot be; nothing changed.
    """
    _check_type(session, update)
    if update.model is not None and update.model != session.model:
        raise invalid("session.model", "The model of a session cannot be changed.")
    fixed = msgspec.structs.replace(update, id=None, object=None, expires_at=None)
    after = _merged(session, fixed)
    check_session(after)
    if voice_locked and _voice(after) != _voice(session):
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise ClientEventError("cannot_update_voice", message, "session.audio.output.voice")
    return after


def response_audio(session: Session, params: ResponseParams) -> ResponseAudio:
    """How a response will sound: as the session's answers do, but for what its `response.create` says."""
    assert session.audio is not None
    assert session.audio.output is not None, "only a conversation has responses"
    settings = ResponseAudioOutput(format=session.audio.output.format, voice=session.audio.output.voice)
    if params.audio is not None and params.audio.output is not None:
        settings = _merged(settings, params.audio.output)
    if isinstance(settings.voice, CustomVoice):
        settings = msgspec.structs.replace(settings, voice=settings.voice.id)
    return ResponseAudio(output=settings)


def check_response(session: Session, params: ResponseParams) -> None:
    """What `response.create` may ask of this server.

    Raises:
        ClientEventError: naming the parameter that cannot be.
    """
    check_response_params(params, response_audio(session, params))


def _check_type(session: Session, update: Session) -> None:
    if update.type is None:
        message = "Missing required parameter: 'session.type'."
        raise ClientEventError("missing_required_parameter", message, "session.type")
    if update.type not in {"realtime", "transcription"}:
        raise invalid("session.type", "Supported values are: 'realtime' and 'transcription'.")
    if update.type != session.type:
        message = f"Passing a {update.type} session update event to a {session.type} session is not allowed."
        raise invalid("session.type", message)


def _voice(session: Session) -> object:
    assert session.audio is not None
    return session.audio.output and session.audio.output.voice


def _merged(current: S, update: S) -> S:
    """`update` laid over `current`: absent fields stay, null clears where null has a meaning, objects merge."""
    changes: dict[str, object] = {}
    for field in msgspec.structs.fields(type(update)):
        before, after = getattr(current, field.name), getattr(update, field.name)
        if after is UNSET or (after is None and field.default is not UNSET):
            continue
        if isinstance(after, TurnDetection) and _kind(before) != after.type:
            # Switched on, or to the other kind: what the client leaves out has its default.
            before = SEMANTIC_VAD if after.type == SEMANTIC_VAD.type else SERVER_VAD
        if isinstance(after, AudioFormat):
            before = PCM  # its rate may be left out
        if isinstance(after, WireObject) and isinstance(before, type(after)) and _kind(before) == _kind(after):
            after = _merged(before, after)
        changes[field.name] = after
    return msgspec.structs.replace(current, **changes)


def _kind(settings: object) -> object:
    """Objects of different kinds (another format, another detector) replace each other instead of mixing."""
    return getattr(settings, "type", None)
