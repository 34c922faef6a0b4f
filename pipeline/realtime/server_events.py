"""What a server says over a WebSocket (GA). Source: API reference, "Realtime server events".

The events of WebRTC and SIP calls (`output_audio_buffer.started` and its kin, `dtmf_event_received`) are left out: they
never travel here. Offsets (`_ms`) count sound written to the session, not wall time.
"""

from pipeline.realtime.objects import (
    ContentPart,
    Conversation,
    ErrorBody,
    Event,
    Failure,
    Item,
    Json,
    RateLimit,
    Response,
    Session,
    Usage,
    WireRecord,
)


class FromServer(Event, frozen=True, kw_only=True):
    """Base of server events. Optional fields travel as null, as the service sends them."""

    event_id: str


class ErrorEvent(FromServer, frozen=True, kw_only=True, tag="error"):
    """A request failed; nearly always the session goes on."""

    error: ErrorBody


class SessionCreated(FromServer, frozen=True, kw_only=True, tag="session.created"):
    """First event of a healthy socket, with every default."""

    session: Session


class SessionUpdated(FromServer, frozen=True, kw_only=True, tag="session.updated"):
    """The settings in force after a `session.update`."""

    session: Session


class ConversationCreated(FromServer, frozen=True, kw_only=True, tag="conversation.created"):
    """Sent by older services after (or instead of) `session.created`."""

    conversation: Conversation


class RateLimitsUpdated(FromServer, frozen=True, kw_only=True, tag="rate_limits.updated"):
    """What is left of the allowance. Advisory."""

    rate_limits: list[RateLimit]


class InputAudioBufferCommitted(FromServer, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    """The buffer has become the user's item, by the client or by the detector."""

    item_id: str
    previous_item_id: str | None = None


class InputAudioBufferCleared(FromServer, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    """Answer to `input_audio_buffer.clear`."""


class InputAudioBufferSpeechStarted(FromServer, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """The user speaks; the start includes the prefix padding. `item_id` will be the user's item."""

    item_id: str
    audio_start_ms: int


class InputAudioBufferSpeechStopped(FromServer, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """The user has stopped; the end includes the window of silence."""

    item_id: str
    audio_end_ms: int


class InputAudioBufferTimeoutTriggered(
    FromServer, frozen=True, kw_only=True, tag="input_audio_buffer.timeout_triggered"
):
    """Nobody spoke for `idle_timeout_ms`: silence is committed and a response follows."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class ItemEvent(FromServer, frozen=True, kw_only=True):
    """Base of events that place an item in the conversation."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemAdded(ItemEvent, frozen=True, kw_only=True, tag="conversation.item.added"):
    """An item entered the conversation; an answer's is still in_progress."""


class ConversationItemDone(ItemEvent, frozen=True, kw_only=True, tag="conversation.item.done"):
    """An item is final."""


class ConversationItemCreated(ItemEvent, frozen=True, kw_only=True, tag="conversation.item.created"):
    """What older services say instead of `added` and `done`."""


class ConversationItemRetrieved(FromServer, frozen=True, kw_only=True, tag="conversation.item.retrieved"):
    """Answer to `conversation.item.retrieve`."""

    item: Item


class ConversationItemTruncated(FromServer, frozen=True, kw_only=True, tag="conversation.item.truncated"):
    """Answer to `conversation.item.truncate`."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ConversationItemDeleted(FromServer, frozen=True, kw_only=True, tag="conversation.item.deleted"):
    """Answer to `conversation.item.delete`."""

    item_id: str


class ConversationItemInputAudioTranscriptionDelta(
    FromServer, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.delta"
):
    """The next words of the user, as the recogniser hears them."""

    item_id: str
    content_index: int | None = None
    delta: str | None = None
    logprobs: list[Json] | None = None


class ConversationItemInputAudioTranscriptionCompleted(
    FromServer, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    """All words of the user's item. Comes when it comes: before, during or after the answer."""

    item_id: str
    content_index: int
    transcript: str
    usage: Usage | None = None  # always sent by GA; older services leave it out, and the words matter more
    logprobs: list[Json] | None = None
    languages: list[Json] | None = None


class ConversationItemInputAudioTranscriptionFailed(
    FromServer, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"
):
    """The recogniser failed; the turn goes on."""

    item_id: str
    content_index: int
    error: Failure


class ConversationItemInputAudioTranscriptionSegment(
    FromServer, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.segment"
):
    """One speaker's stretch, `start` to `end` in seconds, from a recogniser that tells speakers apart."""

    item_id: str
    content_index: int
    id: str
    start: float
    end: float
    speaker: str
    text: str


class ResponseCreated(FromServer, frozen=True, kw_only=True, tag="response.created"):
    """A response began: in_progress, without output."""

    response: Response


class ResponseDone(FromServer, frozen=True, kw_only=True, tag="response.done"):
    """A response ended, however it ended: exactly one for each `response.created`."""

    response: Response


class OutputEvent(FromServer, frozen=True, kw_only=True):
    """Base of events about one output of a response."""

    response_id: str
    output_index: int


class ResponseOutputItemAdded(OutputEvent, frozen=True, kw_only=True, tag="response.output_item.added"):
    """The response has begun a new item."""

    item: Item


class ResponseOutputItemDone(OutputEvent, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item of the response is final: completed or incomplete."""

    item: Item


class PartEvent(OutputEvent, frozen=True, kw_only=True):
    """Base of events about one content part of an item that a response is making."""

    item_id: str
    content_index: int


class ResponseContentPartAdded(PartEvent, frozen=True, kw_only=True, tag="response.content_part.added"):
    """A part begins; its type is `text` or `audio`."""

    part: ContentPart


class ResponseContentPartDone(PartEvent, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part is final."""

    part: ContentPart


class ResponseOutputTextDelta(PartEvent, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """More of a written answer."""

    delta: str


class ResponseOutputTextDone(PartEvent, frozen=True, kw_only=True, tag="response.output_text.done"):
    """A written answer, whole."""

    text: str


class ResponseOutputAudioDelta(PartEvent, frozen=True, kw_only=True, tag="response.output_audio.delta"):
    """More of a spoken answer: base64 in the output format, faster than it can be played."""

    delta: str


class ResponseOutputAudioDone(PartEvent, frozen=True, kw_only=True, tag="response.output_audio.done"):
    """No more sound of this part; sent for a cancelled one too."""


class ResponseOutputAudioTranscriptDelta(
    PartEvent, frozen=True, kw_only=True, tag="response.output_audio_transcript.delta"
):
    """More words of a spoken answer, ahead of its sound."""

    delta: str


class ResponseOutputAudioTranscriptDone(
    PartEvent, frozen=True, kw_only=True, tag="response.output_audio_transcript.done"
):
    """The words of a spoken answer, whole."""

    transcript: str


class ResponseFunctionCallArgumentsDelta(
    OutputEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    """More of a call's arguments (JSON text)."""

    item_id: str
    call_id: str
    delta: str


class ResponseFunctionCallArgumentsDone(
    OutputEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    """A call's arguments, whole; they may still not be valid JSON."""

    item_id: str
    call_id: str
    arguments: str
    name: str | None = None  # always sent by GA, never by beta; `output_item.done` has it too


class ResponseMcpCallArgumentsDelta(OutputEvent, frozen=True, kw_only=True, tag="response.mcp_call_arguments.delta"):
    """More of the arguments of a call the service makes itself."""

    item_id: str
    delta: str


class ResponseMcpCallArgumentsDone(OutputEvent, frozen=True, kw_only=True, tag="response.mcp_call_arguments.done"):
    """Those arguments, whole."""

    item_id: str
    arguments: str


class McpCallEvent(FromServer, frozen=True, kw_only=True):
    """Base of the states of a call the service makes itself."""

    item_id: str
    output_index: int


class ResponseMcpCallInProgress(McpCallEvent, frozen=True, kw_only=True, tag="response.mcp_call.in_progress"):
    """The call is under way."""


class ResponseMcpCallCompleted(McpCallEvent, frozen=True, kw_only=True, tag="response.mcp_call.completed"):
    """The call succeeded."""


class ResponseMcpCallFailed(McpCallEvent, frozen=True, kw_only=True, tag="response.mcp_call.failed"):
    """The call failed."""


class McpListToolsInProgress(FromServer, frozen=True, kw_only=True, tag="mcp_list_tools.in_progress"):
    """The service asks a tool server for its tools."""

    item_id: str


class McpListToolsCompleted(FromServer, frozen=True, kw_only=True, tag="mcp_list_tools.completed"):
    """The tools are known and may be used."""

    item_id: str


class McpListToolsFailed(FromServer, frozen=True, kw_only=True, tag="mcp_list_tools.failed"):
    """The tool server gave no list."""

    item_id: str


class UnknownEvent(WireRecord, frozen=True, kw_only=True):
    """A server event this version has no class for; `raw` is the whole message. New ones come without notice."""

    type: str
    raw: Json


ServerEvent = (
    ErrorEvent
    | SessionCreated
    | SessionUpdated
    | ConversationCreated
    | RateLimitsUpdated
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemCreated
    | ConversationItemRetrieved
    | ConversationItemTruncated
    | ConversationItemDeleted
    | ConversationItemInputAudioTranscriptionDelta
    | ConversationItemInputAudioTranscriptionCompleted
    | ConversationItemInputAudioTranscriptionFailed
    | ConversationItemInputAudioTranscriptionSegment
    | ResponseCreated
    | ResponseDone
    | ResponseOutputItemAdded
    | ResponseOutputItemDone
    | ResponseContentPartAdded
    | ResponseContentPartDone
    | ResponseOutputTextDelta
    | ResponseOutputTextDone
    | ResponseOutputAudioDelta
    | ResponseOutputAudioDone
    | ResponseOutputAudioTranscriptDelta
    | ResponseOutputAudioTranscriptDone
    | ResponseFunctionCallArgumentsDelta
    | ResponseFunctionCallArgumentsDone
    | ResponseMcpCallArgumentsDelta
    | ResponseMcpCallArgumentsDone
    | ResponseMcpCallInProgress
    | ResponseMcpCallCompleted
    | ResponseMcpCallFailed
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
)
"""What a server may say over a WebSocket."""
