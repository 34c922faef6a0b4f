"""The settings of a session: its defaults, and what a `session.update` may change. Pure.

Only fields that are present change; on any error the whole update is refused. What this server cannot do is refused
with a reason instead of being accepted and ignored, because a client could not tell the difference by listening.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import (
    AudioFormat,
    AudioInput,
    AudioOutput,
    ResponseAudio,
    ResponseParams,
    Session,
    SessionAudio,
    TurnDetection,
    WireObject,
)
from pipeline.server.audio_format import FORMATS, PCM

DEFAULT_INSTRUCTIONS: Final = "You are a helpful voice assistant. Answer in one or two short sentences."
MAX_OUTPUT_TOKENS: Final = 4096
MAX_PREFIX_PADDING_MS: Final = 5_000
"""More would be another utterance; this much sound is kept in memory while nobody speaks."""
MAX_SILENCE_DURATION_MS: Final = 60_000

SERVER_VAD: Final = TurnDetection(
    type="server_vad",
    threshold=0.5,
    prefix_padding_ms=300,
    silence_duration_ms=500,
    create_response=True,
    interrupt_response=True,
)

S = TypeVar("S", bound=WireObject)


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


def updated(session: Session, update: Session, *, voice_locked: bool) -> Session:
    """The session after this update.

    Raises:
        ClientEventError: one field is missing or cannot be; nothing changed.
    """
    if update.type is None:
        message = "Missing required parameter: 'session.type'."
        raise ClientEventError("missing_required_parameter", message, "session.type")
    if update.type == "transcription":
        raise _invalid(
            "session.type", "Passing a transcription session update event to a realtime session is not allowed."
        )
    if update.type != "realtime":
        raise _invalid("session.type", "Supported values are: 'realtime'.")
    if update.model is not None and update.model != session.model:
        raise _invalid("session.model", "The model of a session cannot be changed.")
    fixed = msgspec.structs.replace(update, id=None, object=None, expires_at=None)
    after = _merged(session, fixed)
    assert after.audio is not None
    _check_input(after.audio.input)
    _check_output(after.audio.output)
    _check_modalities(after.output_modalities, "session.output_modalities")
    _check_max_output_tokens(after.max_output_tokens, "session.max_output_tokens")
    if voice_locked and _voice(after) != _voice(session):
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise ClientEventError("cannot_update_voice", message, "session.audio.output.voice")
    return after


def response_audio(session: Session, params: ResponseParams) -> ResponseAudio:
    """How a response will sound: as the session's answers do, but for what its `response.create` says."""
    assert session.audio is not None
    settings = ResponseAudio(output=session.audio.output)
    return settings if params.audio is None else _merged(settings, params.audio)


def check_response(session: Session, params: ResponseParams) -> None:
    """What `response.create` may ask of this server.

    Raises:
        ClientEventError: naming the parameter that cannot be.
    """
    if params.conversation not in {None, "auto"}:
        raise _invalid("response.conversation", "This server supports 'auto': answers belong to the conversation.")
    if params.input is not None:
        raise _invalid("response.input", "This server answers the conversation; leave the input out.")
    output = response_audio(session, params).output
    assert output is not None
    _check_format(output.format, "response.audio.output.format")
    _check_modalities(params.output_modalities, "response.output_modalities")
    _check_max_output_tokens(params.max_output_tokens, "response.max_output_tokens")
    _check_metadata(params.metadata or {})


def _check_modalities(modalities: Sequence[str] | None, path: str) -> None:
    """Exactly one: an answer is spoken (with its transcript) or written."""
    if modalities is not None and list(modalities) not in (["audio"], ["text"]):
        raise _invalid(path, "Supported values are: ['audio'] and ['text'].")


def _check_max_output_tokens(limit: int | str | None, path: str) -> None:
    """1 to 4096, or "inf"."""
    if limit is None or limit == "inf" or (isinstance(limit, int) and 1 <= limit <= MAX_OUTPUT_TOKENS):
        return
    raise _invalid(path, f"Expected an integer from 1 to {MAX_OUTPUT_TOKENS} or 'inf'.")


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
        raise _invalid("response.metadata", "At most 16 pairs, keys of 64 and values of 512 characters.")


def _check_input(settings: AudioInput | None) -> None:
    assert settings is not None
    _check_format(settings.format, "session.audio.input.format")
    detection, path = settings.turn_detection, "session.audio.input.turn_detection"
    if detection is None or detection is UNSET:
        return
    if detection.type != "server_vad":
        raise _invalid(f"{path}.type", "This server supports 'server_vad' and null.")
    if detection.idle_timeout_ms is not None:
        raise _invalid(f"{path}.idle_timeout_ms", "This server has no idle timeout; leave it null.")
    _check_range(detection.threshold, 1, f"{path}.threshold")
    _check_range(detection.prefix_padding_ms, MAX_PREFIX_PADDING_MS, f"{path}.prefix_padding_ms")
    _check_range(detection.silence_duration_ms, MAX_SILENCE_DURATION_MS, f"{path}.silence_duration_ms")


def _check_output(settings: AudioOutput | None) -> None:
    assert settings is not None
    _check_format(settings.format, "session.audio.output.format")
    if settings.speed != 1:
        raise _invalid("session.audio.output.speed", "This server's voice speaks at speed 1 only.")


def _check_format(audio_format: AudioFormat | None, path: str) -> None:
    if audio_format not in FORMATS:
        kinds = ", ".join(str(msgspec.to_builtins(supported)) for supported in FORMATS)
        raise _invalid(path, f"Supported values are: {kinds}.")


def _check_range(value: float | None, highest: float, path: str) -> None:
    if value is not None and not 0 <= value <= highest:
        raise _invalid(path, f"Expected a number from 0 to {highest}.")


def _voice(session: Session) -> object:
    assert session.audio is not None
    assert session.audio.output is not None
    return session.audio.output.voice


def _invalid(path: str, message: str) -> ClientEventError:
    return ClientEventError("invalid_value", f"Invalid value: '{path}'. {message}", path)


def _merged(current: S, update: S) -> S:
    """`update` laid over `current`: absent fields stay, null clears where null has a meaning, objects merge."""
    changes: dict[str, object] = {}
    for field in msgspec.structs.fields(type(update)):
        before, after = getattr(current, field.name), getattr(update, field.name)
        if after is UNSET or (after is None and field.default is not UNSET):
            continue
        if isinstance(after, TurnDetection) and not isinstance(before, TurnDetection):
            before = SERVER_VAD  # switched on again: what the client leaves out has its default
        if isinstance(after, AudioFormat):
            before = PCM  # its rate may be left out
        if isinstance(after, WireObject) and isinstance(before, type(after)) and _kind(before) == _kind(after):
            after = _merged(before, after)
        changes[field.name] = after
    return msgspec.structs.replace(current, **changes)


def _kind(settings: WireObject) -> object:
    """Objects of different kinds (another format, another detector) replace each other instead of mixing."""
    return getattr(settings, "type", None)
