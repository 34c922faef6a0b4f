"""The objects that events carry: session, item, content part, response, usage, error (OpenAI Realtime, GA shape).

What a peer adds is ignored and what it leaves out is None, so a new or a simpler service still works; names of
models, voices and states are plain text because new ones come without notice. Where null itself says something
(`turn_detection`: null switches the detector off), an absent field is UNSET instead; so a partial `session.update`
sends only what is there.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

Json = dict[str, Any]
"""A part of the wire that talkwire hands through without looking inside."""

_SHOWN = ("id", "type", "status", "code", "_index", "_ms")


class WireRecord(Struct, frozen=True, kw_only=True):
    """Base of everything on the wire.

    Its repr shows ids, kinds and positions only: a logged or crashed-on record must not leak words, sound or a secret.
    """

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields that may be shown, for rich's tracebacks and for `repr`."""
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__ if name.endswith(_SHOWN))
        return [(name, value) for name, value in shown if value is not None]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Event(WireRecord, frozen=True, kw_only=True, tag_field="type"):
    """Base of every event: a record whose class is told by `type` on the wire."""

    @property
    def type(self) -> str:
        """The wire's name for this kind of event."""
        return str(self.__struct_config__.tag)


class WireObject(WireRecord, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the objects that are sent with only the fields they have."""


class AudioFormat(WireObject, frozen=True, kw_only=True):
    """How sound is coded: `audio/pcm` (s16le mono, `rate` in Hz), `audio/pcmu` or `audio/pcma` (8 kHz, no rate)."""

    type: str
    rate: int | None = None


class Transcription(WireObject, frozen=True, kw_only=True):
    """How the user's speech is written down, apart from the model that answers. `language` is ISO 639-1."""

    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    keywords: list[str] | None = None
    prompt: str | None = None
    delay: str | None = None


class NoiseReduction(WireObject, frozen=True, kw_only=True):
    """Filter in front of the detector and the model: `near_field` or `far_field`."""

    type: str | None = None
    strength: float | None = None


class TurnDetection(WireObject, frozen=True, kw_only=True):
    """Who notices that the user has finished: `server_vad` or `semantic_vad`; `eagerness` is the latter's."""

    type: str
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = None
    eagerness: str | None = None


class AudioInput(WireObject, frozen=True, kw_only=True):
    """`session.audio.input`; None switches transcription, noise reduction or the turn detector off."""

    format: AudioFormat | None = None
    transcription: Transcription | UnsetType | None = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET


class CustomVoice(WireObject, frozen=True, kw_only=True):
    """A voice of the account instead of a built-in name."""

    id: str


class AudioOutput(WireObject, frozen=True, kw_only=True):
    """`session.audio.output`; `speed` is 0.25 to 1.5, 1 as recorded."""

    format: AudioFormat | None = None
    voice: str | CustomVoice | None = None
    speed: float | None = None


class SessionAudio(WireObject, frozen=True, kw_only=True):
    """Both directions of a session's sound."""

    input: AudioInput | None = None
    output: AudioOutput | None = None


class ResponseAudioOutput(WireObject, frozen=True, kw_only=True):
    """`audio.output` of a response, which is as fast as its session says; a server names a custom voice by its id."""

    format: AudioFormat | None = None
    voice: str | CustomVoice | None = None


class ResponseAudio(WireObject, frozen=True, kw_only=True):
    """The only direction a response has."""

    output: ResponseAudioOutput | None = None


class Tool(WireObject, frozen=True, kw_only=True):
    """A function the model may call (`type` function), or a tool server the service calls itself (`type` mcp)."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: Json | None = None
    server_label: str | None = None
    server_url: str | None = None
    server_description: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    authorization: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | Json | None = None
    allowed_callers: list[str] | None = None
    require_approval: str | Json | None = None
    defer_loading: bool | None = None


class ToolChoice(WireObject, frozen=True, kw_only=True):
    """One tool the model must use, instead of `auto`, `none` or `required`."""

    type: str
    name: str | None = None
    server_label: str | None = None


class Session(WireObject, frozen=True, kw_only=True):
    """Settings of a session: whole in `session.created` and `session.updated`, any part of it in `session.update`.

    `type` (`realtime` or `transcription`) is demanded of clients, yet beta servers leave it out. `expires_at` is in
    unix seconds. `max_output_tokens` is 1 to 4096 or "inf".
    """

    type: str | None = None
    id: str | None = None
    object: str | None = None
    model: str | None = None
    output_modalities: list[str] | None = None
    instructions: str | None = None
    audio: SessionAudio | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    max_output_tokens: int | str | None = None
    truncation: str | Json | None = None
    tracing: str | Json | UnsetType | None = UNSET
    prompt: Json | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET
    reasoning: Json | None = None
    parallel_tool_calls: bool | None = None
    expires_at: int | None = None


class ContentPart(WireObject, frozen=True, kw_only=True):
    """One part of a message: what was written or said. `audio` is base64; servers leave it out except on retrieval.

    Services say `audio` where the types say `output_audio`, and `text` for `output_text`: ask the properties.
    """

    type: str
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None
    image_url: str | None = None
    detail: str | None = None

    @property
    def is_audio(self) -> bool:
        """Sound, from either side, in either spelling."""
        return self.type in {"audio", "output_audio", "input_audio"}

    @property
    def is_text(self) -> bool:
        """Written text, from either side, in either spelling."""
        return self.type in {"text", "output_text", "input_text"}


class Item(WireObject, frozen=True, kw_only=True):
    """One entry of the conversation; `type` says which of the fields it has.

    `message`: role, content. `function_call`: call_id, name, arguments (JSON text). `function_call_output`: call_id,
    output. `mcp_list_tools`: server_label, tools. `mcp_approval_request`: server_label, name, arguments. `mcp_call`:
    these, output and error. `mcp_approval_response`: approval_request_id, approve, reason. `item_reference`: id.
    """

    type: str
    id: str | None = None
    object: str | None = None
    status: str | None = None
    role: str | None = None
    content: list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None
    error: Json | None = None
    server_label: str | None = None
    tools: list[Json] | None = None
    approval_request_id: str | None = None
    approve: bool | None = None
    reason: str | None = None


class TokenDetails(WireObject, frozen=True, kw_only=True):
    """Tokens by kind; cached ones are among the others and cost less."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: "TokenDetails | None" = None


class Usage(WireObject, frozen=True, kw_only=True):
    """What a response or a transcription cost: tokens, or `seconds` of sound where `type` is duration."""

    type: str | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: TokenDetails | None = None
    output_token_details: TokenDetails | None = None
    seconds: float | None = None


class ErrorBody(WireRecord, frozen=True, kw_only=True):
    """What went wrong. `param` is the path of the field at fault, `event_id` the client event at fault."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class Failure(WireObject, frozen=True, kw_only=True):
    """Why a response or a transcription failed. Unlike an error it answers no client event."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


class StatusDetails(WireObject, frozen=True, kw_only=True):
    """Why a response ended as it did; `reason` for cancelled and incomplete ones, `error` for failed ones."""

    type: str | None = None
    reason: str | None = None
    error: Failure | None = None


class Response(WireRecord, frozen=True, kw_only=True):
    """One answer of the model: in_progress, then completed, cancelled, incomplete or failed.

    `conversation_id` is null for one that is out of band; `output` and `usage` are filled when it is done.
    """

    id: str
    object: str = "realtime.response"
    status: str | None = None
    status_details: StatusDetails | None = None
    output: list[Item] = field(default_factory=list)
    conversation_id: str | None = None
    output_modalities: list[str] | None = None
    max_output_tokens: int | str | None = None
    audio: ResponseAudio | None = None
    metadata: dict[str, str] | None = None
    usage: Usage | None = None


class ResponseParams(WireObject, frozen=True, kw_only=True):
    """What `response.create` changes for one response; an empty `input` means without the conversation so far."""

    conversation: str | None = None
    input: list[Item] | None = None
    instructions: str | None = None
    output_modalities: list[str] | None = None
    audio: ResponseAudio | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    max_output_tokens: int | str | None = None
    metadata: dict[str, str] | None = None
    prompt: Json | None = None
    reasoning: Json | None = None
    parallel_tool_calls: bool | None = None


class Conversation(WireObject, frozen=True, kw_only=True):
    """The conversation of a session, as `conversation.created` names it."""

    id: str | None = None
    object: str | None = None


class RateLimit(WireObject, frozen=True, kw_only=True):
    """What is left of one allowance (`requests` or `tokens`) and when it is full again. Advisory."""

    name: str | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None
