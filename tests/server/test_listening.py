"""What the user's half of a conversation adds to the plain turn: guesses, idle timeout, semantic VAD, kept sound."""

import base64
import json
import math
from typing import Any

import pytest

from pipeline.realtime.events import (
    ConversationItemDelete,
    ConversationItemRetrieve,
    ConversationItemRetrieved,
    ErrorEvent,
    InputAudioBufferAppend,
    InputAudioBufferCommit,
    InputAudioBufferCommitted,
    InputAudioBufferSpeechStopped,
    InputAudioBufferTimeoutTriggered,
    ResponseCreate,
    SessionUpdated,
)
from pipeline.server.items import MAX_KEPT_SOUND_BYTES
from pipeline.server.work import (
    Generate,
    GeneratedAudio,
    GeneratedText,
    GenerationEnded,
    Recognise,
    Recognised,
    RecognitionFailed,
    StopRecognising,
    Tick,
)
from pipeline.vocabulary.frames import BYTES_PER_MS


def update(**turn_detection: object) -> str:
    audio = {"input": {"turn_detection": turn_detection, "transcription": {}}}
    return json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}})


def ms(duration: int, value: int = 0) -> bytes:
    return bytes([value, 0]) * (duration * BYTES_PER_MS // 2)


# guesses


def test_words_that_are_known_when_the_turn_ends_are_told_and_answered_at_once(bench: Any) -> None:
    bench.client(update(type="server_vad"))
    bench.hear(ms(500), 0.9)
    bench.hear(ms(320), 0.0)
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Hello?")) == []
    assert bench.hear(ms(320), 0.0) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "Generate",
    ]
    assert bench.last(Generate).ask.question == "Hello?"


def test_a_guess_holds_what_a_recognition_after_the_turn_would(bench: Any) -> None:
    bench.client(update(type="server_vad", prefix_padding_ms=0))
    bench.hear(ms(640, 1), 0.9)
    bench.hear(ms(640, 2), 0.0)
    assert bench.last(Recognise).sound == ms(640, 1) + ms(200, 2)
    assert len(bench.all(Recognise)) == 1


def test_who_goes_on_after_a_pause_is_heard_from_the_beginning(bench: Any) -> None:
    bench.hear(ms(480), 0.9)
    bench.hear(ms(320), 0.0)
    first = bench.last(Recognise)
    assert bench.hear(ms(480), 0.9) == ["StopRecognising"]
    assert bench.last(StopRecognising).utterance == first.utterance
    assert bench.work(Recognised(first.utterance, "Half a")) == [], "it was given up"
    bench.hear(ms(640), 0.0)
    second = bench.last(Recognise)
    assert len(second.sound) > len(first.sound)
    bench.work(Recognised(second.utterance, "Half a question?"))
    assert bench.last(Generate).ask.question == "Half a question?"


def test_a_guess_that_failed_is_the_turns_failure(bench: Any) -> None:
    bench.client(update(type="server_vad"))
    bench.hear(ms(500), 0.9)
    bench.hear(ms(320), 0.0)
    bench.work(RecognitionFailed(bench.last(Recognise).utterance, "no ears"))
    said = bench.hear(ms(320), 0.0)
    assert said[-4:] == [
        "conversation.item.input_audio_transcription.failed",
        "response.created",
        "response.done",
        "rate_limits.updated",
    ]


def test_a_turn_that_is_cleared_or_committed_by_hand_gives_its_guess_up(bench: Any) -> None:
    bench.hear(ms(500), 0.9)
    bench.hear(ms(320), 0.0)
    said = bench.client(InputAudioBufferCommit())
    assert said[0] == "input_audio_buffer.speech_stopped"
    assert said[-1] == "Recognise"
    assert "StopRecognising" in said
    bench.hear(ms(500), 0.9)
    bench.hear(ms(320), 0.0)
    assert "StopRecognising" in bench.client('{"type": "input_audio_buffer.clear"}')


def test_a_silence_shorter_than_a_guess_needs_none(bench: Any) -> None:
    bench.client(update(type="server_vad", silence_duration_ms=150))
    bench.hear(ms(500), 0.9)
    said = bench.hear(ms(200), 0.0)
    assert said.index("input_audio_buffer.committed") < said.index("Recognise")


# semantic VAD


@pytest.mark.parametrize(("eagerness", "silence_ms"), [("high", 512), ("auto", 1024), ("medium", 1024), ("low", 2016)])
def test_semantic_vad_is_a_silence_chosen_by_eagerness(bench: Any, eagerness: str, silence_ms: int) -> None:
    bench.client(update(type="semantic_vad", eagerness=eagerness))
    assert bench.last(SessionUpdated).session.audio.input.turn_detection.silence_duration_ms is None
    bench.hear(ms(640), 0.9)
    bench.hear(ms(3200), 0.0)
    assert bench.last(InputAudioBufferSpeechStopped).audio_end_ms == 640 + silence_ms


def test_the_other_kind_of_detector_begins_with_its_defaults(bench: Any) -> None:
    bench.client(update(type="server_vad", threshold=0.9, create_response=False))
    bench.client(update(type="semantic_vad"))
    detection = bench.last(SessionUpdated).session.audio.input.turn_detection
    assert (detection.eagerness, detection.create_response, detection.threshold) == ("auto", True, None)


# nobody speaks


def answered(bench: Any, *, at_s: float) -> None:
    """One answer of 2 s of sound, done at this moment."""
    bench.now = at_s
    bench.client(ResponseCreate())
    response_id = bench.last(Generate).response_id
    bench.work(GeneratedText(response_id, "Here."))
    bench.work(GeneratedAudio(response_id, ms(2000)))
    bench.work(GenerationEnded(response_id))


def test_silence_after_the_answer_was_heard_becomes_a_turn(bench: Any) -> None:
    bench.client(update(type="server_vad", idle_timeout_ms=5000))
    assert bench.conversation.next_deadline_s() == 3600, "not before the first answer"
    answered(bench, at_s=10.0)
    assert bench.conversation.next_deadline_s() == 10.0 + 2.0 + 5.0
    bench.hear(ms(640), 0.0)
    assert bench.work(Tick(), now=16.9) == []
    assert bench.work(Tick(), now=17.0) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "RestartDetection",
        "response.created",
        "Generate",
    ]
    fired = bench.last(InputAudioBufferTimeoutTriggered)
    assert (fired.audio_start_ms, fired.audio_end_ms) == (0, 640)
    assert fired.item_id == bench.last(InputAudioBufferCommitted).item_id
    assert bench.last(Generate).ask.question == ""
    assert bench.conversation.next_deadline_s() == 3600, "once, until there was an answer again"


def test_speech_or_a_request_calls_the_idle_timeout_off(bench: Any) -> None:
    bench.client(update(type="server_vad", idle_timeout_ms=5000))
    answered(bench, at_s=0.0)
    bench.hear(ms(320), 0.9)
    assert bench.conversation.next_deadline_s() == 3600
    bench.hear(ms(640), 0.0)
    bench.work(Recognised(bench.last(Recognise).utterance, ""))  # a cough: no answer, and so no rest after it
    answered(bench, at_s=20.0)
    bench.client(ResponseCreate())
    assert bench.conversation.next_deadline_s() == 3600


def test_without_idle_timeout_silence_lasts(bench: Any) -> None:
    answered(bench, at_s=0.0)
    assert math.isclose(bench.conversation.next_deadline_s(), 3600)


# kept sound


def spoken_item(bench: Any, sound: bytes) -> str:
    audio = base64.b64encode(sound).decode()
    bench.client(update_off())
    bench.client(InputAudioBufferAppend(audio=audio))
    bench.client(InputAudioBufferCommit())
    item_id: str = bench.last(InputAudioBufferCommitted).item_id
    bench.work(Recognised(bench.last(Recognise).utterance, "Hello?"))
    return item_id


def update_off() -> str:
    audio = {"input": {"turn_detection": None}}
    return json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}})


def retrieved(bench: Any, item_id: str) -> bytes | None:
    assert bench.client(ConversationItemRetrieve(item_id=item_id)) == ["conversation.item.retrieved"]
    (part,) = bench.last(ConversationItemRetrieved).item.content
    assert part.transcript == "Hello?"
    return None if part.audio is None else base64.b64decode(part.audio)


def test_what_was_said_can_be_retrieved_with_its_sound(bench: Any) -> None:
    item_id = spoken_item(bench, ms(400, 7))
    assert retrieved(bench, item_id) == ms(400, 7)


def test_of_the_sound_only_the_newest_is_kept_and_the_words_of_all(bench: Any) -> None:
    third_ms = MAX_KEPT_SOUND_BYTES // BYTES_PER_MS // 3
    first, second, third = (spoken_item(bench, ms(third_ms, value)) for value in (1, 2, 3))
    assert retrieved(bench, first) == ms(third_ms, 1)
    fourth = spoken_item(bench, ms(1000, 4))
    assert retrieved(bench, first) is None
    assert [retrieved(bench, each) for each in (second, third, fourth)] == [
        ms(third_ms, 2),
        ms(third_ms, 3),
        ms(1000, 4),
    ]
    bench.client(ConversationItemDelete(item_id=second))
    fifth = spoken_item(bench, ms(third_ms, 5))
    assert retrieved(bench, third) == ms(third_ms, 3), "a deleted item made room"
    assert retrieved(bench, fifth) == ms(third_ms, 5)
    assert not bench.all(ErrorEvent)
