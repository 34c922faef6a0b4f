"""What a session and a response may be set to on this server; each refusal names the field. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import (
    AudioFormat,
    AudioInput,
    NoiseReduction,
    ResponseAudio,
    ResponseParams,
    Session,
    Transcription,
    TurnDetection,
)
from pipeline.server.audio_format import FORMATS
from pipeline.server.settings_shapes import check_shapes
from pipeline.server.tool_settings import check_tool_choice, check_tools

LANGUAGE: Final = "en"
"""The only one the recogniser knows."""
DELAYS: Final = ("minimal", "low", "medium", "high", "xhigh")
MAX_OUTPUT_TOKENS: Final = 4096
MAX_PREFIX_PADDING_MS: Final = 5_000
"""More would be another utterance; this much sound is kept in memory while nobody speaks."""
MAX_SILENCE_DURATION_MS: Final = 60_000
MIN_IDLE_TIMEOUT_MS: Final = 5_000
MAX_IDLE_TIMEOUT_MS: Final = 30_000
MIN_SPEED: Final = 0.25
MAX_SPEED: Final = 1.5
MAX_INSTRUCTIONS_CHARACTERS: Final = 100_000
"""Several times what the service's models can read."""


_OF_A_TRANSCRIPTION: Final = {"type", "id", "object", "expires_at", "audio", "include"}


def invalid(path: str, message: str) -> ClientEventError:
    """The refusal of a value."""
    return ClientEventError("invalid_value", f"Invalid value: '{path}'. {message}", path)


def unknown(path: str) -> ClientEventError:
    """The refusal of a field that has no place there."""
    return ClientEventError("unknown_parameter", f"Unknown parameter: '{path}'.", path)


def check_session(session: Session) -> None:
    """The settings of a session, complete.

    Raises:
        ClientEventError: naming the field that cannot be.
    """
    assert session.audio is not None
    _check_input(session.audio.input)
    if session.include not in (None, UNSET, []):
        raise invalid("session.include", "This server's recogniser tells no log probabilities.")
    if session.type == "transcription":
        _check_no_answers(session)
        return
    assert session.audio.output is not None
    _check_format(session.audio.output.format, "session.audio.output.format")
    _check_range(session.audio.output.speed, MIN_SPEED, MAX_SPEED, "session.audio.output.speed")
    _check_answers(session, "session")


def check_response_params(params: ResponseParams, audio: ResponseAudio) -> None:
    """What `response.create` asks for; `audio` is what its sound will be.

    Raises:
        ClientEventError: naming the parameter that cannot be.
    """
    if params.conversation not in {None, "auto", "none"}:
        raise invalid("response.conversation", "Supported values are: 'auto' and 'none'.")
    assert audio.output is not None
    _check_format(audio.output.format, "response.audio.output.format")
    _check_answers(params, "response")
    _check_metadata(params.metadata or {})


def _check_answers(settings: Session | ResponseParams, path: str) -> None:
    """What sessions and responses have in common."""
    _check_modalities(settings.output_modalities, f"{path}.output_modalities")
    _check_max_output_tokens(settings.max_output_tokens, f"{path}.max_output_tokens")
    if len(settings.instructions or "") > MAX_INSTRUCTIONS_CHARACTERS:
        message = f"Invalid '{path}.instructions': at most {MAX_INSTRUCTIONS_CHARACTERS} characters."
        raise ClientEventError("string_above_max_length", message, f"{path}.instructions")
    check_tools(settings.tools or [], f"{path}.tools")
    check_tool_choice(settings.tool_choice, f"{path}.tool_choice")
    check_shapes(settings, path)


def _check_no_answers(session: Session) -> None:
    """A transcription session has nothing that belongs to answers."""
    for field in msgspec.structs.fields(session):
        if field.name not in _OF_A_TRANSCRIPTION and getattr(session, field.name) is not field.default:
            raise unknown(f"session.{field.name}")
    if session.audio is not None and session.audio.output is not None:
        raise unknown("session.audio.output")


def _check_modalities(modalities: Sequence[str] | None, path: str) -> None:
    """Exactly one: an answer is spoken (with its transcript) or written."""
    if modalities is not None and list(modalities) not in (["audio"], ["text"]):
        raise invalid(path, "Supported values are: ['audio'] and ['text'].")


def _check_max_output_tokens(limit: int | str | None, path: str) -> None:
    """1 to 4096, or "inf"."""
    if limit is None or limit == "inf" or (isinstance(limit, int) and 1 <= limit <= MAX_OUTPUT_TOKENS):
        return
    raise invalid(path, f"Expected an integer from 1 to {MAX_OUTPUT_TOKENS} or 'inf'.")


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
        raise invalid("response.metadata", "At most 16 pairs, keys of 64 and values of 512 characters.")


def _check_input(settings: AudioInput | None) -> None:
    assert settings is not None
    path = "session.audio.input"
    _check_format(settings.format, f"{path}.format")
    if isinstance(settings.transcription, Transcription):
        _check_transcription(settings.transcription, f"{path}.transcription")
    if isinstance(settings.noise_reduction, NoiseReduction):
        if settings.noise_reduction.type not in {None, "near_field", "far_field"}:
            raise invalid(f"{path}.noise_reduction.type", "Supported values are: 'near_field' and 'far_field'.")
        _check_range(settings.noise_reduction.strength, 0, 1, f"{path}.noise_reduction.strength")
    if isinstance(settings.turn_detection, TurnDetection):
        _check_turn_detection(settings.turn_detection, f"{path}.turn_detection")


def _check_transcription(settings: Transcription, path: str) -> None:
    if settings.language not in {None, LANGUAGE}:
        raise invalid(f"{path}.language", f"This server's recogniser knows '{LANGUAGE}' only.")
    if settings.delay not in {None, *DELAYS}:
        raise invalid(f"{path}.delay", f"Supported values are: {', '.join(map(repr, DELAYS))}.")


def _check_turn_detection(detection: TurnDetection, path: str) -> None:
    foreign: tuple[str, ...]
    match detection.type:
        case "server_vad":
            foreign = ("eagerness",)
            _check_range(detection.threshold, 0, 1, f"{path}.threshold")
            _check_range(detection.prefix_padding_ms, 0, MAX_PREFIX_PADDING_MS, f"{path}.prefix_padding_ms")
            _check_range(detection.silence_duration_ms, 0, MAX_SILENCE_DURATION_MS, f"{path}.silence_duration_ms")
            idle_path = f"{path}.idle_timeout_ms"
            _check_range(detection.idle_timeout_ms, MIN_IDLE_TIMEOUT_MS, MAX_IDLE_TIMEOUT_MS, idle_path)
        case "semantic_vad":
            foreign = ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")
            if detection.eagerness not in {"low", "medium", "high", "auto"}:
                raise invalid(f"{path}.eagerness", "Supported values are: 'low', 'medium', 'high' and 'auto'.")
        case _:
            raise invalid(f"{path}.type", "Supported values are: 'server_vad', 'semantic_vad' and null.")
    for name in foreign:
        if getattr(detection, name) is not None:
            raise unknown(f"{path}.{name}")


def _check_format(audio_format: AudioFormat | None, path: str) -> None:
    if audio_format not in FORMATS:
        kinds = ", ".join(str(msgspec.to_builtins(supported)) for supported in FORMATS)
        raise invalid(path, f"Supported values are: {kinds}.")


def _check_range(value: float | None, lowest: float, highest: float, path: str) -> None:
    if value is not None and not lowest <= value <= highest:
        raise invalid(path, f"Expected a number from {lowest:g} to {highest:g}.")
