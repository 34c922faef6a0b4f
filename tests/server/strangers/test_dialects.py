"""The dialects, as the official client finds them: its Azure class, its beta, and the types it had for that."""

import json
from typing import Any, get_args

import pydantic
import pytest
from openai import AzureOpenAI, OpenAI
from openai.types.beta.realtime import RealtimeServerEvent
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.timeout(30)

MODEL = "gpt-4o-realtime-preview"
ITEM: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
CLASSES: dict[str, type[pydantic.BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(RealtimeServerEvent)[0])
}
UNTYPED = ("object", "expires_at")
"""Fields of a session that the beta sent and its types never had."""


def at(client: OpenAI, path: str) -> str:
    """A WebSocket address on the server of this client."""
    return f"ws://127.0.0.1:{client.base_url.port}{path}"


def converse(connection: Any) -> list[str]:
    """Ask something and hear the answer; everything the server says, as JSON."""
    connection.conversation.item.create(item=ITEM)
    connection.response.create()
    messages = [connection.recv_bytes().decode()]
    while json.loads(messages[-1])["type"] != "response.done":
        messages.append(connection.recv_bytes().decode())
    return messages


def kinds(messages: list[str]) -> set[str]:
    return {json.loads(message)["type"] for message in messages}


def test_the_azure_class_speaks_with_azure_s_preview(serving: Any) -> None:
    with serving(dialect="azure") as client:
        azure = AzureOpenAI(
            azure_endpoint=f"http://127.0.0.1:{client.base_url.port}",
            websocket_base_url=at(client, "/openai"),
            api_version="2025-04-01-preview",
            api_key=client.api_key,
        )
        with azure, azure.beta.realtime.connect(model=MODEL) as connection:
            said = kinds(converse(connection))
    assert {"conversation.created", "conversation.item.created", "response.audio.delta"} <= said


def test_the_plain_class_speaks_with_azure_s_ga(serving: Any) -> None:
    with serving(dialect="azure") as client:
        azure = client.with_options(websocket_base_url=at(client, "/openai/v1"))
        with azure.realtime.connect(model=MODEL) as connection:
            said = kinds(converse(connection))
        refused = azure.with_options(api_key="sk-wrong")
        with pytest.raises(InvalidStatus, match="401"), refused.realtime.connect(model=MODEL):
            pass
    assert {"conversation.item.added", "response.output_audio.delta"} <= said


def test_everything_the_beta_says_has_a_type_of_the_beta(serving: Any) -> None:
    with (
        serving(dialect="beta") as client,
        client.with_options(websocket_base_url=at(client, "/v1")).beta.realtime.connect(model=MODEL) as connection,
    ):
        session: Any = {"modalities": ["text", "audio"], "input_audio_transcription": {"model": "whisper-1"}}
        connection.session.update(session=session)
        messages = converse(connection)
        item_id = next(
            event["item_id"] for event in map(json.loads, messages) if event["type"] == "response.audio.delta"
        )
        connection.conversation.item.retrieve(item_id=item_id)
        connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=100)
        connection.conversation.item.delete(item_id=item_id)
        connection.input_audio_buffer.clear()
        connection.response.cancel()
        while json.loads(messages[-1])["type"] != "error":
            messages.append(connection.recv_bytes().decode())
    assert {"session.updated", "conversation.item.truncated", "conversation.item.deleted"} <= kinds(messages)
    for message in messages:
        event = json.loads(message)
        if event["type"].startswith("session."):
            event["session"] = {name: value for name, value in event["session"].items() if name not in UNTYPED}
        if event["type"] != "rate_limits.updated":
            CLASSES[event["type"]].model_validate_json(json.dumps(event), extra="forbid")
