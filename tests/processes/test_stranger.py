"""The official client, unmodified, and `talkwire serve` as people start it, with the engines it is shipped with."""

import base64
import json
import wave
from collections.abc import Callable
from typing import Any

import pytest
from openai import OpenAI

from pipeline.vocabulary.configuration import shipped
from pipeline.vocabulary.frames import BYTES_PER_MS

FRAME = 20 * BYTES_PER_MS


def say(connection: Any, question: str) -> None:
    """A recorded question, as fast as it is taken, and the silence behind it."""
    with wave.open(str(shipped("questions") / question)) as recording:
        sound = recording.readframes(recording.getnframes()) + bytes(700 * BYTES_PER_MS)
    for start in range(0, len(sound), FRAME):
        connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + FRAME]).decode())


def until(connection: Any, kind: str) -> list[Any]:
    events = [connection.recv()]
    while events[-1].type != kind:
        assert events[-1].type != "error", events[-1].error
        events.append(connection.recv())
    return events


@pytest.mark.engines
def test_two_questions_and_a_truncated_answer(
    talkwire: Callable[..., Any], server_messages: Callable[[], list[str]]
) -> None:
    server = talkwire("serve", "--port=0", "--json")
    port = json.loads(server.until("ready"))["port"]
    with OpenAI(api_key="any", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
        transcription: Any = {"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}}
        secret = client.realtime.client_secrets.create(session=transcription)
        with client.with_options(api_key=secret.value).realtime.connect(model="gpt-realtime") as connection:
            say(connection, "opening_hours.wav")
            events = until(connection, "response.done")
            words = next(event.transcript for event in events if event.type.endswith("transcription.completed"))
            done = events[-1].response
            item = done.output[0]
            sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
            connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=500)
            assert until(connection, "conversation.item.truncated")[-1].audio_end_ms == 500
            say(connection, "restroom.wav")
            second = until(connection, "response.done")[-1].response
    assert "opening hours" in words.lower()
    assert (done.status, second.status) == ("completed", "completed")
    assert "nine" in item.content[0].transcript
    assert max(memoryview(sound).cast("h")) > 3_000
    assert len(sound) == pytest.approx(done.usage.output_token_details.audio_tokens * 50 * BYTES_PER_MS, rel=0.1)
    said = [json.loads(message)["type"] for message in server_messages()]
    assert said.count("response.done") == 2, "what the server says is recorded, and held against the official types"
