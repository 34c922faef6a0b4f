"""`/v1/audio/speech`: spoken to by the official client."""

import base64
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import trio

SOUND = b"".join(bytes([number, 0]) * 2_400 for number in range(3))
"""What the test voice makes of one clause."""


async def in_thread(work: Any, *args: Any) -> Any:
    return await trio.to_thread.run_sync(work, *args, abandon_on_cancel=True)


async def test_text_becomes_pcm_clause_by_clause(serving: Any, official: Any, voice: Any) -> None:
    def speak() -> bytes:
        speech = official(url).audio.speech
        answer = speech.create(
            model="tts", voice="heart", input="Good morning to you, sir. Come in!", response_format="pcm", speed=1.5
        )
        assert answer.response.headers["content-type"] == "audio/pcm"
        return bytes(answer.content)

    async with serving() as url:
        assert await in_thread(speak) == SOUND * 3
    assert voice.said == [("Good morning to you, ", 1.5), ("sir. ", 1.5), ("Come in!", 1.5)]


async def test_no_format_is_wav_that_any_reader_takes(serving: Any, official: Any) -> None:
    def speak() -> bytes:
        answer = official(url).audio.speech.create(model="tts", voice="heart", input="Hello.")
        assert answer.response.headers["content-type"] == "audio/wav"
        return bytes(answer.content)

    async with serving() as url:
        recording = await in_thread(speak)
    with wave.open(io.BytesIO(recording)) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (24_000, 1, 2)
        assert reader.readframes(len(recording)) == SOUND


async def test_the_first_sound_is_sent_while_the_second_is_still_being_made(
    serving: Any, official: Any, voice: Any, gate: Any
) -> None:
    voice.between = gate.wait

    def listen() -> bytes:
        speech = official(url).audio.speech.with_streaming_response
        with speech.create(model="tts", voice="heart", input="Hello.", response_format="pcm") as answer:
            pieces: Iterator[bytes] = answer.iter_bytes()
            first = next(pieces)
            gate.open()
            return first + b"".join(pieces)

    async with serving() as url:
        assert await in_thread(listen) == SOUND


async def test_sound_as_server_sent_events(serving: Any, official: Any) -> None:
    def listen() -> list[dict[str, Any]]:
        speech = official(url).audio.speech.with_streaming_response
        wanted = {"model": "tts", "voice": "heart", "input": "Hello.", "response_format": "pcm"}
        with speech.create(**wanted, stream_format="sse") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]

    async with serving() as url:
        *deltas, done = await in_thread(listen)
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == SOUND
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 2, "output_tokens": 6, "total_tokens": 8},
    }


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"response_format": "mp3"}, "response_format"),
        ({"input": ""}, "input"),
        ({"input": "x" * 4_097}, "input"),
        ({"speed": 4.1}, "speed"),
        ({"extra_body": {"pitch": 2}}, "pitch"),
    ],
)
async def test_what_cannot_be_spoken_names_the_field(
    serving: Any, official: Any, change: dict[str, Any], param: str
) -> None:
    def speak() -> None:
        official(url).audio.speech.create(**{"model": "tts", "voice": "heart", "input": "Hello.", **change})

    async with serving() as url:
        with pytest.raises(openai.BadRequestError) as refused:
            await in_thread(speak)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


async def test_over_capacity_is_told_before_the_first_byte(
    serving: Any, official: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.server.engine_pool.MAX_WAITING_CALLS", 0)

    def speak() -> None:
        official(url).audio.speech.create(model="tts", voice="heart", input="Hello.")

    async with serving() as url:
        with pytest.raises(openai.InternalServerError) as busy:
            await in_thread(speak)
    assert (busy.value.status_code, busy.value.code) == (503, "server_overloaded")
    assert busy.value.response.headers["retry-after"] == "1"


async def test_a_client_that_hangs_up_stops_the_voice(serving: Any, official: Any, voice: Any) -> None:
    voice.chunks = 1_000_000

    def listen_a_little() -> None:
        speech = official(url).audio.speech.with_streaming_response
        with speech.create(model="tts", voice="heart", input="Hello.", response_format="pcm") as answer:
            next(answer.iter_bytes())

    async with serving() as url:
        await in_thread(listen_a_little)
        await in_thread(voice.wait_until_silent)


async def test_a_voice_that_fails_half_way_cuts_the_connection(serving: Any, voice: Any, monkeypatch: Any) -> None:
    def overloaded() -> None:
        monkeypatch.setattr("pipeline.server.engine_pool.MAX_WAITING_CALLS", 0)

    voice.between = overloaded
    wanted = {"model": "tts", "voice": "heart", "input": "Hello.", "response_format": "pcm"}
    async with serving() as url, httpx.AsyncClient(headers={"Authorization": "Bearer any"}, trust_env=False) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post(f"{url}/v1/audio/speech", json=wanted)
