"""Spoken turns, as the official client has them."""

import base64
import threading
from typing import Any

import pytest

from pipeline.vocabulary.frames import BYTES_PER_MS

pytestmark = pytest.mark.timeout(30)

PAUSE = bytes(700 * BYTES_PER_MS)
TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "any"}}}}


def test_a_spoken_turn(serving: Any, meeting: Any, tone: Any) -> None:
    with serving() as client, meeting(client, **TRANSCRIBED) as stranger:
        stranger.say(tone(800) + PAUSE)
        events = stranger.until("response.done")
    kinds = [event.type for event in events if not event.type.startswith("conversation.item.input_audio_transcription")]
    assert [kind for kind in kinds if not kind.endswith(".delta")] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    (words,) = (event for event in events if event.type.endswith("transcription.completed"))
    assert words.transcript == "10 tenths"  # 800 ms and 200 ms of the silence behind
    assert words.item_id == events[0].item_id == events[1].item_id == events[2].item_id
    sound = b"".join(base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")
    assert sound == tone(500) * 3
    done = events[-1].response
    assert (done.status, done.output[0].content[0].transcript) == ("completed", "You said: 10 tenths.")
    assert done.usage.output_token_details.audio_tokens == 30


def test_barge_in_cancels_and_only_the_client_truncates(serving: Any, meeting: Any, tone: Any, voice: Any) -> None:
    held = threading.Event()
    voice.between = lambda: held.wait(10) if voice.spoken else None
    with serving() as client, meeting(client) as stranger:
        stranger.say(tone(800) + PAUSE)
        heard = stranger.next("response.output_audio.delta")
        stranger.say(tone(200))
        assert stranger.next("input_audio_buffer.speech_started")
        done = stranger.next("response.done").response
        held.set()
        truncate = stranger.connection.conversation.item.truncate
        truncate(item_id=heard.item_id, content_index=0, audio_end_ms=501, event_id="mine_1")
        refused = stranger.next("error").error
        truncate(item_id=heard.item_id, content_index=0, audio_end_ms=180)
        cut = stranger.next("conversation.item.truncated")
        stranger.connection.conversation.item.retrieve(item_id=heard.item_id)
        kept = stranger.next("conversation.item.retrieved").item
    assert (done.status, done.status_details.reason) == ("cancelled", "turn_detected")
    assert done.output[0].status == "incomplete"
    assert (refused.event_id, refused.message) == ("mine_1", "Audio content of 500ms is already shorter than 501ms")
    assert (cut.item_id, cut.content_index, cut.audio_end_ms) == (heard.item_id, 0, 180)
    assert kept.content[0].transcript is None, "nobody knows how much of the words was heard"
    assert base64.b64decode(kept.content[0].audio) == tone(500)[: 180 * BYTES_PER_MS]


def test_push_to_talk(serving: Any, meeting: Any, tone: Any) -> None:
    by_hand = {"audio": {"input": {"turn_detection": None}}}
    with serving() as client, meeting(client, **by_hand) as stranger:
        stranger.say(tone(80))
        stranger.connection.input_audio_buffer.commit(event_id="mine_1")
        refused = stranger.next("error").error
        stranger.connection.input_audio_buffer.clear()
        assert stranger.next("input_audio_buffer.cleared")
        stranger.say(tone(400))
        stranger.connection.input_audio_buffer.commit()
        committed, added, item_done = stranger.until("conversation.item.done")
        stranger.connection.response.create()
        done = stranger.next("response.done").response
    assert (refused.code, refused.event_id) == ("input_audio_buffer_commit_empty", "mine_1")
    assert "buffer only has 80.00ms of audio" in refused.message
    assert committed.item_id == added.item.id == item_done.item.id
    assert done.output[0].content[0].transcript == "You said: 4 tenths."


def test_what_a_user_said_is_retrieved_with_its_sound(serving: Any, meeting: Any, tone: Any) -> None:
    by_hand = {"audio": {"input": {"turn_detection": None}}}
    with serving() as client, meeting(client, **by_hand) as stranger:
        stranger.say(tone(400))
        stranger.connection.input_audio_buffer.commit()
        item_id = stranger.next("input_audio_buffer.committed").item_id
        stranger.connection.conversation.item.retrieve(item_id=item_id)
        content = stranger.next("conversation.item.retrieved").item.content
    assert [(part.type, base64.b64decode(part.audio)) for part in content] == [("input_audio", tone(400))]


def test_semantic_detection_waits_longer_for_a_patient_listener(serving: Any, meeting: Any, tone: Any) -> None:
    patient = {"type": "semantic_vad", "eagerness": "low"}
    with serving() as client, meeting(client, audio={"input": {"turn_detection": patient}}) as stranger:
        stranger.say(tone(800) + bytes(1_500 * BYTES_PER_MS))
        said = stranger.settle()
        assert said == ["input_audio_buffer.speech_started"], "a second and a half do not end a patient turn"
        stranger.connection.session.update(
            session={
                "type": "realtime",
                "audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}},
            }
        )
        stranger.next("session.updated")
        stranger.say(tone(800) + bytes(2_500 * BYTES_PER_MS))
        assert stranger.next("response.done").response.status == "completed"


def test_silence_becomes_a_turn_after_the_idle_timeout(serving: Any, meeting: Any, tone: Any) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5_000}
    with (
        serving(rate=20) as client,  # 5 s, and the 1.5 s of the answer before, in a third of a second
        meeting(client, audio={"input": {"turn_detection": detection}}) as stranger,
    ):
        stranger.say(tone(800) + PAUSE)
        assert stranger.next("response.done").response.status == "completed"
        stranger.say(PAUSE)
        timeout = stranger.next("input_audio_buffer.timeout_triggered")
        committed, *_, done = stranger.until("response.done")
    silent_ms = timeout.audio_end_ms - timeout.audio_start_ms
    assert 700 - 64 <= silent_ms <= 900 + 64, "and what came of the first pause after the answer, 200 ms at most"
    assert (committed.type, committed.item_id) == ("input_audio_buffer.committed", timeout.item_id)
    assert done.response.status == "completed"


def test_a_reply_that_may_not_be_interrupted_goes_on(serving: Any, meeting: Any, tone: Any, voice: Any) -> None:
    held = threading.Event()
    voice.between = lambda: held.wait(10) if voice.spoken else None
    detection = {"type": "server_vad", "interrupt_response": False}
    with serving() as client, meeting(client, audio={"input": {"turn_detection": detection}}) as stranger:
        stranger.say(tone(800) + PAUSE)
        stranger.next("response.output_audio.delta")
        stranger.say(tone(800) + PAUSE)
        refused = stranger.next("error").error
        held.set()
        assert stranger.next("response.done").response.status == "completed"
    assert refused.code == "conversation_already_has_active_response"
