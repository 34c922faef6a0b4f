"""What a client may put into a conversation with `conversation.item.create`. Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from pipeline.realtime.codec import ClientEventError, audio_bytes
from pipeline.realtime.events import AudioFormat, ContentPart, Item, WireObject
from pipeline.server.audio_format import PCM, bytes_per_ms, sample_bytes
from pipeline.server.input_audio import MAX_BUFFER_MS
from pipeline.server.items import Items, text_of
from pipeline.server.settings_checks import unknown
from pipeline.vocabulary.errors import ProtocolError

T = TypeVar("T")

MAX_ITEM_CHARACTERS: Final = 65_536
"""Text of one item: times the number of items it bounds the memory of a conversation at 32 MB."""
MAX_ITEM_ID_CHARACTERS: Final = 64

PICTURE_URIS: Final = ("data:image/png;base64,", "data:image/jpeg;base64,")
"""How a picture begins; this server fetches none from elsewhere."""

_FIELDS: Final = {
    "message": {"role", "content"},
    "function_call": {"call_id", "name", "arguments"},
    "function_call_output": {"call_id", "output"},
    "mcp_approval_response": {"approval_request_id", "approve", "reason"},
}
"""What an item of each type may have, beside what all have."""
_FIELDS_OF_ALL: Final = {"type", "id", "object", "status"}
_PARTS: Final = {
    "system": {"input_text"},
    "user": {"input_text", "input_audio", "input_image"},
    "assistant": {"output_text", "text"},
}
"""Content each role may have. Only a brain that can look at pictures sees them; the shipped one answers the words."""
_PART_FIELDS: Final = {
    "input_audio": {"type", "audio", "transcript"},
    "input_image": {"type", "image_url", "detail"},
}
_TEXT_FIELDS: Final = {"type", "text"}


class _Answerable(NamedTuple):
    """What an item may be the answer to: ids of calls, and of requests for an approval."""

    call_ids: Collection[str]
    approval_requests: Collection[str]


class Accepted(NamedTuple):
    """An item as it enters the conversation, its sound in the session's format, and whether its words are known."""

    item: Item
    sound: bytes
    has_words: bool


def accepted_item(
    item: Item,
    items: Items,
    new_id: Callable[[str], str],
    audio_format: AudioFormat,
    approval_requests: Collection[str],
) -> Accepted:
    """The item as it enters the conversation; `approval_requests` are those that it may answer.

    Raises:
        ClientEventError: naming the field that is missing or cannot be.
    """
    answerable = _Answerable(_call_ids(entry.item for entry in items), approval_requests)
    sound = _check(item, "item", answerable, audio_format)
    has_words = all(part.transcript for part in item.content or [] if part.type == "input_audio")
    kept = [_kept(part) for part in item.content or []]
    is_approval = item.type == "mcp_approval_response"  # of those the protocol knows neither
    accepted = msgspec.structs.replace(
        item,
        id=item.id or new_id("item"),
        object=None if is_approval else "realtime.item",
        status=None if is_approval else "completed",
        content=kept if item.type == "message" else None,
    )
    return Accepted(accepted, sound, has_words)


def referenced_items(wanted: Sequence[Item], items: Items) -> list[Item]:
    """The `input` of a response: items of the conversation by reference, others as they are given.

    Raises:
        ClientEventError: naming the field that is missing or cannot be.
    """
    found: list[Item] = []
    calls = _call_ids(entry.item for entry in items)
    for index, item in enumerate(wanted):
        path = f"response.input[{index}]"
        if item.type == "item_reference":
            entry = items.find(_require(item.id, f"{path}.id"))
            if entry is None:
                raise _invalid(f"{path}.id", f"There is no item with id '{item.id}'.")
            found.append(entry.item)
            continue
        _check(item, path, _Answerable(calls | _call_ids(found), ()), PCM)
        for number, part in enumerate(item.content or []):
            if part.type == "input_audio":  # its words would have to be found first, for an item nobody has
                _require(part.transcript, f"{path}.content[{number}].transcript")
        found.append(msgspec.structs.replace(item, id=None))
    return found


def _kept(part: ContentPart) -> ContentPart:
    """The part as the conversation shows it: without sound, in the spelling that items have."""
    return msgspec.structs.replace(part, audio=None, type="output_text" if part.type == "text" else part.type)


def decoded_audio(audio: str, param: str) -> bytes:
    """Sound out of base64.

    Raises:
        ClientEventError: it is none.
    """
    try:
        return audio_bytes(audio)
    except ProtocolError:
        raise ClientEventError("invalid_value", f"Invalid '{param}'. Expected base64-encoded audio.", param) from None


def _check(item: Item, path: str, answerable: _Answerable, audio_format: AudioFormat) -> bytes:
    """The item's sound."""
    sound = b""
    match item.type:
        case "message":
            sound = _check_message(item, path, audio_format)
        case "function_call":
            _require(item.name, f"{path}.name")
            _require(item.arguments, f"{path}.arguments")
        case "function_call_output":
            _require(item.output, f"{path}.output")
            if _require(item.call_id, f"{path}.call_id") not in answerable.call_ids:
                message = f"Tool call ID '{item.call_id}' not found in conversation."
                raise ClientEventError("invalid_tool_call_id", message, f"{path}.call_id")
        case "mcp_approval_response":
            _require(item.approve, f"{path}.approve")
            if _require(item.approval_request_id, f"{path}.approval_request_id") not in answerable.approval_requests:
                message = f"There is no open request with id '{item.approval_request_id}'."
                raise _invalid(f"{path}.approval_request_id", message)
        case _:
            supported = "'message', 'function_call', 'function_call_output' and 'mcp_approval_response'"
            raise _invalid(f"{path}.type", f"Supported values are: {supported}.")
    _refuse_foreign(item, _FIELDS[item.type] | _FIELDS_OF_ALL, path)
    if len(text_of(item)) > MAX_ITEM_CHARACTERS:
        message = f"Invalid '{path}': at most {MAX_ITEM_CHARACTERS} characters of text."
        raise ClientEventError("string_above_max_length", message, path)
    if item.id is not None and not 0 < len(item.id) <= MAX_ITEM_ID_CHARACTERS:
        raise _invalid(f"{path}.id", f"Expected 1 to {MAX_ITEM_ID_CHARACTERS} characters.")
    return sound


def _check_message(item: Item, path: str, audio_format: AudioFormat) -> bytes:
    allowed = _PARTS.get(item.role or "")
    if allowed is None:
        raise _invalid(f"{path}.role", "Supported values are: 'system', 'user' and 'assistant'.")
    if not item.content:
        raise _missing(f"{path}.content")
    sound = b""
    for index, part in enumerate(item.content):
        here = f"{path}.content[{index}]"
        if part.type in {"output_audio", "audio"} and item.role == "assistant":
            raise _missing(f"{here}.text")  # as the service answers: assistant's sound cannot be restored
        if part.type not in allowed:
            raise _invalid(f"{here}.type", f"Supported values are: {', '.join(map(repr, sorted(allowed)))}.")
        _refuse_foreign(part, _PART_FIELDS.get(part.type, _TEXT_FIELDS), here)
        sound += _check_part(part, here, sample_bytes(audio_format))
    if len(sound) > MAX_BUFFER_MS * bytes_per_ms(audio_format):
        raise _invalid(f"{path}.content", f"At most {MAX_BUFFER_MS // 1000} s of sound.")
    return sound


def _check_part(part: ContentPart, path: str, sample_size: int) -> bytes:
    """The part's sound."""
    match part.type:
        case "input_audio":
            sound = decoded_audio(_require(part.audio, f"{path}.audio"), f"{path}.audio")
            return sound[: len(sound) // sample_size * sample_size]
        case "input_image":
            if not _require(part.image_url, f"{path}.image_url").startswith(PICTURE_URIS):
                raise _invalid(f"{path}.image_url", "Expected a data URI of a PNG or JPEG picture in base64.")
            if part.detail not in {None, "auto", "low", "high"}:
                raise _invalid(f"{path}.detail", "Supported values are: 'auto', 'low' and 'high'.")
        case _:
            _require(part.text, f"{path}.text")
    return b""


def _refuse_foreign(record: WireObject, fields: Collection[str], path: str) -> None:
    """An item that carries what belongs to another kind would be shown with it to everyone."""
    for name in record.__struct_fields__:
        if name not in fields and getattr(record, name) is not None:
            raise unknown(f"{path}.{name}")


def _call_ids(items: Iterable[Item]) -> set[str]:
    return {item.call_id for item in items if item.type == "function_call" and item.call_id}


def _require(value: T | None, path: str) -> T:
    if value is None:
        raise _missing(path)
    return value


def _missing(path: str) -> ClientEventError:
    return ClientEventError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def _invalid(path: str, message: str) -> ClientEventError:
    return ClientEventError("invalid_value", f"Invalid value: '{path}'. {message}", path)
