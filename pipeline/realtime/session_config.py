"""What talkwire asks of a session, from its settings."""

from msgspec.structs import replace

from pipeline.realtime.events import (
    AudioFormat,
    AudioInput,
    AudioOutput,
    Session,
    SessionAudio,
    SessionUpdate,
    Transcription,
    TurnDetection,
)
from pipeline.vocabulary.frames import RATE_HZ
from pipeline.vocabulary.settings import Settings, TurnSettings

MAX_OUTPUT_TOKENS = 4096
"""The most a client may ask for: about 205 s of speech at 20 tokens/s, which fits into the 240 s of link `reply`."""


def session_update(settings: Settings) -> SessionUpdate:
    """Build the one update that configures a session: everything talkwire relies on, so no service default matters.

    The model is not in it: it is named when the session is opened and cannot change.
    """
    conversation = settings.conversation
    pcm = AudioFormat(type="audio/pcm", rate=RATE_HZ)
    return SessionUpdate(
        session=Session(
            type="realtime",
            output_modalities=["audio"],
            instructions=conversation.instructions,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            audio=SessionAudio(
                input=AudioInput(
                    format=pcm,
                    transcription=Transcription(model=conversation.transcription_model, language=conversation.language),
                    turn_detection=_turn_detection(settings.turn),
                ),
                output=AudioOutput(format=pcm, voice=conversation.voice),
            ),
        )
    )


def without_voice(update: SessionUpdate) -> SessionUpdate:
    """The update for a session that has begun: a service locks the voice and refuses an update that names it whole."""
    session = update.session
    return SessionUpdate(
        session=replace(session, audio=replace(session.audio, output=None)) if session.audio else session
    )


def _turn_detection(turn: TurnSettings) -> TurnDetection | None:
    """Whole or null: whether a service merges a partial one or resets what is missing is not documented."""
    if turn.mode == "push_to_talk":
        return None
    return TurnDetection(
        type="server_vad",
        threshold=turn.threshold,
        prefix_padding_ms=turn.prefix_padding_ms,
        silence_duration_ms=turn.silence_duration_ms,
        create_response=True,
        interrupt_response=True,
    )
