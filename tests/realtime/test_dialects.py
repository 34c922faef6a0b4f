"""The dialects: which there are, and how the smaller ones say things."""

from typing import Any, get_args

from pipeline.realtime.dialects import DIALECTS, AzurePreviewShape, AzureShape, HuggingFaceShape
from pipeline.vocabulary.settings import ServerSettings


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": "event_1", **fields}


def response(kind: str, **fields: Any) -> dict[str, Any]:
    return event(kind, response={"id": "resp_1", "conversation_id": None, "output": [], **fields})


def test_every_dialect_can_be_chosen() -> None:
    assert set(get_args(ServerSettings.__annotations__["dialect"])) == set(DIALECTS)


def test_azure_has_its_own_name_for_a_rate_limit() -> None:
    failed: dict[str, Any] = {"type": "failed", "error": {"code": "rate_limit_exceeded", "message": "m"}}
    for shape in (AzureShape(), AzurePreviewShape()):
        (done,) = shape.from_ga(response("response.done", status_details=failed))
        assert done["response"]["status_details"]["error"] == {
            **failed["error"],
            "code": "inference_rate_limit_exceeded",
        }
    other = response("response.done", status_details={"type": "failed", "error": {"code": "server_error"}})
    assert AzureShape().from_ga(other) == [other]
    assert AzureShape().from_ga(response("response.done", status_details=None)) != []


def test_hugging_face_acknowledges_the_client_s_items_and_no_others() -> None:
    shape = HuggingFaceShape()
    assert shape.from_ga(event("input_audio_buffer.committed", item_id="item_u")) == []
    assert shape.from_ga(event("conversation.item.added", item={"id": "item_u", "status": "completed"})) == []
    assert shape.from_ga(event("conversation.item.added", item={"id": "item_a", "status": "in_progress"})) == []
    (created,) = shape.from_ga(event("conversation.item.added", item={"id": "item_c", "status": "completed"}))
    assert created["type"] == "conversation.item.created"


def test_hugging_face_does_not_answer_a_truncation() -> None:
    assert HuggingFaceShape().from_ga(event("conversation.item.truncated", item_id="item_1")) == []


def test_hugging_face_ends_the_response_before_it_tells_of_the_speech_that_interrupted_it() -> None:
    shape = HuggingFaceShape()
    shape.from_ga(response("response.created"))
    assert shape.from_ga(started := event("input_audio_buffer.speech_started", item_id="item_u")) == []
    assert shape.from_ga(done := response("response.done")) == [done, started]
    assert shape.from_ga(started) == [started]


def test_hugging_face_tells_of_speech_that_interrupts_nothing_before_its_end() -> None:
    shape = HuggingFaceShape()
    shape.from_ga(response("response.created"))
    shape.from_ga(started := event("input_audio_buffer.speech_started", item_id="item_u"))
    assert shape.from_ga(stopped := event("input_audio_buffer.speech_stopped", item_id="item_u")) == [started, stopped]


def test_hugging_face_tells_the_kind_of_an_error_in_its_type() -> None:
    error = {"type": "invalid_request_error", "code": "session_limit_reached", "message": "m"}
    (said,) = HuggingFaceShape().from_ga(event("error", error=error))
    assert (said["error"]["type"], said["error"]["code"]) == ("session_limit_reached", None)
