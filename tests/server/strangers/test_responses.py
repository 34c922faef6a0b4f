"""Responses by other means than talking, as the official client has them."""

import json
import threading
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(30)

WRITTEN = {"output_modalities": ["text"]}
TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Finds the answer.",
    "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
}
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def test_a_written_question_and_a_written_answer(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client, **WRITTEN) as stranger:
        asked = stranger.write("Where is the exit?", id="mine_1")
        stranger.connection.response.create()
        events = stranger.until("response.done")
    assert (asked.id, asked.object, asked.content[0].text) == ("mine_1", "realtime.item", "Where is the exit?")
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    (whole,) = (event.text for event in events if event.type == "response.output_text.done")
    done = events[-1].response
    assert deltas == whole == done.output[0].content[0].text == "You said: Where is the exit?."
    assert done.output_modalities == ["text"]
    assert not [event.type for event in events if "audio" in event.type]
    usage = done.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.output_token_details.audio_tokens == 0


def test_a_response_has_settings_of_its_own(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client) as stranger:
        stranger.write("Hello.")
        stranger.connection.response.create(
            response={"output_modalities": ["text"], "metadata": {"topic": "greeting"}, "max_output_tokens": 4}
        )
        created = stranger.next("response.created").response
        done = stranger.next("response.done").response
    assert (created.status, created.output, created.usage) == ("in_progress", [], None)
    assert created.metadata == done.metadata == {"topic": "greeting"}
    assert (done.status, done.status_details.reason) == ("incomplete", "max_output_tokens")


def test_a_tool_is_called_and_its_answer_spoken(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client, tools=[TOOL], **WRITTEN) as stranger:
        stranger.write("Where is the exit?")
        stranger.connection.response.create()
        events = stranger.until("response.done")
        (call,) = events[-1].response.output
        (finished,) = (event for event in events if event.type == "response.function_call_arguments.done")
        deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        assert (call.type, call.name, call.status) == ("function_call", "look_up", "completed")
        assert (finished.name, finished.call_id, finished.item_id) == (call.name, call.call_id, call.id)
        assert len(deltas) > 1, "arguments are streamed"
        assert "".join(deltas) == finished.arguments == call.arguments
        assert json.loads(call.arguments) == {"question": "Where is the exit?"}
        stranger.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "left"}
        )
        output = stranger.next("conversation.item.done").item
        stranger.connection.response.create()
        answer = stranger.next("response.done").response.output[0]
    assert (output.type, output.call_id, output.output) == ("function_call_output", call.call_id, "left")
    assert answer.content[0].text == "The tool says: left."


def test_an_output_without_its_call_is_refused(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client) as stranger:
        stranger.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": "call_nobody_made", "output": "left"}, event_id="mine_1"
        )
        error = stranger.next("error").error
    assert (error.code, error.event_id) == ("invalid_tool_call_id", "mine_1")


def test_out_of_band_responses_run_beside_the_conversation(serving: Any, meeting: Any, voice: Any, tone: Any) -> None:
    held = threading.Event()
    voice.between = lambda: held.wait(10) if voice.spoken else None
    with serving() as client, meeting(client) as stranger:
        said = stranger.write("Tell me a story.")
        stranger.connection.response.create()
        main = stranger.next("response.output_audio.delta").response_id
        stranger.connection.response.create(
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"topic": "mood"},
                "input": [
                    {"type": "item_reference", "id": said.id},
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What mood?"}]},
                ],
            }
        )
        events = stranger.until("response.done")
        held.set()
        finished = stranger.next("response.done").response
        stranger.connection.conversation.item.retrieve(item_id=events[-1].response.output[0].id)
        unknown = stranger.next("error").error
    aside = events[-1].response
    assert (aside.metadata, aside.conversation_id) == ({"topic": "mood"}, None)
    assert aside.output[0].content[0].text == "You said: What mood?."
    assert not [event for event in events if event.type.startswith("conversation.item.")]
    assert (finished.id, finished.status) == (main, "completed")
    assert unknown.code == "item_retrieve_invalid_item_id"


def test_a_picture_is_shown_to_the_brain(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client, **WRITTEN) as stranger:
        parts = [{"type": "input_image", "image_url": PNG, "detail": "low"}, {"type": "input_text", "text": "What?"}]
        shown = stranger.write("", content=parts)
        stranger.connection.response.create()
        answer = stranger.next("response.done").response.output[0].content[0].text
    assert [part.type for part in shown.content] == ["input_image", "input_text"]
    assert answer == "I see 1 picture."


def test_one_response_at_a_time_and_cancel(serving: Any, meeting: Any, voice: Any) -> None:
    held = threading.Event()
    voice.between = lambda: held.wait(10) if voice.spoken else None
    with serving() as client, meeting(client) as stranger:
        stranger.connection.response.cancel(event_id="mine_1")
        nothing = stranger.next("error").error
        stranger.write("Tell me a story.")
        stranger.connection.response.create()
        response_id = stranger.next("response.output_audio.delta").response_id
        stranger.connection.response.create(event_id="mine_2")
        taken = stranger.next("error").error
        stranger.connection.response.cancel(response_id=response_id)
        done = stranger.next("response.done").response
        held.set()
        late = stranger.settle()
    assert (nothing.code, nothing.event_id) == ("response_cancel_not_active", "mine_1")
    assert (taken.code, taken.event_id) == ("conversation_already_has_active_response", "mine_2")
    assert (done.status, done.status_details.reason) == ("cancelled", "client_cancelled")
    assert late == ["rate_limits.updated"]


def test_history_is_restored_in_order_and_edited(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client, **WRITTEN) as stranger:
        stranger.write("", id="system", role="system", content=[{"type": "input_text", "text": "Be brief."}])
        stranger.write("Good morning.", id="second")
        stranger.write("", id="third", role="assistant", content=[{"type": "output_text", "text": "Hello."}])
        create = stranger.connection.conversation.item.create
        create(item=_user("between"), previous_item_id="second")
        assert stranger.next("conversation.item.added").previous_item_id == "second"
        create(item=_user("first"), previous_item_id="root")
        assert stranger.next("conversation.item.added").previous_item_id is None
        stranger.settle()
        create(item=_user("third"), event_id="mine_1")
        twice = stranger.next("error").error
        create(item=_user("lost"), previous_item_id="nowhere", event_id="mine_2")
        nowhere = stranger.next("error").error
        stranger.connection.conversation.item.delete(item_id="between")
        assert stranger.next("conversation.item.deleted").item_id == "between"
        stranger.connection.conversation.item.delete(item_id="between")
        gone = stranger.next("error").error
    assert (twice.code, twice.event_id) == ("item_create_duplicate_item_id", "mine_1")
    assert nowhere.event_id == "mine_2"
    assert gone.code == "item_delete_invalid_item_id"


def test_an_assistants_sound_cannot_be_restored(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client) as stranger:
        message = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": "AAAA"}]}
        stranger.connection.conversation.item.create(item=message)
        error = stranger.next("error").error
    assert (error.code, error.param) == ("missing_required_parameter", "item.content[0].text")


def _user(item_id: str) -> Any:
    return {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": item_id}]}
