"""Scripts in two columns: what goes in on the left, what comes out on the right."""

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pipeline.realtime.events import (
    ContentPart,
    ConversationItemCreate,
    ConversationItemDelete,
    ConversationItemDone,
    ConversationItemInputAudioTranscriptionCompleted,
    ConversationItemRetrieve,
    ConversationItemRetrieved,
    ConversationItemTruncate,
    ErrorBody,
    ErrorEvent,
    InputAudioBufferAppend,
    InputAudioBufferClear,
    InputAudioBufferCommit,
    InputAudioBufferCommitted,
    InputAudioBufferSpeechStarted,
    InputAudioBufferSpeechStopped,
    Item,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    ResponseParams,
    SessionCreated,
    SessionUpdated,
    Tool,
)
from pipeline.server.audio_format import PCM
from pipeline.server.transcriptions import MAX_AWAITED
from pipeline.server.work import (
    Generate,
    GeneratedAudio,
    GeneratedText,
    GenerationEnded,
    GenerationFailed,
    Hangup,
    Recognise,
    Recognised,
    RecognitionFailed,
    StopGenerating,
    Tick,
)
from pipeline.vocabulary.frames import BYTES_PER_MS

TRANSCRIBE = '{"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"transcription": {}}}}}'
PUSH_TO_TALK = (
    '{"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": null}}}}'
)

TURN = [
    "input_audio_buffer.speech_started",
    "Recognise",  # in the pause that will end the turn
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
BEGIN_SPEAKING = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
]
END_SPEAKING = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def update(**session: object) -> str:
    return json.dumps({"type": "session.update", "event_id": "mine", "session": {"type": "realtime", **session}})


def audio(duration_ms: float) -> InputAudioBufferAppend:
    return InputAudioBufferAppend(audio=base64.b64encode(bytes(round(duration_ms * BYTES_PER_MS))).decode())


def user_text(text: str, item_id: str | None = None) -> Item:
    return Item(type="message", id=item_id, role="user", content=[ContentPart(type="input_text", text=text)])


def error(bench: Any) -> ErrorBody:
    body: ErrorBody = bench.last(ErrorEvent).error
    return body


def answered(bench: Any) -> str:
    """One spoken turn up to its first sound; returns the response's id."""
    bench.speaks()
    bench.work(Recognised(bench.last(Recognise).utterance, "Where is the lift?"))
    response_id: str = bench.last(Generate).response_id
    bench.work(GeneratedText(response_id, "Behind you."))
    bench.work(GeneratedAudio(response_id, bytes(400 * BYTES_PER_MS)))
    return response_id


# a session


def test_a_session_begins_with_every_default(bench: Any) -> None:
    session = bench.last(SessionCreated).session
    assert (session.id, session.type, session.model, session.expires_at) == ("sess_1", "realtime", "model", 3600)
    assert session.output_modalities == ["audio"]
    assert session.instructions
    assert session.audio.input.turn_detection.type == "server_vad"
    assert session.audio.input.turn_detection.create_response is True
    assert session.audio.input.transcription is None
    assert session.audio.output.voice == "heart"


def test_an_update_changes_what_is_present_and_answers_with_everything(bench: Any) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 300}
    assert bench.client(update(instructions="Be kind.", audio={"input": {"turn_detection": detection}})) == [
        "RestartDetection",
        "session.updated",
    ]
    session = bench.last(SessionUpdated).session
    assert session.instructions == "Be kind."
    assert session.audio.input.turn_detection.silence_duration_ms == 300
    assert session.audio.input.turn_detection.prefix_padding_ms == 300
    assert session.output_modalities == ["audio"]
    assert session.id == "sess_1"


def test_a_refused_update_changes_nothing_and_names_the_field_and_the_event(bench: Any) -> None:
    assert bench.client(update(instructions="Be kind.", max_output_tokens=5000)) == ["error"]
    assert (error(bench).code, error(bench).param) == ("invalid_value", "session.max_output_tokens")
    assert error(bench).event_id == "mine"
    bench.client(update())
    assert bench.last(SessionUpdated).session.instructions != "Be kind."


def test_the_voice_is_locked_once_it_was_heard(bench: Any) -> None:
    assert bench.client(update(audio={"output": {"voice": "marin"}})) == ["session.updated"]
    answered(bench)
    assert bench.client(update(audio={"output": {"voice": "alloy"}})) == ["error"]
    assert (error(bench).code, error(bench).param) == ("cannot_update_voice", "session.audio.output.voice")
    assert bench.client(update(audio={"output": {"voice": "marin"}})) == ["session.updated"]


def test_a_session_without_type_is_refused(bench: Any) -> None:
    assert bench.client('{"type": "session.update", "session": {}}') == ["error"]
    assert (error(bench).code, error(bench).param) == ("missing_required_parameter", "session.type")


def test_nonsense_is_answered_with_an_error(bench: Any) -> None:
    for text, code in [
        ("{", "invalid_json"),
        ('{"type": "future.event"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "invalid_value"),
        ('{"type": "conversation.item.retrieve", "item_id": "no"}', "item_retrieve_invalid_item_id"),
    ]:
        assert bench.client(text) == ["error"], text
        assert error(bench).code == code


def test_the_session_ends_at_its_cap(make_bench: Any) -> None:
    bench = make_bench(cap_s=120)
    assert bench.conversation.next_deadline_s() == 120
    assert bench.work(Tick(), now=119.9) == []
    assert bench.work(Tick(), now=120.0) == ["error", "Hangup"]
    assert error(bench).code == "session_expired"
    assert bench.last(Hangup) == (1001, "Your session hit the maximum duration of 2 minutes.")


# the user's turn


def test_a_spoken_turn_in_the_order_of_the_protocol(bench: Any) -> None:
    bench.client(TRANSCRIBE)
    assert bench.speaks() == TURN
    user = bench.last(Recognise).utterance
    assert bench.work(Recognised(user, "Hello?")) == [
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "Generate",
    ]
    response_id, ask, spoken_as, _ = bench.last(Generate)
    assert (ask.question, spoken_as) == ("Hello?", PCM)
    assert bench.work(GeneratedText(response_id, "Hi.")) == BEGIN_SPEAKING
    assert bench.work(GeneratedAudio(response_id, bytes(400 * BYTES_PER_MS))) == ["response.output_audio.delta"] * 2
    assert bench.work(GenerationEnded(response_id)) == END_SPEAKING
    done = bench.last(ResponseDone).response
    assert (done.status, done.output[0].status) == ("completed", "completed")
    assert done.output[0].content[0].transcript == "Hi."


def test_the_item_is_announced_when_speech_starts_and_its_clock_counts_what_was_written(bench: Any) -> None:
    bench.hear(bytes(1280 * BYTES_PER_MS), 0.0)
    bench.speaks(speech_ms=640, silence_ms=640)
    started, stopped = bench.last(InputAudioBufferSpeechStarted), bench.last(InputAudioBufferSpeechStopped)
    committed = bench.last(InputAudioBufferCommitted)
    assert started.audio_start_ms == 1280 - 300
    assert stopped.audio_end_ms == 1280 + 640 + 512  # 16 hops of 32 ms are the first to reach 500 ms
    assert started.item_id == stopped.item_id == committed.item_id
    assert len(bench.last(Recognise).sound) == (300 + 640 + 200) * BYTES_PER_MS


def test_noise_without_words_gets_no_response(bench: Any) -> None:
    bench.client(TRANSCRIBE)
    bench.speaks()
    assert bench.work(Recognised(bench.last(Recognise).utterance, "")) == [
        "conversation.item.input_audio_transcription.completed"
    ]
    assert bench.last(ConversationItemInputAudioTranscriptionCompleted).transcript == ""


def test_a_failed_recognition_is_told_and_the_response_fails(bench: Any) -> None:
    bench.client(TRANSCRIBE)
    bench.speaks()
    assert bench.work(RecognitionFailed(bench.last(Recognise).utterance, "no ears")) == [
        "conversation.item.input_audio_transcription.failed",
        "response.created",
        "response.done",
        "rate_limits.updated",
    ]
    assert bench.last(ResponseDone).response.status == "failed"


def test_without_create_response_the_client_answers(bench: Any) -> None:
    bench.client(update(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}))
    bench.speaks()
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Hello?")) == []
    assert bench.client(ResponseCreate()) == ["response.created", "Generate"]
    assert bench.last(Generate).ask.question == "Hello?"


def test_push_to_talk_commits_and_asks_by_hand(bench: Any) -> None:
    assert bench.client(PUSH_TO_TALK) == ["RestartDetection", "session.updated"]
    assert bench.client(audio(400)) == []
    assert bench.client(InputAudioBufferCommit())[:3] == [
        "RestartDetection",
        "input_audio_buffer.committed",
        "conversation.item.added",
    ]
    assert bench.client(ResponseCreate()) == ["response.created"]  # its words are not known yet
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Hello?")) == ["Generate"]


def test_a_response_created_by_hand_is_the_one_a_turn_was_owed(bench: Any) -> None:
    bench.speaks()
    assert bench.client(ResponseCreate()) == ["response.created"]
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Hello?")) == ["Generate"]
    assert len(bench.all(ResponseCreated)) == 1


def test_less_than_100_ms_cannot_be_committed(bench: Any) -> None:
    bench.client(PUSH_TO_TALK)
    bench.client(audio(99))
    assert bench.client(InputAudioBufferCommit()) == ["error"]
    assert error(bench).code == "input_audio_buffer_commit_empty"
    assert "only has 99.00ms" in (error(bench).message or "")
    bench.client(audio(1))
    assert bench.client(InputAudioBufferCommit())[1] == "input_audio_buffer.committed"


def test_clear_forgets_the_turn_under_way(bench: Any) -> None:
    assert bench.hear(bytes(500 * BYTES_PER_MS), 0.9) == ["input_audio_buffer.speech_started"]
    assert bench.client(InputAudioBufferClear()) == ["RestartDetection", "input_audio_buffer.cleared"]
    assert bench.hear(bytes(1000 * BYTES_PER_MS), 0.0) == []
    assert bench.client(InputAudioBufferCommit())[0] != "error"  # what was written since then


def test_a_commit_by_hand_ends_the_turn_with_its_announced_item(bench: Any) -> None:
    bench.hear(bytes(500 * BYTES_PER_MS), 0.9)
    assert bench.client(InputAudioBufferCommit())[:3] == [
        "input_audio_buffer.speech_stopped",
        "RestartDetection",
        "input_audio_buffer.committed",
    ]
    assert bench.last(InputAudioBufferCommitted).item_id == bench.last(InputAudioBufferSpeechStarted).item_id


def test_the_buffer_is_bounded(bench: Any) -> None:
    bench.client(PUSH_TO_TALK)
    minute = audio(60_000)
    for _ in range(5):
        assert bench.client(minute) == []
    assert bench.client(audio(20)) == ["error"]
    assert error(bench).code == "input_audio_buffer_full"


def test_an_append_over_15_mib_is_refused(bench: Any) -> None:
    assert bench.client(InputAudioBufferAppend(audio="A" * (15 * 2**20 + 4), event_id="big")) == ["error"]
    assert (error(bench).code, error(bench).event_id) == ("string_above_max_length", "big")


def test_half_samples_are_joined(bench: Any) -> None:
    bench.client(PUSH_TO_TALK)
    for _ in range(2):
        bench.client(InputAudioBufferAppend(audio=base64.b64encode(bytes(50 * BYTES_PER_MS + 1)).decode()))
    bench.client(InputAudioBufferCommit())
    assert len(bench.last(Recognise).sound) == 100 * BYTES_PER_MS + 2


def test_too_many_utterances_at_once_fail_instead_of_piling_up(bench: Any) -> None:
    bench.client(TRANSCRIBE)
    bench.client(PUSH_TO_TALK)
    for _ in range(MAX_AWAITED):
        bench.client(audio(100))
        assert bench.client(InputAudioBufferCommit())[-1] == "Recognise"
    bench.client(audio(100))
    assert bench.client(InputAudioBufferCommit())[-1] == "conversation.item.input_audio_transcription.failed"


# interruption and cancelling


def test_speech_interrupts_the_answer(bench: Any) -> None:
    response_id = answered(bench)
    assert bench.hear(bytes(60 * BYTES_PER_MS), 0.9) == [
        "input_audio_buffer.speech_started",
        "StopGenerating",
        *END_SPEAKING,
    ]
    done = bench.last(ResponseDone).response
    assert (done.status, done.status_details.reason) == ("cancelled", "turn_detected")
    assert done.output[0].status == "incomplete"
    assert bench.last(StopGenerating).response_id == response_id
    assert bench.work(GeneratedAudio(response_id, b"\0\0")) == []  # too late


def test_speech_before_the_first_word_cancels_without_output_or_usage(bench: Any) -> None:
    bench.speaks()
    bench.work(Recognised(bench.last(Recognise).utterance, "Hello?"))
    bench.hear(bytes(60 * BYTES_PER_MS), 0.9)
    done = bench.last(ResponseDone).response
    assert (done.status, done.output, done.usage.total_tokens) == ("cancelled", [], 0)


def test_speech_before_the_words_are_known_takes_the_answer_back(bench: Any) -> None:
    bench.speaks()
    bench.hear(bytes(60 * BYTES_PER_MS), 0.9)
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Where is")) == []


def test_without_interrupt_response_the_answer_goes_on_and_the_new_turn_gets_none(bench: Any) -> None:
    bench.client(update(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}}))
    answered(bench)
    assert bench.speaks() == TURN
    assert bench.work(Recognised(bench.last(Recognise).utterance, "And?")) == ["error"]
    assert error(bench).code == "conversation_already_has_active_response"


def test_cancel_ends_the_response_once(bench: Any) -> None:
    response_id = answered(bench)
    assert bench.client(ResponseCancel(response_id="resp_other")) == ["error"]
    assert bench.client(ResponseCancel(response_id=response_id)) == ["StopGenerating", *END_SPEAKING]
    assert bench.last(ResponseDone).response.status_details.reason == "client_cancelled"
    assert bench.client(ResponseCancel()) == ["error"]
    assert error(bench).code == "response_cancel_not_active"


def test_only_one_response_at_a_time(bench: Any) -> None:
    answered(bench)
    assert bench.client(ResponseCreate(event_id="again")) == ["error"]
    assert (error(bench).code, error(bench).event_id) == ("conversation_already_has_active_response", "again")


def test_a_failed_generation_fails_the_response(bench: Any) -> None:
    response_id = answered(bench)
    assert bench.work(GenerationFailed(response_id, "no voice")) == END_SPEAKING
    done = bench.last(ResponseDone).response
    assert (done.status, done.status_details.error.message) == ("failed", "no voice")


# responses


def test_a_written_answer(bench: Any) -> None:
    bench.client(ConversationItemCreate(item=user_text("Hello?")))
    bench.client(ResponseCreate(response=ResponseParams(output_modalities=["text"], metadata={"topic": "x"})))
    response_id, ask, spoken_as, _ = bench.last(Generate)
    assert (ask.question, spoken_as) == ("Hello?", None)
    assert bench.work(GeneratedText(response_id, "Hi."))[-1] == "response.output_text.delta"
    assert bench.work(GenerationEnded(response_id)) == [
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    done = bench.last(ResponseDone).response
    assert (done.output[0].content[0].text, done.metadata) == ("Hi.", {"topic": "x"})


def test_an_answer_over_max_output_tokens_is_incomplete(bench: Any) -> None:
    bench.client(ConversationItemCreate(item=user_text("Hello?")))
    bench.client(ResponseCreate(response=ResponseParams(max_output_tokens=10)))
    response_id = bench.last(Generate).response_id
    bench.work(GeneratedText(response_id, "Hi."))  # 2 tokens
    assert "response.done" in bench.work(GeneratedAudio(response_id, bytes(500 * BYTES_PER_MS)))  # 10 more
    done = bench.last(ResponseDone).response
    assert (done.status, done.status_details.reason) == ("incomplete", "max_output_tokens")


def test_usage_is_counted(bench: Any) -> None:
    response_id = answered(bench)
    bench.work(GenerationEnded(response_id))
    usage = bench.last(ResponseDone).response.usage
    assert usage.output_token_details.audio_tokens == 400 / 50
    assert usage.output_token_details.text_tokens == 3
    assert usage.input_token_details.text_tokens == 5
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_what_this_server_cannot_do_is_refused_by_name(bench: Any) -> None:
    for params, param in [
        (ResponseParams(conversation="other"), "response.conversation"),
        (ResponseParams(input=[Item(type="item_reference", id="gone")]), "response.input[0].id"),
        (ResponseParams(tools=[Tool(type="web_search")]), "response.tools[0].type"),
        (ResponseParams(tools=[Tool(type="function")]), "response.tools[0].name"),
        (ResponseParams(tool_choice="sometimes"), "response.tool_choice"),
        (ResponseParams(output_modalities=["text", "audio"]), "response.output_modalities"),
        (ResponseParams(max_output_tokens=0), "response.max_output_tokens"),
        (ResponseParams(metadata={"k": "v" * 513}), "response.metadata"),
    ]:
        assert bench.client(ResponseCreate(response=params)) == ["error"]
        assert error(bench).param == param


# items


def test_items_are_added_where_they_are_asked_for(bench: Any) -> None:
    for item_id, after, before in [("b", None, None), ("a", "root", None), ("c", None, "b"), ("ab", "a", "a")]:
        created = ConversationItemCreate(item=user_text(item_id, item_id), previous_item_id=after)
        assert bench.client(created) == ["conversation.item.added", "conversation.item.done"]
        assert bench.outputs[-1].previous_item_id == before


def test_restored_history_is_taken(bench: Any) -> None:
    spoken = ContentPart(type="output_text", text="Behind you.")
    assert bench.client(ConversationItemCreate(item=user_text("Where is the lift?")))[-1] == "conversation.item.done"
    assert bench.client(ConversationItemCreate(item=Item(type="message", role="assistant", content=[spoken]))) == [
        "conversation.item.added",
        "conversation.item.done",
    ]


def test_the_older_spelling_of_an_answer_is_shown_in_the_newer(bench: Any) -> None:
    older = ContentPart(type="text", text="Behind you.")
    bench.client(ConversationItemCreate(item=Item(type="message", role="assistant", content=[older])))
    assert bench.last(ConversationItemDone).item.content == [ContentPart(type="output_text", text="Behind you.")]


def test_items_that_cannot_be_are_refused_by_name(bench: Any) -> None:
    bench.client(ConversationItemCreate(item=user_text("x", "taken")))
    sound = ContentPart(type="output_audio", audio="AAAA")
    picture = ContentPart(type="input_image", image_url="https://example.org/a.png")
    loud = ContentPart(type="input_text", text="x", audio="AAAA")
    for item, code, param in [
        (user_text("x", "taken"), "item_create_duplicate_item_id", None),
        (user_text("x" * 70_000), "string_above_max_length", "item"),
        (Item(type="message", role="user"), "missing_required_parameter", "item.content"),
        (Item(type="message", role="nobody"), "invalid_value", "item.role"),
        (Item(type="message", role="user", content=[picture]), "invalid_value", "item.content[0].image_url"),
        (structs.replace(user_text("x"), output="y"), "unknown_parameter", "item.output"),
        (Item(type="function_call", name="f", arguments="", role="user"), "unknown_parameter", "item.role"),
        (Item(type="message", role="user", content=[loud]), "unknown_parameter", "item.content[0].audio"),
        (Item(type="message", role="assistant", content=[sound]), "missing_required_parameter", "item.content[0].text"),
        (Item(type="function_call_output", call_id="c", output=""), "invalid_tool_call_id", "item.call_id"),
        (Item(type="poem"), "invalid_value", "item.type"),
    ]:
        assert bench.client(ConversationItemCreate(item=item)) == ["error"]
        assert (error(bench).code, error(bench).param) == (code, param)


def test_a_recording_in_an_item_is_recognised_without_transcription_events(bench: Any) -> None:
    bench.client(TRANSCRIBE)
    recording = ContentPart(type="input_audio", audio=base64.b64encode(bytes(9600)).decode())
    bench.client(ConversationItemCreate(item=Item(type="message", role="user", content=[recording])))
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Hello?")) == []
    bench.client(ResponseCreate())
    assert bench.last(Generate).ask.question == "Hello?"


def test_truncation_needs_the_true_length_and_forgets_the_words(bench: Any) -> None:
    response_id = answered(bench)
    bench.work(GenerationEnded(response_id))
    item_id = bench.last(ResponseDone).response.output[0].id
    assert bench.client(ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=401)) == ["error"]
    assert error(bench).message == "Audio content of 400ms is already shorter than 401ms"
    cut = ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=200)
    assert bench.client(cut) == ["conversation.item.truncated"]
    assert bench.client(ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=201)) == ["error"]
    bench.client(ConversationItemRetrieve(item_id=item_id))
    (part,) = bench.last(ConversationItemRetrieved).item.content
    assert part.transcript is None
    assert len(base64.b64decode(part.audio)) == 200 * BYTES_PER_MS


def test_only_the_models_sound_can_be_truncated(bench: Any) -> None:
    bench.client(ConversationItemCreate(item=user_text("x", "mine")))
    for item_id, code in [("mine", "unsupported_content_type"), ("none", "item_truncate_invalid_item_id")]:
        assert bench.client(ConversationItemTruncate(item_id=item_id, content_index=0, audio_end_ms=0)) == ["error"]
        assert error(bench).code == code


def test_delete_and_retrieve(bench: Any) -> None:
    bench.client(ConversationItemCreate(item=user_text("x", "mine")))
    assert bench.client(ConversationItemRetrieve(item_id="mine")) == ["conversation.item.retrieved"]
    assert bench.client(ConversationItemDelete(item_id="mine")) == ["conversation.item.deleted"]
    assert bench.client(ConversationItemDelete(item_id="mine")) == ["error"]
    assert error(bench).code == "item_delete_invalid_item_id"


# whatever happens

ITEM_IDS = st.sampled_from(["item_a", "item_b", "item_12", "item_30"])
DETECTIONS: list[object] = [
    None,
    {"type": "server_vad"},
    {"type": "server_vad", "interrupt_response": False},
    {"type": "server_vad", "create_response": False},
]
CLIENT: st.SearchStrategy[Any] = st.one_of(
    st.builds(audio, st.integers(0, 400)),
    st.just(InputAudioBufferCommit()),
    st.just(InputAudioBufferClear()),
    st.just(ResponseCreate()),
    st.builds(ResponseCreate, response=st.builds(ResponseParams, max_output_tokens=st.integers(-1, 20))),
    st.just(ResponseCancel()),
    st.builds(ConversationItemCreate, item=st.builds(user_text, st.just("Hello?"), ITEM_IDS)),
    st.builds(ConversationItemDelete, item_id=ITEM_IDS),
    st.builds(ConversationItemTruncate, item_id=ITEM_IDS, content_index=st.just(0), audio_end_ms=st.integers(0, 900)),
    st.builds(lambda detection: update(audio={"input": {"turn_detection": detection}}), st.sampled_from(DETECTIONS)),
    st.sampled_from([update(audio={"input": {"format": {"type": kind}}}) for kind in ("audio/pcm", "audio/pcmu")]),
    st.sampled_from([TRANSCRIBE, "nonsense", update(voice="marin")]),
)
WORDS = {"recognised", "unrecognised", "failed"}
WORK_NAMES = ["speech", "silence", *sorted(WORDS), "text", "audio", "ended", "broken"]
WORK = st.sampled_from(WORK_NAMES)


def do_work(bench: Any, name: str, waiting: list[Recognise]) -> None:
    """A result that may come now: words for an utterance that waits, the next step of a generation under way."""
    if name in {"speech", "silence"}:
        bench.hear(bytes(640 * BYTES_PER_MS), 0.9 if name == "speech" else 0.0)
    elif name in WORDS:
        if waiting:
            utterance = waiting[0].utterance
            words = "Hello?" if name == "recognised" else ""
            bench.work(RecognitionFailed(utterance, "no ears") if name == "failed" else Recognised(utterance, words))
    elif bench.all(Generate):
        response_id = bench.all(Generate)[-1].response_id
        if name in {"text", "audio"}:
            bench.work(GeneratedText(response_id, "Well."))  # words come ahead of sound
        if name == "audio":
            bench.work(GeneratedAudio(response_id, bytes(9600)))
        elif name == "ended":
            bench.work(GenerationEnded(response_id))
        elif name == "broken":
            bench.work(GenerationFailed(response_id, "no voice"))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.one_of(CLIENT, WORK), max_size=40))
def test_any_order_of_things_leaves_the_books_right(make_bench: Any, steps: list[Any]) -> None:
    bench = make_bench()
    recognised = 0
    for step in steps:
        if step in WORK_NAMES:
            waiting = bench.all(Recognise)[recognised:]
            recognised += step in WORDS and bool(waiting)
            do_work(bench, step, waiting)
        else:
            bench.client(step)
    bench.client(ResponseCancel())
    created = [event.response.id for event in bench.all(ResponseCreated)]
    assert created == [event.response.id for event in bench.all(ResponseDone)]  # in order: one at a time, each ends
    assert len(created) == len(set(created))
    turns = [event.item_id for event in bench.all(InputAudioBufferSpeechStarted)]
    assert len(turns) == len(set(turns))
    committed = [event.item_id for event in bench.all(InputAudioBufferCommitted)]
    assert len(committed) == len(set(committed))
    assert {event.item_id for event in bench.all(InputAudioBufferSpeechStopped)} <= set(committed)
    event_ids = [event.event_id for event in bench.outputs if hasattr(event, "event_id")]
    assert len(event_ids) == len(set(event_ids))
