"""Responses beyond the plain spoken one: calls, out of band, settings of their own, pictures, transcription."""

import itertools
import json
from typing import Any

from msgspec import structs

from pipeline.realtime.events import (
    ContentPart,
    ConversationItemAdded,
    ConversationItemCreate,
    ConversationItemDelete,
    ErrorEvent,
    Item,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    ResponseFunctionCallArgumentsDone,
    ResponseParams,
    SessionCreated,
    Tool,
    ToolChoice,
)
from pipeline.server.answers import MAX_OUT_OF_BAND
from pipeline.server.conversation import Conversation
from pipeline.server.engines.interfaces import Line
from pipeline.server.items import MAX_PICTURE_CHARACTERS
from pipeline.server.session_settings import default_transcription_session
from pipeline.server.work import (
    Generate,
    GeneratedArguments,
    GeneratedAudio,
    GeneratedCall,
    GeneratedText,
    GenerationEnded,
    GenerationFailed,
    Recognise,
    Recognised,
    StopGenerating,
)
from pipeline.vocabulary.frames import BYTES_PER_MS

WEATHER = Tool(type="function", name="get_weather", parameters={"type": "object"})
PNG = "data:image/png;base64,AAAA"


def user(text: str, item_id: str | None = None) -> Item:
    return Item(type="message", id=item_id, role="user", content=[ContentPart(type="input_text", text=text)])


def ask(bench: Any, text: str = "Hello?", **params: Any) -> str:
    """A written question and the response it gets; its id."""
    bench.client(ConversationItemCreate(item=user(text)))
    return create(bench, **params)


def create(bench: Any, **params: Any) -> str:
    bench.client(ResponseCreate(response=ResponseParams(**params)))
    response_id: str = bench.last(Generate).response_id
    return response_id


def code(bench: Any) -> str:
    found: str = bench.last(ErrorEvent).error.code
    return found


# functions


def test_a_function_call_is_an_item_whose_arguments_are_streamed(bench: Any) -> None:
    response_id = ask(bench, tools=[WEATHER], tool_choice="required", instructions="Be brief.")
    asked = bench.last(Generate).ask
    assert (asked.tools, asked.tool_choice, asked.instructions) == ((WEATHER,), "required", "Be brief.")
    assert bench.work(GeneratedCall(response_id, "get_weather")) == [
        "response.output_item.added",
        "conversation.item.added",
    ]
    for piece in ['{"place"', ': "here"}']:
        said = bench.work(GeneratedArguments(response_id, piece))
        assert said == ["response.function_call_arguments.delta"]
    assert bench.work(GenerationEnded(response_id)) == [
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    done = bench.last(ResponseFunctionCallArgumentsDone)
    assert (done.name, done.arguments) == ("get_weather", '{"place": "here"}')
    (call,) = bench.last(ResponseDone).response.output
    assert (call.type, call.status, call.call_id, call.arguments) == (
        "function_call", "completed", done.call_id, '{"place": "here"}',
    )  # fmt: skip


def test_the_brain_reads_the_call_and_what_came_of_it(bench: Any) -> None:
    response_id = ask(bench, "Will it rain?", tools=[WEATHER])
    bench.work(GeneratedCall(response_id, "get_weather"))
    bench.work(GeneratedArguments(response_id, "{}"))
    bench.work(GenerationEnded(response_id))
    call_id = bench.last(ResponseDone).response.output[0].call_id
    output = Item(type="function_call_output", call_id=call_id, output='{"rain": true}')
    assert bench.client(ConversationItemCreate(item=output))[-1] == "conversation.item.done"
    create(bench)
    assert bench.last(Generate).ask.lines == (
        Line("user", "Will it rain?"),
        Line("call", "{}", name="get_weather", call_id=call_id),
        Line("output", '{"rain": true}', call_id=call_id),
    )


def test_words_may_come_before_calls_and_each_is_an_item_of_its_own(bench: Any) -> None:
    response_id = ask(bench)
    bench.work(GeneratedText(response_id, "Let me see."))
    bench.work(GeneratedAudio(response_id, bytes(200 * BYTES_PER_MS)))
    said = bench.work(GeneratedCall(response_id, "first"))
    assert said[-4:] == [
        "conversation.item.done",
        "response.output_item.done",
        "response.output_item.added",
        "conversation.item.added",
    ]
    bench.work(GeneratedCall(response_id, "second"))
    bench.work(GenerationEnded(response_id))
    output = bench.last(ResponseDone).response.output
    assert [item.type for item in output] == ["message", "function_call", "function_call"]
    assert len({item.id for item in output}) == 3


def test_a_call_that_was_cut_short_is_incomplete(bench: Any) -> None:
    response_id = ask(bench)
    bench.work(GeneratedCall(response_id, "get_weather"))
    bench.work(GeneratedArguments(response_id, '{"pl'))
    bench.client(ResponseCancel())
    (call,) = bench.last(ResponseDone).response.output
    assert (call.status, call.arguments) == ("incomplete", '{"pl')


def test_one_function_can_be_demanded(bench: Any) -> None:
    ask(bench, tools=[WEATHER], tool_choice=ToolChoice(type="function", name="get_weather"))
    assert bench.last(Generate).ask.tool_choice == "get_weather"


# out of band


def test_a_response_out_of_band_leaves_the_conversation_alone(bench: Any) -> None:
    main = ask(bench)
    beside = create(bench, conversation="none", output_modalities=["text"], metadata={"topic": "x"})
    created = bench.last(ResponseCreated).response
    assert (created.id, created.conversation_id, created.metadata) == (beside, None, {"topic": "x"})
    assert bench.work(GeneratedText(beside, "Fine.")) == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    bench.work(GeneratedText(main, "Hello."))
    assert bench.work(GenerationEnded(beside)) == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    bench.work(GenerationEnded(main))
    create(bench)
    assert [line.text for line in bench.last(Generate).ask.lines] == ["Hello?", "Hello."]


def test_an_input_of_its_own_replaces_the_conversation(bench: Any) -> None:
    bench.client(ConversationItemCreate(item=user("First.", "first")))
    bench.client(ConversationItemCreate(item=user("Second.", "second")))
    create(bench, conversation="none", input=[])
    assert bench.last(Generate).ask.lines == ()
    create(bench, conversation="none", input=[Item(type="item_reference", id="first"), user("Now?")])
    assert [line.text for line in bench.last(Generate).ask.lines] == ["First.", "Now?"]
    assert len(bench.all(ConversationItemAdded)) == 2


def test_a_reference_to_words_that_are_not_known_yet_waits_for_them(bench: Any) -> None:
    bench.speaks()
    item_id = bench.last(ConversationItemAdded).item.id
    reference = [Item(type="item_reference", id=item_id)]
    created = ResponseCreate(response=ResponseParams(conversation="none", input=reference))
    assert bench.client(created) == ["response.created"]
    bench.work(Recognised(bench.last(Recognise).utterance, "Where?"))
    assert {generate.ask.question for generate in bench.all(Generate)} == {"Where?"}
    assert len(bench.all(Generate)) == 2, "the turn's own answer too"


def test_what_is_deleted_before_its_words_are_known_is_not_read(bench: Any) -> None:
    bench.client('{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}')
    bench.hear(bytes(300 * BYTES_PER_MS), 0.0)
    bench.client('{"type": "input_audio_buffer.commit"}')
    item_id = bench.last(ConversationItemAdded).item.id
    bench.client(ResponseCreate())
    bench.client(ConversationItemDelete(item_id=item_id))
    bench.work(Recognised(bench.last(Recognise).utterance, "Where?"))
    assert bench.last(Generate).ask.lines == ()


def test_speech_interrupts_the_conversations_response_only(bench: Any) -> None:
    main = ask(bench)
    beside = create(bench, conversation="none")
    bench.hear(bytes(320 * BYTES_PER_MS), 0.9)
    assert [stopped.response_id for stopped in bench.all(StopGenerating)] == [main]
    assert "response.done" in bench.client(ResponseCancel(response_id=beside))
    assert bench.client(ResponseCancel(response_id=beside)) == ["error"]


def test_responses_out_of_band_are_bounded(bench: Any) -> None:
    for _ in range(MAX_OUT_OF_BAND):
        create(bench, conversation="none")
    assert bench.client(ResponseCreate(response=ResponseParams(conversation="none"))) == ["error"]
    assert code(bench) == "rate_limit_exceeded"
    assert bench.client(ResponseCreate())[-1] == "Generate"
    assert bench.client(ResponseCreate()) == ["error"]
    assert code(bench) == "conversation_already_has_active_response"


# endings


def test_a_failure_carries_its_code_and_what_came_before_it(bench: Any) -> None:
    response_id = ask(bench)
    bench.work(GeneratedText(response_id, "Well,"))
    bench.work(GenerationFailed(response_id, "busy", "rate_limit_exceeded"))
    done = bench.last(ResponseDone).response
    assert (done.status, done.status_details.error.code) == ("failed", "rate_limit_exceeded")
    assert done.output[0].status == "incomplete"
    assert bench.client(ResponseCreate())[-1] == "Generate", "the next may be made"


# pictures


def test_a_picture_is_kept_and_shown_to_the_brain(bench: Any) -> None:
    parts = [ContentPart(type="input_image", image_url=PNG), ContentPart(type="input_text", text="What is this?")]
    bench.client(ConversationItemCreate(item=Item(type="message", role="user", content=parts)))
    assert bench.last(ConversationItemAdded).item.content[0].image_url == PNG
    create(bench)
    (line,) = bench.last(Generate).ask.lines
    assert (line.text, line.images) == ("What is this?", (PNG,))
    bench.work(GeneratedText(bench.last(Generate).response_id, "A cat."))
    bench.work(GenerationEnded(bench.last(Generate).response_id))
    assert bench.last(ResponseDone).response.usage.input_token_details.image_tokens == 1


def test_pictures_of_a_conversation_are_bounded(bench: Any) -> None:
    big = ContentPart(type="input_image", image_url=PNG + "A" * (MAX_PICTURE_CHARACTERS - 100))
    for item_id in ("one", "two"):
        picture = Item(type="message", id=item_id, role="user", content=[big])
        bench.client(ConversationItemCreate(item=picture))
    assert code(bench) == "invalid_value"
    bench.client(ConversationItemDelete(item_id="one"))
    assert bench.client(ConversationItemCreate(item=structs.replace(picture, id="three")))[-1].endswith("done")


# transcription sessions


def test_a_transcription_session_writes_down_and_never_answers(make_bench: Any) -> None:
    bench = make_bench()
    numbers = itertools.count(1_000)
    session = structs.replace(default_transcription_session(), id="sess_2", expires_at=3600)
    bench.conversation = Conversation(
        session, lambda prefix: f"{prefix}_{next(numbers)}", expires_s=3600, cap_s=3600, tokens_per_minute=1_000_000
    )
    bench._take(bench.conversation.open(0.0))
    assert bench.last(SessionCreated).session.type == "transcription"
    bench.speaks()
    assert bench.work(Recognised(bench.last(Recognise).utterance, "Hello?")) == [
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    for refused in ('{"type": "response.create"}', '{"type": "response.cancel"}'):
        assert bench.client(refused) == ["error"]
    for session_update, param in [
        ({"type": "realtime"}, "session.type"),
        ({"type": "transcription", "instructions": "Answer."}, "session.instructions"),
        ({"type": "transcription", "audio": {"output": {"voice": "x"}}}, "session.audio.output"),
    ]:
        assert bench.client(json.dumps({"type": "session.update", "session": session_update})) == ["error"]
        assert bench.last(ErrorEvent).error.param == param
    allowed = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    assert bench.client(json.dumps({"type": "session.update", "session": allowed}))[-1] == "session.updated"
