"""What a client says (GA). Source: API reference, "Realtime client events"."""

from typing import Annotated, Final

from msgspec import Meta

from pipeline.realtime.objects import Event, Item, ResponseParams, Session

MAX_EVENT_ID_CHARS: Final = 512
"""The service's own limit for the ids clients choose."""

EventId = Annotated[str, Meta(max_length=MAX_EVENT_ID_CHARS)]
Count = Annotated[int, Meta(ge=0)]


class FromClient(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Base of client events. `event_id` is the client's own; errors it causes name it."""

    event_id: EventId | None = None


class SessionUpdate(FromClient, frozen=True, kw_only=True, tag="session.update"):
    """Change the fields that are present. Answered by `session.updated`, or by an error and no change at all."""

    session: Session


class InputAudioBufferAppend(FromClient, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """Base64 sound in the input format, at most 15 MiB. Never acknowledged."""

    audio: str


class InputAudioBufferCommit(FromClient, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """The user has finished: make an item of the buffer (at least 100 ms). Starts no response."""


class InputAudioBufferClear(FromClient, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Forget what is not committed yet."""


class OutputAudioBufferClear(FromClient, frozen=True, kw_only=True, tag="output_audio_buffer.clear"):
    """Only for a side socket of a WebRTC or SIP call: a WebSocket session refuses it, so it is no ClientEvent."""


class ConversationItemCreate(FromClient, frozen=True, kw_only=True, tag="conversation.item.create"):
    """Add an item: at the end (None), first ("root") or after the item named."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemRetrieve(FromClient, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    """Ask for an item with its sound."""

    item_id: str


class ConversationItemTruncate(FromClient, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    """Cut what was not heard off an assistant message; its transcript goes too."""

    item_id: str
    content_index: Count
    audio_end_ms: Count


class ConversationItemDelete(FromClient, frozen=True, kw_only=True, tag="conversation.item.delete"):
    """Remove an item."""

    item_id: str


class ResponseCreate(FromClient, frozen=True, kw_only=True, tag="response.create"):
    """Answer now; `response` changes settings for this answer only."""

    response: ResponseParams | None = None


class ResponseCancel(FromClient, frozen=True, kw_only=True, tag="response.cancel"):
    """Stop a response: the active one of the conversation unless named. Deltas under way still arrive."""

    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ConversationItemDelete
    | ResponseCreate
    | ResponseCancel
)
"""What a client may say over a WebSocket."""
