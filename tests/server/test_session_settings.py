from typing import Any

import pytest
from msgspec import convert

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import AudioFormat, Session
from pipeline.server.audio_format import PCM
from pipeline.server.session_settings import default_session, updated


def after(*updates: dict[str, Any]) -> Any:
    session = default_session("model", "heart")
    for update in updates:
        session = updated(session, convert({"type": "realtime", **update}, Session), voice_locked=False)
    return session


def detection(settings: object) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": settings}}}


def test_null_clears_where_null_has_a_meaning() -> None:
    transcription = {"audio": {"input": {"transcription": {"model": "m", "language": "en"}}}}
    assert after(transcription).audio.input.transcription.language == "en"
    assert after(transcription, {"audio": {"input": {"transcription": None}}}).audio.input.transcription is None
    assert after(detection(None)).audio.input.turn_detection is None


def test_a_detector_that_is_switched_on_again_has_its_defaults() -> None:
    again = after(detection(None), detection({"type": "server_vad", "threshold": 0.7})).audio.input.turn_detection
    assert (again.threshold, again.silence_duration_ms, again.interrupt_response) == (0.7, 500, True)


def test_the_format_may_leave_its_rate_out() -> None:
    assert after({"audio": {"output": {"format": {"type": "audio/pcm"}}}}).audio.output.format.rate == 24_000


@pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
def test_each_direction_has_a_format_of_its_own(law: str) -> None:
    one = after({"audio": {"input": {"format": {"type": law}}}})
    assert (one.audio.input.format, one.audio.output.format) == (AudioFormat(type=law), PCM)
    back = after(
        {"audio": {"output": {"format": {"type": law}}}}, {"audio": {"output": {"format": {"type": PCM.type}}}}
    )
    assert (back.audio.input.format, back.audio.output.format) == (PCM, PCM)


def test_ids_and_expiry_are_not_the_clients() -> None:
    assert after({"id": "sess_mine", "expires_at": 1}).id is None


@pytest.mark.parametrize(
    ("update", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"type": "poem"}, "session.type"),
        ({"model": "other"}, "session.model"),
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"max_output_tokens": "many"}, "session.max_output_tokens"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format"),
        ({"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16_000}}}}, "session.audio.output.format"),
        ({"audio": {"output": {"format": {"type": "audio/pcmu", "rate": 8_000}}}}, "session.audio.output.format"),
        ({"audio": {"output": {"speed": 1.6}}}, "session.audio.output.speed"),
        (detection({"type": "psychic_vad"}), "session.audio.input.turn_detection.type"),
        (detection({"type": "semantic_vad", "eagerness": "x"}), "session.audio.input.turn_detection.eagerness"),
        (detection({"type": "semantic_vad", "threshold": 0.5}), "session.audio.input.turn_detection.threshold"),
        (detection({"type": "server_vad", "eagerness": "low"}), "session.audio.input.turn_detection.eagerness"),
        (detection({"type": "server_vad", "threshold": 1.1}), "session.audio.input.turn_detection.threshold"),
        (
            detection({"type": "server_vad", "prefix_padding_ms": -1}),
            "session.audio.input.turn_detection.prefix_padding_ms",
        ),
        (
            detection({"type": "server_vad", "idle_timeout_ms": 4999}),
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_path(update: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientEventError) as refused:
        after(update)
    assert refused.value.param == param
