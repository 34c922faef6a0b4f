"""Text to event and back. The only place that knows how the wire is written; sans-IO, shared by client and server.

Messages about bad input name fields and types, never contents: they may hold speech or a secret.
"""

import re
from typing import Final, TypeVar, get_args

import msgspec

from pipeline.realtime.events import (
    MAX_EVENT_ID_CHARS,
    ClientEvent,
    ErrorBody,
    Event,
    InputAudioBufferAppend,
    Json,
    ServerEvent,
    UnknownEvent,
)
from pipeline.vocabulary.errors import ProtocolError

MAX_MESSAGE_CHARS: Final = 16 * 2**20
"""Longest message read, in characters: the protocol's largest event, an append with 15 MiB of base64, fits."""

_MAX_PATH_CHARS = 200  # of a path that is told: the name of an unknown field is the client's, so it may be long

BETA_NAMES: Final = {
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
"""Events of a reply by their GA names, and what the beta protocol calls them; nothing else about them differs."""

_GA_NAMES = {beta: ga for ga, beta in BETA_NAMES.items()}
"""Older services still use the beta names."""

_CLIENT_EVENTS: dict[str, type[ClientEvent]] = {kind.__struct_config__.tag: kind for kind in get_args(ClientEvent)}
_SERVER_EVENTS: dict[str, type[ServerEvent]] = {kind.__struct_config__.tag: kind for kind in get_args(ServerEvent)}

_MISSING_FIELD = re.compile(r"Object missing required field `(?P<field>\w+)`")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)


EventT = TypeVar("EventT", bound=Event)


class ClientEventError(ProtocolError):
    """A client event the server cannot take, in the protocol's own codes; the session goes on.

    Attributes:
        code: `invalid_json`, `invalid_event`, `invalid_value`, `invalid_type`, `missing_required_parameter` or
            `unknown_parameter` here; the server has more of them.
        param: path of the field at fault, such as `session.audio.input.format`.
        event_id: the client's own id of that event, if it could be read.
    """

    def __init__(self, code: str, message: str, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message, cause=code)
        self.code = code
        self.param = param
        self.event_id = event_id

    def body(self) -> ErrorBody:
        """This error as the `error` event tells it."""
        return ErrorBody(
            type="invalid_request_error",
            code=self.code,
            message=self.message,
            param=self.param,
            event_id=self.event_id,
        )


def encode(event: Event) -> str:
    """Write an event as one text message.

    Args:
        event: any event. Its texts are valid Unicode: what was decoded always is.
    """
    return msgspec.json.encode(event).decode()


def encode_append(payload: bytes | memoryview) -> str:
    """Write an `input_audio_buffer.append` around raw sound in the session's input format.

    Base64 goes straight from the payload into the message: 1.6 µs for 20 ms, 2.8 µs by way of a `str` field.
    """
    return msgspec.json.encode(_RawAppend(payload)).decode()


def decode_server(text: str) -> ServerEvent | UnknownEvent:
    """Read what a server said. Names of the beta protocol become those of GA; a type nobody knows is an UnknownEvent.

    Raises:
        ProtocolError: it is no event, or a known one lacks a field or has one of the wrong type. `cause` is one of
            ClientEventError's codes. The socket is still usable: one bad message says nothing about the next.
    """
    try:
        raw = _parse(text)
        kind = _type_of(raw)
        event_type = _SERVER_EVENTS.get(_GA_NAMES.get(kind, kind))
        return UnknownEvent(type=kind, raw=raw) if event_type is None else _convert(raw, event_type)
    except _FlawError as flaw:
        message = f"the service broke the Realtime protocol: {flaw.message}; if this goes on, check [service] url"
        raise ProtocolError(message, cause=flaw.code) from None


def decode_client(message: str | bytes) -> ClientEvent:
    """Read what a client said, strictly: a misspelt setting must not be ignored in silence.

    What depends on the session (`session.type`, ranges, known voices, ids) is the server's to check.

    Raises:
        ClientEventError: it is no event a client may send, or one of its fields is unknown, missing or mistyped.
    """
    raw: Json = {}
    try:
        raw = _parse(message)
        event = _convert(raw, _client_event_type(_type_of(raw)))
        _refuse_unknown(raw, event)
    except _FlawError as flaw:
        event_id = raw.get("event_id")
        readable = isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID_CHARS
        raise ClientEventError(flaw.code, flaw.message, flaw.param, event_id if readable else None) from None
    return event


def as_event(message: str | bytes) -> Json | None:
    """A message as the object it is, for those who rewrite what they do not judge; None if it is no event."""
    try:
        raw = _parse(message)
    except _FlawError:
        return None
    return raw if isinstance(raw.get("type"), str) else None


def complaint(validation_error: str) -> ClientEventError:
    """What msgspec says about a body or an event, in the protocol's codes and with the path of the field at fault."""
    flaw = _flaw(validation_error)
    return ClientEventError(flaw.code, flaw.message, flaw.param)


def audio_bytes(delta: str) -> bytes:
    """Decode the base64 of a sound delta or append, strictly (RFC 4648 §4: alphabet, padding, nothing around it).

    A delta may end in the middle of a sample; joining is the consumer's work.

    Raises:
        ProtocolError: it is not base64.
    """
    try:
        return msgspec.convert(delta, bytes)  # CPython 3.11's own strict mode lets excess padding pass, and is slower
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise ProtocolError("sound on the wire is not valid base64; it is dropped", cause="invalid_base64") from None


class _RawAppend(msgspec.Struct, tag_field="type", tag=InputAudioBufferAppend.__struct_config__.tag):
    """InputAudioBufferAppend before its sound is text: msgspec writes bytes as base64."""

    audio: bytes | memoryview


class _FlawError(Exception):
    """What is wrong with a message, before the client's or the server's side of it is told."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def _parse(message: str | bytes) -> Json:
    if isinstance(message, bytes):
        raise _FlawError("invalid_event", "the message is binary; events are text")
    if len(message) > MAX_MESSAGE_CHARS:
        raise _FlawError("invalid_event", f"the message has {len(message)} characters; {MAX_MESSAGE_CHARS} are read")
    try:
        raw = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeEncodeError):  # the latter: half of a surrogate pair
        raise _FlawError("invalid_json", "the message is not JSON") from None
    except RecursionError:
        raise _FlawError("invalid_json", "the message is nested too deeply") from None
    if not isinstance(raw, dict):
        raise _FlawError("invalid_event", "the message is not a JSON object")
    return raw


def _type_of(raw: Json) -> str:
    if "type" not in raw:
        raise _FlawError("missing_required_parameter", "missing required field `type`", "type")
    kind = raw["type"]
    if not isinstance(kind, str):
        raise _FlawError("invalid_type", "`type` is not a string", "type")
    return kind


def _client_event_type(kind: str) -> type[ClientEvent]:
    if kind not in _CLIENT_EVENTS:
        supported = ", ".join(f"'{name}'" for name in sorted(_CLIENT_EVENTS))
        raise _FlawError("invalid_value", f"unknown `type`; supported are {supported}", "type")
    return _CLIENT_EVENTS[kind]


def _convert(raw: Json, event_type: type[EventT]) -> EventT:
    """Make an event of a type already looked up; the raw `type` may be a beta name, so the table's own replaces it."""
    try:
        return msgspec.convert({**raw, "type": event_type.__struct_config__.tag}, event_type)
    except msgspec.ValidationError as error:
        raise _flaw(str(error)) from None


def _flaw(complaint: str) -> _FlawError:
    """Translate a complaint of msgspec (Expected `int`, got `str` - at `$.item.content[0]`) into a code and a path."""
    what, _, place = complaint.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    if missing := _MISSING_FIELD.fullmatch(what):
        param = _join(path, missing["field"])
        return _FlawError("missing_required_parameter", f"missing required field `{param}`", param)
    if unknown := _UNKNOWN_FIELD.fullmatch(what):
        param = _join(path, unknown["field"])[:_MAX_PATH_CHARS]
        return _FlawError("unknown_parameter", f"unknown field `{param}`", param)
    code = "invalid_type" if " got " in what else "invalid_value"
    return _FlawError(code, f"{what} for `{path}`", path)


def _refuse_unknown(raw: Json, event: ClientEvent) -> None:
    fields = {name: value for name, value in raw.items() if name != "type"}  # it has chosen the class already
    if path := _unknown_field(fields, event):
        raise _FlawError("unknown_parameter", f"unknown field `{path}`", path)


def _unknown_field(raw: object, known: object, path: str = "") -> str | None:
    """Path of the first field of `raw` that has no place in `known`, the record made from it."""
    if isinstance(raw, dict) and isinstance(known, msgspec.Struct):
        for name, value in raw.items():
            here = _join(path, name)
            if name not in known.__struct_fields__:
                return here[:_MAX_PATH_CHARS]
            if deeper := _unknown_field(value, getattr(known, name), here):
                return deeper
    elif isinstance(raw, list) and isinstance(known, list):
        for index, (value, record) in enumerate(zip(raw, known, strict=True)):
            if deeper := _unknown_field(value, record, f"{path}[{index}]"):
                return deeper
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
