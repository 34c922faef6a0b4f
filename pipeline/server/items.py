"""The items of a conversation, in order. Pure.

Sound is not kept: of an assistant's item its length is known (truncation is measured against it), of a user's item the
words, once they are recognised.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import ContentPart, Item

MAX_ITEMS: Final = 500
"""The oldest are forgotten beyond this (`truncation: auto`); a kiosk's conversation has dozens."""

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")


class Entry(msgspec.Struct):
    """An item and what is known beside it: the length of its sound, its text in tokens, whether it was truncated."""

    item: Item
    audio_ms: float = 0.0
    text_tokens: int = 0
    truncated: bool = False


class Items:
    """Entries by position and by id."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def find(self, item_id: str) -> Entry | None:
        """The entry with this id."""
        return next((entry for entry in self._entries if entry.item.id == item_id), None)

    def append(self, item: Item, audio_ms: float = 0.0) -> str | None:
        """Add at the end; returns the id of the item before it."""
        return self.insert(item, None, audio_ms)

    def insert(self, item: Item, previous_item_id: str | None, audio_ms: float = 0.0) -> str | None:
        """Add at the end (None), first ("root") or after the item named; returns the id of the item before it.

        Raises:
            ClientEventError: the id is taken, or there is no such previous item.
        """
        assert item.id, "every item has an id before it enters the conversation"
        if self.find(item.id) is not None:
            message = f"Error adding item: an item with id '{item.id}' already exists."
            raise ClientEventError("item_create_duplicate_item_id", message)
        position = self._position_after(previous_item_id)
        self._entries.insert(position, Entry(item, audio_ms, count_tokens(text_of(item))))
        before = self._entries[position - 1].item.id if position else None
        if len(self._entries) > MAX_ITEMS:
            del self._entries[0]
        return before

    def replace(self, item: Item) -> None:
        """Exchange an item for its newer state; nothing if it was deleted meanwhile."""
        entry = self.find(item.id or "")
        if entry is not None:
            entry.item = item
            entry.text_tokens = count_tokens(text_of(item))

    def remove(self, item_id: str) -> None:
        """Delete an item.

        Raises:
            ClientEventError: there is none.
        """
        entry = self.find(item_id)
        if entry is None:
            message = f"Error deleting item: the item with id '{item_id}' does not exist."
            raise ClientEventError("item_delete_invalid_item_id", message, "item_id")
        self._entries.remove(entry)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut the sound of an assistant's item and forget its words, of which nobody knows how many were heard.

        Raises:
            ClientEventError: no such item or part, no assistant's sound, or shorter than `audio_end_ms` already.
        """
        entry = self.find(item_id)
        if entry is None:
            message = f"Error truncating item: the item with id '{item_id}' does not exist."
            raise ClientEventError("item_truncate_invalid_item_id", message, "item_id")
        content = entry.item.content or []
        if entry.item.role != "assistant" or not any(part.is_audio for part in content):
            raise ClientEventError("unsupported_content_type", "Only model output audio messages can be truncated.")
        if content_index >= len(content):
            message = f"Invalid 'content_index': the item has {len(content)} content part(s)."
            raise ClientEventError("invalid_value", message, "content_index")
        if audio_end_ms > entry.audio_ms:
            message = f"Audio content of {int(entry.audio_ms)}ms is already shorter than {audio_end_ms}ms"
            raise ClientEventError("invalid_value", message, "audio_end_ms")
        entry.audio_ms = audio_end_ms
        entry.truncated = True
        self.replace(msgspec.structs.replace(entry.item, content=[ContentPart(type="output_audio")]))

    def last_question(self) -> str:
        """The words of the last thing a user said or wrote; empty if there are none."""
        asked = (entry.item for entry in reversed(self._entries) if entry.item.role == "user")
        return text_of(next(asked, Item(type="message")))

    def _position_after(self, previous_item_id: str | None) -> int:
        if previous_item_id is None:
            return len(self._entries)
        if previous_item_id == "root":
            return 0
        for position, entry in enumerate(self._entries):
            if entry.item.id == previous_item_id:
                return position + 1
        message = f"Error adding item: the previous item with id '{previous_item_id}' does not exist."
        raise ClientEventError("item_create_invalid_previous_item_id", message, "previous_item_id")


def count_tokens(text: str) -> int:
    """Words and punctuation marks: this server has no tokenizer, and counts what it really handled."""
    return len(_TOKEN.findall(text))


def text_of(item: Item) -> str:
    """All words of an item, written and spoken."""
    words = (part.text or part.transcript or "" for part in item.content or [])
    return " ".join(filter(None, words)) or item.output or item.arguments or ""
