import json

import pytest

from pipeline.realtime.codec import decode_client, encode
from pipeline.realtime.session_config import session_update
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.settings import Settings

OVERRIDES = (
    'conversation.instructions="Be brief."',
    'conversation.voice="marin"',
    'conversation.language="de"',
    'conversation.transcription_model="gpt-4o-transcribe"',
    "turn.threshold=0.6",
    "turn.prefix_padding_ms=250",
    "turn.silence_duration_ms=450",
)


@pytest.fixture
def settings() -> Settings:
    return load(overrides=OVERRIDES)


def test_everything_relied_on_is_said(settings: Settings) -> None:
    update = session_update(settings)
    pcm = {"type": "audio/pcm", "rate": 24000}
    assert json.loads(encode(update)) == {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "Be brief.",
            "max_output_tokens": 4096,
            "audio": {
                "input": {
                    "format": pcm,
                    "transcription": {"model": "gpt-4o-transcribe", "language": "de"},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.6,
                        "prefix_padding_ms": 250,
                        "silence_duration_ms": 450,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": pcm, "voice": "marin"},
            },
        },
    }
    assert decode_client(encode(update)) == update


def test_push_to_talk_switches_the_detector_off() -> None:
    raw = json.loads(encode(session_update(load(overrides=(*OVERRIDES, 'turn.mode="push_to_talk"')))))
    assert raw["session"]["audio"]["input"]["turn_detection"] is None
