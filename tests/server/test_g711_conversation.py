"""A conversation in G.711: 8 bytes are a ms in each direction that speaks it, on every clock and for every limit."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.realtime.events import (
    AudioFormat,
    ContentPart,
    ConversationItemCreate,
    ConversationItemInputAudioTranscriptionCompleted,
    ConversationItemTruncate,
    ErrorEvent,
    InputAudioBufferAppend,
    InputAudioBufferCommit,
    InputAudioBufferSpeechStarted,
    InputAudioBufferSpeechStopped,
    Item,
    ResponseAudio,
    ResponseAudioOutput,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    ResponseOutputAudioDelta,
    ResponseParams,
    SessionUpdated,
)
from pipeline.server.audio_format import FORMATS, PCM, PCMA, PCMU, bytes_per_ms
from pipeline.server.work import Detect, Generate, GeneratedAudio, GeneratedText, GenerationEnded, Recognise, Recognised

LAWS = pytest.mark.parametrize("law", [PCMU, PCMA], ids=["mu", "a"])


def update(**audio: Any) -> str:
    return json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}})


def formats(**directions: AudioFormat) -> str:
    return update(**{direction: {"format": {"type": chosen.type}} for direction, chosen in directions.items()})


def append(size: int) -> InputAudioBufferAppend:
    return InputAudioBufferAppend(audio=base64.b64encode(bytes(size)).decode())


def recording(size: int) -> ConversationItemCreate:
    part = ContentPart(type="input_audio", audio=base64.b64encode(bytes(size)).decode())
    return ConversationItemCreate(item=Item(type="message", role="user", content=[part]))


def answered(bench: Any, sound_bytes: int, params: ResponseParams | None = None) -> str:
    """An answer of so many bytes; returns the id of its item."""
    bench.client(ResponseCreate(response=params))
    response_id = bench.last(Generate).response_id
    bench.work(GeneratedText(response_id, "Hi."))
    bench.work(GeneratedAudio(response_id, bytes(sound_bytes)))
    bench.work(GenerationEnded(response_id))
    item_id: str = bench.last(ResponseDone).response.output[0].id
    return item_id


def length_ms(bench: Any, item_id: str) -> int:
    """An item's sound by the server's own account: the length up to which it lets itself be truncated."""
    bench.client(ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=10**6))
    message = bench.last(ErrorEvent).error.message
    return int(message.removeprefix("Audio content of ").split("ms")[0])


@LAWS
def test_a_turn_is_measured_in_the_wires_ms(bench: Any, law: AudioFormat) -> None:
    assert bench.client(formats(input=law)) == ["RestartDetection", "session.updated"]
    bench.client(update(input={"transcription": {"model": "any"}}))
    bench.bytes_per_ms = 8
    bench.hear(bytes(1280 * 8), 0.0)
    bench.speaks(speech_ms=640, silence_ms=640)
    assert bench.last(Detect).audio_format == law
    assert bench.last(InputAudioBufferSpeechStarted).audio_start_ms == 1280 - 300
    assert bench.last(InputAudioBufferSpeechStopped).audio_end_ms == 1280 + 640 + 512
    heard = bench.last(Recognise)
    assert (len(heard.sound), heard.audio_format) == ((300 + 640 + 200) * 8, law)
    bench.work(Recognised(heard.utterance, "Hello?"))
    assert bench.last(ConversationItemInputAudioTranscriptionCompleted).usage.seconds == 1.14
    assert bench.last(Generate).spoken_as == PCM, "the other direction is untouched"


@LAWS
def test_commit_and_room_are_measured_in_the_wires_ms(bench: Any, law: AudioFormat) -> None:
    bench.client(update(input={"format": {"type": law.type}, "turn_detection": None}))
    bench.client(append(799))
    assert bench.client(InputAudioBufferCommit()) == ["error"]
    assert "only has 99.88ms" in bench.last(ErrorEvent).error.message
    bench.client(append(1))
    assert bench.client(InputAudioBufferCommit())[1] == "input_audio_buffer.committed"
    assert bench.client(append(300_000 * 8)) == []
    assert bench.client(append(1)) == ["error"]
    assert bench.last(ErrorEvent).error.code == "input_audio_buffer_full"


@LAWS
def test_a_recording_in_an_item_is_in_the_sessions_format_and_bounded(bench: Any, law: AudioFormat) -> None:
    bench.client(formats(input=law))
    bench.client(recording(1601))
    assert (len(bench.last(Recognise).sound), bench.last(Recognise).audio_format) == (1601, law)
    assert bench.client(recording(300_000 * 8 + 1)) == ["error"]
    assert bench.last(ErrorEvent).error.param == "item.content"


@LAWS
def test_an_answer_is_cut_and_counted_in_the_wires_ms(bench: Any, law: AudioFormat) -> None:
    bench.client(formats(output=law))
    item_id = answered(bench, 500 * 8)
    assert bench.last(Generate).spoken_as == law
    sizes = [len(base64.b64decode(event.delta)) for event in bench.all(ResponseOutputAudioDelta)]
    assert sizes == [1600, 1600, 800]  # 200 ms each
    assert bench.last(ResponseDone).response.usage.output_token_details.audio_tokens == 500 / 50
    assert length_ms(bench, item_id) == 500
    cut = ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=500)
    assert bench.client(cut) == ["conversation.item.truncated"]


def test_a_response_may_have_a_format_of_its_own(bench: Any) -> None:
    bench.client(formats(output=PCMU))
    own = ResponseParams(audio=ResponseAudio(output=ResponseAudioOutput(format=AudioFormat(type="audio/pcm"))))
    item_id = answered(bench, 480 * 48, own)
    shown = bench.last(ResponseCreated).response.audio.output
    assert (shown.format, shown.voice) == (PCM, "heart")  # what it leaves out is the session's
    assert bench.last(Generate).spoken_as == PCM
    assert length_ms(bench, item_id) == 480
    assert length_ms(bench, answered(bench, 480 * 8)) == 480
    assert bench.last(Generate).spoken_as == PCMU


def test_a_response_keeps_the_format_it_began_with(bench: Any) -> None:
    bench.client(ResponseCreate())
    bench.client(formats(output=PCMA))
    response_id = bench.last(Generate).response_id
    bench.work(GeneratedText(response_id, "Hi."))
    bench.work(GeneratedAudio(response_id, bytes(100 * 48)))
    bench.work(GenerationEnded(response_id))
    assert length_ms(bench, bench.last(ResponseDone).response.output[0].id) == 100


def test_a_format_nobody_has_is_refused_by_name(bench: Any) -> None:
    opus = ResponseParams(audio=ResponseAudio(output=ResponseAudioOutput(format=AudioFormat(type="audio/opus"))))
    assert bench.client(ResponseCreate(response=opus)) == ["error"]
    refused = bench.last(ErrorEvent).error
    assert refused.param == "response.audio.output.format"
    assert all(supported.type in refused.message for supported in FORMATS)


def test_another_input_format_begins_a_new_buffer_on_the_same_clock(bench: Any) -> None:
    bench.hear(bytes(960 * 48), 0.9)
    assert bench.client(formats(input=PCMU)) == ["RestartDetection", "session.updated"]
    assert bench.last(SessionUpdated).session.audio.input.format == PCMU
    assert bench.client(InputAudioBufferCommit()) == ["error"]  # µ-law cannot go on what was PCM
    bench.bytes_per_ms = 8
    bench.hear(bytes(640 * 8), 0.0)
    bench.speaks(speech_ms=640, silence_ms=640)
    assert bench.last(InputAudioBufferSpeechStarted).audio_start_ms == 960 + 640 - 300
    assert len(bench.last(Recognise).sound) == (300 + 640 + 200) * 8


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(FORMATS), st.integers(0, 400)), min_size=1, max_size=8))
def test_the_clock_counts_ms_through_any_change_of_format(
    make_bench: Any, steps: list[tuple[AudioFormat, int]]
) -> None:
    bench = make_bench()
    written_ms = 0
    for chosen, duration_ms in steps:
        bench.client(formats(input=chosen))
        bench.bytes_per_ms = bytes_per_ms(chosen)
        bench.hear(bytes(duration_ms * bench.bytes_per_ms), 0.0)
        written_ms += duration_ms
    bench.client(update(input={"turn_detection": {"type": "server_vad", "prefix_padding_ms": 0}}))
    bench.client(formats(input=PCM if steps[-1][0] == PCMU else PCMU))
    bench.bytes_per_ms = 48 if steps[-1][0] == PCMU else 8
    bench.hear(bytes(40 * bench.bytes_per_ms), 0.9)
    assert bench.last(InputAudioBufferSpeechStarted).audio_start_ms == written_ms
