"""`/v1/audio/transcriptions`: recordings handed in by the official client."""

import functools
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
import trio

from pipeline.vocabulary.frames import BYTES_PER_MS


def silence(ms: int) -> bytes:
    return bytes(ms * BYTES_PER_MS)


@pytest.fixture
def two_utterances(tone: Callable[..., bytes]) -> bytes:
    return silence(1_000) + tone(800) + silence(1_000) + tone(400) + silence(200)


def create(client: openai.OpenAI, recording: bytes, name: str = "question.wav", **wanted: Any) -> Any:
    return client.audio.transcriptions.create(file=(name, recording), **{"model": "asr", **wanted})


async def in_thread(work: Any, *args: Any, **more: Any) -> Any:
    return await trio.to_thread.run_sync(functools.partial(work, *args, **more), abandon_on_cancel=True)


async def test_every_utterance_is_recognised_by_itself(
    serving: Any, official: Any, wav: Any, two_utterances: bytes
) -> None:
    async with serving() as url:
        transcription = await in_thread(create, official(url), wav(two_utterances), language="en", prompt="Kiosk")
    first, second = transcription.text.split(" tenths")[:2]
    assert (float(first), float(second)) == (14, 9)  # with 300 ms on either side; the second reaches the end
    assert transcription.usage.input_tokens == 34
    assert transcription.usage.type == "tokens"


async def test_a_recording_of_any_kind_of_pcm(serving: Any, official: Any, wav: Any, tone: Any) -> None:
    half_a_second = tone(500)
    samples = [half_a_second[at : at + 2] for at in range(0, len(half_a_second), 2)]
    async with serving() as url:
        client = official(url)
        for recording in [
            wav(bytes(4 * 24_000) + b"".join(sample * 2 for sample in samples), channels=2),
            wav(bytes(3 * 24_000) + b"".join(b"\0" + sample for sample in samples), width=3),
            wav(silence(2_000) + half_a_second + half_a_second, rate_hz=48_000),
        ]:
            transcription = await in_thread(create, client, recording)
            assert transcription.text == "8 tenths", "half a second, and 300 ms before it"


async def test_silence_has_no_words(serving: Any, official: Any, wav: Any) -> None:
    async with serving() as url:
        assert (await in_thread(create, official(url), wav(silence(500)))).text == ""


async def test_the_formats(serving: Any, official: Any, wav: Any, two_utterances: bytes) -> None:
    recording = wav(two_utterances)
    async with serving() as url:
        client = official(url, _strict_response_validation=False)  # segments lack what nothing here measures
        text, srt, vtt = [
            await in_thread(create, client, recording, response_format=form) for form in ("text", "srt", "vtt")
        ]
        verbose = await in_thread(
            create, client, recording, response_format="verbose_json", timestamp_granularities=["segment"]
        )
    assert text == "14 tenths 9 tenths\n"
    assert verbose.text == "14 tenths 9 tenths"
    assert verbose.duration == 3.4
    assert [segment.text for segment in verbose.segments] == ["14 tenths", "9 tenths"]
    first, second = verbose.segments
    assert (first.start, first.end) == (pytest.approx(0.7, abs=0.04), pytest.approx(1.8, abs=0.04))
    assert (second.start, second.end) == (pytest.approx(2.5, abs=0.04), pytest.approx(3.2, abs=0.04))
    assert srt.startswith("1\n00:00:00,")
    assert vtt.startswith("WEBVTT\n\n00:00:00.")
    assert srt.count("-->") == vtt.count("-->") == 2


async def test_a_streamed_transcription_tells_each_utterance_as_soon_as_it_is_recognised(
    serving: Any, official: Any, wav: Any, two_utterances: bytes, recogniser: Any, gate: Any
) -> None:
    def hold_the_second() -> None:
        if recogniser.heard:
            gate.wait()

    def read() -> list[Any]:
        events = []
        for event in create(official(url), wav(two_utterances), stream=True):
            events.append(event)
            gate.open()
        return events

    recogniser.between = hold_the_second
    async with serving() as url:
        events = await in_thread(read)
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "14 tenths 9 tenths"
    assert events[-1].usage.output_tokens == 4


@pytest.mark.parametrize(
    ("name", "recording", "reason"),
    [
        ("speech.mp3", b"ID3\4" + bytes(2_000), "not a WAV file"),
        ("speech.wav", b"RIFF", "not a WAV file"),
        ("speech.wav", b"", "not a WAV file"),
    ],
)
async def test_a_file_that_cannot_be_decoded_says_what_can(
    serving: Any, official: Any, name: str, recording: bytes, reason: str
) -> None:
    async with serving() as url:
        with pytest.raises(openai.BadRequestError, match=reason) as refused:
            await in_thread(create, official(url), recording, name)
    assert (refused.value.code, refused.value.param) == ("unsupported_format", "file")
    assert "This server reads WAV" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "srt", "stream": True}, "response_format"),
        ({"timestamp_granularities": ["segment", "word"]}, "timestamp_granularities[1]"),
        ({"include": ["logprobs"]}, "include"),
        ({"temperature": "warm"}, "temperature"),
    ],
)
async def test_what_cannot_be_asked_names_the_field(
    serving: Any, official: Any, wav: Any, change: dict[str, Any], param: str
) -> None:
    async with serving() as url:
        with pytest.raises(openai.BadRequestError) as refused:
            await in_thread(create, official(url), wav(silence(100)), **change)
    assert refused.value.param == param


async def test_a_missing_file_is_named(serving: Any) -> None:
    headers = {"Authorization": "Bearer any"}
    async with serving() as url, httpx.AsyncClient(trust_env=False, headers=headers) as client:
        answer = await client.post(f"{url}/v1/audio/transcriptions", files={"model": (None, "asr")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


async def test_more_than_25_mib_are_not_read(serving: Any, official: Any) -> None:
    async with serving() as url:
        with pytest.raises(openai.APIStatusError) as refused:
            await in_thread(create, official(url), bytes(25 * 1024 * 1024 + 1))
    assert refused.value.status_code == 413


async def test_one_recording_too_many_is_sent_away(
    serving: Any, official: Any, wav: Any, two_utterances: bytes, recogniser: Any, gate: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("pipeline.server.rest.transcriptions.MAX_AT_ONCE", 1)
    recogniser.between = gate.wait
    async with serving() as url, trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, create, official(url), wav(two_utterances))
        await in_thread(recogniser.called.wait, 5)
        with pytest.raises(openai.RateLimitError) as refused:
            await in_thread(create, official(url), wav(silence(100)))
        gate.open()
    assert refused.value.response.headers["retry-after"] == "1"


async def test_a_client_that_hangs_up_stops_the_recogniser(
    serving: Any, official: Any, wav: Any, two_utterances: bytes, recogniser: Any, gate: Any
) -> None:
    recogniser.between = gate.wait
    async with serving() as url:
        with pytest.raises(openai.APITimeoutError):
            await in_thread(create, official(url, timeout=0.5), wav(two_utterances))
        gate.open()
        await in_thread(create, official(url), wav(two_utterances))
    assert recogniser.heard == 1 + 2, "the utterance that was being recognised was the last of the first recording"
