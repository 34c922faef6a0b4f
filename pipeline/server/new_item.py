"""What a client may put into a conversation with `conversation.item.create`. Pure."""

from collections.abc import Callable
from typing import Final

import msgspec

from pipeline.realtime.codec import ClientEventError, audio_bytes
from pipeline.realtime.events import AudioFormat, ContentPart, Item
from pipeline.server.audio_format import bytes_per_ms, sample_bytes
from pipeline.server.input_audio import MAX_BUFFER_MS
from pipeline.server.items import Items, text_of
from pipeline.vocabulary.errors import ProtocolError

MAX_ITEM_CHARACTERS: Final = 65_536
"""Text of one item: times the number of items it bounds the memory of a conversation at 32 MB."""
MAX_ITEM_ID_CHARACTERS: Final = 64

_PARTS: Final = {
    "system": {"input_text"},
    "user": {"input_text", "input_audio"},
    "assistant": {"output_text", "text"},
}
"""Content each role may have. Pictures are refused: nothing here could look at them."""


def accepted_item(
    item: Item, items: Items, new_id: Callable[[str], str], audio_format: AudioFormat
) -> tuple[Item, bytes]:
    """The item as it enters the conversation, and its sound (in the session's format) if its words are yet to be found.

    Raises:
        ClientEventError: naming the field that is missing or cannot be.
    """
    sound = b""
    match item.type:
        case "message":
            sound = _check_message(item, audio_format)
        case "function_call":
            _require(item.name, "item.name")
            _require(item.arguments, "item.arguments")
        case "function_call_output":
            _require(item.output, "item.output")
            _check_call_exists(_require(item.call_id, "item.call_id"), items)
        case _:
            raise _invalid("item.type", "Supported values are: 'message', 'function_call' and 'function_call_output'.")
    if len(text_of(item)) > MAX_ITEM_CHARACTERS:
        message = f"Invalid 'item': at most {MAX_ITEM_CHARACTERS} characters of text."
        raise ClientEventError("string_above_max_length", message, "item")
    if item.id is not None and not 0 < len(item.id) <= MAX_ITEM_ID_CHARACTERS:
        raise _invalid("item.id", f"Expected 1 to {MAX_ITEM_ID_CHARACTERS} characters.")
    silent = [msgspec.structs.replace(part, audio=None) for part in item.content or []]
    accepted = msgspec.structs.replace(
        item,
        id=item.id or new_id("item"),
        object="realtime.item",
        status="completed",
        content=silent if item.type == "message" else None,
    )
    return accepted, sound


def decoded_audio(audio: str, param: str) -> bytes:
    """Sound out of base64.

    Raises:
        ClientEventError: it is none.
    """
    try:
        return audio_bytes(audio)
    except ProtocolError:
        raise ClientEventError("invalid_value", f"Invalid '{param}'. Expected base64-encoded audio.", param) from None


def _check_message(item: Item, audio_format: AudioFormat) -> bytes:
    allowed = _PARTS.get(item.role or "")
    if allowed is None:
        raise _invalid("item.role", "Supported values are: 'system', 'user' and 'assistant'.")
    if not item.content:
        raise _missing("item.content")
    sound = b""
    for index, part in enumerate(item.content):
        path = f"item.content[{index}]"
        if part.type in {"output_audio", "audio"} and item.role == "assistant":
            raise _missing(f"{path}.text")  # as the service answers: assistant's sound cannot be restored
        if part.type not in allowed:
            raise _invalid(f"{path}.type", f"Supported values are: {', '.join(map(repr, sorted(allowed)))}.")
        sound += _check_part(part, path, sample_bytes(audio_format))
    if len(sound) > MAX_BUFFER_MS * bytes_per_ms(audio_format):
        raise _invalid("item.content", f"At most {MAX_BUFFER_MS // 1000} s of sound.")
    return sound


def _check_part(part: ContentPart, path: str, sample_size: int) -> bytes:
    """The part's sound, if its words are unknown."""
    if part.type != "input_audio":
        _require(part.text, f"{path}.text")
        return b""
    sound = decoded_audio(_require(part.audio, f"{path}.audio"), f"{path}.audio")
    return b"" if part.transcript else sound[: len(sound) // sample_size * sample_size]


def _check_call_exists(call_id: str, items: Items) -> None:
    if not any(entry.item.type == "function_call" and entry.item.call_id == call_id for entry in items):
        message = f"Tool call ID '{call_id}' not found in conversation."
        raise ClientEventError("invalid_tool_call_id", message, "item.call_id")


def _require(value: str | None, path: str) -> str:
    if value is None:
        raise _missing(path)
    return value


def _missing(path: str) -> ClientEventError:
    return ClientEventError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def _invalid(path: str, message: str) -> ClientEventError:
    return ClientEventError("invalid_value", f"Invalid value: '{path}'. {message}", path)
